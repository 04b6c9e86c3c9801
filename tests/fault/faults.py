#!/usr/bin/env python3
"""Every fault in turn: memory, files and signals fail under the programs, on tiny models. Whatever fails and wherever, a program ends
with what was asked for, or with exit code 1 and a sentence; never by a crash, never as if nothing had happened. What it was to write
is the old file or the new one as a whole, and nothing is left beside it.

usage: faults.py BIN_DIR DATA_DIR FAULT_LIBRARY [--quick] [--most N] [--jobs N] [--only WORD]

Faults come from a library that is preloaded (fault.c). --quick: some of them, in seconds. --most: so many of each kind and program,
spread evenly where there are more, and fewer where a run takes more than a tenth of a second.
"""
import argparse
import collections
import concurrent.futures
import errno
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import random as chance

PARSER = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
PARSER.add_argument("bin", type=pathlib.Path)
PARSER.add_argument("data", type=pathlib.Path)
PARSER.add_argument("library", type=pathlib.Path)
PARSER.add_argument("--quick", action="store_true")
PARSER.add_argument("--most", type=int, default=400)
PARSER.add_argument("--jobs", type=int, default=os.cpu_count())
PARSER.add_argument("--only", default="")
ARGS = PARSER.parse_args()

OLD = b"what was there before\n"
BRIEF = 0.1  # seconds; of programs that run longer, fewer faults are tried
PATIENCE = 600  # seconds; a run takes a small part of one, but machines may be busy

# What a program is called with; OUT/ is the folder that it writes to, IN/ that of its inputs, + a blank. Then the files that it writes.
CASES = {
    "kvrun": ("kvrun IN/packed.gguf -p hello+the+world -n 4 --temp 0 -t 1", []),
    "kvrun file": ("kvrun IN/qwen2.gguf -f IN/prompt -n 3 --temp 0 -t 2 --no-repack -ctk q8_0 --system brief", []),
    "kvrun samplers": ("kvrun IN/qwen2.gguf -p hello+the+world -n 4 -s 1 -t 1 --repeat-penalty 2 --dry-multiplier 1 --dry-sequence-breaker "
                       "the+wo --dry-sequence-breaker x -l 70-1 --ignore-eos", []),
    "kvrun text docx": ("kvrun text IN/sample.docx", []),
    "kvrun text epub": ("kvrun text IN/sample.epub", []),
    "kvpack": ("kvpack IN/qwen2.gguf IN/p.yaml --out OUT/packed.gguf", ["packed.gguf"]),
    "kvpack strip": ("kvpack --strip IN/packed.gguf --out OUT/plain.gguf", ["plain.gguf"]),
    "kvpack show": ("kvpack --show IN/packed.gguf --json", []),
    "kvpack named": ("kvpack IN/qwen2.gguf balanced --dry-run", []),
    "kvcalib": ("kvcalib IN/qwen2.gguf --text IN/text --out OUT/p.yaml --report OUT/r.html --ctx 64 --chunks 2 --windows 0,8 --bits 4 "
                "-t 2 -q", ["p.yaml", "r.html"]),
    "kvcalib budget": ("kvcalib IN/qwen2.gguf --text IN/text --out OUT/p.yaml --ctx 64 --chunks 2 --window 8 --bits 4 --budget 50% "
                       "--no-measure --json -t 1 -q", ["p.yaml"]),
    "kveval sweep": ("kveval sweep IN/packed.gguf --text IN/text --ctx 64 --chunks 1 -q -t 1 --json OUT/s.json --csv OUT/s.csv --html "
                     "OUT/s.html --svg OUT/s.svg", ["s.json", "s.csv", "s.html", "s.svg"]),
    "kveval ppl": ("kveval ppl IN/packed.gguf --text IN/text --ctx 64 --chunks 1 --json -t 1", []),
    "kveval qa": ("kveval qa IN/qwen2.gguf IN/document IN/questions -q -t 1 --json OUT/q.json --csv OUT/q.csv --html OUT/q.html",
                  ["q.json", "q.csv", "q.html"]),
    "kveval niah": ("kveval niah IN/qwen2.gguf --ctx 1536 --depths 50 --repeats 1 -q -t 1 --setting h:+-ctk+f16 --json OUT/n.json --csv "
                    "OUT/n.csv --html OUT/n.html", ["n.json", "n.csv", "n.html"]),
    "kveval facts": ("kveval facts IN/qwen2.gguf --docs 1 --tokens 2400 --near-misses -q -t 1 --setting h:+-ctk+f16 --json OUT/f.json --csv "
                     "OUT/f.csv --html OUT/f.html", ["f.json", "f.csv", "f.html"]),
    "kveval tokens": ("kveval tokens IN/qwen2.gguf --in IN/texts.json", []),
}

