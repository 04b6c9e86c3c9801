#!/usr/bin/env python3
"""A model file that becomes shorter, or is written to, while it is in use: an error that names it, in every program.

usage: changing.py BIN_DIR DATA_DIR [--rounds N]      N: how often each program has its model cut at a random moment
"""
import os
import pathlib
import random
import tempfile
import time

from common import arguments, finish, prose, start

ARGS = arguments(__doc__)
ARGS.bin, ARGS.data = (pathlib.Path(os.path.abspath(p)) for p in (ARGS.bin, ARGS.data))
WHOLE = (ARGS.data / "tiny" / "qwen2.gguf").read_bytes()
MODEL = pathlib.Path("model.gguf")
SAYS = "-p one -n 1000000 --context-shift --seed 1 -t 1 --no-repack"


def fresh():
    MODEL.unlink(missing_ok=True)
    MODEL.write_bytes(WHOLE)


def while_it_speaks(change, said):
    """Change the model once a first word is there."""
    fresh()
    p = start(ARGS, "kvrun", MODEL, *SAYS.split())
    assert p.stdout.read(1), p.communicate()
    change()
    r = finish(p)
    assert r.returncode == 1 and b"error: model.gguf: " in r.stderr and said in r.stderr, (r.returncode, r.stderr)


def cut(size):
    os.truncate(MODEL, size)


def rewrite():
    """As a program does that fetches it once more: as long as before in the end."""
    with MODEL.open("r+b") as f:
        f.seek(len(WHOLE) // 2)
        f.write(WHOLE[len(WHOLE) // 2:])
    os.utime(MODEL, (time.time() + 60,) * 2)


def at_any_moment(words):
    """Ends with an answer or with an error, never by a signal."""
    hurt = 0
    for _ in range(ARGS.rounds):
        fresh()
        p = start(ARGS, *words.split())
        time.sleep(random.uniform(0, 0.15))
        cut(random.randrange(len(WHOLE)))
        r = finish(p)
        assert r.returncode in (0, 1) and (r.returncode == 0 or b"error: " in r.stderr), (words, r.returncode, r.stderr)
        hurt += r.returncode
    return hurt


PROGRAMS = [
    "kvrun model.gguf -p one -n 60 --temp 0 -t 1 --no-repack",
    "kvpack model.gguf balanced --out packed.gguf",
    "kveval ppl model.gguf --text text --ctx 64 --chunks 4 -t 1 --no-repack",
    "kvcalib model.gguf --text text --out p.yaml --ctx 64 --chunks 4 --window 8 --bits 4 -t 1 -q --no-measure",
]

with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    pathlib.Path("text").write_text(prose(60))
    random.seed(1)
    for size in (len(WHOLE) - 1, len(WHOLE) // 2, 5000, 0):
        while_it_speaks(lambda: cut(size), b"has become shorter while it was read")
    while_it_speaks(rewrite, b"was changed while it was read")
    hurt = sum(at_any_moment(words) for words in PROGRAMS)
    os.chdir("/")
print(f"changing {5 + len(PROGRAMS) * ARGS.rounds:6d} models changed in use, {5 + hurt} of them said so, none ended the program")
