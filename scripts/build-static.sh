#!/bin/sh
# Puts the content of the images into a directory: the static binaries and the CA roots.
# Runs in the build stage of the Containerfile or, without a registry, on this machine.
#
#   scripts/build-static.sh OUT_DIR [PACKAGE…]
#
# With packages, it puts their static binaries there, and nothing else.
#
# TARGET is the target of Rust, by default musl on the processor of this machine; for arm64:
# aarch64-unknown-linux-musl.
set -eu

out=${1:?usage: scripts/build-static.sh OUT_DIR [PACKAGE…]}
shift
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/.."

if [ $# -eq 0 ]; then
    set -- fleet-connector vehicle-data-sender
    roots=/etc/ssl/certs/ca-certificates.crt
    if [ ! -r "$roots" ]; then
        echo "build-static.sh: $roots is missing: install the package ca-certificates" >&2
        exit 1
    fi
    install -m 644 "$roots" "$out/ca-certificates.crt"
fi

# Cargo sets these for tests, which build the image too. ring is built anew when one of them
# changes, and with it the binary, which takes minutes.
for variable in OUT_DIR $(env | sed -n 's/^\(CARGO_\(PKG\|MANIFEST\)_[A-Z_]*\)=.*/\1/p'); do
    unset "$variable"
done

# The binary is linked with musl, which Rust brings with the target, and by the linker of Rust. Only
# ring has C code, which includes nothing but headers that are the same everywhere: the compiler of
# the processor is enough, without functions that only glibc has (_FORTIFY_SOURCE).
processor=$(uname -m)
target=${TARGET:-$processor-unknown-linux-musl}
case $target in
"$processor"-*) compiler=cc package=gcc ;;
*) compiler=${target%%-*}-linux-gnu-gcc package=gcc-${target%%-*}-linux-gnu ;;
esac
if ! command -v "$compiler" >/dev/null; then
    echo "build-static.sh: $compiler is missing: install the package $package" >&2
    exit 1
fi
scripts/install-rust-target.sh "$target"
suffix=$(echo "$target" | tr - _)
export "CC_$suffix=$compiler" "CFLAGS_$suffix=-U_FORTIFY_SOURCE"

# Packed relative relocations make the position-independent binary 0.2 MB smaller, and functions that
# are the same instructions only once another 0.06 MB.
RUSTFLAGS="-C target-feature=+crt-static -C linker=rust-lld -C link-self-contained=yes -C link-arg=-zpack-relative-relocs -C link-arg=--icf=all" \
    cargo build --locked --release $(printf -- ' --package %s' "$@") --bins --target "$target"

# Each package has one binary, of the same name.
for binary; do
    install -m 755 "${CARGO_TARGET_DIR:-target}/$target/release/$binary" "$out/$binary"
done
