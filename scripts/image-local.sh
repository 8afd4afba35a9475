#!/bin/sh
# Builds the image of the Containerfile without a registry: the binary comes from
# the toolchain of this machine and replaces the stage named `build`.
#
#   scripts/image-local.sh TAG [FOLDER]
#
# FOLDER gets what the image consists of, in its subfolder `out`.
set -eu

tag=${1:?usage: scripts/image-local.sh TAG [FOLDER]}
cd "$(dirname "$0")/.."

context=${2:-target/image}
scripts/build-static.sh "$context/out"
podman build --quiet --build-context "build=$context" --tag "$tag" .
