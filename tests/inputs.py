"""The checks of inputs.sh, which runs this in a folder of its own with the tiny models in it."""
import json
import os
import pty
import pathlib
import re
import struct
import subprocess
import sys

from terminal import said_on

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


# ---- errors come before the work ----

def on_terminal(tool, *args, stream="stderr"):
    """With one stream on a terminal (a progress bar shows on stderr as soon as work begins): exit code, the other one, and what is
    on the terminal."""
    ours, its = pty.openpty()
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: its}
    p = subprocess.Popen([BIN / tool.split()[0], *tool.split()[1:], *args], stdin=subprocess.DEVNULL, env={**os.environ, "NO_COLOR": "1"}, **streams)
    said = said_on(ours, its, p)
    return p.returncode, (p.stdout or p.stderr).read(), said.decode()


CALIBRATE = f"kvcalib {MODEL} --out new.yaml --ctx 128 --window 16 --chunks 24 --text text -t 1"
QA_LONG = f"kveval qa {MODEL} long questions -t 1"
SPEED = f"kveval speed {MODEL} --prefill 64 --decode 64 --reps 2 -t 1"
TELL = 'f16: -ctk f16 -ctv f16', 'little: --budget 10'
# What a command that works needs more of to fail, and what it says then.
LATE = [
    (CALIBRATE, [
        ("--frame 100", 2, "--frame 100: only multiples of 64"),
        ("--evict h2o", 2, "--evict h2o needs a budget"),
        ("--budget 3%", 2, "a budget of 4 tokens is too small"),
        ("--fit-ctx 4096 --fit-mem 1K", 1, "4096 tokens do not fit into 1.0 KiB"),
        ("--sinks 64", 2, "64 sinks leave too little"),
        ("--chunks 100000", 1, "not the 100000 that were asked for"),
        ("--ctx 1024", 2, "longer than the 512"),
        ("--report none/r.html", 1, "none/r.html: cannot create"),
        ("--out none/p.yaml", 1, "none/p.yaml: cannot create"),
        ("--text text none.txt", 1, "--text none.txt: cannot open"),
        ("--preset none.yaml", 1, "none.yaml: cannot open"),
    ]),
    (f"kveval ppl {MODEL} --text text --ctx 256 --chunks 4 -t 1", [
        ("--profile nosuch", 2, "'nosuch' is neither a file nor a shipped profile"),
        ("--profile broken.yaml", 1, "broken.yaml"),
        ("--budget 3%", 2, "a budget of 8 tokens is too small"),
        ("--evict h2o", 2, "--evict h2o needs a budget"),
        ("-ctk tc", 2, "codec 'tc' needs a calibrated profile"),
        ("--baseline tc", 2, "codec 'tc' needs a calibrated profile"),
        ("--ctx 10000000", 1, "fewer than one chunk of 10000000"),
    ]),
    (f"kveval sweep {MODEL} --text text --ctx 256 --chunks 2 -t 1", [
        (["--setting", *TELL], 2, "setting 'little': cache: a budget of 10 tokens is too small"),
        (["--setting", TELL[0], "p: --profile broken.yaml"], 1, "broken.yaml"),
        ("--html none/r.html", 1, "none/r.html: cannot create"),
        ("--decode 200", 2, "200 tokens to time are more than"),
    ]),
    (QA_LONG, [
        (["--setting", *TELL], 2, "setting 'little': cache: a budget of 10 tokens is too small"),
        (["--setting", TELL[0], "p: --profile none.yaml"], 1, "none.yaml: cannot open"),
        ("--csv none/r.csv", 1, "none/r.csv: cannot create"),
    ]),
    (f"kveval facts {MODEL} --docs 2 --tokens 2000 -t 1", [
        (["--setting", *TELL], 2, "setting 'little': cache: a budget of 10 tokens is too small"),
        ("--text none.txt", 1, "none.txt: cannot open"),
    ]),
    (f"kveval niah {MODEL} --ctx 1536 --depths 50 --repeats 1 -t 1", [
        (["--setting", *TELL], 2, "setting 'little': cache: a budget of 10 tokens is too small"),
        ("--settings none.txt", 1, "none.txt: cannot open"),
    ]),
    (SPEED, [
        ("--depth 4096,16 --budget 10%", 2, "--depth 16: cache: a budget of 8 tokens is too small"),
        ("--depth 0 -ctk tc", 2, "codec 'tc' needs a calibrated profile"),
    ]),
]


