#!/bin/sh
# No tool writes over what it reads: every output against every input and every other output, under every kind of name; and what is
# meant is still written.
# usage: paths.sh BIN_DIR DATA_DIR
set -eu
. "$(dirname "$0")/lib.sh"
mkdir sub profiles profiles/models
ln -s sub linked
ln -s . here
cp "$2/tiny/qwen2.gguf" model.gguf
cp "$2/tiny/llama.gguf" "$2"/split/split-0000*-of-00002.gguf .
printf 'The keeper of the gate is Odo. He has a dog.\n' >document
printf 'Who keeps the gate?\tOdo|Otto\n' >questions
printf 'f16: -ctk f16 -ctv f16\n' >settings
printf 'version: 2\npolicy: {sinks: 4, window: 0, k: f16, v: f16}\naim: {bits: 3.25}\n' >own.yaml
cp own.yaml listed.yaml
echo old >old
cp own.yaml profiles/balanced.yaml # stands before the one of the source tree
cp own.yaml profiles/mine.yaml
KVCALIB_PROFILES=$dir/profiles python3 - "$1" <<'P'
import hashlib, os, pathlib, re, subprocess, sys

bin = pathlib.Path(sys.argv[1])
lines = "".join(f"Line {i}: {i * 37 % 101} boats passed under {i * 13 % 7} bridges.\n" for i in range(400))
for name in ("text", "text2"):
    pathlib.Path(name).write_text(name + lines)
pathlib.Path("filler").write_text("A paragraph of a text that tells of nothing, at some length.\n\n" * 20)

SETTINGS = [("--settings", "settings"), ("--profile", "own.yaml"), ("--profile of setting 'a'", "listed.yaml")]
RESULTS = ["--json", "--csv", "--html"]
# Of every tool: what it reads, what it writes, and what else it needs. Names in capitals are arguments.
TOOLS = {
    "kvcalib": ([("MODEL", "model.gguf"), ("--text", "text"), ("--text", "text2"), ("--preset", "own.yaml")], ["--out", "--report"],
                "--ctx 64 --chunks 4 --no-measure -q -t 1"),
    "kvpack": ([("MODEL", "model.gguf"), ("PROFILE", "own.yaml")], ["--out"], ""),
    "kvrun": ([("MODEL", "model.gguf"), ("--file", "text"), ("--model", "model.gguf"), ("--chat-template", "own.jinja"), ("--grammar-file", "own.gbnf"),
               ("--json-schema-file", "own.json")], [], ""),
    "kvrun serve": ([("MODEL", "model.gguf"), ("--api-key-file", "text"), ("--chat-template", "own.jinja")], [], "--port 0 -q"),
    "kvrun client": ([("--api-key-file", "text")], [], ""),
    "kvrun read": ([("MODEL", "model.gguf"), ("DOCUMENT", "filler")], ["--out"], "-q -t 1"),
    "kvrun pull": ([], ["--out"], ""),
    "kveval ppl": ([("MODEL", "model.gguf"), ("--text", "text")], [], ""),
    "kveval kld": ([("MODEL", "model.gguf"), ("--text", "text")], [], ""),
    "kveval sweep": ([("MODEL", "model.gguf"), ("--text", "text"), *SETTINGS], [*RESULTS, "--svg"], "--ctx 64 --chunks 1 -q -t 1"),
    "kveval niah": ([("MODEL", "model.gguf"), *SETTINGS], RESULTS, "--ctx 1536 --depths 50 --repeats 1 -q -t 1"),
    "kveval qa": ([("MODEL", "model.gguf"), ("DOCUMENT", "document"), ("QUESTIONS", "questions"), *SETTINGS], RESULTS, "-q -t 1"),
    "kveval facts": ([("MODEL", "model.gguf"), ("--text", "filler"), *SETTINGS], RESULTS, "--docs 1 --tokens 3000 -q -t 1"),
    "kveval speed": ([("MODEL", "model.gguf")], [], ""),
    "kveval endless": ([("MODEL", "model.gguf"), ("--text", "text")], [], ""),
    "kveval list": ([], [], ""),
    "kveval tokens": ([("MODEL", "model.gguf"), ("--in", "text")], [], ""),
    "kveval logprobs": ([("MODEL", "model.gguf"), ("--in", "text")], [], ""),
}

def run(tool, args, **env):
    return subprocess.run([bin / tool.split()[0], *tool.split()[1:], *args], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          env={**os.environ, **env})

def snapshot():
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in pathlib.Path(".").rglob("*") if p.is_file()}

