#!/usr/bin/env python3
"""Make tests/data/codec/cases.bin: vectors and what each codec must turn them into, written from the papers with numpy alone.

Per case: codec name (8 bytes), then u32 side (0 keys, 1 values), head_dim, tokens; then input and output (tokens, head_dim), f32
little endian. Inputs are those numbers that f16 can hold. Outputs carry what the codec stores in f16, rounded so; otherwise they
are computed in f64. The seed is fixed: running it again gives the same file. Needs numpy.
"""
import pathlib
import struct

import numpy as np


def f16(x):
    return np.asarray(x).astype(np.float16).astype(np.float64)


def splitmix(state):
    """Steele, Lea, Flood 2014: an endless stream of 64-bit numbers."""
    mask = (1 << 64) - 1
    while True:
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        yield z ^ (z >> 31)


def hadamard(n):
    """Sylvester: entry (i, j) is the parity of the common bits of i and j."""
    i = np.arange(n)
    common = i[:, None] & i[None, :]
    parity = np.array([[bin(v).count("1") % 2 for v in row] for row in common])
    return (1.0 - 2.0 * parity) / np.sqrt(n)


def random_rotation(d, seed=1):
    """y = x @ R"""
    stream = splitmix(seed)
    signs = np.array([-1.0 if next(stream) >> 63 else 1.0 for _ in range(d)])
    return signs[:, None] * hadamard(d)


def lloyd(density, lo, hi, n):
    """Lloyd-Max levels by brute force: integrals on a fine grid, interpolated at the borders."""
    edge = np.linspace(lo, hi, 400001)
    x = (edge[1:] + edge[:-1]) / 2
    mass = np.concatenate([[0], np.cumsum(density(x))])
    first = np.concatenate([[0], np.cumsum(density(x) * x)])
    c = np.interp((np.arange(n) + 0.5) / n * mass[-1], mass, edge)
    for _ in range(5000):
        b = np.concatenate([[lo], (c[1:] + c[:-1]) / 2, [hi]])
        new = np.diff(np.interp(b, edge, first)) / np.diff(np.interp(b, edge, mass))
        if np.abs(new - c).max() < 1e-10:
            break
        c = new
    return c


def nearest(levels, x):
    return levels[np.abs(x[..., None] - levels).argmin(-1)]


def q4_0(x):
    b = x.reshape(len(x), -1, 32)
    d = top_of(b) / -8
    code = np.minimum(15, np.floor(b * inverse(d) + 8.5))
    return ((code - 8) * f16(d)).reshape(x.shape)


def runs_of_32(fit):
    """ggml's quantisers, in f32 as they are: fit takes (..., 32) and returns what is read back."""
    return lambda x: fit(x.astype(np.float32).reshape(len(x), -1, 32)).reshape(x.shape)


def inverse(d):
    return np.divide(np.float32(1), d, out=np.zeros_like(d), where=d != 0)


def top_of(b):
    return np.take_along_axis(b, np.abs(b).argmax(-1)[..., None], -1)


@runs_of_32
def q8_0(b):
    d = np.abs(b).max(-1, keepdims=True) / np.float32(127)
    scaled = b * inverse(d)
    return np.trunc(scaled + np.copysign(np.float32(0.5), scaled)) * f16(d)


@runs_of_32
def q5_0(b):
    d = top_of(b) / np.float32(-16)
    return (np.minimum(31, np.floor(b * inverse(d) + np.float32(16.5))) - 16) * f16(d)


def between(most):
    @runs_of_32
    def codec(b):
        least = b.min(-1, keepdims=True)
        d = (b.max(-1, keepdims=True) - least) / np.float32(most)
        return np.floor((b - least) * inverse(d) + np.float32(0.5)) * f16(d) + f16(least)

    return codec


q4_1, q5_1 = between(15), between(31)
IQ4_NL = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)


@runs_of_32
def iq4_nl(b):
    """quantize_row_iq4_nl_ref: the greatest on level 0, then the scale that is best by weights x^2."""
    scaled = b * inverse(top_of(b) / IQ4_NL[0])
    q = IQ4_NL[np.abs(scaled[..., None] - IQ4_NL).argmin(-1)]
    below, above = (b**3 * q).sum(-1, keepdims=True), (b**2 * q**2).sum(-1, keepdims=True)
    return q * f16(np.divide(below, above, out=np.zeros_like(below), where=above != 0))


