#!/usr/bin/env python3
"""Make tests/data/qtype/*.bin: raw blocks of every tensor type and what the Python package `gguf` makes of them.

One file per type: raw block bytes, then the floats (f32, little endian). Bytes are random, but every f16 or f32 scale is
finite. Needs numpy and gguf (made with gguf 0.19.0). The seed is fixed: running it again gives the same files.
"""
import pathlib

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

# type: byte positions of the f16 fields inside a block
F16_FIELDS = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "IQ4_NL": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}


def random_f16(rng, n):
    """Any finite half: every exponent but the last, subnormals and both signs included."""
    return (rng.integers(0, 0x7C00, n) | rng.integers(0, 2, n) << 15).astype("<u2")


def random_f32(rng, n):
    return (rng.integers(0, 0x7F800000, n) | rng.integers(0, 2, n) << 31).astype("<u4")


def blocks(rng, name, count):
    if name == "F32":
        return random_f32(rng, count).view(np.uint8)
    if name == "F16":
        return random_f16(rng, count).view(np.uint8)
    if name == "BF16":
        return (random_f32(rng, count) >> 16).astype("<u2").view(np.uint8)
    size = GGML_QUANT_SIZES[GGMLQuantizationType[name]][1]
    raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in F16_FIELDS[name]:
        raw[:, at : at + 2] = random_f16(rng, count).view(np.uint8).reshape(count, 2)
    return raw.reshape(-1)


def main():
    out = pathlib.Path(__file__).parent / "data" / "qtype"
    out.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(["F32", "F16", "BF16", *F16_FIELDS]):
        rng = np.random.default_rng([7, i])
        qtype = GGMLQuantizationType[name]
        elems = GGML_QUANT_SIZES[qtype][0]
        raw = blocks(rng, name, {1: 256, 32: 24, 256: 6}[elems])
        floats = np.asarray(dequantize(raw, qtype), dtype="<f4")
        assert np.isfinite(floats).all()
        (out / f"{name}.bin").write_bytes(raw.tobytes() + floats.tobytes())


if __name__ == "__main__":
    main()
