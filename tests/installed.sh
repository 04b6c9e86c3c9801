#!/bin/sh
# The installed tree: public headers alone, in C11 and C++17; examples built with pkg-config and with CMake and run; programs and
# library that find their profiles, also after the tree has moved.
# usage: installed.sh BUILD SOURCE CMAKE CC "FLAGS"     FLAGS: what the library itself needs, sanitizers
set -eu
build=$1 source=$2 cmake=$3 cc=$4 flags=$5
. "$source/tests/lib.sh"
tiny=$source/tests/data/tiny
unset KVCALIB_PROFILES
export XDG_DATA_HOME="$dir/nothing"
strict="-Wall -Wextra -Wpedantic -Werror $flags"
cxx=$(command -v c++ || command -v g++ || command -v clang++ || true)
[ -n "$cxx" ] || echo "skipped: C++, there is no compiler for it (scripts/install-deps gets it)"

"$cmake" --install "$build" --prefix "$dir/first" >install.log || { cat install.log; die "cmake --install"; }
for f in bin/kvcalib bin/kveval bin/kvpack bin/kvrun share/man/man1/kvrun.1 include/kv/kv.h share/kvcalib/profiles/balanced.yaml share/kvcalib/models/catalogue.yaml; do
    [ -e "first/$f" ] || die "no $f in the installed tree"
done

# ---- headers ----

for h in first/include/kv/*.h; do
    n=${h##*/}
    echo "#include <kv/$n>" >alone.c
    "$cc" -std=c11 $strict -Wpadded -Wstrict-prototypes -Ifirst/include -fsyntax-only alone.c || die "$n alone in C11"
    [ -z "$cxx" ] || "$cxx" -x c++ -std=c++17 $strict -Ifirst/include -fsyntax-only alone.c || die "$n alone in C++17"