def rotated(codec, x, side):
    """llama.cpp, pull request 21038: plain Hadamard; keys over the largest power of two in head_dim, values over 64."""
    d = x.shape[1]
    span = d & -d if side == 0 else 64
    r = np.kron(np.eye(d // span), hadamard(span))
    return codec(x @ r) @ r.T


def turbo_mse(x, bits):
    """TurboQuant, algorithm 1, with the norm of each vector in f16 (as norm / sqrt(d))."""
    d = x.shape[1]
    levels = lloyd(lambda v: np.exp(-v * v / 2), -8, 8, 1 << bits)
    rms = np.sqrt((x**2).mean(1, keepdims=True))
    unit = np.divide(x, rms, out=np.zeros_like(x), where=rms > 0)
    r = random_rotation(d)
    return nearest(levels, unit @ r) * f16(rms) @ r.T


def turbo_prod(x):
    """Algorithm 2: 2 bits, then the residual's signs under a Gaussian matrix, applied to the rotated residual."""
    d = x.shape[1]
    stream = splitmix(2)
    s = np.empty((d, d))
    for i in range(d * d):
        u, v = ((next(stream) >> 11) + 1) * 2.0**-53, (next(stream) >> 11) * 2.0**-53
        s[i // d, i % d] = np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)
    r = random_rotation(d)
    coarse = turbo_mse(x, 2) @ r
    rest = x @ r - coarse
    norm = f16(np.sqrt((rest**2).mean(1, keepdims=True))) * np.sqrt(d)
    signs = np.where(rest @ s < 0, -1.0, 1.0)
    return (coarse + np.sqrt(np.pi / 2) / d * norm * (signs @ s.T)) @ r.T


def polar4(x):
    """PolarQuant: 4 levels; 16 uniform angles at the first, then 4 from the codebook of each level's density."""
    d = x.shape[1]
    rot = random_rotation(d)
    r = (x @ rot).reshape(len(x), d // 16, 16)
    angles = []
    for level in range(4):
        a, b = r[..., 0::2], r[..., 1::2]
        angle = np.arctan2(b, a)
        if level == 0:
            step = 2 * np.pi / 16
            angles.append((np.floor(angle % (2 * np.pi) / step) + 0.5) * step)
        else:
            power = 2**level - 1
            levels = lloyd(lambda v: np.sin(2 * v) ** power, 0, np.pi / 2, 4)
            angles.append(nearest(levels, angle))
        r = np.hypot(a, b)
    r = f16(r / 4) * 4
    for angle in reversed(angles):
        r = np.stack([r * np.cos(angle), r * np.sin(angle)], -1).reshape(*r.shape[:-1], -1)
    return r.reshape(x.shape) @ rot.T


def kivi(x, side, bits):
    """Groups of 32: along tokens for keys, along channels for values."""
    n, d = x.shape
    g = x.reshape(n // 32, 32, d) if side == 0 else x.reshape(n, d // 32, 32)
    axis = 1 if side == 0 else 2
    zero = f16(g.min(axis, keepdims=True))
    scale = f16((g.max(axis, keepdims=True) - zero) / (2**bits - 1))
    inv = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    code = np.clip(np.floor((g - zero) * inv + 0.5), 0, 2**bits - 1)
    return (zero + scale * code).reshape(n, d)


CASES = [
    ("q4_0h", 0, 128, 8, lambda x: rotated(q4_0, x, 0)),
    ("q4_0h", 0, 64, 8, lambda x: rotated(q4_0, x, 0)),
    ("q4_0h", 0, 192, 4, lambda x: rotated(q4_0, x, 0)),
    ("q4_0h", 1, 128, 8, lambda x: rotated(q4_0, x, 1)),
    ("turbo2", 0, 64, 12, lambda x: turbo_mse(x, 2)),
    ("turbo3", 0, 128, 8, lambda x: turbo_mse(x, 3)),
    ("turbo3", 1, 64, 12, lambda x: turbo_mse(x, 3)),
    ("turbo4", 1, 128, 8, lambda x: turbo_mse(x, 4)),
    ("turbo3q", 0, 64, 12, turbo_prod),
    ("turbo3q", 1, 64, 12, lambda x: turbo_mse(x, 3)),
    ("polar4", 0, 64, 12, polar4),
    ("polar4", 1, 128, 8, polar4),
    ("kivi2", 0, 64, 32, lambda x: kivi(x, 0, 2)),
    ("kivi2", 1, 64, 12, lambda x: kivi(x, 1, 2)),
    ("kivi4", 0, 80, 32, lambda x: kivi(x, 0, 4)),
    ("kivi4", 1, 96, 8, lambda x: kivi(x, 1, 4)),
    ("q4_1", 0, 96, 8, q4_1),
    ("q4_1", 1, 96, 8, q4_1),
    ("q5_0", 0, 96, 8, q5_0),
    ("q5_0", 1, 96, 8, q5_0),
    ("q5_1", 0, 96, 8, q5_1),
    ("q5_1", 1, 96, 8, q5_1),
    ("iq4_nl", 0, 96, 8, iq4_nl),
    ("iq4_nl", 1, 96, 8, iq4_nl),
    ("q8_0h", 0, 64, 4, lambda x: rotated(q8_0, x, 0)),
    ("q8_0h", 1, 128, 4, lambda x: rotated(q8_0, x, 1)),
    ("q4_1h", 0, 64, 4, lambda x: rotated(q4_1, x, 0)),
    ("q5_0h", 1, 64, 4, lambda x: rotated(q5_0, x, 1)),
    ("q5_1h", 0, 64, 4, lambda x: rotated(q5_1, x, 0)),
    ("iq4_nlh", 1, 64, 4, lambda x: rotated(iq4_nl, x, 1)),
]


def main():
    out = bytearray()
    for i, (name, side, dim, n, codec) in enumerate(CASES):
        rng = np.random.default_rng([11, i])
        x = rng.standard_normal((n, dim)) * rng.lognormal(0, 1, dim) + rng.standard_normal(dim)
        x[1] = 0 if not name.startswith("kivi") else x[1]
        x[2] *= 100
        x = f16(x)
        out += name.encode().ljust(8, b"\0") + struct.pack("<3I", side, dim, n)
        out += x.astype("<f4").tobytes() + codec(x).astype("<f4").tobytes()
    path = pathlib.Path(__file__).parent / "data" / "codec" / "cases.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(out)


if __name__ == "__main__":
    main()
