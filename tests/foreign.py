#!/usr/bin/env python3
"""Command lines of llama.cpp: every option of its table of arguments means the same here, is left aside with a note, or is refused with
the reason; none is taken for something else.

usage: foreign.py BIN_DIR DATA_DIR
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

bin, data = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
work = tempfile.TemporaryDirectory()
os.chdir(work.name)
os.environ.update(KV_MODEL_DIR=work.name, XDG_CONFIG_HOME=work.name, XDG_CACHE_HOME=work.name, XDG_DATA_HOME=work.name)
pathlib.Path("text").write_text("Hi")

# Names and what follows them, as tools/cli and tools/completion of llama.cpp document them. N: a number; F: a file.
SAME = """--ctx-size 64;-c 64;--n-predict 1;--predict 1;-n 1;--temperature 0;--temp 0;--seed 1;-s 1;--threads 1;-t 1;--prompt Hi;-p Hi;--file text;-f text;--binary-file text;
-bf text;-e;--escape;--no-escape;-sys You;--system-prompt You;--top-k 4;--top-p 0.5;--min-p 0.1;--top-nsigma 1;--top-n-sigma 1;--typical 0.5;--typical-p 0.5;--xtc-probability 0.1;
--xtc-threshold 0.1;--repeat-last-n 4;--repeat-penalty 1.1;--presence-penalty 0.1;--frequency-penalty 0.1;--dry-multiplier 0.1;--dry-base 1.5;--dry-allowed-length 2;
--dry-penalty-last-n 4;--dry-sequence-breaker x;--dynatemp-range 0.1;--dynatemp-exp 1;--mirostat 2;--mirostat-lr 0.1;--mirostat-ent 5;-l 3+1;--logit-bias 3-1;--ignore-eos;
--samplers top_k;-ctk q8_0;--cache-type-k f16;-ctv f16;--cache-type-v q4_0;--context-shift;--no-repack;-nr;-v;--verbose;--log-verbose;--chat-template chatml;
--override-kv a=int:1;--rope-scaling linear;--rope-scale 2;--rope-freq-base 5000;--yarn-orig-ctx 64;-no-cnv;--no-conversation"""
ASIDE = """-ngl 99;-ngl all;-ngl -1;--gpu-layers 1;--n-gpu-layers 1;-sm none;--split-mode layer;-ts 3,1;--tensor-split 1;-mg 0;--main-gpu 0;-dev none;--device cuda0;-ot x=CPU;--override-tensor x=CPU;
-cmoe;--cpu-moe;-ncmoe 2;--n-cpu-moe 2;-kvo;--kv-offload;-nkvo;--no-kv-offload;--op-offload;--no-op-offload;--no-host;-bs;--backend-sampling;-fit on;-fit;--fit off;-fitt 9;--fit-target 9;
-fitc 9;--fit-ctx 9;--rpc h:1;--numa isolate;-C f;--cpu-mask f;-Cr 0-1;--cpu-range 0-1;--cpu-strict 1;--prio 2;-Cb f;--cpu-mask-batch f;-Crb 0-1;--cpu-range-batch 0-1;--cpu-strict-batch 1;
--prio-batch 1;--poll 50;--poll-batch 1;-tb 2;--threads-batch 2;-fa;-fa on;-fa auto;--flash-attn off;--mmap;--no-mmap;--mlock;-dio;--direct-io;-ndio;--no-direct-io;-lm mmap;--load-mode dio;
--repack;-b 512;--batch-size 512;-ub 64;--ubatch-size 64;-np 1;--parallel 1;-dt 0.1;--defrag-thold 0.1;-ctxcp 3;--ctx-checkpoints 3;--swa-checkpoints 3;-cram 1;--cache-ram -1;--swa-full;
--check-tensors;--no-context-shift;--no-display-prompt;--display-prompt;--simple-io;--jinja;--no-jinja;--warmup;--no-warmup;--offline;--log-disable;--log-prefix;--no-log-prefix;
--log-timestamps;--no-log-timestamps;--log-colors on;--log-file F;--skip-chat-parsing;--no-skip-chat-parsing;--reasoning-format none;--perf;--no-perf;--show-timings;--no-show-timings;
--verbose-prompt;-lv 3;--verbosity 3;--log-verbosity 3;-ptc 8;--print-token-count 8;-co;-co on;--color;--color off;-cnv;--conversation;-i;--interactive;-if;--interactive-first;-st;
--single-turn;-mli;--multiline-input;--keep -1;--prompt-cache F;--prompt-cache-all;--prompt-cache-ro;-md F;--model-draft F;--spec-draft-model F;-ngld 9;--gpu-layers-draft 9;
--n-gpu-layers-draft 9;--spec-draft-ngl 9;-devd x;--device-draft x;--spec-draft-device x;-ctkd f16;--cache-type-k-draft f16;--spec-draft-type-k f16;-ctvd f16;--cache-type-v-draft f16;
--spec-draft-type-v f16;-td 2;--threads-draft 2;--spec-draft-threads 2;-tbd 2;--threads-batch-draft 2;--spec-draft-threads-batch 2;--draft 4;--draft-n 4;--draft-max 4;--spec-draft-n-max 4;
--draft-min 1;--draft-n-min 1;--spec-draft-n-min 1;--draft-p-min 0.1;--spec-draft-p-min 0.1;--draft-p-split 0.1;--spec-draft-p-split 0.1;--spec-type none;--spec-default"""
REFUSED = """--lora F;--lora-scaled F:1;--control-vector F;--control-vector-scaled F:1;--control-vector-layer-range 1 2;-mm F;--mmproj F;-mmu U;--mmproj-url U;--mmproj-auto;--no-mmproj;
--no-mmproj-auto;--mmproj-offload;--no-mmproj-offload;-mmdev x;--mmproj-device x;--image F;--audio F;--video F;--image-min-tokens 1;--image-max-tokens 2;--yarn-ext-factor 1;
--yarn-attn-factor 1;--yarn-beta-slow 1;--yarn-beta-fast 1;-gan 2;--grp-attn-n 2;-gaw 8;--grp-attn-w 8;--adaptive-target 0.5;--adaptive-decay 0.5;--chat-template-kwargs {};-rea off;
--reasoning on;--reasoning-effort low;--reasoning-budget 0;--reasoning-budget-message x;--reasoning-preserve;--no-reasoning-preserve;-r x;--reverse-prompt x;--in-prefix x;--in-suffix x;
--in-prefix-bos;-sp;--special;-o F;--output F;--output-file F;--server-base U;--log-prompts-dir F;-hf a/b;-hfr a/b;--hf-repo a/b;-hff F;--hf-file F;-dr x;--docker-repo x;-mu U;
--model-url U;-hft x;--hf-token x;-cl;--cache-list"""
LIKE = "--sampler-seq k;--sampling-seq k;-sysf F;--system-prompt-file F;--rope-freq-scale 2"


def options(text):
    return [o.split() for o in text.replace("\n", "").split(";")]


def run(*words):
    return subprocess.run([bin / "kvrun", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)


NONE = "none.gguf: "  # a model that is not there: found out when all options were understood
NOTE = "mean nothing here were left aside"
for words in options(SAME):
    r = run("none.gguf", *words)
    assert r.returncode == 1 and NONE in r.stderr and NOTE not in r.stderr, (words, r)
for words in options(ASIDE):
    for line in [(*words, "none.gguf")] + [("none.gguf", "=".join(words))] * (len(words) > 1):
        r = run(*line)
        assert r.returncode == 1 and NONE in r.stderr and f"{NOTE} ({words[0]}): " in r.stderr, (line, r)
for words in options(REFUSED):
    r = run("none.gguf", *words)
    assert r.returncode == 2 and f"error: {words[0]} of llama.cpp cannot be had here: " in r.stderr and r.stderr.count("\n") == 1, (words, r)
for words in options(LIKE):
    r = run("none.gguf", *words)
    assert r.returncode == 2 and "here it is called --" in r.stderr, (words, r)

# All at once: one note that names each, once.
line = [w for words in options(ASIDE) for w in words]
r = run("none.gguf", *line, *line)
names = re.search(r"left aside \((.*?)\): ", r.stderr)[1].split(", ")
assert r.stderr.count(NOTE) == 1 and names == list(dict.fromkeys(w[0] for w in options(ASIDE))), (names, r.stderr)
for words, says in ((["-ngl"], "-ngl needs a value"), (["-ngl", "-p", "Hi"], "-ngl needs a value, but is followed by -p"), (["-b", "--", "x"], "-b needs a value"),
                    (["-ngll", "3"], "unknown option -ngll")):
    r = run("none.gguf", *words)
    assert r.returncode == 2 and says in r.stderr, (words, r)

# And what is answered is what ours answer.
model = data / "tiny/llama.gguf"
ours = run(model, "-p", "Hi", "-n", "6", "--temp", "0", "-t", "1", "--ctx", "128", "--raw")
theirs = run("-m", model, "-ngl", "99", "--prompt", "Hi", "--n-predict", "6", "--temperature", "0", "-t", "1", "-tb", "2", "--ctx-size", "128", "-no-cnv", "-fa", "--no-warmup")
assert ours.returncode == theirs.returncode == 0 and ours.stdout == theirs.stdout and ours.stdout, (ours, theirs)
r = run("--help")
assert len(r.stdout.splitlines()) < 250 and "--ctx-size" not in r.stdout and "-ngl" not in r.stdout
print(f"all passed: {len(options(SAME))} the same, {len(options(ASIDE))} left aside, {len(options(REFUSED))} refused")
