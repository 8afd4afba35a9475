#!/bin/sh
# A cluster of three RabbitMQ 4 nodes with quorum queues, on the loopback interface.
#
#   scripts/cluster.sh up           install it if necessary, start all nodes, print what to try
#   scripts/cluster.sh install      only install it
#   scripts/cluster.sh start N      start node N, from 1 to 3, and wait until it serves clients
#   scripts/cluster.sh stop N       stop node N in an orderly way
#   scripts/cluster.sh kill N       kill node N
#   scripts/cluster.sh suspend N    make node N hang; resume N: let it go on
#   scripts/cluster.sh isolate N    cut node N off from the others, so that it pauses; rejoin N: connect it
#   scripts/cluster.sh heal         make all nodes serve clients, whatever has been done to them
#   scripts/cluster.sh status       which nodes run, and which others each of them sees
#   scripts/cluster.sh ctl N …      rabbitmqctl on node N
#   scripts/cluster.sh down         kill all nodes; sessions and messages remain
#   scripts/cluster.sh wipe         the same, and delete sessions and messages
#   scripts/cluster.sh run COMMAND  run a command with a new cluster of its own, in memory
#
# The programs are packages of Debian trixie, unpacked into a folder: nothing is installed on this
# machine but mmdebstrap. Each node runs in a mount namespace with that folder as its root, so this
# needs root.
#
# Variables, for several clusters on one machine:
#   CLUSTER_ROOT   folder of the programs (target/cluster)
#   CLUSTER_DATA   folder of sessions, messages and logs (CLUSTER_ROOT/data)
#   CLUSTER_PORT   first of 21 ports (18830): MQTT on CLUSTER_PORT+N; +10+N between the nodes; +20
#   CLUSTER_QUEUES quorum, or classic: sessions are lost with their node, but cost less
#   DEBIAN_MIRROR  of the packages; by default the one that apt is set up for
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
ROOT=${CLUSTER_ROOT:-$here/target/cluster}
DATA=${CLUSTER_DATA:-$ROOT/data}
PORT=${CLUSTER_PORT:-18830}
QUEUES=${CLUSTER_QUEUES:-quorum}
ENGINE=rabbitmq
. "$here/scripts/cluster-common.sh"

# A node that hangs is found out after 75 to 125 % of this time, in seconds.
TICK=12

# Inside the namespace.
INNER=/var/lib/cluster
COOKIE=cluster

check_system() {
    [ "$(uname)" = Linux ] || fail "mount namespaces need Linux: run it in a virtual machine"
    [ "$(id -u)" = 0 ] || fail "mount namespaces need root: try again with sudo"
    unshare --mount true 2>/dev/null || fail "this system does not allow mount namespaces. In a" \
        "container, give it the capability SYS_ADMIN (podman run --cap-add SYS_ADMIN)"
}

install_packages() {
    [ ! -e "$ROOT/installed" ] || return 0
    . "$here/scripts/debian-packages.sh"
    need mmdebstrap mmdebstrap
    install_needed
    mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' \
        'Created-By: Packages' 'Origin: Debian' | grep -v security | head -n 1)}
    [ -n "$mirror" ] ||
        fail "apt knows no mirror of Debian: set DEBIAN_MIRROR to the address of one"
    echo "Unpacking RabbitMQ of Debian trixie into $ROOT" >&2
    mkdir -p "$ROOT"
    mmdebstrap --quiet --variant=extract --components=main \
        --include=rabbitmq-server,base-files,bash,dash,coreutils,sed,grep,gawk,procps,hostname,util-linux \
        trixie "$ROOT/programs" "$mirror"
    ln -sf gawk "$ROOT/programs/usr/bin/awk"
    echo "127.0.0.1 localhost" >"$ROOT/programs/etc/hosts"
    echo "hosts: files" >"$ROOT/programs/etc/nsswitch.conf"
    mkdir -p "$ROOT/programs$INNER"
    touch "$ROOT/installed"
}

# inside COMMAND…: runs it with the packages as the root of the file system. It replaces this
# process, so its process id is known.
inside() {
    exec unshare --mount --propagation private sh -c '
        root=$1 data=$2 inner=$3
        shift 3
        mount -t proc proc "$root/proc" && mount --bind "$data" "$root$inner" || exit
        exec chroot "$root" /usr/bin/env -i HOME="$inner" LANG=C.UTF-8 \
            PATH=/usr/lib/rabbitmq/bin:/usr/bin:/bin "$@"' sh "$ROOT/programs" "$DATA" "$INNER" "$@"
}

