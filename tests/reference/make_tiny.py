#!/usr/bin/env python3
"""Tiny random models, at least one per architecture, that together hold every tensor type: tests/data/tiny/*.gguf.

  make_tiny.py TINY_DIR REF_DIR     writes TINY_DIR/<name>.gguf and REF_DIR/tiny-<name>.json

Each file is a complete model with a tokenizer that works (bytes plus a few merges). The weights are noise, but scaled so
that attention is uneven and the logits are peaked (standard deviation 2.5): a wrong rotation, mask or block layout then
shows at once. Same seed, same bytes.
"""
import argparse
import json
import os

import numpy as np
from gguf import GGML_QUANT_SIZES, GGUFWriter, TokenType, dequantize, quant_shape_to_byte_shape, quantize
from gguf import GGMLQuantizationType as QT
from gguf.quants import NVFP4

from reference import Model, top_entries

N_TOKENS = 112  # of the reference sequence; seven times the tiny gemma3's window
LOGIT_STD = 2.5

# Columns must fill whole blocks: 256 elements for the K, IQ and TQ types, 64 for NVFP4, 32 for the others.
MODELS = {
    "llama": dict(
        arch="llama", pre="smollm", n_layer=3, n_embd=64, n_head=2, n_kv_head=1, head_dim=32, n_ff=96, rope_base=10000.0,
        embd=QT.Q8_0, output=None,
        types=[QT.F32, QT.F16, QT.BF16, QT.Q4_1, QT.Q8_0, QT.Q4_0, QT.Q5_1, QT.Q5_0]),
    "llama-rope-freqs": dict(
        arch="llama", pre="llama-bpe", n_layer=2, n_embd=256, n_head=4, n_kv_head=1, head_dim=64, n_ff=256,
        rope_base=500000.0, rope_freqs=True, embd=QT.Q4_K, output=QT.Q6_K,
        types=[QT.Q2_K, QT.Q3_K, QT.Q4_K, QT.Q5_K, QT.Q6_K]),
    "qwen2": dict(
        arch="qwen2", pre="qwen2", n_layer=3, n_embd=128, n_head=4, n_kv_head=2, head_dim=32, n_ff=160,
        rope_base=1000000.0, bias=True, embd=QT.Q5_0, output=QT.Q8_0,
        types=[QT.Q5_0, QT.Q4_0, QT.Q8_0, QT.Q4_1, QT.Q5_1]),
    "qwen3": dict(
        arch="qwen3", pre="qwen2", n_layer=3, n_embd=96, n_head=4, n_kv_head=2, head_dim=64, n_ff=128,
        rope_base=1000000.0, qk_norm=True, embd=QT.BF16, output=None,
        types=[QT.IQ4_NL, QT.BF16, QT.Q4_1, QT.IQ4_NL, QT.F16, QT.Q5_1]),
    "gemma3": dict(
        arch="gemma3", spm=True, n_layer=7, n_embd=64, n_head=2, n_kv_head=1, head_dim=64, n_ff=96, rope_base=1000000.0,
        window=16, qk_norm=True, post_norm=True, embd=QT.F16, output=None,
        types=[QT.Q4_0, QT.Q8_0, QT.Q5_0, QT.IQ4_NL, QT.Q5_1, QT.BF16]),
    "llama-iq": dict(
        arch="llama", pre="smollm", n_layer=2, n_embd=256, n_head=4, n_kv_head=2, head_dim=64, n_ff=256,
        rope_base=10000.0, embd=QT.IQ2_S, output=QT.MXFP4,
        types=[QT.IQ1_S, QT.IQ2_XXS, QT.IQ3_XXS, QT.IQ4_XS, QT.IQ1_M, QT.IQ2_XS, QT.IQ3_S, QT.IQ2_S, QT.MXFP4, QT.NVFP4, QT.TQ1_0,
               QT.TQ2_0]),
}

