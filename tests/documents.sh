#!/bin/sh
# kvrun text from outside: files, standard input, what is shown on a terminal, what cannot be read.
# usage: documents.sh BIN_DIR DOCUMENTS
set -eu
bin=$1 documents=$2
. "$(dirname "$0")/lib.sh"

# is TEXT COMMAND...: what it prints
is() {
    want=$1
    shift
    said=$("$@") || die "exit code $?: $*"
    [ "$said" = "$want" ] || die "'$said' instead of '$want': $*"
}

printf 'one\n  two' >text
is "$(printf 'one\n  two')" "$bin/kvrun" text text
[ "$("$bin/kvrun" text text | wc -c)" = 10 ] || die "no newline at the end, or more than one"
is "$(printf 'one\n  two')" "$bin/kvrun" text - <text
mv text ./--as
is "$(printf 'one\n  two')" "$bin/kvrun" text -- --as

# on a terminal, nothing of a file acts on it
if command -v script >/dev/null; then
    printf 'a\033[2Jb\n' >escapes
    script -qec "'$bin/kvrun' text escapes" typed >/dev/null </dev/null
    grep -q 'a\\x1b\[2Jb' typed || die "escapes reach the terminal: $(cat typed)"
fi

code=0
"$bin/kvrun" text --as html - </dev/null >/dev/null 2>err || code=$?
if [ $code = 0 ]; then
    for kind in docx epub; do
        "$bin/kvrun" text "$documents/sample.$kind" >a
        "$bin/kvrun" text - <"$documents/sample.$kind" >b
        cat "$documents/sample.$kind" | "$bin/kvrun" text --as $kind - >c
        cmp a b && cmp b c || die "$kind from standard input"
        head -c 700 "$documents/sample.$kind" >cut
        fails 1 "stdin: the ZIP archive is broken or cut off" "$bin/kvrun" text - <cut
    done
    echo '<html><p>a<p>b' | is "$(printf 'a\n\nb')" "$bin/kvrun" text -
    echo '<html><p>a<p>b' | is '<html><p>a<p>b' "$bin/kvrun" text --as text -
else
    grep -q "libxml2-dev" err || die "what is missing is not said"
    echo "skipped: HTML, docx and EPUB, which this build does not read"
fi
if command -v pdftotext >/dev/null; then
    is "The ferry leaves at nine." sh -c "'$bin/kvrun' text - <'$documents/sample.pdf' | head -n 1"
else
    echo "skipped: PDF, there is no pdftotext (scripts/install-deps --tests gets it)"
fi
mkdir empty
fails 1 "apt install poppler-utils" env PATH="$dir/empty" "$bin/kvrun" text "$documents/sample.pdf"

fails 1 "none: cannot open" "$bin/kvrun" text none
fails 2 "not possible here; known are text, html" "$bin/kvrun" text --as word -- --as
fails 2 "nothing to work on" "$bin/kvrun" text
"$bin/kvrun" text -- --as >/dev/full 2>err && die "a full disk was not noticed"
grep -q "cannot write" err || die "$(cat err)"
echo "all passed"