def late():
    for name, data in FILES.items():
        write(name, data)
    write("text", prose(600))
    write("long", prose(100))
    write("broken.yaml", b"version: 2\npolicy: {window: many}\n")
    for words, cases in LATE:
        words = words.replace("kveval ", "kveval:").split()
        tool, args = words[0].replace(":", " "), words[1:]
        code, out, err = on_terminal(tool, *args)
        assert code == 0 and ("[" in err or tool == "kveval speed" and out), (tool, "does not show that it works", code, err[-500:])
        for more, want, said in cases:
            code, out, err = on_terminal(tool, *args, *(more if isinstance(more, list) else more.split()))
            sentence = " ".join(err.split())  # lines break where the terminal ends
            assert code == want and said in sentence and "[" not in err and not out, (tool, more, code, out, err[-500:])
        pathlib.Path("new.yaml").unlink(missing_ok=True)


# ---- what is to be continued has no end ----

def no_end():
    model = pathlib.Path(MODEL).read_bytes()
    key = b"tokenizer.ggml.add_bos_token" + (7).to_bytes(4, "little")
    assert model.count(key + b"\0") == 1
    write("eos.gguf", model.replace(key + b"\0", key.replace(b"bos", b"eos") + b"\1"))
    ids = lambda m: json.loads(good("kveval tokens", m, "--in", "-", "--special", stdin=b'["one two"]').stdout)[0]
    assert ids("eos.gguf") == ids(MODEL) + [288], ids("eos.gguf")
    for name, data in FILES.items():
        write(name, data)
    for words in ("-p one", "--raw -p one", "-f text -c 32768", "--system brief -p one"):
        said = [good("kvrun", m, *words.split(), "-n", "8", "--temp", "0", "-t", "1", "-v") for m in (MODEL, "eos.gguf")]
        given = [re.search(rb"prefill: (\d+) tokens", r.stderr)[1] for r in said]
        assert said[0].stdout == said[1].stdout and given[0] == given[1], (words, said)
    said = [json.loads(good(*words, "--json", "-q", "-t", "1").stdout)["settings"]
            for m in (MODEL, "eos.gguf") for words in [("kveval qa", m, "document", "questions")]]
    assert said[0][0]["answers"] == said[1][0]["answers"], said


# ---- what reaches a terminal ----

def terminal():
    """Names of all kinds that would move the cursor, in every place where a tool shows them."""
    for name, data in FILES.items():
        write(name, data)
    model = pathlib.Path(MODEL).read_bytes()
    esc = b"\x1b[1m\xc2\x9b2J!!"
    assert len(esc) == len(b"tiny qwen2") and model.count(b"tiny qwen2") == 1
    arch = b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0qwen2"
    assert model.count(arch) == 1
    write("esc.gguf", model.replace(b"tiny qwen2", esc))
    write("arch.gguf", model.replace(arch, arch[:-5] + b"\x1b[2m!"))
    write("lit.yaml", PROFILE.replace(b"version: 2\n", b'version: 2\nmodel: {name: "\\e[2J\\u009b!", arch: "\\e[1m"}\n'))
    write("bad.yaml", b'version: 2\npolicy: {sinks: "\\e[2J"}\n')
    odd = os.fsdecode(b"\x1b[7m\xff.gguf")
    os.link(MODEL, odd)
    runs = [
        (0, "kvrun", "esc.gguf", "-p", "one", "-n", "0", "-v", "-t", "1"),
        (0, "kvcalib", "esc.gguf", *READERS["kvcalib"].split()[1:]),
        (0, "kvpack", "esc.gguf", "out.yaml", "--out", "esc-packed.gguf"),
        (0, "kvpack", "--show", "esc-packed.gguf"),
        (1, "kvpack", "--show", "lit.yaml"),
        (0, "kveval sweep", "esc.gguf", "--text", "text", "--ctx", "64", "--chunks", "1", "-q", "-t", "1"),
        (2, "kveval sweep", "esc.gguf", "--text", "text", "--setting", "q8 \x1b[5m: -ctk q8_0"),
        (0, "kveval qa", "esc.gguf", "document", "questions", "-q", "-t", "1"),
        (0, "kveval niah", "esc.gguf", "--ctx", "1536", "--depths", "50", "--repeats", "1", "-q", "-t", "1"),
        (1, "kvrun", "arch.gguf", "-p", "one"),
        (1, "kvpack", "--show", "bad.yaml"),
        (1, "kvrun", "no-" + odd, "-p", "one"),
        (2, "kvrun", MODEL, "--\x1b[2J"),
        (2, "kvrun", MODEL, "-c", "\x1b[2J"),
        (0, "kvpack", odd, "balanced", "--dry-run"),
        (0, "kveval ppl", odd, "--text", "text", "--ctx", "64", "--chunks", "1", "-t", "1"),
    ]
    escaped = 0
    for code, tool, *args in runs:
        r = run(tool, *args)
        said = r.stdout + r.stderr
        said.decode()  # UTF-8 it is
        assert r.returncode == code and b"\x1b" not in said and b"\xc2\x9b" not in said, (tool, args, r)
        escaped += b"\\x1b" in said
    assert escaped >= 7, escaped
    args = "kveval qa", "esc.gguf", "document", "questions", "-q", "-t", "1", "--json"
    code, _, said = on_terminal(*args, stream="stdout")
    assert code == 0 and "\x1b" not in said and "\x9b" not in said, said
    assert json.loads(said)["model"]["name"] == json.loads(good(*args).stdout)["model"]["name"] == "\x1b[1m\x9b2J!!"
    pathlib.Path(odd).unlink()


