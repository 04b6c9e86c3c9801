#!/usr/bin/env python3
"""Writes data/sample_cases.txt: what llama.cpp's samplers make of random logits, in random orders and settings, and what its DRY
makes of texts with sequence breakers.

    pip install xllamacpp==2026.10.11549
    tests/make_sample_cases.py

Calls the samplers of llama.cpp that are in that wheel (its build 11549) one by one. XTC has probability 1, as it draws numbers of
its own. Top-n-sigma comes after what counts candidates or takes logarithms of all (typical, dynamic temperature), as it leaves
those that it drops in the list with a probability of 0.

Lines of the file, numbers with blanks between them:
    case ORDER temp range exponent top_k top_p min_p typical sigma xtc last repeat frequency presence multiplier base allowed dry_last
    logits N ...      ids N ...      shares N ...    (by token; 0 where it was dropped)
    text MODEL allowed dry_last    breakers N HEX ...    ids N ...    less N id times ...    (what is subtracted, over the multiplier)
"""
import ctypes as C
import os
import pathlib
import random
import struct

import xllamacpp

HERE = pathlib.Path(__file__).parent
VOCAB_ONLY = 72  # offset of the flag in llama_model_params of that wheel
LIB = C.CDLL(os.path.join(os.path.dirname(xllamacpp.__file__), "xllamacpp.abi3.so"))
F, I, U, P = C.c_float, C.c_int32, C.c_size_t, C.c_void_p

for name, kinds in {"penalties": [I, I, F, F, F], "dry": [P, F, F, I, I, C.POINTER(C.c_char_p), U], "top_n_sigma": [F], "top_k": [I],
                    "typical": [F, U], "top_p": [F, U], "min_p": [F, U], "xtc": [F, F, U, C.c_uint32], "temp_ext": [F, F, F],
                    "dist": [C.c_uint32]}.items():
    function = getattr(LIB, f"llama_sampler_init_{name}")
    function.restype, function.argtypes = P, kinds


class Candidate(C.Structure):
    _fields_ = [("id", I), ("logit", F), ("p", F)]


class Candidates(C.Structure):
    _fields_ = [("data", C.POINTER(Candidate)), ("size", U), ("selected", C.c_int64), ("sorted", C.c_bool)]


LIB.llama_sampler_accept.argtypes = [P, I]
LIB.llama_sampler_apply.argtypes = [P, C.POINTER(Candidates)]
LIB.llama_sampler_free.argtypes = [P]


def apply(samplers, logits, ids):
    """The candidates that are left, as (id, logit, p)."""
    data = (Candidate * len(logits))(*[Candidate(i, l, 0) for i, l in enumerate(logits)])
    row = Candidates(data, len(logits), -1, False)
    for s in samplers:
        for i in ids:
            LIB.llama_sampler_accept(s, i)
        LIB.llama_sampler_apply(s, row)
        LIB.llama_sampler_free(s)
    return [(c.id, c.logit, c.p) for c in row.data[:row.size]]


def make(name, c, n, n_ids):
    init = lambda which, *args: getattr(LIB, f"llama_sampler_init_{which}")(*args)
    last = lambda n: n_ids if n < 0 else n
    return {"penalties": lambda: init("penalties", n, last(c["last"]), c["repeat"], c["frequency"], c["presence"]),
            "dry": lambda: init("dry", None, c["multiplier"], c["base"], c["allowed"], last(c["dry_last"]), None, 0),
            "top_n_sigma": lambda: init("top_n_sigma", c["sigma"]), "top_k": lambda: init("top_k", c["top_k"]),
            "typ_p": lambda: init("typical", c["typical"], 0), "top_p": lambda: init("top_p", c["top_p"], 0),
            "min_p": lambda: init("min_p", c["min_p"], 0), "xtc": lambda: init("xtc", 1, c["xtc"], 0, 0),
            "temperature": lambda: init("temp_ext", c["temp"], c["range"], c["exponent"])}[name]()


KEYS = ("temp range exponent top_k top_p min_p typical sigma xtc last repeat frequency presence multiplier base allowed dry_last").split()
STAGES = "penalties dry top_n_sigma top_k typ_p top_p min_p xtc temperature".split()


def an_order(r, c):
    while True:
        order = STAGES if r.random() < 0.2 else r.sample(STAGES, r.randint(1, len(STAGES)))
        after = order[order.index("top_n_sigma") + 1:] if "top_n_sigma" in order else []
        if "typ_p" not in after and not ("temperature" in after and c["range"]):
            return order
        if order is STAGES:
            c["range"] = 0
            return [s for s in order if s != "typ_p"]


