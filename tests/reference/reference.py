#!/usr/bin/env python3
"""An independent forward pass: numpy on the dequantised weights of a GGUF file, no code shared with the toolchain.

  reference.py MODEL --in CHUNKS.json --out REF.json   log-probabilities for {"chunks": [{"tokens": [...]}, ...]}
  reference.py MODEL --compare REF.json                measure this file's pass against stored log-probabilities

Every weight is expanded to f32 with the package `gguf`, and everything is computed in f32 (--double: f64), without
quantising activations or the KV cache. Formats: tests/reference/README.md.

Architectures: TRAITS. Sources: RoPE (arXiv:2104.09864), RMSNorm (1910.07467), LayerNorm (1607.06450), grouped queries
(2305.13245), SwiGLU/GeGLU (2002.05202), parallel blocks (2204.02311), YaRN (2309.00071), LongRoPE (2402.13753), Gemma 2
(2408.00118) and 3 (2503.19786), Qwen3 (2505.09388), OLMo 2 (2501.00656), Granite 3 (muP multipliers), Llama 3 frequency
factors (2407.21783).
"""
import argparse
import json
import sys

import numpy as np
from gguf import GGUFReader, dequantize

# What sets an architecture apart: router: what weighs experts where the file does not say; neox: RoPE pairs (i, i + n_rot/2), else neighbours; full_every: with a sliding window, layers
# that see everything; none_every: layers without RoPE; qk: norms of queries and keys.
TRAITS = {
    "llama": {},
    "mistral3": dict(temperature=True),
    "qwen2": dict(neox=True),
    "qwen3": dict(neox=True, qk="heads"),
    "phi3": dict(neox=True, no_window=True),
    "gemma2": dict(neox=True, post=True, gelu=True, embd_sqrt=True, full_every=2, swa_scaled=True),
    "gemma3": dict(neox=True, post=True, gelu=True, embd_sqrt=True, full_every=6, qk="heads", swa_base=10000.0),
    "granite": dict(logit_divides=True),
    "granitemoe": dict(logit_divides=True),
    "qwen2moe": dict(neox=True, experts_as_is=True),
    "qwen3moe": dict(neox=True, qk="heads"),
    "smollm3": dict(none_every=4),
    "olmo2": dict(neox=True, post=True, pre=False, full_every=4, qk="row"),
    "exaone4": dict(neox=True, post=True, pre=False, full_every=4, qk="heads", swa_scaled=True, rope_swa_only=True),
    "exaone-moe": dict(neox=True, full_every=4, qk="heads", swa_scaled=True, rope_swa_only=True, router="sigmoid", experts_as_is=True),
    "starcoder2": dict(neox=True, layer_norm=True, gelu=True),
    "stablelm": dict(neox=True, layer_norm=True, qk="each"),
    "command-r": dict(layer_norm=True, qk="each"),
    "cohere2": dict(layer_norm=True, full_every=4, swa_scaled=True, rope_swa_only=True),
    "glm4": dict(post=True),
    "seed_oss": dict(neox=True, ffn_norm="post_attention_norm"),
    "ernie4_5": {},
    "ernie4_5-moe": {},
    "hunyuan-dense": dict(neox=True, qk="heads", qk_late=True),
    "hunyuan-moe": dict(neox=True, qk="heads", qk_late=True),
    "deci": {},
    "openelm": dict(neox=True, qk="heads"),
    "glm4moe": dict(neox=True, qk="heads", ffn_norm="post_attention_norm", router="sigmoid", experts_as_is=True),
    "dots1": dict(neox=True, qk="heads", experts_as_is=True),
    "bailingmoe2": dict(neox=True, qk="heads", experts_as_is=True),
}


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
        data = t.data.reshape(self.shape(name)[0], -1)[index] if len(t.shape) == 2 else t.data
        return dequantize(data, t.tensor_type).astype(self.dtype)

    def get(self, name):
        """The tensor as an array, or None."""
        return self.rows(name) if name in self else None


