#!/bin/sh
# Installs the tools that `make test` needs and that are missing, on Debian and its
# derivatives. On other systems it only reports what is missing.
set -eu

# Debian installs the broker in a directory that is not in every user's PATH.
PATH=$PATH:/usr/sbin:/sbin:/usr/local/sbin

packages=""
missing=""

# need COMMAND PACKAGE...: the packages provide the command.
need() {
    command -v "$1" >/dev/null 2>&1 && return
    missing="$missing $1"
    shift
    packages="$packages $*"
}

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
[ -n "$packages" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing:$missing. There is no apt-get: install them manually, then try again." >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    sudo=""
elif command -v sudo >/dev/null 2>&1; then
    sudo=sudo
else
    echo "Missing:$missing. As root: apt-get install --no-install-recommends$packages" >&2
    exit 1
fi

echo "Missing:$missing. Installing:$packages"
$sudo apt-get update -qq
# shellcheck disable=SC2086 # one word per package
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
