#!/bin/sh
# The whole path for every architecture, on the tiny models: calibrate, pack, run, and what the compressed cache loses. Then keys
# that a user sets, and keys that do not belong there.
# usage: archs.sh BIN_DIR DATA_DIR
set -eu
bin=$1 models=$2/arch
. "$(dirname "$0")/lib.sh"
ferries >text
for model in "$models"/*.gguf; do
    name=$(basename "$model" .gguf)
    "$bin/kvcalib" "$model" --text text --ctx 64 --chunks 8 --window 8 --bits 5 --no-measure -q -t 1 --out p.yaml >/dev/null 2>log ||
        { cat log; die "kvcalib $name"; }
    "$bin/kvpack" "$model" p.yaml --out packed.gguf >/dev/null 2>log || { cat log; die "kvpack $name"; }
    "$bin/kvrun" packed.gguf -p "the sea" -n 6 --temp 0 -t 1 >one 2>said || { cat said; die "kvrun $name"; }
    grep -q "profile in the model file applies" said || die "kvrun $name does not use the profile: $(cat said)"
    "$bin/kvrun" packed.gguf -p "the sea" -n 6 --temp 0 -t 2 --no-repack >two 2>/dev/null
    cmp one two
    "$bin/kveval" sweep "$model" --text text --ctx 64 --chunks 4 --setting "p: --profile p.yaml" --setting "h: -ctk f16" \
        --json sweep.json -q -t 1 >/dev/null 2>log || { cat log; die "kveval $name"; }
    python3 - "$name" <<'P'
import json, sys
rows = {r["name"]: r["kld"] for r in json.load(open("sweep.json"))["settings"]}
if not (rows["h"] < 0.01 and rows["h"] < rows["p"] < 0.2):
    sys.exit(f"{sys.argv[1]}: {rows}")
P
done

m=$models/llama-linear.gguf
run() { "$bin/kvrun" "$m" -p "the sea and the" -n 8 --temp 0 -t 1 "$@" 2>/dev/null; }
run >base
run --rope-scale 1 >one
run --override-kv llama.rope.scaling.factor=float:1 >two
cmp one two
! cmp -s base one || die "--rope-scale changes nothing"
run --rope-scaling none >two
cmp one two
run --rope-freq-base 50000 >two
! cmp -s base two || die "--rope-freq-base changes nothing"
run --rope-scaling yarn --rope-scale 4 --yarn-orig-ctx 32 >two
! cmp -s base two || die "YaRN changes nothing"
refuses() { fails "$1" "$2" "$bin/kvrun" "$m" -p x -n 1 --override-kv "$3"; }
refuses 2 "KEY=TYPE:VALUE" nonsense
refuses 2 "KEY=TYPE:VALUE" "llama.rope.freq_base=float:ten"
refuses 1 "attention.causal is false" llama.attention.causal=bool:false
refuses 1 "attn_logit_softcapping changes" llama.attn_logit_softcapping=float:30
refuses 1 "LoRA" general.type=str:adapter
refuses 1 "'rwkv6' is not supported (supported: llama, .*hunyuan-dense)" general.architecture=str:rwkv6
refuses 1 "RoPE scaling 'odd'" llama.rope.scaling.type=str:odd
refuses 1 "expected a multiple of 4" llama.attention.key_length=int:18
echo "all passed"
