#!/bin/sh
# What tools say of odd keys of the tokenizer, from outside. The tiny model is changed byte by byte.
# usage: tokens.sh BIN_DIR DATA_DIR
set -eu
bin=$1 model=$2/tiny/llama.gguf
. "$(dirname "$0")/lib.sh"

# change KEY SKIP BYTES OUT: BYTES in place of those SKIP bytes behind the start of KEY
change() {
    cp "$model" "$4"
    chmod u+w "$4"
    at=$(grep -abo "$1" "$model" | head -n 1 | cut -d: -f1)
    printf "$3" | dd of="$4" bs=1 seek=$((at + $2)) conv=notrunc 2>/dev/null
}

# says TEXT COMMAND...: the command works, and says TEXT in a note
says() {
    text=$1
    shift
    "$@" >out 2>err </dev/null || { cat err; die "it fails: $*"; }
    [ "$(grep -c -- "$text" err)" = 1 ] || { cat err; die "not once '$text' on stderr: $*"; }
}

change tokenizer.ggml.bos_token_id 31 '\377\377\377\377' no-bos.gguf
change tokenizer.ggml.pre 17 x no-pre.gguf
change tokenizer.ggml.model 20 'x' no-model.gguf
change smollm 0 smellm new-pre.gguf
change gpt2 0 bert bert.gguf
i=0
while [ $i -lt 60 ]; do
    echo "Day $i: the ferry brought $((i * 7 % 31)) crates of pears."
    i=$((i + 1))
done >text
echo '["the sea", "12 ports"]' >texts.json

for f in no-bos:bos_token_id no-pre:tokenizer.ggml.pre; do
    m=${f%:*}.gguf
    says "${f#*:} is" "$bin/kveval" tokens "$m" --in texts.json --special
    says "${f#*:} is" "$bin/kvrun" "$m" -p "the sea" -n 2 -t 1
    says "${f#*:} is" "$bin/kveval" ppl "$m" --text text --ctx 64 --chunks 1 -t 1
    says "${f#*:} is" "$bin/kvcalib" "$m" --text text --ctx 512 --chunks 1 --no-measure --out p.yaml -q -t 1
done
"$bin/kveval" tokens "$model" --in texts.json --special >want 2>err
! [ -s err ] || die "a note on a model that is as it should be: $(cat err)"
"$bin/kveval" tokens no-bos.gguf --in texts.json --special 2>/dev/null | cmp - want
fails 1 "no-model.gguf: .*tokenizer.ggml.model" "$bin/kveval" tokens no-model.gguf --in texts.json
fails 1 "'smellm', a pre-tokenizer that is not supported; supported.*: gpt-2 " "$bin/kvrun" new-pre.gguf -p x
fails 1 "'bert' (WordPiece, WPM), which is not supported; supported: gpt2" "$bin/kveval" ppl bert.gguf --text texts.json
echo "all passed"
