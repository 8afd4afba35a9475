#!/bin/sh
# Checks docs/asyncapi.yaml with the parser of AsyncAPI, and docs/alerts.yaml with Prometheus' promtool.
# Installs what is missing, on Debian and its derivatives.
set -eu
cd "$(dirname "$0")/.."
. scripts/debian-packages.sh

need node nodejs
need npm npm
# On a machine with systemd, the package also starts a Prometheus.
need promtool prometheus
install_needed

if grep -q '"resolved"' tools/contract/package-lock.json; then
    echo "tools/contract/package-lock.json contains addresses of a registry: see .npmrc there" >&2
    exit 1
fi
npm --prefix tools/contract ci --ignore-scripts --no-audit --no-fund --loglevel=error
node tools/contract/check.js docs/asyncapi.yaml
promtool check rules docs/alerts.yaml
promtool test rules docs/alerts.test.yaml

# The queries of the dashboards, as rules.
queries=$(mktemp)
trap 'rm -f "$queries"' EXIT
node tools/contract/queries.js docs/grafana/*.json >"$queries"
promtool check rules "$queries"
