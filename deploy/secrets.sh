#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Makes the secrets of a deployment, one file each, where there are none yet.
#   deploy/secrets.sh [DIRECTORY]     default: deploy/secrets
# A service mounts the files it needs. They can be read by all, because the users in the containers are none of this
# host's; the directory can be entered by its owner only.
set -eu

directory=${1:-$(dirname "$0")/secrets}

random() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

# All or nothing: a password in one file that is not the one in another opens no database.
if [ -e "$directory/database_password" ]; then
    echo "secrets are in $directory already"
    exit 0
fi
mkdir -p "$directory"
chmod 700 "$directory"
directory=$(cd "$directory" && pwd)
new=$(mktemp -d "$directory/.new.XXXXXX")
trap 'rm -rf "$new"' EXIT

database=$(random)
broker=$(random)
cd "$new"
printf '%s\n' "postgresql+psycopg://mmufuzz:$database@database/mmufuzz" > database_url
printf '%s\n' "redis://:$broker@broker:6379/0" > broker_url
printf 'requirepass %s\n' "$broker" > broker_conf
random > admin_token
random > grafana_password
printf '%s\n' "$database" > database_password
chmod 444 ./*
# The one that is looked for comes last.
mv database_url broker_url broker_conf admin_token grafana_password ..
mv database_password ..
echo "made secrets in $directory; the administrator's token is in admin_token"
