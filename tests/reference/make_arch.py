#!/usr/bin/env python3
"""A tiny random model of every architecture that make_tiny.py has none of: tests/data/arch/*.gguf.

  make_arch.py ARCH_DIR     writes ARCH_DIR/<name>.gguf and <name>.json

Every scale, cap, bias and window is such that leaving it out changes the answer well beyond rounding. The JSON has log-probabilities as make_tiny.py writes them, and "gradients": of sum_i log p(targets_i) with respect
to single numbers of cached keys and values, by central differences in f64. Same seed, same bytes.
"""
import argparse
import json
import os
import zlib

import numpy as np
from gguf import GGMLQuantizationType as QT
from gguf import GGUFWriter, quantize

from make_tiny import TensorMaker, add_bpe, add_spm
from reference import TRAITS, Model, top_entries

N_TOKENS = 96
LOGIT_STD = 2.5
EVERY = 3  # positions that are stored

SHAPE = dict(n_layer=2, n_embd=64, n_head=4, n_kv_head=2, head_dim=16, n_ff=96, n_ctx=512, base=10000.0)
YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32}

# keys: metadata beside the usual; also: tensors beside the usual, or instead of them.
MODELS = {
    "llama-linear": dict(arch="llama", keys={"rope.scaling.factor": 4.0}),
    "llama-scale-linear": dict(arch="llama", keys={"rope.scale_linear": 2.5}),
    "llama-yarn": dict(arch="llama", n_rot=16, keys=YARN, bias=("attn_q", "attn_k", "attn_v", "attn_output")),
    "llama-ffn-bias": dict(arch="llama", bias=("ffn_gate", "ffn_up", "ffn_down"), keys={}),
    "mistral3": dict(arch="mistral3", keys=YARN | {"rope.scaling.yarn_log_multiplier": 1.0,
                                                  "attention.temperature_scale": 0.4}),
    "phi3": dict(arch="phi3", fused=True, n_rot=12, spm=True, keys={"attention.sliding_window": 512}),
    "phi3-longrope": dict(arch="phi3", fused=True, longrope=True, spm=True, n_ctx=128,
                          keys={"rope.scaling.original_context_length": 48, "rope.scaling.attn_factor": 1.19}),
    "gemma2": dict(arch="gemma2", n_layer=4, head_dim=32, spm=True, post=True, tied=True,
                   keys={"attention.sliding_window": 16, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 6.0}),
    "granite": dict(arch="granite", n_rot=16, keys={"attention.scale": 0.4, "embedding_scale": 3.0, "residual_scale": 0.6,
                                                    "logit_scale": 1.7}),
    "llama-dim-100": dict(arch="llama", n_head=8, head_dim=100, n_rot=100),
    "llama-narrow-values": dict(arch="llama", n_head=4, head_dim=48, value_dim=32, n_rot=48, fused=False),
    "llama-experts": dict(arch="llama", experts=5, keys={"expert_used_count": 2}),
    "granitemoe": dict(arch="granitemoe", experts=6, shared=64,
                       keys={"attention.scale": 0.4, "embedding_scale": 3.0, "residual_scale": 0.6, "logit_scale": 1.7,
                             "expert_used_count": 3, "expert_shared_feed_forward_length": 64}),
    "qwen2moe": dict(arch="qwen2moe", experts=6, expert_ff=32, shared=64, shared_gate=True,
                     bias=("attn_q", "attn_k", "attn_v"),
                     keys={"expert_used_count": 2, "expert_feed_forward_length": 32,
                           "expert_shared_feed_forward_length": 64}),
    "qwen3moe": dict(arch="qwen3moe", experts=8, expert_ff=32, qk="heads", head_dim=32,
                     keys={"expert_used_count": 3, "expert_feed_forward_length": 32}),
    "smollm3": dict(arch="smollm3", n_layer=4, n_rot=16),
    "olmo2": dict(arch="olmo2", pre=False, post=True, qk="row"),
    "olmo2-window": dict(arch="olmo2", n_layer=4, pre=False, post=True, qk="row",
                         keys=YARN | {"attention.sliding_window": 16, "rope.scaling.attn_factor": 1.2}),
    "exaone4": dict(arch="exaone4", n_layer=4, n_rot=16, pre=False, post=True, qk="heads"),
    "exaone-moe": dict(arch="exaone-moe", n_layer=4, n_rot=16, qk="heads", experts=8, expert_ff=32, shared=32, dense=(0,), chosen_bias=0.2,
                       keys={"attention.sliding_window": 16, "expert_used_count": 3, "expert_feed_forward_length": 32,
                             "expert_shared_count": 1, "leading_dense_block_count": 1, "expert_weights_scale": 1.2,
                             "expert_weights_norm": True, "expert_gating_func": 2}),
    "starcoder2": dict(arch="starcoder2", plain=True, norm_bias=True,
                       bias=("attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down")),
    "stablelm": dict(arch="stablelm", n_rot=8, norm_bias=True, bias=("attn_q", "attn_k", "attn_v")),
    "stablelm-parallel": dict(arch="stablelm", n_rot=8, norm_bias=True, parallel=True, qk="each"),
    "command-r": dict(arch="command-r", parallel=True, tied=True, keys={"logit_scale": 0.3}),
    "cohere2": dict(arch="cohere2", n_layer=4, parallel=True, tied=True,
                    keys={"logit_scale": 0.3, "attention.sliding_window": 16}),
    "glm4": dict(arch="glm4", n_rot=8, fused=True, post=True, bias=("attn_qkv",), qkv=True),
    "seed_oss": dict(arch="seed_oss", ffn_norm="post_attention_norm", bias=("attn_q", "attn_k", "attn_v"), head_dim=32),
    "ernie4_5": dict(arch="ernie4_5", n_rot=16),
    "hunyuan-dense": dict(arch="hunyuan-dense", qk="heads", head_dim=32),
    "hunyuan-moe": dict(arch="hunyuan-moe", qk="heads", head_dim=32, experts=6, shared=64,
                        keys={"expert_used_count": 2, "expert_feed_forward_length": 96,
                              "expert_shared_feed_forward_length": 64}),
    "ernie4_5-moe": dict(arch="ernie4_5-moe", n_layer=3, n_rot=16, experts=6, expert_ff=32, shared=64, chosen_bias=0.1,
                         dense=(0,), keys={"expert_used_count": 2, "expert_feed_forward_length": 32, "expert_shared_count": 2,
                               "expert_shared_feed_forward_length": 64, "leading_dense_block_count": 1,
                               "interleave_moe_layer_step": 1}),
    "glm4moe": dict(arch="glm4moe", n_layer=3, n_rot=8, qk="heads", ffn_norm="post_attention_norm", nextn=1,
                    bias=("attn_q", "attn_k", "attn_v"), experts=8, expert_ff=32, shared=32, chosen_bias=0.2, dense=(0,),
                    keys={"expert_used_count": 3, "expert_feed_forward_length": 32, "expert_shared_count": 1,
                          "leading_dense_block_count": 1, "expert_weights_scale": 1.5, "expert_weights_norm": True,
                          "nextn_predict_layers": 1}),
    "dots1": dict(arch="dots1", qk="heads", n_kv_head=4, n_rot=16, experts=8, expert_ff=32, shared=64, dense=(0,),
                  keys={"expert_used_count": 3, "expert_feed_forward_length": 32, "expert_shared_count": 2,
                        "leading_dense_block_count": 1, "expert_weights_scale": 2.5, "expert_weights_norm": False,
                        "expert_gating_func": 1}),
    "bailingmoe2": dict(arch="bailingmoe2", n_rot=8, fused=True, split_ffn=True, qk="heads", experts=16, expert_ff=32,
                        shared=32, dense=(0,), chosen_bias=0.2,
                        keys={"expert_used_count": 4, "expert_feed_forward_length": 32, "expert_shared_count": 1,
                              "leading_dense_block_count": 1, "expert_weights_scale": 2.5, "expert_weights_norm": True,
                              "expert_gating_func": 2, "expert_group_count": 4, "expert_group_used_count": 2}),
    # Layers without attention, with its output matrix alone, without anything, and with fewer KV heads.
    "deci": dict(arch="deci", n_layer=6, head_dim=32, n_rot=32, n_head=[4, 0, 4, 0, 2, 4], n_kv_head=[2, 0, 0, 0, 1, 4],
                 n_ff=[96, 64, 128, 0, 96, 32], bias=("attn_output",)),
    "openelm": dict(arch="openelm", n_layer=3, n_rot=16, n_head=[4, 6, 8], n_kv_head=[2, 2, 4], n_ff=[64, 96, 128],
                    fused=True, split_ffn=True, qk="heads", tied=True),
    "llama-wide-values": dict(arch="llama", n_head=4, head_dim=32, value_dim=48, n_rot=32),
    "llama-dim-18": dict(arch="llama", n_head=16, n_kv_head=4, head_dim=18, n_rot=18),
    # The last two layers read the keys and values of the one before them.
    "llama-shared-kv": dict(arch="llama", n_layer=4, head_dim=32, n_rot=32, n_kv_head=[2, 1, 1, 1], n_head=[4, 4, 2, 4],
                            shared_kv=2, keys={"attention.shared_kv_layers": 2}),
}


