#!/usr/bin/env python3
"""The page that kvrun serve has at /, in headless Chromium: asked, stopped, edited, given a document, lied to by its model.

usage: page.py BIN_DIR DATA_DIR [SHOTS_DIR]      SHOTS_DIR: where to put pictures of it, to be looked at

A server with a tiny model stands behind a proxy, which passes on all there is but for answers that a test wants to write itself.
Without chromium and chromedriver (Debian: chromium-driver) it is skipped.
"""
import atexit
import base64
import http.client
import http.server
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

BIN, DATA = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
SHOTS = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else None
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
KEY = "a-key-for-the-page"


def start(command, pattern, log):
    """A program that says in its log where it listens: it and the port."""
    with open(log, "w") as to:
        p = subprocess.Popen(command, stdout=to, stderr=to)
    atexit.register(lambda: (p.terminate(), p.wait(30)))
    for _ in range(1200):
        if found := re.search(pattern, log.read_text()):
            return p, int(found[1])
        assert p.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(log.read_text())


class Proxy(http.server.ThreadingHTTPServer):
    """In front of the server. `say`: pieces of the next answers, instead of what the model says; "WAIT" waits for `go`."""
    daemon_threads = True

    def __init__(self, port):
        self.behind, self.say, self.go, self.asked, self.left = port, None, threading.Event(), [], threading.Event()
        self.endless = False # the model is kept from ending its answer
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_): # who asks is told by a connection that breaks
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self):
        s, body = self.server, self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.close_connection = True
        chat = self.path == "/v1/chat/completions"
        if chat:
            s.asked.append(json.loads(body))
        if chat and s.say is not None:
            return self.recite(s)
        if chat and s.endless:
            body = json.dumps({**s.asked[-1], "ignore_eos": True})
        c = http.client.HTTPConnection("127.0.0.1", s.behind, timeout=300)
        c.request(self.command, self.path, body, {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "content-length")})
        r = c.getresponse()
        self.send_response(r.status)
        for name, value in r.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            while piece := r.read1(65536):
                self.wfile.write(piece)
                self.wfile.flush()
        except OSError: # who asked has left: so does this, and the server sees it
            s.left.set()
        c.close()

    def recite(self, s):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            for piece in s.say:
                if piece == "WAIT":
                    s.go.wait(60)
                    continue
                delta = piece if isinstance(piece, dict) else {"content": piece}
                self.wfile.write(b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}).encode() + b"\n\n")
                self.wfile.flush()
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            s.left.set()

    do_GET = do_POST = do_PUT = do_DELETE = pass_on

    def log_message(self, *_):
        pass


