#!/usr/bin/env python3
"""bench/shapes on tiny shapes: files that are what they say, figures that agree with each other, nothing half-written.

usage: shapes.py BIN_DIR BENCH_DIR
"""
import json
import math
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import time

BIN, BENCH = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
sys.path.append(str(BENCH))
import gguf_make  # noqa: E402
import shapes_model  # noqa: E402

# Bytes of the published Q4_K_M files, vocabulary included, which is a little longer than the made ones.
PUBLISHED = {"qwen2.5-1.5b": 0.986e9, "llama-3.2-3b": 2.019e9, "qwen3-4b": 2.497e9, "qwen2.5-7b": 4.683e9}
# Layers with Q6_K for values and down projections, by hand from llama.cpp's rule; in a file of Qwen2.5-Coder-1.5B there are 14 of 28.
MORE_BITS = {32: [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31], 28: [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27]}


def bench(*options, code=0, err=""):
    run = subprocess.run([BENCH / "shapes", "--bin", BIN, "--threads", "1", *options], capture_output=True, text=True)
    assert run.returncode == code and err in run.stderr, (options, run.returncode, run.stdout, run.stderr)
    return run.stdout


def half(raw):
    return struct.unpack("<e", raw)[0]


def q4_k(b):
    """The 256 weights of a block, as the format is described: scale x code - offset, in runs of 32."""
    d, dmin, s, codes, out = half(b[0:2]), half(b[2:4]), b[4:16], b[16:], []
    for run in range(8):
        if run < 4:
            scale, offset = s[run] & 63, s[run + 4] & 63
        else:
            scale, offset = s[run + 4] & 15 | s[run - 4] >> 6 << 4, s[run + 4] >> 4 | s[run] >> 6 << 4
        for i in range(32):
            code = codes[run // 2 * 32 + i] >> 4 * (run % 2) & 15
            out.append(d * scale * code - dmin * offset)
    return out


def q6_k(b):
    d, out = half(b[208:210]), []
    for i in range(256):
        part, j = i // 128, i % 128
        low = b[64 * part + j % 64] >> 4 * (j // 64) & 15
        high = b[128 + 32 * part + j % 32] >> 2 * (j // 32) & 3
        out.append(d * struct.unpack("b", b[192 + i // 16:193 + i // 16])[0] * ((low | high << 4) - 32))
    return out


def check_recipe():
    for layers, wanted in MORE_BITS.items():
        assert [i for i in range(layers) if shapes_model.gets_more_bits(i, layers)] == wanted, layers
    for name, size in PUBLISHED.items():
        made = shapes_model.weights_bytes(shapes_model.SHAPES[name])
        assert 0.993 < made / size < 1, (name, made)


def check_weights(path):
    """Every matrix has a mean near 0 and keeps the size of what goes through it, in every run of a block."""
    f = gguf_make.read(path.read_bytes())
    assert f["token_embd.weight"].kind == 12 and f["output.weight"].kind == 14
    assert [i for i in range(8) if f[f"blk.{i}.attn_v.weight"].kind == 14] == [0, 3, 6, 7]
    assert [i for i in range(8) if f[f"blk.{i}.ffn_down.weight"].kind == 14] == [0, 3, 6, 7]
    for name in ("blk.0.attn_q.weight", "blk.0.ffn_down.weight", "output.weight"):
        t = f[name]
        size, take = (144, q4_k) if t.kind == 12 else (210, q6_k)
        w = [x for at in range(0, 200 * size, size) for x in take(t.data[at:at + size])]
        rms, mean = math.sqrt(sum(x * x for x in w) / len(w) * t.dims[0]), sum(w) / len(w) * math.sqrt(t.dims[0])
        assert 0.9 < rms < 1.1 and abs(mean) < 0.05, (name, rms, mean)
        run = [sum(w[i:i + 32]) / 32 * math.sqrt(t.dims[0]) for i in range(0, len(w), 32)]
        assert math.sqrt(sum(x * x for x in run) / len(run)) < 0.25, name  # else runs had means of their own


def check_figures(out, depths, timed):
    for name in out["fits"]:
        caches = out["fits"][name]["caches"]
        for n in (4096, 131072):  # 8 layers, 2 KV heads of 64 numbers, keys and values
            assert caches["f16"][str(n)] == 8 * 2 * 64 * 2 * 2 * n
            assert caches["q4_0"][str(n)] == 8 * 2 * 64 * 2 // 32 * 18 * n
        assert 4.8 < caches["f16"]["131072"] / caches["ours"]["131072"] < 16 / 3.25
        assert [(r["depth"], r["cache_type"]) for r in out["speed"][name]] == [(d, c) for d in depths for c in timed]
        assert all(r["prefill_tps"] > 0 and r["decode_tps"] > 0 for r in out["speed"][name])
        without = out["fits"][name]["without"]
        held = out["resident"].get(name, [])
        assert [(r["tokens"], r["cache_type"]) for r in held] == [(d, c) for d in depths if d for c in timed]
        assert all(without[r["cache_type"]] + r["cache"] == r["computed"] and 0 < r["resident"] <= r["peak"] for r in held)


def check_what_is_written(folder):
    """Stopped, by whatever signal, a run leaves no file that is not whole: at the latest, the next one clears up."""
    def start():
        return subprocess.Popen([BENCH / "shapes", "--bin", BIN, "--shapes", "qwen2.5-1.5b"], stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True)

    def partial():
        return {p.name for p in folder.glob("qwen2.5*")}

    def wait_for(what):
        while not what():
            if run.poll() is not None:
                return False
            time.sleep(0.01)
        return True

    run = start()
    if not wait_for(partial):
        assert run.returncode == 2 and "no room" in run.stderr.read()
        return
    run.kill()
    run.communicate()
    old = partial()
    assert len(old) == 1 and old.pop().endswith(".partial")
    killed = partial()
    run = start()
    assert wait_for(lambda: partial() and not partial() & killed), partial()
    run.terminate()
    run.communicate()
    assert not partial() and run.returncode == 143, (partial(), run.returncode)


def main():
    check_recipe()
    bench("--shapes", "huge", code=2, err="no such shape: huge; qwen2.5-1.5b")
    bench("--depths", "deep", code=2, err="--depths: deep")
    bench("--caches", "q9", code=2, err="no such cache: q9")
    bench("--json", "no/such/folder.json", code=2, err="there is no folder no/such")
    bench("--resident", "4096", code=2, err="--resident belongs to --table")
    with tempfile.TemporaryDirectory() as work:
        os.environ["XDG_CACHE_HOME"] = work
        os.environ["TMPDIR"] = work
        folder, report = pathlib.Path(work, "kvcalib", "shapes"), pathlib.Path(work, "out.json")
        # Without weights it is known what fits, and nothing is kept.
        out = bench("--table", "--shapes", "tiny", "--resident", "4096", "--json", report)
        assert "Speed" not in out and "Resident, GiB" in out and not folder.exists()
        held = json.loads(report.read_text())
        assert {r["cache_type"]: r["cache"] for r in held["resident"]["tiny"]} == \
            {c: by["4096"] for c, by in held["fits"]["tiny"]["caches"].items()}, "what is computed is not what is allocated"
        for shapes, depths, timed in (("tiny", (0, 128), ("f16", "ours")), ("tiny-llama,tiny-qwen3", (0,), ("ours",))):
            bench("--shapes", shapes, "--depths", ",".join(map(str, depths)), "--caches", ",".join(timed), "--prefill", "64", "--decode", "4",
                  "--reps", "1", "--json", report)
            check_figures(json.loads(report.read_text()), depths, timed)
        assert sorted(p.name for p in folder.iterdir()) == ["tiny-llama-r1.gguf", "tiny-qwen3-r1.gguf", "tiny-r1.gguf"]
        first = folder / "tiny-r1.gguf"
        check_weights(first)
        for path in folder.iterdir():
            text = pathlib.Path(work, "text")
            text.write_text("The ferry brought seven crates of pears and took nine letters away. " * 20)
            said = json.loads(subprocess.run([BIN / "kveval", "ppl", path, "--text", text, "--ctx", "256", "--chunks", "1", "-t", "1", "--json"],
                                             check=True, capture_output=True).stdout)
            assert 100 < said["ppl"] < 1e5, (path, said["ppl"])  # of 640 tokens: it knows nothing, and all is finite
        before = first.read_bytes()
        first.unlink()
        shapes_model.model("tiny", shapes_model.TINY["tiny"])
        assert first.read_bytes() == before, "the same seed makes other bytes"
        assert not list(pathlib.Path(work).glob("shapes*")), "temporary files are left"
        check_what_is_written(folder)
    print("all passed")


if __name__ == "__main__":
    main()
