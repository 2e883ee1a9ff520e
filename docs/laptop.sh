#!/bin/sh
# Restores a copy on any machine with barman's cloud tools and PostgreSQL of the
# same major version, without Kubernetes. The key is in AWS_ACCESS_KEY_ID and
# AWS_SECRET_ACCESS_KEY.
#
#   sh laptop.sh https://nas.example.org:9000 \
#     s3://homelab-postgres-backups/auth/authentik-postgresql \
#     authentik-postgresql "$HOME/restored" [base backup's ID]
set -eu
refuse() { echo "laptop.sh: $*" >&2 && exit 1; }
[ $# -ge 4 ] || refuse "expected an endpoint, s3://bucket/folder, a server name, and a folder to restore to"
for tool in barman-cloud-backup-list barman-cloud-restore barman-cloud-wal-restore pg_ctl pg_controldata psql; do
  command -v "$tool" >/dev/null || refuse "$tool is not in PATH: install barman's cloud tools and PostgreSQL's server"
done
endpoint=$1 folder=$2 server=$3 here=$4
case $here in /*) ;; *) here=$PWD/$here ;; esac
data=$here/data
export AWS_REQUEST_CHECKSUM_CALCULATION=when_required AWS_RESPONSE_CHECKSUM_VALIDATION=when_required

barman-cloud-backup-list --endpoint-url "$endpoint" "$folder" "$server"
newest=$(barman-cloud-backup-list --endpoint-url "$endpoint" "$folder" "$server" |
  awk '$1 ~ /^[0-9]+T[0-9]+$/ && $2 ~ /^[0-9-]+$/ { id = $1 } END { print id }')
id=${5:-$newest}
[ -n "$id" ] || refuse "there is no finished base backup of $server in $folder"
barman-cloud-restore --endpoint-url "$endpoint" "$folder" "$server" "$id" "$data"

# CloudNativePG's own settings name what is not here, so none of them is read. The
# limits may have been raised after the base backup: without hot standby only that for
# prepared transactions must not be lower than it was.
rm -f "$data/postgresql.auto.conf" "$data/standby.signal" "$data/postmaster.pid"
touch "$data/postgresql.auto.conf" "$data/recovery.signal"
{
  echo "data_directory = '$data'"
  echo "hba_file = '$here/hba.conf'"
  echo "unix_socket_directories = '$here'"
  echo "listen_addresses = ''"
  echo "restore_command = 'barman-cloud-wal-restore --endpoint-url $endpoint $folder $server %f %p'"
  echo "hot_standby = off"
  pg_controldata "$data" | sed -n 's/_xact\(s\{0,1\}\) /_transaction\1 /; s/^\(max_[a-z_]*\) setting: */\1 = /p'
  echo "max_prepared_transactions = $(($(pg_controldata "$data" | sed -n 's/^max_prepared_xacts setting: *//p') + 1000))"
} >"$here/restore.conf"
echo 'local all all trust' >"$here/hba.conf"
chmod 700 "$data"
failed() { tail -n 20 "$here/postgres.log" && exit 1; }
pg_ctl -D "$data" -l "$here/postgres.log" -w -t 86400 -o "-c config_file=$here/restore.conf" start || failed
until [ "$(psql -h "$here" -U postgres -tAc 'select pg_is_in_recovery()' 2>/dev/null)" = f ]; do
  pg_ctl -D "$data" status >/dev/null || failed
  sleep 1
done
echo "It is there: psql -h $here -U postgres"
