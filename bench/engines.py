"""Engines to be timed side by side: each reads its prefix once and then gives one measurement when asked, so that they can take
turns on a machine whose speed drifts."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import urllib.request

import needs
from needs import BIN, ROOT

VENV = ROOT / "build" / "venv-bench"


def enter_venv(module, package):
    """Run this program again inside the environment of the benches, made on first use and with `package` in it."""
    python = VENV / "bin" / "python"
    if python.exists() and os.path.samefile(sys.prefix, VENV):
        return
    if not python.exists() and subprocess.run([sys.executable, "-m", "venv", str(VENV)]).returncode:
        needs.give_up(f"no Python environment {VENV}: python3 could not make it; on Debian, apt-get install python3-venv")
    needs.python_package(str(python), module, package)
    raise SystemExit(subprocess.run([str(python), *sys.argv]).returncode)


def packed_model(model):
    """The model with the profile shipped for it, packed under build/ on first use."""
    out = ROOT / "build" / "packed" / model.name
    if out.exists() and out.stat().st_mtime > model.stat().st_mtime:
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    for profile in sorted((ROOT / "profiles" / "models").glob("*.yaml")):
        if not subprocess.run([str(BIN / "kvpack"), str(model), str(profile), "--out", str(out)], capture_output=True).returncode:
            return out
    needs.give_up(f"no profile in profiles/models is for {model}: make one with kvcalib and give the packed file by --packed")


def ready(model, packed):
    """The packed model (`packed`, else packed here), once everything is there that a bench of engines needs."""
    needs.model_file(model)
    if packed:
        needs.file(packed, "packed model", "kvpack MODEL PROFILE --out makes it; without --packed the bench does")
    needs.programs("kvpack", "kveval")
    return packed or packed_model(model)


class Kvcalib:
    """`kveval speed --paced`: one measurement for every line that it reads."""

    def __init__(self, model, depth, prefill, decode, threads, options=(), program=BIN / "kveval"):
        command = [str(program), "speed", str(model), "--paced", "--depth", str(depth), "--prefill", str(prefill),
                   "--decode", str(decode), "-t", str(threads), *options]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about = self.answer()

    def answer(self):
        line = self.child.stdout.readline()
        if not line:
            sys.exit(f"kveval speed ended with {self.child.wait()}")
        return json.loads(line)

    def measure(self):
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        a = self.answer()
        return {"prefill": a["prefill_tps"], "decode": a["decode_tps"]}

    def close(self):
        self.child.stdin.close()
        self.child.wait()


def serve_llama_cpp(model, n_ctx, threads, cache, slots="", parallel="1"):
    """Print the server's address, and serve until stdin ends. n_ctx: of all `parallel` slots together."""
    import xllamacpp as xl
    p = xl.CommonParams()
    p.model.path = model
    p.n_ctx = n_ctx
    p.n_batch = p.n_ubatch = 512
    p.n_parallel = int(parallel)
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = threads
    p.cache_type_k = p.cache_type_v = getattr(xl.ggml_type, f"GGML_TYPE_{cache.upper()}")
    p.flash_attn_type = xl.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    p.fit_params = False
    p.cache_ram_mib = 0  # it would copy the whole cache aside before every new prompt
    p.port = 0
    p.warmup = True
    p.verbosity = 1  # warnings
    if slots:
        p.slot_save_path = slots
    server = xl.Server(p)
    print(server.listening_address, flush=True)
    sys.stdin.read()


class LlamaCpp:
    """One llama.cpp server with one type of cache. Its prompt cache keeps the prefix from call to call.

    Each has a process of its own: of several in one process all decode at a third of their speed, as libgomp's threads hardly spin
    any more where they are more than there are cores, working or not."""

    def __init__(self, model, n_ctx, threads, cache, slots="", parallel=1):
        """slots: a folder, with / at its end, that slots can be saved in; parallel: slots that share n_ctx."""
        command = [sys.executable, __file__, str(model), str(n_ctx), str(threads), cache, slots, str(parallel)]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.child.stdout.readline().strip()
        if not self.url:
            sys.exit(f"llama.cpp does not start: it ended with {self.child.wait()}")
        self.calls = 0

    def close(self):
        self.child.stdin.close()
        self.child.wait()

    def post(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=24 * 3600) as answer:
            return json.load(answer)

    def complete(self, tokens, n_predict):
        body = {"prompt": tokens, "n_predict": n_predict, "temperature": 0, "cache_prompt": True, "ignore_eos": True}
        return self.post("/completion", body)["timings"]

    def read(self, depth, prefill, decode):
        self.prefix, self.prefill, self.decode = [1000 + i % 997 for i in range(depth)], prefill, decode
        if depth:
            self.complete(self.prefix, 1)

    def measure(self):
        """New tokens differ from call to call, so that nothing but the prefix is ever taken from the server's cache."""
        self.calls += 1
        prompt = self.complete(self.prefix + [2000 + (self.calls * 37 + i) % 991 for i in range(self.prefill)], 1)
        answer = self.complete(self.prefix + [4000 + self.calls], self.decode)
        if prompt["prompt_n"] != self.prefill or answer["prompt_n"] > 2:
            sys.exit(f"llama.cpp read {prompt['prompt_n']} and {answer['prompt_n']} tokens where {self.prefill} and 1 are new: "
                     "it did not keep the prefix")
        return {"prefill": prompt["prompt_per_second"], "decode": answer["predicted_per_second"]}


def take_turns(engines, rounds):
    """{engine: {what: [tokens/s of every round]}}: one round that does not count, then each engine once a round, another one
    first each time."""
    names, out = list(engines), {}
    for i in range(-1, rounds):
        for j in range(len(names)):
            name = names[(i + j) % len(names)]
            for what, tps in engines[name].measure().items():
                if i >= 0:
                    out.setdefault(name, {}).setdefault(what, []).append(tps)
    return out


def ratios(a, b):
    """Round by round: what drifts hits both."""
    return [x / y for x, y in zip(a, b)]


def spread(values, unit="x"):
    return f"{statistics.median(values):.2f}{unit} ({min(values):.2f}–{max(values):.2f})"


if __name__ == "__main__":
    serve_llama_cpp(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
