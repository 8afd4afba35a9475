#!/bin/sh
# Builds the image of the Containerfile without a registry: the binary comes from
# the toolchain of this machine and replaces the stage named `build`.
#
#   scripts/image-local.sh TAG
set -eu

tag=${1:?usage: scripts/image-local.sh TAG}
cd "$(dirname "$0")/.."

context=${CARGO_TARGET_DIR:-target}/image
scripts/build-static.sh "$context/out"
podman build --quiet --build-context "build=$context" --tag "$tag" .
