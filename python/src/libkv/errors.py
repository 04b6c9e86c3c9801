"""What can go wrong. The sentence is the library's: it says what, where, and mostly what would help."""

from __future__ import annotations

from typing import Any

from ._kv import ffi, lib


class KvError(Exception):
    """An error of libkv. ``status`` is its name in C, ``"KV_EINVAL"`` say; ``""`` where the error was found by Python."""

    status = ""


class InvalidArgument(KvError, ValueError):
    """An argument makes no sense."""


class FileError(KvError, OSError):
    """The operating system refused: open, read, write, rename."""


class FormatError(KvError, ValueError):
    """The bytes of a file do not mean what they must."""


class OutOfMemory(KvError, MemoryError):
    """Out of memory, or a size that cannot be right."""


class OutOfRange(KvError, ValueError):
    """A number outside its range: an id outside the vocabulary, more tokens than fit."""


class Unsupported(KvError, NotImplementedError):
    """Well-formed, but not supported here: architecture, tensor type, no chat template."""


class Mismatch(KvError, ValueError):
    """Two things that do not belong together: profile and model, say."""


class Cancelled(KvError):
    """Stopped by a progress callback, or by ``Session.cancel``."""


class Closed(KvError, ValueError):
    """Used after ``close()``."""


class Busy(KvError):
    """As many are at work, or wait, as may; later it may be done."""


class InUse(KvError, RuntimeError):
    """A session was used by its own callback, by another process, or while a stream of it was running."""


class ModelNotFound(KvError, LookupError):
    """No model of that name in the catalogue; the message lists those that there are."""


BY_STATUS: dict[str, type[KvError]] = {
    "KV_EINVAL": InvalidArgument,
    "KV_EIO": FileError,
    "KV_EFORMAT": FormatError,
    "KV_ENOMEM": OutOfMemory,
    "KV_ERANGE": OutOfRange,
    "KV_EUNSUPP": Unsupported,
    "KV_EMISMATCH": Mismatch,
    "KV_ECANCEL": Cancelled,
    "KV_EBUSY": Busy,
}


def check(status: int, err: Any) -> None:
    """Raise what a function of the library returned, unless it is ``KV_OK``."""
    if status == lib.KV_OK:
        return
    name = ffi.string(lib.kv_status_name(status)).decode()
    error = BY_STATUS.get(name, KvError)(ffi.string(err.msg).decode("utf-8", "replace") or name)
    error.status = name
    raise error
