#!/bin/sh
# kveval niah and kveval qa on a tiny model: outputs that parse and agree, complaints, nothing left behind.
# usage: niah.sh BIN_DIR DATA_DIR
set -eu
bin=$1 model=$2/tiny/qwen2.gguf
. "$(dirname "$0")/lib.sh"

cat >settings <<'S'
four "bits" & <less>: -ctk q4_0 -ctv q4_0 --window 8
f16: -ctk f16 -ctv f16
S

# --- niah
"$bin/kveval" niah "$model" -t 1 --ctx 1536,2048 --depths 100,0,50 --template number,near --question both --settings settings --sinks 2 \
    --json n.json --csv n.csv --html n.html >table 2>log || { cat log; die "kveval niah"; }
grep -q 'four "bits" & <less>, question known while reading' table || die "no table on stdout"
"$bin/kveval" niah "$model" -t 1 --ctx 1536,2048 --depths 0,50,100 --template number,near -q -ctk q4_0 -ctv q4_0 --window 8 --sinks 2 \
    --json >one.json 2>log || { cat log; die "kveval niah --json"; }
"$bin/kveval" niah "$model" -t 1 --ctx 1536 --seed 2 --repeats 1 -q --json=two.json >table 2>log || { cat log; die "kveval niah --seed"; }
grep -q "^f16, question unknown while reading" table || die "the only setting has no name"
python3 - <<'P' || die "what kveval niah wrote"
import csv, json, xml.etree.ElementTree as tree

result = json.load(open("n.json"))
assert (result["seed"], result["depths"], result["ctx"], result["needles"], result["repeats"]) == (1, [0, 50, 100], [1536, 2048], 3, 2)
assert [t["name"] for t in result["templates"]] == ["number", "near"] and all("{answer}" in t["fact"] for t in result["templates"])
four, f16 = result["settings"]
assert (four["name"], four["window"], four["sinks"], f16["sinks"]) == ('four "bits" & <less>', 8, 2, 2), four
assert four["kv_bytes"] < f16["kv_bytes"] and four["kv_bytes_f16"] == f16["kv_bytes_f16"]
for s in (four, f16):
    assert [r["question"] for r in s["runs"]] == ["unknown", "known"]
    for r in s["runs"]:
        assert len(r["cells"]) == 6 and all(c["n"] == 2 and 0 <= c["lo"] <= c["share"] <= c["hi"] <= 1 for c in r["cells"])
        for name in ("by_ctx", "by_depth", "by_template", "cells"):
            assert sum(x["n"] for x in r[name]) == r["n"] == len(r["answers"]) == 12
            assert sum(x["hits"] for x in r[name]) == r["hits"] == sum(a["right"] for a in r["answers"])
# All see the same texts, and one by one it is the same as together.
one = json.load(open("one.json"))["settings"][0]
assert one["runs"][0]["answers"] == four["runs"][0]["answers"] and one["kv_bytes"] == four["kv_bytes"]
for way in (0, 1):
    assert [a["wanted"] for a in four["runs"][way]["answers"]] == [a["wanted"] for a in f16["runs"][0]["answers"]]
assert four["runs"][0]["answers"] != four["runs"][1]["answers"]
assert json.load(open("two.json"))["settings"][0]["runs"][0]["answers"][0]["wanted"] not in [a["wanted"] for a in one["runs"][0]["answers"]]

rows = list(csv.DictReader(open("n.csv", newline="")))
assert len(rows) == 2 * 2 * 6
cells = [c for s in result["settings"] for r in s["runs"] for c in r["cells"]]
for row, cell in zip(rows, cells):
    assert (int(row["ctx"]), float(row["depth"]), int(row["n"]), int(row["hits"])) == (cell["ctx"], cell["depth"], cell["n"], cell["hits"])
    assert abs(float(row["lo"]) - cell["lo"]) < 1e-5 and abs(float(row["hi"]) - cell["hi"]) < 1e-5

