#!/bin/sh
# Manual pages and completions say what --help says, and the programs that read them do not complain. Those that are not
# installed are passed by, and named.
# usage: share.sh BIN_DIR SHARE_DIR
set -eu
. "$(dirname "$0")/lib.sh"
KVCALIB_PROFILES=$dir/profiles KV_MODEL_DIR=$dir/models XDG_CONFIG_HOME=$dir python3 - "$1" "$2" <<'P' || die "manual pages and completions"
import os, pathlib, re, shutil, subprocess, sys

bin, share = map(pathlib.Path, sys.argv[1:])
os.environ["PATH"] = f"{bin}:{os.environ['PATH']}"
pathlib.Path("profiles").mkdir()
pathlib.Path("profiles/quite-mine.yaml").write_text("version: 2\n")
TOOLS = ["kvcalib", "kveval", "kvpack", "kvrun"]


def there(program, needs=None):
    """Whether a program that reads pages or completions is there, else said so."""
    missing = [p for p in (program, needs) if p and not shutil.which(p)]
    if missing:
        print(f"skipped: what {program} says, there is no {' and no '.join(missing)} (scripts/install-deps --tests gets it)", flush=True)
    return not missing


def say(*words):
    return subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True).stdout


SUBS = {t: say(bin / t, "--print-commands").split() for t in ("kveval", "kvrun")}
subs = SUBS["kveval"]
assert "ppl" in subs and subs == re.findall(r"^  (\w+) ", say(bin / "kveval", "--help"), re.M), subs
listed = re.search(r"^Subcommands\n(.*?)^'kvrun SUBCOMMAND", say(bin / "kvrun", "--help"), re.M | re.S)[1]
assert "text" in SUBS["kvrun"] and SUBS["kvrun"] == re.findall(r"^  (\w+) ", listed, re.M), listed
commands = [(t,) for t in TOOLS] + [(t, s) for t in SUBS for s in SUBS[t]]


def options(command):
    """name -> its short name or None, by the help page."""
    page = say(bin / command[0], *command[1:], "--help")
    return {name: short for short, name in re.findall(r"^  (?:(-\w+), )?(--[\w-]+)", page, re.M)}


def page_of(command):
    return share / "man/man1" / f"{'-'.join(command)}.1"


# Every page is there, and no other; every option is on it.
assert sorted((share / "man/man1").iterdir()) == sorted(map(page_of, commands))
for command in commands:
    page = page_of(command).read_text().replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\fI", "")
    titles = re.findall(r"^\.TP\n(.*)", page, re.M)
    found = {name: short for title in titles for short, name in re.findall(r"^(?:(-\w+), )?(--[\w-]+)", title)}
    if command != ("kveval",):
        assert found == options(command), (command, found, options(command))
    assert f"\n{'-'.join(command)} \\" in page_of(command).read_text().replace("\\-", "-").replace("- ", "\\ "), command
    assert "--level" not in page and "--print-" not in page, command
assert all(f"\n\\fB{s}\\fR\n" in page_of((t,)).read_text() for t in SUBS for s in SUBS[t])
assert all(f"{t}\\-{s} (1)" in page_of((t,)).read_text() for t in SUBS for s in SUBS[t])

