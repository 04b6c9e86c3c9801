#!/usr/bin/env python3
"""Files that are wrong in every way that somebody thought of, and what must be said of each.

usage: badfiles.py BIN_DIR [NAME_PART]        in a folder that it may fill

A case is a name, how the file comes about, the program that is run on it, its exit code and what its message must contain; the message
must name the file, too. A case is refused when all of that holds, when nothing was killed, and when the program took no more memory
than it takes for a right file, a fixed amount and some times the size of the bad one. Prints how many were tried and refused.
"""
import base64
import os
import pathlib
import resource
import struct
import subprocess
import sys
import time

from gguf_make import ARR, BOOL, F32, F64, I32, I8, STR, U32, U64, U8, File, Tensor, array, small, text, value

BIN = pathlib.Path(sys.argv[1])
PART = sys.argv[2] if len(sys.argv) > 2 else ""
SPARE, TIMES = 64 << 20, 12  # memory beyond the baseline: a fixed amount, and so often the size of the file
CPU_SECONDS = 10  # a program that hangs is killed
NAN, INF = float("nan"), float("inf")

RUN = ["kvrun", "{}", "-p", "a b ab", "-n", "1", "--temp", "0", "-t", "1"]
SHOW = ["kvpack", "--show", "{}"]
STRIP = ["kvpack", "--strip", "{}", "--out", "stripped.gguf"]
PROFILE = ["kvrun", "good.gguf", "--profile", "{}", "-p", "a", "-n", "1", "-t", "1"]
QA = ["kveval", "qa", "good.gguf", "document", "{}", "-q", "-t", "1"]
PPL = ["kveval", "ppl", "good.gguf", "--text", "{}", "--ctx", "64", "--chunks", "1", "-t", "1"]
LOGPROBS = ["kveval", "logprobs", "good.gguf", "--in", "{}", "-t", "1"]
SETTINGS = ["kveval", "sweep", "good.gguf", "--text", "document", "--settings", "{}", "--ctx", "64", "--chunks", "1", "-q", "-t", "1"]

cases = []


def case(name, data, said, command=RUN, code=1):
    cases.append((name, data if callable(data) else lambda: data, command, code, [said] if isinstance(said, str) else said))


def changed(name, change, said, command=RUN, **how):
    """The small model with a change."""
    def make():
        f = small(**how)
        raw = change(f)
        return raw if isinstance(raw, bytes) else f.bytes()
    case(name, make, said, command)


def key(name, kind, v, said, **how):
    changed(f"{name} = {str(v)[:20]} ({kind})", lambda f: f.set(name, kind, v) and None, said, **how)


# ---- the file as such ----

def cut(at):
    return lambda f: f.bytes()[:at]


def truncations():
    f = small()
    raw = f.bytes()
    for what, at in f.borders:
        kind, _, name = what.partition(" ")
        head = "not a GGUF file" if 0 < at < 4 else "the file is empty" if at == 0 else "(truncated? get it again)"
        said = [head, name] if kind == "data" else [head]
        changed(f"cut where {what} begins", cut(at), said)
        if at > 200 and kind != "data":
            changed(f"cut in {what}", cut(at + 1), [head])
    changed("cut by one byte", cut(len(raw) - len(f.tensors[-1].data) % f.align - 1 if len(f.tensors[-1].data) % f.align else len(raw) - 1),
            ["truncated", f.tensors[-1].name])
    case("empty", b"", "the file is empty")
    case("text", b"hello\n" * 100, "not a GGUF file")
    case("zeros", b"\0" * 4096, "not a GGUF file")


def headers():
    for n in (0, 1, 4, 0x7FFFFFFF):
        changed(f"version {n}", lambda f, n=n: setattr(f, "version", n), f"GGUF version {n} is not supported")
    changed("big-endian", lambda f: setattr(f, "version", 0x03000000), "big-endian")
    for n in ((1 << 63), (1 << 64) - 1, 65537):
        changed(f"{n} tensors", lambda f, n=n: setattr(f, "n_tensors", n), [str(n), "tensors cannot be true"])
        changed(f"{n} keys", lambda f, n=n: setattr(f, "n_keys", n), [str(n), "keys cannot be true"])
    changed("65536 tensors in a small file", lambda f: setattr(f, "n_tensors", 65536), "do not fit in the")
    changed("65536 keys in a small file", lambda f: setattr(f, "n_keys", 65536), "do not fit in the")
    changed("a tensor too many", lambda f: setattr(f, "n_tensors", len(f.tensors) + 1), "tensor")
    changed("a key too many", lambda f: setattr(f, "n_keys", len(f.keys) + 1), "truncated")
    changed("a key too few", lambda f: setattr(f, "n_keys", len(f.keys) - 1), "tensor")
    changed("another magic", lambda f: setattr(f, "magic", b"GGML"), "not a GGUF file")


def raw_key(name, kind, raw, said):
    changed(name, lambda f: f.keys.insert(3, ("x.y", kind, raw)), said)