done
{
    echo "#include <kv/kv.h>"
    echo "int main(void) {"
    sed -n 's/^#define \(KV_[A-Z_]*\)_INIT\>.*/\1/p' first/include/kv/*.h | while read -r name; do
        type=$(echo "$name" | tr A-Z a-z)
        echo "    { $type x = ${name}_INIT; if (x.size != sizeof x) return 1; }"
    done
    echo "    return 0;"
    echo "}"
} >init.c
[ "$(grep -c INIT init.c)" -ge 7 ] || die "structures that can be initialised: $(cat init.c)"
"$cc" -std=c11 $strict -Ifirst/include init.c -o init && ./init || die "initialisers in C11"
[ -z "$cxx" ] || { "$cxx" -x c++ -std=c++17 $strict -Ifirst/include init.c -o init && ./init; } || die "initialisers in C++17"

# ---- build ----

lib=$(dirname "$(find first -name libkv.so)")
export PKG_CONFIG_PATH="$dir/$lib/pkgconfig"
compile="$(pkg-config --cflags kv)"
[ "$(pkg-config --modversion kv)" = "$(sed -n 's/.*Version: //p' "$lib/pkgconfig/kv.pc")" ] || die "version of kv.pc"
mkdir shared static
for e in chat calibrate_and_pack perplexity attention_tap; do
    "$cc" -std=c11 $strict $compile "$source/examples/$e.c" $(pkg-config --libs kv) -lm -o shared/$e || die "$e with pkg-config"
    "$cc" -std=c11 $strict $compile "$source/examples/$e.c" \
        $(pkg-config --libs --static kv | sed 's/-lkv\>/-l:libkv.a/') -o static/$e || die "$e with pkg-config --static"
done
[ -z "$cxx" ] || "$cxx" -x c++ -std=c++17 $strict $compile "$source/examples/perplexity.c" -x none $(pkg-config --libs kv) \
    -o shared/perplexity++ || die "perplexity in C++17"

mkdir consumer
cat >consumer/CMakeLists.txt <<EOF
cmake_minimum_required(VERSION 3.22)
project(consumer LANGUAGES C)
find_package(kv 0.2 REQUIRED)
set(CMAKE_C_FLAGS "$flags")
add_executable(perplexity "$source/examples/perplexity.c")
target_link_libraries(perplexity PRIVATE kv::kv m)
add_executable(perplexity_static "$source/examples/perplexity.c")
target_link_libraries(perplexity_static PRIVATE kv::kv_static)
EOF
consume() {
    rm -rf made
    "$cmake" -S consumer -B made -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$dir/$1" >cmake.log 2>&1 &&
        "$cmake" --build made >>cmake.log 2>&1 || { cat cmake.log; die "find_package(kv) in $1"; }
}
consume first

# ---- run ----

i=0
while [ $i -lt 40 ]; do
    echo "Line $i: the ferry leaves the harbour at $((i % 12)) and comes back with $((i * 7 % 31)) crates of pears."
    i=$((i + 1))
done >text

run() {
    prefix=$dir/$1
    export LD_LIBRARY_PATH="$prefix/${lib#first/}"
    cp "$prefix/share/kvcalib/profiles/small.yaml" "$prefix/share/kvcalib/profiles/only-here.yaml"
    for m in qwen2 llama; do
        shared/perplexity $tiny/$m.gguf text >want || die "perplexity of $m in $1"
        grep -q '^perplexity [0-9.]* over [0-9]* tokens; K 16.00, V 16.00' want || { cat want; die "perplexity of $m in $1"; }
        for p in static/perplexity made/perplexity made/perplexity_static ${cxx:+shared/perplexity++}; do
            $p $tiny/$m.gguf text | cmp - want || die "$p of $m says something else in $1"
        done
        shared/attention_tap $tiny/$m.gguf "$(head -c 250 text)" | grep -q '^layer  1: [0-9.]* ' || die "attention_tap in $1"
    done
    shared/perplexity $tiny/qwen2.gguf text only-here | grep -v 'K 16.00' | grep -q '^perplexity' || die "the library finds no profiles in $1"
    fails 1 "there are: .*only-here" shared/perplexity $tiny/qwen2.gguf text no-such-one
    "$prefix/bin/kvpack" --show only-here >/dev/null || die "programs find no profiles in $1"
    fails 1 "no-such-model" shared/perplexity no-such-model text
    echo hello | shared/chat $tiny/qwen2.gguf >said || die "chat in $1"
    [ "$(wc -c <said)" -gt 10 ] || { cat said; die "chat says nothing in $1"; }
    echo the ferry | shared/chat $tiny/gemma3.gguf >said || die "chat with a model that has no chat format in $1"
    [ "$(wc -c <said)" -gt 10 ] || { cat said; die "chat goes on with nothing in $1"; }
}
run first

# The library and the program come to the same profile.
shared/calibrate_and_pack $tiny/qwen2.gguf packed.gguf text 2>err >out || { cat err; die "calibrate_and_pack"; }
grep -q '^layer  1: K [0-9.]*, V [0-9.]*$' out || { cat out; die "calibrate_and_pack shows no layers"; }
first/bin/kvcalib $tiny/qwen2.gguf --text text --out one.yaml -q >/dev/null || die kvcalib
first/bin/kvpack $tiny/qwen2.gguf one.yaml --out one.gguf 2>/dev/null || die kvpack
cmp packed.gguf one.gguf || die "kv_calibrate and kvcalib make different profiles"
shared/perplexity packed.gguf text | grep -v 'K 16.00' | grep -q '^perplexity' || die "a packed profile does not apply"

mv first second
PKG_CONFIG_PATH="$dir/second/${lib#first/}/pkgconfig" pkg-config --cflags kv | grep -q "second/" || die "kv.pc does not move"
consume second
run second
# what kvrun becomes for networks moves along, and finds profiles from where it is
fails 1 "nothing answers there" second/bin/kvrun client hi --url http://127.0.0.1:1
[ -e second/share/systemd/user/kvrun.service ] || die "no unit of systemd"
second/bin/kvrun serve $tiny/qwen2.gguf --port 0 --profile balanced --chat-template chatml 2>served &
server=$!
i=0
until grep -q 'at http://127' served; do
    i=$((i + 1))
    [ $i -lt 600 ] && kill -0 $server 2>/dev/null || { cat served; die "kvrun serve does not start"; }
    sleep 0.1
done
second/bin/kvrun client hi --url "$(sed -n 's/.* at \(http[^,]*\),.*/\1/p' served)" -n 4 >said || die "kvrun client: no answer"
kill $server
wait $server || die "kvrun serve ended with $?"
KV_MODEL_DIR=$dir/none XDG_CONFIG_HOME=$dir second/bin/kvrun list --all | grep -q "^qwen2.5-coder-0.5b " || die "the catalogue does not move"
fails 1 "cannot be found" env KV_MODEL_DIR="$dir/none" XDG_CONFIG_HOME="$dir" KV_MODEL_BASE=http://nobody.invalid second/bin/kvrun pull qwen2.5-coder-0.5b
rm -r second/share/kvcalib
fails 1 "there are: none" shared/perplexity $tiny/qwen2.gguf text balanced
fails 2 "those are: none" second/bin/kvpack --show balanced
