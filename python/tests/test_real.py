"""A real model: the same as the C API and the programs say, and Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

import libkv

TEXT = "The ferry leaves the harbour at noon, and comes back with seven crates of pears. Größe: 12 €.\n"
QUESTION = "What is the capital city of the country France? Answer with one word."


def test_tokens_are_those_of_kveval(smollm2: libkv.Model, smollm2_path: Path, tool: Callable[..., str]) -> None:
    texts = [TEXT, "", "<|im_start|>user\n", "  1234567 = x\n\n\tfin", "日本語 🦆"]
    for special in (False, True):
        said = tool("kveval", "tokens", smollm2_path, "--in", "-", *["--special"] * special, stdin=json.dumps(texts))
        assert json.loads(said) == [smollm2.tokenize(t, bos=special, special=special) for t in texts]


def test_logprobs_are_those_of_kveval(smollm2_path: Path, tool: Callable[..., str]) -> None:
    """All that it prints: eight digits."""
    with libkv.Model(smollm2_path, exact=True) as exact:
        ids = exact.tokenize(TEXT, bos=True)
        chunk = json.dumps({"chunks": [{"tokens": ids}]})
        (rows,) = json.loads(tool("kveval", "logprobs", smollm2_path, "--in", "-", "--top", 1000, stdin=chunk))
        ours = exact.logprobs(ids, profile=None).tolist()
        full = exact.logprobs(ids, profile=None, full=True)
    compared = 0
    for i, row in enumerate(rows):
        theirs = dict(map(tuple, row))
        assert full[i, row[0][0]] == pytest.approx(row[0][1], rel=1e-6)
        if i + 1 < len(ids) and ids[i + 1] in theirs:
            assert float(f"{ours[i]:.8g}") == theirs[ids[i + 1]]
            compared += 1
    assert compared > len(ids) * 0.8


def test_logprobs_are_those_of_the_c_api(
    smollm2: libkv.Model, smollm2_path: Path, tool: Callable[..., str], tmp_path: Path
) -> None:
    """To the bit; the C program takes one token at a time, Python 64."""
    build = Path(os.environ["LIBKV_TOOLS"]).parent
    needed = re.search(r"^Libs\.private: (.*)$", (build / "lib" / "kv.pc").read_text(), re.M)
    compiler = os.environ.get("CC", "cc")
    sources = [str(ROOT / "python" / "tests" / "logprobs.c"), str(build / "lib" / "libkv.a")]
    flags = [f"-I{ROOT / 'include'}", "-ffp-contract=off", "-o", str(tmp_path / "logprobs")]
    libraries = shlex.split(needed.group(1)) if needed else []
    subprocess.run([compiler, "-std=c11", *sources, *flags, *libraries], check=True)
    ids = smollm2.tokenize(TEXT, bos=True)
    command = [str(tmp_path / "logprobs"), str(smollm2_path), *map(str, ids)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert list(map(float.fromhex, said.split())) == smollm2.logprobs(ids, profile=None).tolist()


def test_answer_is_that_of_kvrun(smollm2: libkv.Model, smollm2_path: Path, tool: Callable[..., str]) -> None:
    said = tool("kvrun", smollm2_path, "-p", QUESTION, "-n", 24, "--temp", 0)
    with smollm2.session() as s:
        answer = s.ask(QUESTION, max_tokens=24, temperature=0)
        assert answer == said.rstrip("\n") and "Paris" in answer
        assert "".join(s.stream(QUESTION, max_tokens=24, temperature=0)) == answer
        assert s.facts.bits_k == pytest.approx(4.45, abs=0.01)  # the profile that is shipped for it, as in kvrun
        seeded = tool("kvrun", smollm2_path, "-p", QUESTION, "-n", 12, "--seed", 5, "-sys", "You are a pirate.")
        assert s.ask(QUESTION, max_tokens=12, seed=5, system="You are a pirate.") == seeded.rstrip("\n")


INTERRUPTED = """
import sys
import libkv

model = libkv.Model(sys.argv[1])
ids = model.tokenize("The ferry leaves at noon and comes back with pears. " * 60)

def say(done):
    if done == 0:
        print("reading", flush=True)

with model.session(n_batch=8) as s:
    try:
        s.prefill(ids, progress=say)
        print("it was not interrupted")
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    held = len(s)
    assert 0 <= held < len(ids) and s.ids == ids[:held], held
    s.truncate(min(held, 16))
    s.prefill(ids[len(s):24])
    with model.session() as t:
        t.prefill(ids[:24])
        assert s.logits().tobytes() == t.logits().tobytes()
    try:
        for piece in s.stream("Tell me a long story about a ferry.", temperature=0):
            print("answering", flush=True)
        print("the answer was not interrupted")
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    assert s.ask("Say yes.", max_tokens=4, temperature=0) == model.ask("Say yes.", max_tokens=4, temperature=0)
print("well")
"""


def test_ctrl_c_stops_work_and_breaks_nothing(smollm2_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(smollm2_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout is not None
    lines = []
    for wanted in ("reading", "answering"):
        for line in child.stdout:
            lines.append(line.strip())
            if line.strip() == wanted:
                child.send_signal(signal.SIGINT)
                break
    rest, err = child.communicate()
    lines += rest.split("\n")
    assert child.returncode == 0, err
    assert err == "" and "well" in lines and lines.count("interrupted") == 2, (lines, err)
