"""How the next token is chosen."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _native as native
from ._kv import ffi, lib
from .errors import InvalidArgument, OutOfRange

if TYPE_CHECKING:
    from .model import Model


class Sampler(native.Closable):
    """Chooses tokens by their logits. One thread's at a time: others wait.

    temperature: 0: always the most likely; top_k: only so many most likely tokens (0: all); top_p: only the most likely ones
    that make up so much together (1: all); min_p: only those at least so much as likely as the best (0: all); seed: the same
    one, the same logits and tokens before, the same tokens; None: another one every time.

    The others are off unless they are given; order, meaning and defaults are those of llama.cpp's flags (``kv_sampler_options``
    in kv/session.h). penalties and DRY look back over the tokens of the session. logit_bias: id to what is added to its logit,
    ``-math.inf``: never. dry_breakers: texts that no repetition reaches across. order: stages with ; between them.
    ignore_eos: what ends a turn is never chosen.

    Raises ``InvalidArgument``: options that make no sense; ``OutOfRange``: a bias for a token outside the vocabulary.
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
        typical_p: float | None = None,
        top_n_sigma: float | None = None,
        dynatemp_range: float | None = None,
        dynatemp_exponent: float | None = None,
        xtc_probability: float | None = None,
        xtc_threshold: float | None = None,
        repeat_last_n: int | None = None,
        repeat_penalty: float | None = None,
        presence_penalty: float | None = None,
        frequency_penalty: float | None = None,
        dry_multiplier: float | None = None,
        dry_base: float | None = None,
        dry_allowed_length: int | None = None,
        dry_penalty_last_n: int | None = None,
        dry_breakers: Sequence[str] | None = None,
        mirostat: int | None = None,
        mirostat_tau: float | None = None,
        mirostat_eta: float | None = None,
        logit_bias: Mapping[int, float] | None = None,
        order: str | None = None,
        ignore_eos: bool = False,
    ) -> None:
        owner = model._use()
        self._n_vocab = model.n_vocab
        self._lock = threading.RLock()
        self.seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
        breakers = None if dry_breakers is None else [native.c_text("dry_breakers", text) for text in dry_breakers]
        given, kept = native.options(
            "sampler",
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            seed=self.seed,
            typical_p=typical_p,
            top_n_sigma=top_n_sigma,
            dynatemp_range=dynatemp_range,
            dynatemp_exponent=dynatemp_exponent,
            xtc_probability=xtc_probability,
            xtc_threshold=xtc_threshold,
            repeat_last_n=repeat_last_n,
            repeat_penalty=repeat_penalty,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
            dry_multiplier=dry_multiplier,
            dry_base=dry_base,
            dry_allowed_length=dry_allowed_length,
            dry_penalty_last_n=dry_penalty_last_n,
            dry_breakers=None if breakers is None else ffi.new("const char *[]", breakers),
            n_dry_breakers=None if breakers is None else len(breakers),
            mirostat=mirostat,
            mirostat_tau=mirostat_tau,
            mirostat_eta=mirostat_eta,
            logit_bias=_biases(logit_bias),
            n_logit_bias=len(logit_bias) if logit_bias else None,
            order=order,
            flags=lib.KV_SAMPLER_IGNORE_EOS if ignore_eos else None,
        )
        made = native.create("kv_sampler", lib.kv_sampler_free, lib.kv_sampler_new, owner.pointer, given)
        del kept
        self._owner = native.Owner(lib.KV_PY_SAMPLER, made, owner)

    def pick(self, logits: memoryview[float], ids: Sequence[int] = ()) -> int:
        """A token for logits (n_vocab), 32-bit floats: what ``Session.logits`` gives, or a numpy array changed by you.

        ids: what comes before, oldest first, which penalties look at.
        """
        view = memoryview(logits)
        if view.format != "f" or view.nbytes != 4 * self._n_vocab or not view.c_contiguous:
            raise InvalidArgument(f"logits are {self._n_vocab} 32-bit floats in a row, one for each token of the vocabulary")
        before = native.c_ids(ids)
        for id in before:
            if not 0 <= id < self._n_vocab:
                raise OutOfRange(f"token {id} is outside the vocabulary of {self._n_vocab}")
        with self._lock:
            pointer, numbers = self._use().pointer, ffi.from_buffer("float[]", view)
            return int(lib.kv_sampler_pick_after(pointer, numbers, before, len(before)))


def _biases(biases: Mapping[int, float] | None) -> Any:
    if not biases:
        return None
    try:
        return ffi.new("kv_logit_bias[]", list(biases.items()))
    except OverflowError:
        raise OutOfRange("logit_bias: an id is outside of any vocabulary") from None
