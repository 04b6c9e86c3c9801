# What the shell tests share; sourced. Works in a directory of its own, which is gone afterwards.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

die() { echo "FAILED: $*" >&2; exit 1; }

# fails CODE TEXT COMMAND...: the command must exit with CODE and say TEXT on stderr
fails() {
    want=$1 text=$2
    shift 2
    code=0
    "$@" >out 2>err || code=$?
    [ "$code" = "$want" ] || { cat err; die "exit code $code instead of $want: $*"; }
    grep -qi -- "$text" err || { cat err; die "no '$text' on stderr: $*"; }
}

# ferries: 300 lines that are alike and yet not the same, to calibrate on and measure
ferries() {
    i=0
    while [ $i -lt 300 ]; do
        echo "Day $i: the ferry brought $((i * 7 % 31)) crates of pears and took $((i * 13 % 17)) letters away."
        i=$((i + 1))
    done
}
