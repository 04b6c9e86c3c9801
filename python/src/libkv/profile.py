"""Profiles: how the KV cache of one model is compressed."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _native as native
from ._kv import ffi, lib
from .errors import InvalidArgument, Mismatch

if TYPE_CHECKING:
    from .model import Model

_HERE = Path(__file__).resolve().parent
_SHIPPED = next((p for p in (_HERE / "profiles", _HERE.parents[2] / "profiles") if p.is_dir()), None)  # or in the source tree


def _folder(directory: native.PathLike | None) -> Any:
    """Where shipped profiles are: as the caller says, else beside this module, else where the library finds them."""
    where = _SHIPPED if directory is None else directory
    return ffi.NULL if where is None else native.c_path(where)


def _measured(value: float) -> float | None:
    return None if math.isnan(value) else value


class Profile(native.Closable):
    """How caches of a model are compressed. Does not change: any number of threads and sessions may share one.

    Made by ``load``, ``find``, ``for_model``, ``of_model`` and ``calibrate``.
    """

    _kind = "profile"

    def __init__(self, pointer: Any) -> None:
        self._owner = native.Owner(lib.KV_PY_PROFILE, pointer)

    # ---- files ----

    @classmethod
    def load(cls, path: native.PathLike) -> Profile:
        """Read a YAML file. Raises ``FileError``, or ``FormatError`` with line and key."""
        return cls(native.create("kv_profile", lib.kv_profile_free, lib.kv_profile_load, native.c_path(path)))

    @classmethod
    def find(cls, name: str, directory: native.PathLike | None = None) -> Profile:
        """A shipped profile by name, ``"balanced"`` say. Raises ``InvalidArgument``, which lists those that there are."""
        return cls(
            native.create(
                "kv_profile", lib.kv_profile_free, lib.kv_profile_find, _folder(directory), native.c_text("name", name)
            )
        )

    @classmethod
    def for_model(cls, model: Model, directory: native.PathLike | None = None) -> Profile | None:
        """The one that is shipped for this very model, or None."""
        owner = model._use()
        made = native.create("kv_profile", lib.kv_profile_free, lib.kv_profile_for_model, _folder(directory), owner.pointer)
        return None if made is None else cls(made)

    @classmethod
    def of_model(cls, model: Model) -> Profile | None:
        """The one that is packed into the model's file, or None."""
        owner = model._use()
        made = native.create("kv_profile", lib.kv_profile_free, lib.kv_profile_of_model, owner.pointer)
        return None if made is None else cls(made)

    @staticmethod
    def names(directory: native.PathLike | None = None) -> list[str]:
        """Names of the shipped profiles that fit any model."""
        if directory is None:
            directory = _SHIPPED or _library_folder()
        try:
            return sorted(p.stem for p in Path(directory).iterdir() if p.suffix == ".yaml" and not p.name.startswith("."))
        except OSError:
            return []

    def save(self, path: native.PathLike) -> None:
        """Write a YAML file, whole or not at all. Raises ``FileError``."""
        native.run(lib.kv_profile_save, self._use().pointer, native.c_path(path))

    def pack(self, model_path: native.PathLike, out: native.PathLike) -> None:
        """Write a copy of a GGUF file with the profile in its metadata. Raises ``Mismatch``: it is another model's."""
        native.run(lib.kv_profile_pack, self._use().pointer, native.c_path(model_path), native.c_path(out))

    @staticmethod
    def strip(model_path: native.PathLike, out: native.PathLike) -> None:
        """Write a copy of a GGUF file without its profile. Raises ``FormatError``: there is none in it."""
        native.run(lib.kv_profile_strip, native.c_path(model_path), native.c_path(out))

    # ---- making one ----

    @classmethod
    def calibrate(
        cls,
        model: Model,
        *,
        bits: float | None = None,
        kld: float | None = None,
        text: str | None = None,
        files: Sequence[native.PathLike] = (),
        ctx: int | None = None,
        chunks: int | None = None,
        window: int | None = None,
        sinks: int | None = None,
        measure: bool = True,
        seed: int | None = None,
        progress: native.Progress | None = None,
    ) -> Profile:
        """Run text through a model, and find out how its cache is best compressed: minutes.

        bits: true bits per number to aim at (3.75 without an aim), or kld: the most loss, in nats. text or files: what to
        measure on, in place of what is built in. window, sinks: newest and first tokens that stay in f16. measure: whether to
        find out what the result loses. The same model, text and options give the same profile.

        Raises ``InvalidArgument``, ``OutOfRange`` (too little text, an aim that cannot be reached), ``Cancelled``.
        """
        owner = model._use()
        data = None if text is None else native.encode("text", text)
        c_data = None if data is None else ffi.new("char[]", data)
        paths = [native.c_path(p) for p in files]
        given, kept = native.options(
            "calibrate",
            bits=bits,
            kld=kld,
            text=c_data,
            text_len=None if data is None else len(data),
            files=ffi.new("const char *[]", paths) if paths else None,
            n_files=len(paths) or None,
            ctx=ctx,
            chunks=chunks,
            window=window,
            sinks=sinks,
            seed=seed,
            flags=None if measure else lib.KV_CALIBRATE_NO_MEASURE,
        )
        watch = native.Watch(progress)
        user = ffi.new_handle(watch)
        try:
            made = native.create(
                "kv_profile", lib.kv_profile_free, lib.kv_calibrate, owner.pointer, given, lib.kv_py_progress, user
            )
        finally:
            watch.again()
        del kept, paths
        return cls(made)

    # ---- what it says ----

    def _facts(self) -> Any:
        return native.facts("profile", self._use().pointer)

    @property
    def model_hash(self) -> str:
        """The model that it is for, as ``Model.hash`` names it; empty: it fits any."""
        return native.text_of(self._facts().model_hash)

    @property
    def model_name(self) -> str:
        """The name of the model that it is for; may be empty."""
        return native.text_of(self._facts().model_name)

    @property
    def arch(self) -> str:
        """The architecture that it is for; may be empty."""
        return native.text_of(self._facts().arch)

    @property
    def evict(self) -> str:
        """The policy that says which tokens to keep where there is a budget; ``"none"``."""
        return native.text_of(self._facts().evict)

    @property
    def bits_k(self) -> float:
        """True bits per number of the keys, everything included, mean over layers and heads."""
        return float(self._facts().bits_k)

    @property
    def bits_v(self) -> float:
        """True bits per number of the values, likewise."""
        return float(self._facts().bits_v)

    @property
    def bits(self) -> float:
        """True bits per number of keys and values together."""
        f = self._facts()
        return float(f.bits_k + f.bits_v) / 2

    @property
    def kld(self) -> float | None:
        """Measured loss: mean KL divergence from an exact cache, in nats; None: not measured."""
        return _measured(self._facts().kld)

    @property
    def kld_se(self) -> float | None:
        """Standard error of ``kld``."""
        return _measured(self._facts().kld_se)

    @property
    def top1(self) -> float | None:
        """Percent of tokens with the same most likely one as with an exact cache; None: not measured."""
        return _measured(self._facts().top1)

    @property
    def perplexity(self) -> float | None:
        """Change of the perplexity in percent; None: not measured."""
        return _measured(self._facts().perplexity)

    @property
    def measured_tokens(self) -> int:
        """On how many tokens that was measured."""
        return int(self._facts().measured_tokens)

    @property
    def budget(self) -> int | float | None:
        """Tokens that a KV head keeps on average (int), or their share of the context (float); None: all are kept."""
        f = self._facts()
        return int(f.budget_tokens) or float(f.budget_share) or None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n_layer, n_head, n_kv_head, head_dim) of the model that it is for; 0: fits any."""
        f = self._facts()
        return f.n_layer, f.n_head, f.n_kv_head, f.head_dim

    @property
    def window(self) -> int:
        """Newest tokens that stay in f16."""
        return int(self._facts().window)

    @property
    def sinks(self) -> int:
        """First tokens that stay in f16."""
        return int(self._facts().sinks)

    def layer_bits(self, layer: int) -> tuple[float, float]:
        """True bits per number of a layer's keys and values, mean over heads. Raises ``OutOfRange``: no such layer."""
        if not 0 <= layer < 1 << 32:
            raise InvalidArgument(f"there is no layer {layer}")
        bits = ffi.new("double[2]")
        native.run(lib.kv_profile_layer_bits, self._use().pointer, layer, bits, bits + 1)
        return bits[0], bits[1]

    def fits(self, model: Model) -> bool:
        """Whether it may be used with a model."""
        try:
            self.check(model)
        except Mismatch:
            return False
        return True

    def check(self, model: Model) -> None:
        """Raise ``Mismatch`` where it is another model's, and say whose."""
        native.run(lib.kv_profile_fits, self._use().pointer, model._use().pointer)

    def __repr__(self) -> str:
        if self.closed:
            return "<Profile, closed>"
        loss = "" if self.kld is None else f", KLD {self.kld:.4g}"
        return f"<Profile {self.model_name or 'for any model'}: K {self.bits_k:.2f}, V {self.bits_v:.2f} bits{loss}>"


def _library_folder() -> str:
    folder = native.create("char", lib.kv_free, lib.kv_profile_directory)
    try:
        return os.fsdecode(ffi.string(folder))
    finally:
        lib.kv_free(folder)


def open_profile(model: Model, wanted: Profile | native.PathLike | None) -> Profile | None:
    """What the argument ``profile`` of sessions means: a Profile, a name, a path, ``"auto"`` or None."""
    if wanted is None or isinstance(wanted, Profile):
        return wanted
    if isinstance(wanted, str) and wanted == "auto":
        return model.profile
    if isinstance(wanted, str) and "/" not in wanted and not wanted.endswith(".yaml"):
        return Profile.find(wanted)
    return Profile.load(wanted)
