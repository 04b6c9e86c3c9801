"""Models of random weights with the shapes of real ones, as GGUF files: what a file of theirs in Q4_K_M takes to load, to run and to
hold, without what it knows.

Every tensor has the size and the type that it has in the real file, the vocabulary as many tokens. Of weights only the size is like
that of a model before its training: a matrix with n inputs has a standard deviation of 1 / sqrt(n), so that what goes through it keeps
its size and a forward pass stays finite. Nothing but Python itself is needed; the same seed gives the same bytes.
"""
import dataclasses
import itertools
import math
import os
import pathlib
import random
import shutil
import struct
import sys

import needs

sys.path.append(str(needs.ROOT / "tests"))
import gguf_make as gg  # noqa: E402

RECIPE = 1  # part of a file's name: another way to make them makes others
TOKENS_OF_BYTES, SPECIAL = 256, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHUNK = 1 << 15  # blocks that are made and written at once: 5 to 7 MB


@dataclasses.dataclass(frozen=True)
class Shape:
    """As the publisher's config.json and the tokenizer say."""
    arch: str
    layers: int
    embd: int
    ff: int
    heads: int
    kv_heads: int
    dim: int
    vocab: int
    learnt: int  # tokens that are bytes or merged from them; the others are special or fill the matrix up
    tied: bool  # one matrix is read both for tokens that go in and for those that come out
    base: float
    eps: float
    ctx: int
    llama3: float = 0  # stretches slow rotations as Llama 3.1 does, by so much


# Qwen/Qwen2.5-1.5B and -7B, meta-llama/Llama-3.2-3B, Qwen/Qwen3-4B.
SHAPES = {
    "qwen2.5-1.5b": Shape("qwen2", 28, 1536, 8960, 12, 2, 128, 151936, 151643, True, 1e6, 1e-6, 131072),
    "llama-3.2-3b": Shape("llama", 28, 3072, 8192, 24, 8, 128, 128256, 128000, True, 5e5, 1e-5, 131072, 32),
    "qwen3-4b": Shape("qwen3", 36, 2560, 9728, 32, 8, 128, 151936, 151643, True, 1e6, 1e-6, 40960),
    "qwen2.5-7b": Shape("qwen2", 28, 3584, 18944, 28, 4, 128, 152064, 151643, False, 1e6, 1e-6, 131072),
}
# For tests: of each architecture something small.
TINY = {
    "tiny": Shape("qwen2", 8, 256, 512, 4, 2, 64, 640, 600, False, 1e6, 1e-6, 131072),
    "tiny-llama": Shape("llama", 8, 256, 512, 4, 2, 64, 640, 600, True, 5e5, 1e-5, 131072, 32),
    "tiny-qwen3": Shape("qwen3", 8, 256, 512, 8, 2, 64, 640, 600, True, 1e6, 1e-6, 40960),
}
PRE = {"qwen2": "qwen2", "qwen3": "qwen2", "llama": "llama-bpe"}  # the pre-tokenizer of each architecture


# ---- which tensors there are ----

