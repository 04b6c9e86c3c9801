"""Builds the wheel: libkv by CMake, as an archive whose own names are hidden, linked into the extension module. pyproject.toml
says the rest.

LIBKV_BUILD=DIR   a build of libkv that is there, in place of one of our own (python/build/cmake)
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
NEEDED = "CMake, a C compiler and the libraries that scripts/install-deps installs"

if not (ROOT / "include" / "kv" / "kv.h").is_file():
    sys.exit("libkv is built inside its source tree, which is not around here: pip install ./python, with pip 21.3 or later")


def version() -> str:
    text = (ROOT / "include" / "kv" / "version.h").read_text(encoding="utf-8")
    return ".".join(re.findall(r"^#define KV_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)$", text, re.M))


def run(*command: str) -> None:
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as why:
        sys.exit(f"libkv could not be built: {why}\nIt needs {NEEDED}.")


def library() -> Path:
    """The build tree that has libkv.a: the one that was named, or ours, brought up to date."""
    given = os.environ.get("LIBKV_BUILD")
    if given:
        if not (Path(given) / "lib" / "libkv.a").is_file():
            sys.exit(f"LIBKV_BUILD: {given} has no lib/libkv.a")
        return Path(given)
    build = HERE / "build" / "cmake"
    how = [] if (build / "CMakeCache.txt").is_file() or not shutil.which("ninja") else ["-G", "Ninja"]
    run("cmake", "-S", str(ROOT), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_TESTING=OFF", *how)
    jobs = os.environ.get("MAX_JOBS", str(os.cpu_count() or 1))
    run("cmake", "--build", str(build), "--target", "kv_static", "--parallel", jobs)
    return build


def system_libraries(build: Path) -> list[str]:
    """What libkv.a needs besides itself, as CMake found it out."""
    text = (build / "lib" / "kv.pc").read_text(encoding="utf-8")
    found = re.search(r"^Libs\.private: (.*)$", text, re.M)
    return found.group(1).split() if found else []


class BuildExtension(build_ext):
    def run(self) -> None:
        build = library()
        archive = str(build / "lib" / "libkv.a")
        for extension in self.extensions:
            extension.depends = [archive, str(HERE / "native.c")]
            extension.extra_objects = [archive]
            # What is ours stays inside; the library's debugging information would double the wheel.
            extension.extra_link_args = ["-Wl,--exclude-libs,ALL,--as-needed,--strip-debug", *system_libraries(build)]
        super().run()


class BuildPython(build_py):
    """Shipped profiles lie beside the modules, and so does the licence."""

    def run(self) -> None:
        super().run()
        if not getattr(self, "editable_mode", False):
            to = Path(self.build_lib) / "libkv" / "profiles"
            shutil.rmtree(to, ignore_errors=True)
            shutil.copytree(ROOT / "profiles", to)
            shutil.copy(ROOT / "LICENSE", to.parent)


setup(
    version=version(),
    cffi_modules=["build_kv.py:builder"],
    cmdclass={"build_ext": BuildExtension, "build_py": BuildPython},
    options={"bdist_wheel": {"py_limited_api": "cp39"}},
)
