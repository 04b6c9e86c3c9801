#!/usr/bin/env python3
"""Gradients of sum_i log p(y_i) with respect to every cached key and value, by PyTorch's autograd in f64.

  make_backward.py TINY_DIR REF_DIR             writes REF_DIR/backward-<name>.json for every tiny model
  make_backward.py --dump MODEL IDS.i32 OUT     IDS: n token ids, then n targets; OUT: dk, dv (n_layer, n, n_kv_head, head_dim) f64

The forward pass is reference.py's, written once more for tensors that remember how they were made.
"""
import json
import os
import sys

import numpy as np
import torch

from make_tiny import MODELS
from reference import Model

N_TOKENS = 80  # more than a tile of 64, five times the tiny gemma3's window
POSITIONS = [0, 1, 17, 46, 63, 64, 79]  # that are stored; of the others only the sum of squares


class Gradients:
    def __init__(self, path, dtype=torch.float64):
        self.m = Model(path, np.float64)
        self.dtype = dtype

    def tensor(self, name, index=slice(None)):
        return torch.from_numpy(self.m.w.rows(name, index)).to(self.dtype) if name in self.m.w else None

    def norm(self, x, weight):
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + float(self.m.eps)) * weight

    def rope(self, x, inv_freq):
        half = len(inv_freq)
        angle = torch.from_numpy(np.arange(len(x))[:, None, None] * inv_freq)
        cos, sin = torch.cos(angle).to(self.dtype), torch.sin(angle).to(self.dtype)
        if self.m.w.arch == "llama":
            a, b = x[..., 0:2 * half:2], x[..., 1:2 * half:2]
            rotated = torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
        else:
            a, b = x[..., :half], x[..., half:2 * half]
            rotated = torch.cat([a * cos - b * sin, a * sin + b * cos], -1)
        return torch.cat([rotated, x[..., 2 * half:]], -1)

    def project(self, x, p, what, heads):
        y = x @ self.tensor(p + f"attn_{what}.weight").T
        bias, norm = self.tensor(p + f"attn_{what}.bias"), self.tensor(p + f"attn_{what}_norm.weight")
        y = (y if bias is None else y + bias).reshape(len(x), heads, self.m.head_dim)
        return y if norm is None else self.norm(y, norm)

    def attention(self, x, layer, p):
        m, n = self.m, len(x)
        full = m.full_attention(layer)
        inv_freq = m.inv_freq(n) if full else m.inv_freq_swa
        q = self.rope(self.project(x, p, "q", m.n_head), inv_freq)
        k = self.rope(self.project(x, p, "k", m.n_kv_head), inv_freq)
        v = self.project(x, p, "v", m.n_kv_head)
        v = v + 0  # a tensor of its own, whose gradient is that of the cached value
        for t in (k, v):
            t.retain_grad()
        self.keys.append(k)
        self.values.append(v)
        back = torch.arange(n)[:, None] - torch.arange(n)[None, :]
        hidden = (back < 0) if full else (back < 0) | (back >= m.window)
        group = m.n_head // m.n_kv_head
        scores = torch.einsum("ihd,jhd->hij", q, k.repeat_interleave(group, 1)) / np.sqrt(m.head_dim)
        a = torch.softmax(scores.masked_fill(hidden, -torch.inf), -1)
        self.entropy.append(torch.special.entr(a).sum(-1).T.detach())
        return torch.einsum("hij,jhd->ihd", a, v.repeat_interleave(group, 1)).reshape(n, -1) @ self.tensor(p + "attn_output.weight").T

    def feed_forward(self, x, p):
        gate, up = x @ self.tensor(p + "ffn_gate.weight").T, x @ self.tensor(p + "ffn_up.weight").T
        act = torch.nn.functional.gelu(gate, approximate="tanh") if self.m.trait("gelu") else torch.nn.functional.silu(gate)
        return (act * up) @ self.tensor(p + "ffn_down.weight").T

    def run(self, tokens, targets):
        """Returns dk, dv (n_layer, n, n_kv_head, head_dim) and entropy (n_layer, n, n_head)."""
        m = self.m
        self.keys, self.values, self.entropy = [], [], []
        x = self.tensor("token_embd.weight", tokens) * (m.embd_scale)
        x.requires_grad_(True)
        for i in range(m.n_layer):
            p = f"blk.{i}."
            y = self.attention(self.norm(x, self.tensor(p + "attn_norm.weight")), i, p)
            x = x + (self.norm(y, self.tensor(p + "post_attention_norm.weight")) if m.trait("post") else y)
            y = self.feed_forward(self.norm(x, self.tensor(p + "ffn_norm.weight")), p)
            x = x + (self.norm(y, self.tensor(p + "post_ffw_norm.weight")) if m.trait("post") else y)
        output = "output.weight" if "output.weight" in m.w else "token_embd.weight"
        logits = self.norm(x, self.tensor("output_norm.weight")) @ self.tensor(output).T
        torch.log_softmax(logits, -1)[range(len(tokens)), targets].sum().backward()
        return [torch.stack(t).numpy() for t in ([k.grad for k in self.keys], [v.grad for v in self.values], self.entropy)]


def rounded(x):
    return [float(f"{v:.6g}") for v in np.asarray(x).flatten()]


def write_reference(path, name, seed, ref_dir):
    g = Gradients(path)
    rng = np.random.default_rng(seed)
    n_vocab = g.m.w.shape("token_embd.weight")[0]
    tokens, targets = (rng.integers(4, n_vocab - 4, N_TOKENS).tolist() for _ in range(2))
    dk, dv, entropy = g.run(tokens, targets)
    layers = [{
        "dk": rounded(dk[i][POSITIONS]), "dv": rounded(dv[i][POSITIONS]), "entropy": rounded(entropy[i][POSITIONS]),
        "dk_squares": float((dk[i]**2).sum()), "dv_squares": float((dv[i]**2).sum())
    } for i in range(g.m.n_layer)]
    with open(os.path.join(ref_dir, f"backward-{name}.json"), "w") as f:
        ref = {"source": "tests/reference/make_backward.py, float64", "tokens": tokens, "targets": targets,
               "positions": POSITIONS, "layers": layers}
        json.dump(ref, f, separators=(",", ":"))
        f.write("\n")
    print(f"{name:18} |dk| {np.sqrt((dk**2).sum()):.3f}, |dv| {np.sqrt((dv**2).sum()):.3f}")


def main():
    if len(sys.argv) == 5 and sys.argv[1] == "--dump":
        ids = np.fromfile(sys.argv[3], np.int32)
        dk, dv, _ = Gradients(sys.argv[2]).run(ids[:len(ids) // 2].tolist(), ids[len(ids) // 2:].tolist())
        np.stack([dk, dv]).tofile(sys.argv[4])
    elif len(sys.argv) == 3:
        for number, name in enumerate(MODELS):
            if name == "llama-iq":
                continue  # tests/test_types.c compares it with the same weights in F32
            write_reference(os.path.join(sys.argv[1], name + ".gguf"), name, 1 + number, sys.argv[2])
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
