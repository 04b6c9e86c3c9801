#!/usr/bin/env python3
"""kvrun pull, list, rm and models by name, against a server of our own that does all that servers do.

usage: pull.py BIN_DIR DATA_DIR [--rounds N]      N: how many downloads are killed at random moments
"""
import argparse
import hashlib
import http.server
import json
import os
import pathlib
import pty
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time

import gguf_make
from pull_server import Server
from terminal import said_on

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("bin", type=pathlib.Path)
parser.add_argument("data", type=pathlib.Path)
parser.add_argument("--rounds", type=int, default=12)
ARGS = parser.parse_args()
BIN, DATA = ARGS.bin.resolve(), ARGS.data.resolve()
WORK = tempfile.TemporaryDirectory()
os.chdir(WORK.name)
STORE, CONFIG = pathlib.Path("store"), pathlib.Path("config")
for name in list(os.environ):
    if name.lower().endswith("_proxy") or name.startswith(("KV_", "XDG_", "SSL_")):
        del os.environ[name]
os.environ.update(HOME=WORK.name, KV_MODEL_DIR=str(STORE), XDG_CONFIG_HOME=os.path.abspath(CONFIG), no_proxy="*",
                  XDG_CACHE_HOME=os.path.abspath("cache"), XDG_DATA_HOME=os.path.abspath("share"))
seed = random.randrange(1 << 32)
RANDOM = random.Random(seed)
print(f"seed {seed}", flush=True)


def model(noise, rows=80000):
    """A model of some 2.7 MB: gguf_open finds nothing wrong with it."""
    f = gguf_make.small()
    f.tensors.append(gguf_make.Tensor("extra.weight", [32, rows], "Q8_0", random.Random(noise).randbytes(rows * 34)))
    return f.bytes()


def sha(data):
    return hashlib.sha256(data).hexdigest()


WHOLE, OLD, SMALL = model(1), model(2), gguf_make.small().bytes()
PARTS = {f"split-0000{i}-of-00002.gguf": (DATA / f"split/split-0000{i}-of-00002.gguf").read_bytes() for i in (1, 2)}
CUT = len(WHOLE) // 3
FILES = {"m.gguf": WHOLE, "old/m.gguf": OLD, "small.gguf": SMALL, "page.gguf": b"<!doctype html>" + b"x" * 4000000, "empty.gguf": b"",
         "short.gguf": WHOLE[:200000], "later.gguf": b"GGUF" + b"\x09" + SMALL[5:], "text.txt": b"GGUF is a format", "tiny.gguf": b"GG", **PARTS,
         "one": WHOLE[:CUT], "two": WHOLE[CUT:2 * CUT], "three": WHOLE[2 * CUT:], "a b.gguf": SMALL}
SERVER = Server(FILES)
BEGUN = ["m.gguf.part", "m.gguf.part/m.gguf", "m.gguf.part/m.gguf.from"]


