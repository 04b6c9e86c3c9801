"""Sessions, and answers in words: chats as the model's template writes them, texts that go on, questions about a document."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from . import _native as native
from . import document
from ._core import SessionCore, Token, Turn, alone
from ._kv import lib
from .document import Message
from .errors import InvalidArgument
from .profile import Profile
from .sampler import Sampler

if TYPE_CHECKING:
    from .model import Model


class Sampling(NamedTuple):
    """How an answer is chosen, and how long it may be."""

    max_tokens: int | None
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    seed: int | None
    sampler: Sampler | None


class Session(SessionCore):
    """A sequence of tokens and its KV cache; ``Model.session`` makes one.

    It keeps the ids of its tokens, and its cache may be behind them: what the cache does not hold yet is read when it is
    needed. Results never depend on how tokens were divided over calls, nor on threads.

    A session is one thread's at a time: a call waits until another thread's has ended. ``cancel`` and ``close`` may be called
    at any time. A call that was stopped (Ctrl-C, ``cancel``, a callback) leaves the tokens that were read until then.

    What answers in words (``ask``, ``chat``, ``complete``, ``stream``) takes

    - max_tokens: most tokens of the answer; None: until the model ends it, or the context is full (``end`` says why);
    - temperature (0: always the most likely token), top_k, top_p, min_p, seed: see ``Sampler``; or, in place of all of these,
      sampler: one that was made before, with more options;
    - progress: told how far reading the question is;

    and raises ``OutOfRange`` where the question does not fit into the context, and ``Cancelled``.
    """

    _document = 0  # tokens of the document that was read, at the beginning
    _title: str | None = None  # of it

    @classmethod
    def create(
        cls, model: Model, *, profile: Profile | None, flags: int, path: native.PathLike | None = None, **given: Any
    ) -> Session:
        """What ``Model.session`` does, and with a path ``Model.load_context``."""
        owner, used = model._use(), None if profile is None else profile._use()
        if used is None:
            flags |= lib.KV_SESSION_NO_PROFILE
        else:
            given["profile"] = used.pointer
        structure, kept = native.options("session", flags=flags, **given)
        if path is None:
            made = native.create("kv_session", lib.kv_session_free, lib.kv_session_new, owner.pointer, structure)
        else:
            place = native.c_path(path)
            made = native.create("kv_session", lib.kv_session_free, lib.kv_context_open, owner.pointer, place, structure)
        del kept
        return cls(model, made, used)

    # ---- answers ----

    @alone
    def ask(
        self,
        question: str,
        *,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        seed: int | None = None,
        sampler: Sampler | None = None,
        progress: native.Progress | None = None,
    ) -> str:
        """The answer to a question: about the document that was read, if there is one (``read``), else on its own.

        After a question about a document, the session is where it was before. system: a system prompt in place of the
        template's (with a document: an argument of ``read``). Raises ``Unsupported``: the model has no chat template.
        """
        how = Sampling(max_tokens, temperature, top_k, top_p, min_p, seed, sampler)
        return "".join(self._question(question, system, how, progress))

    @overload
    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: None = None,
        template: None = None,
        max_tokens: int | None = None,
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        seed: int | None = None,
        sampler: Sampler | None = None,
        progress: native.Progress | None = None,
    ) -> str: ...

    @overload
    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]],
        template: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        seed: int | None = None,
        sampler: Sampler | None = None,
        progress: native.Progress | None = None,
    ) -> dict[str, Any]: ...

    @alone
    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        seed: int | None = None,
        sampler: Sampler | None = None,
        progress: native.Progress | None = None,
    ) -> str | dict[str, Any]:
        """What the model says after these messages, oldest first. What the session holds of them is not read again.

        messages: ``{"role": "user", "content": "..."}`` or ``("user", "...")``; roles are system, user and assistant. What they
        say never becomes a special token. Raises ``Unsupported``: the model has no chat template; ``InvalidArgument``: messages
        that the template refuses.

        tools: functions that the model may call, as OpenAI's clients describe them:
        ``{"type": "function", "function": {"name": ..., "description": ..., "parameters": {...}}}``. Then the answer is a
        message as these get it: ``{"role": "assistant", "content": ..., "tool_calls": [...]}``, with
        ``"reasoning_content"`` where the model thought. It goes into the next messages as it is, and behind it what came of
        each call: ``{"role": "tool", "tool_call_id": ..., "content": ...}``. With an empty list there is nothing to call, but
        answers are messages. template: further values for the template, such as ``{"enable_thinking": False}``.
        """
        how = Sampling(max_tokens, temperature, top_k, top_p, min_p, seed, sampler)
        if tools is None:
            if template is not None:
                raise InvalidArgument("values of the template go with tools, of which there may be none: tools=[]")
            return "".join(self._answer(document.chat_ids(self._model, messages), how, progress))
        asked = document.request(messages, tools, template)
        ids = document.request_ids(self._model, asked)
        for _ in self._answer(ids, how, progress):
            pass
        return document.request_reply(self._model, asked, self.ids[len(ids) :])

    @alone
    def complete(
        self,
        text: str,
        *,
        special: bool = True,
        max_tokens: int | None = None,
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        seed: int | None = None,
        sampler: Sampler | None = None,
        progress: native.Progress | None = None,
    ) -> str:
        """How the model goes on with a plain text, without a template. special: special tokens in it are read as such."""
        how = Sampling(max_tokens, temperature, top_k, top_p, min_p, seed, sampler)
        return "".join(self._answer(self._model.tokenize(text, bos=True, special=special), how, progress))

    @alone
    def stream(
        self,
        messages: str | Sequence[Message],
        *,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        seed: int | None = None,
        sampler: Sampler | None = None,
        progress: native.Progress | None = None,
    ) -> Generator[str, None, None]:
        """The same answer as ``ask`` (a text) or ``chat`` (messages), piece by piece, in whole characters.

        The question is read before this returns. The iterator may be left at any time; whatever else changes the session
        meanwhile ends it with ``InUse``.
        """
        how = Sampling(max_tokens, temperature, top_k, top_p, min_p, seed, sampler)
        if isinstance(messages, str):
            return self._question(messages, system, how, progress)
        if system is not None:
            raise InvalidArgument("messages say themselves what the system prompt is")
        return self._answer(document.chat_ids(self._model, messages), how, progress)

    # ---- a document ----

    @alone
    def read(
        self,
        source: str | os.PathLike[str],
        *,
        system: str | None = None,
        progress: native.Progress | None = None,
    ) -> Session:
        """Read a document, a text (str) or a file (pathlib.Path), in place of what the session holds; ``ask`` then answers
        questions about it, each as if it were the first. Returns the session.

        Raises ``OutOfRange``: it does not fit; ``FormatError``: a file that is not a text in UTF-8; ``Unsupported``: the model
        has no chat template; ``Cancelled``: the session is empty then.
        """
        return self._read_document(document.head(self._model, source, system), document.title(source), progress)

    def _read_document(self, ids: list[int], title: str | None, progress: native.Progress | None) -> Session:
        self.clear()
        try:
            self.prefill(ids, progress=progress)
            self.checkpoint()
        except BaseException:
            self.clear()
            raise
        self._document, self._title = len(ids), title
        return self

    def _take_document(self, title: str | None) -> None:
        """What it holds is one; a question begins at its end."""
        self.checkpoint()
        self._document, self._title = len(self), title

    @alone
    def save_context(
        self,
        path: native.PathLike,
        *,
        title: str | None = None,
        packed: bool = False,
        checkpoints: bool | None = None,
        progress: native.Progress | None = None,
    ) -> None:
        """Write all that the session holds to a .kv file, from which ``Model.load_context`` goes on, to the bit.

        It appears whole or not at all. title: what it is; None: the name of the document's file. packed: smaller, for keeping
        and sending. checkpoints: with the places to go back to; None: only where there is no document.

        Raises ``InvalidArgument``: the session is empty; ``FileError``, ``Cancelled``.
        """
        lean = self._document > 0 if checkpoints is None else not checkpoints
        flags = (lib.KV_CONTEXT_PACKED if packed else 0) | (lib.KV_CONTEXT_LEAN if lean else 0)
        self._read(progress)
        given, kept = native.options("context", title=self._title if title is None else title, flags=flags)
        self._call(lib.kv_context_save, native.c_path(path), given, watch=self._watch(progress))
        del kept

    def _kept(self, n: int) -> None:
        if n < self._document:
            self._document, self._title = 0, None

    # ---- how ----

    def _question(
        self, question: str, system: str | None, how: Sampling, progress: native.Progress | None
    ) -> Generator[str, None, None]:
        if not self._document:
            first = [] if system is None else [("system", system)]
            return self._answer(document.chat_ids(self._model, [*first, ("user", question)]), how, progress)
        if system is not None:
            raise InvalidArgument("the document was read with its system prompt already: it is an argument of read()")
        self._to_document()
        try:
            self.prefill(document.tail(self._model, question), progress=progress)
            return self._speak(how, self._leave)
        except BaseException:
            self._to_document()
            raise

    def _answer(self, ids: list[int], how: Sampling, progress: native.Progress | None) -> Generator[str, None, None]:
        if self._document:
            raise InvalidArgument("the session holds a document: ask() about it, or clear() the session first")
        self.prompt(ids, progress=progress)
        return self._speak(how, None)

    def _speak(self, how: Sampling, leave: Callable[[Turn], None] | None) -> Generator[str, None, None]:
        """Pieces of the answer to what the session holds now."""
        sampler = how.sampler or Sampler(
            self._model, temperature=how.temperature, top_k=how.top_k, top_p=how.top_p, min_p=how.min_p, seed=how.seed
        )
        turn = self._turn()
        return _pieces(self._decode(turn, how.max_tokens, sampler), turn, leave)

    def _to_document(self) -> None:
        """Where the session was when the document had been read."""
        if len(self) > self._document:
            self.go_back(self._document)

    @alone
    def _leave(self, turn: Turn) -> None:
        if not self.closed and turn.changes == self._changes:
            self._to_document()


def _pieces(
    tokens: Generator[Token, None, None], turn: Turn, leave: Callable[[Turn], None] | None
) -> Generator[str, None, None]:
    try:
        for token in tokens:
            if token.text:
                yield token.text
    finally:
        if leave is not None:
            leave(turn)
