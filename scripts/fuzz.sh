#!/bin/sh
# Runs the fuzz targets one after another, each for FUZZ_SECONDS: those given as arguments,
# or all of them. Needs cargo-fuzz and, for the sanitizers, a nightly Rust.
set -eu
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-600}

# fuzz TARGET SEEDS [OPTION...]: the first directory is the corpus, which grows; SEEDS are
# directories with initial inputs.
fuzz() {
    target=$1
    inputs=$2
    shift 2
    mkdir -p "fuzz/corpus/$target"
    # SEEDS is split into words on purpose.
    # shellcheck disable=SC2086
    cargo +nightly fuzz run "$target" "fuzz/corpus/$target" $inputs -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 "$@"
}

for name in ${*:-frames manifest state_request settings bundle signature trust_file}; do
    dictionary="-dict=fuzz/dictionaries/$name.dict"
    case $name in
    frames) fuzz frames "tests/golden/recorded tests/golden/states" -max_len=65536 ;;
    manifest) fuzz manifest "tests/golden/manifests manifests" -max_len=4096 "$dictionary" ;;
    state_request) fuzz state_request "" -max_len=4096 "$dictionary" ;;
    settings) fuzz settings "" -max_len=1024 "$dictionary" ;;
    bundle) fuzz bundle "" -max_len=4096 "$dictionary" ;;
    signature) fuzz signature "" -max_len=1024 "$dictionary" ;;
    trust_file) fuzz trust_file "" -max_len=4096 "$dictionary" ;;
    *)
        echo "fuzz.sh: there is no fuzz target $name" >&2
        exit 64
        ;;
    esac
done
