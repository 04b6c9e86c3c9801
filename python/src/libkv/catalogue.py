"""The local catalogue: models in the folder where kvcalib keeps them, by name. Nothing is fetched."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import ModelNotFound


def model_folder() -> Path:
    """``$KV_MODEL_DIR``, else ``$XDG_CACHE_HOME/kvcalib/models``, else ``~/.cache/kvcalib/models``."""
    own = os.environ.get("KV_MODEL_DIR")
    if own:
        return Path(own)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "kvcalib" / "models"


def model_names() -> list[str]:
    """File names of the models in the catalogue, sorted; of a model in several files, the first."""
    try:
        names = sorted(p.name for p in model_folder().iterdir() if p.suffix == ".gguf")
    except OSError:
        return []
    return [n for n in names if not re.search(r"-(?!00001)\d{5}-of-\d{5}\.gguf$", n)]


def find_model(name: str) -> Path:
    """The file of a model: its name, its name without ``.gguf``, or a beginning that no other has (in any case).

    Raises ``ModelNotFound``, which lists what there is.
    """
    names = model_names()
    for exact in (name, f"{name}.gguf"):
        if exact in names:
            return model_folder() / exact
    found = [n for n in names if name and n.lower().startswith(name.lower())]
    if len(found) == 1:
        return model_folder() / found[0]
    if found:
        raise ModelNotFound(f"several models begin with {name!r}: {', '.join(found)}")
    raise ModelNotFound(f"no model {name!r} in {model_folder()}; there are: {', '.join(names) or 'none'}")