def gets_more_bits(layer, layers):
    """Whether a layer is one of those whose values and down projections are Q6_K in the mix Q4_K_M: those of the first and the last
    eighth, and every third one between them, from the third on. The rule is llama.cpp's (src/llama-quant.cpp, use_more_bits and
    where llama_tensor_get_type_impl asks it); everything else there is Q4_K, but for the matrix of the logits, which is Q6_K, also
    where it is the one of the embeddings."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def tensors(s):
    """[(name, dims, type, inputs)]; vectors, which are F32: inputs is what they hold, see `vector`."""
    out = [("token_embd.weight", [s.embd, s.vocab], "Q6_K" if s.tied else "Q4_K"), ("output_norm.weight", [s.embd], "ones")]
    if not s.tied:
        out.append(("output.weight", [s.embd, s.vocab], "Q6_K"))
    if s.llama3:
        out.append(("rope_freqs.weight", [s.dim // 2], "rope"))
    q, kv = s.heads * s.dim, s.kv_heads * s.dim
    for i in range(s.layers):
        b, more = f"blk.{i}.", "Q6_K" if gets_more_bits(i, s.layers) else "Q4_K"
        out += [(b + "attn_norm.weight", [s.embd], "ones"), (b + "ffn_norm.weight", [s.embd], "ones"),
                (b + "attn_q.weight", [s.embd, q], "Q4_K"), (b + "attn_k.weight", [s.embd, kv], "Q4_K"),
                (b + "attn_v.weight", [s.embd, kv], more), (b + "attn_output.weight", [q, s.embd], "Q4_K"),
                (b + "ffn_gate.weight", [s.embd, s.ff], "Q4_K"), (b + "ffn_up.weight", [s.embd, s.ff], "Q4_K"),
                (b + "ffn_down.weight", [s.ff, s.embd], more)]
        if s.arch == "qwen2":  # those of keys are large, as the real ones are
            out += [(b + "attn_q.bias", [q], 0.5), (b + "attn_k.bias", [kv], 2.0), (b + "attn_v.bias", [kv], 0.2)]
        if s.arch == "qwen3":
            out += [(b + "attn_q_norm.weight", [s.dim], "ones"), (b + "attn_k_norm.weight", [s.dim], "ones")]
    return out


def tensor_bytes(dims, kind):
    _, of, size = gg.QT.get(kind, gg.QT["F32"])
    return math.prod(dims) // of * size


# ---- what they hold ----

def f16_bytes(values):
    """What replaces a random byte so that it becomes the lower, and the upper, byte of one of 256 values."""
    raw = struct.pack(f"<{len(values)}e", *values)
    return raw[0::2], raw[1::2]


SPREAD = [0.5 + i / 255 for i in range(256)]  # scales of blocks differ, by so much
SPREAD_RMS = math.sqrt(sum(x * x for x in SPREAD) / 256)
# Standard deviation of scale x code where the block's scale is 1: of 6 bits and of 4 less 7.5, and of 8 bits and of 6.
UNIT = {"Q4_K": math.sqrt(sum(i * i for i in range(64)) / 64 * sum((i - 7.5) ** 2 for i in range(16)) / 16),
        "Q6_K": math.sqrt(sum(i * i for i in range(-128, 128)) / 256 * sum(i * i for i in range(-32, 32)) / 64)}


def blocks_q4_k(rng, n, d):
    """Codes are noise. A run of 32 weights has the same 6 bits as its scale and as its offset, whose unit is 7.5 times as large, so
    that its mean is 0, as that of real weights nearly is. (8 scales and 8 offsets of 6 bits in 12 bytes: the first four of each are
    in bytes of their own, whose upper two bits belong to the last four; of these, the lower four share a byte.)"""
    out = bytearray(rng.randbytes(n * 144))
    chosen = rng.randbytes(n)
    for at, unit in ((0, 1), (2, 7.5)):
        low, high = f16_bytes([unit * d * x for x in SPREAD])
        out[at::144], out[at + 1::144] = chosen.translate(low), chosen.translate(high)
    twice = bytes((i & 15) * 17 for i in range(256))
    for i in range(4):
        out[8 + i::144] = out[4 + i::144]
        out[12 + i::144] = out[12 + i::144].translate(twice)
    return out


def blocks_q6_k(rng, n, d):
    """All noise, the 16 scales of 8 bits too: these have a sign, and codes one, so that the mean is 0."""
    out = bytearray(rng.randbytes(n * 210))
    low, high = f16_bytes([d * x for x in SPREAD])
    chosen = rng.randbytes(n)
    out[208::210], out[209::210] = chosen.translate(low), chosen.translate(high)
    return out


BLOCKS = {"Q4_K": blocks_q4_k, "Q6_K": blocks_q6_k}


def vector(rng, s, n, what):
    if what == "ones":
        values = [1.0] * n
    elif what == "rope":  # slow rotations are slowed down, fast ones are not, between 4 and 1 turns in 8,192 tokens bit by bit
        turns = [8192 / (2 * math.pi * s.base ** (2 * i / s.dim)) for i in range(n)]
        share = [min(max((t - 1) / 3, 0), 1) for t in turns]
        values = [1 / ((1 - x) / s.llama3 + x) for x in share]
    else:
        values = [rng.gauss(0, what) for _ in range(n)]
    return struct.pack(f"<{n}f", *values)


def pieces(name, s, dims, kind):
    """The data of a tensor, a piece after the other."""
    rng = random.Random(f"{RECIPE} {name} {s}")
    if kind not in BLOCKS:
        yield vector(rng, s, dims[0], kind)
        return
    n, d = math.prod(dims) // 256, dims[0] ** -0.5 / UNIT[kind] / SPREAD_RMS
    for at in range(0, n, CHUNK):
        yield BLOCKS[kind](rng, min(CHUNK, n - at), d)


# ---- the vocabulary ----

def letters():
    """What bytes look like in a vocabulary of GPT-2's kind: printable ones as they are, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(b if b in printable else next(others)) for b in range(256)]


