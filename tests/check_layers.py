#!/usr/bin/env python3
"""The layering law: which room may use which, that nothing goes in circles, and which library belongs to whom.

usage: check_layers.py [ROOT]

A room is a folder with everything in it, or a single file. To use is to include, or to name a function or table whose
declaration one sees by what one includes: so a header cannot hide who does the work. Order between rooms leaves no circles
across them, since every circle would have to go up somewhere; inside a room, circles of files are looked for.
"""
import os
import re
import sys
from collections import defaultdict

# The parts: name, parts it stands on, its rooms from the top floor down. A room may use itself, the floors below its own, the
# parts that its part stands on, and include/kv. Rooms of one floor do not use each other.
PARTS = [
    ("include/kv", [], ["include/kv"]),
    ("libfmt", [], [
        "libfmt/profile",
        "libfmt/gguf libfmt/quant libfmt/context",
        "libfmt/base",
    ]),
    ("runtime", ["libfmt"], [
        "runtime/session runtime/sample runtime/reply",
        "runtime/backward",
        "runtime/model",
        "runtime/step",
        "runtime/evict",
        "runtime/attention",
        "runtime/cache",
        "runtime/codec",
        "runtime/grammar",
        "runtime/mat runtime/text",
        "runtime/kernels runtime/template",
        "runtime/machine",
    ]),
    ("calib", ["libfmt"], ["calib"]),
    ("lib", ["libfmt", "runtime", "calib"], [
        "lib/api",
        "lib/calibrate lib/schedule",
        "lib/eval lib/shipped lib/document lib/library lib/contexts lib/models",
        "lib/fetch",
    ]),
    ("examples", ["lib"], ["examples"]),
    ("tools", ["libfmt", "runtime", "calib", "lib"], [
        "tools/kvcalib tools/kveval tools/kvpack tools/kvrun",
        "tools/serve",
        "tools/report tools/cli",
        "tools/measure",
    ]),
    ("bench", ["libfmt", "runtime", "calib", "lib", "tools"], ["bench"]),
    ("tests", ["libfmt", "runtime", "calib", "lib", "tools", "bench"], ["tests"]),
]

# What breaks the law today: pairs of rooms, the first of which may use the second all the same, or declares what the second
# does; the same room twice: circles inside it. A pair that nothing needs any more is an error, and each has a line with its reason.
EXCEPTIONS = set()

# Only this part and the tests may have lines that match.
OWNERS = [
    ("libfmt", r"#\s*include\s*<(yaml|zstd[a-z_]*)\.h>"),
    ("tools", r"#\s*include\s*<microhttpd\.h>"),
    ("lib", r"#\s*include\s*<sqlite3[a-z]*\.h>"),
    ("tools", r"#\s*include\s*<(histedit|editline/.*)\.h>"),
    ("lib", r"#\s*include\s*<openssl/.*>"),
    ("calib", r"#\s*include\s*<(.*/)?(lapacke?|cblas|openblas_config)[a-z_]*\.h>"),
    ("lib", r"#\s*include\s*<(libxml/\w+|zip)\.h>"),
    ("calib", r"\b[sd](sy|ge|po|tr|or)[a-z0-9]{2,4}_\b *\("),
]

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.M)
NOT_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
# At the beginning of a line: a function with its parameters and how it goes on, or a table with its initializer. Types that are
# static or typedefs are nobody else's.
START = r"^(?!static\b|typedef\b|extern\b|return\b|else\b|#)"
FUNCTION = re.compile(START + r"[A-Za-z_][\w \t*]*?[ *](\w+)\(([^;{}]*)\)[^;{}()=]*([;{])", re.M)
ATTRIBUTED = re.compile(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)")
TABLE = re.compile(START + r"[A-Za-z_][\w \t*]*?[ *](\w+)(?:\[[^\]]*\])* =", re.M)
EXTERN = re.compile(r"^extern\b[^;(]*?(\w+)(?:\[[^\]]*\])*;", re.M)
NAME = re.compile(r"(?<![\w.>])[A-Za-z_]\w*")


