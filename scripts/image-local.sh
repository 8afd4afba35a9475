#!/bin/sh
# Builds an image of the Containerfile without a registry: the binaries are built with the
# toolchain of this machine and replace the stage `build`.
#
#   scripts/image-local.sh TAG [DIR [TARGET]]
#
# The content of the images is put into DIR/out. TARGET is a stage of the Containerfile,
# by default fleet-connector. The environment variable TARGET is the target of Rust, by default
# this machine; for arm64: aarch64-unknown-linux-musl.
set -eu

tag=${1:?usage: scripts/image-local.sh TAG [DIR [TARGET]]}
cd "$(dirname "$0")/.."

context=${2:-target/image}
stage=${3:-fleet-connector}
scripts/build-static.sh "$context/out"
case ${TARGET:-} in
aarch64-*) platform=--platform=linux/arm64 ;;
x86_64-*) platform=--platform=linux/amd64 ;;
*) platform= ;;
esac
# shellcheck disable=SC2086 # without a platform there is no argument
podman build $platform --quiet --build-context "build=$context" --target "$stage" --tag "$tag" .