def words(ins, outs):
    """The words of a command line from (what, path)."""
    args = []
    for what, path in [*ins, *outs]:
        args += [path] if what.isupper() else ["--setting", f"a: --profile {path}"] if " " in what else [what, path]
    return args

refused = 0

def refuses(tool, ins, outs, what, path, **env):
    """Usage error that names all of `what` and the path, and not a byte of any file is another one."""
    global refused
    before, args = snapshot(), [*words(ins, outs), *TOOLS[tool][2].split()]
    r = run(tool, args, **env)
    assert r.returncode == 2 and "same file" in r.stderr and all(f"{w} " in r.stderr for w in what) and path in r.stderr, \
        (tool, args, r.returncode, r.stderr)
    assert snapshot() == before, (tool, args, "changed a file")
    refused += 1

def names(path):
    """Other names of the file, which is there; soft and hard links are made anew."""
    for link, make in (("soft", os.symlink), ("hard", os.link)):
        pathlib.Path(link).unlink(missing_ok=True)
        make(path, link)
    return [path, f"./{path}", os.path.abspath(path), f"sub/../{path}", f"here/{path}", "soft", "hard"]

# All options that take a file, by what --help says of them, are above.
commands = re.findall(r"^  (\w+) ", run("kveval", ["--help"]).stdout, re.M)
assert {f"kveval {c}" for c in commands} == {t for t in TOOLS if t.startswith("kveval ")}, commands
for tool, (ins, outs, _) in TOOLS.items():
    takes = set(re.findall(r"^  (?:-\w+, )?(--[\w-]+) \S*FILE", run(tool, ["--help"]).stdout.split("\nOptions\n")[-1], re.M))
    known = {what for what, _ in ins} | set(outs)
    assert takes <= known, (tool, "paths.sh does not know of", takes - known)

for tool, (ins, outs, _) in TOOLS.items():
    for i, (what, path) in enumerate(ins):
        for out in outs:
            for name in names(path):
                refuses(tool, ins, [(out, name)], (what, out), path)
            for name in ("soft", "hard"):
                refuses(tool, [*ins[:i], (what, name), *ins[i + 1:]], [(out, path)], (what, out), path)
    for i, one in enumerate(outs):
        for other in outs[:i]:
            for name in names("old"):
                refuses(tool, ins, [(one, name), (other, "old")], (one, other), name)
            for name in ("sub/new", "./sub/new", os.path.abspath("sub/new"), "linked/new", "here/linked/new"):
                refuses(tool, ins, [(one, "sub/new"), (other, name)], (one, other), "sub/new")
                refuses(tool, ins, [(one, name), (other, "linked/new")], (one, other), "linked/new")
for link in ("soft", "hard"):
    pathlib.Path(link).unlink()

# A model in two files: naming one of them means both, for every tool that writes something.
parts = ["split-00001-of-00002.gguf", "split-00002-of-00002.gguf"]
for tool, (ins, outs, _) in TOOLS.items():
    for out in outs if ins else []:
        for part, other in (parts, parts[::-1]):
            refuses(tool, [("MODEL", part), *ins[1:]], [(out, other)], ("MODEL", out), other)

# kvpack --strip reads its first argument; profiles by name, the one that applies without --preset among them.
model, text = ("MODEL", "model.gguf"), ("--text", "text")
refuses("kvpack", [("--strip", "model.gguf")], [("--out", "here/model.gguf")], ("MODEL", "--out"), "model.gguf")
refuses("kvcalib", [model, text, ("--preset", "mine")], [("--out", "profiles/mine.yaml")], ("--preset", "--out"), "mine.yaml")
refuses("kvcalib", [model, text], [("--report", "r.html"), ("--out", "profiles/balanced.yaml")], ("--preset", "--out"), "balanced.yaml")
refuses("kvpack", [model, ("PROFILE", "mine")], [("--out", "profiles/mine.yaml")], ("PROFILE", "--out"), "mine.yaml")
for tool in ("kveval niah", "kveval qa", "kveval facts", "kveval sweep"):
    ins = [(w, "mine" if w.startswith("--profile") else p) for w, p in TOOLS[tool][0]]
    for out in RESULTS:
        refuses(tool, ins, [(out, "here/profiles/mine.yaml")], ("--profile", out), "mine.yaml")
        refuses(tool, [x for x in ins if x[0] != "--profile"], [(out, "profiles/mine.yaml")], ("--profile of setting 'a'", out), "mine.yaml")

def works(tool, args, *made):
    before = snapshot()
    r = run(tool, [*args, *TOOLS[tool][2].split()])
    assert r.returncode == 0, (tool, args, r.returncode, r.stderr)
    after = snapshot()
    assert set(after) - set(before) == set(made) and all(after[p] == h for p, h in before.items()), (tool, args, set(after) - set(before))
    return r.stdout