class Model:
    def __init__(self, path, dtype=np.float32):
        self.w = w = Weights(path, dtype)
        self.dtype = dtype
        if w.arch not in TRAITS:
            raise SystemExit(f"{path}: architecture '{w.arch}' is not known here")
        self.traits = TRAITS[w.arch]
        self.n_layer = w.param("block_count") - w.param("nextn_predict_layers", 0)
        self.n_embd = w.param("embedding_length")
        self.n_head = self.by_layer("attention.head_count")
        self.n_kv_head = self.by_layer("attention.head_count_kv", self.n_head)
        self.n_ff = self.by_layer("feed_forward_length")
        self.head_dim = w.param("attention.key_length") or self.n_embd // next(n for n in self.n_head if n)
        self.value_dim = w.param("attention.value_length", self.head_dim)
        eps = "layer_norm_epsilon" if self.trait("layer_norm") else "layer_norm_rms_epsilon"
        self.eps = dtype(w.param("attention." + eps))
        self.full_every = w.param("attention.sliding_window_pattern", self.trait("full_every"))
        self.window = w.param("attention.sliding_window", 0) if self.full_every else 0
        self.scale = w.param("attention.scale", 0) or self.head_dim**-0.5
        self.embd_scale = w.param("embedding_scale", self.n_embd**0.5 if self.trait("embd_sqrt") else 1)
        self.residual_scale = w.param("residual_scale", 1)
        self.logit_scale = w.param("logit_scale", 1)
        if self.trait("logit_divides"):
            self.logit_scale = 1 / self.logit_scale
        self.attn_cap = w.param("attn_logit_softcapping", 0)
        self.logit_cap = w.param("final_logit_softcapping", 0)
        self.hooks = {}  # (layer, "k" or "v"): (position, head, dimension, what is added)
        self.prepare_rope()
        self.kv = {}  # layer: the keys and values that it made
        self.kv_layer = list(range(self.n_layer))
        shared = w.param("attention.shared_kv_layers", 0)
        for i in range(self.n_layer - shared, self.n_layer):
            self.kv_layer[i] = max(j for j in range(self.n_layer - shared)
                                   if self.full_attention(j) == self.full_attention(i))

    def by_layer(self, key, default=None):
        """A number for each layer: the file may have one for all."""
        value = self.w.param(key, default)
        return [int(v) for v in value] if isinstance(value, (list, np.ndarray)) else [value] * self.w.param("block_count")

    def trait(self, name, default=None):
        return self.traits.get(name, default)

    def prepare_rope(self):
        w = self.w
        factor = w.param("rope.scaling.factor", w.param("rope.scale_linear", 1)) or 1
        kind = w.param("rope.scaling.type", "linear")
        original = w.param("rope.scaling.original_context_length", w.param("context_length"))
        base = w.param("rope.freq_base", 10000.0)
        self.original = original
        self.rope_gain = w.param("rope.scaling.attn_factor", 1.0)
        plain = self.rope_frequencies(base)
        if "rope_freqs.weight" in w:
            plain = plain / w.get("rope_freqs.weight").astype(np.float64)
        if kind == "yarn":
            n_rot = 2 * len(plain)

            def pair(turns):
                return n_rot * np.log(original / (turns * 2 * np.pi)) / (2 * np.log(base))

            low = max(0, np.floor(pair(w.param("rope.scaling.yarn_beta_fast", 32.0))))
            high = min(n_rot - 1, np.ceil(pair(w.param("rope.scaling.yarn_beta_slow", 1.0))))
            ramp = np.clip((np.arange(len(plain)) - low) / max(0.001, high - low), 0, 1)
            scaled = plain / factor * ramp + plain * (1 - ramp)
            by = w.param("rope.scaling.yarn_log_multiplier", 0)
            self.rope_gain *= (0.1 * np.log(factor) + 1) / ((0.1 * by * np.log(factor) + 1) if by else 1)
        else:
            scaled = plain / (1 if kind == "none" else factor)
        self.inv_freq = lambda n: scaled
        if "rope_factors_long.weight" in w:
            short, far = (w.get(f"rope_factors_{k}.weight").astype(np.float64) for k in ("short", "long"))
            self.inv_freq = lambda n: scaled / (far if n > original else short)
        swa = self.rope_frequencies(w.param("rope.freq_base_swa", self.trait("swa_base", base)))
        self.inv_freq_swa = scaled if self.trait("swa_scaled") else swa

    def with_bos(self, tokens):
        """As llama.cpp's perplexity tool reads a chunk: BOS in place of the first token, where the model adds one."""
        if self.w.fields.get("tokenizer.ggml.add_bos_token", False):
            return [self.w.fields["tokenizer.ggml.bos_token_id"]] + tokens[1:]
        return tokens

    def rope_frequencies(self, base):
        n_rot = self.w.param("rope.dimension_count", self.head_dim)
        return float(base) ** (-np.arange(0, n_rot, 2, dtype=np.float64) / n_rot)

    def full_attention(self, layer):
        return self.window == 0 or (layer + 1) % self.full_every == 0

    def norm(self, x, weight, bias=None):
        """RMS or layer norm over the last dimension. The "+1" of Gemma's weights is already in the file."""
        if weight is None:
            return x
        if self.trait("layer_norm"):
            x = x - x.mean(-1, keepdims=True)
        y = x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * weight
        return y if bias is None else y + bias

    def rope(self, x, layer):
        """Rotate x (n_tok, heads, head_dim): pairs of neighbours (2i, 2i+1), or (i, i + n_rot/2)."""
        full = self.full_attention(layer)
        every = self.trait("none_every")
        if (every and (layer + 1) % every == 0) or (self.trait("rope_swa_only") and self.window and full):
            return x
        inv_freq = self.inv_freq(self.n_ctx) if full else self.inv_freq_swa
        gain = self.dtype(self.rope_gain if full or self.trait("swa_scaled") else 1)
        half = len(inv_freq)
        angle = np.arange(len(x))[:, None, None] * inv_freq
        cos, sin = np.cos(angle).astype(self.dtype) * gain, np.sin(angle).astype(self.dtype) * gain
        first, second = (slice(0, 2 * half, 2), slice(1, 2 * half, 2))
        if self.trait("neox"):
            first, second = (slice(0, half), slice(half, 2 * half))
        out = x.copy()
        out[..., first] = x[..., first] * cos - x[..., second] * sin
        out[..., second] = x[..., first] * sin + x[..., second] * cos
        return out

    def projections(self, x, layer, p):
        """q, k, v, flat; in one matrix or in three. k and v None: the layer has none."""
        n_head, n_kv = self.n_head[layer], self.n_kv_head[layer]
        rows = [n_head * self.head_dim, n_kv * self.head_dim, n_kv * self.value_dim]

        def get(what):
            if f"attn_qkv.{what}" in p:
                return np.split(p[f"attn_qkv.{what}"], np.cumsum(rows)[:2])
            return [p.get(f"attn_{name}.{what}") for name in "qkv"]

        return [w if w is None else x @ w.T if b is None else x @ w.T + b for w, b in zip(get("weight"), get("bias"))]

    def heads(self, y, layer, p, what, n_head):
        """Norm and rotate; y (n_tok, n_head * head_dim)."""
        weight, qk, late = p.get(f"attn_{what}_norm.weight"), self.trait("qk"), self.trait("qk_late")
        shape = (len(y), n_head, self.head_dim)
        if qk == "row":
            y = self.norm(y, weight)
        y = y.reshape(shape)
        if qk != "row" and not late:
            y = self.norm(y, weight)
        y = self.rope(y, layer)
        return self.norm(y, weight) if late else y

    def changed(self, x, layer, what):
        if (layer, what) in self.hooks:
            pos, head, dim, by = self.hooks[layer, what]
            x = x.copy()
            x[pos, head, dim] += by
        return x

    def attention(self, x, layer, p):
        """x (n_tok, n_embd), already normalised; p: the layer's tensors."""
        n = len(x)
        full = self.full_attention(layer)
        n_head, n_kv = self.n_head[layer], self.n_kv_head[layer]
        if not n_kv:
            return x @ p["attn_output.weight"].T
        q, k, v = self.projections(x, layer, p)
        q = self.heads(q, layer, p, "q", n_head)
        if self.kv_layer[layer] == layer:
            k = self.changed(self.heads(k, layer, p, "k", n_kv), layer, "k")
            v = self.changed(v.reshape(n, n_kv, self.value_dim), layer, "v")
            self.kv[layer] = k, v
        k, v = self.kv[self.kv_layer[layer]]
        if self.trait("temperature") and self.w.param("attention.temperature_scale"):
            step = self.w.param("attention.temperature_length", self.original)
            q = q * (1 + self.w.param("attention.temperature_scale") * np.log(1 + np.arange(n) // step))[:, None, None]

        back = np.arange(n)[:, None] - np.arange(n)[None, :]  # how far key j lies behind query i
        visible = back >= 0
        if not full:
            visible &= back < self.window
        out = np.empty((n, n_head, self.value_dim), self.dtype)
        group = n_head // n_kv
        for h in range(n_head):
            scores = q[:, h] @ k[:, h // group].T * self.dtype(self.scale)
            if self.attn_cap:
                scores = self.attn_cap * np.tanh(scores / self.attn_cap)
            scores[~visible] = -np.inf
            a = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, h] = (a / a.sum(-1, keepdims=True)) @ v[:, h // group]
        y = out.reshape(n, -1) @ p["attn_output.weight"].T
        return y + p["attn_output.bias"] if "attn_output.bias" in p else y

    def act(self, x):
        if self.trait("gelu"):
            inner = self.dtype(np.sqrt(2 / np.pi)) * (x + self.dtype(0.044715) * x**3)
            return self.dtype(0.5) * x * (1 + np.tanh(inner))
        return x / (1 + np.exp(-x))

    def linear(self, x, p, name):
        y = x @ p[name + ".weight"].T
        return y + p[name + ".bias"] if name + ".bias" in p else y

    def feed_forward(self, x, layer, p):
        if "ffn_gate.weight" in p:
            y = self.act(self.linear(x, p, "ffn_gate")) * self.linear(x, p, "ffn_up")
        elif len(p["ffn_up.weight"]) == 2 * self.n_ff[layer]:  # gate and up in one matrix
            gate, up = np.split(self.linear(x, p, "ffn_up"), 2, -1)
            y = self.act(gate) * up
        else:
            y = self.act(self.linear(x, p, "ffn_up"))
        return self.linear(y, p, "ffn_down")

    def router(self, x, p):
        """What weighs experts, and what they are chosen by: the same, but for a bias and groups of which some drop out."""
        w = self.w
        logits = x @ p["ffn_gate_inp.weight"].T
        kinds = {0: self.trait("router", "softmax"), 1: "softmax", 2: "sigmoid"}
        if kinds[w.param("expert_gating_func", 0)] == "sigmoid":
            weights = 1 / (1 + np.exp(-logits))
        else:
            weights = np.exp(logits - logits.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
        rank = weights + p.get("exp_probs_b.bias", 0)
        groups = w.param("expert_group_count", 1)
        if groups > 1:
            by_group = rank.reshape(len(x), groups, -1)
            worth = np.sort(by_group, -1)[..., -2:].sum(-1)
            dropped = np.argsort(-worth, -1, kind="stable")[:, w.param("expert_group_used_count"):]
            for t, out in enumerate(dropped):
                by_group[t, out] = -np.inf
            rank = by_group.reshape(rank.shape)
        return weights, rank

    def experts(self, x, layer, p):
        """Each token goes through the experts that the router likes best, and through the shared one."""
        weights, rank = self.router(x, p)
        best = np.argsort(-rank, -1, kind="stable")[:, :self.w.param("expert_used_count")]
        out = np.zeros_like(x)
        for t, chosen in enumerate(best):
            share = weights[t, chosen]
            if self.w.param("expert_weights_norm", not self.trait("experts_as_is")):
                share = share / share.sum()
            share = share * (self.w.param("expert_weights_scale", 1) or 1)
            for e, by in zip(chosen, share):
                gate, up, down = (p[f"ffn_{what}_exps.weight"][e] for what in ("gate", "up", "down"))
                out[t] += by * ((self.act(x[t] @ gate.T) * (x[t] @ up.T)) @ down.T)
        if "ffn_up_shexp.weight" in p:
            gate, up, down = (p[f"ffn_{what}_shexp.weight"] for what in ("gate", "up", "down"))
            y = (self.act(x @ gate.T) * (x @ up.T)) @ down.T
            if "ffn_gate_inp_shexp.weight" in p:
                y = y / (1 + np.exp(-(x @ p["ffn_gate_inp_shexp.weight"])))[:, None]
            out += y
        return out

    def layer(self, x, layer, p):
        def norm(y, name):
            return self.norm(y, p.get(name + ".weight"), p.get(name + ".bias"))

        ffn_norm, post, by = self.trait("ffn_norm", "ffn_norm"), self.trait("post"), self.dtype(self.residual_scale)
        mid = start = x
        if self.n_head[layer]:
            start = norm(x, "attn_norm")
            y = self.attention(start, layer, p)
            mid = x + by * (norm(y, "post_attention_norm") if post else y)
        if not self.n_ff[layer]:
            return mid
        parallel = self.trait("pre", True) and ffn_norm + ".weight" not in p
        ffn = self.experts if "ffn_gate_inp.weight" in p else self.feed_forward
        y = ffn(start if parallel else norm(mid, ffn_norm), layer, p)
        return mid + by * (norm(y, "post_ffw_norm") if post else y)

    def states(self, chunks):
        """What the tokens of each chunk come to after all layers and the last norm: (n, n_embd)."""
        w = self.w
        scale = self.dtype(self.embd_scale)
        self.n_ctx = len(chunks[0])
        states = [w.rows("token_embd.weight", tokens) * scale for tokens in chunks]
        for i in range(self.n_layer):
            prefix = f"blk.{i}."
            p = {name[len(prefix):]: w.get(name) for name in w.tensors if name.startswith(prefix)}
            states = [self.layer(x, i, p) for x in states]
        return [self.norm(x, w.get("output_norm.weight"), w.get("output_norm.bias")) for x in states]

    def log_probs(self, chunks, positions):
        """chunks: lists of token ids; positions: one list for all. Returns (len(positions), n_vocab) for each chunk."""
        w = self.w
        output = "output.weight" if "output.weight" in w else "token_embd.weight"
        states = [x[positions] for x in self.states(chunks)]
        logits = [np.empty((len(positions), w.shape(output)[0]), self.dtype) for _ in chunks]
        step = 16384  # rows of the output matrix expanded at a time
        for at in range(0, w.shape(output)[0], step):
            part = w.rows(output, slice(at, at + step))
            for x, y in zip(states, logits):
                y[:, at:at + step] = x @ part.T * self.dtype(self.logit_scale)
        if self.logit_cap:
            logits = [self.logit_cap * np.tanh(y / self.logit_cap) for y in logits]
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
