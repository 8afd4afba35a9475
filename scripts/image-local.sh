#!/bin/sh
# Builds an image of the Containerfile without a registry: the binary comes from
# the toolchain of this machine and replaces the stage named `build`.
#
#   scripts/image-local.sh TAG [FOLDER [TARGET]]
#
# FOLDER gets what the images consist of, in its subfolder `out`. TARGET is a stage
# of the Containerfile; without it, fleet-connector is built.
set -eu

tag=${1:?usage: scripts/image-local.sh TAG [FOLDER [TARGET]]}
cd "$(dirname "$0")/.."

context=${2:-target/image}
stage=${3:-fleet-connector}
scripts/build-static.sh "$context/out"
podman build --quiet --build-context "build=$context" --target "$stage" --tag "$tag" .
