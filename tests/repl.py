#!/usr/bin/env python3
"""The chat of kvrun at a terminal: what is typed, pasted and completed, commands, Ctrl-C, files that go on; and what a pipe sees.

usage: repl.py BIN_DIR DATA_DIR

The program's standard input and standard error are a terminal (pty), its standard output a file: so what it answers can be compared
byte by byte with what it answers to the same question elsewhere.
"""
import fcntl
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

BIN, DATA = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
MODEL = str(DATA / "tiny/qwen2.gguf")
PATIENCE = 120  # seconds after which something is taken for hanging
UP, LEFT, CTRL_A, CTRL_C, CTRL_D, CTRL_R = "\x1b[A", "\x1b[D", "\x01", "\x03", "\x04", "\x12"
PROMPT = re.compile(r"\x1b\[\?2004h> ")
BASE = ["-t", "1", "-n", "8", "-c", "512"]


def flat(shown):
    """Without the ends of lines that the width of the window makes."""
    return re.sub(r"\s*\r\n", " ", shown)


class Chat:
    """kvrun at a terminal."""

    def __init__(self, *args, model=MODEL, columns=80, **env):
        self.out = tempfile.TemporaryFile("w+b", dir=".")
        self.master, slave = pty.openpty()
        self.resize(columns)
        self.was = termios.tcgetattr(slave)
        self.child = subprocess.Popen([BIN / "kvrun", model, *BASE, *args], stdin=slave, stderr=slave, stdout=self.out, start_new_session=True,
                                      env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", **env},
                                      preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.slave = slave  # stays open, so that what the program leaves of the terminal can be looked at
        self.shown, self.seen = "", 0

    def resize(self, columns, rows=24):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def more(self, seconds):
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        self.shown += os.read(self.master, 65536).decode("utf-8", "replace")
        return True

    def expect(self, what):
        """Wait for a pattern in what is shown from here on; returns what came up to its end."""
        pattern, end = re.compile(what, re.S) if isinstance(what, str) else what, time.monotonic() + PATIENCE
        while True:
            found = pattern.search(self.shown, self.seen)
            if found:
                came, self.seen = self.shown[self.seen:found.end()], found.end()
                return came
            assert time.monotonic() < end, f"no {pattern.pattern!r} in {self.shown[self.seen:]!r}"
            if self.child.poll() is not None and not self.more(0.2):
                raise AssertionError(f"it ended with {self.child.returncode}, without {pattern.pattern!r}: {self.shown[self.seen:]!r}")
            self.more(0.2)

    def type(self, keys):
        os.write(self.master, keys.encode())

    def prompt(self):
        return self.expect(PROMPT)

    def line(self, text):
        """A line at the prompt; returns what is shown until the next one."""
        self.prompt()
        self.type(text + "\r")

    def said(self):
        """All answers so far."""
        return os.pread(self.out.fileno(), 1 << 20, 0).decode()

    def leave(self, keys=CTRL_D, code=0):
        self.prompt()
        self.type(keys)
        return self.ended(code)

    def ended(self, code):
        end = time.monotonic() + PATIENCE
        while self.child.poll() is None:
            self.more(0.1)
            assert time.monotonic() < end, f"it does not end: {self.shown[self.seen:]!r}"
        while self.more(0.1):
            pass
        assert self.child.returncode == code, (self.child.returncode, self.shown[-500:])
        assert termios.tcgetattr(self.slave) == self.was, "the terminal is not as it was"
        assert self.shown.rfind("\x1b[?2004l") >= self.shown.rfind("\x1b[?2004h"), "pastes are still marked"
        said = self.said()
        os.close(self.master)
        os.close(self.slave)
        self.out.close()
        return said


def chat(turns, *args, **env):
    """Answers to lines that are typed, and what was shown besides."""
    c = Chat(*args, **env)
    for t in turns:
        c.line(t)
    said = c.leave()
    return said, c.shown


def run(*args, lines=None, code=0, **env):
    r = subprocess.run([BIN / "kvrun", *args], input=lines, capture_output=True, text=True, env={**os.environ, **env},
                       stdin=subprocess.DEVNULL if lines is None else None)
    assert r.returncode == code, (args, r.returncode, r.stderr)
    return r


def once(text, *args):
    return run(MODEL, *BASE, "--no-escape", "-p", text, *args).stdout


GREEDY = ["--temp", "0"]


def same_as_elsewhere():
    """A pipe and a terminal: the same answers; in a pipe no command, and nothing that moves a cursor."""
    turns = ["Hello", "Wie heißt 漢字?", "/usr/bin is a path", " /help"]
    piped = run(MODEL, *BASE, *GREEDY, lines="\n".join(turns) + "\n")
    said, shown = chat(turns, *GREEDY)
    assert said == piped.stdout and said, (said, piped.stdout)
    assert "\x1b" not in piped.stdout + piped.stderr and "Type to talk" in shown and "Type to talk" not in piped.stderr
    commands = run(MODEL, *BASE, *GREEDY, lines="/help\n/exit\n")
    assert commands.stdout == run(MODEL, *BASE, *GREEDY, lines="/help\n/exit\n\n").stdout and "/save" not in commands.stderr
    for columns in (20, 40):  # and a window that changes
        c = Chat(*GREEDY, columns=columns)
        for i, t in enumerate(turns):
            c.prompt()
            c.type(t[:2])
            c.resize(columns + 7 * i)
            c.type(t[2:] + "\r")
        assert c.leave() == said
    for term in ("dumb", ""):
        c = Chat(*GREEDY, TERM=term)
        for t in turns:
            c.expect("> ")
            c.type(t + "\n")
        c.expect("> ")
        c.type("/help\n")
        c.expect("/save")
        c.expect("> ")
        c.type(CTRL_D)
        assert c.ended(0) == said and "\x1b" not in c.shown


def texts_of_many_lines():
    text = "first line\n\tsecond: 漢字\n\n/help"
    expected = once(text, *GREEDY)
    for begin, end in (('"""\r', '\r"""'), ('"""', '"""')):
        c = Chat(*GREEDY)
        c.prompt()
        c.type(begin + text.replace("\t", "\x16\t").replace("\n", "\r") + end + "\r")
        assert c.leave() == expected, begin
    for ends in ("\n", "\r", "\r\n"):  # of a paste
        c = Chat(*GREEDY)
        c.prompt()
        c.type("\x1b[200~" + (text + "\n").replace("\n", ends) + "\x1b[201~\r")
        said = c.leave()
        assert said == expected, (ends, said, expected, c.shown)
    # A long one is not shown, and can stand among other words.
    many = "\n".join(f"line {i}" for i in range(30))
    c = Chat(*GREEDY)
    c.prompt()
    c.type("Sum up: ")
    c.type(f"\x1b[200~{many}\x1b[201~")
    c.expect(r"\[pasted text 1: 30 lines\]")
    c.type("!\r")
    assert c.leave() == once(f"Sum up: {many}!", *GREEDY) and "line 7" not in c.shown
    # Typed control characters of a paste do nothing.
    c = Chat(*GREEDY)
    c.prompt()
    c.type("\x1b[200~safe\x04\x1e\x1b[A\x1b[201~\r")
    assert c.leave() == once("safe[A", *GREEDY)
    # Ctrl-C gives a text up that was begun.
    c = Chat(*GREEDY)
    c.prompt()
    c.type('"""\rone\r')
    c.expect(r"\?2004h\. .*\?2004h\. ")
    c.type(CTRL_C)
    c.line("two")
    assert c.leave() == once("two", *GREEDY)


def history():
    c = Chat(*GREEDY, XDG_STATE_HOME=os.path.abspath("other"))
    c.line("alpha")
    c.line('"""\rbeta\rgamma\r"""')
    c.line("delta")
    c.leave()
    kept = pathlib.Path("other/kvcalib/history")
    assert kept.stat().st_mode & 0o777 == 0o600 and kept.parent.stat().st_mode & 0o777 == 0o700
    assert kept.read_text() == "alpha\nbeta\\ngamma\ndelta\n"
    c = Chat(*GREEDY, XDG_STATE_HOME=os.path.abspath("other"))  # another time
    c.prompt()
    c.type(UP + UP + "\r")
    c.prompt()
    c.type(CTRL_R + "alp\r")
    said = c.leave()
    expected, _ = chat(['"""\rbeta\rgamma\r"""', "alpha"], *GREEDY)
    assert said == expected
    os.chmod("other/kvcalib", 0o500)
    if os.geteuid():  # root may write anywhere
        c = Chat(*GREEDY, XDG_STATE_HOME=os.path.abspath("other"))
        c.leave()
    os.chmod("other/kvcalib", 0o700)
    kept.unlink()
    kept.mkdir()
    said, shown = chat(["alpha"], *GREEDY, XDG_STATE_HOME=os.path.abspath("other"))
    assert said and "history" in shown


def completion():
    pathlib.Path("notes and more.txt").write_text("The ferry leaves at nine.\n")
    c = Chat(*GREEDY)
    c.prompt()
    c.type("/he\t\r")
    c.expect("Tab completes")
    c.prompt()
    c.type("/re\t")
    c.expect(r"/read +/regen")
    c.type("a\tnot\t\r")
    c.expect("notes and more.txt: [0-9]+ tokens, read in")
    c.prompt()
    c.type("/set top\t\t")
    c.expect("top-k .*top-nsigma .*top-p ")
    c.type("k\t5\r")
    c.line("/show")
    c.expect(r"\* top-k +5\r")
    c.prompt()
    c.type("/nothing\t\t" + "\x15" + "no command\t\x15")
    c.expect("no command.*\x07.*> \x1b.K")
    c.type(CTRL_C)
    assert c.ended(130) == ""


def interrupts():
    """The first Ctrl-C ends an answer that would not end, and what was said stays; one at an empty prompt leaves."""
    c = Chat(*GREEDY, "-n", "-1", "--ignore-eos", "--endless", "-c", "256", "-ctk", "q8_0", "-ctv", "q8_0", "--window", "6", "--sinks", "2")
    c.line("Tell me all")
    while len(c.said()) < 200:
        c.more(0.05)
    c.type(CTRL_C)
    c.line("/context")
    c.expect(r"turns: 1\.")
    c.prompt()
    c.type("half a line")
    c.expect("half a line")
    c.type(CTRL_C)
    assert len(c.leave(CTRL_C, 130)) >= 200
    for number in (signal.SIGTERM, signal.SIGHUP):
        c = Chat(*GREEDY)
        c.prompt()
        c.type("half a line")
        c.expect("half a line")
        c.child.send_signal(number)
        c.ended(130)


def stopped_and_continued():
    """As by Ctrl-Z and fg: a shell has had the terminal in between."""
    c = Chat(*GREEDY)
    c.prompt()
    c.type("half a li")
    c.expect("half a li")
    c.child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, c.child.pid, os.WSTOPPED | os.WNOWAIT)
    termios.tcsetattr(c.slave, termios.TCSANOW, c.was)
    c.child.send_signal(signal.SIGCONT)
    c.expect("> half a li")
    c.type("ne\r")
    assert c.leave() == once("half a line", *GREEDY)