page = open("n.html", encoding="utf-8").read()
root = tree.fromstring(page)  # the whole page is XML, too
assert "four &#34;bits&#34; &#38; &#60;less&#62;" in page and "<less>" not in page and "<script" not in page
maps = [s for s in root.iter("{http://www.w3.org/2000/svg}svg") if s.get("role") == "img"]
assert len(maps) == 2 and all(len([t for t in m.iter("{http://www.w3.org/2000/svg}title")]) == 2 * 4 * 3 for m in maps)
assert result["model"]["hash"] in page
P

fails 2 "'9' is not a list of numbers in 64" "$bin/kveval" niah "$model" -t 1 --ctx 9
fails 2 "50 is there twice" "$bin/kveval" niah "$model" --depths 50,50
fails 2 "'0,101' is not a list" "$bin/kveval" niah "$model" --depths 0,101
fails 2 "there is no 'nmber'" "$bin/kveval" niah "$model" --template nmber
fails 2 "'near' is there twice" "$bin/kveval" niah "$model" --template near,near
fails 2 "'maybe' is not possible here; known are unknown, known, both" "$bin/kveval" niah "$model" --question maybe
fails 1 "no-such/r.json" "$bin/kveval" niah "$model" --json no-such/r.json
fails 1 "too short" "$bin/kveval" niah "$model" -t 1 --ctx 128 --html never.html
fails 2 "setting 'a': .*calibrated" "$bin/kveval" niah "$model" -t 1 --ctx 1536 --setting "a: -ctk tc" --csv never.csv
fails 2 "nothing to work on" "$bin/kveval" niah --json "$model" # the model is no place to write to

# Ctrl-C: exit code 130, and nothing is left.
code=0
timeout --preserve-status -s INT 1 "$bin/kveval" niah "$model" -t 1 --ctx 6000 --repeats 1000 --json never.json --csv never.csv --html never.html \
    >out 2>err || code=$?
[ $code = 130 ] || { cat err; die "exit code $code after Ctrl-C"; }

# --- qa
printf 'The keeper of the gate is Odo. He has a dog.\n' >document
printf '# question, tab, answers\nWho keeps the gate?\tOdo|Otto\nWhat has he?\ta dog\n' >questions
"$bin/kveval" qa "$model" document questions -t 1 --settings settings --json q.json --csv q.csv --html q.html >table 2>log ||
    { cat log; die "kveval qa"; }
grep -q "of 2" table || die "no table on stdout"
"$bin/kveval" qa "$model" document questions -t 1 -ctk q4_0 -ctv q4_0 --window 8 --json >one.json 2>log || { cat log; die "kveval qa --json"; }
python3 - <<'P' || die "what kveval qa wrote"
import csv, json, xml.etree.ElementTree as tree

result = json.load(open("q.json"))
one = json.load(open("one.json"))["settings"][0]
four, f16 = result["settings"]
assert four["n"] == f16["n"] == len(four["answers"]) == 2 and four["hits"] == sum(a["right"] for a in four["answers"])
assert [(a["line"], a["question"], a["wanted"]) for a in f16["answers"]] == [(2, "Who keeps the gate?", "Odo|Otto"), (3, "What has he?", "a dog")]
assert one["answers"] == four["answers"] and one["kv_bytes"] == four["kv_bytes"] > 0 and result["ctx"] > result["document_tokens"] > 10
rows = list(csv.DictReader(open("q.csv", newline="")))
assert [(r["name"], r["question"]) for r in rows] == [(s["name"], a["question"]) for s in (four, f16) for a in s["answers"]]
page = open("q.html", encoding="utf-8").read()
tree.fromstring(page)
assert "Who keeps the gate?" in page and result["document"]["hash"] in page and "<less>" not in page
P
fails 1 "questions.bad:2: no tab" sh -c "printf 'a?\tb\nwhat?\n' >questions.bad; exec '$bin/kveval' qa '$model' document questions.bad --json never"
fails 1 "no-such" "$bin/kveval" qa "$model" no-such questions --json never
fails 2 "an argument is missing" "$bin/kveval" qa "$model" document
[ -z "$(find . -name '*never*')" ] || die "something is left of a failed run"
echo "all passed"
