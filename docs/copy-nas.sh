#!/bin/sh
# Copies a bucket from one server to another, with rclone 1.76 or later, and says
# what is still missing there. What the other has already is left alone, so that it
# can be run again at any time. The keys are in OLD_KEY_ID, OLD_KEY, NEW_KEY_ID and
# NEW_KEY; a server with a region has it in OLD_REGION or NEW_REGION. Certificates
# of an authority of your own are in a folder: SSL_CERT_DIR=/etc/ssl/certs:$HOME/ca.
#
#   sh copy-nas.sh https://old.example.org:9000 https://new.example.org:7070 \
#     homelab-postgres-backups
set -eu
refuse() { echo "copy-nas.sh: $*" >&2 && exit 1; }
[ $# -eq 3 ] || refuse "expected the old endpoint, the new endpoint, and a bucket"
[ -n "${OLD_KEY_ID:-}" ] && [ -n "${OLD_KEY:-}" ] || refuse "set OLD_KEY_ID and OLD_KEY to a key of the old server"
[ -n "${NEW_KEY_ID:-}" ] && [ -n "${NEW_KEY:-}" ] || refuse "set NEW_KEY_ID and NEW_KEY to a key of the new server"
command -v rclone >/dev/null || refuse "rclone is not in PATH: install rclone 1.76 or later"
export RCLONE_CONFIG=/notfound \
  RCLONE_CONFIG_OLD_TYPE=s3 RCLONE_CONFIG_OLD_PROVIDER=Other RCLONE_CONFIG_OLD_ENDPOINT="$1" \
  RCLONE_CONFIG_OLD_ACCESS_KEY_ID="$OLD_KEY_ID" RCLONE_CONFIG_OLD_SECRET_ACCESS_KEY="$OLD_KEY" \
  RCLONE_CONFIG_OLD_REGION="${OLD_REGION:-}" RCLONE_CONFIG_OLD_NO_CHECK_BUCKET=true \
  RCLONE_CONFIG_NEW_TYPE=s3 RCLONE_CONFIG_NEW_PROVIDER=Other RCLONE_CONFIG_NEW_ENDPOINT="$2" \
  RCLONE_CONFIG_NEW_ACCESS_KEY_ID="$NEW_KEY_ID" RCLONE_CONFIG_NEW_SECRET_ACCESS_KEY="$NEW_KEY" \
  RCLONE_CONFIG_NEW_REGION="${NEW_REGION:-}" RCLONE_CONFIG_NEW_NO_CHECK_BUCKET=true
bucket=$3 work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The times of the objects go with them: the doctor and the mirror tell by them from
# when to when a copy restores.
rclone copy --ignore-existing --transfers 8 --stats 30s --stats-one-line --stats-log-level NOTICE \
  "old:$bucket" "new:$bucket"

for at in old new; do
  rclone lsf -R --fast-list --files-only --format sp --separator ' ' "$at:$bucket" >"$work/$at"
done
awk 'FILENAME == ARGV[1] { there[$0]; next } !($0 in there)' "$work/new" "$work/old" >"$work/missing"
echo "$(wc -l <"$work/old") objects at the old server, $(wc -l <"$work/missing") of them missing or of another size at the new one"
head -n 10 "$work/missing"
[ -s "$work/old" ] && [ ! -s "$work/missing" ]