def key_values():
    for n in ((1 << 63), (1 << 64) - 1, 1 << 40, 1 << 20):
        raw_key(f"string of {n}", STR, struct.pack("<Q", n) + b"abc", [f"{n} bytes wanted", "key 'x.y'"])
        raw_key(f"array of {n} bytes", ARR, struct.pack("<IQ", U8, n), ["values of type u8 wanted" if n < 1 << 63 else "values of type u8", "x.y"])
        raw_key(f"array of {n} numbers of 8 bytes", ARR, struct.pack("<IQ", U64, n), ["values of type u64 wanted", "x.y"])
        raw_key(f"array of {n} strings", ARR, struct.pack("<IQ", STR, n) + text("a"), ["truncated", "x.y"])
    raw_key("array of arrays", ARR, struct.pack("<IQ", ARR, 1) + array(U8, [1]), ["arrays of arrays", "x.y"])
    for n in (13, 255, (1 << 32) - 1):
        raw_key(f"value of type {n}", n, b"\0" * 8, [f"value type {n} does not exist", "x.y"])
        raw_key(f"array of type {n}", ARR, struct.pack("<IQ", n, 1) + b"\0" * 8, [f"value type {n} does not exist", "x.y"])
    raw_key("bool of 2", BOOL, b"\2", ["a bool has the value 2", "x.y"])
    raw_key("bools of 0 and 255", ARR, struct.pack("<IQ", BOOL, 2) + b"\0\xff", ["a bool has the value 255", "x.y"])
    changed("a key without name", lambda f: f.keys.insert(3, ("", U8, b"\0")), "a name of 0 bytes")
    changed("a key whose name has a NUL", lambda f: f.keys.insert(3, ("a\0b", U8, b"\0")), ["none of them NUL"])
    changed("a key of 70000 bytes", lambda f: f.keys.insert(3, ("k" * 70000, U8, b"\0")), "a name of 70000 bytes")
    changed("a key twice", lambda f: f.keys.append(("general.name", STR, text("y"))), ["key 'general.name'", "appears twice"])
    changed("the last key twice", lambda f: f.keys.append(f.keys[-1]), "appears twice")
    for v in (0, 1, 3, 4, 48, 1 << 21, (1 << 32) - 1):
        changed(f"alignment {v}", lambda f, v=v: f.set("general.alignment", U32, v) and None, ["general.alignment", f"is {v} (must be"])
    changed("alignment of 8 bytes", lambda f: f.set("general.alignment", U64, 32) and None, ["general.alignment", "must be u32"])
    changed("alignment that the file does not keep", lambda f: f.set("general.alignment", U32, 4096) and None, ["tensor", "not aligned to 4096"])


def set_tensor(which, **what):
    def change(f):
        t = f[which]
        for k, v in what.items():
            setattr(t, k, v)
    return change


def tensors():
    q = "blk.0.attn_q.weight"
    changed("a tensor twice", lambda f: f.tensors.append(Tensor(q, [32], "F32", b"\0" * 128)), [q, "appears twice"])
    changed("a tensor without name", lambda f: set_tensor(q, name="")(f), "a name of 0 bytes")
    changed("a tensor's name of 65", lambda f: set_tensor(q, name="t" * 65)(f), "a name of 65 bytes")
    changed("a tensor's name of 2^20", lambda f: set_tensor(q, name="t" * (1 << 20))(f), "a name of 1048576 bytes")
    for n in (0, 5, (1 << 32) - 1):
        changed(f"{n} dimensions", set_tensor(q, n_dims=n), [q, f"{n} dimensions"])
    changed("a dimension of 0", set_tensor(q, dims=[32, 0]), [q, "dimension 1 is zero"])
    changed("dimensions that overflow", set_tensor(q, dims=[1 << 33, 1 << 33]), [q, "does not fit in 64 bits"])
    changed("dimensions that overflow in bytes", set_tensor(q, kind="F32", dims=[1 << 62, 2]), [q, "cannot be addressed"])
    changed("2^40 rows", set_tensor(q, dims=[32, 1 << 40]), [q, "of a data section of"])
    for n, name in ((4, "unknown"), (9, "Q8_1"), (15, "Q8_K"), (28, "F64"), (255, "unknown"), ((1 << 32) - 1, "unknown")):
        changed(f"tensor type {n}", set_tensor(q, kind=n), [q, f"tensor type {n} ({name}) is not supported"])
    changed("rows of half a block", set_tensor(q, dims=[48, 21]), [q, "rows of 48 elements are not whole blocks of 32"])
    for n in (1, 16, 33):
        changed(f"offset {n}", set_tensor(q, offset=n), [q, f"offset {n} is not aligned"])
    for n in (1 << 20, 1 << 63, (1 << 64) - 32):
        changed(f"offset {n}", set_tensor(q, offset=n), [q, f"offset {n} of a data section"])
    changed("tensors in one place", set_tensor(q, offset=0), "overlap")
    changed("tensors that overlap by a block", lambda f: set_tensor(q, offset=32)(f), "overlap")
    changed("all tensors in one place", lambda f: [setattr(t, "offset", 0) for t in f.tensors] and None, "overlap")


# ---- the model ----