def commands():
    turns = ["one", "two"]
    both, _ = chat(turns, *GREEDY)
    first, _ = chat(turns[:1], *GREEDY)
    second = both[len(first):]
    said, shown = chat(["one", "two", "/regen", "/retry", "/undo", "two", "/undo", "/undo", "/undo", "/undo", "one"], *GREEDY)
    assert said == first + 4 * second + first, (said, first, second)
    assert "taken back: two" in shown and "there is nothing to take back" in shown
    said, _ = chat(["one", "/clear", "one", "/reset", "one"], *GREEDY)
    assert said == 3 * first
    # What is chosen, and how: as on the command line.
    set_so, shown = chat(["/set temp 1.5", "/set seed 7", "/set --top-k 0", "/set predict 5", "one", "/show"])
    assert set_so == once("one", "--temp", "1.5", "--seed", "7", "--top-k", "0", "-n", "5"), (set_so, shown)
    assert re.search(r"\* temp +1.5\r", shown) and re.search(r"  min-p +0.05\r", shown)
    said, shown = chat(["/set temp 0", "/set logit-bias 5-inf 7+2", "/set logit-bias default", "/set temp x", "/set nothing 1", "/set temp",
                        "/set ignore-eos maybe", "/set samplers top_k;top_k", "/set samplers default", "one"])
    assert said == first, shown
    for what in ("--temp: 'x' is not a number in 0..100", "nothing called 'nothing'", "/set temp T, or", "neither on nor off", "has top_k twice"):
        assert what in flat(shown), (what, shown)
    # The system prompt.
    said, shown = chat(["/system", "/system Be brief.", "/system", "one", "/system none", "/clear", "one"], *GREEDY)
    assert said == once("one", "-sys", "Be brief.", *GREEDY) + first and "kvrun: Be brief." in shown
    # Mistakes.
    said, shown = chat(["/halp", "/exit now", "/load", "/load nowhere.kv", "/save", "/read", "/read nowhere", "/regen", "/save ."], *GREEDY)
    for what in ("no command /halp", "/exit stands alone", "/load needs something behind it", "nowhere.kv: cannot open", "where to?",
                 "/read needs something", "nowhere: cannot", "no answer to give once more", "stays as it is"):
        assert what in flat(shown), (what, shown)
    assert said == ""
    c = Chat()
    c.line("/bye")
    c.ended(0)


