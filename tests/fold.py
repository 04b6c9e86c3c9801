#!/usr/bin/env python3
"""kvpack --fold on a tiny model, as a user would: found, folded, shown, run, taken back; and what is refused.

usage: fold.py BIN_DIR DATA_DIR
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

BIN, DATA = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
MODEL, OTHER, MXFP4 = DATA / "tiny/qwen2.gguf", DATA / "tiny/qwen3.gguf", DATA / "tiny/llama-iq.gguf"


def run(program, *words, code=0, says=""):
    r = subprocess.run([str(BIN / program), *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    said = " ".join((r.stdout + r.stderr).split())
    assert r.returncode == code and says in said, (program, words, r.returncode, says, said)
    return r.stdout


def with_scales(text, value):
    """The profile with scales, whatever was found to be worth it: value(layer, index)."""
    head_dim, kv = (int(re.search(rf"{k}: (\d+)", text)[1]) for k in ("head_dim", "kv_heads"))
    text = re.sub(r"version: \d+", "version: 6", re.sub(r"  fold: \[[^]]*\]\n", "", text))
    half = head_dim // 2
    for layer in range(int(re.search(r"layers: (\d+)", text)[1])):
        fold = ", ".join(str(value(layer, i % half)) for i in range(kv * head_dim))
        text = text.replace(f"- layer: {layer}\n", f"- layer: {layer}\n  fold: [{fold}]\n", 1)
    return text


def main():
    os.chdir(tempfile.mkdtemp())
    pathlib.Path("text").write_text("".join(f"The ferry of {h}:{m:02} takes {h * m} people to island number {h + m}.\n" for h in range(24) for m in range(0, 60, 7)))
    run("kvcalib", MODEL, "--text", "text", "--ctx", "512", "--chunks", "4", "--out", "p.yaml", "-q", "-t", "1")
    plain = pathlib.Path("p.yaml").read_text()
    assert "fold" not in plain

    # found, measured and told
    report = json.loads(run("kvcalib", MODEL, "--text", "text", "--ctx", "512", "--chunks", "4", "--fold-for", "q8_0", "--out", "found.yaml", "-q", "-t", "1", "--json"))
    found = pathlib.Path("found.yaml").read_text()
    assert bool(report["folding"]) == ("fold: [" in found)
    for row in report["folding"]:
        assert row["after"] <= row["before"] + row["before_se"], row
    again = run("kvcalib", MODEL, "--text", "text", "--ctx", "512", "--chunks", "4", "--fold-for", "q8_0", "--out", "again.yaml", "-q", "-t", "2")
    assert pathlib.Path("again.yaml").read_text() == found, again
    for words, among in ((["q5_1", "--fold-rotation", "on"], ["q5_1h"]), (["iq4_nl"], ["iq4_nl", "iq4_nlh"])):
        report = json.loads(run("kvcalib", MODEL, "--text", "text", "--ctx", "512", "--chunks", "4", "--fold-for", *words, "--out", "other.yaml", "-q", "-t", "2", "--json"))
        rows = {row["cache"]: row for row in report["folding"]}
        assert report["fold_for"] == (", ".join(among) if rows else "")
        assert not rows or (rows.keys() == {"q8_0", "q4_0", "q4_0h", *among} and all(rows[a]["after"] < rows[a]["before"] for a in among)), rows
    run("kvcalib", MODEL, "--fold-rotation", "on", "--out", "never.yaml", code=2, says="--fold-rotation says which caches --fold-for means")

    # folded: the same answers with caches of floats, a profile of its own, the original again
    pathlib.Path("s.yaml").write_text(with_scales(plain, lambda layer, i: (i + layer) % 5 - 2))
    run("kvpack", MODEL, "s.yaml", "--fold", "--dry-run", says="nothing written")
    run("kvpack", MODEL, "s.yaml", "--fold", "--out", "folded.gguf", says="scales were folded into")
    show = run("kvpack", "--show", "folded.gguf")
    assert "scales of keys are in the weights" in show and "before folding" in show, show
    assert json.loads(run("kvpack", "--show", "folded.gguf", "--json"))["folded_from"] == re.search(r'hash: "(\w+)"', plain)[1]
    say = ["-p", "The ferry of", "-n", "24", "--temp", "0", "-t", "1", "--ignore-eos"]
    for cache in ("f16", "f32"):
        words = ["--profile", "none", "-ctk", cache, "-ctv", cache, *say]
        assert run("kvrun", MODEL, *words) == run("kvrun", "folded.gguf", *words)
    assert run("kvrun", "folded.gguf", *say)
    ppl = [json.loads(run("kveval", "ppl", f, *more, "--text", "text", "--ctx", "512", "--chunks", "1", "-t", "1", "--json"))
           for f, more in ((MODEL, ["--profile", "p.yaml"]), ("folded.gguf", []))]
    assert ppl[1]["kld"] < 2 * ppl[0]["kld"] + 1e-4 and ppl[0]["bits_k"] == ppl[1]["bits_k"], ppl
    run("kvpack", "--strip", "folded.gguf", "--out", "original.gguf")
    assert pathlib.Path("original.gguf").read_bytes() == MODEL.read_bytes()

    # with another profile in place of its own, it still knows what it was
    run("kvpack", "folded.gguf", "balanced", "--out", "other.gguf")
    run("kvpack", "--strip", "other.gguf", "--out", "original.gguf")
    assert pathlib.Path("original.gguf").read_bytes() == MODEL.read_bytes()

    refused = [
        (("folded.gguf", "s.yaml", "--fold"), "is folded already"),
        (("folded.gguf", "p.yaml"), "before scales were folded into it"),
        ((MODEL, "p.yaml", "--fold"), "holds no scales to fold"),
        ((OTHER, "s.yaml", "--fold"), "made for"),
    ]
    for words, says in refused:
        run("kvpack", *words, "--out", "never.gguf", code=1 if "holds no" not in says else 2, says=says)
    run("kvrun", "folded.gguf", "--profile", "p.yaml", *say, code=1, says="before scales were folded into it")
    run("kvpack", "--strip", "folded.gguf", "--fold", "--out", "never.gguf", code=2, says="--fold goes with --out")
    run("kvcalib", "folded.gguf", "--text", "text", "--ctx", "512", "--chunks", "4", "--fold-for", "q8_0", "--out", "never.yaml", "-q", "-t", "1", code=1,
        says="is folded already")
    run("kvcalib", MODEL, "--rope-freq-base", "20000", "--text", "text", "--ctx", "512", "--chunks", "4", "--fold-for", "q8_0", "--out", "never.yaml", "-q", "-t", "1",
        code=2, says="leave out --override-kv")
    run("kvcalib", MXFP4, "--text", "text", "--ctx", "512", "--chunks", "4", "--out", "m.yaml", "-q", "-t", "1")
    pathlib.Path("ms.yaml").write_text(with_scales(pathlib.Path("m.yaml").read_text(), lambda layer, i: 1))
    run("kvpack", MXFP4, "ms.yaml", "--fold", "--out", "never.gguf", code=1, says="'blk.1.attn_k.weight' is of type MXFP4")
    damaged = pathlib.Path("folded.gguf").read_bytes()
    at = damaged.index(b"kvcalib.fold.undo") + 60
    pathlib.Path("damaged.gguf").write_bytes(damaged[:at] + bytes([damaged[at] ^ 1]) + damaged[at + 1:])
    run("kvpack", "--strip", "damaged.gguf", "--out", "never.gguf", code=1, says="damaged")
    assert not pathlib.Path("never.gguf").exists() and not pathlib.Path("never.yaml").exists()
    print("all passed")


main()
