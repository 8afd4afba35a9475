#!/bin/sh
# Checks the minimum supported Rust version, `rust-version` in Cargo.toml: all members
# inherit it, no dependency needs a newer one, and the README names no other version. That
# the sources use no newer items of the standard library is checked by clippy
# (incompatible_msrv).
set -eu
cd "$(dirname "$0")/.."

minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

other=$(grep -o 'Rust ([0-9.]* or newer' README.md | grep -vF "($minimum or" || true)
if [ -n "$other" ]; then
    echo "README.md says \"$other\", Cargo.toml $minimum" >&2
    exit 1
fi

host=$(rustc -vV | sed -n 's/^host: //p')

# In the metadata of each package, its rust-version follows its path.
cargo metadata --locked --format-version 1 --all-features --filter-platform "$host" |
    grep -o '"manifest_path":"[^"]*"\|"rust_version":[^,}]*' | sed 's/.*":"\{0,1\}\([^"]*\)"\{0,1\}/\1/' |
    awk -v minimum="$minimum" -v members="$PWD/" '
        function number(version, parts) {
            split(version, parts, ".")
            return parts[1] * 1000000 + parts[2] * 1000 + parts[3]
        }
        NR % 2 == 1 { path = $0; next }
        index(path, members) == 1 {
            found = 1
            if ($0 != minimum) {
                print path " has rust-version " $0 ", but the workspace has " minimum
                failed = 1
            }
            next
        }
        $0 != "null" && number($0) > number(minimum) {
            print path " needs Rust " $0 ", but the workspace has rust-version " minimum
            failed = 1
        }
        END {
            if (NR % 2 == 1 || !found) {
                print "unexpected output of cargo metadata"
                failed = 1
            }
            exit failed
        }' >&2
