#!/bin/sh
# Puts the content of the images into a directory: the static binaries and the CA roots.
# Runs in the build stage of the Containerfile or, without a registry, on this machine.
#
#   scripts/build-static.sh OUT_DIR
#
# TARGET is the target of Rust, by default this machine; for arm64: aarch64-unknown-linux-gnu.
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

# crt-static links glibc statically. --target is always set, so that the flags do not apply
# to build scripts and procedural macros, which cannot be built with them.
host=$(rustc -vV | sed -n 's/^host: //p')
target=${TARGET:-$host}
flags="-C target-feature=+crt-static"
case $target in
# The binary is position-independent; packed relative relocations make it 0.2 MB smaller. They
# need glibc 2.36, and older linkers know them for this processor only.
x86_64-*) flags="$flags -C link-arg=-Wl,-z,pack-relative-relocs" ;;
esac
if [ "$target" != "$host" ]; then
    # aarch64-unknown-linux-gnu: the variable is CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER.
    linker=$(echo "$target" | sed 's/-unknown//')-gcc
    variable=CARGO_TARGET_$(echo "$target" | tr 'a-z-' 'A-Z_')_LINKER
    if ! command -v "$linker" >/dev/null; then
        echo "build-static.sh: $linker is missing: install the package gcc-${linker%-gcc}" >&2
        exit 1
    fi
    export "$variable=$linker"
fi
RUSTFLAGS=$flags \
    cargo build --locked --release \
    --package fleet-connector --package vehicle-data-sender --bins --target "$target"

for binary in fleet-connector vehicle-data-sender; do
    install -m 755 "${CARGO_TARGET_DIR:-target}/$target/release/$binary" "$out/$binary"
done
install -m 644 "$roots" "$out/ca-certificates.crt"
