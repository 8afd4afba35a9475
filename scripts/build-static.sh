#!/bin/sh
# Puts what the images consist of into a folder: the static binaries and the CA roots.
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
# which cannot be built that way. The binary is moved to its address when it starts;
# the short list of the places that depend on it saves 0.2 MB (it takes glibc 2.36).
target=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs" \
    cargo build --locked --release \
    --package fleet-connector --package vehicle-data-sender --bins --target "$target"

for binary in fleet-connector vehicle-data-sender; do
    install -m 755 "${CARGO_TARGET_DIR:-target}/$target/release/$binary" "$out/$binary"
done
install -m 644 "$roots" "$out/ca-certificates.crt"