def add_norm(t, name, m):
    t.vector(name + ".weight", m["n_embd"])
    if m.get("norm_bias"):
        t.vector(name + ".bias", m["n_embd"], 0, 0.3)


def add_experts(t, p, m, uneven):
    n, n_embd, ff, shared = m["experts"], m["n_embd"], m.get("expert_ff", m["n_ff"]), m.get("shared")

    def stack(name, rows, cols, std):
        w = t.rng.normal(0, std, (n * rows, cols)).astype(np.float32)
        data = quantize(w, QT.Q8_0)
        t.writer.add_tensor(p + name + ".weight", data.reshape(n, rows, -1), raw_dtype=QT.Q8_0)

    t.matrix(p + "ffn_gate_inp.weight", n, n_embd, uneven, QT.F32)  # close calls between experts
    if m.get("chosen_bias"):
        t.vector(p + "exp_probs_b.bias", n, 0, m["chosen_bias"])
    stack("ffn_gate_exps", ff, n_embd, uneven)
    stack("ffn_up_exps", ff, n_embd, uneven)
    stack("ffn_down_exps", n_embd, ff, ff**-0.5)
    if shared:
        t.matrix(p + "ffn_gate_shexp.weight", shared, n_embd, uneven)
        t.matrix(p + "ffn_up_shexp.weight", shared, n_embd, uneven)
        t.matrix(p + "ffn_down_shexp.weight", n_embd, shared, shared**-0.5)
    if m.get("shared_gate"):
        t.vector(p + "ffn_gate_inp_shexp.weight", n_embd, 0, n_embd**-0.5)