MERGES = ("Ġ t,h e,i n,e r,a n,Ġt he,o n,r e,Ġ a,a t,e n,Ġ s,Ġ w,i s,Ġ o,o r,in g,an d,Ġ c,e d,o u,Ġ and,e s,Ġo f,"
          "l l,Ġ b,Ġs t,Ċ Ċ,Ġ Ġ,ĠĠ ĠĠ").split(",")
PIECES = ["▁", "▁t", "he", "in", "er", "▁the", "▁a", "an"] + list("etaoinshrdlucmfwypvbgk")


def byte_letters():
    """GPT-2's printable stand-ins for the 256 bytes: printable Latin-1 stays itself, the rest moves above U+0100."""
    keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = iter(range(0x100, 0x200))
    return [chr(b) if b in keep else chr(next(moved)) for b in range(256)]


def add_bpe(w, pre):
    tokens = byte_letters() + [m.replace(" ", "") for m in MERGES]
    n_normal = len(tokens)
    tokens += ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens)
    w.add_token_types([TokenType.NORMAL] * n_normal + [TokenType.CONTROL] * 3)
    w.add_token_merges(MERGES)
    w.add_bos_token_id(n_normal)
    w.add_eos_token_id(n_normal + 2)
    w.add_add_bos_token(False)
    return len(tokens)


def add_spm(w):
    control = ["<pad>", "<eos>", "<bos>"]
    tokens = control + ["<unk>"] + [f"<0x{b:02X}>" for b in range(256)] + PIECES
    kinds = [TokenType.CONTROL] * 3 + [TokenType.UNKNOWN] + [TokenType.BYTE] * 256 + [TokenType.NORMAL] * len(PIECES)
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(tokens)
    w.add_token_scores([-1000.0] * 260 + [-float(i) for i in range(len(PIECES))])
    w.add_token_types(kinds)
    w.add_bos_token_id(2)
    w.add_eos_token_id(1)
    w.add_unk_token_id(3)
    w.add_pad_token_id(0)
    w.add_add_bos_token(True)
    w.add_add_space_prefix(False)
    return len(tokens)


# For types that the package can read but not write: where a block keeps its f16 scales (d, dmin), and dmin/d such that
# random codes have a mean near zero.
RANDOM_BLOCKS = {
    QT.Q2_K: (80, 82, 1.5),
    QT.Q3_K: (108, None, 0),
    QT.Q4_K: (0, 2, 7.5),
    QT.Q5_K: (0, 2, 15.5),
    QT.Q6_K: (208, None, 0),
    QT.IQ4_NL: (0, None, 0),
    QT.IQ1_S: (0, None, 0),
    QT.IQ1_M: (None, None, 0),
    QT.IQ2_XXS: (0, None, 0),
    QT.IQ2_XS: (0, None, 0),
    QT.IQ2_S: (0, None, 0),
    QT.IQ3_XXS: (0, None, 0),
    QT.IQ3_S: (0, None, 0),
    QT.IQ4_XS: (0, None, 0),
    QT.NVFP4: (None, None, 0),
}


