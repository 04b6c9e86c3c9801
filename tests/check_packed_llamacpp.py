#!/usr/bin/env python3
"""Check that a packed model loads in llama.cpp and answers as the original does.

    pip install xllamacpp
    tests/check_packed_llamacpp.py MODEL PACKED

Each file is loaded in a process of its own and completes the same prompts greedily, with the log-probability of every token;
texts and log-probabilities must be equal. Exit code 0: they are; 1: they are not; 77: xllamacpp is not installed.
"""
import json
import subprocess
import sys

N_TOKENS = 32
PROMPTS = ["The capital of France is", "def fibonacci(n):\n", "Once upon a time, in a village by the sea,"]


def answers(path):
    try:
        import xllamacpp
    except ImportError:
        sys.exit(77)
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = 256
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = 2
    params.cpuparams_batch.n_threads = 2
    params.warmup = False
    server = xllamacpp.Server(params)
    result = []
    for prompt in PROMPTS:
        reply = server.handle_completions(
            {"prompt": prompt, "max_tokens": N_TOKENS, "temperature": 0, "seed": 1, "logprobs": 1, "cache_prompt": False})
        choice = reply["choices"][0]
        result.append({"text": choice["text"], "logprobs": choice["logprobs"]})
    return result


def in_own_process(path):
    run = subprocess.run([sys.executable, __file__, "--answers", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if run.returncode == 77:
        print("skipped: xllamacpp is not installed")
        sys.exit(77)
    if run.returncode:
        sys.exit(f"{path}: llama.cpp does not run it:\n{run.stderr[-2000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    if sys.argv[1] == "--answers":
        print(json.dumps(answers(sys.argv[2])))
        return
    original, packed = (in_own_process(path) for path in sys.argv[1:])
    for prompt, a, b in zip(PROMPTS, original, packed):
        print(f"{prompt!r}: {a['text']!r}")
        if not a["text"]:
            sys.exit("the original says nothing: that proves nothing")
        if a != b:
            sys.exit(f"the packed model differs: {b['text']!r}")
    print(f"same answers and log-probabilities: {len(PROMPTS)} prompts, {N_TOKENS} tokens each")


if __name__ == "__main__":
    main()