def of_layer(m, i):
    """The numbers of layer i."""
    return m | {k: m[k][i] for k in ("n_head", "n_kv_head", "n_ff") if isinstance(m[k], list)}


def add_layer(t, p, m, i):
    m = of_layer(m, i)
    if not m["n_head"]:
        add_ffn(t, p, m, i)
        return
    q_dim, kv_dim, n_embd, n_ff = m["n_head"] * m["head_dim"], m["n_kv_head"] * m["head_dim"], m["n_embd"], m["n_ff"]
    value_dim = m.get("value_dim", m["head_dim"])
    uneven = 1.5 * n_embd**-0.5  # scores with a standard deviation above 2: attention that is not flat
    bias = m.get("bias", ())
    sizes = {"attn_q": q_dim, "attn_k": kv_dim, "attn_v": kv_dim, "attn_output": n_embd, "ffn_gate": n_ff, "ffn_up": n_ff,
             "ffn_down": n_embd, "attn_qkv": q_dim + 2 * kv_dim}

    if m.get("pre", True):
        add_norm(t, p + "attn_norm", m)
    has_kv = i < m["n_layer"] - m.get("shared_kv", 0)
    if not m["n_kv_head"]:  # what is left of attention
        t.matrix(p + "attn_output.weight", n_embd, n_embd, n_embd**-0.5)
    elif m.get("fused"):
        t.matrix(p + "attn_qkv.weight", q_dim + 2 * kv_dim, n_embd, uneven)
    else:
        t.matrix(p + "attn_q.weight", q_dim, n_embd, uneven)
        if has_kv:
            t.matrix(p + "attn_k.weight", kv_dim, n_embd, uneven)
            t.matrix(p + "attn_v.weight", m["n_kv_head"] * value_dim, n_embd, n_embd**-0.5)
    if m["n_kv_head"]:
        t.matrix(p + "attn_output.weight", n_embd, m["n_head"] * value_dim, q_dim**-0.5)
    for name in bias if m["n_kv_head"] else ():
        t.vector(p + name + ".bias", sizes[name], 0, 0.5)
    if m.get("qk") == "heads":
        t.vector(p + "attn_q_norm.weight", m["head_dim"], 1.5, 0.2)
        t.vector(p + "attn_k_norm.weight", m["head_dim"], 1.5, 0.2)
    elif m.get("qk") == "row":
        t.vector(p + "attn_q_norm.weight", q_dim, 1.5, 0.2)
        t.vector(p + "attn_k_norm.weight", kv_dim, 1.5, 0.2)
    elif m.get("qk") == "each":
        for what, n in (("q", m["n_head"]), ("k", m["n_kv_head"])):
            t.writer.add_tensor(p + f"attn_{what}_norm.weight",
                                t.rng.normal(1.5, 0.3, (n, m["head_dim"])).astype(np.float32))
    if m.get("post"):
        t.vector(p + "post_attention_norm.weight", n_embd)
        t.vector(p + "post_ffw_norm.weight", n_embd)
    add_ffn(t, p, m, i)


