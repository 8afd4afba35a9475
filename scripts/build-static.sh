#!/bin/sh
# Puts what the image consists of into a folder: the static binary and the CA roots.
# Used by the build stage of the Containerfile and, without a registry, on this machine.
#
#   scripts/build-static.sh OUT_DIR
set -eu

out=${1:?usage: scripts/build-static.sh OUT_DIR}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/.."

roots=/etc/ssl/certs/ca-certificates.crt
if [ ! -r "$roots" ]; then
    echo "build-static.sh: $roots is missing: install the package ca-certificates" >&2
    exit 1
fi

# glibc links statically with crt-static. The target is named, although it is
# the host's own, so that the flag spares build scripts and procedural macros,
# which cannot be built that way.
target=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --locked --release --package fleet-connector --bin fleet-connector --target "$target"

install -m 755 "${CARGO_TARGET_DIR:-target}/$target/release/fleet-connector" "$out/fleet-connector"
install -m 644 "$roots" "$out/ca-certificates.crt"
