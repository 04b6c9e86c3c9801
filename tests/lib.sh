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
