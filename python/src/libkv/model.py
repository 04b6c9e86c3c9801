"""Models: the weights and the vocabulary of a GGUF file."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Mapping, Sequence
from typing import Any, overload

from . import _native as native
from . import catalogue, document
from ._kv import ffi, lib
from .context import context_facts
from .document import Message
from .errors import Cancelled, InvalidArgument, OutOfRange, check
from .profile import Profile, open_profile
from .sampler import Sampler
from .session import Session

_WAITS = {"auto": lib.KV_WAIT_AUTO, "spin": lib.KV_WAIT_SPIN, "sleep": lib.KV_WAIT_SLEEP}
_CACHE = {"n_ctx", "cache_k", "cache_v", "window", "sinks", "evict", "recent", "n_batch", "checkpoint_every"}
_SLICE = 64  # tokens whose logits are looked at together
_ROOM = 1024  # tokens for a question and its answer, where a context is made for a document


class Model(native.Closable):
    """The weights and the vocabulary of a GGUF file. Does not change: any number of threads may use one at once.

    path: the file; of a model in several files, any part. threads: of every session; None: one per core that this process may
    use. cpu: instruction set, ``"scalar"``, ``"avx2"``, ``"avx512"``, ``"neon"``, ...; None: the best of this machine.
    exact: matrix products in f32, for measuring, in place of 8 bits where weights are quantised. in_place: weights stay where
    they are in the file: less memory, slower. wait: how threads wait for each other, ``"auto"``, ``"spin"`` or ``"sleep"``.
    overrides: keys to take in place of those of the file, ``{".rope.freq_base": "float:1e6"}``. guard: a file that is cut short
    while it is used is an error, and not the end of the process; it sets a handler of SIGBUS, once. progress: how far loading
    is.

    Results never depend on threads, cpu, in_place or wait.

    Raises ``FileError``, ``FormatError``, ``Unsupported`` (an architecture, a tensor type, an instruction set),
    ``OutOfMemory``, ``Cancelled``.
    """

    _kind = "model"

    def __init__(
        self,
        path: native.PathLike,
        *,
        threads: int | None = None,
        cpu: str | None = None,
        exact: bool = False,
        in_place: bool = False,
        wait: str = "auto",
        overrides: Mapping[str, str] | None = None,
        guard: bool = True,
        progress: native.Progress | None = None,
    ) -> None:
        if wait not in _WAITS:
            raise InvalidArgument(f"wait: {wait!r} is none of {', '.join(_WAITS)}")
        if threads is not None and threads < 1:
            raise InvalidArgument(f"threads: {threads}; there is at least one")
        if guard:
            native.run(lib.kv_guard_model_files)
        watch = native.Watch(progress)
        user = ffi.new_handle(watch)
        keys = [native.c_text("overrides", f"{key}={value}") for key, value in (overrides or {}).items()]
        given, kept = native.options(
            "model",
            isa=cpu,
            threads=threads,
            wait=_WAITS[wait],
            exact=int(exact),
            in_place=int(in_place),
            progress=lib.kv_py_progress,
            user=user,
            set=ffi.new("const char *[]", keys) if keys else None,
            n_set=len(keys) or None,
        )
        try:
            made = native.create("kv_model", lib.kv_model_free, lib.kv_model_load, native.c_path(path), given)
        finally:
            watch.again()
        del kept
        self._owner = native.Owner(lib.KV_PY_MODEL, made)
        self._lock = threading.Lock()
        self._profile: Profile | None = None
        self._looked = False
        self._path = os.fspath(path)
        self._facts = native.facts("model", made)

    @classmethod
    def from_pretrained(cls, name: str, **options: Any) -> Model:
        """A model of the local catalogue (``model_names``) by name: its file, without ``.gguf`` if you like, or a beginning
        that no other has. options: as of ``Model``. Nothing is fetched. Raises ``ModelNotFound``, which lists what there is."""
        return cls(catalogue.find_model(name), **options)

    # ---- what it is ----

    def _fact(self, name: str) -> Any:
        self._use()
        return getattr(self._facts, name)

    @property
    def path(self) -> str:
        """The file."""
        return self._path

    @property
    def name(self) -> str:
        """As the file has it; may be empty."""
        return native.text_of(self._fact("name"))

    @property
    def arch(self) -> str:
        """The architecture: ``"llama"``, ``"qwen2"``, ..."""
        return native.text_of(self._fact("arch"))

    @property
    def hash(self) -> str:
        """32 hex digits over the weights that make queries, keys and values: which profiles fit."""
        return native.text_of(self._fact("hash"))

    @property
    def n_layer(self) -> int:
        """Layers."""
        return int(self._fact("n_layer"))

    @property
    def n_embd(self) -> int:
        """Width of the embedding."""
        return int(self._fact("n_embd"))

    @property
    def n_head(self) -> int:
        """Query heads of a layer; where layers differ, the most of any."""
        return int(self._fact("n_head"))

    @property
    def n_kv_head(self) -> int:
        """Heads that a layer stores keys and values for, likewise."""
        return int(self._fact("n_kv_head"))

    @property
    def head_dim(self) -> int:
        """Numbers of a key."""
        return int(self._fact("head_dim"))

    @property
    def n_vocab(self) -> int:
        """Tokens of the vocabulary."""
        return int(self._fact("n_vocab"))

    @property
    def n_ctx_train(self) -> int:
        """Tokens of context that it was trained for."""
        return int(self._fact("n_ctx_train"))

    @property
    def sliding_window(self) -> int:
        """Tokens that layers with sliding attention see; 0: all layers see everything."""
        return int(self._fact("sliding_window"))

    @property
    def threads(self) -> int:
        """Threads of a session."""
        return int(self._fact("threads"))

    @property
    def bos(self) -> int | None:
        """The token that starts a text, if there is one."""
        id = int(lib.kv_text_bos(self._use().pointer))
        return None if id < 0 else id

    @property
    def eos(self) -> int | None:
        """The token that ends a text, if there is one; ``is_end`` knows all that do."""
        id = int(lib.kv_text_eos(self._use().pointer))
        return None if id < 0 else id

    def is_end(self, id: int) -> bool:
        """Whether a token ends a turn or a text."""
        return bool(lib.kv_text_is_end(self._use().pointer, native.c_ids([id])[0]))

    @property
    def chat_format(self) -> str | None:
        """How the model is talked to: ``"template"``, its own, or the name of a format; None: a base model."""
        pointer = lib.kv_text_chat_name(self._use().pointer)
        return None if pointer == ffi.NULL else native.text_of(pointer)

    @property
    def profile(self) -> Profile | None:
        """The profile that applies to its sessions by itself: the one packed into the file, else the one shipped for it."""
        self._use()
        with self._lock:
            if not self._looked or (self._profile is not None and self._profile.closed):
                self._profile = Profile.of_model(self) or Profile.for_model(self)
                self._looked = True
            return self._profile

    def close(self) -> None:
        """Give the memory back, as soon as no session uses it any more. May be called twice."""
        super().close()
        self._profile, self._looked = None, False

    # ---- text ----

    def tokenize(self, text: str | bytes, *, bos: bool = False, special: bool = False) -> list[int]:
        """Tokens of a text. bos: begin with the token that starts a text, where the model asks so. special: special tokens such
        as ``<|im_start|>`` are read as such."""
        data = native.encode("text", text)
        ids, n, err = ffi.new("int32_t **"), ffi.new("size_t *"), ffi.new("kv_err *")
        try:
            check(lib.kv_text_tokenize(self._use().pointer, data, len(data), _text_flags(bos, special), ids, n, err), err)
            return list(ffi.unpack(ids[0], n[0])) if n[0] else []
        finally:
            lib.kv_free(ids[0])

    def detokenize(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of tokens; bytes that make up no character become U+FFFD. special: special tokens are written.

        Raises ``OutOfRange``: an id outside the vocabulary.
        """
        values = native.c_ids(ids)
        text, n, err = ffi.new("char **"), ffi.new("size_t *"), ffi.new("kv_err *")
        try:
            check(
                lib.kv_text_detokenize(self._use().pointer, values, len(values), _text_flags(False, special), text, n, err),
                err,
            )
            return bytes(ffi.buffer(text[0], n[0])).decode("utf-8", "replace") if n[0] else ""
        finally:
            lib.kv_free(text[0])

    def token_bytes(self, id: int, *, special: bool = False) -> bytes:
        """The bytes of one token, which need not be whole characters. Raises ``OutOfRange``."""
        size = ffi.new("size_t *")
        piece = lib.kv_text_piece(self._use().pointer, native.c_ids([id])[0], _text_flags(False, special), size)
        if piece == ffi.NULL:
            raise OutOfRange(f"token {id} is outside the vocabulary of {self.n_vocab}")
        return bytes(ffi.buffer(piece, size[0])) if size[0] else b""

    def chat_text(self, messages: Sequence[Message], *, answer: bool = True) -> str:
        """Messages as the template writes them, for people to read; with answer, the beginning of the assistant's turn, too."""
        return document.chat_text(self, messages, answer)

    def chat_ids(self, messages: Sequence[Message], *, answer: bool = True) -> list[int]:
        """The tokens of that. What messages say never becomes a special token. Raises ``Unsupported``: there is no template."""
        return document.chat_ids(self, messages, answer)

    # ---- sessions ----

    def session(
        self,
        *,
        n_ctx: int | None = None,
        profile: Profile | native.PathLike | None = "auto",
        cache_k: str | None = None,
        cache_v: str | None = None,
        window: int | None = None,
        sinks: int | None = None,
        evict: str | None = None,
        budget: int | float | None = None,
        recent: int | None = None,
        ada: bool = False,
        equal_budgets: bool = False,
        n_batch: int | None = None,
        checkpoint_every: int | None = None,
    ) -> Session:
        """A sequence with a cache of its own.

        n_ctx: most tokens; None: as many as the model was trained for, but at most 4,096. profile: how the cache is compressed:
        ``"auto"``: as ``Model.profile``; a Profile, the name of a shipped one, a path; None: none, f16. The others change what
        the profile says: cache_k, cache_v: how to store keys and values, ``"f16"``, ``"q8_0"``, ...; window, sinks: newest and
        first tokens in f16; budget: tokens that a KV head keeps on average, or (a float up to 1) their share of n_ctx; evict:
        which ones, ``"snapkv"``, ..., ``"none"``; recent: newest tokens that are never let go; ada: heads compete for the
        budget, equal_budgets: they do not. n_batch: most tokens that go through the model together (512), between which work
        can be stopped. checkpoint_every: tokens after which a checkpoint is taken by itself (1,024; 0: never).

        Raises ``InvalidArgument``, ``Mismatch`` (a profile for another model), ``Unsupported``, ``OutOfMemory``.
        """
        return self._open(
            None,
            n_ctx=n_ctx,
            profile=profile,
            cache_k=cache_k,
            cache_v=cache_v,
            window=window,
            sinks=sinks,
            evict=evict,
            budget=budget,
            recent=recent,
            ada=ada,
            equal_budgets=equal_budgets,
            n_batch=n_batch,
            checkpoint_every=checkpoint_every,
        )

    def _open(
        self,
        path: native.PathLike | None,
        *,
        profile: Profile | native.PathLike | None = "auto",
        budget: int | float | None = None,
        ada: bool = False,
        equal_budgets: bool = False,
        **cache: Any,
    ) -> Session:
        """A session with these arguments of ``session``, new, or of a .kv file."""
        unknown = cache.keys() - _CACHE
        if unknown:
            raise TypeError(f"{', '.join(sorted(unknown))}: no argument of Model.session()")
        flags = (lib.KV_SESSION_ADA if ada else 0) | (lib.KV_SESSION_EQUAL_BUDGETS if equal_budgets else 0)
        cache["budget_share" if isinstance(budget, float) else "budget_tokens"] = budget
        return Session.create(self, profile=open_profile(self, profile), flags=flags, path=path, **cache)

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
        **cache: Any,
    ) -> str:
        """``Session.ask`` in a session of its own; cache: arguments of ``session``."""
        first = [] if system is None else [("system", system)]
        return "".join(
            self.stream(
                [*first, ("user", question)],
                max_tokens=max_tokens,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                min_p=min_p,
                seed=seed,
                sampler=sampler,
                **cache,
            )
        )

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
        **cache: Any,
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
        **cache: Any,
    ) -> dict[str, Any]: ...

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
        **cache: Any,
    ) -> str | dict[str, Any]:
        """``Session.chat`` in a session of its own; cache: arguments of ``session``."""
        if isinstance(messages, str):
            raise TypeError("messages are a list; ask() takes a question")
        how: dict[str, Any] = {
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "seed": seed,
            "sampler": sampler,
        }
        if tools is None:
            if template is not None:
                raise InvalidArgument("values of the template go with tools, of which there may be none: tools=[]")
            return "".join(self.stream(messages, **how, **cache))
        with self.session(**cache) as session:
            return session.chat(messages, tools=tools, template=template, **how)

    def stream(
        self,
        messages: str | Sequence[Message],
        *,
        max_tokens: int | None = None,
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        seed: int | None = None,
        sampler: Sampler | None = None,
        **cache: Any,
    ) -> Generator[str, None, None]:
        """``Session.stream`` in a session of its own; cache: arguments of ``session``."""
        return self.session(**cache).stream(
            messages,
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            seed=seed,
            sampler=sampler,
        )

    def read(
        self,
        source: str | os.PathLike[str],
        *,
        system: str | None = None,
        n_ctx: int | None = None,
        progress: native.Progress | None = None,
        **cache: Any,
    ) -> Session:
        """A session that holds a document, a text (str) or a file (pathlib.Path), and answers questions about it
        (``Session.ask``), each as if it were the first.

        n_ctx: None: room for the document and 1,024 tokens more. cache: arguments of ``session``. Raises as ``Session.read``.
        """
        ids = document.head(self, source, system)
        session = self.session(n_ctx=len(ids) + _ROOM if n_ctx is None else n_ctx, **cache)
        return session._read_document(ids, document.title(source), progress)

    def load_context(self, path: native.PathLike, *, document: bool = True, **cache: Any) -> Session:
        """A session that holds what a .kv file has (``Session.save_context``, ``kvrun read``), and goes on to the bit.

        The file is used where it lies, shared with other processes, and must not be changed while the session lives. document:
        it ends where a question about it follows (``Session.ask``); False: it is a chat or a text that goes on. cache:
        arguments of ``session``: what they say must be so in the file, and the profile that with which it was saved; n_ctx:
        None: as it was.

        Raises ``FormatError``: no .kv file, or damaged; ``Mismatch``: of another model, profile or cache; ``FileError``.
        """
        session = self._open(path, **cache)
        if document:
            session._take_document(context_facts(path).title or None)
        return session

    # ---- probabilities ----

    def logprobs(
        self,
        text: str | Sequence[int],
        *,
        full: bool = False,
        progress: native.Progress | None = None,
        **cache: Any,
    ) -> memoryview[float]:
        """Log-probabilities, natural logarithm, of a text (with the token that starts one, where the model asks so) or of ids.

        Returns n - 1 64-bit floats for n tokens: what the model gave to each token after those before it; the first has none.
        full: in place of that, all that it gave: (n, n_vocab) 32-bit floats, row i of what comes after token i. ``tolist()``,
        ``numpy.asarray`` and indexing take the numbers out. cache: arguments of ``session``; a Model with ``exact=True`` has
        exact products, as ``kveval`` measures with.

        Raises ``OutOfRange``: an id outside the vocabulary; ``InvalidArgument``: there are no tokens.
        """
        ids = self.tokenize(text, bos=True) if isinstance(text, str) else list(text)
        if not ids:
            raise InvalidArgument("there are no tokens to look at")
        values, n_vocab = native.c_ids(ids), self.n_vocab
        view, out = native.floats("f", len(ids), n_vocab) if full else native.floats("d", len(ids) - 1)
        at_once = cache.setdefault("n_batch", _SLICE)
        _, logits = native.floats("f", at_once, n_vocab)
        with self.session(n_ctx=len(ids), checkpoint_every=0, **cache) as session:
            for at in range(0, len(ids), at_once):
                if progress is not None and progress(at / len(ids)) is False:
                    raise Cancelled(f"stopped after {at} of {len(ids)} tokens")
                n = min(at_once, len(ids) - at)
                to = out + at * n_vocab if full else logits
                session._change(lib.kv_session_forward, values + at, n, n, to)
                if full:
                    lib.kv_py_log_softmax(to, n, n_vocab)
                else:
                    lib.kv_py_logprobs(to, min(n, len(ids) - 1 - at), n_vocab, values + at + 1, out + at)
        return view

    def __repr__(self) -> str:
        if self.closed:
            return f"<Model {self._path}, closed>"
        return f"<Model {self.name or self._path} ({self.arch}): {self.n_layer} layers, trained for {self.n_ctx_train} tokens>"


def _text_flags(bos: bool, special: bool) -> int:
    return int((lib.KV_TEXT_BOS if bos else 0) | (lib.KV_TEXT_SPECIAL if special else 0))