# How a kind of call fails: errno or another way, "+" where all after the first fail, too.
WAYS = {
    "alloc": [(errno.ENOMEM, ""), (errno.ENOMEM, "+")],
    "map": [(errno.ENOMEM, "")],
    "thread": [(errno.EAGAIN, "")],
    "open": [(errno.EIO, ""), (errno.EMFILE, "+"), ("kill", "")],
    "read": [(errno.EIO, ""), ("short", ""), ("short", "+")],
    "write": [(errno.ENOSPC, ""), (errno.EIO, "+"), ("short", ""), ("kill", ""), ("int", "")],
    "stat": [(errno.EIO, ""), (errno.ENOMEM, "+")],
    "sync": [(errno.EIO, ""), ("kill", "")],
    "name": [(errno.EIO, ""), (errno.EPERM, "+"), ("kill", ""), ("int", "")],
    "list": [(errno.EIO, "")],
    "random": [(errno.ENOSYS, "+")],
}
LEAVES = {"kill": [-signal.SIGKILL], "int": [130]}


def volatile(data):
    """Without figures that are others every time, and without the folder's name."""
    data = re.sub(rb"/[^\s'\"<>]*/kv-fault-[\w/]*(IN|OUT)\w*", rb"\1", data)
    data = re.sub(rb",[-\d.e+]*\r\n", b"\r\n", data)  # the last column of a table
    return re.sub(rb'("seconds": )[-\d.e+]+|(written in|[\w)], ) *[\d.]+ s\b', b"", data)


class Place:
    """A folder for a run, with or without an old file of every output."""

    def __init__(self, case, old):
        self.words, self.outputs = CASES[case]
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kv-fault-OUT", dir=TMP))
        self.old = old
        for name in self.outputs if old else []:
            (self.dir / name).write_bytes(OLD)

    def command(self):
        words = self.words.replace("OUT/", f"{self.dir}/").replace("IN/", f"{IN}/").split()
        return [str(ARGS.bin / words[0]), *(w.replace("+", " ") for w in words[1:])]

    def files(self):
        return {p.name: p.read_bytes() for p in self.dir.iterdir()}

    def close(self):
        shutil.rmtree(self.dir)