def vocabulary(s):
    """(tokens, their types, merges): any text can be written with these. What is learnt are bytes, then all pairs of bytes, then
    pairs and one byte more, as many as the real vocabulary learnt; shorter than real tokens, but no fewer."""
    one = letters()
    two = itertools.product(one, one)
    three = ((a + b, c) for c in one for a, b in itertools.product(one, one))
    merges = list(itertools.islice(itertools.chain(two, three), s.learnt - TOKENS_OF_BYTES))
    tokens = one + [a + b for a, b in merges] + SPECIAL
    fill = [f"[PAD{i}]" for i in range(s.vocab - len(tokens))]
    types = [1] * s.learnt + [3] * len(SPECIAL) + [5] * len(fill)
    return tokens + fill, types, [f"{a} {b}" for a, b in merges]


def add_vocabulary(f, s):
    tokens, types, merges = vocabulary(s)
    f.set("tokenizer.ggml.model", gg.STR, "gpt2").set("tokenizer.ggml.pre", gg.STR, PRE[s.arch])
    f.set("tokenizer.ggml.tokens", gg.ARR, gg.array(gg.STR, tokens))
    f.set("tokenizer.ggml.token_type", gg.ARR, gg.array(gg.I32, types))
    f.set("tokenizer.ggml.merges", gg.ARR, gg.array(gg.STR, merges))
    f.set("tokenizer.ggml.bos_token_id", gg.U32, s.learnt).set("tokenizer.ggml.eos_token_id", gg.U32, s.learnt + 2)
    f.set("tokenizer.ggml.add_bos_token", gg.BOOL, False)


# ---- the file ----

def header(name, s):
    f = gg.File()
    f.set("general.architecture", gg.STR, s.arch).set("general.name", gg.STR, f"{name}, random weights")
    f.set("general.file_type", gg.U32, 15).set("general.quantization_version", gg.U32, 2)  # MOSTLY_Q4_K_M
    for key, v in (("block_count", s.layers), ("context_length", s.ctx), ("embedding_length", s.embd), ("feed_forward_length", s.ff),
                   ("attention.head_count", s.heads), ("attention.head_count_kv", s.kv_heads), ("attention.key_length", s.dim),
                   ("attention.value_length", s.dim), ("rope.dimension_count", s.dim)):
        f.set(f"{s.arch}.{key}", gg.U32, v)
    f.set(f"{s.arch}.attention.layer_norm_rms_epsilon", gg.F32, s.eps).set(f"{s.arch}.rope.freq_base", gg.F32, s.base)
    add_vocabulary(f, s)
    for t, dims, kind in tensors(s):
        f.tensors.append(gg.Tensor(t, dims, kind if kind in gg.QT else "F32", range(tensor_bytes(dims, kind))))  # as long as its data
    return f


def weights_bytes(s):
    return sum(tensor_bytes(dims, kind) for _, dims, kind in tensors(s))


def write(path, name, s, hollow=False):
    """The whole file or none. hollow: of the right length, but holes where matrices would be, which take no space on the disk: enough
    to ask how much memory things take."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    f = header(name, s)
    try:
        with open(partial, "wb") as out:
            out.write(b"".join(raw for _, raw in f.head()))
            for t, dims, kind in tensors(s):
                end = out.tell() + tensor_bytes(dims, kind)
                for piece in () if hollow and kind in BLOCKS else pieces(t, s, dims, kind):
                    out.write(piece)
                out.seek(end + -end % f.align)
            out.truncate()
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def folder():
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "kvcalib" / "shapes"


def file_of(name):
    """Where the file of a shape is, or belongs."""
    return folder() / f"{name}-r{RECIPE}.gguf"


def remove_leftovers(path):
    """What runs that were killed have left."""
    for partial in path.parent.glob(f"{path.name}.*.partial"):
        try:
            os.kill(int(partial.suffixes[-2][1:]), 0)
        except ProcessLookupError:
            partial.unlink(missing_ok=True)


def model(name, s):
    """The file of a shape, written where it is not there yet."""
    path = file_of(name)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    size, free = weights_bytes(s), shutil.disk_usage(path.parent).free
    if free < size + (1 << 30):
        needs.give_up(f"no room for {path}: it takes {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; XDG_CACHE_HOME chooses another disk")
    print(f"writing {path}, {size / 1e9:.2f} GB", file=sys.stderr, flush=True)
    write(path, name, s)
    return path
