"""The checks of inputs.sh, which runs this in a folder of its own with the tiny models in it."""
import json
import os
import pathlib
import re
import subprocess
import sys

BIN = pathlib.Path(sys.argv[1])


def run(tool, *args, stdin=b""):
    """tool: "kveval qa". Output as bytes."""
    return subprocess.run([BIN / tool.split()[0], *tool.split()[1:], *args], capture_output=True, input=stdin, timeout=300)


def good(tool, *args, **more):
    r = run(tool, *args, **more)
    assert r.returncode == 0, (tool, args, r.returncode, r.stderr)
    return r


def bad(code, said, tool, *args, **more):
    """The exit code, and all of `said` on stderr; no progress before. Returns what was on stderr."""
    r = run(tool, *args, **more)
    err = r.stderr.decode()
    said = [said] if isinstance(said, str) else said
    assert r.returncode == code and all(s in err for s in said), (tool, args, r.returncode, said, err)
    assert " left" not in err, (tool, args, "was under way before", err)
    return err


def write(name, data):
    pathlib.Path(name).write_bytes(data)
    return name


MODEL = "qwen2.gguf"


def prose(n):
    return "".join(f"Line {i}: {i * 37 % 101} boats passed under {i * 13 % 7} bridges.\n" for i in range(n)).encode()


# ---- texts ----

def answer(*args, **more):
    """What the model says, and how many tokens it was given."""
    r = good("kvrun", MODEL, "--raw", "-n", "8", "--temp", "0", "-t", "1", "-v", *args, **more)
    return r.stdout, re.search(rb"prefill: (\d+) tokens", r.stderr)[1]


def prompts():
    plain = answer("-p", "Hello there")
    assert answer("-p", "Hello you") != plain
    for name, data in {"lf": b"Hello there\n", "mark": b"\xef\xbb\xbfHello there", "crlf": b"Hello there\r\n"}.items():
        assert answer("-f", write(name, data)) == plain, name
    assert answer("-f", write("lf2", b"Hello there\n\n")) == answer("-p", "Hello there\\n") != plain  # one newline only
    assert answer("-p", "\ufeffHello there") == plain
    two = answer("-f", write("two", b"one\ntwo\tthree \\ \""))
    assert answer("-p", 'one\\ntwo\\tthree \\\\ \\"') == answer("-e", "-p", "one\\ntwo\\tthree \\x5c \\x22") == two
    assert answer("-p", "one\ntwo\tthree \\ \"") == two  # a backslash that means nothing stays
    literal = answer("--no-escape", "-p", "one\\ntwo")
    assert literal == answer("-f", write("literal", b"one\\ntwo")) == answer(stdin=b"one\\ntwo\n") != answer("-p", "one\\ntwo")
    assert answer(stdin=b"\xef\xbb\xbfHello there\r\n") == plain
    bad(2, "--escape and --no-escape", "kvrun", MODEL, "--escape", "--no-escape", "-p", "x")
    bad(2, "--prompt: \\x00", "kvrun", MODEL, "-p", "a\\x00")
    bad(2, "--system: \\x00", "kvrun", MODEL, "-p", "a", "--system", "\\x00")
    bad(1, "stdin, line 2: a NUL byte at offset 3", "kvrun", MODEL, "--raw", "-n", "1", stdin=b"one\ntwo\0three\n")
    bad(1, "stdin, line 1: is UTF-16", "kvrun", MODEL, stdin="one\n".encode("utf-16"))


# Of every tool that reads texts: what it is called with, the texts being files that the words name.
QA = b"Who keeps the gate?\tOdo|Otto\n"
SETTINGS = b"f16: -ctk f16 -ctv f16\n# none\n\nq8: -ctk q8_0\n"
PROFILE = b"version: 2\npolicy: {sinks: 4, window: 0, k: f16, v: q8_0}\naim: {bits: 3.25}\n"
FILES = {"text": prose(300), "filler": b"A paragraph of a text that tells of nothing, at some length.\n\n" * 20,
         "document": b"The keeper of the gate is Odo. He has a dog.\n", "questions": QA, "settings": SETTINGS, "p.yaml": PROFILE,
         "ids.json": b'{"chunks": [{"tokens": [1, 2, 3]}]}', "texts.json": b'["one", "two"]'}