# ---- messages ----

def messages():
    for name, data in FILES.items():
        write(name, data)
    long = write("long", b"word " * 2000)
    err = bad(1, ["of 256 tokens is full", "trained for 512; give it less text"], "kvrun", MODEL, "--raw", "-f", long, "-c", "256")
    assert "--context-shift" not in err, err
    bad(1, "trained for 512; give it less text; what is asked now may not be dropped",
        "kvrun", MODEL, "--raw", "-f", long, "-c", "256", "--context-shift")
    bad(2, "--endless forgets in place; choose one", "kvrun", MODEL, "--endless", "--context-shift")
    bad(2, "a context of 256 would do", "kvrun", MODEL, "-c", "64", "--endless")
    said = good("kvrun", MODEL, "--raw", "-f", long, "-c", "256", "--endless", "-n", "4").stderr.decode()
    assert "the context of 256 tokens is full: the oldest " in said and "by 64 at a time" in said, said
    # Names that are no UTF-8 are written as well as JSON can.
    odd = [os.fsdecode(b"m\xff.gguf"), os.fsdecode(b"p\xff.yaml"), os.fsdecode(b"t\xff.txt")]
    os.link(MODEL, odd[0])
    write(odd[2], FILES["text"])
    r = json.loads(good("kvcalib", odd[0], "--out", odd[1], "--text", odd[2], "--preset", "p.yaml", "--ctx", "64", "--window", "16",
                        "--chunks", "2", "-q", "--json", "-t", "1").stdout)
    assert r["out"] == "p\ufffd.yaml" and "t" in r["measured"][0]["text"], r
    assert json.loads(good("kvpack", "--show", odd[1], odd[0], "--json").stdout)["file"] == "p\ufffd.yaml"
    r = json.loads(good("kveval qa", odd[0], "document", "questions", "--profile", odd[1], "-q", "--json", "-t", "1").stdout)
    assert r["model"]["path"] == "m\ufffd.gguf", r
    for name in odd:
        os.unlink(name)


# ---- options of others, and outputs of every name ----

