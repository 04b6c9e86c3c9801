#!/bin/sh
# A long stream through a small budget on a tiny model runs in the memory of its budget: with a policy that looks at queries, and one
# that folds. In the sanitizers' build it also shows that nothing leaks.
# usage: stream.sh BIN_DIR DATA_DIR
set -eu
exec python3 - "$1/kvrun" "$2/tiny/qwen2.gguf" <<'P'
import os, random, subprocess, sys, tempfile

kvrun, model = sys.argv[1:]
words = "the keeper of the old gate has a dog who sleeps by day and barks at night".split()
draw = random.Random(1)
# The sanitizer otherwise holds on to memory that was freed.
environ = dict(os.environ, ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1")
SHORT, LONG = 3000, 10000  # words, of some three tokens each

def stream(n, policy):
    """Peak resident memory in bytes after reading n words."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as text:
        text.write(" ".join(draw.choice(words) for _ in range(n)))
        text.flush()
        child = subprocess.Popen([kvrun, model, "--raw", "-f", text.name, "-c", "32768", "--budget", "512", "--evict", policy, "-ctk", "q8_0",
                                  "-ctv", "q4_0", "--window", "64", "--sinks", "4", "-n", "4", "-t", "1", "--temp", "0"],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environ)
        said = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0 and "keep 512 tokens on average" in said, said
        return usage.ru_maxrss * 1024

for policy in ("snapkv", "merge"):
    short, long = stream(SHORT, policy), stream(LONG, policy)
    # In an f16 cache 20,000 tokens more would take 15 MiB; text and tokens themselves are less than 1.
    assert long - short < 2 << 20, f"{policy}: {long - short} bytes more for a longer stream"
print("all passed")
P
