"""What resume.py and changing.py share."""
import argparse
import pathlib
import subprocess


def arguments(doc):
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin", type=pathlib.Path)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def start(args, tool, *words, **more):
    return subprocess.Popen([args.bin / tool, *map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


def finish(process, timeout=300):
    out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def prose(n):
    return "".join(f"Line {i}: {i * 37 % 101} boats passed under {i * 13 % 7} bridges.\n" for i in range(n))