def documents():
    text = "The ferry to Brenn leaves at nine. Its captain is called Odo"  # ends so that its last token is the same in the whole
    pathlib.Path("notes.txt").write_text(text)
    whole = once("Read the text below. A question about it follows after it.\n\n" + text + "\n\nWho?", *GREEDY)
    said, shown = chat(["/read notes.txt", "Who?", "/undo", "Who?"], *GREEDY)
    assert said == 2 * whole, (said, whole)
    assert re.search(r"notes.txt: \d+ tokens, read in", shown)
    _, shown = chat(["/read notes.txt", "/regen", "/undo", "/undo"], *GREEDY)
    assert all(what in flat(shown) for what in ("ask about it, or /undo", "is taken back", "nothing to take back")), shown
    run("docs", "add", MODEL, "notes.txt", "-q", "-t", "1")
    said, shown = chat(["/docs", "/docs no", "Who?", "/docs what"], *GREEDY)
    assert said == whole and "no document" in shown, shown
    found = re.search(r"notes.txt: (\d+) tokens, of which (\d+) were read before", shown)
    assert found and int(found[2]) >= int(found[1]) - 1, shown  # the last is read again for what comes next
    c = Chat(*GREEDY)
    c.prompt()
    c.type("/docs n\t")
    c.expect("otes.txt")
    c.type("\r")
    c.leave()


