#!/usr/bin/env python3
"""Make tests/data/qtype/*.bin: raw blocks of every tensor type and what the Python package `gguf` makes of them.

One file per type: raw block bytes, then the floats (f32, little endian). Bytes are random, but every scale is finite.
NAME.all, of types with tables: blocks that go through every entry, then a hash of the floats (64 bits, FNV-1a). Needs numpy and
gguf (made with gguf 0.19.0). The seed is fixed: running it again gives the same files.
"""
import pathlib

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

# type: byte positions of the f16 fields inside a block
F16_FIELDS = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "IQ4_NL": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ1_S": [0], "IQ1_M": [], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0], "IQ4_XS": [0],
    "TQ1_0": [52], "TQ2_0": [64], "MXFP4": [], "NVFP4": [],
}
MXFP4_SCALES = 253  # those that keep every value finite


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
    if name == "IQ1_M":  # the f16 lies in the upper nibbles of four numbers
        put_nibbles(raw, random_f16(rng, count))
    if name == "MXFP4":
        raw[:, 0] = rng.integers(0, MXFP4_SCALES, count)
    return raw.reshape(-1)


def put_nibbles(raw, halves):
    for i in range(4):
        raw[:, 49 + 2 * i] = raw[:, 49 + 2 * i] & 15 | (halves >> 4 * i & 15) << 4


def every_entry(name, rng):
    """Blocks of random bytes whose indices together are all of them, in the order of the blocks; None: no table."""

    def start(count, points=1 << 16):  # random blocks, and indices for `points` per block
        raw = blocks(rng, name, count).reshape(count, -1)
        return raw, np.arange(count * points).reshape(count, points)

    if name == "MXFP4":
        raw, i = start(MXFP4_SCALES, 1)
        raw[:, 0:1] = i
    elif name == "NVFP4":
        raw, i = start(64, 4)
        raw[:, 0:4] = i
    elif name == "IQ2_XXS":
        raw, i = start(8, 32)
        raw[:, 2:].reshape(8, 8, 8)[:, :, :4] = i.reshape(8, 8, 4)
    elif name == "IQ2_XS":
        raw, i = start(16, 32)
        word = np.ascontiguousarray(raw[:, 2:66]).view("<u2")
        raw[:, 2:66] = (word & 0xFE00 | i).astype("<u2").view(np.uint8)
    elif name == "IQ2_S":
        raw, i = start(32, 32)
        raw[:, 2:34] = i & 255
        raw[:, 66:74] = ((i >> 8).reshape(32, 8, 4) << np.array([0, 2, 4, 6])).sum(-1)
    elif name == "IQ3_XXS":
        raw, i = start(4, 64)
        raw[:, 2:66] = i
    elif name == "IQ3_S":
        raw, i = start(8, 64)
        raw[:, 2:66] = i & 255
        raw[:, 66:74] = ((i >> 8).reshape(8, 8, 8) << np.arange(8)).sum(-1)
    elif name == "IQ1_S":
        raw, i = start(64, 32)
        raw[:, 2:34] = i & 255
        word = np.ascontiguousarray(raw[:, 34:50]).view("<u2")
        high = ((i >> 8).reshape(64, 8, 4) << np.array([0, 3, 6, 9])).sum(-1)
        raw[:, 34:50] = (word & 0xF000 | high).astype("<u2").view(np.uint8)
    else:
        return None
    return raw.reshape(-1)


def fnv1a(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def main():
    out = pathlib.Path(__file__).parent / "data" / "qtype"
    out.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(["F32", "F16", "BF16", *F16_FIELDS]):
        rng = np.random.default_rng([7, i])
        qtype = GGMLQuantizationType[name]
        elems = GGML_QUANT_SIZES[qtype][0]
        raw = blocks(rng, name, {1: 256, 32: 24, 64: 24, 256: 6}[elems])
        floats = np.asarray(dequantize(raw, qtype), dtype="<f4")
        assert np.isfinite(floats).all()
        (out / f"{name}.bin").write_bytes(raw.tobytes() + floats.tobytes())
        raw = every_entry(name, rng)
        if raw is not None:
            floats = np.asarray(dequantize(raw, qtype), dtype="<f4")
            assert np.isfinite(floats).all()
            (out / f"{name}.all").write_bytes(raw.tobytes() + fnv1a(floats.tobytes()).to_bytes(8, "little"))


if __name__ == "__main__":
    main()
