#!/bin/sh
# kveval facts on a tiny model: outputs that parse and agree, the reference, complaints, nothing left behind.
# usage: facts.sh BIN_DIR DATA_DIR
set -eu
bin=$1 model=$2/tiny/qwen2.gguf
. "$(dirname "$0")/lib.sh"

cat >settings <<'S'
four "bits" & <less>: -ctk q4_0 -ctv q4_0 --window 8
exact: -ctk f16 -ctv f16 --sinks 4
S
"$bin/kveval" facts "$model" -t 1 --docs 5 --tokens 5000,4000 --settings settings --json f.json --csv f.csv --html f.html >table 2>log ||
    { cat log; die "kveval facts"; }
grep -q 'four "bits" & <less> .* of 70 ' table || die "no table on stdout"
grep -q "difference to exact" table || die "the setting with an f16 cache is not the reference"
grep -q "added" log && die "a reference was added although there is one"
"$bin/kveval" facts "$model" -t 2 --docs 5 --tokens 5000,4000 --quick --settings settings --json quick.json --csv quick.csv --html quick.html >quick 2>log ||
    { cat log; die "kveval facts --quick"; }
# One by one it is the same as together, and without an f16 cache one is added, whatever the options say.
"$bin/kveval" facts "$model" -t 1 --docs 5 --tokens 4000 -q -ctk q4_0 -ctv q4_0 --window 8 --budget 50% --json >budget.json 2>log ||
    { cat log; die "kveval facts --json"; }
grep -q "added 'f16' to compare with" log || die "nothing is said of the reference"
"$bin/kveval" facts "$model" -t 1 --docs 5 --tokens 4000 -q --setting 'f16: -ctk q4_0 -ctv q4_0 --window 8' --json=one.json >table 2>log ||
    { cat log; die "kveval facts --setting"; }
grep -q "added 'f16 reference'" log || die "the reference has the name of another setting"
"$bin/kveval" facts "$model" -t 1 --docs 1 --tokens 4000 -q --seed 2 >table 2>log || { cat log; die "kveval facts --seed"; }
grep -q "points" table && die "one setting is compared with itself"
grep -q "^wrong:" table || die "wrong answers are not listed"
"$bin/kveval" facts "$model" --docs 5 --tokens 4000 --print 5 >document 2>log || { cat log; die "kveval facts --print"; }
sed '/^# a talk/,$d' document >text
sed '1,/^# a talk/d' document >questions
"$bin/kveval" qa "$model" text questions -t 1 -q --json=qa.json -ctk f16 -ctv f16 >table 2>log || { cat log; die "kveval qa of a document of facts"; }
# With nothing said of the cache, the profile that is shipped for the model.
mkdir -p profiles/models
"$bin/kvcalib" "$model" --ctx 64 --chunks 4 --window 0 --no-measure -q -t 1 --out profiles/models/tiny.yaml >out 2>log || { cat log; die "kvcalib"; }
KVCALIB_PROFILES=$dir/profiles "$bin/kveval" facts "$model" -t 1 --docs 1 --tokens 4000 -q >table 2>log || { cat log; die "kveval facts with a shipped profile"; }
grep -q "tiny.yaml is for this model and applies" log && grep -q "^tc.* tc .* of 7 " table && grep -q "^f16 " table || die "no shipped profile"
# kvcalib keeps in the profile what kveval facts finds with the same documents.
"$bin/kvcalib" "$model" --ctx 64 --chunks 4 --window 0 --facts 1 --override-kv qwen2.context_length=int:4000 -q -t 1 --out asked.yaml >out 2>log || { cat log; die "kvcalib --facts"; }
grep -q "^facts in documents of [0-9]* tokens: [0-9]* of 7 right" out || die "kvcalib says nothing of facts"
tokens=$(sed -n 's/^facts in documents of \([0-9]*\) tokens.*/\1/p' out)
"$bin/kveval" facts "$model" -t 1 --docs 1 --tokens "$tokens" -q --profile asked.yaml --json=asked.json >table 2>log ||
    { cat log; die "kveval facts of the profile"; }
"$bin/kvpack" --show asked.yaml --json >show.json
python3 -c '
import json
kept = json.load(open("show.json"))["facts"][0]
rows = {r["name"]: r for r in json.load(open("asked.json"))["settings"]}
right = sorted(r["hits"] for r in rows.values())
assert kept["questions"] == 7 and sorted((kept["right"], kept["right_f16"])) == right, (kept, right)
' || die "kvcalib and kveval disagree on facts"
i=0
while [ $i -lt 30 ]; do
    i=$((i + 1))
    printf 'A paragraph number %d of a long text that tells of nothing.\nIt has two sentences.\n\n' $i
done >filler
"$bin/kveval" facts "$model" -t 1 --docs 2 --tokens 4000 -q --text filler --json=text.json >table 2>log || { cat log; die "kveval facts --text"; }
python3 - <<'P' || die "what kveval facts wrote"
import csv, json, math, xml.etree.ElementTree as tree

