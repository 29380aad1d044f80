#!/bin/sh
# Makes the secrets of compose.yaml in the folder `secrets` beside it: a password of the database, the URL that holds
# it, and the first administrator's token. What is there stays: a database keeps the password that it was made with.
#
# The folder is for its owner alone. The files in it can be read by everybody, because the service reads them in its
# container as a user of its own; nobody else gets into the folder.
set -eu
umask 077

folder=$(cd "$(dirname "$0")" && pwd)/secrets
mkdir -p "$folder"
chmod 0700 "$folder"

# 48 hexadecimal digits: 192 bits, and nothing that a URL would have to escape.
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# Writes stdin into a new file, whole or not at all.
write() {
    cat >"$folder/.part"
    chmod 0444 "$folder/.part"
    mv "$folder/.part" "$folder/$1"
    printf 'made %s\n' "$folder/$1"
}

if [ ! -e "$folder/postgres_password" ]; then random | write postgres_password; fi
if [ ! -e "$folder/database_url" ]; then
    printf 'postgres://keystile:%s@postgres:5432/keystile\n' "$(cat "$folder/postgres_password")" | write database_url
fi
if [ ! -e "$folder/admin_token" ]; then random | write admin_token; fi