# node N COMMAND…: runs it with the environment of the node, in place of this process.
node() {
    number=$1
    shift
    folder=$INNER/node$number
    inside ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$((PORT + 20)) \
        RABBITMQ_NODENAME="node$number@localhost" \
        RABBITMQ_DIST_PORT=$((PORT + 10 + number)) \
        RABBITMQ_CONFIG_FILE="$folder/rabbitmq.conf" \
        RABBITMQ_ADVANCED_CONFIG_FILE="$folder/advanced.config" \
        RABBITMQ_ENABLED_PLUGINS_FILE="$folder/plugins" RABBITMQ_CONF_ENV_FILE="$folder/none" \
        RABBITMQ_MNESIA_BASE="$folder/db" RABBITMQ_LOG_BASE="$folder/log" \
        RABBITMQ_PID_FILE="$folder/pid" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} -kernel net_ticktime $TICK +P 1048576 +sbwt none +sbwtdcpu none +sbwtdio none" \
        RABBITMQ_CTL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}" \
        "$@"
}

configure() {
    folder=$DATA/node$1
    mkdir -p "$folder"
    if [ ! -e "$DATA/.erlang.cookie" ]; then
        (umask 377 && printf %s "$COOKIE" >"$DATA/.erlang.cookie")
    fi
    echo "[rabbitmq_mqtt]." >"$folder/plugins"
    # docs/brokers.md says what these settings are for.
    cat >"$folder/rabbitmq.conf" <<END
listeners.tcp = none
mqtt.listeners.tcp.1 = 127.0.0.1:$((PORT + $1))
mqtt.tcp_listen_options.backlog = 4096
mqtt.allow_anonymous = false
mqtt.durable_queue_type = $QUEUES
mqtt.max_session_expiry_interval_seconds = 604800
mqtt.prefetch = 100
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = node1@localhost
cluster_formation.classic_config.nodes.2 = node2@localhost
cluster_formation.classic_config.nodes.3 = node3@localhost
cluster_formation.target_cluster_size_hint = 3
cluster_partition_handling = pause_minority
vm_memory_high_watermark.absolute = 4GB
disk_free_limit.absolute = 100MB
log.console = false
log.file.level = info
default_user = fleet
default_pass = fleet
END
    echo "[{rabbit, [{quorum_tick_interval, 60000}]}]." >"$folder/advanced.config"
}

# The process id of a running node; fails if it does not run.
pid_of() {
    pid=$(cat "$DATA/node$1/pid" 2>/dev/null) && [ -n "$pid" ] &&
        tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" |
        grep -qx "RABBITMQ_DIST_PORT=$((PORT + 10 + $1))" && echo "$pid"
}

# evaluate N: evaluates the Erlang of standard input on the node.
evaluate() {
    (node "$1" timeout 10 erl_call -n "node$1@localhost" -c "$COOKIE" -e)
}

serves() {
    echo "rabbit_boot_state:get()." | evaluate "$1" 2>/dev/null | grep -q ready
}

# The port mapper of Erlang. Nodes would start their own, whose process id nobody knows.
start_port_mapper() {
    pid=$(cat "$DATA/epmd.pid" 2>/dev/null) && [ -n "$pid" ] &&
        grep -q epmd "/proc/$pid/comm" 2>/dev/null && return
    (inside epmd -address 127.0.0.1 -port $((PORT + 20))) >/dev/null 2>&1 </dev/null &
    pid=$!
    echo $pid >"$DATA/epmd.pid"
    # Until it has its name, the next node would start another one, and nobody would end this one.
    while kill -0 $pid 2>/dev/null && ! grep -q epmd "/proc/$pid/comm" 2>/dev/null; do sleep 0.05; done
}

launch() {
    pid_of "$1" >/dev/null && return
    configure "$1"
    start_port_mapper
    rm -f "$DATA/node$1/pid" "$DATA/node$1/hung"
    (node "$1" rabbitmq-server) >"$DATA/node$1/console.log" 2>&1 </dev/null &
    echo $! >"$DATA/node$1/launcher"
}

await() {
    rounds=$((PATIENCE * 5))
    until serves "$1"; do
        rounds=$((rounds - 1))
        if [ $rounds = 0 ] || [ ! -e "/proc/$(cat "$DATA/node$1/launcher")" ]; then
            tail -n 20 "$DATA/node$1/console.log" >&2
            fail "node $1 does not start; its log is in $DATA/node$1/log"
        fi
        sleep 0.2
    done
}

