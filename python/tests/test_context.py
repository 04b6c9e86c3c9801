"""Contexts that come back: .kv files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY

import libkv

TEXT = "The ferry leaves the harbour at noon and comes back with seven crates of pears. " * 3
HOW: dict[str, Any] = {"max_tokens": 20, "temperature": 0.0}


def test_session_goes_on_to_the_bit(tiny: libkv.Model, tmp_path: Path) -> None:
    ids = tiny.tokenize(TEXT)
    cache: dict[str, Any] = {"profile": "small", "window": 16}
    before = datetime.now(timezone.utc) - timedelta(seconds=2)  # files tell whole seconds, of a clock that may lag by a tick
    with tiny.session(n_ctx=300, **cache) as s:
        s.prefill(ids[:50])
        told: list[float] = []
        s.save_context(tmp_path / "a.kv", title="half a text", progress=told.append)
        s.save_context(tmp_path / "b.kv", packed=True, checkpoints=False)
        assert told == sorted(told)
        s.prefill(ids[50:])
        logits, answer = s.logits().tobytes(), [t.id for t in s.decode(15)]
    facts = libkv.context_facts(tmp_path / "a.kv")
    assert (facts.title, facts.n_tokens, facts.n_ctx, facts.packed, facts.arch) == ("half a text", 50, 300, False, "qwen2")
    assert before <= facts.saved <= datetime.now(timezone.utc)
    assert facts.bytes == (tmp_path / "a.kv").stat().st_size and "turbo" in facts.cache
    packed = libkv.context_facts(tmp_path / "b.kv")
    assert packed.packed and packed.n_checkpoints == 1
    for file, n_ctx in [("a.kv", 300), ("b.kv", 400)]:
        with tiny.load_context(tmp_path / file, document=False, n_ctx=None if n_ctx == 300 else n_ctx, **cache) as s:
            assert s.ids == ids[:50] and s.facts.n_ctx == n_ctx
            s.prefill(ids[50:])
            assert s.logits().tobytes() == logits
            assert [t.id for t in s.decode(15)] == answer


def test_document_is_asked_again_later(tiny: libkv.Model, tmp_path: Path) -> None:
    (tmp_path / "ferry.txt").write_text(TEXT)
    with tiny.read(tmp_path / "ferry.txt") as d:
        answer, n = d.ask("What comes back?", **HOW), len(d)
        d.save_context(tmp_path / "ferry.kv")
    assert libkv.context_facts(tmp_path / "ferry.kv").title == "ferry.txt"
    with tiny.load_context(tmp_path / "ferry.kv") as d:
        for _ in range(2):
            assert d.ask("What comes back?", **HOW) == answer and len(d) == n
        d.save_context(tmp_path / "again.kv")
    assert libkv.context_facts(tmp_path / "again.kv").title == "ferry.txt"


def test_chat_goes_on(tiny: libkv.Model, tmp_path: Path) -> None:
    with tiny.session() as s:
        said = s.chat([("user", "Hello")], **HOW)
        s.save_context(tmp_path / "chat.kv")
        messages = [("user", "Hello"), ("assistant", said), ("user", "And then?")]
        expected = s.chat(messages, **HOW)
    with tiny.load_context(tmp_path / "chat.kv", document=False) as s:
        assert s.chat(messages, **HOW) == expected


def test_what_cannot_be_saved_or_opened(tiny: libkv.Model, tmp_path: Path) -> None:
    file = tmp_path / "a.kv"
    with tiny.session(profile=None) as s:
        with pytest.raises(libkv.InvalidArgument, match="empty"):
            s.save_context(file)
        s.prefill([1, 2, 3])
        with pytest.raises(libkv.FileError):
            s.save_context(tmp_path / "no" / "such" / "folder.kv")
        with pytest.raises(libkv.Cancelled):
            s.save_context(file, progress=lambda done: False)
        assert not file.exists()
        s.save_context(file)
    with pytest.raises(libkv.Mismatch):
        tiny.load_context(file, profile="small")
    with libkv.Model(TINY / "llama.gguf") as other, pytest.raises(libkv.Mismatch, match="model"):
        other.load_context(file)
    with pytest.raises(libkv.FileError, match="No such file"):
        libkv.context_facts(tmp_path / "missing.kv")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "bad.kv").write_bytes(data)
    with pytest.raises(libkv.FormatError, match=r"bad\.kv"):
        tiny.load_context(tmp_path / "bad.kv", profile=None)
    with pytest.raises(libkv.FormatError):
        libkv.context_facts(TINY / "llama.gguf")


def test_files_of_kvrun_and_python_are_the_same_to_both(
    smollm2: libkv.Model, smollm2_path: Path, tool: Callable[..., str], tmp_path: Path
) -> None:
    question, text, file = "Who is the captain?", tmp_path / "ferry.txt", tmp_path / "ferry.kv"
    text.write_text("The ferry leaves at noon from pier 7. The captain is called Anna Berg.\n")
    tool("kvrun", "read", smollm2_path, text, "--out", file, "--quiet")
    with smollm2.load_context(file) as theirs, smollm2.read(text) as ours:
        assert theirs.ids == ours.ids
        answer = ours.ask(question, max_tokens=24, temperature=0)
        assert theirs.ask(question, max_tokens=24, temperature=0) == answer and "Anna" in answer
        ours.save_context(tmp_path / "ours.kv", packed=True)
    said = tool("kvrun", "ask", smollm2_path, tmp_path / "ours.kv", question, "-n", 24, "--temp", 0, "--quiet")
    assert said.rstrip("\n") == answer