def run(*words, tool="kvrun", timeout=120, **env):
    return subprocess.run([BIN / tool, *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout,
                          env={**os.environ, **env})


def pull(*words, **env):
    return run("pull", *words, **env)


def fresh():
    """Nothing is there, and nothing was asked for."""
    shutil.rmtree(STORE, ignore_errors=True)
    SERVER.log.clear()
    SERVER.count.clear()
    SERVER.linked.clear()


def address(what):
    return what if re.match(r"\w+://", what) else f"{SERVER.url}/{what}"


def left():
    return sorted(str(p.relative_to(STORE)) for p in STORE.rglob("*")) if STORE.exists() else []


def gets(what, *words, is_=WHOLE, says=(), **env):
    """It comes whole, and nothing else is left."""
    fresh()
    url = address(what)
    r = pull(url, *words, **env)
    name = url.split("?")[0].split("/")[-1].replace("%20", " ")
    assert r.returncode == 0, (what, r)
    assert r.stdout == f"{STORE}/{name}\n" and (STORE / name).read_bytes() == is_ and left() == [name], (what, r, left())
    for s in [says] if isinstance(says, str) else says:
        assert re.search(s, r.stderr), (what, s, r.stderr)
    return r


def fails(what, code, *says, words=(), kept=(), keep=False, **env):
    """It does not come, and says why; kept: what is left in the folder."""
    if not keep:
        fresh()
    r = pull(address(what), *words, **env)
    assert r.returncode == code and not r.stdout, (what, code, r)
    for s in says:
        assert re.search(s, r.stderr), (what, s, r.stderr)
    assert r.stderr.count("error:") == 1 and left() == sorted(kept), (what, r.stderr, left())
    return r


def part(name="m.gguf"):
    return STORE / f"{name}.part" / name


# ---- whole files ----
gets("plain/m.gguf", says=("not checked; it is " + sha(WHOLE), "'kvrun m' begins a chat"))
gets("plain/m.gguf", "--sha256", sha(WHOLE).upper(), says="SHA-256 is right")
gets("plain/a%20b.gguf?download=true", is_=SMALL)
gets("nolength/m.gguf")
gets("to/plain/m.gguf")
gets(f"to/{SERVER.url}/to/plain/m.gguf")
j = json.loads(pull(f"{SERVER.url}/plain/m.gguf", "--json", "-q").stdout)
assert j["there_already"] and j["file"] == "store/m.gguf" and j["bytes"] == len(WHOLE), j
fresh()
j = json.loads(pull(f"{SERVER.url}/plain/m.gguf", "--json", "--sha256", sha(WHOLE)).stdout)
assert not j["there_already"] and j["sha256"] == [sha(WHOLE)] and j["checked"] == "given" and j["resumed"] == 0, j
assert not pull(f"{SERVER.url}/plain/m.gguf", "-q", "--sha256", sha(WHOLE)).stderr
r = pull(f"{SERVER.url}/plain/m.gguf", "--sha256", "0" * 64)
assert r.returncode == 1 and "there already, with another SHA-256" in r.stderr and (STORE / "m.gguf").read_bytes() == WHOLE, r
r = pull(f"{SERVER.url}/plain/small.gguf", "--out", "elsewhere.gguf")
assert r.returncode == 0 and r.stdout == "elsewhere.gguf\n" and pathlib.Path("elsewhere.gguf").read_bytes() == SMALL, r
r = pull(f"{SERVER.url}/plain/m.gguf", "--out", "elsewhere.gguf")  # replaces what is there, as outputs do
assert r.returncode == 0 and pathlib.Path("elsewhere.gguf").read_bytes() == WHOLE and not pathlib.Path("elsewhere.gguf.part").exists(), r

os.symlink("elsewhere.gguf", "link.gguf")
r = pull(f"{SERVER.url}/plain/small.gguf", "--out", "link.gguf")  # what a link leads to
assert r.returncode == 0 and os.path.islink("link.gguf") and pathlib.Path("elsewhere.gguf").read_bytes() == SMALL, r
os.symlink("nowhere", "dangling.gguf")
os.mkfifo("pipe.gguf")
for out in (".", "dangling.gguf", "pipe.gguf", "/dev/null"):
    r = pull(f"{SERVER.url}/plain/small.gguf", "--out", out)
    assert r.returncode in (1, 2) and "error: " in r.stderr and not os.path.exists("nowhere"), (out, r)
assert stat.S_ISCHR(os.stat("/dev/null").st_mode)

# ---- what can go on, goes on; what has changed begins anew ----
for how, ranged, anew in (("cut", True, False), ("weak", True, False), ("nomark", False, True), ("noranges", True, True), ("stall", True, False),
                          ("changing", True, True), ("careless", True, True), ("wrongpart", True, True), ("gone", True, True)):
    r = gets(f"{how}/m.gguf", "--timeout", 1)
    later = [rng for _, rng, _ in SERVER.log[1:]]
    assert later and all(later) == ranged if how not in ("careless", "wrongpart", "gone") else later[0], (how, SERVER.log)
    assert ("from the beginning" in r.stderr) == anew or how == "nomark", (how, r.stderr)
assert "fallen silent" in gets("stall/m.gguf", "--timeout", 1).stderr
gets("lying/m.gguf", "--sha256", sha(WHOLE), says="do not have the right sum")  # pieces of two files under one mark
gets("nomark/m.gguf", "--sha256", sha(WHOLE))
assert all(rng for _, rng, _ in SERVER.log[1:]), SERVER.log  # a sum will tell
gets("busy/m.gguf", says="HTTP 503; trying again")

# ---- errors, each with its reason, and nothing left that cannot become the file ----
fails("404/m.gguf", 1, "no such file .HTTP 404")
fails("401/m.gguf", 1, "does not let everybody have it .HTTP 401")
fails("broken/m.gguf", 1, "HTTP 500", "2 tries in a row", words=("--retries", 1))
fails("round/m.gguf", 1, "from one address to the next")
fails("to/ftp://127.0.0.1/m.gguf", 1, "somewhere else than http and https")
fails("to/file:///etc/passwd.gguf", 1, "somewhere else than http and https")
fails("gzip/m.gguf", 1, "gzip, which nobody has asked for")
fails("plain/page.gguf", 1, "begins with '<!doctype html>x' and not with GGUF")
assert len(SERVER.log) == 1
fails("plain/empty.gguf", 1, "has 0 bytes")
fails("plain/tiny.gguf", 1, "has 2 bytes")
fails("plain/short.gguf", 1, "short.gguf")
fails("plain/later.gguf", 1, "version")
fails("plain/m.gguf", 1, "SHA-256 is " + sha(WHOLE), "nothing of it was kept", words=("--sha256", "0" * 64))
fails("plain/m.gguf", 1, r"no more than 1048576 are allowed", words=("--max-size", "1M"))
fails("nolength/m.gguf", 1, "more than the 1048576", words=("--max-size", "1M"), kept=BEGUN)
fails("stuck/m.gguf", 1, "ends after 100000 of", words=("--retries", 1), kept=BEGUN)
r = fails("restless/m.gguf", 1, "ends after 400000 of", words=("--retries", 1), kept=BEGUN)
assert len(SERVER.log) < 6, SERVER.log  # a file that changes every time is no endless matter
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    fails(f"http://127.0.0.1:{free.getsockname()[1]}/m.gguf", 1, "127.0.0.1: cannot be reached")
fails("http://nobody.invalid/m.gguf", 1, "nobody.invalid: cannot be found", "is there a network")
for bad, says in (("ftp://h/m.gguf", "no address that begins with http"), ("http://h/", "does not end with the name of a file"), ("http://h", "does not end"),
                  ("http://h/..", "does not end"), ("http://h/%2e%2e%2fx.gguf", "does not end"), ("http://h/a%00.gguf", "does not end"),
                  ("http://h/m.bin", "a model is called NAME.gguf"), ("http://h/m-00002-of-00003.gguf", "a model is called"),
                  ("file:///etc/x.gguf", "no address that begins")):
    fails(bad, 2, says)
fails("plain/m.gguf", 2, "not 64 hexadecimal digits", words=("--sha256", "12"))
fails("plain/split-00001-of-00002.gguf", 2, "sum of one file", words=("--sha256", "0" * 64))
fails("plain/split-00001-of-00002.gguf", 2, "the model is in 2 files", words=("--out", "x.gguf"))
STORE.mkdir(exist_ok=True)
(STORE / "m.gguf").mkdir()
r = pull(f"{SERVER.url}/plain/m.gguf")
assert r.returncode == 1 and "cannot be moved to" in r.stderr, r

# ---- TLS ----
subprocess.run("openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1".split(),
               check=True, capture_output=True)
pathlib.Path("both.pem").write_text(pathlib.Path("key.pem").read_text() + pathlib.Path("cert.pem").read_text())
SAFE = Server(FILES, "both.pem")
fails(f"{SAFE.url}/plain/m.gguf", 1, "no trusted connection .TLS")
gets(f"{SAFE.url}/plain/m.gguf", SSL_CERT_FILE="cert.pem")
fails(f"{SAFE.url}/to/{SERVER.url}/plain/m.gguf", 1, "from https to http", SSL_CERT_FILE="cert.pem")
gets(f"to/{SAFE.url}/plain/m.gguf", SSL_CERT_FILE="cert.pem")


# ---- a proxy, by environment ----
class Proxy(http.server.BaseHTTPRequestHandler):
    asked = []

    def do_GET(self):
        Proxy.asked.append(self.path)
        self.send_response(407 if "locked" in self.path else 200)
        body = b"" if "locked" in self.path else SMALL
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
threading.Thread(target=proxy.serve_forever, daemon=True).start()
by = {"http_proxy": f"http://127.0.0.1:{proxy.server_port}", "no_proxy": ""}
gets("http://far.invalid/small.gguf", is_=SMALL, **by)
assert Proxy.asked == ["http://far.invalid/small.gguf"], Proxy.asked
fails("http://far.invalid/locked.gguf", 1, "the proxy wants a login", **by)
fails("http://far.invalid/small.gguf", 1, "the proxy: cannot be found|cannot be reached", http_proxy="http://nobody.invalid:1", no_proxy="")

# ---- models in several files, and files in several pieces ----
fresh()
r = pull(f"{SERVER.url}/plain/split-00001-of-00002.gguf?x=y")
assert r.returncode == 0 and left() == sorted(PARTS) and all((STORE / n).read_bytes() == b for n, b in PARTS.items()), (r, left())
assert [p for p, *_ in SERVER.log] == [f"/plain/{n}" for n in sorted(PARTS)], SERVER.log
FILES["split-00002-of-00002.gguf"] = WHOLE  # a part of something else
fails("plain/split-00001-of-00002.gguf", 1, "split-00002-of-00002.gguf")
del FILES["split-00002-of-00002.gguf"]
first = "split-00001-of-00002.gguf"
fails(f"plain/{first}", 1, "no such file", kept=[f"{first}.part", f"{first}.part/{first}", f"{first}.part/{first}.from"])
FILES.update(PARTS)
r = pull(f"{SERVER.url}/plain/{first}")
assert r.returncode == 0 and left() == sorted(PARTS) and [p for p, *_ in SERVER.log].count(f"/plain/{first}") == 1, (r, SERVER.log)


def catalogue(text):
    (CONFIG / "kvcalib").mkdir(parents=True, exist_ok=True)
    (CONFIG / "kvcalib/models.yaml").write_text(text)


def entries(*models):
    catalogue("version: 1\nmodels:\n" + "".join("  - {" + ", ".join(f"{k}: {v}" for k, v in m.items()) + "}\n" for m in models))


pieces = "[" + ", ".join(f"{SERVER.url}/{how}/{n}" for how, n in (("plain", "one"), ("cut", "two"), ("plain", "three"))) + "]"
entries({"name": "pieced", "file": "whole.gguf", "urls": pieces, "sha256": sha(WHOLE), "size": len(WHOLE)},
        {"name": "wrong", "file": "whole.gguf", "urls": pieces, "sha256": "0" * 64},
        {"name": "mine", "repo": "me/mine", "file": "deep/m.gguf", "revision": "v1.2", "sha256": sha(WHOLE), "license": "mit"},
        {"name": "parted", "repo": "me/parts", "file": first, "sha256": f"[{sha(PARTS[first])}, {sha(PARTS['split-00002-of-00002.gguf'])}]"},
        {"name": "sized", "repo": "me/mine", "file": "m.gguf", "size": 12},
        {"name": "smollm2-135m", "url": f"{SERVER.url}/plain/small.gguf"})
fresh()
r = pull("pieced")
assert r.returncode == 0 and left() == ["whole.gguf"] and (STORE / "whole.gguf").read_bytes() == WHOLE and "SHA-256 is right" in r.stderr, (r, left())
fresh()
r = pull("wrong")
assert r.returncode == 1 and "joined pieces is " + sha(WHOLE) in r.stderr and left() == [], (r, left())

# ---- a hub, by the user's base ----
FILES["deep/m.gguf"] = WHOLE
hub = {"KV_MODEL_BASE": f"{SERVER.url}/hub/"}
for words, env in ((("MINE",), hub), (("mine", "--from", f"{SERVER.url}/hub"), {})):
    fresh()
    r = pull(*words, **env)
    assert r.returncode == 0 and left() == ["m.gguf"] and "license: mit" in r.stderr, (r, left())
    assert SERVER.log[0][0] == "/hub/me/mine/resolve/v1.2/deep/m.gguf", SERVER.log
fresh()
r = pull("parted", **hub)
assert r.returncode == 0 and left() == sorted(PARTS) and "SHA-256 is right" in r.stderr, (r, left())
fresh()
r = pull("sized", **hub)
assert r.returncode == 1 and "not the 12 that are expected" in r.stderr and left() == [], (r, left())
fresh()
r = pull("Qwen/Some-GGUF/m.gguf", **hub)
assert r.returncode == 0 and f"what the server says: {sha(WHOLE)}" in r.stderr and SERVER.log[0][0] == "/hub/Qwen/Some-GGUF/resolve/main/m.gguf", (r, SERVER.log)
fresh()
r = pull(f"{SERVER.url}/hub/me/mine/blob/main/m.gguf", KV_MODEL_BASE=f"{SERVER.url}/hub")  # the page about it
assert r.returncode == 0 and SERVER.log[0][0] == "/hub/me/mine/resolve/main/m.gguf", (r, SERVER.log)
fresh()
SERVER.linked["m.gguf"] = "0" * 64
r = pull("Qwen/Some-GGUF/m.gguf", **hub)
assert r.returncode == 1 and f"SHA-256 is {sha(WHOLE)} and not {'0' * 64};" in r.stderr and left() == [], (r, left())
fresh()
r = pull("smollm2-135m")  # an entry of the user's stands before the shipped one
assert r.returncode == 0 and left() == ["small.gguf"], (r, left())
for what, says in (("smollm2-135", "did you mean smollm2-135m"), ("a/b", "is in no catalogue"), ("a/b/c", "is in no catalogue"),
                   ("../b/c.gguf", "is in no catalogue"), ("a/b/../c.gguf", "is in no catalogue"), ("", "is in no catalogue")):
    r = pull(what)
    assert r.returncode == 2 and says in r.stderr, (what, r)

# ---- catalogues that are wrong: file and line ----
sum_ = "a" * 64
for text, line, says in (
        ("", None, "is empty"), ("a: [", 2, "did not find"), ("version: 2\n", 1, "is not 1"), ("models: []\n", 1, "version: 1 is missing"),
        ("version: 1\nmodel: []\n", 2, "not known"), ("version: 1\nmodels: {}\n", 2, "is a list"), ("version: 1\nmodels: [a]\n", 2, "an entry has keys"),
        ("version: 1\nmodels:\n- {file: a.gguf, repo: a/b}\n", 3, "needs a name"), ("version: 1\nmodels:\n- {name: a b, repo: a/b}\n", 3, "a name has"),
        ("version: 1\nmodels:\n- {name: a}\n", 3, "either a repo"), ("version: 1\nmodels:\n- {name: a, repo: a/b}\n", 3, "needs a file"),
        ("version: 1\nmodels:\n- {name: a, repo: a/b/c, file: x.gguf}\n", 3, "OWNER/NAME"), ("version: 1\nmodels:\n- {name: a, repo: ../b, file: x.gguf}\n", 3, "OWNER/NAME"),
        ("version: 1\nmodels:\n- name: a\n  repo: a/b\n  file: ../x.gguf\n", 5, "a file has"), ("version: 1\nmodels:\n- {name: a, repo: a/b, file: /x.gguf}\n", 3, "a file has"),
        ("version: 1\nmodels:\n- {name: a, repo: a/b, file: x//y.gguf}\n", 3, "a file has"), ("version: 1\nmodels:\n- {name: a, repo: a/b, file: x.bin}\n", 3, "a file has"),
        ("version: 1\nmodels:\n- {name: a, url: 'http://h/x.gguf', repo: a/b, file: x.gguf}\n", 3, "either a repo"),
        ("version: 1\nmodels:\n- {name: a, url: 'ftp://h/x.gguf'}\n", 3, "an address begins"), ("version: 1\nmodels:\n- {name: a, url: 'http://h/x'}\n", 3, "needs a file"),
        ("version: 1\nmodels:\n- {name: a, urls: ['http://h/x', 'http://h/y']}\n", 3, "needs a file"), ("version: 1\nmodels:\n- {name: a, urls: []}\n", 3, "an address"),
        ("version: 1\nmodels:\n- {name: a, url: 'http://h/x.gguf', urls: ['http://h/y']}\n", 3, "one of them"), ("version: 1\nmodels:\n- {name: a, urls: {a: b}}\n", 3, "an address"),
        ("version: 1\nmodels:\n- {name: a, url: 'http://h/x.gguf', sha256: abc}\n", 3, "64 hexadecimal"),
        (f"version: 1\nmodels:\n- {{name: a, url: 'http://h/x.gguf', sha256: [{sum_}, {sum_}]}}\n", 3, "as many sums"),
        (f"version: 1\nmodels:\n- {{name: a, repo: a/b, file: x-00001-of-00002.gguf, sha256: {sum_}}}\n", 3, "as many sums"),
        ("version: 1\nmodels:\n- {name: a, repo: a/b, file: x-00002-of-00002.gguf}\n", 3, "first part"),
        ("version: 1\nmodels:\n- {name: a, url: 'http://h/x.gguf', size: 1K}\n", 3, "number of bytes"), ("version: 1\nmodels:\n- {name: a, url: 'http://h/x.gguf', size: 0}\n", 3, "number of"),
        ("version: 1\nmodels:\n- {name: a, url: 'http://h/x.gguf', size: 99999999999999999999999}\n", 3, "number of bytes"),
        ("version: 1\nmodels:\n- {name: a, url: 'http://h/x.gguf', revision: v1}\n", 3, "one of a repo"), ("version: 1\nmodels:\n- {name: a, colour: red}\n", 3, "not known"),
        ("version: 1\nmodels:\n- {name: a, url: 'http://h/x.gguf'}\n- {name: A, url: 'http://h/y.gguf'}\n", 4, "'A' is there already, in line 3"),
        ("version: 1\nmodels:\n- &x {name: a}\n", 3, "anchors"), ("version: 1\nversion: 1\n", 2, "twice")):
    catalogue(text)
    for r in (pull("x"), run("list"), run("nosuch", "-p", "Hi")):
        place = f"models.yaml:{line}: " if line else "models.yaml: "
        assert r.returncode == 1 and place in r.stderr and says in r.stderr and r.stderr.count("\n") == 1, (text, place, says, r)
assert run("elsewhere.gguf", "-p", "a", "-n", "1").returncode == 0  # files need no catalogue
catalogue("version: 1\nmodels:\n")

# ---- killed at random moments, and interrupted ----
fresh()
kills = whole = 0
for round_ in range(ARGS.rounds):
    asked = len(SERVER.log)
    p = subprocess.Popen([BIN / "kvrun", "pull", f"{SERVER.url}/slow/m.gguf"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    size = part().stat().st_size if part().exists() else 0
    while round_ % 3 and p.poll() is None and not (part().exists() and part().stat().st_size > size):
        time.sleep(0.001)  # most are killed when they have got further; the others at any moment from the first
    try:
        p.wait(RANDOM.uniform(0, 0.15))
    except subprocess.TimeoutExpired:
        pass
    sig = RANDOM.choice((signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    p.send_signal(sig)
    out, err = p.communicate()
    if (STORE / "m.gguf").exists():  # whole, if perhaps only just
        assert (STORE / "m.gguf").read_bytes() == WHOLE and p.returncode in (0, -9, 130), (p.returncode, err)
        whole += 1
        shutil.rmtree(STORE)
        continue
    early = len(SERVER.log) == asked  # before it looks after signals
    assert p.returncode == (-9 if sig == signal.SIGKILL else 130) or (early and p.returncode == -sig), (sig, p.returncode, err)
    assert not out and all(f in BEGUN or f.endswith(".tmp") for f in left()), left()
    assert not part().exists() or WHOLE.startswith(part().read_bytes())
    kills += 1
r = pull(f"{SERVER.url}/slow/m.gguf", "--json")
assert r.returncode == 0 and (STORE / "m.gguf").read_bytes() == WHOLE and left() == ["m.gguf"], (r, left())
assert sum(1 for _, rng, _ in SERVER.log if rng) > 0, SERVER.log
fresh()
p = subprocess.Popen([BIN / "kvrun", "pull", f"{SERVER.url}/stall/m.gguf"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
while not part().exists() or part().stat().st_size < 300000:
    time.sleep(0.01)
q = pull(f"{SERVER.url}/plain/m.gguf")
assert q.returncode == 1 and "another process is fetching this model" in q.stderr, q
q = run("rm", "m", "--yes")
assert q.returncode == 1 and "another process is fetching" in q.stderr, q
p.send_signal(signal.SIGINT)
out, err = p.communicate()
assert p.returncode == 130 and "the same again goes on" in err and part().stat().st_size == 300000, (p.returncode, err)
assert not part().with_name("m.gguf.from").read_bytes().count(b"127.0.0.1")  # an address may hold secrets
q = run("m", "-p", "Hi")
assert q.returncode == 1 and "here only in part" in q.stderr, q
q = run("list")
assert "293 KiB of it are here" in q.stdout, q
r = pull(f"{SERVER.url}/stall/m.gguf", "--json")
assert r.returncode == 0 and json.loads(r.stdout)["resumed"] == 300000 and SERVER.log[-1][1] == "bytes=300000-", (r, SERVER.log)
fresh()  # another address of the same name: nothing of the other file
fails("stuck/m.gguf", 1, words=("--retries", 0), kept=BEGUN)
r = pull(f"{SERVER.url}/plain/m.gguf")
assert r.returncode == 0 and SERVER.log[-1][1] is None and (STORE / "m.gguf").read_bytes() == WHOLE, (r, SERVER.log)
for garbage in (b"", b"{", b"[]", b'{"url": 1}', b'{"url": "x", "mark": "\\r\\nA: b", "sha256": "", "size": -1}', b"\0" * 70000):
    fresh()
    fails("stuck/m.gguf", 1, words=("--retries", 0), kept=BEGUN)
    part().with_name("m.gguf.from").write_bytes(garbage)
    r = pull(f"{SERVER.url}/plain/m.gguf")
    assert r.returncode == 0 and (STORE / "m.gguf").read_bytes() == WHOLE, (garbage, r)
shutil.rmtree("store", ignore_errors=True)
if os.path.ismount("/dev/shm") and shutil.disk_usage("/dev/shm").free < 1 << 40:  # more than there is room for
    catalogue("version: 1\nmodels: [{name: huge, url: '%s/huge/m.gguf'}]\n" % SERVER.url)
    from pull_server import Handler

    def how_huge(self, name, times):
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 50))
        self.end_headers()
        self.wfile.write(b"GGUF")
        self.close_connection = True
    Handler.how_huge = how_huge
    with tempfile.TemporaryDirectory(dir="/dev/shm") as shm:
        r = pull("huge", KV_MODEL_DIR=shm)
        assert r.returncode == 1 and "1024 TiB are still to come, and the disk has room for" in r.stderr and not os.listdir(shm), (r, os.listdir(shm))
else:
    print("skipped: a disk without room, there is no /dev/shm here")

# ---- names ----
fresh()
STORE.mkdir()
tiny = {p.stem: p.read_bytes() for p in (DATA / "tiny").glob("*.gguf")}
for name in ("llama", "qwen2", "qwen3"):
    (STORE / f"{name}.gguf").write_bytes(tiny[name])
for name, b in PARTS.items():
    (STORE / name).write_bytes(b)
(STORE / "README").write_text("no model")
(STORE / ".hidden.gguf").write_bytes(b"GGUF")
(STORE / "broken.gguf").write_bytes(b"GGUF")
entries({"name": "tiny-one", "url": "http://h/qwen3.gguf"}, {"name": "other", "url": "http://h/other.gguf"})
SAY = ("-p", "Hi", "-n", "4", "--temp", "0", "-t", "1")
direct = run(DATA / "tiny/llama.gguf", *SAY)
assert direct.returncode == 0 and direct.stdout
for word in ("llama", "LLAMA", "llam", "llama.gguf", "ll"):
    for words in ((word, *SAY), (*SAY, word), ("-m", word, *SAY), (f"--model={word}", *SAY)):
        assert run(*words).stdout == direct.stdout, words
assert run("tiny-one", *SAY).stdout == run("qwen3", *SAY).stdout == run("tiny", *SAY).stdout == run(DATA / "tiny/qwen3.gguf", *SAY).stdout
assert run("split", *SAY).stdout == run(DATA / f"split/{first}", *SAY).stdout
for word, says in (("qwen", "'qwen' may be any of several models: qwen2, qwen3"), ("lama", "did you mean llama?"), ("other", "'kvrun pull other' gets it"),
                   ("othr", "did you mean other? ('kvrun pull other' gets it)"), ("zzzzzzz", "is no file, and no model ('kvrun list' says")):
    r = run(word, *SAY)
    assert r.returncode in (1, 2) and says in r.stderr and not r.stdout, (word, r)
for word in ("none.gguf", "./none", "no/such"):
    r = run(word, *SAY)
    assert r.returncode == 1 and f"{word}: " in r.stderr and "o such file" in r.stderr, (word, r)
pathlib.Path("llama").write_bytes(tiny["qwen2"])  # a file of that name wins
assert run("llama", *SAY).stdout == run(DATA / "tiny/qwen2.gguf", *SAY).stdout
os.unlink("llama")
pathlib.Path("text").write_text("".join(f"Line {i}: {i * 37 % 101} boats passed under {i * 13 % 7} bridges.\n" for i in range(400)))
pathlib.Path("short").write_text("The keeper of the gate is Odo.\n")
pathlib.Path("in.json").write_text('["ab"]')
pathlib.Path("p.yaml").write_text("version: 2\npolicy: {sinks: 4, window: 0, k: f16, v: f16}\n")
for tool, words in (("kveval", "ppl llama --text text --ctx 64 --chunks 1 -t 1"), ("kveval", "tokens llama --in in.json"), ("kvpack", "llama p.yaml --out packed.gguf"),
                    ("kvpack", "--show packed.gguf"), ("kvpack", "--show p.yaml llama"), ("kvpack", "--strip packed.gguf --out again.gguf"),
                    ("kvcalib", "llama --out cal.yaml --text text --ctx 64 --chunks 4 --window 8 --no-measure -q -t 1"), ("kvrun", "read llama short --out text.kv -q -t 1"),
                    ("kvrun", "ask llama text.kv Hm -n 2 -t 1"), ("kvrun", "docs add llama short -t 1"), ("kvrun", "docs ask llama gate -n 2 -t 1")):
    r = run(*words.split(), tool=tool)
    assert r.returncode == 0, (tool, words, r)
r = run("llama", "p.yaml", "--out", STORE / "llama.gguf", tool="kvpack")
assert r.returncode == 2 and "same file" in r.stderr, r  # an output may not be an input, whatever it is called

# ---- list and rm ----
for name, kind in (("mixed", 15), ("odd", 999)):
    (STORE / f"{name}.gguf").write_bytes(gguf_make.small().set("general.file_type", gguf_make.U32, kind).bytes())
r = run("list", "--json", "--all")
j = json.loads(r.stdout)
by_name = {m["name"]: m for m in j["models"]}
assert list(by_name) == ["broken", "llama", "mixed", "odd", "qwen2", "qwen3", "split"] and [k["name"] for k in j["known"]][-1] != "tiny-one", j
m = by_name["llama"]
assert (m["arch"], m["ctx"], m["bytes"], m["whole"], m["profile"], m["files"]) == ("llama", 512, len(tiny["llama"]), True, "none", 1), m
assert by_name["mixed"]["type"] == "Q4_K_M" and by_name["odd"]["type"] == "Q8_0", by_name  # llama.cpp: LLAMA_FTYPE_MOSTLY_Q4_K_M is 15
assert by_name["qwen3"]["catalogue"] == "tiny-one" and by_name["broken"]["error"] and by_name["split"]["files"] == 2, j
assert by_name["split"]["bytes"] == sum(map(len, PARTS.values()))
os.makedirs("share/kvcalib/profiles/models")
shutil.move("cal.yaml", "share/kvcalib/profiles/models/cal.yaml")
m = {m["name"]: m for m in json.loads(run("list", "--json").stdout)["models"]}["llama"]
assert m["profile"] == "own" and m["profile_file"].endswith("cal.yaml") and m["profile_changed"], m
assert "made here" in run("list").stdout
shutil.copy("packed.gguf", STORE / "packed.gguf")
assert "profile in the file" in run("list").stdout
r = run("rm", "llama")
assert r.returncode == 2 and "--yes" in r.stderr and (STORE / "llama.gguf").exists(), r
for word, says in (("nosuch", "there is no model 'nosuch'"), ("qwen", "may be any of several"), ("text", "there is no model"), ("../text", "there is no model"), ("", "there is no model")):
    r = run("rm", word, "--yes")
    assert r.returncode in (1, 2) and says in r.stderr, (word, r)
r = run("rm", "split", "llama", "-y")
assert r.returncode == 0 and "are free" in r.stderr and not [f for f in left() if "split" in f or "llama" in f], (r, left())


def at_terminal(words, typed):
    ours, its = pty.openpty()
    child = subprocess.Popen([BIN / "kvrun", *words], stdin=its, stdout=its, stderr=its, start_new_session=True)
    os.write(ours, typed)
    said = said_on(ours, its, child)
    return child.returncode, said.decode()


code, said = at_terminal(["rm", "qwen2"], b"n\n")
assert code == 1 and "remove store/qwen2.gguf" in said and (STORE / "qwen2.gguf").exists(), (code, said)
code, said = at_terminal(["rm", "qwen2"], b"y\n")
assert code == 0 and not (STORE / "qwen2.gguf").exists(), (code, said)

# ---- kvrun alone ----
code, said = at_terminal([], b"")
assert code == 0 and "qwen3" in said and "other" in said and "To begin: kvrun " in said, (code, said)
r = run()
assert r.returncode == 2 and "no model; usage: kvrun MODEL" in r.stderr and not r.stdout, r
shutil.rmtree(STORE)
code, said = at_terminal([], b"")
assert code == 0 and "To begin: kvrun pull " in said, (code, said)
assert run("list").returncode == 0 and json.loads(run("list", "--json").stdout)["models"] == []

SERVER.stop.set()
print(f"all passed; {kills} downloads were killed, {whole} got through before that")