def random_blocks(rng, qtype, shape, std):
    """Random codes and sub-scales under block scales that differ and give the wanted standard deviation."""
    at_d, at_min, ratio = RANDOM_BLOCKS[qtype]
    n_rows, row_bytes = quant_shape_to_byte_shape(shape, qtype)
    n_blocks = shape[1] // GGML_QUANT_SIZES[qtype][0]
    data = rng.integers(0, 256, (n_rows, n_blocks, row_bytes // n_blocks), dtype=np.uint8)
    d = rng.uniform(0.5, 1.5, (n_rows, n_blocks))

    def set_scales(factor):
        if qtype == QT.IQ1_M:  # four bits each in the upper nibbles of four numbers
            halves = (d * factor).astype("<f2").view("<u2")
            for i in range(4):
                data[:, :, 49 + 2 * i] = data[:, :, 49 + 2 * i] & 15 | (halves >> 4 * i & 15) << 4
            return data.reshape(n_rows, row_bytes)
        if qtype == QT.NVFP4:  # floats of 8 bits, each for 16 weights
            uneven = np.array([0.6, 0.8, 1.1, 1.5])
            data[:, :, :4] = NVFP4.fp32_to_ue4m3((d[..., None] * factor * uneven).astype(np.float32))
            return data.reshape(n_rows, row_bytes)
        data[:, :, at_d:at_d + 2] = (d * factor).astype("<f2")[..., None].view(np.uint8)
        if at_min is not None:
            data[:, :, at_min:at_min + 2] = (d * factor * ratio).astype("<f2")[..., None].view(np.uint8)
        return data.reshape(n_rows, row_bytes)

    first = 1.0 if qtype == QT.NVFP4 else 1e-2
    spread = dequantize(set_scales(first), qtype).std()
    return set_scales(first * std / spread)


class TensorMaker:
    """Draws tensors and hands them to the writer; matrices take the model's types in turn."""

    def __init__(self, writer, rng, types):
        self.writer, self.rng, self.types = writer, rng, types
        self.n_matrices = 0

    def vector(self, name, n, mean=1.0, std=0.1):
        self.writer.add_tensor(name, self.rng.normal(mean, std, n).astype(np.float32))

    def matrix(self, name, rows, cols, std, qtype=None):
        if qtype is None:
            qtype = self.types[self.n_matrices % len(self.types)]
            self.n_matrices += 1
        if qtype in RANDOM_BLOCKS:
            self.writer.add_tensor(name, random_blocks(self.rng, qtype, (rows, cols), std), raw_dtype=qtype)
        elif qtype in (QT.TQ1_0, QT.TQ2_0):
            d = std * 1.5**0.5 * self.rng.uniform(0.5, 1.5, (rows, cols // 256, 1))
            w = d * self.rng.integers(-1, 2, (rows, cols // 256, 256))
            self.writer.add_tensor(name, quantize(w.reshape(rows, cols).astype(np.float32), qtype), raw_dtype=qtype)
        else:
            w = self.rng.normal(0, std, (rows, cols)).astype(np.float32)
            self.writer.add_tensor(name, quantize(w, qtype), raw_dtype=qtype)


def llama3_rope_freqs(head_dim, base, factor=8.0, low=1.0, high=4.0, context=64):
    """Divisors of the rotation frequencies, as Llama 3 scales them; the short context makes them matter here."""
    wavelength = 2 * np.pi * base ** (np.arange(0, head_dim, 2) / head_dim)
    smooth = np.clip((context / wavelength - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def add_layer(t, p, m):
    q_dim, kv_dim, n_embd, n_ff = m["n_head"] * m["head_dim"], m["n_kv_head"] * m["head_dim"], m["n_embd"], m["n_ff"]
    unit = n_embd**-0.5  # keeps a normalised input at its size
    uneven = 1.5  # scores with a standard deviation above 2: attention that is not flat
    t.vector(p + "attn_norm.weight", n_embd)
    t.matrix(p + "attn_q.weight", q_dim, n_embd, uneven * unit)
    t.matrix(p + "attn_k.weight", kv_dim, n_embd, uneven * unit)
    t.matrix(p + "attn_v.weight", kv_dim, n_embd, unit)
    t.matrix(p + "attn_output.weight", n_embd, q_dim, q_dim**-0.5)
    if m.get("bias"):
        t.vector(p + "attn_q.bias", q_dim, 0, 0.5)
        t.vector(p + "attn_k.bias", kv_dim, 0, 2)  # large, as in the real Qwen2
        t.vector(p + "attn_v.bias", kv_dim, 0, 0.2)
    if m.get("qk_norm"):
        t.vector(p + "attn_q_norm.weight", m["head_dim"], uneven, 0.2)
        t.vector(p + "attn_k_norm.weight", m["head_dim"], uneven, 0.2)
    if m.get("post_norm"):
        t.vector(p + "post_attention_norm.weight", n_embd)
        t.vector(p + "post_ffw_norm.weight", n_embd)
    t.vector(p + "ffn_norm.weight", n_embd)
    t.matrix(p + "ffn_gate.weight", n_ff, n_embd, uneven * unit)
    t.matrix(p + "ffn_up.weight", n_ff, n_embd, uneven * unit)
    t.matrix(p + "ffn_down.weight", n_embd, n_ff, n_ff**-0.5)


def write_model(path, name, m, seed, output_gain):
    w = GGUFWriter(path, m["arch"])
    w.add_name("tiny " + name)
    w.add_context_length(512)
    w.add_block_count(m["n_layer"])
    w.add_embedding_length(m["n_embd"])
    w.add_feed_forward_length(m["n_ff"])
    w.add_head_count(m["n_head"])
    w.add_head_count_kv(m["n_kv_head"])
    w.add_layer_norm_rms_eps(1e-6)
    w.add_rope_freq_base(m["rope_base"])
    if m["n_head"] * m["head_dim"] != m["n_embd"]:
        w.add_key_length(m["head_dim"])
        w.add_value_length(m["head_dim"])
    if m["arch"] == "llama":
        w.add_rope_dimension_count(m["head_dim"])
    if "window" in m:
        w.add_sliding_window(m["window"])
    n_vocab = add_spm(w) if m.get("spm") else add_bpe(w, m["pre"])

    t = TensorMaker(w, np.random.default_rng(seed), m["types"])
    embd_std = m["n_embd"] ** -0.5 if m["arch"] == "gemma3" else 0.7  # Gemma multiplies by sqrt(n_embd)
    t.matrix("token_embd.weight", n_vocab, m["n_embd"], embd_std, m["embd"])
    if m.get("rope_freqs"):
        w.add_tensor("rope_freqs.weight", llama3_rope_freqs(m["head_dim"], m["rope_base"]))
    for i in range(m["n_layer"]):
        add_layer(t, f"blk.{i}.", m)
    t.vector("output_norm.weight", m["n_embd"], output_gain, 0.1 * output_gain)
    if m["output"] is not None:
        t.matrix("output.weight", n_vocab, m["n_embd"], m["n_embd"] ** -0.5, m["output"])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return n_vocab


def make(name, m, seed, tiny_dir, ref_dir):
    path = os.path.join(tiny_dir, name + ".gguf")
    n_vocab = write_model(path, name, m, seed, 1.0)
    tokens = np.random.default_rng(seed + 1000).integers(4, n_vocab - 4, N_TOKENS).tolist()
    positions = list(range(N_TOKENS))

    def run():
        model = Model(path, np.float64)
        return model.log_probs([model.with_bos(tokens)], positions)[0]

    write_model(path, name, m, seed, LOGIT_STD / run().std())  # the output norm's gain sets how peaked the logits are
    lp = run()
    chunk = {
        "tokens": Model(path).with_bos(tokens),
        "scored": [{"pos": p, "top": top_entries(row, 10)} for p, row in zip(positions, lp)],
    }
    with open(os.path.join(ref_dir, f"tiny-{name}.json"), "w") as f:
        json.dump({"source": "tests/reference/make_tiny.py, float64", "chunks": [chunk]}, f, separators=(",", ":"))
        f.write("\n")
    entropy = -(np.exp(lp) * lp).sum(-1).mean()
    size = os.path.getsize(path)
    print(f"{name:18} {size:8} bytes, {n_vocab} tokens, logit std {lp.std(-1).mean():.2f}, entropy {entropy:.2f} nats")


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("tiny_dir")
    ap.add_argument("ref_dir")
    args = ap.parse_args()
    for number, (name, m) in enumerate(MODELS.items()):
        make(name, m, 1 + number, args.tiny_dir, args.ref_dir)


if __name__ == "__main__":
    main()
