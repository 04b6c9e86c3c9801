"""What goes wrong is an exception of its kind, and nothing is broken by it: closing, forks, threads, callbacks."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY

import libkv

CHAT = [("user", "Hello")]


def test_errors_have_their_kind_and_the_librarys_words(tiny: libkv.Model, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes((TINY / "qwen2.gguf").read_bytes()[:5000])
    with pytest.raises(libkv.FormatError, match=r"bad\.gguf") as caught:
        libkv.Model(bad)
    assert caught.value.status == "KV_EFORMAT" and isinstance(caught.value, ValueError)
    with pytest.raises(OSError, match="No such file") as missing:
        libkv.Model(tmp_path / "missing.gguf")
    assert isinstance(missing.value, libkv.FileError) and isinstance(missing.value, libkv.KvError)
    with pytest.raises(libkv.Unsupported, match=r"there are|instruction"):
        libkv.Model(TINY / "qwen2.gguf", cpu="neon" if os.uname().machine == "x86_64" else "avx2")
    with pytest.raises(libkv.InvalidArgument, match="wait"):
        libkv.Model(TINY / "qwen2.gguf", wait="never")
    with pytest.raises(libkv.InvalidArgument, match="threads"):
        libkv.Model(TINY / "qwen2.gguf", threads=0)
    wrongs: list[tuple[dict[str, Any], str]] = [
        ({"cache_k": "q3"}, "unknown cache type 'q3'"),
        ({"n_ctx": -1}, "n_ctx"),
        ({"budget": 1.5}, "share"),
    ]
    for wrong, says in wrongs:
        with pytest.raises(libkv.InvalidArgument, match=says):
            tiny.session(**wrong)
    with pytest.raises(TypeError, match="n_ctx"):
        tiny.session(n_ctx="many")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="windows"):
        tiny.ask("Hello", windows=3)
    with pytest.raises(libkv.InvalidArgument, match=r"there are: .*balanced"):
        tiny.session(profile="no-such")
    assert issubclass(libkv.OutOfMemory, MemoryError) and issubclass(libkv.Unsupported, NotImplementedError)


def test_bad_tokens_and_texts(tiny: libkv.Model) -> None:
    with tiny.session() as s:
        for ids, says in [([tiny.n_vocab], "outside the vocabulary"), ([-1], "outside"), ([1 << 40], "outside")]:
            with pytest.raises(libkv.OutOfRange, match=says):
                s.prefill(ids)
            with pytest.raises(libkv.OutOfRange, match=says):
                tiny.detokenize(ids)
            with pytest.raises(libkv.OutOfRange, match=says):
                tiny.token_bytes(ids[0])
            with pytest.raises(libkv.OutOfRange, match=says):
                tiny.logprobs(ids)
        with pytest.raises(TypeError, match="tokenize"):
            s.prefill("text")  # type: ignore[arg-type]
        with pytest.raises(libkv.InvalidArgument, match="empty"):
            s.logits()
        with pytest.raises(libkv.InvalidArgument, match="no way back"):
            s.go_back(1)
        with pytest.raises(libkv.InvalidArgument):
            s.go_back(-1)
        with pytest.raises(libkv.InvalidArgument, match="NUL"):
            s.ask("a\0b")
        with pytest.raises(libkv.InvalidArgument, match="surrogate"):
            s.ask("\ud800")
        with pytest.raises(libkv.InvalidArgument, match="no 'content'"):
            s.chat([{"role": "user"}])
        with pytest.raises(libkv.InvalidArgument, match="max_tokens"):
            s.chat(CHAT, max_tokens=-2)
        with pytest.raises(TypeError, match="role"):
            s.chat("Hello")  # type: ignore[arg-type]
        assert s.chat(CHAT, max_tokens=3)
    with pytest.raises(libkv.InvalidArgument, match="no tokens"):
        tiny.logprobs([])


def test_documents_that_are_none(tiny: libkv.Model, tmp_path: Path) -> None:
    file = tmp_path / "text"
    for data, says in [
        ("Hello".encode("utf-16"), "UTF-16"),
        (b"a\0b", "byte 1 is NUL"),
        (b"a\xff", "0xFF at offset 1"),
        (b"%PDF-1", "kvrun"),
    ]:
        file.write_bytes(data)
        with pytest.raises(libkv.FormatError, match=says):
            tiny.read(file)
    with pytest.raises(libkv.InvalidArgument, match="name of a file"):
        tiny.read(str(file))
    with pytest.raises(libkv.FileError, match="No such file"):
        tiny.read(tmp_path / "missing")
    with pytest.raises(libkv.InvalidArgument, match="no text"):
        tiny.read(" \n")
    with pytest.raises(libkv.OutOfRange, match="do not fit"):
        tiny.read("one two three " * 50, n_ctx=64)


def test_models_without_a_chat_template_say_so() -> None:
    with libkv.Model(TINY / "gemma3.gguf") as model, model.session() as s:
        assert model.chat_format is None
        with pytest.raises(libkv.Unsupported, match="template"):
            s.ask("Hello")
        with pytest.raises(libkv.Unsupported, match="template"):
            model.read("a document")
        assert s.complete("Hello", max_tokens=5, temperature=0)


CUT_SHORT = """
import os, shutil, sys
import libkv

