"""What bench/vs_llamacpp and bench/vs_ik share: options, ratios, tables, pictures."""
import argparse
import json
import pathlib
import statistics

import chart
from engines import ROOT, Kvcalib, ratios, ready, spread, take_turns

OURS, PLAIN = "kvcalib, packed", "kvcalib, f16"
F16_OPTIONS = ["--profile", "none", "-ctk", "f16", "-ctv", "f16"]


def options(doc):
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--packed", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--depth", default="0,4096,16384")
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache", default="f16,q8_0,q4_0")
    parser.add_argument("--out", type=pathlib.Path)
    return parser


def asked(parser):
    args = parser.parse_args()
    args.packed = ready(args.model, args.packed)
    args.depths = [int(d) for d in args.depth.split(",")]
    return args


def measure(depth, args, theirs):
    """theirs: {name: engine}, which have read `depth` tokens where they must."""
    ours = {OURS: Kvcalib(args.packed, depth, args.prefill, args.decode, args.threads),
            PLAIN: Kvcalib(args.model, depth, args.prefill, args.decode, args.threads, F16_OPTIONS)}
    speeds = take_turns({**ours, **theirs}, args.rounds)
    kv_bytes = {name: e.about["kv_bytes"] for name, e in ours.items()}
    for e in ours.values():
        e.close()
    return speeds, kv_bytes


def compare(depth, speeds, kv_bytes):
    """Rows of the result: every engine against ours with the packed profile; and ours in f16 against the other's f16."""
    rows = []
    for what in ("prefill", "decode"):
        for name, by_what in speeds.items():
            row = {"depth": depth, "what": what, "engine": name, "tps": by_what[what], "median_tps": statistics.median(by_what[what])}
            if name in kv_bytes:
                row["kv_bytes"] = kv_bytes[name]
            if name != OURS:
                row["packed_is_faster"] = ratios(speeds[OURS][what], by_what[what])
            if name.endswith(", f16") and name != PLAIN:
                row["f16_is_faster"] = ratios(speeds[PLAIN][what], by_what[what])
            rows.append(row)
    return rows


def say(rows):
    for r in rows:
        line = f"depth {r['depth']:6d}  {r['what']:7s}  {r['engine']:18s} {r['median_tps']:9.1f} tokens/s"
        if "packed_is_faster" in r:
            line += f"   packed: {spread(r['packed_is_faster'])}"
        if "f16_is_faster" in r:
            line += f"   f16: {spread(r['f16_is_faster'])}"
        print(line, flush=True)


def draw(other, args, results):
    groups = []
    for depth in sorted({r["depth"] for r in results}):
        for what, n in (("prefill", args.prefill), ("decode", args.decode)):
            rows = []
            for r in (r for r in results if r["depth"] == depth and r["what"] == what):
                key = {OURS: "ours", PLAIN: "ours, plain"}.get(r["engine"], r["engine"].split(", ")[1])
                note = f"; packed: {spread(r['packed_is_faster'])}" if "packed_is_faster" in r else ""
                rows.append((r["engine"], key, r["tps"], note))
            groups.append((f"{what.capitalize()} of {n} tokens behind {depth:,}", rows))
    return chart.bars(f"kvcalib and {other}: {args.model.stem}",
                      f"{args.threads} threads, {args.rounds} rounds in turns; bars are medians, lines the range; ratios round by round",
                      groups)


def report(other, args, out, engines_at):
    """Measure at every depth, with the engines of engines_at(depth), print and write: OUT.json, OUT.svg."""
    out = args.out or ROOT / "build" / "bench" / f"{out}-{args.model.stem}"
    out.parent.mkdir(parents=True, exist_ok=True)
    results = []
    for depth in args.depths:
        rows = compare(depth, *measure(depth, args, engines_at(depth)))
        say(rows)
        results += rows
        facts = {"model": args.model.name, "packed": args.packed.name, "threads": args.threads, "prefill": args.prefill,
                 "decode": args.decode, "rounds": args.rounds, "results": results}
        pathlib.Path(f"{out}.json").write_text(json.dumps(facts, indent=1) + "\n")
        pathlib.Path(f"{out}.svg").write_text(draw(other, args, results))
    print(f"written: {out}.json, {out}.svg")
