#!/bin/sh
# The main job, end to end, on SmolLM2: calibrate, pack, show, strip, answer, measure; and what must not work.
# usage: e2e.sh BIN_DIR. Exit 77: skipped, the model is not in the cache (scripts/fetch-model gets it).
set -eu
bin=$1
model=${KV_MODEL_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/kvcalib/models}/SmolLM2-135M-Instruct.Q4_1.gguf
[ -r "$model" ] || { echo "skipped: no $model"; exit 77; }
. "$(dirname "$0")/lib.sh"

step() { echo "== $*"; }

step "the same profile for any number of threads"
"$bin/kvcalib" "$model" --out one.yaml --ctx 256 --chunks 4 --threads 1 >calib.out 2>calib.err || { cat calib.err; die kvcalib; }
"$bin/kvcalib" "$model" --out two.yaml --ctx 256 --chunks 4 --threads 2 >/dev/null 2>&1
cmp one.yaml two.yaml || die "one and two threads give different profiles"

step "an interrupted calibration leaves nothing"
"$bin/kvcalib" "$model" --out never.yaml >/dev/null 2>&1 &
pid=$!
sleep 2
kill -INT $pid
code=0
wait $pid || code=$?
[ "$code" = 130 ] || die "exit code $code after SIGINT"
[ -z "$(find . -name '*never*')" ] || die "something is left of the interrupted profile"

step "pack, show, strip"
"$bin/kvpack" "$model" one.yaml --out packed.gguf --dry-run >/dev/null
[ ! -e packed.gguf ] || die "--dry-run wrote a file"
"$bin/kvpack" "$model" one.yaml --out packed.gguf >/dev/null
"$bin/kvpack" --show packed.gguf | grep -q bits || die "kvpack --show shows no bits"
"$bin/kvpack" --strip packed.gguf --out stripped.gguf >/dev/null
cmp "$model" stripped.gguf || die "stripping does not give the original back"

step "the packed model answers, the same for any number of threads"
"$bin/kvrun" packed.gguf -p "What is the capital city of the country France? Answer with one word." -n 24 --temp 0 -t 1 >answer1 2>err
grep -qi profile err || die "kvrun does not say that a profile applies"
grep -q Paris answer1 || { cat answer1; die "no Paris"; }
"$bin/kvrun" packed.gguf -p "What is the capital city of the country France? Answer with one word." -n 24 --temp 0 -t 2 >answer2 2>/dev/null
cmp answer1 answer2 || die "the answer depends on the number of threads"
"$bin/kvrun" packed.gguf -p "What is the capital city of the country France? Answer with one word." -n 24 --temp 0 -ctk f16 -ctv f16 2>/dev/null | grep -q Paris || die "f16 override"

step "what was read before is not read again, for the same answer"
for q in "How many crates came on day 3?" "How many letters went on day 5?"; do
    { ferries | head -n 16; echo "$q"; } >prompt
    "$bin/kvrun" packed.gguf -f prompt -n 8 --temp 0 >plain 2>/dev/null
    XDG_CACHE_HOME="$dir/cache" "$bin/kvrun" packed.gguf -f prompt -n 8 --temp 0 -v --context-cache 1G >cached 2>err
    cmp plain cached || die "another answer where something was read before"
done
grep -q "tokens were read before, in: prompt" err || { cat err; die "nothing is found of what was read before"; }

step "measure"
i=0
while [ $i -lt 40 ]; do
    echo "Line $i of a text about rivers, bridges and the people who cross them: $((i * 37 % 101)) boats passed before noon."
    i=$((i + 1))
done >text
"$bin/kveval" ppl packed.gguf --text text --ctx 256 --chunks 2 --window 0 --json >ppl.json 2>/dev/null
python3 - ppl.json <<'P' || die "kveval ppl --json"
import json, sys
r = json.load(open(sys.argv[1]))
assert 1 < r["ppl"] < 1000 and 0 < r["kld"] < 0.2 and r["kld_se"] > 0 and 2 < r["bits_k"] < 6 and 2 < r["bits_v"] < 6, r
assert r["kv_bytes"] < r["kv_bytes_f16"] and r["tokens"] == 2 * 127 and r["top1"] > 80, r
P
printf '["Hello world", ""]' | "$bin/kveval" tokens "$model" --in - | python3 -c 'import json,sys; assert json.load(sys.stdin) == [[19556, 905], []]' ||
    die "kveval tokens"

step "what must not work"
head -c 1000000 "$model" >truncated.gguf
fails 1 truncated.gguf "$bin/kvrun" truncated.gguf -p hi
fails 1 "no-such" "$bin/kvrun" no-such.gguf -p hi
sed 's/hash: .*/hash: 00000000000000000000000000000000/' one.yaml >other.yaml
fails 1 other.yaml "$bin/kvpack" "$model" other.yaml --out bad.gguf
[ ! -e bad.gguf ] || die "a refused profile was packed"
head -c 5000 one.yaml >cut.yaml
fails 1 cut.yaml "$bin/kvpack" "$model" cut.yaml --out bad.gguf
fails 2 "neither a number of tokens" "$bin/kvcalib" "$model" --out never.yaml --budget 120%
fails 2 "not a policy" "$bin/kvcalib" "$model" --out never.yaml --evict lru
fails 2 "give one" "$bin/kvcalib" "$model" --out never.yaml --budget-by loss
fails 2 "ctz" "$bin/kvrun" "$model" -ctz f16 -p hi
fails 1 "ctx" "$bin/kvrun" "$model" -c 16 -p "a prompt of far more than sixteen tokens, which cannot fit into a context as small as this one is"
cp "$model" itself.gguf
fails 2 itself.gguf "$bin/kvpack" itself.gguf one.yaml --out itself.gguf
echo "all passed"