def foreign():
    for tool, option, said in [
        ("kvrun", "--lora x", "--lora of llama.cpp cannot be had here: adapters have"), ("kvrun", "--sampler-seq x", "here it is called --samplers"),
        ("kvrun read", "-ngl 99", "leave it out: everything runs on the processor"), ("kvrun read", "-fa on", "leave it out: attention never"),
        ("kvrun", "-ctk bf16", "the nearest one is f16"), ("kvrun", "-ctv iq4_xs", "the nearest one is iq4_nlh"),
        ("kveval ppl", "--ctx-size 99", "here it is called --ctx"), ("kveval ppl", "-ngl 9", "everything runs on the processor"),
        ("kveval speed", "-p 512", "here it is called --prefill"), ("kveval speed", "-r 3", "here it is called --reps"),
        ("kvcalib", "--file x", "here it is called --text"), ("kvcalib", f"-m {MODEL}", "the model is the first argument"),
    ]:
        bad(2, said, tool, MODEL, *option.split())
    for name, data in FILES.items():
        write(name, data)
    for tool in ("kvcalib", "kvpack", *(f"kveval {c}" for c in ("sweep", "niah", "qa", "facts"))):
        page = run(tool, "--help").stdout.decode()
        for option in re.findall(r"(--[\w-]+) FILE ", page):
            if option in ("--out", "--report", "--csv", "--html", "--svg"):
                bad(2, f"{option}: '-' does not stand for standard output", tool, MODEL, option, "-")
    assert not pathlib.Path("-").exists()
    args = READERS["kveval sweep"].split()
    assert len(json.loads(good("kveval sweep", *args, "--json").stdout)["settings"]) == 2
    assert good("kveval sweep", *args, "--json", "s.json").stdout.startswith(b"setting")
    name = "n" * 245 + ".yaml"
    good("kvcalib", *[name if a == "out.yaml" else a for a in READERS["kvcalib"].split()])
    good("kvpack", MODEL, name, "--out", "g" * 255)


# ---- models without a chat format that is known ----

def with_key(model, key, kind, value):
    """The file with one more key in front: as many bytes more as keep what follows aligned. value: of a string, or the bytes of another kind."""
    head = struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind)
    if kind == 8:
        value += " " * (-(len(head) + 8 + len(value)) % 32)
        value = struct.pack("<Q", len(value)) + value.encode()
    more = head + value
    pad = -len(more) % 32
    n = struct.unpack_from("<Q", model, 16)[0]
    if pad:  # a key that nobody reads
        pad += 32 if pad < 22 else 0
        more += struct.pack("<Q", pad - 13) + b"x" * (pad - 13) + struct.pack("<IB", 7, 1)
        n += 1
    return model[:16] + struct.pack("<Q", n + 1) + more + model[24:]


def plain_text():
    for name, data in FILES.items():
        write(name, data)
    model = pathlib.Path(MODEL).read_bytes()
    write("unknown.gguf", with_key(model, "tokenizer.chat_template", 8, "{% for m in messages %}### {{ m.role }}: {{ m.content }}"))
    write("base.gguf", model.replace(b"<|im_start|>", b"<|no_start|>"))
    args = "-p", "one", "-n", "4", "--temp", "0", "-t", "1"
    for name, said in (("unknown.gguf", b"chat template cannot be used (chat template, line 1: a statement of line 1 does not end: 'endfor' is missing)"), ("base.gguf", b"has no chat template")):
        r = good("kvrun", name, *args)
        assert said in r.stderr and b"plain text" in r.stderr, r
        assert r.stdout == good("kvrun", MODEL, "--raw", *args).stdout, r
        assert said in good("kvrun", name, *args[2:], stdin=b"one\n").stderr
        assert said not in good("kvrun", name, "--raw", *args).stderr
        assert said in good("kveval qa", name, "document", "questions", "-q", "-t", "1").stderr
    assert b"plain text" not in good("kvrun", MODEL, *args).stderr
    # A template of one's own, a format by name, and what is neither.
    write("own.jinja", b"{{ messages[-1].content }}")
    own = good("kvrun", MODEL, *args, "--chat-template", "own.jinja").stdout
    assert own == good("kvrun", MODEL, "--raw", *args).stdout == good("kvrun", "unknown.gguf", *args, "--chat-template", "own.jinja").stdout
    assert good("kvrun", MODEL, *args, "--chat-template", "chatml").stdout == good("kvrun", MODEL, *args).stdout
    bad(1, "no chat format and no file that can be read is called 'chatlm'", "kvrun", MODEL, *args, "--chat-template", "chatlm")
    write("own.jinja", b"\n{{ x")
    bad(1, "--chat-template: own.jinja: chat template, line 2", "kvrun", MODEL, *args, "--chat-template", "own.jinja")
    write("own.jinja", b"{{ raise_exception('no ' + messages[0].content) }}")
    bad(2, "the template refuses: no one", "kvrun", MODEL, *args, "--chat-template", "own.jinja")
    # What the model says first becomes what ends a turn: an answer that is empty.
    ids = json.loads(good("kveval tokens", MODEL, "--in", "-", stdin=b'["one"]').stdout)[0]
    best = json.loads(good("kveval logprobs", MODEL, "--in", "-", "--top", "1", "--fast", "-t", "1",
                           stdin=json.dumps({"chunks": [{"tokens": ids}]}).encode()).stdout)[0][-1][0][0]
    write("mute.gguf", with_key(model, "tokenizer.ggml.eot_token_id", 4, struct.pack("<I", best)))
    for r in (good("kvrun", "mute.gguf", "--raw", *args), good("kvrun", "mute.gguf", "--raw", *args[2:], stdin=b"one\n")):
        assert r.stdout == b"" and b"the answer is empty: the model ended it at once" in r.stderr, r
    assert b"is empty" not in good("kvrun", MODEL, "--raw", *args).stderr
    assert b"is empty" not in good("kvrun", "mute.gguf", "--raw", "-p", "one", "-n", "0").stderr


