"""Tokens in, logits out, ways back, answers; on random models."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY

import libkv

TEXT = "The ferry leaves the harbour at noon and comes back with seven crates of pears. " * 3
MESSAGES = [("user", "Where is the ferry?")]


def test_logits_do_not_depend_on_how_tokens_came(tiny: libkv.Model) -> None:
    ids = tiny.tokenize(TEXT)
    with tiny.session(profile=None) as a, tiny.session(profile=None, n_batch=16) as b:
        a.prefill(ids)
        b.prefill(ids[:7])
        rows = b.forward(ids[7:12])
        last = b.step(ids[12])
        b.prefill(ids[13:])
        assert (rows.shape, rows.format, last.shape) == ((5, tiny.n_vocab), "f", (tiny.n_vocab,))
        assert a.logits().tobytes() == b.logits().tobytes()
        assert a.ids == b.ids == ids and len(a) == len(ids)
        with tiny.session(profile=None) as c:
            c.prefill(ids[:12])
            assert c.logits().tolist() == rows.tolist()[-1]  # type: ignore[comparison-overlap]
        assert a.forward(ids[:3], 0).nbytes == 0 and len(a) == len(ids) + 3


def test_going_back_is_exact(tiny: libkv.Model) -> None:
    ids = tiny.tokenize(TEXT)
    with tiny.session(profile="small", window=16, n_batch=16) as s:
        s.prefill(ids[:40])
        s.checkpoint()
        before = s.logits().tobytes()
        s.prefill(ids[40:])
        assert s.go_back(40) == 40
        assert s.logits().tobytes() == before
        assert s.prompt([*ids[:30], *ids[35:50]]) <= 30
        assert s.ids == [*ids[:30], *ids[35:50]]
        s.clear()
        assert len(s) == 0 and s.ids == []
        s.prefill(ids[:40])
        assert s.logits().tobytes() == before
        s.truncate(39)
        assert s.step(ids[39]).tobytes() == before


def test_decode_gives_the_likeliest_tokens(tiny: libkv.Model) -> None:
    ids = tiny.tokenize(TEXT)
    with tiny.session() as s:
        s.prefill(ids)
        by_hand = []
        for _ in range(12):
            logits = s.logits().tolist()
            by_hand.append(logits.index(max(logits)))
            assert s.sample() == by_hand[-1]
            s.step(by_hand[-1])
        s.go_back(len(ids))
        tokens = list(s.decode(12))
        assert [t.id for t in tokens if t.id >= 0] == by_hand
        assert s.end == "limit"
        assert [t.position for t in tokens if t.id >= 0] == list(range(len(ids), len(ids) + 12))
        assert "".join(t.text for t in tokens) == tiny.detokenize(by_hand)


def test_decode_ends_where_the_context_does(tiny: libkv.Model) -> None:
    ids = tiny.tokenize(TEXT)
    with tiny.session(n_ctx=len(ids) + 3) as s, tiny.session(n_ctx=len(ids) + 3) as t:
        s.prefill(ids)
        n = sum(token.id >= 0 for token in s.decode())
        assert (n, s.end) == (3, "context") or s.end == "turn"
        assert t.end == ""
        with pytest.raises(libkv.OutOfRange, match="do not fit"):
            t.prefill([*ids, *ids])
        assert len(t) == 0


def test_samplers_repeat_themselves(tiny: libkv.Model) -> None:
    with tiny.session() as s:
        s.prefill(tiny.tokenize(TEXT))

        def draw(**how: Any) -> list[int]:
            sampler = libkv.Sampler(tiny, **how)
            logits = s.logits()
            return [sampler.pick(logits) for _ in range(20)]

        hot: dict[str, Any] = {"temperature": 5.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
        assert draw(seed=7, **hot) == draw(seed=7, **hot) != draw(seed=8, **hot)
        assert set(draw(temperature=0.0)) == {s.sample()}
        with pytest.raises(libkv.InvalidArgument, match="temperature"):
            draw(temperature=-1.0)
        with pytest.raises(libkv.InvalidArgument, match="floats"):
            libkv.Sampler(tiny).pick(memoryview(b"1234").cast("f"))


def test_samplers_have_all_that_the_library_has(tiny: libkv.Model) -> None:
    with tiny.session() as s:
        ids = tiny.tokenize(TEXT)
        s.prefill(ids)
        logits = s.logits()
        best = s.sample()

        def pick(before: list[int] | None = None, **how: Any) -> int:
            return libkv.Sampler(tiny, temperature=0, **how).pick(logits, before or [])

        assert pick(logit_bias={7: 1000.0}) == 7
        second = pick(logit_bias={best: -math.inf})
        assert second != best
        assert pick(before=[best], presence_penalty=1000.0, order="penalties;temperature") == second
        assert pick(before=[], presence_penalty=1000.0) == best
        never = libkv.Sampler(tiny, temperature=0, logit_bias={best: -math.inf})
        assert s.sample(never) == second
        assert s.complete(TEXT, max_tokens=1, sampler=never) == tiny.detokenize([second])
        libkv.Sampler(
            tiny,
            typical_p=0.9,
            top_n_sigma=1.0,
            dynatemp_range=0.1,
            dynatemp_exponent=1.0,
            xtc_probability=0.5,
            xtc_threshold=0.1,
            repeat_last_n=32,
            repeat_penalty=1.1,
            frequency_penalty=0.1,
            dry_multiplier=0.8,
            dry_base=1.75,
            dry_allowed_length=2,
            dry_penalty_last_n=64,
            dry_breakers=["\n", "."],
            mirostat=2,
            mirostat_tau=5.0,
            mirostat_eta=0.1,
            ignore_eos=True,
        ).pick(logits, ids)
        with libkv.Model(TINY / "gemma3.gguf") as other, pytest.raises(libkv.InvalidArgument, match="another vocabulary"):
            assert other.n_vocab != tiny.n_vocab
            s.sample(libkv.Sampler(other))
        with pytest.raises(libkv.InvalidArgument, match="no_such_stage"):
            pick(order="no_such_stage")
        with pytest.raises(libkv.OutOfRange, match="vocabulary"):
            pick(logit_bias={tiny.n_vocab: 1.0})
        with pytest.raises(libkv.OutOfRange, match="outside the vocabulary"):
            pick(before=[tiny.n_vocab])


def test_logprobs_are_what_logits_say(tiny: libkv.Model) -> None:
    ids = tiny.tokenize(TEXT, bos=True)
    some = tiny.logprobs(TEXT, profile=None)
    assert (some.format, some.shape) == ("d", (len(ids) - 1,))
    assert some.tobytes() == tiny.logprobs(ids, profile=None).tobytes()
    whole = tiny.logprobs(ids, full=True, profile=None)
    assert (whole.format, whole.shape) == ("f", (len(ids), tiny.n_vocab))
    with tiny.session(profile=None, n_ctx=len(ids)) as s:
        for i in range(len(ids) - 1):
            logits = s.step(ids[i]).tolist()
            expected = logits[ids[i + 1]] - math.log(math.fsum(map(math.exp, logits)))
            assert some[i] == pytest.approx(expected, abs=1e-9)
            assert whole[i, ids[i + 1]] == pytest.approx(expected, abs=1e-5)
    assert tiny.logprobs(ids, profile=None, n_batch=7).tobytes() == some.tobytes()
    assert tiny.logprobs(ids[:1]).tolist() == []


def test_stream_is_the_answer(tiny: libkv.Model) -> None:
    how: dict[str, Any] = {"max_tokens": 30, "temperature": 1.0, "seed": 3}
    with tiny.session() as s:
        answer = s.chat(MESSAGES, **how)
        assert answer
        held = s.ids
        pieces = list(s.stream(MESSAGES, **how))
        assert "".join(pieces) == answer and len(pieces) > 1
        assert s.ids == held and held[: len(tiny.chat_ids(MESSAGES))] == tiny.chat_ids(MESSAGES)
        assert s.ask(MESSAGES[0][1], **how) == answer
        assert "".join(s.stream(MESSAGES[0][1], **how)) == answer
        assert s.ask(MESSAGES[0][1], system="Be brief.", **how) != answer
    assert tiny.ask(MESSAGES[0][1], **how) == tiny.chat(MESSAGES, **how) == answer
    assert "".join(tiny.stream(MESSAGES, **how)) == answer
    assert tiny.ask("Hi", max_tokens=0) == ""


def test_complete_goes_on_with_the_text(tiny: libkv.Model) -> None:
    with tiny.session() as s, tiny.session() as t:
        said = s.complete(TEXT, max_tokens=10, temperature=0)
        t.prefill(tiny.tokenize(TEXT, bos=True))
        assert said == "".join(token.text for token in t.decode(10))


def test_stream_ends_when_the_session_is_used_otherwise(tiny: libkv.Model) -> None:
    with tiny.session() as s:
        stream = s.stream(MESSAGES, max_tokens=30, temperature=1.0, seed=3)
        next(stream)
        len(s), s.facts, s.logits()  # looking on is fine
        next(stream)
        s.step(5)
        with pytest.raises(libkv.InUse, match="something else"):
            list(stream)
        assert s.chat(MESSAGES, max_tokens=5, seed=1) == tiny.chat(MESSAGES, max_tokens=5, seed=1)


def test_document_is_read_once(tiny: libkv.Model, tmp_path: Path) -> None:
    how: dict[str, Any] = {"max_tokens": 20, "temperature": 0.0}
    file = tmp_path / "ferry.txt"
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.replace(". ", ".\r\n").encode())
    plain = TEXT.replace(". ", ".\n")
    with tiny.read(file) as d, tiny.session() as s:
        n = len(d)
        first = d.ask("What comes back?", **how)
        assert len(d) == n and d.facts.bytes_checkpoints > 0
        assert d.ask("When?", **how) != "" and len(d) == n
        assert d.ask("What comes back?", **how) == first
        assert "".join(d.stream("What comes back?", **how)) == first and len(d) == n
        stream = d.stream("What comes back?", **how)
        next(stream)
        stream.close()
        assert len(d) == n
        with pytest.raises(libkv.Cancelled):
            d.ask("What comes back?", progress=lambda done: False)
        assert len(d) == n
        with pytest.raises(libkv.InvalidArgument, match="temperature"):
            d.ask("What comes back?", temperature=-1)
        assert len(d) == n
        assert s.read(plain) is s and s.ids == d.ids
        assert s.ask("What comes back?", **how) == first
        # the same as one turn that is read at once
        turn = f"Read the text below. A question about it follows after it.\n\n{plain}\n\nWhat comes back?"
        before, after = tiny.chat_text([("user", "@")]).split("@")
        pieces = turn[: turn.index(plain)], plain, "\n\n", "What comes back?"
        ids = [
            *tiny.tokenize(before, bos=True, special=True),
            *(i for p in pieces for i in tiny.tokenize(p)),
            *tiny.tokenize(after, special=True),
        ]
        with tiny.session() as whole:
            whole.prefill(ids)
            assert "".join(t.text for t in whole.decode(20)) == first
        with pytest.raises(libkv.InvalidArgument, match="holds a document"):
            d.chat(MESSAGES)
        with pytest.raises(libkv.InvalidArgument, match="read"):
            d.ask("When?", system="Be brief.")
        d.go_back(n - 1)
        assert d.chat(MESSAGES, **how) == tiny.chat(MESSAGES, **how)


def test_facts_of_a_session(tiny: libkv.Model) -> None:
    with tiny.session(profile="small", n_ctx=300, window=24, sinks=3, n_batch=32) as s:
        f = s.facts
        assert (f.n_ctx, f.window, f.sinks, f.n_batch, f.len, f.has_profile) == (300, 24, 3, 32, 0, True)
        assert f.bits_k < 5 and f.bytes < f.bytes_f16
        assert "0 of 300" in repr(s) and s.model is tiny
    with tiny.session(cache_k="q8_0", cache_v="q4_0") as s:
        assert (s.facts.bits_k, s.facts.bits_v, s.facts.has_profile) == (8.5, 4.5, False)
    with tiny.session(budget=0.5, evict="snapkv", n_ctx=1024) as s, tiny.session(budget=300, n_ctx=1024) as t:
        assert s.facts.most <= 512 and t.facts.most <= 300


def test_numpy_takes_numbers_and_gives_ids(tiny: libkv.Model) -> None:
    numpy = pytest.importorskip("numpy")
    ids = numpy.array(tiny.tokenize(TEXT), dtype=numpy.int64)
    with tiny.session() as s:
        rows = s.forward(ids[:4])
        taken = numpy.asarray(rows)
        assert (taken.shape, taken.dtype) == ((4, tiny.n_vocab), numpy.float32)
        taken[0, 0] = 7
        assert rows[0, 0] == 7  # the same memory
        assert libkv.Sampler(tiny, temperature=0).pick(taken[3]) == taken[3].argmax()
        with pytest.raises(libkv.InvalidArgument, match="floats"):
            libkv.Sampler(tiny).pick(taken[3].astype(numpy.float64))