result = json.load(open("f.json"))
assert (result["seed"], result["tokens"], result["docs"], result["text"]) == (1, [4000, 5000], 5, None)
docs, settings = result["documents"], result["settings"]
assert [d["kind"] for d in docs] == ["report", "minutes", "code", "table", "dialogue"] * 2
assert [d["tokens"] for d in docs] == [4000] * 5 + [5000] * 5 and all(d["document_tokens"] < d["tokens"] for d in docs)
questions = [(d, q) for d in docs for q in d["questions"]]
assert len(questions) == 70 and all(len(q["at"]) == q["hops"] for _, q in questions)
assert [s["name"] for s in settings] == ['four "bits" & <less>', "exact"]
assert [s["reference"] for s in settings] == [False, True] and "difference" not in settings[1]
quick = {s["name"]: s for s in json.load(open("quick.json"))["settings"]}
exact, four = quick["exact"], quick[settings[0]["name"]]
assert exact["answers"] == settings[1]["answers"] and not four["answers"] and "hits" not in four and "difference" not in four
assert four["nats"] == settings[0]["nats"] and four["nats"]["mean"] > 0 and four["nats"]["se"] > 0 and "nats" not in exact
assert [p["nats"] for p in four["parts"]] == [p["nats"] for p in settings[0]["parts"]]
assert len(list(csv.reader(open("quick.csv")))) == 1 + 70 and tree.parse("quick.html") is not None
rights = [[a["right"] for a in s["answers"]] for s in settings]
for s, right in zip(settings, rights):
    assert s["n"] == len(right) == 70 and s["hits"] == sum(right) and 0 <= s["lo"] <= s["share"] <= s["hi"] <= 1
    parts = {p["part"]: p for p in s["parts"]}
    for name, holds in [("two hops", lambda d, q: q["hops"] == 2), ("code", lambda d, q: d["kind"] == "code"),
                        ("5000 tokens", lambda d, q: d["tokens"] == 5000)]:
        where = [holds(d, q) for d, q in questions]
        assert parts[name]["n"] == sum(where) and parts[name]["hits"] == sum(r for r, w in zip(right, where) if w), name
    assert len(parts) == 5 + 2 + 2
    if not s["reference"]:
        d = s["difference"]
        assert d["lost"] == sum(a and not b for a, b in zip(rights[1], right)) and d["won"] == sum(b and not a for a, b in zip(rights[1], right))
        assert math.isclose(d["share"], (d["won"] - d["lost"]) / 70, abs_tol=1e-7) and d["lo"] <= d["share"] <= d["hi"] and 0 <= d["p"] <= 1
assert settings[0]["kv_bytes"] < settings[1]["kv_bytes"]

# All see the same documents.
one = json.load(open("one.json"))
assert [s["name"] for s in one["settings"]] == ["f16 reference", "f16"] and one["documents"] == docs[:5]
assert one["settings"][1]["answers"] == settings[0]["answers"][:35]
f16, budget = json.load(open("budget.json"))["settings"]
assert f16["reference"] and f16["answers"] == one["settings"][0]["answers"] and f16["options"].startswith("--profile none")
assert budget["answers"] != one["settings"][1]["answers"] and budget["kv_bytes"] < one["settings"][1]["kv_bytes"]
# kveval qa asks the same of the same document.
qa = json.load(open("qa.json"))["settings"][0]["answers"]
assert [a["question"] for a in qa] == [q["question"] for q in docs[4]["questions"]]
assert [a["wanted"] for a in qa] == [q["wanted"] for q in docs[4]["questions"]]
text = json.load(open("text.json"))
assert text["text"]["path"] == "filler" and len(text["text"]["hash"]) == 32 and text["documents"] != docs[:2]

rows = list(csv.DictReader(open("f.csv", newline="")))
assert len(rows) == 2 * 70
for row, (s, (d, q), a) in zip(rows, [(s, x, a) for s in settings for x, a in zip(questions, s["answers"])]):
    assert (row["name"], int(row["document"]), row["kind"], row["question"], row["said"]) == (s["name"], d["document"], d["kind"], q["question"], a["said"])
page = open("f.html", encoding="utf-8").read()
tree.fromstring(page)  # the whole page is XML, too
assert "four &#34;bits&#34; &#38; &#60;less&#62;" in page and "<less>" not in page and result["model"]["hash"] in page
P

fails 2 "'9' is not a list of numbers in 512" "$bin/kveval" facts "$model" --tokens 9
fails 2 "4000.5 is not a whole number" "$bin/kveval" facts "$model" --tokens 4000.5
fails 2 "there are 2 documents" "$bin/kveval" facts "$model" --docs 2 --tokens 4000 --print 3
fails 1 "600 tokens are too few" "$bin/kveval" facts "$model" -t 1 --tokens 600 --html never.html
fails 1 "no-such" "$bin/kveval" facts "$model" --text no-such --json never.json
fails 1 "settings: [0-9]* paragraphs" "$bin/kveval" facts "$model" --text settings --json never.json
fails 1 "no-such/r.json" "$bin/kveval" facts "$model" --json no-such/r.json
fails 2 "setting 'a': .*calibrated" "$bin/kveval" facts "$model" -t 1 --setting "a: -ctk tc" --csv never.csv

# Ctrl-C: exit code 130, and nothing is left.
code=0
timeout --preserve-status -s INT 2 "$bin/kveval" facts "$model" -t 1 --docs 50 --json never.json --csv never.csv --html never.html >out 2>err || code=$?
[ $code = 130 ] || { cat err; die "exit code $code after Ctrl-C"; }
[ -z "$(find . -name '*never*')" ] || die "something is left of a failed run"
echo "all passed"
