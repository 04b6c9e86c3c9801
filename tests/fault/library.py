#!/usr/bin/env python3
"""The library of documents when calls fail, or the process is killed at a call: the documents that were there are there, whole,
what was being added is there whole or not at all, and the database is sound.

usage: library.py BIN_DIR DATA_DIR FAULT_LIBRARY [--most N] [--only ACTION]      N: calls of each kind that fail, spread over all (default: 25)
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("bin", type=pathlib.Path)
parser.add_argument("data", type=pathlib.Path)
parser.add_argument("fault", type=pathlib.Path)
parser.add_argument("--most", type=int, default=25)
parser.add_argument("--only", help="an action")
ARGS = parser.parse_args()
ARGS.bin, ARGS.data, ARGS.fault = (p.absolute() for p in (ARGS.bin, ARGS.data, ARGS.fault))
NEW, OLD = "An old text, which another one replaces.", "The text of the old document."
ENOMEM, ENOSPC, EIO = 12, 28, 5
HOWS = {"alloc": ENOMEM, "open": EIO, "read": EIO, "write": ENOSPC, "stat": EIO, "sync": EIO, "name": EIO, "list": EIO, "random": EIO}
ACTIONS = {
    "add": ["add", "-q", "m.gguf", "new.txt", "-t", "1"],
    "replace": ["add", "-q", "m.gguf", "new.txt", "--name", "old", "-t", "1"],
    "remove": ["remove", "old"],
    "limit": ["limit", "1K"],
    "search": ["search", "text"],
    "list": ["list"],
}


def docs(words, folder, fault=None):
    env = {**os.environ, "XDG_DATA_HOME": str(pathlib.Path(folder).absolute()), "XDG_CACHE_HOME": str(pathlib.Path("cache").absolute())}
    if fault:
        env |= {"LD_PRELOAD": str(ARGS.fault), **fault}
    return subprocess.run([ARGS.bin / "kvrun", "docs", *words], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                          timeout=100)


def state(folder):
    """What is there, after a look at all of it: name -> (text, payload)."""
    checked = docs(["check"], folder)
    assert checked.returncode == 0, checked
    listed = docs(["list", "--json"], folder)
    assert listed.returncode == 0, listed
    return {d["name"]: (pathlib.Path(d["text"]).read_text(), pathlib.Path(d["payload"]).stat().st_size)
            for d in json.loads(listed.stdout)["documents"]}


def counts(words, folder):
    docs(words, folder, {"KV_FAULT_COUNTS": str(pathlib.Path("counts").absolute())})
    return {k: int(n) for k, n in (line.split() for line in pathlib.Path("counts").read_text().splitlines())}


def try_one(words, whole, before, after, fault):
    folder = pathlib.Path("try")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    r = docs(words, folder, {"KV_FAULT": fault})
    killed = fault.endswith("kill")
    assert r.returncode in ((0, -signal.SIGKILL) if killed else (0, 1)), (fault, r)
    assert killed or (r.returncode == 0) != ("error: " in r.stderr), (fault, r)
    now = state(folder)
    assert now in (before, after), (fault, r, now)
    assert r.returncode or now == after, (fault, r, now)
    # The next one that writes leaves nothing but what rows have.
    assert docs(["limit", "none"], folder).returncode == 0
    left = sorted(p.name for p in (folder / "kvcalib/library/payload").iterdir())
    assert len(left) == 2 * len(now) and not any(n.startswith(("new", ".")) for n in left), (fault, r, left)
    return r.returncode == 0


def main():
    done, survived = 0, 0
    os.chdir(tempfile.mkdtemp(prefix="kv-library-"))
    try:
        shutil.copy(ARGS.data / "tiny/llama.gguf", "m.gguf")
        pathlib.Path("old.txt").write_text(OLD)
        pathlib.Path("new.txt").write_text(NEW)
        assert docs(["add", "-q", "m.gguf", "old.txt", "--name", "old"], "whole").returncode == 0
        for name, words in ACTIONS.items():
            if ARGS.only not in (None, name):
                continue
            shutil.rmtree("after", ignore_errors=True)
            shutil.copytree("whole", "after")
            calls = counts(words, pathlib.Path("after"))
            before, after = state(pathlib.Path("whole")), state(pathlib.Path("after"))
            assert (before != after) == (name not in ("search", "list")), name
            for kind, n in calls.items():
                for how in [HOWS[kind], "kill"] if kind in HOWS else []:
                    if how == "kill" and kind in ("alloc", "random"):
                        continue
                    for at in sorted({1 + i * n // ARGS.most for i in range(ARGS.most) if i * n // ARGS.most < n}):
                        survived += try_one(words, "whole", before, after, f"{kind} {at} {how}")
                        done += 1
        print(f"{done} faults: {survived} made no difference, nothing was lost")
    finally:
        shutil.rmtree(os.getcwd(), ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
