"""libkv: language models whose KV cache is compressed by measuring them first.

    from libkv import Model

    with Model("packed.gguf") as model:
        print(model.ask("What is a KV cache?", max_tokens=100))

``Model`` is weights and vocabulary, ``Session`` a sequence of tokens and its cache, ``Profile`` how caches are compressed.
Errors are exceptions, all of them ``KvError``. Long work runs without the interpreter's lock, and Ctrl-C stops it. A model and
a profile may be used by any number of threads; a session is one thread's at a time, and others wait. docs/python.md is the
manual.
"""

from __future__ import annotations

from ._core import SessionFacts, Token
from ._kv import ffi as _ffi
from ._kv import lib as _lib
from ._native import Progress
from .catalogue import find_model, model_folder, model_names
from .context import ContextFacts, context_facts
from .errors import (
    Busy,
    Cancelled,
    Closed,
    FileError,
    FormatError,
    InUse,
    InvalidArgument,
    KvError,
    Mismatch,
    ModelNotFound,
    OutOfMemory,
    OutOfRange,
    Unsupported,
)
from .model import Model
from .profile import Profile
from .sampler import Sampler
from .session import Session

__version__: str = _ffi.string(_lib.kv_version()).decode()

__all__ = [
    "Busy",
    "Cancelled",
    "Closed",
    "ContextFacts",
    "FileError",
    "FormatError",
    "InUse",
    "InvalidArgument",
    "KvError",
    "Mismatch",
    "Model",
    "ModelNotFound",
    "OutOfMemory",
    "OutOfRange",
    "Profile",
    "Progress",
    "Sampler",
    "Session",
    "SessionFacts",
    "Token",
    "Unsupported",
    "__version__",
    "context_facts",
    "find_model",
    "model_folder",
    "model_names",
]
