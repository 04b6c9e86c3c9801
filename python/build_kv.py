"""What cffi compiles the extension module libkv._kv from: the public headers as they are, and native.c.

Declarations are taken from include/kv/*.h when the module is built, so that they cannot differ from the library; the compiler
checks every structure and constant again. setup.py adds the library itself.
"""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
INCLUDE = HERE.parent / "include"

HELPERS = """
enum { KV_PY_MODEL, KV_PY_PROFILE, KV_PY_SESSION, KV_PY_SAMPLER, KV_PY_STREAM };
typedef struct kv_py_owner kv_py_owner;
kv_py_owner *kv_py_own(int kind, void *object, kv_py_owner *first, kv_py_owner *second);
void kv_py_release(kv_py_owner *o);
void kv_py_logprobs(const float *logits, size_t n, size_t n_vocab, const int32_t *next, double *out);
void kv_py_log_softmax(float *logits, size_t n, size_t n_vocab);
extern "Python" bool kv_py_progress(void *user, double done);
"""


def headers(name: str, seen: list[str]) -> list[str]:
    """A header's name after those of the headers that it includes."""
    if name not in seen:
        text = (INCLUDE / "kv" / name).read_text(encoding="utf-8")
        for other in re.findall(r"^#include <kv/(\w+\.h)>", text, re.M):
            headers(other, seen)
        seen.append(name)
    return seen


def declarations(text: str) -> str:
    """A header without what only a compiler understands: comments, the preprocessor's lines, the C++ parts."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"^#ifdef __cplusplus$.*?^#endif$", "", text, flags=re.S | re.M)
    text = re.sub(r"^[ \t]*#(?:.*\\\n)*.*$", "", text, flags=re.M)
    return re.sub(r"\bKV_API\b\s*", "", text)


def initialisers(text: str) -> list[tuple[str, str]]:
    """(type, macro) of every structure that has KV_..._INIT; macros reach Python as functions."""
    names = re.findall(r"^#define (KV_[A-Z_]+)_INIT\b", text, re.M)
    return [(name.lower(), f"{name}_INIT") for name in names]


def make() -> FFI:
    names: list[str] = []
    texts = [(INCLUDE / "kv" / n).read_text(encoding="utf-8") for n in headers("kv.h", names)]
    inits = [pair for text in texts for pair in initialisers(text)]
    ffi = FFI()
    for text in texts:
        ffi.cdef(declarations(text))
    ffi.cdef(HELPERS + "".join(f"void kv_py_init_{kind[3:]}({kind} *out);\n" for kind, _ in inits))
    ffi.set_source(
        "libkv._kv",
        "#include <kv/kv.h>\n"
        + (HERE / "native.c").read_text(encoding="utf-8")
        + "".join(f"static void kv_py_init_{kind[3:]}({kind} *out) {{ *out = ({kind}){macro}; }}\n" for kind, macro in inits),
        include_dirs=[str(INCLUDE)],
        extra_compile_args=["-std=c11", "-ffp-contract=off"],
    )
    return ffi


builder = make()
