"""GGUF files byte by byte, right ones and wrong ones: of what is a small model, anything can be changed before it is written.

Nothing here checks anything, and nothing but Python itself is needed.
"""
import random
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
FORMATS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}
# Tensor types: number, weights of a block, bytes of a block.
QT = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24),
      "Q8_0": (8, 32, 34), "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110), "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176),
      "Q6_K": (14, 256, 210), "IQ2_XXS": (16, 256, 66), "IQ2_XS": (17, 256, 74), "IQ3_XXS": (18, 256, 98), "IQ1_S": (19, 256, 50),
      "IQ4_NL": (20, 32, 18), "IQ3_S": (21, 256, 110), "IQ2_S": (22, 256, 82), "IQ4_XS": (23, 256, 136), "IQ1_M": (29, 256, 56),
      "BF16": (30, 1, 2), "TQ1_0": (34, 256, 54), "TQ2_0": (35, 256, 66), "MXFP4": (39, 32, 17), "NVFP4": (40, 64, 36)}


def text(s):
    s = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(s)) + s


def value(kind, v):
    return text(v) if kind == STR else struct.pack("<" + FORMATS[kind], v)


def array(elem, values, count=None):
    raw = b"".join(value(elem, v) for v in values)
    return struct.pack("<IQ", elem, len(values) if count is None else count) + raw


class Tensor:
    def __init__(self, name, dims, kind, data, offset=None):
        self.name, self.dims, self.kind, self.data, self.offset = name, list(dims), kind, data, offset
        self.n_dims = None  # as many as there are