READERS = {
    "kvrun": f"{MODEL} -f text --profile p.yaml -c 32768 -n 2 --temp 0 -t 1",
    "kvcalib": f"{MODEL} --text text text --preset p.yaml --out out.yaml --ctx 64 --window 16 --chunks 2 -q -t 1",
    "kvpack": f"{MODEL} p.yaml --dry-run",
    "kveval ppl": f"{MODEL} --text text --profile p.yaml --ctx 64 --chunks 2 --json -t 1",
    "kveval sweep": f"{MODEL} --text text --settings settings --profile p.yaml --ctx 64 --chunks 1 -q -t 1",
    "kveval qa": f"{MODEL} document questions --settings settings --json -q -t 1",
    "kveval facts": f"{MODEL} --text filler --docs 1 --tokens 3000 -q -t 1 --print 1",
    "kveval tokens": f"{MODEL} --in texts.json",
    "kveval logprobs": f"{MODEL} --in ids.json -t 1",
}


def readers():
    for name, data in FILES.items():
        write(name, data)
    for tool, words in READERS.items():
        words = words.split()
        result = timeless(good(tool, *words).stdout)
        for name in sorted(set(words) & FILES.keys()):
            try:
                write(name, FILES[name].decode().encode("utf-16"))
                bad(1, f"{name}: is UTF-16", tool, *words)
                at = len(FILES[name]) - 2
                write(name, FILES[name][:at] + b"\0" + FILES[name][at:])
                bad(1, f"{name}: a NUL byte at offset {at}", tool, *words)
                write(name, b"\xef\xbb\xbf" + FILES[name].replace(b"\n", b"\r\n"))
                assert timeless(good(tool, *words).stdout) == result, (tool, name)
            finally:
                write(name, FILES[name])


def timeless(out):
    """Without what is another figure every time."""
    out = re.sub(rb'("(seconds|date)": )[^,\n]*', rb"\1", out)
    return re.sub(rb"(written in|chunks: \d+\), ) *[\d.]+ s", rb"\1", out)


# ---- special tokens in texts ----

CHAT = {"text": "".join(f"<|im_start|>user\nHow many boats passed on day {i}?<|im_end|>\n<|im_start|>assistant\n{i * 37 % 101}<|im_end|>\n"
                        for i in range(200)).encode(),
        "filler": b"<|im_start|>A paragraph of a text that tells of nothing, at some length.<|im_end|>\n\n" * 20,
        "document": b"<|im_start|>user\nThe keeper of the gate is Odo. He has a dog.<|im_end|>\n"}


def special_tokens():
    for name, data in {**FILES, **CHAT}.items():
        write(name, data)
    ids = lambda *args: json.loads(good("kveval tokens", MODEL, "--in", "-", *args, stdin=b'["<|im_start|>a"]').stdout)[0]
    assert ids("--parse-special")[0] == 287 and len(ids("--parse-special")) == 2 < len(ids()), ids()
    for tool, words in {**READERS, "kveval kld": READERS["kveval ppl"]}.items():
        words = words.split()
        for name in CHAT.keys() & set(words):
            if tool == "kvrun":
                continue
            plain, parsed = good(tool, *words), good(tool, *words, "--parse-special")
            assert f"{name} holds " in plain.stderr.decode() and "like <|im_start|>" in plain.stderr.decode(), (tool, plain.stderr)
            assert b"--parse-special" in plain.stderr and b"--parse-special" not in parsed.stderr, (tool, parsed.stderr)
            assert timeless(plain.stdout) != timeless(parsed.stdout), (tool, "reads the same tokens")
            write(name, FILES[name])
            assert b"--parse-special" not in good(tool, *words).stderr, (tool, "takes prose for a chat")
            write(name, CHAT[name])


for check in (prompts, readers, special_tokens):
    check()
print("all passed")