def files():
    """A chat that was loaded goes on as if it had never stopped, chance included."""
    args = ["--temp", "2", "--seed", "5"]
    said, shown = chat(["one", "two", "/undo", "/save chat.kv", "three", "four"], *args)
    again, shown = chat(["zero", "/load chat.kv", "three", "four"], *args)
    assert "going on after 1 turn," in shown, shown
    zero, _ = chat(["zero"], *args)
    kept = again[len(zero):]
    assert kept and said.endswith(kept), (said, kept)
    other, _ = chat(["/set temp 2", "/load chat.kv", "three", "four"], "-c", "256")  # of a shorter context: as the file has it
    assert other == kept, (other, kept)
    info = run("info", "chat.kv").stdout
    assert "title     one" in info and "turns     1, of a chat" in info, info
    _, shown = chat(["/load chat.kv", "three", "/save", "/undo", "/undo", "/undo"], *args)
    assert shown.count("chat.kv: 2 turns") == 1 and "taken back: one" in shown
    pathlib.Path("mine.txt").write_text("mine")
    _, shown = chat(["one", "/save mine.txt", "/save nowhere/chat.kv", "/load mine.txt"], *args)
    assert pathlib.Path("mine.txt").read_text() == "mine" and "stays as it is" in shown and "not a .kv file" in shown
    run("read", MODEL, "mine.txt", "-q", "-t", "1")
    _, shown = chat(["/load mine.kv", "/read mine.kv"], *args)
    assert "holds no chat" in shown and "is a .kv file" in shown
    _, shown = chat(["/load chat.kv"], *args, model=str(DATA / "tiny/llama.gguf"))
    assert "is of another model" in flat(shown)


def kept_for_the_next_time():
    """The cache of contexts gets a chat however it ends, and what was read of a prompt before somebody stopped it."""
    env = {"XDG_CACHE_HOME": os.path.abspath("cache")}
    turn = " ".join(f"Day {i}: {i * 7 % 31} crates came." for i in range(14))
    for i, (keys, number, code) in enumerate((("/exit\r", None, 0), (CTRL_C, None, 130), (None, signal.SIGTERM, 130), (None, signal.SIGHUP, 130))):
        c = Chat(*GREEDY, "-c", "4096", "--context-cache", "100M", **env)
        c.line(f"{i} {turn}")
        c.prompt()
        if keys:
            c.type(keys)
        else:
            c.child.send_signal(number)
        c.ended(code)
        assert run("contexts", **env).stdout.count("a chat") == i + 1, c.shown
    run("contexts", "--clear", **env)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, place in (("STATE", "state"), ("DATA", "data"), ("CACHE", "cache"), ("CONFIG", "config")):
            os.environ[f"XDG_{name}_HOME"] = os.path.join(folder, place)
        os.environ["HOME"] = folder
        pathlib.Path("known").write_text("leak:wcsdup\n")  # libedit frees no names of functions that it was given
        os.environ["LSAN_OPTIONS"] = f"suppressions={folder}/known:print_suppressions=0"
        for test in (same_as_elsewhere, texts_of_many_lines, history, completion, interrupts, stopped_and_continued, commands, documents, files, kept_for_the_next_time):
            if len(sys.argv) > 3 and test.__name__ not in sys.argv[3:]:
                continue
            test()
            print(test.__name__, flush=True)
    print("all passed")
