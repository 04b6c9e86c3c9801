#!/bin/sh
# What KV_HARDEN asks of compiler and linker is in the programs.
# usage: hardened.sh READELF BIN_DIR
set -eu
readelf=$1 bin=$2
. "$(dirname "$0")/lib.sh"
for p in kvcalib kveval kvpack kvrun kvrun-net; do
    "$readelf" -hlW "$bin/$p" >headers
    "$readelf" -dW "$bin/$p" >dynamic
    "$readelf" --dyn-syms -W "$bin/$p" >symbols
    grep -q 'Type: *DYN' headers || die "$p is at a fixed address"
    grep -q GNU_RELRO headers || die "$p: tables of the linker can be written to"
    grep -Eq 'BIND_NOW|FLAGS.*NOW' dynamic || die "$p: tables of the linker stay open"
    grep -q '__stack_chk_fail' symbols || die "$p has no stack protector"
    grep -Eq '__(mem|s|v|f)[a-z]*_chk' symbols || die "$p has no checked functions"
done
echo "all passed"
