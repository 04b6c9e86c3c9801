"""What a bench needs before it starts. Where something is missing: one line that says what, and how to get it; exit code 2."""
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = ROOT / "build" / "bin"


def give_up(what):
    print(f"{pathlib.Path(sys.argv[0]).name}: {what}", file=sys.stderr)
    sys.exit(2)


def programs(*names, folder=BIN):
    for name in names:
        if not os.access(folder / name, os.X_OK):
            give_up(f"no program {folder / name}: cmake --preset release && cmake --build --preset release --target {' '.join(names)}")


def file(path, what, how):
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
        give_up(f"no {what} {path}: {how}")


def model_file(path):
    file(path, "model", "scripts/fetch-model smollm2 gets one and prints its path")


def known_model(name, path):
    """A model of models.py, in the model cache."""
    file(path, "model", f"scripts/fetch-model {name} gets it")


def evaluation_text():
    """WikiText-2 test."""
    data = os.environ.get("KV_EVAL_DATA")
    if not data:
        give_up("no text: set KV_EVAL_DATA to a folder that holds data/wikitext2-test.txt, the test split of WikiText-2")
    text = os.path.join(data, "data", "wikitext2-test.txt")
    file(text, "text", f"the test split of WikiText-2 belongs there (KV_EVAL_DATA is {data})")
    return text


def python_package(python, module, package):
    """Install `package` into the environment of `python`, unless `module` is there already."""
    if subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode:
        if subprocess.run([python, "-m", "pip", "install", "-q", package]).returncode:
            give_up(f"no Python package {package}: pip could not install it (what pip says is above); with a network, start again")


def listed(kveval, kind):
    """What `kveval list` has of a kind, "codecs" or "policies": name -> whether a profile is needed for it."""
    said = subprocess.run([kveval, "list", "--json"], capture_output=True, text=True)
    if said.returncode:
        give_up(f"{kveval} is too old, it cannot list its {kind}: build it anew")
    return {row["name"]: row["calibrated"] for row in json.loads(said.stdout)[kind]}
