#!/bin/sh
# Restores a copy on any machine with barman's cloud tools and PostgreSQL of the
# same major version, without Kubernetes. The key is in AWS_ACCESS_KEY_ID and
# AWS_SECRET_ACCESS_KEY.
#
#   sh laptop.sh https://nas.example.org:9000 \
#     s3://homelab-postgres-backups/auth/authentik-postgresql \
#     authentik-postgresql "$HOME/restored" [base backup's ID]
set -eu
endpoint=$1 folder=$2 server=$3 here=$4 data=$4/data
export AWS_REQUEST_CHECKSUM_CALCULATION=when_required AWS_RESPONSE_CHECKSUM_VALIDATION=when_required

barman-cloud-backup-list --endpoint-url "$endpoint" "$folder" "$server"
newest=$(barman-cloud-backup-list --endpoint-url "$endpoint" "$folder" "$server" |
  awk '$1 ~ /^[0-9]+T[0-9]+$/ && $2 ~ /^[0-9-]+$/ { id = $1 } END { print id }')
barman-cloud-restore --endpoint-url "$endpoint" "$folder" "$server" "${5:-$newest}" "$data"

# CloudNativePG's own settings name what is not here, so none of them is read. The
# limits must not be lower than they were.
rm -f "$data/postgresql.auto.conf" "$data/standby.signal" "$data/postmaster.pid"
touch "$data/postgresql.auto.conf" "$data/recovery.signal"
{
  echo "data_directory = '$data'"
  echo "hba_file = '$here/hba.conf'"
  echo "unix_socket_directories = '$here'"
  echo "listen_addresses = ''"
  echo "restore_command = 'barman-cloud-wal-restore --endpoint-url $endpoint $folder $server %f %p'"
  pg_controldata "$data" | sed -n 's/_xacts\{0,1\} /_transactions /; s/locks_per_transactions/locks_per_transaction/
    s/^\(max_[a-z_]*\) setting: */\1 = /p'
} >"$here/restore.conf"
echo 'local all all trust' >"$here/hba.conf"
chmod 700 "$data"
pg_ctl -D "$data" -l "$here/postgres.log" -w -t 86400 -o "-c config_file=$here/restore.conf" start ||
  { tail -n 20 "$here/postgres.log" && exit 1; }
until [ "$(psql -h "$here" -U postgres -tAc 'select pg_is_in_recovery()')" = f ]; do sleep 1; done
echo "It is there: psql -h $here -U postgres"
