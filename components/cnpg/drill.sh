# Starts PostgreSQL on what drill.py has restored, in the database's own image, and
# asks it. What the files mean by which the two talk is said there.
#
# QUERY, DATABASE  the user's query, empty for none, and where it is asked
# EXTENSIONS_PATH  folders with programs of extensions
# SETTINGS         those of the Cluster that a recovery needs, as name=value
set -eu
export LC_ALL=C TZ=UTC0 PGUSER=postgres PGDATABASE=postgres PGPORT=5432
# What is set for a role or a database must not get in the way, or hide damage.
export PGOPTIONS='-c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0 -c default_transaction_read_only=off
 -c lc_messages=C -c zero_damaged_pages=off -c ignore_checksum_failure=off'
run=${DRILL_FOLDER:-/drill}
PGHOST=${TMPDIR:-/tmp}
export PGHOST
cd "$run"

say() { echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $*"; }

# result keeps what a command said, what it complained about, and its status.
result() { # name, command
  name=$1 status=0
  shift
  "$@" >"result/$name" 2>"result/$name.errors" || status=$?
  echo "$status" >"result/$name.status"
}

# until_there waits for a file.
until_there() {
  until [ -e "$1" ]; do
    [ ! -e end ] || exit 0
    sleep 0.1
  done
}

# watch shows that this container runs, and ends it when the other one does not.
watch() {
  silent=0
  while [ ! -e bye ]; do
    touch pulse
    if [ -e alive ]; then
      rm -f alive
      silent=0
    else
      silent=$((silent + 1))
    fi
    if [ "$silent" -ge 60 ] || [ -e end ]; then
      sleep 5
      [ -e bye ] || kill -TERM 0
      return
    fi
    sleep 2
  done
}

# leave ends in any case that lets it.
leave() { # exit status
  trap - EXIT TERM
  if [ -n "${postgres:-}" ] && kill -0 "$postgres" 2>/dev/null; then
    kill -QUIT "$postgres" && wait "$postgres" || true
  fi
  [ "$1" = 0 ] || echo "it ended with exit status $1" >>result/failed || true
  touch bye || true
  [ -z "${watching:-}" ] || kill "$watching" 2>/dev/null || true
  exit "$1"
}

# control is a line of pg_controldata.
control() { pg_controldata data | sed -n "s/^$1: *//p"; }

# needed are settings that have to be as high as they were when WAL was written: the
# base backup's, or the Cluster's if that is higher. So does the operator:
# https://github.com/cloudnative-pg/cloudnative-pg/blob/v1.30.0/pkg/management/postgres/restore.go
# (writeRecoveryConfiguration)
needed() {
  for name in max_connections max_wal_senders max_worker_processes max_prepared_transactions max_locks_per_transaction; do
    value=$(control "$(echo "$name" | sed 's/transaction/xact/') setting")
    for given in ${SETTINGS:-}; do
      if [ "${given%%=*}" = "$name" ] && [ "${given#*=}" -gt "$value" ]; then value=${given#*=}; fi
    done
    echo "$name=$value"
  done
}

start() {
  rm -f data/postmaster.pid data/standby.signal
  touch data/recovery.signal
  chmod 700 data
  echo 'local all all trust' >hba.conf
  cat >fetch <<'FETCH'
run=$1 name=$2 to=$3
pg_controldata "$run/data" | grep '^max_' >>"$run/result/replayed"
: >"$run/ask/$name.new"
mv "$run/ask/$name.new" "$run/ask/$name"
until [ -e "$run/answer/$name" ]; do
  [ ! -e "$run/end" ] || exit 200
  sleep 0.05
done
answer=$(cat "$run/answer/$name")
rm -f "$run/answer/$name"
case $answer in
  ok) mv "$run/wal/$name" "$to" ;;
  none) exit 1 ;;
  *) exit 200 ;;