def shapes():
    a = "llama."
    changed("no architecture", lambda f: f.drop("general.architecture") and None, "key 'general.architecture' is missing")
    key("general.architecture", STR, "nosuch", "architecture 'nosuch' is not supported")
    key("general.architecture", STR, "", "architecture '' is not supported")
    key("general.architecture", STR, "x" * (1 << 20), "is not supported: take a model of another family (supported: ")
    key("general.architecture", U32, 5, "is of type u32 (must be string)")
    key("general.type", STR, "adapter", "a LoRA adapter is not a model")
    for name in ("block_count", "embedding_length", "feed_forward_length", "attention.head_count", "context_length",
                 "attention.layer_norm_rms_epsilon"):
        changed(f"no {name}", lambda f, name=name: f.drop(a + name) and None, [f"llama.{name}", "is missing"])
    for name, values in {"block_count": (0, 513, (1 << 32) - 1), "embedding_length": (0, 31, 1 << 21), "feed_forward_length": (0, 33, 1 << 23),
                         "attention.head_count": (0, 257, 4096, (1 << 32) - 1), "attention.head_count_kv": (0, 257, 1 << 31),
                         "attention.key_length": (0, 15, 516, 1 << 31), "attention.value_length": (0, 15, 514),
                         "rope.dimension_count": (0, 3, 18, 1 << 31), "context_length": (0, 1 << 31)}.items():
        for v in values:
            key(a + name, U32, v, [f"{name} = {v}", "expected a multiple of"])
    key(a + "attention.head_count_kv", U32, 3, "2 heads cannot share 3 KV heads evenly")
    key(a + "block_count", U32, 2, "tensor 'blk.1.attn_norm.weight' is missing")
    key(a + "embedding_length", U32, 64, "tensor 'token_embd.weight' is 32 x 16, expected 64 x 16")
    key(a + "feed_forward_length", U32, 64, ["blk.0.ffn_", "expected 32 x 64"])
    key(a + "attention.key_length", U32, 32, ["blk.0.attn_", "expected 32 x"])
    key(a + "attention.key_length", U32, 2, "rope.dimension_count = 16: expected a multiple of 2 in 2..2")
    key(a + "attention.value_length", U32, 20, "tensor 'blk.0.attn_v.weight' is 32 x 16, expected 32 x 20")
    key(a + "attention.head_count", I32, -1, "is -1 (must be 0 to 4294967295)")
    key(a + "attention.head_count", U64, 1 << 40, "is 1099511627776 (must be 0 to")
    key(a + "attention.head_count", F32, 2, "is of type f32 (must be an integer)")
    key(a + "attention.head_count", STR, "2", "is of type string (must be an integer)")
    key(a + "attention.head_count_kv", ARR, array(U32, [1, 1]), "a list of 2 values: expected one integer for each of 1 layers")
    key(a + "attention.head_count_kv", ARR, array(F32, [1]), "a list of 1 values: expected one integer for each of 1 layers")
    for v in (NAN, INF, -INF):
        key(a + "rope.freq_base", F32, v, ["rope.freq_base", "must be a finite 32-bit float"])
    for v in (0, -1, 0.5):
        key(a + "rope.freq_base", F32, v, ["rope.freq_base", "is outside 1 to"])
    key(a + "rope.freq_base", F64, 1e300, "must be a finite 32-bit float")
    for v in (0, -1, 1):
        key(a + "attention.layer_norm_rms_epsilon", F32, v, "norm epsilon")
    key(a + "attention.layer_norm_rms_epsilon", F32, NAN, "must be a finite 32-bit float")
    key(a + "rope.scaling.type", STR, "nosuch", "RoPE scaling 'nosuch' is not supported")
    key(a + "rope.scaling.factor", F32, -4, ["rope.scaling.factor", "is outside"])
    key(a + "rope.scaling.factor", F32, 1e30, ["rope.scaling.factor", "is outside"])
    key(a + "expert_count", U32, 4, ["llama.expert_used_count"])
    key(a + "attention.causal", BOOL, 0, "a model that reads ahead has no KV cache")
    key(a + "ssm.state_size", U32, 16, ["llama.ssm.state_size", "is not supported for 'llama'"])


def f32_at(name, i, v):
    def change(f):
        t = f[name]
        t.data = t.data[:4 * i] + struct.pack("<f", v) + t.data[4 * i + 4:]
    return change


def half_at(name, at, bits):
    def change(f):
        t = f[name]
        t.data = t.data[:at] + struct.pack("<H", bits) + t.data[at + 2:]
    return change


def broken_weights():
    names = [t.name for t in small().tensors]
    for name in names:
        if "norm" in name:
            for v in (NAN, INF, -INF):
                changed(f"{name} with {v}", f32_at(name, 5, v), [name, "holds NaN or Inf"])
        else:
            row = 1 if name.startswith("token_embd") else 3
            changed(f"{name} with NaN", f32_at(name, 32 * row, NAN), [name, "holds NaN or Inf", f"in row {row}"], kind="F32")
            changed(f"{name} with -Inf, in place", f32_at(name, 32 * row, -INF), [name, "holds NaN or Inf"], RUN + ["--no-repack"], kind="F32")
            changed(f"{name} with a scale of Inf", half_at(name, 34 * row, 0x7C00), [name, "holds NaN or Inf"])
            changed(f"{name} with a scale of NaN", half_at(name, 34 * row, 0xFE01), [name, "holds NaN or Inf"])
    changed("f16 weights with Inf", half_at("blk.0.ffn_up.weight", 0, 0x7C00), ["blk.0.ffn_up.weight", "holds NaN or Inf"], kind="F16")
    changed("weights that are too large", lambda f: setattr(f["blk.0.attn_v.weight"], "data", struct.pack("<f", 3e38) * 512),
            ["layer 0", "too large for floats"], kind="F32")
    changed("a norm that is quantised", lambda f: set_tensor("output_norm.weight", kind="Q8_0", data=b"\0" * 34)(f),
            ["output_norm.weight", "norms and biases must be F32"])
    for name in names:
        changed(f"no {name}", lambda f, name=name: f.tensors.remove(f[name]),
                "'blk.0.ffn_up.weight' is 32 x 32, expected 32 x 64" if "ffn_gate" in name else f"tensor '{name}' is missing")
    changed("a tensor too many", lambda f: f.tensors.append(Tensor("blk.0.nosuch.weight", [32], "F32", b"\0" * 128)),
            ["blk.0.nosuch.weight", "is not part of a 'llama' model"])
    changed("a matrix turned", set_tensor("blk.0.attn_k.weight", dims=[16, 32], kind="F16", data=b"\0" * 1024),
            ["blk.0.attn_k.weight", "is 16 x 32, expected 32 x 16"])
    changed("a matrix of three dimensions", set_tensor("blk.0.attn_k.weight", dims=[32, 8, 2]), ["blk.0.attn_k.weight", "expected 32 x 16"])


