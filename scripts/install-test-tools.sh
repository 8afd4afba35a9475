#!/bin/sh
# Installs the tools that `make test` needs and that are missing, on Debian and its
# derivatives. On other systems it only reports what is missing.
set -eu
. "$(dirname "$0")/debian-packages.sh"

# The linker, and the compiler of ring.
need cc gcc libc6-dev
need mosquitto mosquitto
need mosquitto_rr mosquitto-clients
need openssl openssl
need ssh-keygen openssh-client
need faketime faketime
# Podman needs a network backend to start; the rest is for rootless use.
need podman podman netavark fuse-overlayfs slirp4netns uidmap
# The runtime of tests/containers.conf.
need runc runc
if [ ! -r /etc/ssl/certs/ca-certificates.crt ]; then
    missing="$missing CA-certificates"
    packages="$packages ca-certificates"
fi

if ! command -v cargo >/dev/null 2>&1; then
    echo "Rust is missing: install it with https://rustup.rs, then try again." >&2
    exit 1
fi
install_needed