esac
FETCH
  megabytes=$(($(control 'Bytes per WAL segment') / 1048576))
  most=$((4 * megabytes > 1024 ? 4 * megabytes : 1024))
  needed >result/needed
  set --
  while read -r setting; do set -- "$@" -c "$setting"; done <result/needed
  # Its own settings but for what would reach out of here or hide damage: no
  # archive, no primary, no standby to wait for, no worker of an extension or a
  # subscription. Memory is the container's, and nothing has to survive a crash.
  postgres -D "$run/data" "$@" \
    -c hba_file="$run/hba.conf" -c unix_socket_directories="$PGHOST" -c listen_addresses= -c port=$PGPORT \
    -c ssl=off -c logging_collector=off -c log_destination=stderr -c log_min_messages=warning -c lc_messages=C \
    -c log_line_prefix='%m [%p] ' -c archive_mode=off -c archive_command= -c hot_standby=off \
    -c primary_conninfo= -c primary_slot_name= -c synchronous_standby_names= \
    -c max_logical_replication_workers=0 -c max_worker_processes=0 -c autovacuum=off \
    -c shared_buffers=128MB -c huge_pages=off -c min_dynamic_shared_memory=0 -c min_wal_size=$((2 * megabytes))MB -c max_wal_size=${most}MB \
    -c fsync=off -c full_page_writes=off -c synchronous_commit=off -c restart_after_crash=off \
    -c zero_damaged_pages=off -c ignore_checksum_failure=off -c ignore_invalid_pages=off -c recovery_min_apply_delay=0 \
    -c recovery_target= -c recovery_target_time= -c recovery_target_name= -c recovery_target_xid= -c recovery_target_lsn= \
    -c recovery_target_timeline=latest -c recovery_target_action=promote -c recovery_end_command= -c archive_cleanup_command= \
    -c restore_command="sh '$run/fetch' '$run' '%f' '%p'" >postgres.log 2>&1 &
  postgres=$!
  until grep -q 'database system is ready to accept connections' postgres.log; do
    if ! kill -0 "$postgres" 2>/dev/null; then
      postgres=
      say "PostgreSQL has ended:"
      tail -n 20 postgres.log
      echo 'it does not start' >result/failed
      return 1
    fi
    sleep 0.5
  done
}

facts() {
  psql -XAt -F '|' -c "select pg_last_wal_replay_lsn(), extract(epoch from pg_last_xact_replay_timestamp()),
    (select sum(pg_database_size(oid)) from pg_database)" >facts
}

# libraries connects to every database, and loads every library that a function is
# in. It fails if a database takes no connection.
libraries() {
  psql -XqAtc 'update pg_database set datallowconn = true' &&
    psql -XAtc "select 'postgresql:///' || regexp_replace(encode(namesend(datname), 'hex'), '(..)', '%\1', 'g')
      from pg_database where datconnlimit <> -2" >addresses || return
  while read -r address; do
    psql -XAt -d "$address" <<'SQL' || return
select format('load %L', probin) from (select distinct probin from pg_proc where probin is not null) as used
\gexec
SQL
  done <addresses
}

check() {
  if facts; then mv facts result/facts; fi
  result libraries libraries
  if command -v pg_amcheck >/dev/null; then
    result amcheck pg_amcheck --all --install-missing
  else
    echo none >result/amcheck.status
  fi
  if [ -n "${QUERY:-}" ]; then
    PGDATABASE=$DATABASE result query psql -XqAt -v ON_ERROR_STOP=1 -c "$QUERY"
  else
    echo none >result/query.status
  fi
  psql -XAtc 'select 1' >/dev/null 2>&1 || echo 'it stopped answering while it was asked' >result/failed
  kill -INT "$postgres" 2>/dev/null || true # it may have crashed
  wait "$postgres" || true
  postgres=
  if [ "$(control 'Data page checksum version')" = 0 ]; then
    echo off >result/checksums.status
  elif command -v pg_checksums >/dev/null; then
    result checksums pg_checksums --check --pgdata data
  else
    echo none >result/checksums.status
  fi
}

main() {
  trap 'leave $?' EXIT
  trap 'exit 143' TERM
  command -v postgres >/dev/null || PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)
  PATH=$PATH${EXTENSIONS_PATH:+:$EXTENSIONS_PATH}
  # A run may have ended before this container began.
  until_there begin
  watch &
  watching=$!
  postgres --version | sed 's/^[^0-9]*//; s/[^0-9].*//' >version
  [ "$(cat version)" -lt 17 ] || PGOPTIONS="$PGOPTIONS -c event_triggers=off -c transaction_timeout=0"
  mv version result/version
  until_there restored
  if start; then
    say "recovery has ended"
    touch result/ready
    check
  fi
  touch done
  until_there end
}

main
