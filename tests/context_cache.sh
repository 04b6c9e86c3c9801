#!/bin/sh
# kvrun --context-cache from outside: the same answers, what is kept and where, and nothing without the option.
# usage: context_cache.sh BIN_DIR DATA_DIR
set -eu
bin=$1 model=$2/tiny/llama.gguf
. "$(dirname "$0")/lib.sh"
export XDG_CACHE_HOME="$dir/cache"
kept="$XDG_CACHE_HOME/kvcalib/contexts"

ferries | head -n 14 >long
for q in "How many crates?" "Who took the letters?" "What came by ferry on the last of these days?"; do
    i=$((${i:-0} + 1))
    { cat long; echo "$q"; } >prompt$i
done

# answer OUT ARGUMENT...
answer() {
    out=$1
    shift
    "$bin/kvrun" "$model" -t 1 -n 20 --temp 0 -c 4096 "$@" >"$out" 2>err || { cat err; die "it fails: kvrun $*"; }
}

# before: how many tokens the last answer found
before() { sed -n 's/^kvrun: \([0-9]*\) of [0-9]* tokens were read before.*/\1/p' err; }

answer plain1 --raw -f prompt1
[ ! -e "$kept" ] || die "something is kept that nobody asked to keep"

n=0
for setting in "" "-ctk q8_0 -ctv q4_0" "-ctk q4_0 -ctv q4_0 --window 40 --sinks 2" "-ctk q8_0 -ctv q8_0 --window 32 --budget 256 --evict snapkv"; do
    for i in 1 2 3 1; do
        answer plain $setting --raw -f prompt$i
        answer cached $setting --raw -f prompt$i --context-cache 100M -v
        cmp plain cached || die "another answer to prompt $i with '$setting'"
        [ -z "$(before)" ] || n=$((n + 1))
    done
done
[ $n -ge 8 ] || die "only $n of 16 prompts found something"
[ "$(find "$kept" -perm 600 -name '*.kv' | wc -l)" = "$(find "$kept" -type f | wc -l)" ] || die "not all files are private"
[ "$(stat -c %a "$kept")" = 700 ] || die "the folder is not private"

answer cached --raw -f prompt1 --context-cache 100M -v
[ "$(before)" -ge 500 ] || { cat err; die "the same prompt is not found"; }
grep -q "read before, in: prompt1" err || { cat err; die "it does not say where"; }

# A chat: what is found is what its first turn begins with.
tr '\n' ' ' <long >turn
{ cat turn; echo; echo "And then?"; } >turns
answer plain <turns
answer cached --context-cache 100M <turns
answer again --context-cache 100M -v <turns
cmp plain cached && cmp plain again || die "another chat"
[ "$(before)" -ge 400 ] || { cat err; die "the chat is not found"; }

"$bin/kvrun" contexts >list
grep -q "a chat$" list && grep -q "prompt[123]$" list || { cat list; die "kvrun contexts"; }
"$bin/kvrun" contexts --json | python3 -c 'import json, sys; rows = json.load(sys.stdin); assert len(rows) > 1 and all(
    r["tokens"] > 400 and r["bytes"] > 0 and r["title"] for r in rows), rows' || die "kvrun contexts --json"

# What was damaged is told, removed, and does no harm.
for f in "$kept"/*.kv; do
    printf 'x' | dd of="$f" bs=1 seek=$(($(stat -c %s "$f") / 2)) conv=notrunc 2>/dev/null
done
answer cached --raw -f prompt1 --context-cache 100M -v
cmp plain1 cached || die "another answer after damage"
grep -q "contexts that were kept could not be used, and were removed: .*is damaged" err || { cat err; die "damage is not told"; }

# What is too large is told, and what cannot be kept does not matter.
"$bin/kvrun" contexts --clear 2>err
answer cached --raw -f prompt1 --context-cache 10K
cmp plain1 cached || die "another answer with little room"
grep -q "is not kept: it takes more than --context-cache allows" err || { cat err; die "too little room is not told"; }
[ -z "$(ls "$kept")" ] || die "more is kept than is allowed"
rm -r "$kept"
: >"$kept"
answer cached --raw -f prompt1 --context-cache 100M
cmp plain1 cached || die "another answer without a folder"
grep -q "kvrun: what was read" err || { cat err; die "a missing folder is not told"; }
rm "$kept"

rm -rf "$kept"
# A document that is asked about: read once, and each question as if it were the first.
asks() {
    "$bin/kvrun" ask "$model" long 'How many crates?' 'Who took letters?' -t 1 -n 20 -c 4096 -q "$@" >"$out" 2>err || { cat err; die "it fails: kvrun ask $*"; }
}
out=plain asks
out=cached asks --context-cache 100M -v
cmp plain cached || die "another answer about a document that is kept"
grep -q "tokens are kept for the next time" err || { cat err; die "the document is not kept"; }
out=cached asks --context-cache 100M -v
cmp plain cached || die "another answer about a document that was kept"
[ "$(sed -n 's/^kvrun ask: \([0-9]*\) of [0-9]* tokens were read before.*/\1/p' err)" -ge 500 ] || { cat err; die "the document is not found"; }
{ cat long; echo "And on the next day it did not come."; } >longer
"$bin/kvrun" ask "$model" longer 'How many crates?' -t 1 -n 20 -c 4096 -q --context-cache 100M -v >cached 2>err
grep -q "tokens were read before, in: long" err || { cat err; die "a document that begins alike is not found"; }

# Somebody stops reading: what was read is kept.
i=0
while [ $i -lt 40 ]; do cat long; i=$((i + 1)); done >endless
"$bin/kvrun" "$model" -t 1 --raw -f endless -n 4 -c 65536 --context-cache 100M -v >/dev/null 2>err &
reader=$!
sleep 1
kill -INT $reader 2>/dev/null || true
wait $reader || true
if grep -q "stopped in prefill, after [0-9]\{4,\} of" err; then # else it was faster, or had hardly begun
    grep -q "tokens are kept for the next time" err || { cat err; die "what was read is lost"; }
fi

fails 2 "not a size" "$bin/kvrun" "$model" -p x --context-cache lots
fails 2 "choose one" "$bin/kvrun" contexts --clear --json
echo "all passed"
