#!/usr/bin/env bash
# Shows that a fresh machine needs nothing but a Rust toolchain and a linker: in a new Debian system without
# PostgreSQL, `make test` and `make run` install what is missing, and pass.
#
#   deploy/check-fresh-machine.sh [test|run|all]        (as root; default: all)
#
# The system is made by debootstrap in FRESH_ROOT (default /var/tmp/keystile-fresh-machine; emptied at the start,
# kept afterwards to look at) from the mirrors that this machine uses, with this machine's Rust toolchain and
# downloaded crates mounted read-only. What is checked is the last commit of this repository, as a clone.
# FRESH_TARGET, if set, is a directory whose build results are used again.
#
# Everything runs in mount and process namespaces of its own: however this script ends, no mount and no process
# stays.
set -euo pipefail

part=${1:-all}
root=${FRESH_ROOT:-/var/tmp/keystile-fresh-machine}
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cargo_home=${CARGO_HOME:-$HOME/.cargo}
rustup_home=${RUSTUP_HOME:-$HOME/.rustup}
port=$((20000 + $$ % 20000))

step() { printf '\n== %s\n' "$*"; }

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

# This machine's package sources, one "URI suite component" a line; which files they are in doesn't matter.
package_sources() {
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(ORIGIN)|$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        sed -n "s/^$1|//p" | sort -u
}

make_system() {
    step "a new system in $root"
    # shellcheck source=/dev/null
    . /etc/os-release
    local origin=${ID^} suite=${VERSION_CODENAME:?} mirror
    mirror=$(package_sources "$origin" | awk -v suite="$suite" '$2 == suite { print $1; exit }')
    [ -n "$mirror" ] || fail "apt's configuration names no mirror for $suite (or its lists are empty)"
    rm -rf --one-file-system "$root"
    mkdir -p "$root"
    debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev,make "$suite" "$root" "$mirror"
    package_sources "$origin" | sed 's/^/deb /' >"$root/etc/apt/sources.list"
    # How to get there (proxies, dates), not what to install.
    grep -lr 'Acquire::' /etc/apt/apt.conf.d 2>/dev/null | xargs -r cp -t "$root/etc/apt/apt.conf.d"
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
}

mount_inside() {
    mkdir -p "$root/root/.cargo" "$root/root/.rustup"
    mount -t proc proc "$root/proc"
    mount --bind /dev "$root/dev"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    mount --bind -o ro "$cargo_home" "$root/root/.cargo"
    mount --bind -o ro "$rustup_home" "$root/root/.rustup"
    if [ -n "${FRESH_TARGET:-}" ]; then
        mkdir -p "$FRESH_TARGET" "$root/root/keystile/target"
        mount --bind "$FRESH_TARGET" "$root/root/keystile/target"
    fi
}

# Runs a command in the new system, in the clone, with a fresh environment.
inside() {
    # shellcheck disable=SC2016 # expanded inside
    chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb CI=true CARGO_NET_OFFLINE=true \
        PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        KEYSTILE_LISTEN="127.0.0.1:$port" KEYSTILE_OPS_LISTEN="127.0.0.1:$((port + 1))" \
        KEYSTILE_SERVER="http://127.0.0.1:$port" \
        /bin/sh -c 'cd /root/keystile && exec "$@"' inside "$@"
}

# The process ids of all programs of this name; the namespace has only ours.
processes_named() {
    grep -lx "$1" /proc/[0-9]*/comm 2>/dev/null | cut -d/ -f3 || true
}

# A server may take a moment to end after its owner.
no_server_stays() {
    for _ in $(seq 300); do
        if [ -z "$(processes_named postgres)" ]; then return; fi
        sleep 0.1
    done
    fail "a PostgreSQL is left running"
}

nothing_was_set_up() {
    if compgen -G "$root/etc/postgresql/*/*" >/dev/null; then fail "installing made a cluster"; fi
    if compgen -G "$root/etc/postgresql-common/createcluster.d/*" >/dev/null; then fail "a setting was left"; fi
    no_server_stays
}

check_tests() {
    step "make test"
    inside make test
    nothing_was_set_up
    step "make setup again, without a network"
    unshare --net chroot "$root" /bin/sh -c 'cd /root/keystile && make setup'
}

check_run() {
    step "make run"
    inside make run &
    local make=$!
    until inside target/release/keystile health >/dev/null 2>&1; do
        kill -0 "$make" 2>/dev/null || fail "make run ended before it answered"
        sleep 1
    done
    step "it answers"
    local owner
    owner=$(stat -c %u "$root/var/lib/keystile/pg") || fail "no cluster in the default data directory"
    [ "$owner" != 0 ] || fail "the cluster belongs to root"
    step "stopping it"
    kill -TERM "$(processes_named keystile)"
    wait "$make" || fail "make run ended with status $?"
    nothing_was_set_up
}

main() {
    make_system
    if chroot "$root" sh -c 'command -v initdb postgres' || [ -e "$root/usr/lib/postgresql" ]; then
        fail "the new system isn't fresh: it has PostgreSQL"
    fi
    git clone --quiet --no-hardlinks "$repository" "$root/root/keystile"
    mount_inside
    case $part in
        test) check_tests ;;
        run) check_run ;;
        all)
            check_tests
            check_run
            ;;
        *) fail "which part? test, run or all" ;;
    esac
    step "passed: $part"
}

if [ -z "${KEYSTILE_FRESH_NAMESPACE:-}" ]; then
    [ "$(id -u)" = 0 ] || fail "takes root"
    command -v debootstrap >/dev/null || fail "takes debootstrap (apt-get install debootstrap)"
    (cd "$repository" && cargo fetch --locked)
    export KEYSTILE_FRESH_NAMESPACE=1
    exec unshare --mount --pid --fork --kill-child --mount-proc "${BASH_SOURCE[0]}" "$@"
fi
main
