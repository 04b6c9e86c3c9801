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

# Layers that differ: shown, in reports, with budgets by loss.
m=$models/deci.gguf
"$bin/kvcalib" "$m" --text text --ctx 64 --chunks 8 --window 8 --bits 5 --no-measure -q -t 1 --out p.yaml --report p.html >/dev/null 2>&1
grep -q "version: 4" p.yaml || die "a profile of layers that differ is not of version 4"
grep -q "kv_heads: \[2, 0, 0, 0, 1, 4\]" p.yaml || die "kv_heads: $(grep kv_heads p.yaml)"
"$bin/kvpack" --show p.yaml "$m" >shown
grep -q "6 layers, up to 4 heads, up to 4 KV heads of 32" shown || die "shape: $(cat shown)"
[ "$(grep -c "no keys and values of its own" shown)" = 3 ] || die "layers: $(cat shown)"
"$bin/kvpack" --show p.yaml "$m" --json >shown.json
python3 - <<'P'
import json
shown = json.load(open("shown.json"))
assert [len(l["k"]["heads"]) if l["k"] else 0 for l in shown["layers"]] == [2, 0, 0, 0, 1, 4]
assert shown["f16_bytes_per_token"] == 7 * 32 * 2 * 2, shown["f16_bytes_per_token"]
assert "layer 5, KV head  3" in open("p.html").read()
P
"$bin/kvrun" "$m" --profile p.yaml -p "the sea and the" -n 8 --temp 0 -t 1 -c 256 --evict streaming --budget 200 >one 2>/dev/null || die "a budget"
sed "s/kv_heads: \[2, 0, 0, 0, 1, 4\]/kv_heads: [2, 0, 0, 0, 4, 1]/" p.yaml >wrong.yaml
fails 1 "wrong.yaml:.*has 1 entries, but model.kv_heads is 4" "$bin/kvpack" --show wrong.yaml "$m"
fails 1 "made for a model with 6 layers" "$bin/kvrun" "$models/openelm.gguf" --profile p.yaml -p x -n 1

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
refuses 1 "'rwkv6' is not supported; it has layers that carry a state .*(supported: llama, .*bailingmoe2)" general.architecture=str:rwkv6
refuses 1 "'deepseek2' is not supported; its attention is MLA" general.architecture=str:deepseek2
refuses 1 "'new' is not supported: take a model of another family (supported: llama," general.architecture=str:new
refuses 1 "RoPE scaling 'odd'" llama.rope.scaling.type=str:odd
refuses 1 "expected a multiple of 2" llama.attention.key_length=int:17
echo "all passed"
