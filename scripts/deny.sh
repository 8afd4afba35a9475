#!/bin/sh
# Checks the dependencies with cargo-deny, configured in deny.toml: duplicates, licences and
# sources, or the checks given as arguments, such as `advisories`. Installs cargo-deny if it
# is missing, which takes three minutes on two cores.
set -eu
cd "$(dirname "$0")/.."

if ! cargo deny --version >/dev/null 2>&1; then
    cargo install --locked cargo-deny@0.20.2
fi
[ $# -gt 0 ] || set -- bans licenses sources
# Exceptions that are no longer needed are errors.
exec cargo deny --locked --workspace check --deny unmatched-skip --deny unnecessary-skip "$@"
