#!/bin/sh
# Puts the content of the images into a directory: the static binaries and the CA roots.
# Runs in the build stage of the Containerfile or, without a registry, on this machine.
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

# Cargo sets these for tests, which build the image too. ring is built anew when one of them
# changes, and with it the binary, which takes a minute.
for variable in $(env | sed -n 's/^\(CARGO_\(PKG\|MANIFEST\)_[A-Z_]*\)=.*/\1/p'); do
    unset "$variable"
done

# crt-static links glibc statically. --target is set, although it is the host, so that the
# flags do not apply to build scripts and procedural macros, which cannot be built with
# them. The binary is position-independent; packed relative relocations make it 0.2 MB
# smaller (they need glibc 2.36).
target=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs" \
    cargo build --locked --release \
    --package fleet-connector --package vehicle-data-sender --bins --target "$target"

for binary in fleet-connector vehicle-data-sender; do
    install -m 755 "${CARGO_TARGET_DIR:-target}/$target/release/$binary" "$out/$binary"
done
install -m 644 "$roots" "$out/ca-certificates.crt"
