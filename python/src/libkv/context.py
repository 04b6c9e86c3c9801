"""Contexts that come back: what a session has read, kept in a .kv file."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import NamedTuple

from . import _native as native
from ._kv import ffi, lib


class ContextFacts(NamedTuple):
    """What a .kv file says of itself."""

    title: str  #: what was read; may be empty, as the other texts
    model_name: str
    arch: str
    cache: str  #: how keys and values are stored, in words
    bytes: int  #: of the file
    bytes_f16: int  #: what an f16 cache of as many tokens takes
    saved: datetime  #: when, in UTC
    n_tokens: int  #: tokens held
    n_ctx: int  #: most tokens of the session that was saved
    n_checkpoints: int  #: places to go back to
    packed: bool  #: whether it is smaller, for keeping and sending, and unpacked when it is opened


def context_facts(path: native.PathLike) -> ContextFacts:
    """What a .kv file says of itself, without a model. Raises ``FormatError``: it is none, or damaged; ``FileError``."""
    f = ffi.new("kv_context_facts *")
    lib.kv_py_init_context_facts(f)
    native.run(lib.kv_context_get_facts, native.c_path(path), f)
    return ContextFacts(
        title=native.text_of(f.title),
        model_name=native.text_of(f.model_name),
        arch=native.text_of(f.arch),
        cache=native.text_of(f.cache),
        bytes=f.bytes,
        bytes_f16=f.bytes_f16,
        saved=datetime.fromtimestamp(f.saved, timezone.utc),
        n_tokens=f.n_tokens,
        n_ctx=f.n_ctx,
        n_checkpoints=f.n_checkpoints,
        packed=bool(f.packed),
    )
