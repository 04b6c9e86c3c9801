#!/usr/bin/env python3
"""An independent forward pass: numpy on the dequantised weights of a GGUF file, no code shared with the toolchain.

  reference.py MODEL --in CHUNKS.json --out REF.json   log-probabilities for {"chunks": [{"tokens": [...]}, ...]}
  reference.py MODEL --compare REF.json                measure this file's pass against stored log-probabilities

Every weight is expanded to f32 with the package `gguf`, and everything is computed in f32 (--double: f64), without
quantising activations or the KV cache. Formats: tests/reference/README.md.

Architectures: llama, qwen2, qwen3, gemma3. Sources: RoPE (arXiv:2104.09864), RMSNorm (1910.07467), grouped queries
(2305.13245), SwiGLU/GeGLU (2002.05202), Gemma 3 (2503.19786), Qwen3 (2505.09388), Llama 3 frequency factors (2407.21783).
"""
import argparse
import json
import sys

import numpy as np
from gguf import GGUFReader, dequantize

GEMMA3_FULL_EVERY = 6  # layers 5, 11, 17, ... see the whole context, the others a sliding window


class Weights:
    """Tensors by name, expanded when asked for, so that only one layer is in memory at a time."""

    def __init__(self, path, dtype):
        reader = GGUFReader(path)
        self.dtype = dtype
        self.tensors = {t.name: t for t in reader.tensors}
        self.fields = {name: field.contents() for name, field in reader.fields.items()}
        self.arch = self.fields["general.architecture"]

    def param(self, key, default=None):
        return self.fields.get(f"{self.arch}.{key}", default)

    def __contains__(self, name):
        return name in self.tensors

    def shape(self, name):
        """(rows, columns), or (length,)."""
        return tuple(int(n) for n in reversed(self.tensors[name].shape))

    def rows(self, name, index=slice(None)):
        t = self.tensors[name]
        data = t.data.reshape(self.shape(name)[0], -1)[index] if len(t.shape) > 1 else t.data
        return dequantize(data, t.tensor_type).astype(self.dtype)

    def get(self, name):
        """The tensor as an array, or None."""
        return self.rows(name) if name in self else None


