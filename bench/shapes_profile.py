"""A profile of codec `tc` for a model that was never calibrated: of the size and the work of a real one, without its quality.

Every head gets 3.25 true bits per number, window 128, 4 sinks and frames of 1,024 tokens, as kvcalib --bits 3.25 does. How many of a
head's numbers get 6, 5, ... 0 bits is what the profiles in profiles/models have on average. The transform scales every number by
itself, so that those with more bits vary more, and the levels are quantiles of the normal distribution, which suit any of them alike.
The layout is docs/profile.md's.
"""
import base64
import statistics
import struct

BITS, WINDOW, SINKS, FRAME = 3.25, 128, 4, 1024
GAIN_BITS, MOST_BITS, WINDOWS = 8, 6, 16
SHARES = {6: 0.031, 5: 0.088, 4: 0.248, 3: 0.363, 2: 0.195, 1: 0.060, 0: 0.015}  # of all numbers of the three profiles


def bits_of_head(dim):
    """For each number of a head, falling; BITS on average, gain included."""
    border, at, bits = 0.0, 0, []
    for b, share in SHARES.items():
        border += share
        while at < dim and (at + 0.5) / dim < border:
            bits.append(b)
            at += 1
    bits += [0] * (dim - len(bits))
    wanted = round(BITS * dim) - GAIN_BITS
    while sum(bits) != wanted:  # by rounding: some number changes its group
        if sum(bits) < wanted:
            bits[bits.index(3)] = 4
        else:
            bits[dim - 1 - bits[::-1].index(4)] = 3
    return bits


def levels_of_rate(b):
    """(step, 8 x 2^b levels): code c has, in window w, level [c x 16 + w]. All windows together share 2^(b+1) levels, of which each
    has every fourth, and the two ways on from a state are as far apart as can be (Ungerboeck 1982)."""
    n = 2 << b
    levels = [statistics.NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)]
    step = struct.unpack("<e", struct.pack("<e", max(levels) / 127))[0]
    first = [2 * ((w ^ w >> 2) & 1) + ((w >> 1 ^ w >> 3) & 1) for w in range(WINDOWS)]
    return step, [max(-127, min(127, round(levels[4 * c + first[w]] / step))) for c in range(1 << b - 1) for w in range(WINDOWS)]


def planes(fmt, values):
    """All lowest bytes first."""
    raw = b"".join(struct.pack("<" + fmt, v) for v in values)
    size = struct.calcsize(fmt)
    return b"".join(raw[i::size] for i in range(size))


def repeat_planes(fmt, values, times):
    raw, size = planes(fmt, values), struct.calcsize(fmt)
    n = len(values)
    return b"".join(raw[i * n:(i + 1) * n] * times for i in range(size))


def calibrated_data(heads, dim):
    bits = bits_of_head(dim)
    exps = [b - 3 for b in bits]  # of the deviation of a coefficient
    basis = [512 if i == j else 0 for i in range(dim) for j in range(dim)]  # 2^9: times 2^exp, 1 / deviation
    rates = [levels_of_rate(b) for b in range(1, MOST_BITS + 1)]
    levels = [x for _, table in rates for x in table]
    return (b"KVTC" + struct.pack("<III", 2, dim, heads) + bytes(bits) * heads + bytes(4 * heads * dim)
            + struct.pack(f"<{dim}b", *(-9 - e for e in exps)) * heads + repeat_planes("h", basis, heads)
            + repeat_planes("e", [2.0**e for e in exps], heads) + repeat_planes("e", [1.0] + [s for s, _ in rates], heads)
            + struct.pack(f"<{len(levels)}b", *levels) * heads)


def zstd_frame(raw):
    """One frame of blocks that are as they were, which any reader takes: a calibrated transform is hardly smaller when packed."""
    out = [b"\x28\xb5\x2f\xfd", b"\xa0", struct.pack("<I", len(raw))]  # of a known size of four bytes, without checksum
    most = 128 << 10
    for at in range(0, len(raw), most):
        block = raw[at:at + most]
        out += [struct.pack("<I", (at + most >= len(raw)) | len(block) << 3)[:3], block]
    return b"".join(out)


def runs(bits):
    return " ".join(f"{b}*{bits.count(b)}" for b in sorted(set(bits), reverse=True))


def profile(layers, heads, kv_heads, dim):
    """The text of the file."""
    bits = bits_of_head(dim)
    true = (sum(bits) + GAIN_BITS) / dim
    head = f"{{codec: tc, bits: {true:.6g}, dims: \"{runs(bits)}\"}}"
    stream = f"{{codec: tc, bits: {true:.6g}, heads: [{', '.join([head] * kv_heads)}]}}"
    lines = ["# Not calibrated: of the size and the work of a calibrated profile, for measuring these alone (bench/shapes).", "version: 3",
             f"model: {{layers: {layers}, heads: {heads}, kv_heads: {kv_heads}, head_dim: {dim}}}",
             f"policy: {{sinks: {SINKS}, window: {WINDOW}, frame: {FRAME}}}", "layers:"]
    for i in range(layers):
        lines += [f"- layer: {i}", f"  k: {stream}", f"  v: {stream}"]
    text = base64.b64encode(zstd_frame(calibrated_data(2 * layers * kv_heads, dim))).decode()
    lines.append("data: !!binary |")
    lines += ["  " + text[i:i + 76] for i in range(0, len(text), 76)]
    return "\n".join(lines) + "\n"