works("kvcalib", words([model, text, ("--text", "text2"), ("--preset", "own.yaml")], [("--out", "p.yaml"), ("--report", "p.html")]), "p.yaml", "p.html")
works("kvpack", words([model, ("PROFILE", "p.yaml")], [("--out", "packed.gguf")]), "packed.gguf")
works("kvpack", ["--strip", "packed.gguf", "--out", "again.gguf"], "again.gguf")
assert pathlib.Path("again.gguf").read_bytes() == pathlib.Path("model.gguf").read_bytes()
works("kvpack", words([model, ("PROFILE", "p.yaml")], [("--out", "packed.gguf")])) # over what an earlier run has written: the same again
# What a model in two files gives is what it gives in one.
works("kvcalib", words([("MODEL", parts[1]), text, ("--preset", "own.yaml")], [("--out", "split.yaml")]), "split.yaml")
works("kvcalib", words([("MODEL", "llama.gguf"), text, ("--preset", "own.yaml")], [("--out", "whole.yaml")]), "whole.yaml")
works("kvpack", words([("MODEL", parts[1]), ("PROFILE", "whole.yaml")], [("--out", "split.gguf")]), "split.gguf")
works("kvpack", words([("MODEL", "llama.gguf"), ("PROFILE", "whole.yaml")], [("--out", "whole.gguf")]), "whole.gguf")
assert pathlib.Path("split.gguf").read_bytes() == pathlib.Path("whole.gguf").read_bytes()
# Under the name of a part it stays in two, and goes back to what it was.
kept, again = ([f"{n}-0000{i}-of-00002.gguf" for i in (1, 2)] for n in ("kept", "again"))
works("kvpack", words([("MODEL", parts[1]), ("PROFILE", "whole.yaml")], [("--out", kept[1])]), *kept)
works("kvpack", ["--strip", kept[0], "--out", again[0]], *again)
assert [pathlib.Path(p).read_bytes() for p in again] == [pathlib.Path(p).read_bytes() for p in parts]
r = run("kvpack", [parts[0], "whole.yaml", "--out", "kept-00001-of-00003.gguf"])
assert r.returncode == 2 and "is called like a part of 3, but the model is in 2 files" in r.stderr, r.stderr
of = lambda path: re.search(r"^ *hash: .*", pathlib.Path(path).read_text(), re.M)[0]
assert of("split.yaml") == of("whole.yaml"), (of("split.yaml"), of("whole.yaml"))
says = lambda model: run("kvrun", [model, "-p", "Hello", "-n", "8", "--temp", "0", "-q", "-t", "1"])
assert says(parts[0]).stdout == says(parts[1]).stdout == says("llama.gguf").stdout, says(parts[1])
os.rename(parts[0], "sub/away")
was = pathlib.Path("text").read_text()
pathlib.Path("text").write_text('["a"]') # a text, and what `kveval tokens` reads
for tool, (ins, outs, more) in TOOLS.items():
    if model not in ins:
        continue
    if tool == "kveval logprobs":
        pathlib.Path("text").write_text('{"chunks": [{"tokens": [1]}]}')
    r = run(tool, [*words([("MODEL", parts[1]), *[i for i in ins[1:] if i[0] not in ("--model", "--chat-template", "--grammar-file", "--json-schema-file")]], [(o, f"sub/{o}") for o in outs]), *more.split()])
    assert r.returncode == 1 and f"{parts[0]}: is missing: part 1 of 2" in r.stderr, (tool, r.returncode, r.stderr)
os.rename("sub/away", parts[0])
pathlib.Path("text").write_text(was)
# The profile that is found by the hash of the model is an input, too.
os.rename("p.yaml", "profiles/models/p.yaml")
refuses("kvpack", [model], [("--out", "profiles/models/p.yaml")], ("profile shipped for this model,", "--out"), "p.yaml")
works("kvpack", words([model], [("--out", "shipped.gguf")]), "shipped.gguf")
for tool in ("kveval niah", "kveval qa", "kveval facts", "kveval sweep"):
    ins = TOOLS[tool][0]
    base = tool.split()[1]
    made = [f"sub/{base}{o.replace('--', '.')}" for o in RESULTS]
    works(tool, words(ins, zip(RESULTS, made)), *made)
    works(tool, words(ins, [("--json", "-"), ("--csv", "/dev/null"), ("--html", "/dev/null")]))
    both = works(tool, words(ins, [("--csv", "/dev/stdout"), ("--html", "/dev/stdout")]))
    assert "</html>" in both and "f16" in both, both
print(f"all passed, {refused} refused")
P