# ---- how tokens are chosen ----

def chat(args, typed):
    """A chat at a terminal that types these lines, with answers in a pipe: exit code, what was answered, what was on stderr."""
    main, side = pty.openpty()
    p = subprocess.Popen([BIN / "kvrun", *args], stdin=side, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.close(side)
    os.write(main, typed)
    out, err = p.communicate(timeout=300)
    os.close(main)
    return p.returncode, out, err


def best_token(model):
    """The id that follows "one", and all that the model can say."""
    ids = json.loads(good("kveval tokens", model, "--in", "-", stdin=b'["one"]').stdout)[0]
    return json.loads(good("kveval logprobs", model, "--in", "-", "--top", "1", "--fast", "-t", "1",
                           stdin=json.dumps({"chunks": [{"tokens": ids}]}).encode()).stdout)[0][-1][0][0]


def sampling():
    def says(*args, model=MODEL, temp="0", n="24"):
        return good("kvrun", model, "--raw", "-p", "one", "-n", n, "--temp", temp, "-t", "1", *args).stdout

    plain, hot = says(), says("-s", "3", temp="2")
    assert plain != hot == says("-s", "3", temp="2") != says("-s", "4", temp="2")
    # What is off, and what cannot drop the best token.
    for words in ("--repeat-penalty 1 --presence-penalty 0", "--repeat-penalty 3 --repeat-last-n 0", "--dry-multiplier 0 --dry-base 3",
                  "--dry-multiplier 2 --dry-penalty-last-n 0", "--xtc-probability 0", "--xtc-probability 1 --xtc-threshold 0.6",
                  "--typical 1", "--top-nsigma -1", "--mirostat 0", "--dynatemp-range 0", "--top-k 3 --top-p 0.2 --min-p 0.9",
                  "--top-nsigma 0.5", "--mirostat 2"):
        assert says(*words.split()) == plain, words
    # What changes logits does so at temperature 0, too: a penalty that is as good as a ban leaves nothing twice.
    best = best_token(MODEL)
    banned = says("--logit-bias", f"{best}-inf", n="1")
    assert banned and banned != says(n="1") == says("-l", f"{best}+3.5", "--logit-bias", "5-1e3", n="1")
    always = says("-l", "70+inf", n="1")
    assert says("-l", "70+inf", n="5") == always.strip(b"\n") * 5 + b"\n", always
    assert says("-l", "70+60", "--presence-penalty", "99", "--repeat-last-n", "-1").count(always.strip(b"\n")) <= 2
    for words in ("--repeat-penalty 4", "--presence-penalty 60", "--frequency-penalty 60", "--typical 0.2",
                  "--xtc-probability 1 --xtc-threshold 0.0001"):
        assert says("-l", "70+6", *words.split()) != says("-l", "70+6"), words
    five = [says("-l", "70+60", "--dry-multiplier", "99", *w.split(), n="9").count(always.strip(b"\n"))
            for w in ("--dry-allowed-length 1", "--dry-allowed-length 4", "--dry-allowed-length 4 --dry-penalty-last-n 4")]
    assert five[0] < five[1] < five[2] == 9, five
    # Each does something where chance decides.
    for words in ("--dynatemp-range 1.5", "--dynatemp-range 1.5 --dynatemp-exp 0.2", "--mirostat 1 --mirostat-ent 2",
                  "--mirostat 2 --mirostat-ent 2 --mirostat-lr 0.3", "--top-nsigma 0.7", "--samplers top_k;top_p", "--typical 0.3"):
        assert says("-s", "3", *words.split(), temp="2") != hot, words
    some = says("-s", "3", "--samplers", "top_k;temperature", temp="2")
    assert some == says("-s", "3", "--samplers", "top-k;temp", "--typical", "0.3", "--dry-multiplier", "9", temp="2")
    assert says("-s", "3", "--samplers", "top_k", temp="2") == says("-s", "3", "--samplers", "top_k", temp="0.1") != some
    # A list takes one value each time, so that the model may follow.
    args = "--raw", "-p", "one", "-n", "24", "--temp", "0", "-t", "1"
    lists = "--dry-multiplier", "3", "--dry-sequence-breaker", "\\n", "--dry-sequence-breaker", "none", "-l", "70+60"
    assert good("kvrun", *lists, MODEL, *args).stdout == says(*lists)
    # A model whose best token ends the answer.
    model = pathlib.Path(MODEL).read_bytes()
    write("mute.gguf", with_key(model, "tokenizer.ggml.eot_token_id", 4, struct.pack("<I", best)))
    assert not says(model="mute.gguf") and says("--ignore-eos", model="mute.gguf") == says("-l", f"{best}-inf", "--ignore-eos")
    # Going back: what was taken back was never said.
    said = good("kvrun", MODEL, "-n", "12", "--temp", "0", "-t", "1", "--repeat-penalty", "3", "--repeat-last-n", "-1",
                stdin=b"one\n").stdout
    code, out, _ = chat([MODEL, "-n", "12", "--temp", "0", "-t", "1", "--repeat-penalty", "3", "--repeat-last-n", "-1"],
                        b"two\n/undo\none\n/retry\n/exit\n")
    assert code == 0 and out.count(said) == 2, (said, out)
    bad(2, "'x' is not the number of a token", "kvrun ask", MODEL, "none.txt", "what?", "-l", "x")
    for option, value, said in [
        ("--logit-bias", "x", "'x' is not the number of a token, a sign and by how much, such as 15043+1"), ("--logit-bias", "5", "--logit-bias: '5'"),
        ("--logit-bias", "5+", "--logit-bias: '5+'"), ("--logit-bias", "5+nan", "--logit-bias: '5+nan'"), ("--logit-bias", "5+-1", "--logit-bias"),
        ("--samplers", "top_k;nothing", "there is no sampler 'nothing'; an order is some of penalties;dry"), ("--samplers", "top_k;top-k", "twice"),
        ("--dry-sequence-breaker", "", "breaker 1 is empty"), ("--dry-sequence-breaker", "x" * 41, "breaker 1 is too long"),
        ("--dry-sequence-breaker", "a\\x00", "--dry-sequence-breaker: \\x00"), ("--dry-base", "0.9", "'0.9' is not a number in 1..100"),
        ("--xtc-probability", "2", "not a number in 0..1"), ("--typical", "nan", "not a number in 0..1"), ("--repeat-last-n", "-2", "not a whole number"),
        ("--mirostat", "3", "not a whole number in 0..2"), ("--repeat-penalty", "-1", "not a number"), ("--dry-allowed-length", "-1", "not a whole"),
    ]:
        bad(2, said, "kvrun", MODEL, "-p", "one", option, value)
    bad(1, "logit bias: token 99999 is outside the vocabulary of ", "kvrun", MODEL, "-p", "one", "-l", "99999+1")
    write("document", FILES["document"])
    ask = lambda *args: good("kvrun ask", MODEL, "document", "Who?", "-n", "12", "-q", "-t", "1", *args).stdout
    assert ask() == ask("--top-k", "0") != ask("--presence-penalty", "60") and ask("--temp", "3") == ask("--temp", "3", "-s", "0")


# ---- a profile with another window than its own ----

def windows():
    for name, data in FILES.items():
        write(name, data)
    good("kvcalib", *READERS["kvcalib"].split())
    good("kvpack", MODEL, "out.yaml", "--out", "packed.gguf")
    said = "(profile made for window 16)"
    rows = good("kveval sweep", "packed.gguf", "--text", "text", "--ctx", "64", "--chunks", "1", "-q", "-t", "1").stdout.decode().split("\n")
    assert rows[1].startswith("profile  ") and said not in rows[1], rows
    assert [r for r in rows if said in r] == [r for r in rows if r.startswith("profile, window 0 ")] != [], rows
    for tool, *args in (("kveval qa", "document", "questions"), ("kveval niah", "--ctx", "1536", "--depths", "50", "--repeats", "1")):
        for narrow in (["--window", "8"], []):
            r = good(tool, "packed.gguf", *args, *narrow, "-q", "-t", "1", "--html", "page.html").stdout.decode()
            assert (said in r) == bool(narrow) == ("8 (made for 16), 4" in pathlib.Path("page.html").read_text()), r
            r = json.loads(good(tool, "packed.gguf", *args, *narrow, "-q", "-t", "1", "--json").stdout)["settings"][0]
            assert r["made_for_window"] == (16 if narrow else None), r
    for narrow in (["--window", "8"], [], ["--window", "8", "-ctk", "f16", "-ctv", "f16"], ["--window", "32"]):
        r = good("kveval facts", "packed.gguf", "--docs", "1", "--tokens", "2000", *narrow, "-q", "-t", "1").stdout.decode()
        assert (said in r) == (narrow == ["--window", "8"]), r
        r = good("kveval ppl", "packed.gguf", "--text", "text", "--ctx", "64", "--chunks", "1", "-t", "1", *narrow[:2]).stdout.decode()
        assert ("the profile was made for 16" in r) == (narrow[:2] == ["--window", "8"]), r


def several_windows():
    """A profile for several windows: measured with each, and no narrow one is one that it was not made for."""
    for name, data in FILES.items():
        write(name, data)
    made = ("kvcalib", MODEL, "--text", "text", "--ctx", "64", "--chunks", "4", "--bits", "4", "-q", "-t", "1")
    for wrong in ("0,16,0", "0,", ",0", "16 0", "-1,0", "0,1048577", "1,2,3,4,5", "0x1"):
        bad(2, f"--windows {wrong}: give up to 4 different numbers", *made, "--windows=" + wrong, "--out", "out.yaml")
    bad(2, "--window and --windows say the same thing", *made, "--window", "8", "--windows", "0,16", "--out", "out.yaml")
    bad(2, "a window of 48 leaves too little", *made, "--windows", "0,48", "--out", "out.yaml")
    r = json.loads(good(*made, "--windows", "0,16", "--out", "out.yaml", "--json", "--report", "page.html").stdout)
    assert r["window"] == 16 and r["windows"] == [16, 0] and [m["window"] for m in r["measured"]] == [16, 16, 0, 0], r
    assert all(f"window {m['window']}, sinks 4" in m["text"] for m in r["measured"]), r
    page = pathlib.Path("page.html").read_text()
    assert "held-out part; window 16" in page and "held-out part; window 0" in page
    good("kvpack", MODEL, "out.yaml", "--out", "packed.gguf")
    for profile in ("out.yaml", "packed.gguf"):
        shown = json.loads(good("kvpack", "--show", profile, "--json").stdout)
        assert shown["version"] == 5 and shown["policy"]["windows"] == [16, 0], shown
        assert [(m["window"], m["kld"]) for m in shown["measured"]] == [(m["window"], m["kld"]) for m in r["measured"]], shown
        text = good("kvpack", "--show", profile).stdout.decode()
        assert "transforms for each of 16, 0:" in text and "held-out part; window 0, sinks 4" in text, text
    good("kvcalib", *made[1:], "--window", "0", "--out", "zero.yaml")
    for narrow in ("0", "8", "16"):
        words = ("--text", "text", "--ctx", "64", "--chunks", "2", "-t", "1", "--window", narrow)
        r = good("kveval kld", "packed.gguf", *words)
        assert b"was made for" not in r.stdout and b"was calibrated for" not in r.stderr, r
        one, other = (json.loads(good("kveval kld", *m, *words, "--json").stdout) for m in (("packed.gguf",), (MODEL, "--profile", "zero.yaml")))
        assert (one["kld"] == other["kld"]) == (narrow != "16"), (narrow, one["kld"], other["kld"])
        r = good("kvrun", "packed.gguf", "--raw", "-p", "x", "-n", "1", "-t", "1", "--window", narrow)
        assert b"was calibrated for" not in r.stderr, r


for check in (prompts, readers, no_end, terminal, messages, foreign, plain_text, sampling, windows, several_windows, special_tokens, late):
    check()
print("all passed")