# ---- the vocabulary ----

def vocabularies():
    t = "tokenizer.ggml."
    ok = [f"t{i}" for i in range(16)]
    for name, said in (("model", "is missing"), ("tokens", "is missing"), ("merges", "is missing")):
        changed(f"no {t}{name}", lambda f, name=name: f.drop(t + name) and None, [t + name, said])
    for v in ("nosuch", "t5", "bert", "", "no_vocab"):
        key(t + "model", STR, v, [f"tokenizer.ggml.model is '{v}'", "supported: gpt2"])
    key(t + "pre", STR, "nosuch", ["nosuch"])
    key(t + "tokens", ARR, array(STR, []), "tokenizer.ggml.tokens has 0 entries")
    key(t + "tokens", ARR, array(U32, [1, 2]), "is an array of u32 (must be of string)")
    key(t + "tokens", STR, "a", "is of type string (must be array)")
    key(t + "tokens", ARR, array(STR, ["a"] + ok[1:15] + ["a"]), "tokens 0 and 15 have the same text 'a'")
    key(t + "tokens", ARR, array(STR, ok[:15]), "token_type has 16 entries for 15 tokens")
    changed("a token of 100 KB", lambda f: f.set(t + "tokens", ARR, array(STR, ok[:15] + ["x" * 100000])) and None,
            ["tokens[15] has 100000 bytes"])
    changed("a control token of 8 MB", lambda f: f.set(t + "tokens", ARR, array(STR, ok[:15] + ["x" * (8 << 20)])) and None,
            ["tokens[15] has 8388608 bytes"])
    key(t + "token_type", ARR, array(I32, [1] * 15), "token_type has 15 entries for 16 tokens")
    key(t + "token_type", ARR, array(I32, [1] * 15 + [7]), "token_type[15] is 7")
    key(t + "token_type", ARR, array(I32, [1] * 15 + [-1]), "token_type[15] is -1")
    key(t + "token_type", ARR, array(U8, [1] * 16), "is an array of u8 (must be of i32)")
    for v, said in (("a zz", "a token that is not in the vocabulary"), ("a c", "a token that is not in the vocabulary"), ("ab", "not two tokens"),
                    ("", "not two tokens"), (" a", "not two tokens"), ("a ", "not two tokens"), ("a " + "b" * 100000, "not in the vocabulary")):
        key(t + "merges", ARR, array(STR, [v]), ["tokenizer.ggml.merges[0]", said])
    key(t + "merges", ARR, array(U8, [1]), "is an array of u8 (must be of string)")
    for name in ("bos", "eos", "unknown", "eot", "eom"):
        key(f"{t}{name}_token_id", U32, 16, [f"{name}_token_id is 16, but there are 16 tokens"])
    key(t + "bos_token_id", STR, "x", "is of type string (must be an integer)")
    key(t + "bos_token_id", I8, -2, "is -2 (must be 0 to")
    changed("BOS without a token", lambda f: f.drop(t + "bos_token_id").set(t + "tokens", ARR, array(STR, ok[:8]))
            .set(t + "token_type", ARR, array(I32, [1] * 8)).drop(t + "eos_token_id").set(t + "merges", ARR, array(STR, []))
            .set(t + "add_bos_token", BOOL, 1) and None, "add_bos_token is true, but there is no such token")
    key(t + "add_bos_token", U8, 1, "is of type u8 (must be bool)")
    spm = lambda f: f.set(t + "model", STR, "llama").set(t + "scores", ARR, array(F32, [0] * 16))
    changed("SPM without scores", lambda f: spm(f).drop(t + "scores") and None, "tokenizer.ggml.scores")
    changed("SPM with 15 scores", lambda f: spm(f).set(t + "scores", ARR, array(F32, [0] * 15)) and None, "scores has 15 entries for 16 tokens")
    changed("SPM with a score that is NaN", lambda f: spm(f).set(t + "scores", ARR, array(F32, [0] * 15 + [NAN])) and None,
            "scores[15] is not a number")
    changed("SPM with scores of another type", lambda f: spm(f).set(t + "scores", ARR, array(F64, [0] * 16)) and None, "is an array of f64")
    changed("more tokens than embeddings", lambda f: f.set(t + "tokens", ARR, array(STR, [f"t{i}" for i in range(17)]))
            .set(t + "token_type", ARR, array(I32, [1] * 17)).set(t + "merges", ARR, array(STR, [])) and None,
            "tensor 'token_embd.weight' is 32 x 16, expected 32 x 17")


