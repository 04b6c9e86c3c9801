"""The tokens of a session: in, out, what comes next, ways back. session.py makes answers of it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, TypeVar, cast

from . import _native as native
from ._kv import ffi, lib
from .errors import Cancelled, InUse, InvalidArgument
from .sampler import Sampler

if TYPE_CHECKING:
    from .model import Model

_Method = TypeVar("_Method", bound=Callable[..., Any])


class Token(NamedTuple):
    """A token that was chosen and added."""

    id: int
    text: str  #: whole characters that it completes, often none
    position: int  #: in the session


class SessionFacts(NamedTuple):
    """What a session is, and what its cache takes."""

    bytes: int  #: of the cache, as allocated for n_ctx tokens
    bytes_f16: int  #: of a cache of as many tokens in f16
    bytes_checkpoints: int
    bits_k: float  #: true bits per number of the encoded part, everything included
    bits_v: float
    held: float  #: tokens that a KV head holds now, mean over heads of layers that see everything
    most: float  #: and may hold
    n_ctx: int  #: most tokens
    n_batch: int  #: most tokens that go through the model together
    len: int  #: tokens now
    window: int  #: newest tokens in f16
    sinks: int  #: first tokens in f16
    has_profile: bool  #: whether a profile applies


class Turn:
    """Who decodes: nothing else may have changed the session since."""

    __slots__ = ("changes",)

    def __init__(self, changes: int) -> None:
        self.changes = changes


def alone(method: _Method) -> _Method:
    """One thread at a time: others wait. The lock is taken by the interpreter itself, so that no interrupt comes between."""

    @functools.wraps(method)
    def run(self: SessionCore, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            self._depth += 1
            try:
                return method(self, *args, **kwargs)
            finally:
                self._depth -= 1
                if not self._depth:
                    self._stop = False

    return cast(_Method, run)


class SessionCore(native.Closable):
    """A sequence of token ids and its cache."""

    _kind = "session"

    def __init__(self, model: Model, pointer: Any, profile: native.Owner | None) -> None:
        self._model = model
        self._n_vocab = model.n_vocab
        self._owner = native.Owner(lib.KV_PY_SESSION, pointer, model._use(), profile)
        self._lock = threading.RLock()
        self._depth = 0  # of calls within calls
        self._stop = False  # cancel() was called
        self._calling = False  # a C function runs
        self._changes = 0  # of its tokens, so far
        self._end = ""

    # ---- calls ----

    def _call(self, function: Callable[..., int], *args: Any, watch: native.Watch | None = None) -> None:
        """Call a function of the library on this session; within a method that is ``alone``."""
        owner = self._use()
        if self._calling:
            raise InUse("a callback may not use the session that calls it")
        self._calling = True
        try:
            native.run(function, owner.pointer, *args, watch=watch)
        finally:
            self._calling = False

    def _change(self, function: Callable[..., int], *args: Any, watch: native.Watch | None = None) -> None:
        self._changes += 1
        self._call(function, *args, watch=watch)

    def _choose(self, function: Callable[..., int], sampler: Sampler | None, *args: Any) -> None:
        """The same for those that take a sampler."""
        if sampler is None:
            self._call(function, ffi.NULL, *args)
        elif sampler._n_vocab != self._n_vocab:
            raise InvalidArgument("the sampler was made for a model of another vocabulary")
        else:
            with sampler._lock:
                self._call(function, sampler._use().pointer, *args)

    def _check_stop(self) -> None:
        if self._stop:
            raise Cancelled("stopped")

    def _watch(self, progress: native.Progress | None = None) -> native.Watch:
        return native.Watch(progress, lambda: self._stop)

    def _read(self, progress: native.Progress | None = None) -> None:
        """Read what was not read yet, in a way that can be stopped."""
        self._call(lib.kv_session_prefill, ffi.NULL, 0, watch=self._watch(progress))

    def _kept(self, n: int) -> None:
        """No more than the first n tokens are those that were there before."""

    def cancel(self) -> None:
        """Stop the call that runs in another thread, which raises ``Cancelled``. From any thread; without a call, nothing."""
        self._stop = self._depth > 0

    # ---- tokens in ----

    @alone
    def prefill(self, ids: Sequence[int], *, progress: native.Progress | None = None) -> None:
        """Add tokens and read them.

        Raises ``OutOfRange``: they do not fit, or are outside the vocabulary; nothing is added. ``Cancelled``.
        """
        values = native.c_ids(ids)
        self._change(lib.kv_session_prefill, values, len(values), watch=self._watch(progress))

    @alone
    def prompt(self, ids: Sequence[int], *, progress: native.Progress | None = None) -> int:
        """Make the session hold exactly these tokens, and return how many of them did not have to be read.

        What they have in common with those that it holds stays. Raises as ``prefill``.
        """
        values, reused = native.c_ids(ids), ffi.new("uint32_t *")
        self._kept(0)
        self._change(lib.kv_session_prompt, values, len(values), reused, watch=self._watch(progress))
        return int(reused[0])

    @alone
    def forward(self, ids: Sequence[int], outputs: int | None = None) -> memoryview[float]:
        """Add 1 to n_batch tokens in one batch.

        Returns logits (outputs, n_vocab), 32-bit floats, of the last so many tokens; None: of all.
        """
        values = native.c_ids(ids)
        rows = len(values) if outputs is None else outputs
        if not 0 <= rows <= len(values):
            raise InvalidArgument(f"{len(values)} tokens have no {rows} outputs")
        view, logits = native.floats("f", rows, self._n_vocab)
        self._change(lib.kv_session_forward, values, len(values), rows, logits if rows else ffi.NULL)
        return view

    @alone
    def step(self, id: int) -> memoryview[float]:
        """Add one token. Returns logits (n_vocab), 32-bit floats, of what comes next."""
        values = native.c_ids([id])
        view, logits = native.floats("f", self._n_vocab)
        self._change(lib.kv_session_step, values[0], logits)
        return view

    # ---- what comes next ----

    @alone
    def logits(self) -> memoryview[float]:
        """Logits (n_vocab), 32-bit floats, after the last token: a copy. Raises ``InvalidArgument``: the session is empty."""
        self._read()
        place = ffi.new("const float **")
        self._call(lib.kv_session_logits, place)
        view, logits = native.floats("f", self._n_vocab)
        ffi.memmove(logits, place[0], view.nbytes)
        return view

    @alone
    def sample(self, sampler: Sampler | None = None) -> int:
        """Choose what comes next, without adding it; without a sampler, the most likely one."""
        self._read()
        place = ffi.new("int32_t *")
        self._choose(lib.kv_session_sample, sampler, place)
        return int(place[0])

    def decode(self, max_tokens: int | None = None, *, sampler: Sampler | None = None) -> Generator[Token, None, None]:
        """Choose tokens and add them, one after the other; ``end`` says afterwards why they end.

        max_tokens: None: as many as fit. Without a sampler, the most likely ones. Bytes at the end that make up no character
        come with a last token whose id is -1. Whatever else changes the session meanwhile ends it with ``InUse``.
        """
        return self._decode(self._turn(), max_tokens, sampler)

    def _turn(self) -> Turn:
        return Turn(self._changes)

    def _decode(self, turn: Turn, max_tokens: int | None, sampler: Sampler | None) -> Generator[Token, None, None]:
        if max_tokens is not None and max_tokens < 0:
            raise InvalidArgument(f"max_tokens: {max_tokens} is less than none")
        owner = self._model._use()
        stream = native.create("kv_text_stream", lib.kv_text_stream_free, lib.kv_text_stream_new, owner.pointer, 0)
        text = native.Owner(lib.KV_PY_STREAM, stream, owner)
        self._end = ""
        return self._tokens(turn, max_tokens, sampler, text)

    def _tokens(
        self, turn: Turn, max_tokens: int | None, sampler: Sampler | None, text: native.Owner
    ) -> Generator[Token, None, None]:
        shown, end = 0, "limit"
        while shown != max_tokens and end == "limit":
            id, position, end = self._decode_one(turn, sampler)
            if id is not None:
                shown += 1
                yield Token(id, _completed(lib.kv_text_stream_push, text.pointer, id), position)
        rest = _completed(lib.kv_text_stream_end, text.pointer)
        if rest:
            yield Token(-1, rest, len(self))
        self._end = end

    @alone
    def _decode_one(self, turn: Turn, sampler: Sampler | None) -> tuple[int | None, int, str]:
        self._use()
        if turn.changes != self._changes:
            raise InUse("the session was used for something else before its answer had ended")
        self._check_stop()
        self._read()
        before, end = len(self), ffi.new("kv_end *")
        self._changes += 1
        turn.changes = self._changes
        self._choose(lib.kv_session_decode, sampler, 1, ffi.NULL, ffi.NULL, end)
        pointer = self._use().pointer
        id = int(lib.kv_session_ids(pointer)[before]) if lib.kv_session_len(pointer) > before else None
        return id, before, _ENDS[end[0]]

    @property
    def end(self) -> str:
        """Why the last answer ended: ``"turn"`` (the model ended it), ``"limit"`` (max_tokens), ``"context"`` (it is full); or
        ``""``: it did not, or there was none."""
        return self._end

    # ---- tokens held, and ways back ----

    @alone
    def __len__(self) -> int:
        return int(lib.kv_session_len(self._use().pointer))

    def __bool__(self) -> bool:
        return True  # an empty session is one as well

    @property
    def ids(self) -> list[int]:
        """The tokens that it holds."""
        return self._ids(None)

    @alone
    def _ids(self, most: int | None) -> list[int]:
        pointer = self._use().pointer
        n = int(lib.kv_session_len(pointer))
        n = n if most is None or most > n else most
        return list(ffi.unpack(lib.kv_session_ids(pointer), n)) if n else []

    @alone
    def clear(self) -> None:
        """Hold nothing."""
        self._change(_clear)
        self._kept(0)

    @alone
    def truncate(self, n: int) -> None:
        """Keep the first n tokens, in place and exactly. Raises ``InvalidArgument`` where that cannot be; ``go_back`` can."""
        self._change(lib.kv_session_truncate, _count(n))
        self._kept(n)

    @alone
    def checkpoint(self) -> None:
        """Remember this place, so that ``go_back`` gets there without reading anything again. Eight are kept."""
        self._read()
        self._call(lib.kv_session_checkpoint)

    @alone
    def go_back(self, n: int) -> int:
        """Go back to the first n tokens, always exactly. Returns how many of them the cache still holds.

        The others are read again when they are needed. Raises ``InvalidArgument``: n is more than there are.
        """
        reached = ffi.new("uint32_t *")
        self._change(lib.kv_session_go_back, _count(n), reached)
        self._kept(n)
        return int(reached[0])

    # ---- what it is ----

    @property
    def model(self) -> Model:
        """The model that it was made of."""
        return self._model

    @property
    def facts(self) -> SessionFacts:
        """What the session is, and what its cache takes."""
        return self._facts()

    @alone
    def _facts(self) -> SessionFacts:
        f = native.facts("session", self._use().pointer)
        values = {name: getattr(f, name) for name in SessionFacts._fields}
        values["has_profile"] = bool(f.has_profile)
        return SessionFacts(**values)

    def __repr__(self) -> str:
        if self.closed:
            return "<Session, closed>"
        if self._calling:
            return "<Session, at work>"
        f = self.facts
        return f"<Session of {self._model.name}: {f.len} of {f.n_ctx} tokens, K {f.bits_k:.2f}, V {f.bits_v:.2f} bits>"


_ENDS = {lib.KV_END_TURN: "turn", lib.KV_END_LIMIT: "limit", lib.KV_END_CONTEXT: "context"}


def _count(n: int) -> int:
    if not 0 <= n < 1 << 32:
        raise InvalidArgument(f"{n} is no number of tokens")
    return n


def _clear(pointer: Any, err: Any) -> int:
    lib.kv_session_clear(pointer)
    return int(lib.KV_OK)


def _completed(function: Callable[..., int], stream: Any, *id: int) -> str:
    """What a stream of text lets out."""
    place, size = ffi.new("const char **"), ffi.new("size_t *")
    native.run(function, stream, *id, place, size)
    return bytes(ffi.buffer(place[0], size[0])).decode("utf-8", "replace") if size[0] else ""
