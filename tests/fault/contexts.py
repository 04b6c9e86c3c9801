#!/usr/bin/env python3
"""Documents that are read once: the same answers from a file as at once, reading that is interrupted goes on, and whenever it is
killed, what was there is there, whole.

usage: contexts.py BIN_DIR DATA_DIR [--rounds N]      N: how often reading, appending and packing are killed at a random moment
"""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time

from common import arguments, finish, prose, start

ARGS = arguments(__doc__)
MODEL = "m.gguf"
CACHE = "-ctk q8_0 -ctv q4_0 --window 20 --sinks 4 -t 1".split()
ASK = ["-n", "12", "-t", "1"]
BIG = ["--ctx", "20000"]


def kvrun(*words):
    return finish(start(ARGS, "kvrun", *words))


def good(*words):
    r = kvrun(*words)
    assert r.returncode == 0, r
    return r


def bad(code, what, *words):
    r = kvrun(*words)
    assert r.returncode == code and what in r.stderr.decode() and not r.stdout, r


def answers_are_the_same():
    pathlib.Path("a.txt").write_text(prose(9))
    at_once = json.loads(good("ask", MODEL, "a.txt", "Boats?", "Bridges?", "--json", *CACHE, *ASK[:2]).stdout)
    good("read", MODEL, "a.txt", *CACHE)
    assert pathlib.Path("a.kv").exists() and not pathlib.Path("a.kv.partial").exists()
    good("read", MODEL, "a.txt", "--out", "p.kv", "--pack", "--title", "A title", *CACHE)
    for name in "a.kv", "p.kv":
        later = json.loads(good("ask", MODEL, name, "Boats?", "Bridges?", "Boats?", "--json", *ASK).stdout)
        for i, j in (0, 0), (1, 1), (0, 2):
            assert at_once[i]["answer"] == later[j]["answer"], (at_once, later)
    plain = good("ask", MODEL, "a.kv", "Boats?", *ASK).stdout.decode()
    assert plain.rstrip("\n") == at_once[0]["answer"].rstrip("\n"), plain
    about = json.loads(good("info", "p.kv", "--json").stdout)
    assert about["title"] == "A title" and about["packed"] and about["tokens"] > 100 and about["arch"] == "llama", about
    assert b"every byte is as it was written" in good("info", "a.kv").stdout
    with open("a.txt") as f:
        r = finish(start_reading(f, "ask", MODEL, "-", "Boats?", "--json", *CACHE, *ASK[:2]))
    assert json.loads(r.stdout)[0]["answer"] == at_once[0]["answer"], r


def start_reading(stdin, *words):
    return subprocess.Popen([ARGS.bin / "kvrun", *words], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def appending_reads_only_what_is_new():
    pathlib.Path("b.txt").write_text("The bridge of the eighth line is blue.")
    before = json.loads(good("info", "a.kv", "--json").stdout)
    good("read", MODEL, "b.txt", "--out", "a.kv", "--append", *CACHE)
    after = json.loads(good("info", "a.kv", "--json").stdout)
    assert after["tokens"] > before["tokens"] and after["title"] == before["title"], after
    pathlib.Path("ab.txt").write_text(prose(9) + "\n\nThe bridge of the eighth line is blue.")
    good("read", MODEL, "ab.txt", "--out", "ab.kv", *CACHE)
    both = json.loads(good("info", "ab.kv", "--json").stdout)
    assert abs(both["tokens"] - after["tokens"]) <= 3, (both, after)


def what_does_not_fit_is_said():
    bad(1, "is of another model", "ask", "other.gguf", "a.kv", "Boats?")
    bad(1, "its cache is stored as", "ask", MODEL, "a.kv", "Boats?", "-ctk", "f16")
    bad(1, "is not a .kv file", "info", MODEL)
    bad(1, "is not a .kv file", "info", "a.txt")
    bad(2, "no question", "ask", MODEL, "a.kv")
    bad(2, "question 1 is empty", "ask", MODEL, "a.kv", "")
    bad(2, "say --out", "read", MODEL, "-")
    pathlib.Path("long.txt").write_text(prose(2000))
    bad(1, "and the model was trained for", "read", MODEL, "long.txt")
    data = bytearray(pathlib.Path("a.kv").read_bytes())
    data[len(data) // 2] ^= 4
    pathlib.Path("flipped.kv").write_bytes(data)
    bad(1, "is damaged", "ask", MODEL, "flipped.kv", "Boats?")
    bad(1, "is damaged", "info", "flipped.kv")


def interrupted_reading_goes_on():
    pathlib.Path("long.txt").write_text(prose(400))
    words = ["read", MODEL, "long.txt", "--out", "long.kv", *CACHE, *BIG, "-q"]
    began = time.monotonic()
    good(*words)
    seconds = time.monotonic() - began
    wanted = good("ask", MODEL, "long.kv", "Boats?", *ASK).stdout
    os.unlink("long.kv")
    p = start(ARGS, "kvrun", *words)
    time.sleep(seconds / 2)
    p.send_signal(signal.SIGINT)
    r = finish(p)
    if r.returncode == 0:
        return  # it was faster than the signal
    assert r.returncode == 130 and b"the same command goes on from there" in r.stderr, r
    assert pathlib.Path("long.kv.partial").exists() and not pathlib.Path("long.kv").exists()
    r = good(*words)
    assert b"going on after" in r.stderr, r
    assert not pathlib.Path("long.kv.partial").exists()
    assert good("ask", MODEL, "long.kv", "Boats?", *ASK).stdout == wanted


def killed_at_any_moment(rounds):
    """What is there is the old file or the new one, and whole."""
    pathlib.Path("a.txt").write_text(prose(60))
    good("read", MODEL, "a.txt", "--out", "k.kv", *CACHE, *BIG)
    old = pathlib.Path("k.kv").read_bytes()
    jobs = [["read", MODEL, "a.txt", "--out", "k.kv", *CACHE, *BIG], ["read", MODEL, "a.txt", "--out", "k.kv", "--pack", *CACHE, *BIG],
            ["read", MODEL, "b.txt", "--out", "k.kv", "--append", *CACHE]]
    took = []
    for job in jobs:
        began = time.monotonic()
        good(*job)
        took.append(time.monotonic() - began)
        pathlib.Path("k.kv").write_bytes(old)
    for i in range(rounds):
        job = i % len(jobs)
        p = start(ARGS, "kvrun", *jobs[job])
        time.sleep(random.uniform(0, 1.2 * took[job]))
        p.kill()
        finish(p)
        good("info", "k.kv")
        if pathlib.Path("k.kv").read_bytes() != old:
            pathlib.Path("k.kv").write_bytes(old)
    left = [n for n in os.listdir() if n.startswith(".") or n.endswith(".partial")]
    assert len(left) <= 1, left  # at most what the last one left


with tempfile.TemporaryDirectory() as folder:
    os.environ["XDG_CACHE_HOME"] = folder + "/cache"
    shutil.copy(ARGS.data / "tiny/llama.gguf", folder + "/" + MODEL)
    shutil.copy(ARGS.data / "arch/llama-linear.gguf", folder + "/other.gguf")
    ARGS.bin = ARGS.bin.resolve()
    os.chdir(folder)
    answers_are_the_same()
    appending_reads_only_what_is_new()
    what_does_not_fit_is_said()
    interrupted_reading_goes_on()
    killed_at_any_moment(ARGS.rounds * 6)
    os.chdir("/")
print("documents are read once, whole or not at all")
