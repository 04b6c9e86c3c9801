"""Between Python and the C functions: objects that own C objects, calls that can be stopped, structures, texts.

The interpreter's lock is not held while a C function runs. Signals reach Python code only: so whatever works for long calls
back between its batches, which lets a handler run in the main thread, and what that raises (KeyboardInterrupt) stops the work
and is raised again when the C function has returned.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, Optional, TypeVar, Union

from ._kv import ffi, lib
from .errors import Closed, InUse, InvalidArgument, OutOfMemory, OutOfRange, check

Progress = Callable[[float], Optional[bool]]
"""Told how far a long call is, 0..1, in the thread that called; returning ``False`` stops it (``Cancelled``)."""

PathLike = Union[str, "os.PathLike[str]"]


_Self = TypeVar("_Self", bound="Closable")


# ---- objects ----


class Owner:
    """A C object, and what it borrows: freed with the last that needs it (native.c)."""

    __slots__ = ("handle", "pid", "pointer")

    def __init__(self, kind: int, pointer: Any, first: Owner | None = None, second: Owner | None = None) -> None:
        self.pointer = pointer
        self.pid = os.getpid()
        handle = lib.kv_py_own(kind, pointer, first.handle if first else ffi.NULL, second.handle if second else ffi.NULL)
        if handle == ffi.NULL:
            raise OutOfMemory("out of memory for what owns an object")
        self.handle: Any = ffi.gc(handle, lib.kv_py_release)


class Closable:
    """What is closed by ``close()`` or at the end of a ``with``; closing twice is fine, using it afterwards raises ``Closed``.

    What other objects borrow stays in memory until they are closed, too: any order is fine.
    """

    _owner: Owner | None = None
    _kind = "object"

    def _use(self) -> Owner:
        owner = self._owner
        if owner is None:
            raise Closed(f"the {self._kind} is closed")
        if owner.pid != os.getpid():
            raise InUse(f"the {self._kind} belongs to process {owner.pid}, of which this is a fork: open it in this one")
        return owner

    def close(self) -> None:
        """Give the memory back, as far as no other object uses it. Waits for nobody; may be called twice."""
        self._owner = None

    @property
    def closed(self) -> bool:
        """Whether ``close()`` was called."""
        return self._owner is None

    def __enter__(self: _Self) -> _Self:
        self._use()
        return self

    def __exit__(self, *why: object) -> None:
        self.close()


def create(kind: str, free: Callable[[Any], None], function: Callable[..., int], *args: Any) -> Any:
    """What a function of the library makes, whose arguments are ``args``, the place for it, and the error. ``NULL``: None."""
    out, err = ffi.new(f"{kind} **"), ffi.new("kv_err *")
    try:
        check(function(*args, out, err), err)
    except BaseException:  # an interrupt may come just after it was made
        if out[0] != ffi.NULL:
            free(out[0])
        raise
    return None if out[0] == ffi.NULL else out[0]


# ---- calls ----


class Watch:
    """What a long call is told of by its callback: asks whether to go on, and keeps what was raised."""

    __slots__ = ("error", "progress", "stop")

    def __init__(self, progress: Progress | None = None, stop: Callable[[], bool] | None = None) -> None:
        self.progress, self.stop = progress, stop
        self.error: BaseException | None = None

    def go_on(self, done: float) -> bool:
        if self.stop is not None and self.stop():
            return False
        return self.progress is None or self.progress(done) is not False

    def again(self) -> None:
        """Raise what was kept."""
        error, self.error = self.error, None
        if error is not None:
            raise error


def _keep(kind: Any, error: BaseException, trace: Any) -> None:
    ffi.from_handle(trace.tb_frame.f_locals["user"]).error = error


@ffi.def_extern(name="kv_py_progress", error=False, onerror=_keep)  # type: ignore[untyped-decorator, unused-ignore]
def _progress(user: Any, done: float) -> bool:
    watch: Watch = ffi.from_handle(user)
    return watch.go_on(done)


def run(function: Callable[..., int], *args: Any, watch: Watch | None = None) -> None:
    """Call a function of the library whose last arguments are, with a watch, the callback and its data, and the error."""
    err = ffi.new("kv_err *")
    if watch is None:
        check(function(*args, err), err)
        return
    user = ffi.new_handle(watch)
    status = function(*args, lib.kv_py_progress, user, err)
    watch.again()
    check(status, err)


# ---- structures ----


def options(name: str, **members: Any) -> tuple[Any, list[Any]]:
    """A structure of options with its defaults, changed by those members that are not None; and what must outlive its use."""
    out = ffi.new(f"kv_{name}_options *")
    getattr(lib, f"kv_py_init_{name}_options")(out)
    kept: list[Any] = []
    for member, value in members.items():
        if value is None:
            continue
        if isinstance(value, str):
            value = c_text(member, value)
        kept.append(value)
        try:
            setattr(out, member, value)
        except OverflowError:
            raise InvalidArgument(f"{member}: {value} is out of range") from None
        except TypeError:
            raise TypeError(f"{member}: a number is wanted, not {value!r}") from None
    return out, kept


def facts(name: str, pointer: Any) -> Any:
    """The facts of an object, in a structure of the library; texts in it are borrowed from the object."""
    out = ffi.new(f"kv_{name}_facts *")
    getattr(lib, f"kv_py_init_{name}_facts")(out)
    run(getattr(lib, f"kv_{name}_get_facts"), pointer, out)
    return out


# ---- texts, paths, ids, numbers ----


def encode(what: str, text: str | bytes) -> bytes:
    """UTF-8."""
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise TypeError(f"{what}: a str is wanted, not {type(text).__name__}")
    try:
        return text.encode()
    except UnicodeEncodeError as why:
        raise InvalidArgument(f"{what}: character {why.start} is half a surrogate pair, which UTF-8 cannot hold") from None


def c_text(what: str, text: str) -> Any:
    """For arguments that end with a NUL."""
    data = encode(what, text)
    if b"\0" in data:
        raise InvalidArgument(f"{what}: character {text.index(chr(0))} is NUL, which this text cannot hold")
    return ffi.new("char[]", data)


def c_path(path: PathLike) -> Any:
    data = os.fsencode(path)
    if b"\0" in data:
        raise InvalidArgument(f"a path cannot hold NUL: {path!r}")
    return ffi.new("char[]", data)


def text_of(pointer: Any) -> str:
    """A text of the library's, which lasts."""
    return "" if pointer == ffi.NULL else ffi.string(pointer).decode("utf-8", "replace")


def c_ids(ids: Sequence[int]) -> Any:
    if isinstance(ids, (str, bytes)):
        raise TypeError("token ids are wanted; Model.tokenize makes them of a text")
    values = list(ids)
    try:
        return ffi.new("int32_t[]", values)
    except OverflowError:
        raise OutOfRange("an id is outside of any vocabulary") from None


def floats(kind: Literal["f", "d"], *shape: int) -> tuple[memoryview[float], Any]:
    """Memory for numbers, kind "f" or "d", as Python sees it and as C does."""
    count = 1
    for n in shape:
        count *= n
    data = bytearray(count * (4 if kind == "f" else 8))
    pointer = ffi.from_buffer("float[]" if kind == "f" else "double[]", data)
    return memoryview(data).cast(kind, shape=list(shape)) if count else memoryview(data).cast(kind), pointer
