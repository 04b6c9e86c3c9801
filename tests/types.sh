#!/bin/sh
# A model of looked-up, ternary and 4-bit float weights goes the whole way: calibrated, measured, packed, run, unpacked.
# usage: types.sh BIN_DIR DATA_DIR
set -eu
bin=$1 model=$2/tiny/llama-iq.gguf
. "$(dirname "$0")/lib.sh"
ferries >text
"$bin/kvcalib" "$model" --text text --ctx 512 --chunks 4 --bits 3.25 --out p.yaml -q -t 1 2>/dev/null
grep -q "^ *hash: " p.yaml || die "the profile names no model"
"$bin/kvpack" "$model" p.yaml --out packed.gguf 2>/dev/null
"$bin/kveval" ppl packed.gguf --text text --ctx 512 --chunks 2 -t 1 >ppl
grep -q "bits per key  *4\.5" ppl || die "the cache is not that of the profile: $(cat ppl)"
"$bin/kvrun" packed.gguf -p "the sea" -n 12 --temp 0 -t 1 >one 2>said
grep -q "profile in the model file applies" said || die "kvrun does not use the profile: $(cat said)"
"$bin/kvrun" packed.gguf -p "the sea" -n 12 --temp 0 -t 2 --no-repack >two 2>/dev/null
cmp one two
"$bin/kvpack" --strip packed.gguf --out again.gguf
cmp "$model" again.gguf
echo "all passed"