ENV = {**os.environ, "SOURCE_DATE_EPOCH": "0", "XDG_DATA_HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
ENV.pop("KVCALIB_PROFILES", None)


def run(place, fault=None, counts=None, **more):
    env = dict(ENV)
    if fault or counts:
        env["LD_PRELOAD"] = str(ARGS.library)
        env["KV_FAULT"] = fault or "none 0 0"
    if counts:
        env["KV_FAULT_COUNTS"] = str(counts)
    try:
        return subprocess.run(place.command(), env=env, capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE, **more)
    except subprocess.TimeoutExpired as e:
        return subprocess.CompletedProcess(e.cmd, "hangs", e.stdout or b"", e.stderr or b"")


class Wanted:
    """What a case comes to when nothing fails, and how many calls of each kind it makes."""

    def __init__(self, case):
        place = Place(case, False)
        began = time.monotonic()
        r = run(place)
        self.took = time.monotonic() - began
        assert r.returncode == 0, (case, r)
        self.stdout = volatile(r.stdout)
        self.files = {n: volatile(d) for n, d in place.files().items()}
        assert set(self.files) == set(place.outputs), (case, self.files.keys())
        place.close()
        place = Place(case, True)
        counts = TMP / "counts"
        r = run(place, counts=counts)
        if r.returncode == 99:
            print(f"skipped: {r.stderr.decode()}")
            sys.exit(77)
        assert r.returncode == 0 and self.same(place.files()) and volatile(r.stdout) == self.stdout, (case, r)
        self.counts = {k: int(n) for k, n in map(str.split, counts.read_text().splitlines())}
        place.close()

    def same(self, files):
        return {n: volatile(d) for n, d in files.items()} == self.files


def judge(place, wanted, r, leaves):
    """What is wrong with how a run ended; None: nothing. leaves: exit codes that are right, besides 0 and 1."""
    files = place.files()
    for name in place.outputs:
        data = files.pop(name, None)
        if data is not None and data != (OLD if place.old else None) and volatile(data) != wanted.files[name]:
            is_now, was = volatile(data), wanted.files[name]
            at = next((i for i, (a, b) in enumerate(zip(is_now, was)) if a != b), min(len(is_now), len(was)))
            return f"{name} is neither old nor new: {is_now[max(0, at - 40):at + 40]!r}, not {was[max(0, at - 40):at + 40]!r}"
        if data is None and place.old:
            return f"{name} is gone"
    kept = [n for n in files if n.endswith(".resume")]
    rest = [n for n in files if n not in kept]
    if rest and -signal.SIGKILL not in leaves:
        return f"left behind: {rest}"
    if r.returncode in leaves:
        return None
    if r.returncode == 0:
        if not wanted.same({n: d for n, d in place.files().items() if n not in kept}):
            return "exit 0, but not what was asked for"
        return None if volatile(r.stdout) == wanted.stdout else f"exit 0, but another output: {r.stdout[-200:]!r}"
    if r.returncode != 1:
        return f"exit {r.returncode}"
    return None if re.search(rb"error: \S", r.stderr) else "exit 1, but not a word"


tally = collections.Counter()
lock = threading.Lock()
losses = []


def tried():
    return sum(n for k, n in tally.items() if isinstance(k, str))


def note(kind, case, what, problem, r):
    with lock:
        tally[kind] += 1
        if problem:
            losses.append(f"{case}: {what}: {problem}; stderr: {r.stderr.decode(errors='replace')[-300:]!r}")
            print(f"LOST {losses[-1]}", flush=True)
        elif r.returncode == 0:
            tally[kind, "unhurt"] += 1


def one_fault(case, wanted, kind, n, how, on):
    place = Place(case, n % 2)
    r = run(place, f"{kind} {n}{on} {how}")
    problem = judge(place, wanted, r, LEAVES.get(how, []))
    if not problem and how == "kill":  # what is left of it is gone after the next
        place2 = run(place)
        left = set(place.files()) - set(place.outputs)
        if place2.returncode or left:
            problem = f"after a kill: exit {place2.returncode}, left {left}"
    note(kind, case, f"{kind} {n}{on} {how}", problem, r)
    place.close()


def spread(n, most):
    return range(1, n + 1) if n <= most else sorted({1 + i * (n - 1) // (most - 1) for i in range(most)} if most > 1 else {1 + n // 2})


def faults(pool, cases, most):
    for case in cases:
        began, before = time.monotonic(), tried()
        wanted = Wanted(case)
        share = max(2, int(most * min(1, BRIEF / wanted.took)))
        jobs = [pool.submit(one_fault, case, wanted, kind, n, how, on) for kind, ways in WAYS.items() for how, on in ways
                for n in spread(wanted.counts[kind], share if kind == "alloc" else max(2, share // 4))]
        for j in jobs:
            j.result()
        print(f"{case:16s} {tried() - before:6d} faults, {time.monotonic() - began:5.0f} s; {wanted.counts['alloc']} allocations, "
              f"{wanted.took:.2f} s a run", flush=True)


# ---- what needs no library ----

def limited(case, wanted, n):
    """A disk that is full after n bytes of a file."""
    place = Place(case, n % 2)
    r = run(place, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)))
    note("full", case, f"files of {n} bytes at most", judge(place, wanted, r, []), r)
    place.close()


def tiny_disk(case, wanted, kib):
    """A file system of its own that is too small; where one may be mounted."""
    place = Place(case, False)
    shell = f"mount -t tmpfs -o size={kib}k none {place.dir} || exit 98; \"$@\"; code=$?; ls -A {place.dir} >&2; exit $code"
    r = subprocess.run(["unshare", "-m", "sh", "-c", shell, "sh", *place.command()], env=ENV, capture_output=True, timeout=PATIENCE)
    if r.returncode != 98 and b"unshare" not in r.stderr:
        problem = None if r.returncode == 0 or (r.returncode == 1 and b"error: " in r.stderr) else f"exit {r.returncode}"
        if r.returncode == 1 and any(b.startswith(b".") for b in r.stderr.split(b"\n")):
            problem = "something is left on the disk"
        note("disk", case, f"a disk of {kib} KiB", problem, r)
    place.close()


def full_stdout(case, wanted):
    """Nobody can take the output: it is lost, and said so."""
    if not wanted.stdout:
        return
    place = Place(case, True)
    with open("/dev/full", "wb") as full:
        r = subprocess.run(place.command(), env=ENV, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE)
    problem = judge(place, wanted, subprocess.CompletedProcess([], r.returncode, b"", r.stderr), [])
    note("stdout", case, "standard output is full", problem or ("exit 0" if r.returncode == 0 else None), r)
    place.close()
    place = Place(case, True)
    nobody, end = os.pipe()
    os.close(nobody)  # a reader that leaves before the first word
    p = subprocess.Popen(place.command(), env=ENV, stdin=subprocess.DEVNULL, stdout=end, stderr=subprocess.PIPE)
    os.close(end)
    err = p.stderr.read()
    r = subprocess.CompletedProcess([], p.wait(), b"", err)
    problem = judge(place, wanted, r, [-signal.SIGPIPE])
    if not problem and not wanted.same(place.files()):
        problem = "files are lost because nobody reads the table"
    note("stdout", case, "the reader leaves", problem, r)
    place.close()


def catches(pid, sig):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return "State:\tZ" in status or int(re.search(r"SigCgt:\s*(\w+)", status).group(1), 16) >> (sig - 1) & 1


def cut_short(case, wanted, seconds, sig):
    place = Place(case, True)
    p = subprocess.Popen(place.command(), env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = b"", b""
    try:
        out, err = p.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        while sig != signal.SIGKILL and p.poll() is None and not catches(p.pid, sig):
            pass  # it is not in main() yet
        sent = time.monotonic()
        p.send_signal(sig)
        out, err = p.communicate()
        with lock:
            tally["slowest", sig] = max(tally["slowest", sig], time.monotonic() - sent)
    r = subprocess.CompletedProcess([], p.returncode, out, err)
    leaves = [-signal.SIGKILL] if sig == signal.SIGKILL else [130]
    problem = judge(place, wanted, r, leaves)
    if not problem and sig == signal.SIGKILL:
        again = run(place)
        left = set(place.files()) - set(place.outputs)
        if again.returncode or left:
            problem = f"after a kill: exit {again.returncode}, left {left}"
    note(signal.Signals(sig).name, case, f"{signal.Signals(sig).name} after {seconds:.3f} s", problem, r)
    place.close()


def mishaps(pool, cases, rounds):
    jobs = []
    chance.seed(1)
    for case in cases:
        wanted = Wanted(case)
        place = Place(case, False)
        started = time.monotonic()
        run(place)
        took = time.monotonic() - started
        sizes = sorted({max(1, len(d) * i // 8) for d in place.files().values() for i in range(8)})
        place.close()
        jobs += [pool.submit(limited, case, wanted, n) for n in sizes[:: max(1, len(sizes) // rounds)]]
        jobs += [pool.submit(tiny_disk, case, wanted, kib) for kib in (4, 64) if wanted.files]
        jobs.append(pool.submit(full_stdout, case, wanted))
        signals = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
        for sig in signals[:2] if case == "kvrun" else signals[:1] if case.startswith("kvrun text") else signals:  # text has nothing to clean up
            jobs += [pool.submit(cut_short, case, wanted, chance.uniform(0.2, 1) * took, sig) for _ in range(rounds if wanted.files else 2)]
    for j in jobs:
        j.result()


# ---- what the cases read ----

def is_read(case):
    """Whether this build reads such a document."""
    place = Place(case, False)
    r = run(place)
    place.close()
    if b"not read by this build" in r.stderr:
        print(f"skipped: {case}: {r.stderr.decode()}", end="")
        return False
    return True


def inputs():
    shutil.copy(ARGS.data / "tiny" / "qwen2.gguf", IN / "qwen2.gguf")
    for name in ("sample.docx", "sample.epub"):
        shutil.copy(ARGS.data.parent / "documents" / name, IN / name)
    (IN / "text").write_text("".join(f"Line {i}: {i * 37 % 101} boats passed under {i * 13 % 7} bridges.\n" for i in range(60)))
    (IN / "prompt").write_text("Hello there, who keeps the gate?\n")
    (IN / "document").write_text("The keeper of the gate is Odo. He has a dog.\n")
    (IN / "questions").write_text("Who keeps the gate?\tOdo|Otto\n")
    (IN / "texts.json").write_text('["one", "two"]')
    for words in (f"kvcalib {IN}/qwen2.gguf --text {IN}/text --out {IN}/p.yaml --ctx 64 --chunks 2 --window 8 --bits 4 -t 1 -q",
                  f"kvpack {IN}/qwen2.gguf {IN}/p.yaml --out {IN}/packed.gguf"):
        tool, *words = words.split()
        subprocess.run([ARGS.bin / tool, *words], check=True, capture_output=True, env=ENV)


TMP = pathlib.Path(tempfile.mkdtemp(prefix="kv-fault-"))
IN = TMP / "IN"
started = time.monotonic()
try:
    IN.mkdir()
    inputs()
    cases = [c for c in CASES if ARGS.only in c and (not c.startswith("kvrun text") or is_read(c))]
    with concurrent.futures.ThreadPoolExecutor(ARGS.jobs) as pool:
        if ARGS.quick:
            faults(pool, [c for c in cases if c in ("kvrun", "kvpack", "kveval ppl")], 12)
            faults(pool, [c for c in cases if c in ("kvrun text epub", "kveval qa")], 60)
            faults(pool, [c for c in cases if c in ("kvcalib", "kveval sweep")], 2)
            mishaps(pool, [c for c in cases if c in ("kvpack", "kveval sweep")], 2)
        else:
            faults(pool, cases, ARGS.most)
            mishaps(pool, cases, 12)
finally:
    shutil.rmtree(TMP)

kinds = [k for k in tally if isinstance(k, str)]
for kind in kinds:
    print(f"{kind:8s} {tally[kind]:6d} tried, {tally[kind, 'unhurt']:6d} of them without harm")
for key in [k for k in tally if k[0] == "slowest"]:
    print(f"from {signal.Signals(key[1]).name} to the end: {tally[key]:.3f} s at most")
print(f"all      {sum(tally[k] for k in kinds):6d} tried, {sum(tally[k] for k in kinds) - len(losses)} survived, {len(losses)} lost; "
      f"{time.monotonic() - started:.0f} s")
sys.exit(bool(losses))