class Browser:
    """Chromium, by the WebDriver protocol."""

    def __init__(self, folder):
        _, self.port = start([DRIVER, "--port=0"], r"successfully on port (\d+)", pathlib.Path(folder, "driver.log"))
        args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={folder}/profile", "--hide-scrollbars", "--lang=en"]
        wanted = {"goog:chromeOptions": {"binary": CHROMIUM, "args": args}, "goog:loggingPrefs": {"browser": "ALL"}}
        self.session = ""
        self.session = "/" + self.call("POST", "", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        atexit.register(lambda: self.call("DELETE", ""))

    def call(self, method, path, body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        c.request(method, "/session" + self.session + path, json.dumps(body) if body is not None else None)
        value = json.loads(c.getresponse().read())["value"]
        c.close()
        if isinstance(value, dict) and "error" in value:
            raise AssertionError(value["message"])
        return value

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def js(self, code, *args):
        return self.call("POST", "/execute/sync", {"script": code, "args": list(args)})

    def cdp(self, command, **params):
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def until(self, code, *args):
        """Wait until it is true, and return what it is."""
        for _ in range(1200):
            if value := self.js("return " + code, *args):
                return value
            time.sleep(0.05)
        raise AssertionError((code, self.js("return document.body.innerText"), self.call("POST", "/se/log", {"type": "browser"})))

    def find(self, selector):
        return list(self.call("POST", "/element", {"using": "css selector", "value": selector}).values())[0]

    def click(self, selector):
        self.call("POST", f"/element/{self.find(selector)}/click", {})

    def type(self, selector, text):
        self.call("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def keys(self, text):
        """To whatever has the focus."""
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": [{"type": t, "value": c} for c in text for t in ("keyDown", "keyUp")]}]})

    def resize(self, width, height=800):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def colours(self, scheme):
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def shot(self, name):
        if SHOTS:
            SHOTS.mkdir(parents=True, exist_ok=True)
            (SHOTS / f"{name}.png").write_bytes(base64.b64decode(self.call("GET", "/screenshot")))

    def complaints(self):
        return [e["message"] for e in self.call("POST", "/se/log", {"type": "browser"}) if e["level"] == "SEVERE"]


ENTER, ESCAPE, UP, TAB = "\ue007", "\ue00c", "\ue013", "\ue004"
LAST = "document.querySelector('article.assistant:last-child')"
IDLE = "document.querySelector('#send').title === 'Send' && !document.querySelector('[aria-busy=true]')"


class Page:
    def __init__(self, b, proxy, data):
        self.b, self.proxy, self.data = b, proxy, data
        self.url = f"http://127.0.0.1:{proxy.server_port}/"

    def ask(self, text, wait=True):
        if len(text) > 500: # the driver would take a minute
            self.b.js("document.querySelector('#say').value = arguments[0]", text)
            text = " "
        self.b.type("#say", text + ENTER)
        if wait:
            self.idle()

    def idle(self):
        self.b.until(IDLE)

    def answer(self):
        return self.b.js(f"return {LAST}.querySelector(':scope > .md').textContent")

    def settings(self, **values):
        self.b.click("#settings-open")
        for name, value in values.items():
            self.b.js("const f = document.querySelector(`#settings [name=${arguments[0]}]`); f.value = arguments[1];"
                      "f.dispatchEvent(new Event('input', {bubbles: true}))", name, value)
        self.b.click("#settings .main")

    def press_twice(self, selector, label):
        """A button that asks whether it was meant; at once, as it does so for a while only."""
        asked = self.b.js("const b = document.querySelector(arguments[0]), said = [b.textContent]; b.click(); said.push(b.textContent, b.getAttribute('aria-label')); b.click(); return said",
                          selector)
        assert asked[:2] == [label, "Really?"] and asked[2].startswith("Really " + label.lower()), asked

    def shown(self):
        return self.b.js("return [...document.querySelectorAll('article')].map((a) => (a.querySelector('.said') || a.querySelector(':scope > .md')).textContent)")

    def reload(self):
        self.b.open(self.url)
        self.b.until("document.querySelector('#model').value === 'qwen2'")

    def recite(self, *pieces):
        self.proxy.go.clear()
        self.proxy.left.clear()
        self.proxy.say = pieces


# ---- what a person does ----

def loads(p):
    b = p.b
    b.until("document.querySelector('#model').value === 'qwen2'")
    b.until("document.querySelector('#meter-text').textContent === 'Empty'")
    assert b.js("return document.activeElement.id") == "say"
    for width, scheme in ((1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")):
        b.resize(width)
        b.colours(scheme)
        assert b.js("return document.documentElement.scrollWidth") <= width
        b.shot(f"empty-{width}-{scheme}")
    b.resize(1280)
    b.colours("light")


def streams(p):
    """Pieces are there before the answer is whole, and a reload meanwhile loses none of them."""
    p.recite("One, ", "two, ", "WAIT", "three.\0")
    p.ask("Count", wait=False)
    p.b.until(f"{LAST}.querySelector(':scope > .md').textContent === 'One, two, '")
    assert p.b.js(f"return {LAST}.getAttribute('aria-busy')") == "true"
    p.proxy.go.set()
    p.idle()
    assert p.answer() == "One, two, three.\0", p.answer()
    assert p.proxy.asked[-1]["stream"] is True and p.proxy.asked[-1]["messages"] == [{"role": "user", "content": "Count"}]


def asks_the_model(p):
    """What a model said goes back to it as it was, the NUL of the test before included."""
    p.proxy.say = None
    p.settings(max_tokens="24", temperature="0", system="Be brief.")
    p.ask("What is a cache?")
    asked = p.proxy.asked[-1]
    assert asked["max_tokens"] == 24 and asked["temperature"] == 0 and asked["messages"][0] == {"role": "system", "content": "Be brief."}, asked
    assert [m["role"] for m in asked["messages"]] == ["system", "user", "assistant", "user"] and asked["messages"][2]["content"] == "One, two, three.\0"
    assert re.match(r"\d+ tokens", p.b.js(f"return {LAST}.querySelector('.note').textContent"))
    assert p.b.js(f"return {LAST}.querySelector('.wrong').hidden")


def meter_moves(p):
    was = p.b.until("document.querySelector('#meter-text').textContent !== 'Empty' && document.querySelector('#meter-text').textContent")
    assert re.fullmatch(r"\d[\d.]* (B|KiB|MiB)", was), was
    held = p.b.until("Number(document.querySelector('#n-exact').textContent.replace(/,/g, '')) + Number(document.querySelector('#n-encoded').textContent.replace(/,/g, ''))")
    p.settings(max_tokens="300")
    p.ask("And then? " + "word " * 60)
    p.b.until("document.querySelector('#meter-text').textContent !== arguments[0]", was)
    p.b.click("#meter")
    more = p.b.until("document.querySelector('#cache').open && Number(document.querySelector('#n-encoded').textContent.replace(/,/g, ''))")
    assert more > 0 and held > 0, (held, more)
    p.b.until("parseFloat(document.querySelector('#meter-fill').style.width) > 0 && parseFloat(document.querySelector('#meter-fill').style.width) < 100")
    assert "smaller than in f16" in p.b.js("return document.querySelector('#cache').innerText")
    p.b.keys(ESCAPE)
    p.b.until("!document.querySelector('#cache').open")


def stops(p):
    """By the button, and by Escape; the server is told, and what was said stays."""
    p.settings(max_tokens="100000")
    p.proxy.endless = True
    for how in ("button", "key"):
        p.proxy.left.clear()
        p.ask("Do not end", wait=False)
        p.b.until(f"document.querySelector('#send').title.startsWith('Stop') && {LAST}.querySelector(':scope > .md').textContent.length > 10")
        if how == "button":
            p.b.click("#send")
        else:
            p.b.keys(ESCAPE)
        p.idle()
        assert "stopped" in p.b.js(f"return {LAST}.querySelector('.note').textContent") and len(p.answer()) > 10, p.b.js(f"return {LAST}.outerHTML")
        assert p.proxy.left.wait(60)
    p.settings(max_tokens="24")
    p.proxy.endless = False


def edits_and_asks_again(p):
    p.recite("first")
    p.b.click("#new")
    assert p.b.js("return document.querySelectorAll('article').length") == 0
    p.ask("Wrong question")
    p.recite("second")
    p.b.keys(UP)
    p.b.until("document.activeElement.getAttribute('aria-label') === 'Edit the question'")
    p.b.js("document.activeElement.value = ''")
    p.b.keys("Right" + ENTER)
    p.idle()
    assert p.b.js("return document.querySelectorAll('article').length") == 2 and p.answer() == "second"
    assert p.proxy.asked[-1]["messages"][-1]["content"] == "Right"
    p.recite("third")
    p.b.js(f"{LAST}.querySelector('[aria-label=\"Answer again\"]').click()")
    p.idle()
    assert p.answer() == "third" and len(p.proxy.asked[-1]["messages"]) == 2
    p.b.keys(UP)
    p.b.keys(ESCAPE)
    assert p.b.js("return document.querySelector('.said').textContent") == "Right"


def reads_a_document(p):
    p.proxy.say = None
    text = pathlib.Path(p.data, "log book.md")
    text.write_text("# Log\n\n" + "The captain is Quillfeather, and the tide was low. " * 40)
    p.b.click("#docs-open")
    p.b.until("document.querySelector('#docs-list').textContent.includes('No document')")
    p.b.js("document.querySelector('#docs-file').hidden = false")
    p.b.type("#docs-file", str(text))
    p.b.until("!document.querySelector('#docs').open && !document.querySelector('#doc').hidden")
    shown = p.b.js("return document.querySelector('#doc').textContent")
    assert "log book.md" in shown and "tokens" in shown, shown
    p.ask("Who is the captain?")
    assert p.proxy.asked[-1]["kv_context"] == "log-book", p.proxy.asked[-1]
    assert "read before" in p.b.js(f"return {LAST}.querySelector('.note').textContent")
    p.b.resize(360)
    assert p.b.js("const r = document.querySelector('#doc').getBoundingClientRect(); return r.right <= innerWidth && document.documentElement.scrollWidth <= innerWidth")
    p.b.shot("document-360")
    p.b.resize(1280)
    # one that is no document: said in words, and the page goes on
    bad = pathlib.Path(p.data, "bad.txt")
    bad.write_bytes(b"\xff\xfe\0\0" * 50)
    p.b.click("#docs-open")
    p.b.js("document.querySelector('#docs-file').hidden = false")
    p.b.type("#docs-file", str(bad))
    p.b.until("!document.querySelector('#docs-error').hidden && document.querySelector('#reading').hidden")
    p.b.js("document.querySelector('#docs-file').hidden = true")
    p.b.shot("documents")
    # dropped onto the page
    p.b.click("#docs-close")
    p.b.js("""const t = new DataTransfer(); t.items.add(new File(["Bread and salt. ".repeat(30)], "salt.txt", {type: "text/plain"}));
        for (const type of ["dragenter", "dragover", "drop"]) document.body.dispatchEvent(new DragEvent(type, {bubbles: true, cancelable: true, dataTransfer: t}));""")
    p.b.until("!document.querySelector('#docs').open && document.querySelector('#doc').textContent.includes('salt.txt')")
    p.b.click("#docs-open")
    p.b.until("document.querySelectorAll('#docs-list .use').length === 2")
    p.press_twice("#docs-list li.is .quiet", "Remove")
    p.b.until("document.querySelectorAll('#docs-list .use').length === 1 && document.querySelector('#doc').hidden")
    p.b.click("#docs-close")


def reload_keeps_the_chat(p):
    was = p.b.js("return [...document.querySelectorAll('article')].map((a) => a.innerText)")
    p.b.type("#say", "half a thought")
    p.b.open(p.url)
    p.b.until("document.querySelector('#model').value === 'qwen2'")
    assert was and p.b.js("return [...document.querySelectorAll('article')].map((a) => a.innerText)") == was
    assert p.b.js("return document.querySelector('#say').value") == "half a thought"
    p.b.js("document.querySelector('#say').value = ''")
    # in the midst of an answer
    p.recite("what was said ", "WAIT", "and was not")
    p.ask("Go on", wait=False)
    p.b.until(f"{LAST}.querySelector(':scope > .md').textContent === 'what was said '")
    p.b.open(p.url)
    p.b.until("document.querySelector('#model').value === 'qwen2'")
    assert p.answer() == "what was said "
    p.proxy.go.set()


# ---- several chats ----

TITLES = "[...document.querySelectorAll('#chats-list .title')].map((t) => t.textContent)"
LONG = "A question that is rather longer than a list of chats would want to show"


def chats(p):
    """Titles in the list, which stays open; the chat that one is in has a mark."""
    if not p.b.js("return document.querySelector('#chats').open"):
        p.b.click("#chats-open")
    here = p.b.js("return [...document.querySelectorAll('#chats-list [aria-current=true] .title')].map((t) => t.textContent)")
    assert len(here) < 2 and p.b.js("return document.querySelectorAll('#chats-list li.is').length") == len(here), here
    return p.b.js("return " + TITLES)


def go_to(p, title):
    assert title in chats(p)
    p.b.js("[...document.querySelectorAll('#chats-list .use')].find((b) => b.querySelector('.title').textContent === arguments[0]).click()", title)
    p.b.until("!document.querySelector('#chats').open")


def keeps_several_chats(p):
    before = chats(p)
    p.b.click("#chats-new")
    p.b.until("!document.querySelector('#chats').open")
    assert p.shown() == [] and chats(p) == before # an empty one is none yet
    p.b.keys(ESCAPE)
    p.recite("one")
    p.ask(LONG)
    p.b.click("#new")
    p.recite("two")
    p.ask("Second?")
    titles = chats(p)
    assert titles[0] == "Second?" and titles[2:] == before and LONG.startswith(titles[1][:-1]) and 40 < len(titles[1]) <= 60 and titles[1][-1] == "\u2026", titles
    assert "2 messages" in p.b.js("return document.querySelector('#chats-list .facts').textContent")
    p.b.shot("chats")
    # one goes on where one was, and only that one
    go_to(p, titles[1])
    assert p.shown() == [LONG, "one"] and p.b.js("return document.activeElement.id") == "say"
    p.recite("three")
    p.ask("More")
    assert [m["content"] for m in p.proxy.asked[-1]["messages"] if m["role"] != "system"] == [LONG, "one", "More"]
    assert chats(p)[:2] == [titles[1], "Second?"]
    p.b.keys(ESCAPE)
    p.reload()
    assert p.shown() == [LONG, "one", "More", "three"]
    # the browser was closed: the last one is there
    p.b.js("sessionStorage.clear()")
    go_to(p, "Second?")
    p.b.js("sessionStorage.clear()")
    p.reload()
    assert p.shown() == [LONG, "one", "More", "three"]
    # looking at one does not make it newer; its first question is its name
    go_to(p, "Second?")
    assert chats(p)[:2] == [titles[1], "Second?"]
    p.b.keys(ESCAPE)
    p.recite("four")
    p.b.click("#say")
    p.b.keys(UP)
    p.b.until("document.activeElement.getAttribute('aria-label') === 'Edit the question'")
    p.b.js("document.activeElement.value = ''")
    p.b.keys("  Two  words" + ENTER)
    p.idle()
    assert chats(p)[:2] == ["Two words", titles[1]] and p.shown() == ["Two  words", "four"]
    p.b.keys(ESCAPE)


def leaves_a_chat_in_the_midst(p):
    """What was said so far stays there, and nothing of it comes into another chat."""
    p.recite("so far ", "WAIT", "and on")
    p.ask("Speak", wait=False)
    p.b.until(f"{LAST}.querySelector(':scope > .md').textContent === 'so far '")
    was, other = chats(p)[:2]
    go_to(p, other)
    p.idle()
    p.proxy.go.set()
    shown = p.shown()
    assert was == "Two words" and "Speak" not in shown and p.proxy.left.wait(60), shown
    go_to(p, was)
    assert p.shown() == ["Two  words", "four", "Speak", "so far "] and "stopped" in p.b.js(f"return {LAST}.querySelector('.note').textContent")


def deletes_chats(p):
    """By keyboard: the list is there with the focus in it, and Delete must be meant."""
    titles = chats(p)
    assert p.b.js("return document.activeElement.textContent").startswith(titles[0])
    p.b.keys(TAB + ENTER)
    p.b.until("document.activeElement.textContent === 'Really?' && document.activeElement.matches('#chats-list .quiet')")
    assert p.b.js("return " + TITLES) == titles
    p.b.js("document.activeElement.click(); if (document.activeElement.textContent === 'Really?') document.activeElement.click()") # it may have stopped asking
    p.b.until(TITLES + ".length === arguments[0]", len(titles) - 1)
    assert chats(p) == titles[1:] and p.shown() == [] # it was the one that one was in
    assert p.b.js("return document.activeElement.textContent").startswith(titles[1])
    p.press_twice("#chats-list li:last-child .quiet", "Delete")
    assert chats(p) == titles[1:-1]
    p.reload()
    assert p.shown() == [] and chats(p) == titles[1:-1]
    while len(titles := chats(p)) > 1:
        p.press_twice("#chats-list .quiet", "Delete")
    p.press_twice("#chats-list .quiet", "Delete")
    assert "No chat" in p.b.js("return document.querySelector('#chats-list').textContent") and p.b.js("return document.activeElement.id") == "chats-new"
    assert p.b.js("return Object.keys(localStorage).filter((k) => k.startsWith('kvrun.chat.'))") == []
    p.b.keys(ENTER)
    p.b.until("!document.querySelector('#chats').open && document.activeElement.id === 'say'")


def keeps_what_there_is_room_for(p):
    """The browser keeps so many bytes: the oldest chats go for new ones, and all others stay."""
    p.recite("small")
    p.ask("Stays")
    p.b.js("""const old = [{role: "user", content: "Old"}, {role: "assistant", content: "x".repeat(1000000)}], list = JSON.parse(localStorage["kvrun.chats"]);
        localStorage["kvrun.chat.old"] = JSON.stringify(old);
        localStorage["kvrun.chats"] = JSON.stringify([...list, {id: "old", title: "Old", at: 1, n: 2}]);
        let filler = "";
        for (let more = 1 << 22; more >= 64; more >>= 1)
            try {
                localStorage["filler"] = filler + "y".repeat(more);
                filler += "y".repeat(more);
            } catch {}""")
    assert chats(p) == ["Stays", "Old"]
    p.b.keys(ESCAPE)
    p.b.click("#new")
    p.recite(*["word " * 1000] * 20)
    p.ask("Large")
    assert chats(p) == ["Large", "Stays"] and p.b.js("return localStorage['kvrun.chat.old']") is None
    # one that could not be kept without all others, either, is no reason to let go of them
    p.b.keys(ESCAPE)
    p.b.js("localStorage.filler += 'y'.repeat(800000)")
    p.b.click("#new")
    p.recite(*["word " * 10000] * 20)
    p.ask("Larger than all")
    assert chats(p) == ["Large", "Stays"] and "no room" in p.b.js("return document.querySelector('#status').textContent")
    p.b.keys(ESCAPE)
    p.b.js("delete localStorage.filler")
    go_to(p, "Stays")
    assert p.shown() == ["Stays", "small"]
    # earlier versions kept one chat; and what is no list, and lines that were lost, are no end of anything
    p.b.js("""localStorage["kvrun.chat"] = JSON.stringify([{role: "user", content: "Earlier"}, {role: "assistant", content: "yes"}]);
        localStorage["kvrun.chats"] = '{"a": '; localStorage["kvrun.chat.bad"] = '[3, null, {"role": "user"}]'""")
    p.reload()
    assert p.shown() == ["Stays", "small"] and set(chats(p)) == {"Earlier", "Large", "Larger than all", "Stays"}
    go_to(p, "Earlier")
    assert p.shown() == ["Earlier", "yes"] and p.b.js("return localStorage['kvrun.chat']") is None


# ---- what a model may do ----

HOSTILE = """<script>window.harmed = 1</script> <img src=x onerror="window.harmed = 2"> <b>bold</b> &lt;i&gt;

[press](javascript:window.harmed=3) [also](data:text/html,<script>window.harmed=4</script>) ![picture](https://example.org/x.png) <https://example.org>

```html
</code></pre><script>window.harmed = 5</script>
```

| <svg onload="window.harmed=6"> | `</td>` |
|---|---|
| [x]( javascript:alert(1)) | **<iframe src=//example.org>** |

> <style>body { display: none }</style>
"""


def hostile_output_stays_text(p):
    p.recite(*[HOSTILE[i:i + 7] for i in range(0, len(HOSTILE), 7)])
    p.b.click("#new")
    p.ask("<img src=x onerror='window.harmed = 7'>")
    said = p.b.js(f"return {LAST}.querySelector(':scope > .md').textContent")
    for mark in ("<script>window.harmed = 1</script>", "<img src=x onerror=", "<b>bold</b>", "&lt;i&gt;", "</code></pre><script>", "<svg onload=", "<iframe", "<style>"):
        assert mark in said, (mark, said)
    assert p.b.js("return document.querySelector('.said').textContent") == "<img src=x onerror='window.harmed = 7'>"
    assert p.b.js("return window.harmed") is None
    tags = p.b.js("return [...new Set([...document.querySelectorAll('#chat *')].map((e) => e.tagName.toLowerCase()))]")
    assert not set(tags) & {"script", "img", "iframe", "style", "b", "i", "object"}, tags
    links = p.b.js("return [...document.querySelectorAll('#chat a')].map((a) => a.href)")
    assert links == ["https://example.org/x.png", "https://example.org/"], links
    # the policy holds, too, should the page ever err
    assert p.b.js("try { document.querySelector('#chat').innerHTML = '<b>x</b>'; return false } catch { return true }")
    p.b.js("const s = document.createElement('style'); s.textContent = 'body { display: none }'; document.head.append(s)")
    assert p.b.js("return getComputedStyle(document.body).display") == "flex"
    p.b.complaints() # of these two
    # strange texts do not take long
    for text in ("*" * 20000, "[" * 20000, "`" * 9999 + " " + "``x" * 5000, "> " * 5000, "- " * 5000, "_a " * 10000, "![](" * 5000, "|" * 5000 + "\n|-|\n", "  " * 300 + "- x\n" * 2000):
        p.recite(text)
        began = time.time()
        p.ask("Strange")
        print(f"  {text[:12]!r}...: {time.time() - began:.2f} s")
    p.b.click("#new")


MARKDOWN = """A **KV cache** holds what the model has *already* read, so that it need not be read again. In short:

1. Every token leaves a key and a value behind.
2. The next token looks at all of them:
   - the newest ones exactly, in a window of `128`,
   - older ones compressed.

```python
def attend(query, keys, values):
    # what is alike counts most
    scores = softmax(query @ keys.T / 8.0)
    return scores @ values
```

| stored as | bits | of f16 |
|:--|--:|--:|
| f16 | 16 | 100 % |
| tc | 3.1 | 19 % |

> Memory is what limits long contexts, rather than arithmetic.

More at https://en.wikipedia.org/wiki/Attention_(machine_learning).
"""


def looks_as_it_should(p):
    b = p.b
    p.recite({"reasoning_content": "The question is about caches. I should be brief, and give an example."}, *re.findall(r"\S*\s*", MARKDOWN))
    p.ask("What is a KV cache, and why would one compress it?")
    html = lambda tag: b.js(f"return [...document.querySelectorAll('#chat .assistant > .md {tag}')].map((e) => e.textContent)")
    assert html("strong") == ["KV cache"] and html("em") == ["already"] and html("li li") == ["the newest ones exactly, in a window of 128,", "older ones compressed."]
    assert html("td") == ["f16", "16", "100 %", "tc", "3.1", "19 %"] and html("blockquote") == ["Memory is what limits long contexts, rather than arithmetic."]
    assert html("pre")[0].startswith("def attend(") and html("a") == ["https://en.wikipedia.org/wiki/Attention_(machine_learning)"]
    assert b.js("return document.querySelector('.thoughts').open") is False and b.js("return document.querySelector('.thoughts').hidden") is False
    for width, scheme in ((1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")):
        b.resize(width)
        b.colours(scheme)
        assert b.js("return document.documentElement.scrollWidth") <= width
        wide = b.js("""return [...document.querySelectorAll('body *')].filter((e) => e.getClientRects().length && !e.closest('pre, .table, svg, .sr, .skip') &&
            e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.tagName + '.' + e.className + '#' + e.id)""")
        assert not wide, wide
        b.js("document.querySelector('#scroll').scrollTop = 0")
        b.shot(f"chat-{width}-{scheme}")
        b.js("document.querySelector('#scroll').scrollTop = 1e6")
        b.shot(f"end-{width}-{scheme}")
        for button, dialog in (("#chats-open", "#chats"), ("#settings-open", "#settings"), ("#meter", "#cache"), ("#docs-open", "#docs")):
            b.click(button)
            b.until(f"document.querySelector('{dialog}').open")
            time.sleep(1 if SHOTS else 0)
            assert b.js(f"const r = document.querySelector('{dialog}').getBoundingClientRect(); return r.left >= 0 && r.right <= innerWidth && r.bottom <= innerHeight")
            b.shot(f"{dialog[1:]}-{width}-{scheme}")
            b.keys(ESCAPE)
            b.until(f"!document.querySelector('{dialog}').open")
    b.resize(1280)
    # the switch is stronger than the system, and everything that can be pressed has a name
    b.colours("light")
    paper = lambda: b.js("return getComputedStyle(document.body).backgroundColor")
    light = paper()
    b.click("#theme")
    assert paper() == light
    b.click("#theme")
    assert paper() != light
    b.click("#theme")
    nameless = b.js("return [...document.querySelectorAll('button, input, textarea, select')].filter((e) => !(e.textContent.trim() || e.getAttribute('aria-label') || (e.labels && e.labels.length)) && !e.hidden).map((e) => e.outerHTML)")
    assert not nameless, nameless


def by_keyboard_alone(p):
    """From the beginning of the page on, Tab reaches everything, and the answer to a question is had without a mouse."""
    p.b.open(p.url)
    p.b.until("document.querySelector('#model').value === 'qwen2'")
    p.b.js("document.activeElement.blur()")
    reached = []
    for _ in range(40):
        p.b.keys(TAB)
        reached.append(p.b.js("const e = document.activeElement; return e.id || e.getAttribute('aria-label') || e.className"))
    for name in ("skip", "chats-open", "meter", "new", "settings-open", "theme", "say", "docs-open", "Edit this question", "Answer again", "Copy code"):
        assert name in reached, (name, reached)
    p.recite("yes")
    p.b.js("document.querySelector('.skip').focus()")
    p.b.keys(ENTER)
    p.b.keys("Really?" + ENTER)
    p.idle()
    assert p.answer() == "yes"


def says_what_is_wrong(p):
    """Errors of the server in words, with a way on."""
    p.b.click("#new")
    p.proxy.say = None
    p.ask("word " * 30000)
    said = p.b.js(f"return {LAST}.querySelector('.wrong').textContent")
    assert "longer than the model can hold" in said and "Begin a new chat" in said, said
    p.b.click("#new")
    behind, p.proxy.behind = p.proxy.behind, 1
    p.ask("Anybody there?")
    said = p.b.js(f"return {LAST}.querySelector('.wrong').textContent")
    assert "cannot be reached" in said, said
    p.proxy.behind = behind
    p.b.shot("wrong")
    p.b.js(f"{LAST}.querySelector('.wrong button').click()")
    p.idle()
    assert p.b.js(f"return {LAST}.querySelector('.wrong').hidden") and len(p.answer()) > 3


def asks_for_a_key(p, keyed):
    p.b.open(f"http://127.0.0.1:{keyed}/")
    p.b.until("document.querySelector('#key').open")
    p.b.shot("key")
    p.b.type("#key-text", "wrong" + ENTER)
    p.b.until("document.querySelector('#key').open && !document.querySelector('#key-error').hidden")
    p.b.type("#key-text", KEY + ENTER)
    p.b.until("document.querySelector('#model').value === 'qwen2' && !document.querySelector('#key').open")
    p.ask("Hello")
    assert p.b.js(f"return {LAST}.querySelector('.wrong').hidden") and len(p.answer()) > 3
    assert p.b.js("return localStorage.getItem('kvrun.key')") in (None, '""')


def headers(port):
    """What comes with the page."""
    def get(**h):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        c.request("GET", "/", headers={k.replace("_", "-"): v for k, v in h.items()})
        r = c.getresponse()
        return r.status, r.headers, r.read()
    status, h, whole = get(Accept="text/html,*/*;q=0.8")
    policy = h["Content-Security-Policy"]
    assert status == 200 and "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy and h["Content-Encoding"] is None, (status, policy)
    packed = get(Accept="text/html", Accept_Encoding="br, gzip")
    import gzip
    assert packed[1]["Content-Encoding"] == "gzip" and gzip.decompress(packed[2]) == whole and packed[1]["ETag"] != h["ETag"]
    assert get(Accept="text/html", Accept_Encoding="gzip;q=0")[1]["Content-Encoding"] is None
    status, again, body = get(Accept="text/html", If_None_Match=h["ETag"])
    assert status == 304 and body == b"" and again["ETag"] == h["ETag"]
    assert get(Accept="text/html", If_None_Match='"other"')[0] == 200
    assert re.fullmatch(rb"kvrun \S+ is running\n", get(Accept="*/*")[2])
    assert not re.search(rb"(?:src|href)=[\"'](?!#|data:)", whole), "the page asks for something elsewhere"


def main():
    if not CHROMIUM or not DRIVER:
        print("skipped: there is no chromium, or no chromedriver (Debian: chromium, chromium-driver)")
        return 77
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    serve = [BIN / "kvrun", "serve", DATA / "tiny/qwen2.gguf", "--port", "0", "-t", "1", "--chat-template", "chatml", "--ctx", "30000", "--slots", "2",
             "-ctk", "q4_0", "-ctv", "q4_0", "--window", "32", "--contexts", pathlib.Path(folder.name, "contexts")]
    where = r"at http://127\.0\.0\.1:(\d+),"
    _, port = start(serve, where, pathlib.Path(folder.name, "log"))
    _, keyed = start([*serve, "--api-key", KEY], where, pathlib.Path(folder.name, "keyed.log"))
    headers(port)
    print("passed: headers", flush=True)
    b = Browser(folder.name)
    p = Page(b, Proxy(port), folder.name)
    b.open(p.url)
    for test in (loads, streams, asks_the_model, meter_moves, stops, edits_and_asks_again, reads_a_document, reload_keeps_the_chat, keeps_several_chats, leaves_a_chat_in_the_midst,
                 deletes_chats, keeps_what_there_is_room_for, hostile_output_stays_text, looks_as_it_should, by_keyboard_alone):
        began = time.time()
        test(p)
        wrong = [m for m in b.complaints() if "400 (Bad Request)" not in m] # the document that is none
        assert not wrong, (test.__name__, wrong)
        print(f"passed: {test.__name__} ({time.time() - began:.1f} s)", flush=True)
    says_what_is_wrong(p)
    asks_for_a_key(p, keyed)
    print("all passed")
    return 0


sys.exit(main())
