#!/usr/bin/env python3
"""What libkv exports is what include/kv declares: no more, no less, in the shared and in the static library.

usage: check_api.py INCLUDE_DIR NM LIBRARY...
"""
import glob
import re
import subprocess
import sys

DECLARED = re.compile(r"^KV_API\s[^;{]*?\b(kv_\w+)\s*\(", re.M)


def exported(nm, library):
    how = ["-D"] if ".so" in library else ["-g"]
    out = subprocess.run([nm, *how, "--defined-only", library], check=True, capture_output=True, text=True).stdout
    return {line.split()[2].split("@")[0] for line in out.splitlines() if len(line.split()) == 3}


def main():
    include, nm, *libraries = sys.argv[1:]
    declared = set()
    for header in glob.glob(f"{include}/kv/*.h"):
        with open(header, encoding="utf-8") as f:
            declared |= set(DECLARED.findall(re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)))
    bad = not declared
    for library in libraries:
        names = exported(nm, library)
        for name in sorted(names - declared):
            bad = print(f"{library} exports {name}, which no public header declares") or True
        for name in sorted(declared - names):
            bad = print(f"{library} lacks {name}, which a public header declares") or True
    print(f"{len(declared)} functions declared")
    return bad


if __name__ == "__main__":
    sys.exit(main())
