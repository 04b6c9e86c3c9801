#!/bin/sh
# kvrun docs from outside, with tiny models: what is added is listed, found, asked and removed, and mistakes are named.
# usage: docs.sh BIN_DIR DATA_DIR
set -eu
. "$(dirname "$0")/lib.sh"
bin=$1 data=$2
qwen=$data/tiny/qwen2.gguf llama=$data/tiny/llama.gguf
export XDG_DATA_HOME=$dir/share XDG_CACHE_HOME=$dir/cache
lib=$dir/share/kvcalib/library
docs() { "$bin/kvrun" docs "$@"; }
# says TEXT COMMAND...: the command succeeds and says TEXT on stdout or stderr
says() {
    text=$1
    shift
    "$@" >out 2>&1 || { cat out; die "exit code $?: $*"; }
    grep -q -- "$text" out || { cat out; die "no '$text': $*"; }
}

printf 'The captain of the Dauntless is Quillfeather.\033[2J\n' >ship.txt
echo '<html><title>Bread and salt</title><p>Bake the bread for 45 minutes.</p></html>' >bread.html

# Nothing is there, and nothing is made of looking.
says '0 documents' docs list
fails 2 'is called' docs show ship
[ ! -e "$lib" ] || die "looking made a folder"

# Adding: once, and once more only when asked to.
says 'bread.html: .* tokens' docs add -q "$qwen" ship.txt bread.html
says 'there already' docs add "$qwen" ship.txt
says 'ship.txt: .* tokens' docs add -q "$qwen" ship.txt --again
echo 'And its mate is Pym.' >>ship.txt
says 'ship.txt: .* tokens' docs add -q "$qwen" ship.txt
docs list --by name >out 2>err
[ "$(cut -d' ' -f1 out)" = "$(printf 'bread.html\nship.txt')" ] || die "list: $(cat out)"
grep -q '^kvrun docs: 2 documents' err || die "totals: $(cat err)"
docs list --json | python3 -c '
import json, os, sys
d = json.load(sys.stdin)
assert [x["name"] for x in d["documents"]] == ["ship.txt", "bread.html"] and d["limit"] is None, d
assert d["bytes"] == sum(os.path.getsize(x[k]) for x in d["documents"] for k in ("payload", "text")), d
assert d["documents"][1]["title"] == "Bread and salt" and d["documents"][1]["model"] == "tiny qwen2", d'
[ "$(ls "$lib/payload" | wc -l)" = 4 ] || die "files: $(ls "$lib/payload")"

# Finding; what is in a text does nothing to a terminal.
says '^ship.txt (tiny qwen2)$' docs search quillfeather
says 'Dauntless is \[Quillfeather\]' docs search 'NEAR("quillfeather'
! grep -q "$(printf '\033')" out || die "an escape sequence: $(cat -v out)"
docs search bread --json | python3 -c '
import json, sys
d = json.load(sys.stdin)["documents"]
assert len(d) == 1 and d[0]["snippet"] == "Bake the [bread] for 45 minutes" and d[0]["rank"] > 0, d'
says 'no document has' docs search zebra
fails 2 'no word' docs search '()'
says '^title *Bread and salt$' docs show br

# Asking gives what kvrun ask gives of the same file.
"$bin/kvrun" read -q "$qwen" ship.txt --out ship.kv 2>err
"$bin/kvrun" ask "$qwen" ship.kv 'Who is it?' 'Why?' -n 8 >wanted 2>err
docs ask "$qwen" ship 'Who is it?' 'Why?' -n 8 >out 2>err
cmp -s out wanted || die "docs ask: $(cat out)"
docs ask "$qwen" 'How long does one bake?' -n 2 --json >out 2>err
grep -q '"document": "bread.html"' out && grep -q 'asking bread.html' err || die "asked of: $(cat out err)"
docs ask "$qwen" 'Why?' --about 'captain and mate' -n 2 >out 2>err
grep -q 'asking ship.txt' err || die "asked of: $(cat err)"
[ "$(docs list 2>err | head -1 | cut -d' ' -f1)" = ship.txt ] || die "what was asked was not used last"
fails 2 'did you mean' docs ask "$qwen" shop.txt 'Why?'
fails 2 'any word' docs ask "$qwen" 'zebra'
fails 1 'reads it anew' docs ask "$qwen" ship 'Why?' -ctk q8_0

# Another model reads it from the library, without the file.
rm ship.txt
fails 2 "docs add $llama ship" docs ask "$llama" ship 'Why?'
says 'ship.txt: .* tokens' docs add -q "$llama" ship
docs ask "$llama" ship 'Why?' -n 2 >out 2>err
[ "$(docs list 2>err | grep -c '^ship.txt')" = 2 ] || die "not there for two models"
docs show ship --json | grep -q '"source": "ship.txt"' || die "its source was forgotten"
fails 1 'no such file' docs add "$qwen" nothing.txt
fails 2 '--name' docs add "$qwen" -
echo 'From a pipe.' | docs add -q "$qwen" - --name 'a pipe' 2>err
says '^a pipe ' docs list
fails 2 'line break' docs add "$qwen" bread.html --name "$(printf 'a\nb')"

# Reading that was interrupted goes on: here after the beginning of a document that is there.
identity=$(docs show bread --json | sed -n 's/.*"model_hash": "\(.*\)".*/\1/p')
printf 'One line, and\n' >long.txt
"$bin/kvrun" read -q "$qwen" long.txt --out "$lib/reading-$identity.partial" 2>err
printf 'One line, and\nanother one.\n' >long.txt
says 'going on after [1-9]' docs add -q "$qwen" long.txt
[ ! -e "$lib/reading-$identity.partial" ] || die "the partial file stays"

# A limit, and removing.
says '^none$' docs limit
says '^100.0 KiB$\|^100 KiB$' docs limit 100K
[ "$(docs list 2>err | wc -l)" -lt 4 ] || die "nothing went: $(docs list 2>&1)"
says '^none$' docs limit none
fails 2 'give a size' docs limit much
docs add -q "$qwen" bread.html "$llama" 2>err && die "a model was read as a text"
docs add -q "$qwen" bread.html 2>err
fails 2 'whole name' docs remove bread
fails 2 'is called' docs remove bread.html nothing
says '^bread.html ' docs list
says 'removed bread.html' docs remove bread.html
docs search bread 2>&1 | grep -q 'no document' || die "its words are still there"

# Options of other actions, and actions that there are not.
fails 2 'has no meaning with list' docs list --about x
fails 2 'has no meaning with search' docs search x -ctk q8_0
fails 2 'usage: kvrun docs show NAME' docs show
fails 2 'add, ask, list' docs destroy

# What is missing or damaged is named, and left.
docs add -q "$qwen" bread.html 2>err
says 'is whole' docs check
rm "$lib"/payload/*.kv
says 'bread.html.*missing' docs list
fails 1 'have vanished' docs check
fails 1 'reads it anew' docs ask "$qwen" bread 'Why?'
printf 'garbage garbage' | dd of="$lib/library.db" conv=notrunc 2>/dev/null
for action in list 'search x' check "add $qwen bread.html" 'remove bread.html'; do
    fails 1 'library.db: .*left as it is' docs $action
done
echo "all passed"