shutil.copy(sys.argv[1], sys.argv[2])
model = libkv.Model(sys.argv[2], in_place=True)
os.truncate(sys.argv[2], 4096)
try:
    model.session().prefill([1, 2, 3])
except libkv.FileError as error:
    print(error)
"""


def test_model_file_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    model, copy = TINY / "qwen2.gguf", tmp_path / "copy.gguf"
    command = [sys.executable, "-c", CUT_SHORT, str(model), str(copy)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (0, "") and "copy.gguf" in done.stdout


# ---- closing ----


def test_use_after_close_raises() -> None:
    model = libkv.Model(TINY / "qwen2.gguf", threads=1)
    session, profile, sampler = model.session(), libkv.Profile.find("small"), libkv.Sampler(model)
    session.prefill([1, 2, 3])
    logits = session.logits()
    stream = session.decode()
    next(stream)
    for thing in (session, profile, sampler):
        thing.close()
        thing.close()
        assert (thing.closed and "closed" in repr(thing)) or thing is sampler
    uses: list[Callable[[], Any]] = [
        lambda: session.prefill([1]),
        lambda: session.step(1),
        lambda: session.logits(),
        lambda: session.ids,
        lambda: session.facts,
        lambda: len(session),
        lambda: session.clear(),
        lambda: session.ask("Hello"),
        lambda: next(stream),
        lambda: session.__enter__(),
        lambda: profile.bits,
        lambda: model.session(profile=profile),
        lambda: sampler.pick(logits),
    ]
    for use in uses:
        with pytest.raises(libkv.Closed, match="closed"):
            use()
    model.close()
    for use in (lambda: model.name, lambda: model.tokenize("a"), lambda: model.session(), lambda: model.profile):
        with pytest.raises(libkv.Closed, match="model is closed"):
            use()
    model.close()
    assert "closed" in repr(model)


def test_any_order_of_freeing() -> None:
    """What is borrowed stays until nobody borrows it."""
    model = libkv.Model(TINY / "qwen2.gguf", threads=1)
    profile = libkv.Profile.find("small")
    with model.session() as reference:
        reference.prefill([5, 6, 7])
        expected = reference.logits().tobytes()
    session, packed = model.session(), model.session(profile=profile)
    profile.close()
    model.close()
    del model, profile
    gc.collect()
    session.prefill([5, 6, 7])
    packed.prefill([5, 6, 7])
    assert session.logits().tobytes() == expected
    session.close()
    packed.close()


def test_closing_gives_back_what_was_taken() -> None:
    """Threads can be counted."""

    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    with libkv.Model(TINY / "qwen2.gguf", threads=4) as model:
        before = threads()
        session = model.session()
        session.prefill([1, 2, 3])
        assert threads() == before + 3
        session.close()
        assert threads() == before
        with model.session() as session:
            session.prefill([1, 2, 3])
        assert threads() == before
        model.session().prefill([1, 2, 3])
        gc.collect()
        assert threads() == before


def test_garbage_in_circles() -> None:
    for _ in range(3):
        model = libkv.Model(TINY / "qwen2.gguf", threads=1)
        session = model.session(profile="small")
        session.prefill([1, 2, 3])
        circle = [model, session, session.decode()]
        circle.append(circle)
        model.circle = circle  # type: ignore[attr-defined]
        del model, session, circle
        gc.collect()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forks_do_not_use_what_is_not_theirs() -> None:
    model = libkv.Model(TINY / "qwen2.gguf", threads=2)
    session = model.session()
    session.prefill([1, 2, 3])
    pid = os.fork()
    if not pid:
        code = 1
        try:
            try:
                session.prefill([4])
            except libkv.InUse:
                code = 2
            session.close()  # does not wait for threads that are not there
            with libkv.Model(TINY / "qwen2.gguf", threads=2) as mine, mine.session() as s:
                s.prefill([1, 2, 3])
                code = 0 if code == 2 else code
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    session.prefill([4])
    assert len(session) == 4


# ---- callbacks and threads ----


def test_progress_is_told_and_may_stop(tiny: libkv.Model) -> None:
    ids = tiny.tokenize("The ferry leaves at noon. " * 10)
    told: list[float] = []
    with tiny.session(n_batch=8) as s:
        s.prefill(ids, progress=told.append)
        assert told == sorted(told) and told[0] == 0 and told[-1] == 1 and len(told) > 3
        expected = s.logits().tobytes()
        s.clear()
        with pytest.raises(libkv.Cancelled, match="stopped"):
            s.prefill(ids, progress=lambda done: done < 0.5)
        assert 0 < len(s) < len(ids)
        s.prefill(ids[len(s) :])
        assert s.logits().tobytes() == expected
        with pytest.raises(libkv.Cancelled):
            s.read("A text. " * 20, progress=lambda done: False)
        assert len(s) == 0
    with pytest.raises(libkv.Cancelled):
        libkv.Model(TINY / "qwen2.gguf", progress=lambda done: False)
    with pytest.raises(libkv.Cancelled):
        tiny.logprobs(ids, progress=lambda done: False)


def test_what_a_callback_raises_comes_out(tiny: libkv.Model, capfd: pytest.CaptureFixture[str]) -> None:
    def fail(done: float) -> None:
        raise ZeroDivisionError("mine")

    with tiny.session(n_batch=8) as s:
        with pytest.raises(ZeroDivisionError, match="mine"):
            s.prefill(list(range(50)), progress=fail)
        with pytest.raises(libkv.InUse, match="callback"):
            s.prefill(list(range(50)), progress=lambda done: s.step(1) is None)
        s.prefill([1, 2, 3])
        assert s.ids[-3:] == [1, 2, 3]
    with pytest.raises(ZeroDivisionError):
        libkv.Model(TINY / "qwen2.gguf", progress=fail)
    assert capfd.readouterr().err == ""


def test_cancel_from_another_thread(tiny: libkv.Model) -> None:
    ids = tiny.tokenize("The ferry leaves at noon. " * 10)
    begun, go_on = threading.Event(), threading.Event()
    raised: list[BaseException] = []

    def wait(done: float) -> None:
        begun.set()
        go_on.wait()

    def work() -> None:
        try:
            s.prefill(ids, progress=wait)
        except libkv.KvError as error:
            raised.append(error)

    with tiny.session(n_batch=8) as s:
        s.cancel()  # nothing runs
        thread = threading.Thread(target=work)
        thread.start()
        begun.wait()
        s.cancel()
        go_on.set()
        thread.join()
        assert [type(e) for e in raised] == [libkv.Cancelled]
        assert len(s) < len(ids)
        s.prompt(ids)
        assert s.ids == ids


def test_threads_take_turns(tiny: libkv.Model) -> None:
    """An answer that is asked for while another thread waits for its own comes after that."""
    how: dict[str, Any] = {"max_tokens": 8, "temperature": 0.0}
    answered = threading.Event()
    got: dict[str, str | Exception] = {}
    others: list[threading.Thread] = []

    def second() -> None:
        try:
            got["second"] = s.ask("And the second?", **how)
        except libkv.KvError as error:
            got["second"] = error
        answered.set()

    def start_the_other(done: float) -> None:
        if not others:
            others.append(threading.Thread(target=second))
            others[0].start()
            answered.wait(0.3)  # which it must not be

    with tiny.session() as s:
        expected = [s.ask(q, **how) for q in ("The first?", "And the second?")]
        s.clear()
        got["first"] = s.ask("The first?", progress=start_the_other, **how)
        others[0].join()
    assert [got["first"], got["second"]] == expected


def test_close_while_another_thread_computes(tiny: libkv.Model) -> None:
    s = tiny.session(n_batch=8)
    begun = threading.Event()

    def wait(done: float) -> None:
        begun.set()

    thread = threading.Thread(target=lambda: s.prefill(list(range(200)), progress=wait))
    thread.start()
    begun.wait()
    s.close()
    thread.join()
    with pytest.raises(libkv.Closed):
        s.step(1)


def test_other_threads_run_while_it_computes(tiny: libkv.Model) -> None:
    """With so long an interval the interpreter's lock is never taken away: another thread runs only if it is given up."""
    count, done = [0], threading.Event()

    def work() -> None:
        while not done.is_set():
            count[0] += 1
            time.sleep(0)

    ids = tiny.tokenize("The ferry leaves at noon. " * 80)[:400]
    usual = sys.getswitchinterval()
    thread = threading.Thread(target=work)
    counted = 0
    with tiny.session() as s:
        try:
            thread.start()
            sys.setswitchinterval(1000)
            for _ in range(100):  # a busy machine may give the other thread no time
                s.clear()
                before = count[0]
                s.forward(ids, 0)  # one call without callbacks
                counted = max(counted, count[0] - before)
                if counted > 3:
                    break
        finally:
            sys.setswitchinterval(usual)
            done.set()
            thread.join()
    assert counted > 3
