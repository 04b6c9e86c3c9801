"""The real models and the text that benchmarks of quality use, and where they lie."""
import os
import pathlib

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


def evaluation_text():
    """WikiText-2 test, or None with a line that says what is missing."""
    data = os.environ.get("KV_EVAL_DATA")
    text = os.path.join(data, "data", "wikitext2-test.txt") if data else None
    if not text or not os.access(text, os.R_OK):
        print(f"skipped: {'no ' + text if text else 'KV_EVAL_DATA is not set: the folder with data/wikitext2-test.txt'}")
        return None
    return text