class Model:
    def __init__(self, path, dtype=np.float32):
        self.w = w = Weights(path, dtype)
        self.dtype = dtype
        if w.arch not in ("llama", "qwen2", "qwen3", "gemma3"):
            raise SystemExit(f"{path}: architecture '{w.arch}' is not known here")
        self.gemma = w.arch == "gemma3"
        self.n_layer = w.param("block_count")
        self.n_embd = w.param("embedding_length")
        self.n_head = w.param("attention.head_count")
        self.n_kv_head = w.param("attention.head_count_kv", self.n_head)
        self.head_dim = w.param("attention.key_length", self.n_embd // self.n_head)
        self.eps = dtype(w.param("attention.layer_norm_rms_epsilon"))
        self.window = w.param("attention.sliding_window", 0) if self.gemma else 0
        self.inv_freq = self.rope_frequencies(w.param("rope.freq_base", 10000.0))
        self.inv_freq_swa = self.rope_frequencies(w.param("rope.freq_base_swa", 10000.0))
        if w.param("rope.scaling.type", "none") == "linear":
            self.inv_freq /= w.param("rope.scaling.factor")
        if "rope_freqs.weight" in w:
            self.inv_freq /= w.get("rope_freqs.weight").astype(np.float64)

    def with_bos(self, tokens):
        """As llama.cpp's perplexity tool reads a chunk: BOS in place of the first token, where the model adds one."""
        if self.w.fields.get("tokenizer.ggml.add_bos_token", False):
            return [self.w.fields["tokenizer.ggml.bos_token_id"]] + tokens[1:]
        return tokens

    def rope_frequencies(self, base):
        n_rot = self.w.param("rope.dimension_count", self.head_dim)
        return float(base) ** (-np.arange(0, n_rot, 2, dtype=np.float64) / n_rot)

    def full_attention(self, layer):
        return self.window == 0 or (layer + 1) % GEMMA3_FULL_EVERY == 0

    def norm(self, x, weight):
        """RMSNorm over the last dimension. The "+1" of Gemma's weights is already in the file."""
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * weight

    def rope(self, x, inv_freq):
        """Rotate x (n_tok, heads, head_dim): llama rotates neighbours (2i, 2i+1), the others (i, i + n_rot/2)."""
        half = len(inv_freq)
        angle = np.arange(len(x))[:, None, None] * inv_freq
        cos, sin = np.cos(angle).astype(self.dtype), np.sin(angle).astype(self.dtype)
        first, second = (slice(0, 2 * half, 2), slice(1, 2 * half, 2))
        if self.w.arch != "llama":
            first, second = (slice(0, half), slice(half, 2 * half))
        out = x.copy()
        out[..., first] = x[..., first] * cos - x[..., second] * sin
        out[..., second] = x[..., first] * sin + x[..., second] * cos
        return out

    def attention(self, x, layer, p):
        """x (n_tok, n_embd), already normalised; p: the layer's tensors."""
        n = len(x)

        def project(what, heads):
            y = x @ p[f"attn_{what}.weight"].T
            if f"attn_{what}.bias" in p:
                y = y + p[f"attn_{what}.bias"]
            y = y.reshape(n, heads, self.head_dim)
            return self.norm(y, p[f"attn_{what}_norm.weight"]) if f"attn_{what}_norm.weight" in p else y

        full = self.full_attention(layer)
        inv_freq = self.inv_freq if full else self.inv_freq_swa
        q = self.rope(project("q", self.n_head), inv_freq)
        k = self.rope(project("k", self.n_kv_head), inv_freq)
        v = project("v", self.n_kv_head)

        back = np.arange(n)[:, None] - np.arange(n)[None, :]  # how far key j lies behind query i
        visible = back >= 0
        if not full:
            visible &= back < self.window
        out = np.empty_like(q)
        group = self.n_head // self.n_kv_head
        for h in range(self.n_head):
            scores = q[:, h] @ k[:, h // group].T / self.dtype(np.sqrt(self.head_dim))
            scores[~visible] = -np.inf
            a = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, h] = (a / a.sum(-1, keepdims=True)) @ v[:, h // group]
        return out.reshape(n, -1) @ p["attn_output.weight"].T

    def feed_forward(self, x, p):
        gate, up = x @ p["ffn_gate.weight"].T, x @ p["ffn_up.weight"].T
        if self.gemma:
            inner = self.dtype(np.sqrt(2 / np.pi)) * (gate + self.dtype(0.044715) * gate**3)
            act = self.dtype(0.5) * gate * (1 + np.tanh(inner))
        else:
            act = gate / (1 + np.exp(-gate))
        return (act * up) @ p["ffn_down.weight"].T

    def layer(self, x, layer, p):
        y = self.attention(self.norm(x, p["attn_norm.weight"]), layer, p)
        if self.gemma:
            y = self.norm(y, p["post_attention_norm.weight"])
        x = x + y
        y = self.feed_forward(self.norm(x, p["ffn_norm.weight"]), p)
        if self.gemma:
            y = self.norm(y, p["post_ffw_norm.weight"])
        return x + y

    def log_probs(self, chunks, positions):
        """chunks: lists of token ids; positions: one list for all. Returns (len(positions), n_vocab) for each chunk."""
        w = self.w
        scale = self.dtype(np.sqrt(self.n_embd) if self.gemma else 1)
        states = [w.rows("token_embd.weight", tokens) * scale for tokens in chunks]
        for i in range(self.n_layer):
            prefix = f"blk.{i}."
            p = {name[len(prefix):]: w.get(name) for name in w.tensors if name.startswith(prefix)}
            states = [self.layer(x, i, p) for x in states]
        output = "output.weight" if "output.weight" in w else "token_embd.weight"
        out_norm = w.get("output_norm.weight")
        states = [self.norm(x[positions], out_norm) for x in states]
        logits = [np.empty((len(positions), w.shape(output)[0]), self.dtype) for _ in chunks]
        step = 16384  # rows of the output matrix expanded at a time
        for at in range(0, w.shape(output)[0], step):
            part = w.rows(output, slice(at, at + step))
            for x, y in zip(states, logits):
                y[:, at:at + step] = x @ part.T
        return [y - log_sum_exp(y)[:, None] for y in logits]


def log_sum_exp(y):
    top = y.max(-1)
    return top + np.log(np.exp(y - top[:, None]).sum(-1, dtype=np.float64)).astype(y.dtype)


def top_entries(lp, k):
    """The k most likely ids, ties by lower id, as [[id, natural-log probability], ...]."""
    ids = np.lexsort((np.arange(len(lp)), -lp))[:k]
    return [[int(i), round(float(lp[i]), 5)] for i in ids]


def write_reference(model, args):
    with open(args.input) as f:
        chunks = [model.with_bos(c["tokens"]) for c in json.load(f)["chunks"]]
    n = len(chunks[0])
    if any(len(c) != n for c in chunks):
        raise SystemExit(f"{args.input}: chunks differ in length")
    positions = list(range(args.first, n, args.every))
    out = []
    for tokens, lp in zip(chunks, model.log_probs(chunks, positions)):
        scored = [{"pos": p, "top": top_entries(row, args.top)} for p, row in zip(positions, lp)]
        out.append({"tokens": tokens, "scored": scored})
    with open(args.out, "w") as f:
        source = "tests/reference/reference.py, " + np.dtype(model.dtype).name
        json.dump({"source": source, "chunks": out}, f, separators=(",", ":"))
        f.write("\n")


def compare(model, path):
    """The measures of agreement: top token's mean |difference|, same top-1, perplexity of the second halves."""
    with open(path) as f:
        ref = json.load(f)
    chunks = [model.with_bos(c["tokens"]) for c in ref["chunks"]]
    n = len(chunks[0])
    positions = list(range(0, n - 1))
    diffs, all_diffs, same, nll = [], [], [], []
    for chunk, lp in zip(ref["chunks"], model.log_probs(chunks, positions)):
        for entry in chunk["scored"]:
            if entry["pos"] >= n - 1:
                continue
            row = lp[entry["pos"]]
            ids, values = zip(*entry["top"])
            delta = np.abs(row[list(ids)] - np.array(values))
            diffs.append(delta[0])
            all_diffs.extend(delta)
            same.append(int(row.argmax()) == ids[0])
        nll += [-lp[p, chunk["tokens"][p + 1]] for p in range(n // 2, n - 1)]
    print(f"positions       {len(same)}")
    print(f"mean |dlp| top  {np.mean(diffs):.6f}   (all entries: mean {np.mean(all_diffs):.6f}, max {np.max(all_diffs):.6f})")
    print(f"same top-1      {100 * np.mean(same):.2f} %")
    print(f"perplexity      {np.exp(np.mean(nll, dtype=np.float64)):.4f}   (stored: {ref.get('perplexity', 'none')})")


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("model")
    ap.add_argument("--in", dest="input", metavar="CHUNKS.json")
    ap.add_argument("--out", metavar="REF.json")
    ap.add_argument("--compare", metavar="REF.json")
    ap.add_argument("--first", type=int, default=0, help="first position to score")
    ap.add_argument("--every", type=int, default=1, help="score every n-th position")
    ap.add_argument("--top", type=int, default=10)
    ap.add_argument("--double", action="store_true", help="compute in f64")
    args = ap.parse_args()
    model = Model(args.model, np.float64 if args.double else np.float32)
    if args.compare:
        compare(model, args.compare)
    elif args.input and args.out:
        write_reference(model, args)
    else:
        ap.error("give --compare, or --in and --out")


if __name__ == "__main__":
    sys.exit(main())