all_see_all() {
    for number in $NODES; do
        seen=$(echo "length(rabbit_nodes:list_running())." | evaluate "$number" 2>/dev/null) || return
        [ "$seen" = "{ok, 3}" ] || return
    done
}

# await_all SECONDS: waits until all nodes have seen all others for so long. Nodes that start together
# find each other a moment later. One that has hung looks well at first; then it finds out that the
# others have gone on without it, stops serving, and starts anew.
await_all() {
    rounds=$PATIENCE good=0
    until [ $good -ge "$1" ]; do
        if all_see_all; then good=$((good + 1)); else good=0; fi
        rounds=$((rounds - 1))
        [ $rounds != 0 ] || fail "the nodes do not find each other; see $DATA/node1/log"
        sleep 1
    done
}

up() {
    install_packages
    mkdir -p "$DATA"
    for number in $NODES; do launch "$number"; done
    for number in $NODES; do await "$number"; done
    await_all 1
    # Otherwise a request whose connector has lost 20 connections before it could reply is dropped.
    (node 1 rabbitmqctl --quiet set_policy --apply-to quorum_queues sessions ^mqtt-subscription- \
        '{"delivery-limit": -1}') >/dev/null
}

down() {
    for number in $NODES; do end_node "$number" KILL; done
    if pid=$(cat "$DATA/epmd.pid" 2>/dev/null) && grep -q epmd "/proc/$pid/comm" 2>/dev/null; then
        kill "$pid"
        await_end "$pid"
    fi
    rm -f "$DATA/epmd.pid"
}

# The others know the right cookie and the node knows a wrong one, so neither side can connect. It
# needs no firewall, which a container may lack, and rules by port could not tell apart who has
# opened a connection: all nodes have the same address. But the cut is noticed at once. What is
# not: suspend.
others() {
    echo "[N || N <- [node1@localhost, node2@localhost, node3@localhost], N =/= node()]"
}

isolate() {
    echo "[begin erlang:set_cookie(N, cut), erlang:disconnect_node(N) end || N <- $(others)]." |
        evaluate "$1" >/dev/null
}

rejoin() {
    echo "[begin erlang:set_cookie(N, $COOKIE), net_kernel:connect_node(N) end || N <- $(others)]." |
        evaluate "$1" >/dev/null
    await "$1"
}

status() {
    for number in $NODES; do
        if pid=$(pid_of "$number"); then
            case $(sed -n 's/^State:.\(.\).*/\1/p' "/proc/$pid/status") in
            T) state="hangs (suspended)" ;;
            *)
                state="starts, or waits for the others"
                if serves "$number"; then
                    # It asks the others, of which one may hang.
                    if seen=$(echo "rabbit_nodes:list_running()." | evaluate "$number"); then
                        state="serves, sees $seen"
                    else
                        state="serves, and cannot say which others it sees"
                    fi
                fi
                ;;
            esac
        else
            state="does not run"
        fi
        echo "node $number, MQTT on 127.0.0.1:$((PORT + number)): $state"
    done
}

command=${1:-}
[ $# = 0 ] || shift
case $command in
install | up | run | start | heal) check_system ;;
esac
case $command in
install) install_packages ;;
up)
    up
    try_this RabbitMQ
    echo "  scripts/cluster.sh isolate 2    it is cut off from the others; rejoin 2"
    ;;
start | stop | kill | suspend | resume) node_command "$command" "${1:-}" ;;
isolate | rejoin)
    running "${1:-}" >/dev/null
    "$command" "$1"
    ;;
heal)
    for number in $NODES; do
        if pid=$(pid_of "$number") && [ ! -e "$DATA/node$number/hung" ]; then
            rejoin "$number"
        else
            # What a node knows about sessions differs from what the others know after it has hung,
            # and it does not find out.
            end_node "$number" KILL
            launch "$number"
            await "$number"
        fi
    done
    await_all 5
    ;;
status) status ;;
ctl)
    number=${1:-}
    running "$number" >/dev/null
    shift
    node "$number" rabbitmqctl "$@"
    ;;
down) down ;;
wipe)
    down
    rm -rf "$DATA"/node[123]
    ;;
run) run "$@" ;;
*) usage ;;
esac
