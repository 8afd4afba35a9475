# Installs what a script needs and is missing, on Debian and its derivatives. On other systems it only
# reports what is missing. To be sourced: `need` for each command, then `install_needed`.

# Debian installs some programs in a directory that is not in every user's PATH.
PATH=$PATH:/usr/sbin:/sbin:/usr/local/sbin

packages=""
missing=""

# need COMMAND PACKAGE...: the packages provide the command.
need() {
    command -v "$1" >/dev/null 2>&1 && return
    missing="$missing $1"
    shift
    packages="$packages $*"
}

install_needed() {
    [ -n "$packages" ] || return 0
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "Missing:$missing. There is no apt-get: install them manually, then try again." >&2
        exit 1
    fi
    if [ "$(id -u)" = 0 ]; then
        sudo=""
    elif command -v sudo >/dev/null 2>&1; then
        sudo=sudo
    else
        echo "Missing:$missing. As root: apt-get install --no-install-recommends$packages" >&2
        exit 1
    fi
    echo "Missing:$missing. Installing:$packages"
    $sudo apt-get update -qq
    # shellcheck disable=SC2086 # one word per package
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
}
