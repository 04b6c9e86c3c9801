"""The real models that benchmarks of quality use, and where they lie."""
import os
import pathlib

import needs

MODELS = {  # short name: file in the model cache
    "smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "qwen": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    "gemma": "gemma-3-270m-q4_k_m.gguf",
}


def model_path(name):
    cache = os.environ.get("KV_MODEL_DIR")
    if not cache:
        base = os.environ.get("XDG_CACHE_HOME") or str(pathlib.Path.home() / ".cache")
        cache = os.path.join(base, "kvcalib", "models")
    return pathlib.Path(cache) / MODELS[name]


def models_to_measure(asked, usual=tuple(MODELS)):
    """[(name, path)]: the models named in `asked`, which must all be there; where it is None, those of
    `usual` that are, at least one."""
    if asked:
        for name in asked.split(","):
            if name not in MODELS:
                needs.give_up(f"no such model: {name}; {', '.join(MODELS)} are known")
            needs.known_model(name, model_path(name))
        return [(name, model_path(name)) for name in asked.split(",")]
    there = []
    for name in usual:
        if os.access(model_path(name), os.R_OK):
            there.append((name, model_path(name)))
        else:
            print(f"skipped: no {model_path(name)} (scripts/fetch-model {name} gets it)", flush=True)
    if not there:
        needs.give_up(f"no model: scripts/fetch-model gets one of {', '.join(usual)}")
    return there