# ---- profiles ----

MODEL_LINE = "model: {{name: x, hash: '{h}', arch: llama, layers: {l}, heads: {n}, kv_heads: {kv}, head_dim: {d}}}\n"
OURS = dict(h="", l=1, n=2, kv=1, d=16)
LEVELS = 1008


def yaml(head=OURS, codec="tc", more=""):
    h = {**OURS, **head}
    layers = "".join(f"- {{layer: {i}, k: {{codec: {codec}, bits: 4}}, v: {{codec: {codec}, bits: 4}}}}\n" for i in range(h["l"]))
    return "version: 3\n" + MODEL_LINE.format(**h) + "policy: {sinks: 0, window: 0}\n" + more + "layers:\n" + layers


# Of 512 heads of width 128.
FULL = 16 + 512 * (128 * (1 + 4 + 1 + 2) + 2 * 128 * 128 + 14 + LEVELS)


def frame(body, size=None, checksum=b""):
    """A zstd frame that holds `body` as it is. A body that is a number: so many zeros, in a few bytes."""
    n = body if isinstance(body, int) else len(body)
    out = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", n if size is None else size)
    most = 1 << 17
    for at in range(0, max(n, 1), most):
        part = min(most, n - at)
        last = at + most >= n
        if isinstance(body, int):
            out += struct.pack("<I", int(last) | 1 << 1 | part << 3)[:3] + b"\0"
        else:
            out += struct.pack("<I", int(last) | part << 3)[:3] + body[at:at + part]
    return out + checksum


def blob(dim=16, heads=2, version=2, **change):
    """Identity transforms of four bits a dimension; change: a part of it as bytes."""
    rows = heads * dim
    sigma = struct.pack("<e", 1.0)
    flat = [512 if i == j else 0 for _ in range(heads) for i in range(dim) for j in range(dim)]
    parts = dict(head=struct.pack("<4sIII", b"KVTC", version, dim, heads), bits=bytes([4] * rows), mean=b"\0" * (4 * rows), exp=b"\xf7" * rows,
                 basis=bytes(v & 255 for v in flat) + bytes(v >> 8 for v in flat), sigma=sigma[:1] * rows + sigma[1:] * rows,
                 step=sigma[:1] * (heads * 7) + sigma[1:] * (heads * 7), levels=b"\0" * (LEVELS * heads))
    parts.update(change)
    return b"".join(parts.values())


def packed(name, text_, data, said, command=RUN):
    def change(f):
        f.set("kvcalib.version", U32, 3)
        if text_ is not None:
            f.set("kvcalib.profile", STR, text_)
        if data is not None:
            f.set("kvcalib.data", ARR, struct.pack("<IQ", U8, len(data)) + data)
    changed(name, change, said, command)


def planes(values, n):
    raw = [struct.pack("<f", v) for v in values]
    return b"".join(bytes(r[i] for r in raw) for i in range(n))