def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def cases(r, out):
    for _ in range(400):
        n, n_ids = r.randint(2, 24), r.randint(0, 30)
        pick = lambda low, high, off, often=0.6: round(r.uniform(low, high), 3) if r.random() < often else off
        c = {"temp": pick(0.1, 3, 1), "range": pick(0.1, 2, 0, 0.3), "exponent": pick(0.3, 2, 1), "top_k": r.randint(0, n + 2),
             "top_p": pick(0.05, 0.99, 1), "min_p": pick(0.01, 0.6, 0), "typical": pick(0.05, 0.95, 1), "sigma": pick(0.3, 2.5, -1),
             "xtc": pick(0.02, 0.6, 0.1), "last": r.choice([-1, 0, 5, 64]), "repeat": pick(0.6, 2, 1), "frequency": pick(-1, 1, 0),
             "presence": pick(-1, 1, 0), "multiplier": pick(0.1, 2, 0), "base": pick(1, 2.5, 1.75), "allowed": r.randint(0, 4),
             "dry_last": r.choice([-1, -1, 4, 10])}
        c["temp"] = 0 if r.random() < 0.05 and not c["range"] else c["temp"]
        order = an_order(r, c)
        logits = [f32(r.gauss(0, r.choice([1, 3]))) for _ in range(n)]
        ids = [r.randrange(min(n, 5)) for _ in range(n_ids)]
        left = apply([make(s, c, n, n_ids) for s in order] + [LIB.llama_sampler_init_dist(0)], logits, ids)
        shares = [0.0] * n
        for i, _, p in left:
            shares[i] = p
        print("case", ";".join(order), *(f"{c[k]:g}" for k in KEYS), file=out)
        for name, v in (("logits", logits), ("ids", ids), ("shares", shares)):
            print(name, len(v), *(f"{x:.9g}" for x in v), file=out)


class Params(C.Structure):
    _fields_ = [("bytes", C.c_uint8 * 256)]  # larger than llama_model_params, which only its owner reads


LIB.llama_model_default_params.restype = Params
LIB.llama_model_load_from_file.restype = P
LIB.llama_model_load_from_file.argtypes = [C.c_char_p, Params]
LIB.llama_model_get_vocab.restype = P
LIB.llama_model_get_vocab.argtypes = [P]
LIB.llama_vocab_n_tokens.argtypes = [P]
LIB.llama_tokenize.argtypes = [P, C.c_char_p, I, C.POINTER(I), I, C.c_bool, C.c_bool]

TEXTS = ["the sea and the boats, the sea and the", "one: the sea\ntwo: the sea\nthe sea", "User: hello there\nBot: hello there\nUser: hello",
         "a b a b a b a b", "She said \"no\" and then \"no\" and", "x*y*x*y*x*", "the other: the other the other"]
BREAKERS = [[b"\n", b":", b"\"", b"*"], [], [b"the"], [b"User:", b"\n"], [b" and the"], [b"he s"], [b"o: th", b"b"], [b"lo there\nUs"]]


def texts(r, out):
    params = LIB.llama_model_default_params()
    params.bytes[VOCAB_ONLY] = 1
    for name in ("qwen2", "llama", "gemma3"):
        model = LIB.llama_model_load_from_file(str(HERE / "data" / "tiny" / f"{name}.gguf").encode(), params)
        vocab = LIB.llama_model_get_vocab(model)
        n = LIB.llama_vocab_n_tokens(vocab)
        for text in TEXTS:
            for breakers in BREAKERS:
                room = (I * 400)()
                ids = list(room[:LIB.llama_tokenize(vocab, text.encode(), len(text.encode()), room, 400, False, False)])
                allowed, last = r.randint(1, 3), r.choice([400, 400, 12])
                dry = LIB.llama_sampler_init_dry(vocab, 1, 2, allowed, last, (C.c_char_p * (len(breakers) + 1))(*breakers), len(breakers))
                less = [(i, -l) for i, l, _ in apply([dry], [0.0] * n, ids) if l]
                print("text", name, allowed, last, file=out)
                print("breakers", len(breakers), *(b.hex() for b in breakers), file=out)
                print("ids", len(ids), *ids, file=out)
                print("less", len(less), *(f"{i} {l:g}" for i, l in less), file=out)


def main():
    LIB.llama_backend_init()
    with open(HERE / "data" / "sample_cases.txt", "w", encoding="ascii") as out:
        r = random.Random(1)
        cases(r, out)
        texts(r, out)


main()
