#!/usr/bin/env python3
"""A calibration that is killed goes on with --resume, to the same bytes; and what is there to go on from belongs to it.

usage: resume.py BIN_DIR DATA_DIR [--rounds N]      N: how often one is killed at a random moment
"""
import os
import pathlib
import random
import tempfile
import time

from common import arguments, finish, prose, start

ARGS = arguments(__doc__)
WORDS = "--text text --ctx 64 --chunks 160 --window 8 --bits 4 -q -t 1".split()
BUDGET = [*WORDS, "--budget", "50%", "--no-measure"]
KEPT = pathlib.Path("p.yaml.resume")


def calibrate(*more, words=WORDS):
    return start(ARGS, "kvcalib", "m.gguf", "--out", "p.yaml", *words, *more)


def bytes_of(words):
    """The profile that nothing interrupts."""
    began = time.monotonic()
    r = finish(calibrate(words=words))
    assert r.returncode == 0 and not KEPT.exists(), r
    return pathlib.Path("p.yaml").read_bytes(), time.monotonic() - began


def kill_until_kept(words, *more):
    """Kill a calibration once it has a file to go on from."""
    p = calibrate(*more, words=words)
    while not KEPT.exists() and p.poll() is None:
        time.sleep(0.002)
    assert p.poll() is None, "it ended without keeping anything"
    p.kill()
    finish(p)


def hidden():
    return [n for n in os.listdir() if n.startswith(".")]


def goes_on(words):
    """Killed again and again, each time going on."""
    wanted, seconds = bytes_of(words)
    resumed = 0
    for _ in range(ARGS.rounds):
        pathlib.Path("p.yaml").unlink()
        kill_until_kept(words)
        while True:
            p = calibrate("--resume", words=words)
            try:
                out, err = p.communicate(timeout=random.uniform(0.1, 1) * seconds)
            except Exception:
                p.kill()
                p.communicate()
                continue
            break
        assert p.returncode == 0, (p.returncode, err)
        resumed += b"going on behind" in err
        assert pathlib.Path("p.yaml").read_bytes() == wanted, "another profile than without a break"
        assert not KEPT.exists() and not hidden(), os.listdir()
    assert resumed == ARGS.rounds, (resumed, "of", ARGS.rounds)
    return resumed


def belongs():
    """Nothing else goes on from a file than what began it."""
    kill_until_kept(WORDS)
    kept = KEPT.read_bytes()
    for more in (["--seed", "2"], ["--window", "16"], ["--sinks", "2"], ["--frame", "128"], ["--chunks", "159"], ["--ctx", "32"],
                 ["--text", "other"], ["--budget", "50%", "--no-measure"], ["--override-kv", "qwen2.rope.freq_base=float:5000"]):
        r = finish(calibrate("--resume", *more))
        assert r.returncode == 1 and b"p.yaml.resume: is of another model, text, option or version" in r.stderr, (more, r)
    for damage in (kept[:-1], kept[:200], kept[:300] + bytes([kept[300] ^ 1]) + kept[301:], kept[:-1] + bytes([kept[-1] ^ 1])):
        KEPT.write_bytes(damage)
        r = finish(calibrate("--resume"))
        assert r.returncode == 1 and b"p.yaml.resume: is damaged" in r.stderr, r
    KEPT.write_bytes(b"something else")
    r = finish(calibrate("--resume"))
    assert r.returncode == 1 and b"p.yaml.resume: is no file of a calibration" in r.stderr, r
    KEPT.write_bytes(kept)
    r = finish(calibrate())  # mentioned, not used, and gone with the profile
    assert r.returncode == 0 and b"of a calibration that was cut off: --resume goes on from there" in r.stderr, r
    assert not KEPT.exists()
    r = finish(calibrate("--resume"))
    assert r.returncode == 0 and b"there is nothing to go on from" in r.stderr, r
    text = pathlib.Path("text").read_bytes()
    KEPT.write_bytes(text)
    r = finish(start(ARGS, "kvcalib", "m.gguf", "--out", "p.yaml", *WORDS, "--text", KEPT))
    assert r.returncode == 2 and b"same file" in r.stderr and KEPT.read_bytes() == text, r


home = os.path.abspath
ARGS.bin, ARGS.data = pathlib.Path(home(ARGS.bin)), pathlib.Path(home(ARGS.data))
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    pathlib.Path("m.gguf").write_bytes((ARGS.data / "tiny" / "qwen2.gguf").read_bytes())
    pathlib.Path("text").write_text(prose(700))
    pathlib.Path("other").write_text(prose(701))
    random.seed(1)
    n = goes_on(WORDS) + goes_on(BUDGET)
    belongs()
    os.chdir("/")
print(f"resume   {n:6d} killed, {n} came to the same bytes")