def add_ffn(t, p, m, i):
    n_embd, n_ff, uneven = m["n_embd"], m["n_ff"], 1.5 * m["n_embd"]**-0.5
    if not n_ff:
        return
    if m.get("pre", True) and not m.get("parallel"):
        add_norm(t, p + m.get("ffn_norm", "ffn_norm"), m)
    if m.get("experts") and i not in m.get("dense", ()):
        add_experts(t, p, m, uneven)
        return
    if m.get("fused") and not m.get("split_ffn"):
        t.matrix(p + "ffn_up.weight", 2 * n_ff, n_embd, uneven)
    else:
        if not m.get("plain"):
            t.matrix(p + "ffn_gate.weight", n_ff, n_embd, uneven)
        t.matrix(p + "ffn_up.weight", n_ff, n_embd, uneven)
    t.matrix(p + "ffn_down.weight", n_embd, n_ff, n_ff**-0.5)


def add_nextn(t, p, m, i):
    add_layer(t, p, m, i)
    t.matrix(p + "nextn.eh_proj.weight", m["n_embd"], 2 * m["n_embd"], m["n_embd"]**-0.5)
    for name in ("nextn.enorm", "nextn.hnorm"):
        t.vector(p + name + ".weight", m["n_embd"])


def add_keys(w, m):
    w.add_context_length(m["n_ctx"])
    w.add_block_count(m["n_layer"] + m.get("nextn", 0))
    w.add_embedding_length(m["n_embd"])
    w.add_feed_forward_length(m["n_ff"])
    w.add_head_count(m["n_head"])
    w.add_head_count_kv(m["n_kv_head"])
    if TRAITS[m["arch"]].get("layer_norm"):
        w.add_layer_norm_eps(1e-5)
    else:
        w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(m["base"])
    if m.get("experts"):
        w.add_expert_count(m["experts"])
    if isinstance(m["n_head"], list) or m["n_head"] * m["head_dim"] != m["n_embd"]:
        w.add_key_length(m["head_dim"])
        w.add_value_length(m.get("value_dim", m["head_dim"]))
    if "n_rot" in m:
        w.add_rope_dimension_count(m["n_rot"])
    for key, value in m.get("keys", {}).items():
        key = f"{m['arch']}.{key}"
        if isinstance(value, str):
            w.add_string(key, value)
        elif isinstance(value, bool):
            w.add_bool(key, value)
        elif isinstance(value, int):
            w.add_uint32(key, value)
        else:
            w.add_float32(key, value)


