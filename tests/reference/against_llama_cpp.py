#!/usr/bin/env python3
"""Check stored log-probabilities against llama.cpp (package xllamacpp), without its rounding of activations.

  against_llama_cpp.py MODEL REF.json [--every N]

llama.cpp quantises activations to multiply them with quantised weights. So the model is first copied with every matrix
expanded to f32, which leaves its values as they are, and the copy runs with an f32 cache: what differs then is an error.
"""
import argparse
import json
import os
import tempfile

import numpy as np
import xllamacpp as xlc
from gguf import GGUFReader, GGUFValueType, GGUFWriter, dequantize


def write_f32_copy(source, path):
    """Returns the id of the token "e"."""
    reader = GGUFReader(source)
    arch = reader.fields["general.architecture"].contents()
    w = GGUFWriter(path, arch)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        inner = field.types[1] if field.types[0] == GGUFValueType.ARRAY else None
        w.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
    for t in reader.tensors:
        shape = tuple(int(n) for n in reversed(t.shape))
        w.add_tensor(t.name, np.ascontiguousarray(dequantize(t.data, t.tensor_type), dtype=np.float32).reshape(shape))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return reader.fields["tokenizer.ggml.tokens"].contents().index("e")


def start_server(path, n_ctx):
    p = xlc.CommonParams()
    p.model.path = path
    p.n_ctx = n_ctx
    p.n_parallel = 1
    p.warmup = False
    p.verbosity = 0
    p.cpuparams.n_threads = 2
    p.cache_type_k = p.cache_type_v = xlc.ggml_type.GGML_TYPE_F32
    p.flash_attn_type = xlc.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return xlc.Server(p)


def next_log_probs(server, tokens, top, letter):
    """Half a UTF-8 character or an end token would come back without probabilities, which are those before any bias: so
    the answer is made to be a letter."""
    request = {"prompt": tokens, "max_tokens": 1, "logprobs": top, "temperature": 0.0, "cache_prompt": False}
    request["logit_bias"] = [[letter, 1000.0]]
    answer = server.handle_completions(request)
    if "choices" not in answer or not answer["choices"][0]["logprobs"]:
        raise SystemExit(f"llama.cpp: {answer}")
    return {e["id"]: e["logprob"] for e in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]}


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("model")
    ap.add_argument("ref")
    ap.add_argument("--every", type=int, default=1, help="check every n-th stored position")
    args = ap.parse_args()
    with open(args.ref) as f:
        chunks = json.load(f)["chunks"]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "f32.gguf")
        letter = write_f32_copy(args.model, path)
        server = start_server(path, max(len(c["tokens"]) for c in chunks) + 8)
        worst, total, n, same = 0.0, 0.0, 0, 0
        for chunk in chunks:
            for entry in chunk["scored"][:: args.every]:
                theirs = next_log_probs(server, chunk["tokens"][: entry["pos"] + 1], 2 * len(entry["top"]), letter)
                same += max(theirs, key=theirs.get) == entry["top"][0][0]
                delta = [abs(theirs[i] - lp) if i in theirs else np.inf for i, lp in entry["top"]]
                worst, total, n = max(worst, *delta), total + delta[0], n + 1
    print(f"{args.ref}: {n} positions, same top-1 {same}, |dlp| of the top token {total / n:.6f}, largest of all {worst:.6f}")


if __name__ == "__main__":
    main()