def packed_profiles():
    zeros = [0.0] * 32
    for v in (0, 7, (1 << 32) - 1):
        changed(f"packed, version {v}", lambda f, v=v: f.set("kvcalib.version", U32, v).set("kvcalib.profile", STR, yaml()) and None,
                ["kvcalib.version", "reads versions 1 to"])
    packed("packed without its text", None, frame(blob()), "key 'kvcalib.profile' is missing")
    changed("packed without its version", lambda f: f.set("kvcalib.profile", STR, yaml()) and None, "key 'kvcalib.version' is missing")
    packed("packed text that is no YAML", "{ [", None, ["kvcalib.profile:1"])
    packed("packed without data", yaml(), None, "data: missing")
    changed("packed data of another type", lambda f: f.set("kvcalib.version", U32, 3).set("kvcalib.profile", STR, yaml())
            .set("kvcalib.data", ARR, array(U32, [1])) and None, "kvcalib.data")
    for command in (RUN, SHOW):
        packed(f"packed for another model ({command[0]})", yaml(dict(h="00112233445566778899aabbccddeeff")), frame(blob()),
               "made for another model", command)
        packed(f"packed for more layers ({command[0]})", yaml(dict(l=2)), frame(blob(heads=4)), "made for a model with 2 layers", command)
        packed(f"packed for more heads ({command[0]})", yaml(dict(kv=2)), frame(blob(heads=4)), "made for a model with 2 KV heads", command)
        packed(f"packed for wider heads ({command[0]})", yaml(dict(d=32)), frame(blob(32)), "made for a model with 32 numbers per head", command)
        packed(f"packed bomb of another shape ({command[0]})", yaml(dict(l=500, n=64, kv=64, d=128)), frame(1 << 26), "made for a model with 500",
               command)
    packed("packed data of the wrong size", yaml(), frame(blob()[:-1]), "data: holds")
    packed("packed data that say too little", yaml(), frame(blob(), 100), "data: holds 100 bytes")
    packed("packed data of no size", yaml(), b"\x28\xb5\x2f\xfd\x00\x58" + frame(blob())[13:], "is not one whole zstd frame")
    packed("packed data cut short", yaml(), frame(blob())[:-9], "is not one whole zstd frame")
    packed("packed data with more behind", yaml(), frame(blob()) + b"\0", "is not one whole zstd frame")
    packed("packed data that are two frames", yaml(), frame(blob()) + frame(b""), "is not one whole zstd frame")
    packed("packed data that are no zstd", yaml(), blob(), "is not one whole zstd frame")
    packed("packed data that are empty", yaml(), b"", "zstd frame")
    packed("packed zstd bomb", yaml(), frame(1 << 26), "data: holds 67108864 bytes")
    packed("packed zstd bomb that lies about its size", yaml(), frame(1 << 26, len(blob())), "does not unpack")
    packed("packed data of another version", yaml(), frame(blob(version=9)), "is not calibrated data of version 2 or 3")
    packed("packed data of other heads", yaml(), frame(blob(head=struct.pack("<4sIII", b"KVTC", 2, 16, 7))), "is for 7 heads of width 16")
    packed("packed data of other widths", yaml(), frame(blob(head=struct.pack("<4sIII", b"KVTC", 2, 1 << 31, 2))), "is for 2 heads of width 2147483648")
    packed("a mean that is NaN", yaml(), frame(blob(mean=planes(zeros[:-1] + [NAN], 4))), "mean is not finite")
    packed("a mean that is Inf", yaml(), frame(blob(mean=planes([INF] + zeros[1:], 4))), "mean is not finite")
    packed("a mean that overflows", yaml(), frame(blob(mean=planes(zeros[:-1] + [1e38], 4))), "mean 15, 1e+38, is not within 1.09951e+12")
    packed("sigma of 0", yaml(), frame(blob(sigma=b"\0" * 64)), "sigma must be above 0")
    packed("sigma of NaN", yaml(), frame(blob(sigma=b"\xff" * 64)), "sigma must be above 0")
    packed("sigma below 0", yaml(), frame(blob(sigma=b"\0" * 32 + b"\xbc" * 32)), "sigma must be above 0")
    packed("steps of 0", yaml(), frame(blob(step=b"\0" * 28)), "the step of its levels must be above 0")
    packed("steps of NaN", yaml(), frame(blob(step=b"\xff" * 28)), "the step of its levels must be above 0")
    packed("a basis of zeros", yaml(), frame(blob(basis=b"\0" * 1024)), "row of the basis is zero")
    packed("a basis that is too large", yaml(), frame(blob(exp=b"\x7f" * 32)), "row of the basis")
    packed("a basis that is singular", yaml(), frame(blob(basis=b"\1" * 512 + b"\0" * 512)), "the basis is singular")
    packed("bits that rise", yaml(), frame(blob(bits=bytes([3, 4] * 16))), "never rise")
    packed("7 bits", yaml(), frame(blob(bits=bytes([7] * 32))), "bits must be at most 6")
    packed("levels that fall", yaml(), frame(blob(levels=bytes(255 - i % 256 for i in range(2 * LEVELS)))), "must not fall within a window")
    packed("shown with a basis of zeros", yaml(), frame(blob(basis=b"\0" * 1024)), "row of the basis is zero", SHOW)
    changed("nothing to strip", lambda f: None, "there is nothing to strip", STRIP)
    changed("nothing to show", lambda f: None, "holds no profile", SHOW)


def written(name, text_, said, code=1, command=PROFILE):
    case(f"profile: {name}", text_ if isinstance(text_, bytes) else text_.encode(), said, command, code)


