# Makes the file system of all images: PostgreSQL and barman's tools for S3.
# $1 is the tar file to write, $2 the file for PostgreSQL's release, $3 the mirror
# of Debian that the machine uses, $4 the release of Debian, whose copy in a mirror
# may be older than the date that it bears, $5 the major version of PostgreSQL.
#
# User and group of PostgreSQL are 26, as CloudNativePG wants; group 26 is the
# one of tapes.
set -eu
export POSTGRES_RELEASE="$2" POSTGRES_MAJOR="$5"
exec mmdebstrap --quiet --mode=root --variant=minbase --format=tar \
  --aptopt='APT::Install-Recommends "false"' \
  --aptopt='Acquire::Check-Valid-Until "false"' \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --include="postgresql-$5,barman-cli-cloud,python3-boto3,python3-snappy,python3-zstandard,python3-lz4,ca-certificates" \
  --customize-hook='chroot "$1" groupdel tape' \
  --customize-hook='chroot "$1" groupmod --gid 26 postgres' \
  --customize-hook='chroot "$1" usermod --uid 26 postgres' \
  --customize-hook='chown -R 26:26 "$1/var/lib/postgresql" "$1/var/run/postgresql"' \
  --customize-hook='rm -rf "$1/var/cache/apt" "$1/var/lib/apt/lists"' \
  --customize-hook='chroot "$1" dpkg-query --show --showformat="\${source:Upstream-Version}-" "postgresql-$POSTGRES_MAJOR" >"$POSTGRES_RELEASE"' \
  "$4" "$1" "deb $3 $4 main"