checks = {"mandoc": (None, ["-T", "lint", "-W", "warning"]), "man": ("groff", ["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])}
for program, (needs, words) in checks.items():
    for command in commands if there(program, needs) else []:
        run = subprocess.run([program, *words, page_of(command)], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
        assert not run.returncode and not run.stderr, (command, run.stderr)
        assert program == "man" or not run.stdout, run.stdout

# ---- completions ----


def bash(*words):
    """What bash offers for the last of these words."""
    script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); f=$(complete -p "${1##*/}"); f=${f##*-F }; '
              '"${f%% *}" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"; printf "%s\\n" "${COMPREPLY[@]}"')
    file = share / "bash-completion/completions" / words[0]
    run = subprocess.run(["bash", "-uc", script, "bash", file, bin / words[0], *words[1:]], capture_output=True, text=True)
    assert not run.returncode and not run.stderr, (words, run.stderr)
    return run.stdout.split()


CODECS = re.search(r"--cache-type-k TYPE\s+([\w\s,]+):", say(bin / "kvrun", "--help"))[1].replace("\n", " ").split()
CODECS = [c.strip(",") for c in CODECS]
assert "q4_0" in CODECS and "tc" in CODECS
for command in commands:
    known = options(command)
    if command == ("kveval",):
        assert bash("kveval", "") == subs + ["--help", "-h", "--version"], bash("kveval", "")
        continue
    offered = bash(*command, "-")
    assert sorted(offered) == sorted([*known, *filter(None, known.values())]), (command, offered)
    if "--cache-type-k" in known:
        assert bash(*command, "-ctk", "") == bash(*command, "--cache-type-v", "") == bash(*command, "-ctv", "=", "") == CODECS
        assert bash(*command, "-ctk", "=") == CODECS and bash(*command, "-ctk", "=", "q8") == ["q8_0", "q8_0h"]
        assert bash(*command, "--evict", "s") == ["streaming", "snapkv"]
        assert "--equal-budgets" in offered and "--level" not in offered
    if "--cpu" in known:
        assert bash(*command, "--cpu", "a")[:2] == ["auto", "avx2"]
    if "--ctx" in known:
        assert bash(*command, "--ctx", "") == []
    for option in {"--profile", "--preset"} & set(known):
        assert bash(*command, option, "quite") == ["quite-mine"], command
assert bash("kveval", "kl") == ["kld"] and bash("kveval", "niah", "--question", "") == ["unknown", "known", "both"]
pathlib.Path("my-model.gguf").touch()
pathlib.Path("models").mkdir()
pathlib.Path("models/fetched-one.gguf").touch()
assert set(bash("kvrun", "")) > {*SUBS["kvrun"], "my-model.gguf"} and bash("kvrun", "my") == ["my-model.gguf"], bash("kvrun", "")
assert bash("kvrun", "fet") == bash("kvrun", "-m", "fet") == bash("kvcalib", "fet") == bash("kveval", "ppl", "fet") == ["fetched-one"], bash("kvrun", "fet")
assert bash("kvrun", "text", "--as", "te") == ["text"] and bash("kvrun", "./text", "--as", "te") == [] == bash("kvrun", "m.gguf", "te")
assert bash("kvcalib", "--budget-by", "l") == ["loss"] and "quite-mine" in bash("kvpack", "m.gguf", "")

if there("zsh"):
    for tool in TOOLS:
        say("zsh", "-n", share / "zsh/site-functions" / f"_{tool}")
if there("fish"):
    def fish(line):
        file = share / "fish/vendor_completions.d" / f"{line.split()[0]}.fish"
        return [l.split("\t")[0] for l in say("fish", "--no-config", "-c", f"source '{file}'; complete -C '{line}'").splitlines()]

    for tool in TOOLS:
        say("fish", "-n", share / "fish/vendor_completions.d" / f"{tool}.fish")
    assert fish("kvrun -ctk ") == sorted(CODECS) and "--equal-budgets" in fish("kveval ppl --e"), fish("kvrun -ctk ")
    assert set(subs) <= set(fish("kveval ")) and "quite-mine" in fish("kvpack m.gguf qui")
    assert set(options(("kvrun",))) <= set(fish("kvrun --")), fish("kvrun --")
    assert {*SUBS["kvrun"], "my-model.gguf", "fetched-one"} <= set(fish("kvrun ")) and fish("kvrun text --as te") == ["text"], fish("kvrun ")
    assert "--as" not in fish("kvrun m.gguf --") and "--ctx" not in fish("kvrun text --"), fish("kvrun text --")
P
echo "all passed"
