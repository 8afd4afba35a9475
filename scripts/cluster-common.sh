# What the scripts of clusters have in common: nodes, which are processes, and what to try with them. To
# be sourced, with DATA and PORT set, and with functions: pid_of N prints the process id of a running
# node or fails, launch N starts one, await N waits until it serves clients, up starts all nodes, down
# kills them.

NODES="1 2 3"

# How long a node may take to start or to stop, in seconds. On a busy machine it takes a minute.
PATIENCE=180

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

usage() {
    sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0" >&2
    exit 64
}

check_node() {
    case ${1:-} in
    [123]) ;;
    *) fail "which node? 1, 2 or 3" ;;
    esac
}

# Prints the process id of a node.
running() {
    check_node "${1:-}"
    pid_of "$1" || fail "node $1 does not run"
}

await_end() {
    rounds=$((PATIENCE * 10))
    while [ -e "/proc/$1" ] && ! grep -q "^State:.Z" "/proc/$1/status" 2>/dev/null; do
        rounds=$((rounds - 1))
        [ $rounds != 0 ] || fail "process $1 does not end"
        sleep 0.1
    done
}

# end_node N SIGNAL
end_node() {
    pid=$(pid_of "$1") || return 0
    kill -s "$2" "$pid"
    await_end "$pid"
}

# node_command COMMAND N: starts a node, ends it, or lets it hang.
node_command() {
    check_node "$2"
    case $1 in
    start)
        launch "$2"
        await "$2"
        ;;
    stop)
        running "$2" >/dev/null
        end_node "$2" TERM
        ;;
    kill)
        running "$2" >/dev/null
        end_node "$2" KILL
        ;;
    suspend)
        kill -s STOP "$(running "$2")"
        touch "$DATA/node$2/hung"
        ;;
    resume) kill -s CONT "$(running "$2")" ;;
    esac
}

# try_this BROKER: prints what to try with the cluster. The caller adds what may happen to it.
try_this() {
    a=$((PORT + 1)) b=$((PORT + 2)) c=$((PORT + 3))
    options=$(env | sed -n 's/^\(CLUSTER_[A-Z]*=.*\)/ \1/p' | tr -d '\n')
    [ -z "$options" ] || options="
  export$options"
    cat <<END
A cluster of three $1 nodes runs: MQTT 5 on 127.0.0.1:$a, :$b and :$c.
Its user is fleet, the password too. The logs are in $DATA/nodeN.

In one terminal a simulated vehicle:

  mkdir -p /tmp/cluster/state && printf fleet >/tmp/cluster/password
  cargo run -p vehicle-simulator -- --broker 127.0.0.1:$a --no-connector \\
    --control-interface-dir /tmp/cluster/vehicle

In another one its connector, on any of the nodes:

  VIN=1 FLEET=demo MQTT_BROKER_ADDR=127.0.0.1:$a,127.0.0.1:$b,127.0.0.1:$c \\
    MQTT_USERNAME=fleet MQTT_PASSWORD_FILE=/tmp/cluster/password STATE_DIR=/tmp/cluster/state \\
    CONTROL_INTERFACE_DIR=/tmp/cluster/vehicle cargo run -p fleet-connector

Operators, each on another node:

  mosquitto_sub -V 5 -p $b -u fleet -P fleet -v -t 'vehicle/1/#'
  mosquitto_pub -V 5 -p $c -u fleet -P fleet -q 1 -t vehicle/1/manifest/apply/req -f manifests/nginx.yaml
  export FLEET=demo MQTT_BROKER_ADDR=127.0.0.1:$a,127.0.0.1:$b,127.0.0.1:$c
  export MQTT_USERNAME=fleet MQTT_PASSWORD_FILE=/tmp/cluster/password
  cargo run -p ank-fleet -- get vehicles

What may happen to a cluster:
$options
  scripts/${0##*/} kill 2       and start 2
  scripts/${0##*/} suspend 2    it hangs; resume 2
  scripts/${0##*/} status
  scripts/${0##*/} down         stop everything; wipe: and forget it
END
}

# Runs a command with a cluster in memory, which nobody else uses. Variables tell it where the cluster is.
run() {
    [ $# -gt 0 ] || fail "run what?"
    memory=/dev/shm
    [ -w $memory ] || memory=${TMPDIR:-/tmp}
    DATA=$(mktemp -d "$memory/cluster.XXXXXX")
    # Below the ports that the kernel assigns, and those of the tests.
    PORT=$((2000 + $$ % 250 * 30))
    trap 'down; rm -rf "$DATA"' EXIT
    trap 'exit 130' INT TERM
    up
    CLUSTER_ROOT=$ROOT CLUSTER_DATA=$DATA CLUSTER_PORT=$PORT CLUSTER_ENGINE=$ENGINE "$@"
}
