#!/bin/sh
# Builds an image of the Containerfile without a registry: the binaries are built with the
# toolchain of this machine and replace the stage `build`.
#
#   scripts/image-local.sh TAG [DIR [TARGET]]
#
# The content of the images is put into DIR/out. TARGET is a stage of the Containerfile,
# by default fleet-connector.
set -eu

tag=${1:?usage: scripts/image-local.sh TAG [DIR [TARGET]]}
cd "$(dirname "$0")/.."

context=${2:-target/image}
stage=${3:-fleet-connector}
scripts/build-static.sh "$context/out"
podman build --quiet --build-context "build=$context" --target "$stage" --tag "$tag" .
