#!/bin/sh
# The table of bad files, badfiles.py, in a folder of its own.
# usage: badfiles.sh BIN_DIR [NAME_PART]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
PYTHONDONTWRITEBYTECODE=1 python3 "$here/badfiles.py" "$@"