def yaml_profiles():
    v = "version: 3\n"
    laughs = "a: &a [x, x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20))
    written("empty", "", "is empty")
    written("only a comment", "# nothing\n", "is empty")
    written("a list", "- 1\n", "expected a mapping")
    written("a word", "hello\n", "expected a mapping")
    written("a billion laughs", laughs, ":1: anchors and aliases are not allowed")
    written("an anchor", "version: &a 3\n", ":1: anchors and aliases")
    written("an alias", v + "policy: *a\n", ":2: anchors and aliases")
    written("a merge key", v + "policy: {<<: {sinks: 4}}\n", ":2:")
    written("a tag", "version: !!int 3\n", ":1: tag")
    written("a tag that makes objects", v + "policy: !!python/object/apply:os.system [x]\n", ":2: tag")
    written("nested deeply", v + "policy: " + "[" * 1000 + "]" * 1000 + "\n", ":2: nested too deeply")
    written("nested in blocks", v + "policy:\n" + "".join(" " * i + f"k{i}:\n" for i in range(1, 60)), "nested too deeply")
    written("a key twice", v + "policy: {sinks: 4, sinks: 5}\n", ":2: key 'sinks' is given twice")
    written("65 keys", v + "policy: {" + ", ".join(f"k{i}: 1" for i in range(70)) + "}\n", ":2: more than 64 keys")
    written("a key of 1 MB", v + "k" * (1 << 20) + ": 1\n", "")
    written("text of 1 MB", v + "model: {name: \"" + "x" * (1 << 20) + "\"}\n", "text longer than 4096 bytes")
    written("a million values", v + "layers: [" + "1," * (1 << 20) + "1]\n", "more than a million values")
    written("a list as key", v + "? [a]\n: 1\n", ":2: a key must be text")
    written("a NUL byte", b"version: 3\n\0\n", "a NUL byte at offset 11")
    written("a NUL escape", v + 'model: {name: "a\\0b"}\n', ":2: text with a NUL byte")
    written("not UTF-8", b"version: 3 # \xff\xfe\xfd\n", "byte 13")
    written("UTF-16", v.encode("utf-16"), "is UTF-16")
    written("two documents", v + "---\n" + v, ":2: a second document")
    written("five documents", 5 * (v + "---\n"), ":8: more than 4 documents")
    w = "version: 5\npolicy: {sinks: 4, window: %d, k: f16, v: f16}\n"
    written("windows that rise", w % 8 + "---\n" + w % 9, "9 comes behind 8, but windows must fall")
    written("windows of no codec", w % 8 + "---\n" + w % 7, "only calibrated profiles")
    written("an open quote", v + 'policy: {k: "f16}\n', ":")
    written("tabs", "version: 3\npolicy:\n\tsinks: 4\n", ":3:")
    written("an unknown key", v + "nosuch: 1\n", ":2: unknown key 'nosuch'; known here: version")
    written("no version", "policy: {sinks: 4}\n", "version: missing")
    written("version 99", "version: 99\nnosuch: 1\n", ":1: version: 99 is outside")
    written("version '3'", "version: '3'\n", ":1: version: expected")
    written("version 1e400", "version: 1e400\n", ":1: version")
    policy = lambda more="", **change: "policy: {" + ", ".join(
        f"{k}: {x}" for k, x in {**dict(sinks=4, window=8, k="f16", v="f16"), **change}.items()) + more + "}\n"
    written("no value", v + policy(k=""), ":2: policy.k")
    written("an unknown codec", v + policy(k="q99"), ":2: policy.k: 'q99' is not a codec that may stand here")
    written("a calibrated codec as default", v + policy(k="tc"), ":2: policy.k: 'tc' is not a codec that may stand here")
    written("no window", v + "policy: {sinks: 4}\n", ":2: policy.window: missing")
    written("a negative window", v + policy(window=-1), ":2: policy.window: -1 is outside")
    written("a window of 2^64", v + policy(window=1 << 64), ":2: policy.window")
    written("an aim that is NaN", v + policy() + "aim: {bits: .nan}\n", ":3: aim.bits")
    written("an aim of 1e999", v + policy() + "aim: {bits: 1e999}\n", ":3: aim.bits")
    written("two aims", v + policy() + "aim: {bits: 3, kld: 0.1}\n", ":3: aim: expected one of")
    written("layers that are too many", yaml(codec="f16").replace("layers: 1,", "layers: 2,"), "has 1 entries, but model.layers is 2")
    written("layers out of order", yaml(codec="f16").replace("layer: 0", "layer: 1"), ":5: layers[0].layer: is 1, but this is entry 0")
    written("tc without data", yaml(), "data: missing; codec tc needs")
    written("data that are no base64", yaml() + "data: !!binary |\n  ?\n", "data: is not base64")
    written("data that are no zstd", yaml() + "data: !!binary |\n  AAAA\n", "zstd frame")
    bomb = base64.b64encode(frame(FULL)).decode()
    written("data that unpack to many times their size", yaml(dict(l=8, n=32, kv=32, d=128)) + f"data: !!binary |\n  {bomb}\n",
            f"bytes would become {FULL}, more than any calibrated data do", command=["kvpack", "--show", "{}"])
    written("another model", yaml(dict(h="00112233445566778899aabbccddeeff"), "f16"), "made for another model")
    written("another shape", yaml(dict(d=32), "f16"), "made for a model with 32 numbers per head")
    written("another number of layers", yaml(dict(l=3), "f16"), "made for a model with 3 layers")
    written("a hash of 31 digits", yaml(dict(h="0" * 31), "f16"), "expected a hash of 32 hex digits")
    written("3 entropies for 2 heads", yaml(codec="f16").replace("layer: 0", "layer: 0, entropy: [1, 2, 3]"), "has 3 values, but the model has 2")
    written("a budget of 200 %", v + policy(", evict: {policy: snapkv, budget: 200%}"), ":2: policy.evict.budget: '200%'")
    written("an unknown policy", v + policy(", evict: {policy: nosuch}"), ":2: policy.evict.policy: 'nosuch' is none of")
    written("overrides without codec", v + policy(', overrides: [{layers: "0"}]'), ":2: policy.overrides[0]: names no codec")
    written("ranges that fall", v + policy(', overrides: [{layers: "5-3", k: f16}]'), ":2: policy.overrides[0].layers: '5-3'")
    written("an override of a layer that is not there", v + policy(', overrides: [{layers: "7", k: f16}]'), "7")


# ---- texts ----