def write_model(path, name, m, seed, output_gain):
    w = GGUFWriter(path, m["arch"])
    w.add_name("tiny " + name.replace("phi3", "phi 3"))  # by that name llama.cpp wants tokens of the real vocabulary
    add_keys(w, m)
    n_vocab = add_spm(w) if m.get("spm") else add_bpe(w, "llama-bpe")
    t = TensorMaker(w, np.random.default_rng(seed), [QT.Q8_0])
    gain = m["keys"].get("embedding_scale", 1) if "keys" in m else 1
    if TRAITS[m["arch"]].get("embd_sqrt"):
        gain = m["n_embd"]**0.5
    t.matrix("token_embd.weight", n_vocab, m["n_embd"], 0.8 / gain)
    half = m.get("n_rot", m["head_dim"]) // 2
    if m.get("longrope"):
        t.vector("rope_factors_short.weight", half, 1.1, 0.05)
        t.vector("rope_factors_long.weight", half, 2.0, 0.2)
    for i in range(m["n_layer"]):
        add_layer(t, f"blk.{i}.", m, i)
    for i in range(m["n_layer"], m["n_layer"] + m.get("nextn", 0)):  # is not read
        add_nextn(t, f"blk.{i}.", m, i)
    t.vector("output_norm.weight", m["n_embd"], output_gain, 0.1 * output_gain)
    if m.get("norm_bias"):
        t.vector("output_norm.bias", m["n_embd"], 0, 0.3 * output_gain)
    if not m.get("tied"):
        t.matrix("output.weight", n_vocab, m["n_embd"], m["n_embd"]**-0.5)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return n_vocab


def gradients(model, tokens, targets, rng):
    """Some derivatives, [layer, "k" or "v", position, head, dimension, value]."""

    def total():
        return model.log_probs([tokens], list(range(len(tokens))))[0][range(len(tokens)), targets].sum()

    out = []
    for layer in range(1, model.n_layer):
        for what in "kv":
            for _ in range(3 if model.n_kv_head[layer] and model.kv_layer[layer] == layer else 0):
                at = [int(rng.integers(0, n)) for n in (len(tokens) // 2, model.n_kv_head[layer],
                                                       model.head_dim if what == "k" else model.value_dim)]
                both = []
                for by in (1e-4, -1e-4):
                    model.hooks = {(layer, what): (*at, by)}
                    both.append(total())
                out.append([layer, what, *at, float(f"{(both[0] - both[1]) / 2e-4:.8g}")])
    model.hooks = {}
    return out


def make(name, m, seed, folder):
    m = SHAPE | m
    path = os.path.join(folder, name + ".gguf")
    n_vocab = write_model(path, name, m, seed, 1.0)
    rng = np.random.default_rng(seed + 1000)
    tokens, targets = (rng.integers(4, n_vocab - 4, N_TOKENS).tolist() for _ in range(2))

    def run():
        model = Model(path, np.float64)
        model.logit_cap = 0
        return model.log_probs([model.with_bos(tokens)], list(range(N_TOKENS)))[0]

    write_model(path, name, m, seed, LOGIT_STD / run().std())  # the output norm's gain sets how peaked the logits are
    model = Model(path, np.float64)
    tokens = model.with_bos(tokens)
    lp = model.log_probs([tokens], list(range(N_TOKENS)))[0]
    chunk = {"tokens": tokens,
             "scored": [{"pos": p, "top": top_entries(lp[p], 10)} for p in range(0, N_TOKENS, EVERY)]}
    ref = {"source": "tests/reference/make_arch.py, float64", "chunks": [chunk], "targets": targets,
           "gradients": gradients(model, tokens, targets, rng)}
    with open(os.path.join(folder, name + ".json"), "w") as f:
        json.dump(ref, f, separators=(",", ":"))
        f.write("\n")
    print(f"{name:20} {os.path.getsize(path):8} bytes, logit std {lp.std(-1).mean():.2f}")
    return lp


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("arch_dir")
    ap.add_argument("names", nargs="*")
    args = ap.parse_args()
    os.makedirs(args.arch_dir, exist_ok=True)
    for name, m in MODELS.items():
        if not args.names or name in args.names:
            make(name, m, zlib.crc32(name.encode()), args.arch_dir)


if __name__ == "__main__":
    main()
