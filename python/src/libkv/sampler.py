"""How the next token is chosen."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from . import _native as native
from ._kv import ffi, lib
from .errors import InvalidArgument

if TYPE_CHECKING:
    from .model import Model


class Sampler(native.Closable):
    """Chooses tokens by their logits; its options apply in this order, as llama.cpp's of the same names.

    One thread's at a time: others wait.

    top_k: only so many most likely tokens (0: all); top_p: only the most likely ones that make up so much together (1: all);
    min_p: only those at least so much as likely as the best (0: all); temperature: 0: always the most likely. seed: the same
    one, the same logits, the same tokens; None: another one every time.
    """

    _kind = "sampler"

    def __init__(
        self,
        model: Model,
        *,
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        seed: int | None = None,
    ) -> None:
        owner = model._use()
        self._n_vocab = model.n_vocab
        self._lock = threading.RLock()
        self.seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
        given, _ = native.options("sampler", temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=self.seed)
        made = native.create("kv_sampler", lib.kv_sampler_free, lib.kv_sampler_new, owner.pointer, given)
        self._owner = native.Owner(lib.KV_PY_SAMPLER, made, owner)

    def pick(self, logits: memoryview[float]) -> int:
        """A token for logits (n_vocab), 32-bit floats: what ``Session.logits`` gives, or a numpy array changed by you."""
        view = memoryview(logits)
        if view.format != "f" or view.nbytes != 4 * self._n_vocab or not view.c_contiguous:
            raise InvalidArgument(f"logits are {self._n_vocab} 32-bit floats in a row, one for each token of the vocabulary")
        with self._lock:
            return int(lib.kv_sampler_pick(self._use().pointer, ffi.from_buffer("float[]", view)))
