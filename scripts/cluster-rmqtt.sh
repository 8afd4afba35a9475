#!/bin/sh
# A cluster of three RMQTT nodes with Raft, on the loopback interface.
#
#   scripts/cluster-rmqtt.sh up           build it if necessary, start all nodes, print what to try
#   scripts/cluster-rmqtt.sh build        only build it
#   scripts/cluster-rmqtt.sh start N      start node N, from 1 to 3, and wait until it serves clients
#   scripts/cluster-rmqtt.sh stop N       end node N by SIGTERM
#   scripts/cluster-rmqtt.sh kill N       kill node N
#   scripts/cluster-rmqtt.sh suspend N    make node N hang; resume N: let it go on
#   scripts/cluster-rmqtt.sh heal         make all nodes serve clients, whatever has been done to them
#   scripts/cluster-rmqtt.sh status       which nodes run
#   scripts/cluster-rmqtt.sh down         kill all nodes; sessions and messages remain
#   scripts/cluster-rmqtt.sh wipe         the same, and delete sessions and messages
#   scripts/cluster-rmqtt.sh run COMMAND  run a command with a new cluster of its own, in memory
#
# The program is tests/cluster/rmqtt, a workspace of its own with some 350 crates. It needs Linux
# and Rust 1.94, a C compiler and protoc, but no root.
#
# Variables, for several clusters on one machine:
#   CLUSTER_ROOT   folder of the program (target/rmqtt)
#   CLUSTER_DATA   folder of sessions, messages and logs (CLUSTER_ROOT/data)
#   CLUSTER_PORT   first of 17 ports (18830): MQTT on CLUSTER_PORT+N; +10+N and +13+N between the nodes
#   RUST_LOG       what the nodes log (warn)
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
ROOT=${CLUSTER_ROOT:-$here/target/rmqtt}
DATA=${CLUSTER_DATA:-$ROOT/data}
PORT=${CLUSTER_PORT:-18830}
ENGINE=rmqtt
. "$here/scripts/cluster-common.sh"

PROGRAM=$ROOT/release/rmqtt-node

build() {
    . "$here/scripts/debian-packages.sh"
    need cc gcc libc6-dev
    need protoc protobuf-compiler
    install_needed
    [ -e "$PROGRAM" ] || echo "Building RMQTT in $ROOT: this takes minutes" >&2
    cargo build --quiet --release --locked --manifest-path "$here/tests/cluster/rmqtt/Cargo.toml" \
        --target-dir "$ROOT"
}

pid_of() {
    pid=$(cat "$DATA/node$1/pid" 2>/dev/null) && [ -n "$pid" ] &&
        tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF "$DATA/node$1" && echo "$pid"
}

# A node joins the cluster of any other one that runs. Otherwise it would begin a cluster of its own.
leader_for() {
    for other in $NODES; do
        if [ "$other" != "$1" ] && pid_of "$other" >/dev/null; then
            echo "$other"
            return
        fi
    done
    echo "$1"
}

launch() {
    pid_of "$1" >/dev/null && return
    leader=$(leader_for "$1")
    mkdir -p "$DATA/node$1"
    rm -f "$DATA/node$1/ready" "$DATA/node$1/hung"
    RUST_LOG=${RUST_LOG:-warn} "$PROGRAM" "$1" "$PORT" "$DATA/node$1" "$leader" \
        >>"$DATA/node$1/log" 2>&1 </dev/null &
    echo $! >"$DATA/node$1/pid"
}

serves() {
    [ -e "$DATA/node$1/ready" ] && pid_of "$1" >/dev/null
}

# A node that cannot join the cluster ends: when its leader was killed and no other one is elected yet,
# for example. It starts again, as a service would.
await() {
    rounds=$PATIENCE
    until serves "$1"; do
        rounds=$((rounds - 1))
        if [ $rounds = 0 ]; then
            tail -n 20 "$DATA/node$1/log" >&2
            fail "node $1 does not start; its log is $DATA/node$1/log"
        fi
        sleep 1
        launch "$1"
    done
}

up() {
    build
    for number in $NODES; do launch "$number"; done
    for number in $NODES; do await "$number"; done
}

down() {
    for number in $NODES; do end_node "$number" KILL; done
}

status() {
    for number in $NODES; do
        if ! pid=$(pid_of "$number"); then
            state="does not run"
        elif grep -q "^State:.T" "/proc/$pid/status"; then
            state="hangs (suspended)"
        elif serves "$number"; then
            state="serves"
        else
            state="starts"
        fi
        echo "node $number, MQTT on 127.0.0.1:$((PORT + number)): $state"
    done
}

command=${1:-}
[ $# = 0 ] || shift
case $command in
build) build ;;
up)
    up
    try_this RMQTT
    ;;
start | stop | kill | suspend | resume) node_command "$command" "${1:-}" ;;
heal)
    for number in $NODES; do
        if [ -e "$DATA/node$number/hung" ]; then end_node "$number" KILL; fi
        launch "$number"
        await "$number"
    done
    ;;
status) status ;;
down) down ;;
wipe)
    down
    rm -rf "$DATA"/node[123]
    ;;
run) run "$@" ;;
*) usage ;;
esac
