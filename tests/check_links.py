#!/usr/bin/env python3
"""Relative links in every Markdown page lead somewhere, headings included, and docs/map.md leads to every manual.

usage: check_links.py [ROOT]

Links are [text](target), ![text](target) and [name]: target, outside of code. Targets with a scheme (https:) are not looked at:
nothing here needs a network. A target must lie inside ROOT; #heading must be one of the page, written the way GitHub writes it.
"""
import os
import re
import sys
import urllib.parse

SKIPPED = {"build", ".git", ".venv"}
FENCE = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1[^\n]*$", re.M | re.S)
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.S)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(\s*<?([^()\s<>]+(?:\([^()\s]*\)[^()\s]*)*)>?(?:\s+\"[^\"]*\")?\s*\)")
IMAGE_IN = re.compile(r"!\[[^\[\]]*\]\(\s*<?([^()\s<>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
DEFINITION = re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?([^\s<>]+)>?", re.M)
HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*$", re.M)
SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:", re.I)
MAP = os.path.join("docs", "map.md")
MAPPED = ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", os.path.join("docs", "lab", "README.md")]


def blank(match):
    """As many lines as before, so that places stay right."""
    return "\n" * match.group(0).count("\n")


def pages():
    found = []
    for folder, folders, names in os.walk("."):
        folders[:] = sorted(f for f in folders if f not in SKIPPED)
        found += [os.path.normpath(os.path.join(folder, n)) for n in sorted(names) if n.endswith(".md")]
    return found


def anchors(text):
    """Of every heading, as GitHub makes them: letters, digits, - and _; a second one of the same name gets -1."""
    seen, found = {}, set()
    for heading in HEADING.findall(FENCE.sub(blank, text)):
        heading = re.sub(r"!?\[([^\[\]]*)\]\([^()]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if name in seen else name)
        seen[name] = seen.get(name, 0) + 1
    return found


def links(text):
    """(line, target) of every link."""
    text = CODE.sub(blank, FENCE.sub(blank, text))
    return sorted({(text.count("\n", 0, m.start()) + 1, m.group(1)) for p in (LINK, IMAGE_IN, DEFINITION) for m in p.finditer(text)})


def broken(page, target, texts):
    """What is wrong with a link, or None; and the file that it leads to, or None."""
    if SCHEME.match(target) or target.startswith("//"):
        return None, None
    path, _, heading = urllib.parse.unquote(target).partition("#")
    if path.startswith("/"):
        return "is absolute; links are relative to the page", None
    at = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
    if at.split(os.sep)[0] == "..":
        return "leads out of the repository", None
    if not os.path.exists(at):
        return f"there is no {at}", None
    if heading and at in texts and heading not in anchors(texts[at]):
        return f"{at} has no heading #{heading}", at
    return None, at


def main():
    os.chdir(sys.argv[1] if len(sys.argv) > 1 else ".")
    texts, complaints, mapped = {}, [], set()
    for page in pages():
        with open(page, encoding="utf-8") as stream:
            texts[page] = stream.read()
    for page, text in texts.items():
        for line, target in links(text):
            wrong, at = broken(page, target, texts)
            if wrong:
                complaints.append(f"{page}:{line}: {target}: {wrong}")
            elif page == MAP:
                mapped.add(at)
    manuals = [p for p in texts if os.path.dirname(p) == "docs" and p != MAP]
    complaints += [f"{MAP} does not link {p}" for p in manuals + MAPPED if p not in mapped]
    if not texts:
        complaints.append("no Markdown pages here")
    print("\n".join(complaints) or f"{len(texts)} pages, all links lead somewhere")
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main())
