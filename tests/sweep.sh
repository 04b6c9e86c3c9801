#!/bin/sh
# kveval sweep and kveval kld on a tiny model: the same figures, outputs that parse, complaints that name the line, nothing left behind.
# usage: sweep.sh BIN_DIR DATA_DIR
set -eu
bin=$1 model=$2/tiny/llama.gguf
. "$(dirname "$0")/lib.sh"

i=0
while [ $i -lt 60 ]; do
    echo "Line $i: $((i * 37 % 101)) boats passed under $((i * 13 % 7)) bridges before noon."
    i=$((i + 1))
done >text
cat >settings <<'S'
# name: options
four "bits" & <less>: -ctk q4_0 -ctv q4_0 --window 8
eight: -ctk q8_0 -ctv q8_0 --sinks 2
S

"$bin/kveval" sweep "$model" --text text --ctx 64 --chunks 3 --settings settings --setting "same: -ctk f32 -ctv f32" \
    --decode 20 --json r.json --csv r.csv --html r.html --svg r.svg >table 2>log || { cat log; die "kveval sweep"; }
grep -q "KL divergence.*decode, tokens/s" table || die "no table on stdout"
"$bin/kveval" kld "$model" --text text --ctx 64 --chunks 3 -ctk q4_0 -ctv q4_0 --window 8 --json >one.json 2>log
python3 - <<'P' || die "what kveval sweep wrote"
import csv, html.parser, json, re, xml.etree.ElementTree as tree

result = json.load(open("r.json"))
names = [s["name"] for s in result["settings"]]
assert names == ['four "bits" & <less>', "eight", "same"], names
four, eight, same = result["settings"]
alone = json.load(open("one.json"))
assert result["format"] == alone["format"] == 2 and next(iter(result)) == next(iter(alone)) == "format", result.keys()
for key, value in alone.items():
    if key in four and key not in ("seconds", "decode_tps"):  # timing tokens changes no other figure
        assert four[key] == value, (key, four[key], value)
assert four["kld"] > eight["kld"] > same["kld"] == 0 and four["kld_p50"] <= four["kld_p90"] <= four["kld_p99"] <= four["kld_max"]
assert alone["decode_tps"] is None and all(s["decode_tps"] > 0 for s in result["settings"])
assert (four["window"], eight["sinks"], eight["bits_k"], four["tokens"]) == (8, 2, 8.5, 3 * 31), result

rows = list(csv.DictReader(open("r.csv", newline="")))
assert [r["name"] for r in rows] == names
for row, setting in zip(rows, result["settings"]):
    for key, value in setting.items():
        if isinstance(value, float):
            assert abs(float(row[key]) - value) <= 1e-6 * abs(value), (key, row[key], value)

page = open("r.html", encoding="utf-8").read()
html.parser.HTMLParser().feed(page)
tree.fromstring(page)  # the whole page is XML, too
charts = re.findall(r"<svg xmlns.*?</svg>", page, re.S)
assert charts and all(tree.fromstring(c).get("viewBox") for c in charts)
assert "four &#34;bits&#34; &#38; &#60;less&#62;" in page and "<less>" not in page and "<script" not in page
picture = open("r.svg", encoding="utf-8").read()
names_in = " ".join(tree.fromstring(picture).itertext())
assert all(name in names_in for name in names[:2]) and f"{four['tokens']} tokens of text, context 64" in names_in, names_in
assert result["model"]["hash"] in page and result["text"]["hash"] in page
P

"$bin/kveval" sweep "$model" --text text --ctx 64 --chunks 1 2>/dev/null | grep -q "^q4_0 " || die "no default settings"
"$bin/kveval" list --json >list.json || die "kveval list"
python3 - list.json "$("$bin/kvrun" --help)" <<'P' || die "kveval list --json"
import json, re, sys
have, text = json.load(open(sys.argv[1])), re.sub(r"\s+", " ", sys.argv[2])
assert have["format"] == 2
codecs, policies = ([row["name"] for row in have[kind]] for kind in ("codecs", "policies"))
assert ", ".join(codecs) + ":" in text, codecs
assert all(f"{name} (" in text for name in policies) and policies[0] == "none", policies
assert [row["name"] for row in have["codecs"] if row["calibrated"]] == ["tc"]
P
fails 1 "no-such/r.json" "$bin/kveval" sweep "$model" --text text --json no-such/r.json
fails 2 "settings.bad:2: unknown option --windw; did you mean --window?" sh -c "printf 'a: -ctk f16\nb: --windw 3\n' >settings.bad
    exec '$bin/kveval' sweep '$model' --text text --settings settings.bad"
fails 1 "no-such.yaml" "$bin/kveval" sweep "$model" --text text --setting "a: --profile no-such.yaml"
fails 2 "setting 'a': .*calibrated" "$bin/kveval" sweep "$model" --text text --ctx 64 --setting "a: -ctk tc"
fails 2 "setting 'a': --evict h2o needs a budget: add --budget" "$bin/kveval" sweep "$model" --text text --setting "a: --evict h2o"
lacks="error: --evict h2o needs a budget: add --budget"
fails 2 "$lacks" "$bin/kveval" kld "$model" --text text --evict h2o
fails 2 "$lacks" "$bin/kveval" speed "$model" --evict h2o
fails 2 "$lacks" "$bin/kveval" niah "$model" --evict h2o
fails 2 "$lacks" "$bin/kvrun" "$model" --raw -p x --evict h2o
fails 2 "--text" "$bin/kveval" sweep "$model"
fails 2 "32 tokens to time .* 31" "$bin/kveval" sweep "$model" --text text --ctx 64 --decode 32
fails 1 "tokens" "$bin/kveval" sweep "$model" --text settings --ctx 4096 --html never.html
[ -z "$(find . -name '*never*')" ] || die "something is left of a failed sweep"
echo "all passed"