class File:
    """Keys are (name, type, raw bytes of the value); counts and offsets follow from what there is, unless they are set."""

    def __init__(self):
        self.magic, self.version, self.align = b"GGUF", 3, 32
        self.keys, self.tensors = [], []
        self.n_keys = self.n_tensors = None
        self.borders = []  # of the bytes that were made last: (what begins, where)

    def set(self, name, kind, v):
        """A key in its place, or as a new one."""
        raw = v if isinstance(v, bytes) and kind in (ARR, None) else value(kind, v)
        at = [i for i, k in enumerate(self.keys) if k[0] == name]
        if at:
            self.keys[at[0]] = (name, kind, raw)
        else:
            self.keys.append((name, kind, raw))
        return self

    def drop(self, name):
        self.keys = [k for k in self.keys if k[0] != name]
        return self

    def __getitem__(self, name):
        return next(t for t in self.tensors if t.name == name)

    def head(self):
        """[(what, its bytes)]: all that comes before the data of the tensors. Of those, only the lengths count."""
        parts = [("magic", self.magic), ("version", struct.pack("<I", self.version)),
                 ("tensor count", struct.pack("<Q", len(self.tensors) if self.n_tensors is None else self.n_tensors)),
                 ("key count", struct.pack("<Q", len(self.keys) if self.n_keys is None else self.n_keys))]
        for name, kind, raw in self.keys:
            parts += [(f"key {name}", text(name) + struct.pack("<I", kind)), (f"value {name}", raw)]
        at = 0
        for t in self.tensors:
            offset = at if t.offset is None else t.offset
            dims = t.dims if isinstance(t.dims, list) else list(t.dims)
            parts += [(f"tensor {t.name}", text(t.name) + struct.pack("<I", len(dims) if t.n_dims is None else t.n_dims)),
                      (f"shape {t.name}", b"".join(struct.pack("<Q", d) for d in dims)),
                      (f"type {t.name}", struct.pack("<IQ", t.kind if isinstance(t.kind, int) else QT[t.kind][0], offset))]
            at += -(-len(t.data) // self.align) * self.align
        return parts + [("padding", b"\0" * (-sum(len(raw) for _, raw in parts) % self.align))]

    def bytes(self):
        out = bytearray()
        self.borders = []
        for what, raw in self.head() + [(f"data {t.name}", t.data + b"\0" * (-len(t.data) % self.align)) for t in self.tensors]:
            self.borders.append((what, len(out)))
            out.extend(raw)
        return bytes(out)


def read(raw):
    """A right file, of version 3."""
    f, at = File(), 24
    n_tensors, n_keys = struct.unpack_from("<QQ", raw, 8)

    def take_text():
        nonlocal at
        (n,) = struct.unpack_from("<Q", raw, at)
        at += 8 + n
        return raw[at - n:at]

    def skip(kind, count):
        nonlocal at
        for _ in range(count if kind == STR else 0):
            take_text()
        at += count * struct.calcsize(FORMATS[kind]) if kind != STR else 0

    for _ in range(n_keys):
        name = take_text().decode()
        (kind,) = struct.unpack_from("<I", raw, at)
        at += 4
        start = at
        if kind == ARR:
            elem, count = struct.unpack_from("<IQ", raw, at)
            at += 12
            skip(elem, count)
        else:
            skip(kind, 1)
        f.keys.append((name, kind, raw[start:at]))
        if name == "general.alignment":
            (f.align,) = struct.unpack("<I", raw[start:at])
    infos = []
    for _ in range(n_tensors):
        name = take_text().decode()
        (n_dims,) = struct.unpack_from("<I", raw, at)
        dims = struct.unpack_from(f"<{n_dims}Q", raw, at + 4)
        kind, offset = struct.unpack_from("<IQ", raw, at + 4 + 8 * n_dims)
        at += 16 + 8 * n_dims
        infos.append((name, dims, kind, offset))
    data = at + -at % f.align
    blocks = {k: (n, size) for k, n, size in QT.values()}
    for name, dims, kind, offset in infos:
        elems = 1
        for d in dims:
            elems *= d
        n, size = blocks[kind]
        f.tensors.append(Tensor(name, dims, kind, raw[data + offset:data + offset + elems // n * size]))
    return f


def weights(kind, elems, seed):
    """Small numbers of a type: blocks of noise whose scales are small."""
    rng = random.Random(seed)
    if kind == "F32":
        return struct.pack(f"<{elems}f", *(rng.uniform(-0.3, 0.3) for _ in range(elems)))
    if kind == "F16":
        return struct.pack(f"<{elems}e", *(rng.uniform(-0.3, 0.3) for _ in range(elems)))
    if kind == "BF16":
        return b"".join(struct.pack("<f", rng.uniform(-0.3, 0.3))[2:] for _ in range(elems))
    _, n, size = QT[kind]
    scale = struct.pack("<e", 0.02)
    at = {"Q2_K": [80, 82], "Q3_K": [108], "Q6_K": [208], "Q4_1": [0, 2], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "TQ1_0": [52],
          "TQ2_0": [64]}.get(kind, [0])
    out = bytearray()
    for _ in range(elems // n):
        block = bytearray(rng.randbytes(size))
        if kind == "MXFP4":
            block[0] = 120
        elif kind == "NVFP4":
            block[:4] = b"\x30\x30\x30\x30"
        elif kind == "IQ1_M":
            for i in range(48, 56, 2):  # scales: four bits of d each
                block[i + 1] = block[i + 1] & 0x0F | (0x20, 0x50, 0x10, 0x20)[(i - 48) // 2]
        else:
            for i in at:
                block[i:i + 2] = scale
        out += block
    return bytes(out)


def small(arch="llama", kind="Q8_0", layers=1, embd=32, heads=2, kv_heads=1, dim=16, ff=32):
    """A model of a few kilobytes that runs: 16 tokens, weights of one type."""
    f = File()
    tokens = ["<unk>", "a", "b", "c", "\u0120", "ab", "\u0120a", "bc", "abc", "1", "2", "\u010a", "!", "<|x|>", "<s>", "</s>"]
    f.set("general.architecture", STR, arch).set("general.name", STR, "small")
    for key, v in (("block_count", layers), ("context_length", 256), ("embedding_length", embd), ("feed_forward_length", ff),
                   ("attention.head_count", heads), ("attention.head_count_kv", kv_heads), ("attention.key_length", dim),
                   ("attention.value_length", dim), ("rope.dimension_count", dim)):
        f.set(f"{arch}.{key}", U32, v)
    f.set(f"{arch}.attention.layer_norm_rms_epsilon", F32, 1e-5).set(f"{arch}.rope.freq_base", F32, 1e4)
    f.set("tokenizer.ggml.model", STR, "gpt2").set("tokenizer.ggml.pre", STR, "default")
    f.set("tokenizer.ggml.tokens", ARR, array(STR, tokens))
    f.set("tokenizer.ggml.token_type", ARR, array(I32, [2] + [1] * 12 + [4, 3, 3]))
    f.set("tokenizer.ggml.merges", ARR, array(STR, ["a b", "\u0120 a", "b c", "ab c"]))
    f.set("tokenizer.ggml.bos_token_id", U32, 14).set("tokenizer.ggml.eos_token_id", U32, 15)

    def add(name, cols, rows=None, kind=kind):
        elems = cols * (rows or 1)
        ones = struct.pack(f"<{cols}f", *[1.0] * cols)
        f.tensors.append(Tensor(name, [cols] if rows is None else [cols, rows], kind if rows else "F32",
                                weights(kind, elems, name) if rows else ones))

    add("token_embd.weight", embd, len(tokens))
    add("output_norm.weight", embd)
    for i in range(layers):
        b = f"blk.{i}."
        add(b + "attn_norm.weight", embd)
        add(b + "ffn_norm.weight", embd)
        if arch in ("qwen3", "gemma3"):
            add(b + "attn_q_norm.weight", dim)
            add(b + "attn_k_norm.weight", dim)
        if arch == "gemma3":
            add(b + "post_attention_norm.weight", embd)
            add(b + "post_ffw_norm.weight", embd)
        for name, cols, rows in (("attn_q", embd, heads * dim), ("attn_k", embd, kv_heads * dim), ("attn_v", embd, kv_heads * dim),
                                 ("attn_output", heads * dim, embd), ("ffn_gate", embd, ff), ("ffn_up", embd, ff), ("ffn_down", ff, embd)):
            add(f"{b}{name}.weight", cols, rows)
    return f
