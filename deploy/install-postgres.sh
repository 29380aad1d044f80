#!/bin/sh
# Makes sure that PostgreSQL's server programs (initdb, postgres) are on this machine: Keystile's embedded
# default and its tests run a private server from them.
#
# Does nothing, and needs no network, if they are there. Otherwise it installs them with apt, dnf or brew, as
# root or by sudo, and starts no server: on Debian and Ubuntu the package would make and start one by itself.
#
# The places looked at are those of src/embedded/programs.rs.
set -eu

MAJOR_MIN=14

say() { printf 'keystile setup: %s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

# Prints the directories where server programs may be, best first.
places() {
    if command -v pg_config >/dev/null 2>&1; then pg_config --bindir 2>/dev/null || true; fi
    printf '%s\n' "$PATH" | tr ':' '\n'
    for dir in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/lib/postgresql*/bin /usr/libexec/postgresql* \
        /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin \
        /home/linuxbrew/.linuxbrew/opt/postgresql@*/bin \
        /Applications/Postgres.app/Contents/Versions/*/bin /Library/PostgreSQL/*/bin; do
        printf '%s\n' "$dir"
    done
}

# Prints the first directory that holds both programs in a version that will do.
find_programs() {
    places | while IFS= read -r dir; do
        if [ ! -x "$dir/postgres" ] || [ ! -x "$dir/initdb" ]; then continue; fi
        major=$("$dir/postgres" --version 2>/dev/null | sed -n 's/.*(PostgreSQL) \([0-9]*\).*/\1/p')
        if [ "${major:-0}" -ge "$MAJOR_MIN" ]; then
            printf '%s (version %s)\n' "$dir" "$major"
            break
        fi
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        fail "installing packages takes root, and there is no sudo: run 'make setup' as root once"
    fi
}

# The newest postgresql-<N> that apt knows, if it is new enough.
newest_apt_package() {
    apt-cache pkgnames postgresql- | sed -n 's/^postgresql-\([0-9][0-9]*\)$/\1/p' | sort -rn |
        while IFS= read -r major; do
            # Known by name isn't enough: there must be something to install.
            if [ "$major" -ge "$MAJOR_MIN" ] && apt-cache show "postgresql-$major" >/dev/null 2>&1; then
                printf 'postgresql-%s\n' "$major"
                break
            fi
        done
}

# Debian's package makes a cluster "main" and starts it, unless this setting says no. It stands only while we
# install, in a file of its own: what the machine's owner has set, or installs later, is left alone.
CLUSTER_SETTINGS=/etc/postgresql-common/createcluster.d
NO_CLUSTER=$CLUSTER_SETTINGS/keystile-setup.conf

remove_cluster_setting() {
    as_root rm -f "$NO_CLUSTER"
    # Only what is empty; the package needs neither.
    as_root rmdir "$CLUSTER_SETTINGS" "${CLUSTER_SETTINGS%/*}" 2>/dev/null || true
}

apt_install() {
    as_root mkdir -p "$CLUSTER_SETTINGS"
    trap remove_cluster_setting EXIT
    printf 'create_main_cluster = off\n' | as_root tee "$NO_CLUSTER" >/dev/null
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$1" >&2 ||
        return 1
    remove_cluster_setting
    trap - EXIT
}

install_by_apt() {
    package=$(newest_apt_package)
    if [ -n "$package" ] && say "installing $package with apt" && apt_install "$package"; then return; fi
    say "refreshing apt's package lists"
    as_root apt-get update >&2 || say "apt-get update failed; trying with the lists that are there"
    package=$(newest_apt_package)
    [ -n "$package" ] || fail "apt offers no PostgreSQL $MAJOR_MIN or newer: add a repository that does" \
        "(https://wiki.postgresql.org/wiki/Apt), or set KEYSTILE_DATABASE_URL"
    say "installing $package with apt"
    apt_install "$package" || fail "apt could not install $package (its message is above)"
}

install_by_dnf() {
    # Where versions come as modules (RHEL 8, 9), the default one is too old.
    for major in 17 16 15; do
        if dnf -q module list "postgresql:$major" >/dev/null 2>&1; then
            say "choosing the module postgresql:$major"
            as_root dnf -y module enable "postgresql:$major" >&2
            break
        fi
    done
    say "installing postgresql-server with dnf"
    as_root dnf -y install postgresql-server >&2 || fail "dnf could not install postgresql-server (see above)"
}

install_by_brew() {
    [ "$(id -u)" != 0 ] || fail "Homebrew refuses to run as root: run 'make setup' as yourself"
    say "installing postgresql@17 with brew"
    brew install postgresql@17 >&2 || fail "brew could not install postgresql@17 (see above)"
}

found=$(find_programs)
if [ -n "$found" ]; then
    say "PostgreSQL's server programs are in $found"
    exit 0
fi

say "PostgreSQL's server programs (initdb, postgres, version $MAJOR_MIN or newer) are missing;" \
    "Keystile's embedded database and its tests need them"
if command -v apt-get >/dev/null 2>&1; then
    install_by_apt
elif command -v dnf >/dev/null 2>&1; then
    install_by_dnf
elif command -v brew >/dev/null 2>&1; then
    install_by_brew
else
    fail "neither apt, dnf nor brew is here: install PostgreSQL's server programs by hand"
fi

found=$(find_programs)
[ -n "$found" ] || fail "the package was installed, but no server programs of version $MAJOR_MIN or newer came with it"
say "installed in $found; no server was set up or started"
