#!/bin/sh
# What tools make of what they are given: texts of every kind, names with control characters, options that cannot go together. All of
# it on tiny models, so nothing here may take long; what is wrong must be said before any of the text is run.
# usage: inputs.sh BIN_DIR DATA_DIR
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
cp "$2"/tiny/*.gguf .
python3 "$here/inputs.py" "$1"
