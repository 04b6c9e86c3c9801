#!/bin/sh
# The layering law: which room may include which, and which library belongs to which room.
# usage: check_layers.sh ROOT
set -eu
cd "$1"
bad=0
complain() { echo "$*"; bad=1; }

# Rooms that a room may include besides itself.
allowed() {
    case $1 in
    libfmt) echo ;;
    runtime | calib) echo libfmt ;;
    tools) echo calib runtime libfmt ;;
    tests | bench) echo tools calib runtime libfmt ;;
    esac
}

sources() { find "$@" -name '*.[ch]' | sort; }

# The room that has a header of this name. Names are unique, so that this can be told.
room_of() { find libfmt runtime calib tools tests bench -name "$1" | sed 's,/.*,,' | sort -u; }

for room in libfmt runtime calib tools tests bench; do
    for file in $(sources $room); do
        for header in $(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\(.*\.h\)".*/\1/p' "$file"); do
            target=$(room_of "$(basename "$header")")
            case " $room $(allowed $room) " in
            *" $target "*) ;;
            *) complain "$file includes $header, which is in ${target:-no room}: $room may include only: $(allowed $room)" ;;
            esac
        done
    done
done

# owner ROOM PATTERN: only ROOM and the tests may match.
owner() {
    for room in libfmt runtime calib tools bench; do
        [ "$room" != "$1" ] || continue
        for file in $(sources $room); do
            if line=$(grep -nE "$2" "$file"); then
                complain "$file:$line: that is for $1 alone"
            fi
        done
    done
}
owner libfmt '#[[:space:]]*include[[:space:]]*<(yaml|zstd[a-z_]*)\.h>'
owner calib '#[[:space:]]*include[[:space:]]*<(.*/)?(lapacke?|cblas|openblas_config)[a-z_]*\.h>'
owner calib '\b[sd](sy|ge|po|tr|or)[a-z0-9]{2,4}_\b *\('

[ $bad = 0 ] && echo "all includes follow the law"
exit $bad
