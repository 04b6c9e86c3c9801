#!/bin/sh
# What kvrun says and does of a model that has no profile; and answers of a given form, from outside.
# usage: first_use.sh BIN_DIR DATA_DIR
set -eu
bin=$1 data=$2
. "$(dirname "$0")/lib.sh"
export XDG_DATA_HOME="$PWD/share" XDG_CACHE_HOME="$PWD/cache"
model=$data/tiny/llama.gguf

"$bin/kvrun" "$model" -p Hi -n 2 --temp 0 -t 1 >plain 2>said
grep -q -e '--calibrate makes it, once' said || die "a model without profile: $(cat said)"
"$bin/kvrun" "$model" -p Hi -n 2 --temp 0 -t 1 -ctk q8_0 >/dev/null 2>said
! grep -q -e --calibrate said || die "options say how to store the cache: $(cat said)"
"$bin/kvrun" "$model" -p Hi -n 2 --temp 0 -t 1 --calibrate >/dev/null 2>said
grep -q 'is for this model and applies' said || die "calibrated: $(cat said)"
[ "$(find share -name '*.yaml' | wc -l)" = 1 ] || die "not one profile: $(find share)"
"$bin/kvrun" "$model" -p Hi -n 2 --temp 0 -t 1 --calibrate >/dev/null 2>said
grep -q 'nothing to calibrate' said || die "calibrated twice: $(cat said)"
"$bin/kveval" ppl "$model" --text "$data/../documents.sh" --ctx 32 --chunks 1 >/dev/null 2>said || die "$(cat said)"
code=0
"$bin/kvrun" "$model" -p Hi --calibrate -ctk f16 >/dev/null 2>said || code=$?
[ $code = 2 ] && grep -q 'leave --profile and options of the cache out' said || die "$code: $(cat said)"

"$bin/kvrun" "$model" one two >/dev/null 2>said && die "two words too many"
grep -qx 'usage: kvrun MODEL .*' said && grep -qx '       kvrun SUBCOMMAND .*' said || die "ways to use it: $(cat said)"

# what the model of random weights says is whatever may be said
[ "$("$bin/kvrun" "$model" -p Hi --temp 2 --seed 3 -t 1 --grammar 'root ::= "only" " this"' 2>/dev/null)" = "only this" ] || die "a grammar is not followed"
"$bin/kvrun" "$model" -p Hi --temp 2 --seed 3 -t 1 -j '{"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2}' 2>/dev/null >list
grep -Eqz '^\[[[:space:]]*(true|false)[[:space:]]*,[[:space:]]*(true|false)[[:space:]]*\]' list || die "a schema is not followed: $(cat list)"
printf '%s\n' '{"type": "integer", "minimum": 7, "maximum": 8}' >schema
"$bin/kvrun" "$model" -p Hi --temp 2 --seed 3 -t 1 -jf schema 2>/dev/null | grep -qx '[78]' || die "a file with a schema is not followed"
for bad in '--grammar;root ::= x;is used, and is nowhere;1' '-j;{"type": "string", "pattern": "a"};is not understood here;1' '-jf;nowhere;cannot open;1' \
    '--grammar;root ::= "a" --grammar-file schema;only one of them;2'; do
    option=$(printf %s "$bad" | cut -d';' -f1) value=$(printf %s "$bad" | cut -d';' -f2) what=$(printf %s "$bad" | cut -d';' -f3) want=$(printf %s "$bad" | cut -d';' -f4)
    more=
    case $value in *' --grammar-file '*) more="--grammar-file schema" value=${value%% --grammar-file*} ;; esac
    code=0
    "$bin/kvrun" "$model" -p Hi "$option" "$value" $more >/dev/null 2>said || code=$?
    [ $code = "$want" ] && grep -q "$what" said || die "$option $value: $code, $(cat said)"
done
echo "models without profile and answers of a given form: as they should be"