class Tree:
    """Files, their rooms, and who uses whom."""

    def __init__(self):
        self.complaints = []
        self.floor, self.part = {}, {}
        self.below = {name: set(on) for name, on, _ in PARTS}
        for name, _, floors in PARTS:
            for number, rooms in enumerate(floors):
                for room in rooms.split():
                    self.floor[room], self.part[room] = number, name
        self.files = sorted(
            os.path.join(folder, f) for part, _, _ in PARTS for folder, _, names in os.walk(part) for f in names
            if f.endswith((".c", ".h")))
        self.text = {}
        for f in self.files:
            with open(f, encoding="utf-8") as stream:
                self.text[f] = stream.read()
        self.room = {f: self.room_of(f) for f in self.files}
        self.files = [f for f in self.files if self.room[f]]
        self.includes = {f: self.find_includes(f) for f in self.files}
        self.find_calls()

    def complain(self, what):
        self.complaints.append(what)

    def room_of(self, path):
        at = path
        while at and at not in self.part:
            at = os.path.dirname(at)
        if not at:
            self.complain(f"{path} is in no room of the table in tests/check_layers.py")
        return at

    def find_includes(self, path):
        found = set()
        for kind, name in INCLUDE.findall(self.text[path]):
            at = [os.path.join(root, name) for root in ["include"] + [p for p, _, _ in PARTS]]
            at = [p for p in at if p in self.room]
            if len(at) == 1:
                found.add(at[0])
            elif len(at) > 1:
                self.complain(f"{path} includes {name}, which may be any of {', '.join(at)}")
            elif kind == '"' and name.endswith(".h"):
                self.complain(f"{path} includes {name}, which is nowhere (names begin at the part: \"cache/state.h\")")
        return found

    def sees(self, path):
        """All headers that a file includes, and those that they include."""
        seen, todo = set(), [path]
        while todo:
            for header in self.includes[todo.pop()] - seen:
                seen.add(header)
                todo.append(header)
        return seen

    def find_calls(self):
        code = {f: ATTRIBUTED.sub(" ", NOT_CODE.sub(" ", t)) for f, t in self.text.items()}
        self.defined, self.declared = defaultdict(set), defaultdict(set)
        for f in self.files:
            for name, _, end in FUNCTION.findall(code[f]):
                if f.endswith(".c") and end == "{":
                    self.defined[name].add(f)
                if f.endswith(".h") and end == ";":
                    self.declared[name].add(f)
            if f.endswith(".c"):
                for name in TABLE.findall(code[f]):
                    self.defined[name].add(f)
            else:
                for name in EXTERN.findall(code[f]):
                    self.declared[name].add(f)
        self.calls = {f: defaultdict(set) for f in self.files}
        public = self.defined.keys() & self.declared.keys()
        for f in self.files:
            sees = self.sees(f) | {f}
            for name in public & set(NAME.findall(code[f])):
                if f not in self.defined[name] and not sees.isdisjoint(self.declared[name] - {f}):
                    for there in self.defined[name]:
                        self.calls[f][there].add(name)

    def may_use(self, room, other):
        mine, theirs = self.part[room], self.part[other]
        if room == other or theirs == "include/kv":
            return True
        return self.floor[room] < self.floor[other] if mine == theirs else theirs in self.below[mine]

    def circles(self):
        """Sets of files that use each other, headers by inclusion and the others by calls."""
        edges = {f: list(self.includes[f]) + [t for t in self.calls[f] if f.endswith(".c")] for f in self.files}
        number, low, stack, open_, found = {}, {}, [], set(), []

        def visit(f):
            number[f] = low[f] = len(number)
            stack.append(f)
            open_.add(f)
            for t in edges[f]:
                if t not in number:
                    visit(t)
                    low[f] = min(low[f], low[t])
                elif t in open_:
                    low[f] = min(low[f], number[t])
            if low[f] == number[f]:
                circle = stack[stack.index(f):]
                del stack[len(stack) - len(circle):]
                open_.difference_update(circle)
                if len(circle) > 1:
                    found.append(sorted(circle))

        for f in self.files:
            if f not in number:
                visit(f)
        return found


def check(tree):
    used = set()

    def breaks(room, other, what):
        if (room, other) in EXCEPTIONS:
            used.add((room, other))
        else:
            tree.complain(what)

    for f in tree.files:
        room = tree.room[f]
        for t in sorted(tree.includes[f]):
            if not tree.may_use(room, tree.room[t]):
                breaks(room, tree.room[t], f"{f} includes {t}: {room} may not use {tree.room[t]}")
            elif t.endswith("_internal.h") and tree.room[t] != room and tree.part[room] not in ("tests", "bench"):
                breaks(room, tree.room[t], f"{f} includes {t}: what is internal is for {tree.room[t]} and the tests")
        for t, names in sorted(tree.calls[f].items()):
            if not tree.may_use(room, tree.room[t]):
                breaks(room, tree.room[t], f"{f} uses {', '.join(sorted(names))} of {t}: {room} may not use {tree.room[t]}")
    for name, headers in sorted(tree.declared.items()):
        for h in headers:
            for f in tree.defined.get(name, ()):
                if tree.room[h] not in (tree.room[f], "include/kv") and tree.part[tree.room[f]] not in ("bench", "tests"):
                    breaks(tree.room[h], tree.room[f], f"{h} declares {name}, which {f} defines: it belongs in {tree.room[f]}")
    for circle in tree.circles():
        rooms = {tree.room[f] for f in circle}
        if len(rooms) == 1:  # else a use goes up, and has been complained of
            breaks(*rooms, *rooms, f"{', '.join(circle)} use each other in a circle")
    for pair in sorted(EXCEPTIONS - used):
        tree.complain(f"tests/check_layers.py: nothing needs the exception {pair} any more")
    for part, pattern in OWNERS:
        for f in tree.files:
            if tree.part[tree.room[f]] not in (part, "tests"):
                for number, line in enumerate(tree.text[f].splitlines(), 1):
                    if re.search(pattern, line):
                        tree.complain(f"{f}:{number}:{line}: that is for {part} alone")


def main():
    os.chdir(sys.argv[1] if len(sys.argv) > 1 else ".")
    tree = Tree()
    check(tree)
    print("\n".join(tree.complaints) or "all rooms follow the law")
    return bool(tree.complaints)


if __name__ == "__main__":
    sys.exit(main())
