"""What tests share. The tiny models are part of the source tree; what is asked of a real one is skipped where it is missing.

LIBKV_TOOLS=DIR   where kvrun and kveval of the same build are; without it, what is compared with them is skipped
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import libkv

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "data" / "tiny"
SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def tiny() -> Iterator[libkv.Model]:
    """A random model that has a chat format."""
    with libkv.Model(TINY / "qwen2.gguf", threads=2) as model:
        yield model


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    if SMOLLM2 not in libkv.model_names():
        pytest.skip(f"no {SMOLLM2} in {libkv.model_folder()} (scripts/fetch-model gets it)")
    return libkv.find_model(SMOLLM2)


@pytest.fixture(scope="session")
def smollm2(smollm2_path: Path) -> Iterator[libkv.Model]:
    with libkv.Model(smollm2_path) as model:
        yield model


@pytest.fixture(scope="session")
def tool() -> Callable[..., str]:
    """Runs a program of the build, and returns what it prints."""
    folder = os.environ.get("LIBKV_TOOLS")
    if not folder:
        pytest.skip("LIBKV_TOOLS does not say where the programs are")

    def run(name: str, *args: object, stdin: str = "") -> str:
        command = [str(Path(folder) / name), *map(str, args)]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True)
        assert not done.returncode, f"{name}: {done.stderr}"
        return done.stdout

    return run
