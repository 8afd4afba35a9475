#!/bin/sh
# Installs the standard library of Rust for a target, if it is missing.
#
#   scripts/install-rust-target.sh TARGET
set -eu

target=${1:?usage: scripts/install-rust-target.sh TARGET}
[ ! -d "$(rustc --print target-libdir --target "$target")" ] || exit 0
if ! command -v rustup >/dev/null; then
    echo "Install Rust for $target (with https://rustup.rs: rustup target add $target)." >&2
    exit 1
fi
rustup target add "$target"