def texts():
    q = lambda name, data, said, code=1: case(f"questions: {name}", data, said, QA, code)
    q("empty", b"", "no question in it")
    q("comments", b"# x\n\n", "no question in it")
    q("no tab", b"Who keeps the gate? Odo\n", ":1: no tab between question and answer")
    q("two tabs", b"Who?\tOdo\nWho?\tOdo\tOtto\n", ":2: more than one tab")
    q("no question", b"\tOdo\n", ":1: no question in front of the tab")
    q("no answer", b"Who?\t\n", ":1:")
    q("an answer of dots", b"Who?\t...\n", ":1: '...' is no answer")
    q("an empty answer of two", b"Who?\tOdo|\n", ":1: '' is no answer")
    q("not UTF-8", b"Who?\t\xff\n", ":1: not UTF-8")
    q("a NUL byte", b"Who?\tO\0do\n", "a NUL byte at offset 6")
    q("UTF-16", "Who?\tOdo\n".encode("utf-16"), "is UTF-16")
    case("text: empty", b"", "there is no text in it", PPL)
    case("text: a NUL byte", b"hello\0there\n" * 10, "a NUL byte at offset 5", PPL)
    case("text: UTF-16", ("a b ab " * 100).encode("utf-16"), "is UTF-16", PPL)
    case("text: UTF-32", ("a b ab " * 100).encode("utf-32"), "is UTF-32", PPL)
    case("ids: no JSON", b"{", "", LOGPROBS)
    case("ids: a number", b"1", "", LOGPROBS)
    case("ids: an id beyond", b'{"chunks": [{"tokens": [1, 99]}]}', "chunk 0, token 1: not an id in 0..15", LOGPROBS)
    case("ids: nested", b"[" * 100000, "", LOGPROBS)
    case("ids: no tokens", b'{"chunks": [{"tokens": []}]}', "chunk 0 has no", LOGPROBS)
    case("settings: nothing in it", b"\n", "", SETTINGS, (1, 2))
    case("settings: an unknown codec", b"x: -ctk q99\n", "q99", SETTINGS, (1, 2))
    case("settings: no options", b"x -ctk q8_0\n", "", SETTINGS, (1, 2))


# ---- running them ----

def run(command, path):
    """Exit code, stderr, peak memory in bytes, seconds of the processor."""
    words = [path if w == "{}" else w for w in command]
    limit = lambda: resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    with open("out", "wb") as out, open("err", "wb") as err:
        p = subprocess.Popen([BIN / words[0], *words[1:]], stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=limit)
        _, status, used = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
    return p.returncode, pathlib.Path("err").read_bytes(), used.ru_maxrss << 10, used.ru_utime + used.ru_stime


def baselines(commands):
    """What right files take, by program: the one that takes most."""
    pathlib.Path("good.gguf").write_bytes(small().bytes())
    pathlib.Path("document").write_text("a b ab abc 12 a b c ab abc. " * 40)
    pathlib.Path("questions").write_text("a b c\tb\n")
    pathlib.Path("p.yaml").write_text("version: 3\npolicy: {sinks: 4, window: 8, k: f16, v: f16}\n")
    pathlib.Path("settings").write_text("f16: -ctk f16\n")
    pathlib.Path("ids.json").write_text('{"chunks": [{"tokens": [1, 2, 3]}]}')
    f = small()
    f.set("kvcalib.version", U32, 3).set("kvcalib.profile", STR, yaml()).set("kvcalib.data", ARR, struct.pack("<IQ", U8, len(frame(blob()))) + frame(blob()))
    pathlib.Path("packed.gguf").write_bytes(f.bytes())
    right = {"kvrun": [(RUN, "good.gguf"), (PROFILE, "p.yaml"), (RUN, "packed.gguf")], "kvpack": [(SHOW, "packed.gguf"), (STRIP, "packed.gguf")],
             "kveval": [(QA, "questions"), (PPL, "document"), (LOGPROBS, "ids.json"), (SETTINGS, "settings")]}
    most = {}
    for tool, runs in right.items():
        for command, path in runs:
            code, err, memory, _ = run(command, path)
            if code:
                sys.exit(f"a right file is refused: {' '.join(command)} ({path}): {code}, {err.decode()}")
            most[tool] = max(most.get(tool, 0), memory)
    return most


def main():
    for make in (truncations, headers, key_values, tensors, shapes, broken_weights, vocabularies, packed_profiles, yaml_profiles, texts):
        make()
    version = subprocess.run([BIN / "kvrun", "--version"], capture_output=True).stdout
    sanitized = b"sanitizers" in version  # which take memory of their own
    base = baselines(cases)
    failed, slowest, largest, tried, started = [], (0, ""), (0, ""), 0, time.time()
    for name, make, command, code, said in cases:
        if PART not in name:
            continue
        data = make()
        tried += 1
        path = "bad.gguf" if "good.gguf" not in command else "bad.txt"
        pathlib.Path(path).write_bytes(data)
        got, err, memory, seconds = run(command, path)
        beyond = memory - base[command[0]]
        why = []
        if got not in (code if isinstance(code, tuple) else (code,)):
            why.append(f"exit code {got}, not {code}")
        why += [f"does not say '{s}'" for s in said if s.encode() not in err]
        if path.encode() not in err:
            why.append("does not name the file")
        if beyond > SPARE + TIMES * len(data) and not sanitized:
            why.append(f"takes {beyond >> 20} MiB more than a right file, of {len(data)} bytes")
        if why:
            failed.append(name)
            print(f"{name}: {'; '.join(why)}\n    {err.decode(errors='replace').strip()[:600]}", flush=True)
        slowest = max(slowest, (seconds, name))
        largest = max(largest, (beyond, name))
    print(f"{tried} bad files tried, {tried - len(failed)} refused as they must be, in {time.time() - started:.1f} s")
    print(f"most time: {slowest[0]:.2f} s ({slowest[1]}); most memory beyond a right file: {largest[0] / 2**20:.1f} MiB ({largest[1]})")
    return 1 if failed or not tried else 0


if __name__ == "__main__":
    sys.exit(main())
