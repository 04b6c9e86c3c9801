#!/usr/bin/env python3
"""What prompts come to after all layers and the last norm: the mean over their tokens, and the last one's.

  make_states.py DATA

Writes DATA/ref/states.json: [{"model", "tokens", "mean", "last"}], models by their names under DATA.
"""
import json
import os
import random
import sys

import numpy as np

import reference

MODELS = ["tiny/llama", "tiny/gemma3", "arch/command-r"]


def main():
    data = sys.argv[1]
    out = []
    for name in MODELS:
        model = reference.Model(os.path.join(data, name + ".gguf"), np.float64)
        n_vocab = model.w.shape("token_embd.weight")[0]
        tokens = random.Random(name).choices(range(n_vocab), k=90)
        x = model.states([tokens])[0]
        out.append({"model": name, "tokens": tokens, "mean": [round(float(v), 6) for v in x.mean(0)],
                    "last": [round(float(v), 6) for v in x[-1]]})
    with open(os.path.join(data, "ref", "states.json"), "w") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
