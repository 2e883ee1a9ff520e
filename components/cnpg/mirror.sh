# Copies the archive to the mirror so that the mirror restores by itself: every
# backup.info in the mirror has all of its data and every WAL file from its
# begin_wal to its end_wal. It may be killed at any point and run again.
#
# It copies and never deletes or overwrites, so that it cannot carry a deletion
# or a damage in the archive over to the mirror.
#
# ARCHIVE, MIRROR  rclone paths that hold barman's folders, one a server name
# SERVER_NAME      the server name that the cluster writes to now
# RETENTION_DAYS   the mirror's recovery window; what it makes obsolete is
#                  neither copied nor missed; empty: keep everything
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/problems"

say() { echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $*"; }

# problem is for what makes the run fail but must not stop the rest of it.
problem() {
  say "PROBLEM: $*"
  echo "$*" >>"$work/problems"
}

# entries lists "<size> <path>" of all objects below an rclone path.
entries() { rclone lsf -R --fast-list --files-only --format sp --separator ' ' "$1"; }

# transfer copies what may take long. Objects that are there already it leaves
# alone, and complains when their size differs.
transfer() {
  rclone copy --size-only --immutable --stats 30s --stats-one-line --stats-log-level NOTICE "$@"
}

# catalogue prints "<id> <begin_wal> <end_wal> <segment size> <end time>" of the
# finished backups among the backup.info files in a folder, newest first.
catalogue() {
  for info in "$1"/*/backup.info; do
    [ -f "$info" ] || continue
    awk -v id="$(basename "$(dirname "$info")")" '
      { at = index($0, "="); value[substr($0, 1, at - 1)] = substr($0, at + 1) }
      END {
        if (value["status"] != "DONE") exit
        size = value["xlog_segment_size"] + 0
        end = substr(value["end_time"], 1, 19)
        sub(" ", "T", end)
        print id, value["begin_wal"], value["end_wal"], size ? size : 16777216, end
      }' "$info"
  done | sort -r
}

# Shared by the awk programs below. position counts segments from the start of
# the database, whatever their timeline; origin is the segment in the name of an
# object that has one (segments, partial segments, backup labels), or "";
# segment is the name of the complete WAL segment in an object, or "".
wal='
  function hex(digits,   i, number) {
    for (i = 1; i <= length(digits); i++)
      number = 16 * number + index("0123456789ABCDEF", substr(digits, i, 1)) - 1
    return number
  }
  function position(name, size) {
    return hex(substr(name, 9, 8)) * (4294967296 / size) + hex(substr(name, 17, 8))
  }
  function origin(path) {
    sub(".*/", "", path)
    path = substr(path, 1, 24)
    return length(path) == 24 && path ~ /^[0-9A-F]+$/ ? path : ""
  }
  function segment(path) {
    sub(/\.(gz|bz2|xz|zst|lz4|snappy)$/, "", path)
    return path ~ /(^|\/)[0-9A-F]+$/ ? origin(path) : ""
  }'

# select_backups keeps of a catalogue what the recovery window keeps. Like
# barman it keeps the newest backup that is older than the window, too.
select_backups() {
  if [ -n "${RETENTION_DAYS:-}" ]; then
    since=$(date -u -d "@$(($(date +%s) - RETENTION_DAYS * 86400))" +%Y-%m-%dT%H:%M:%S)
  fi
  awk -v since="${since:-}" '{ print } $5 < since { exit }'
}

# select_wal prints the archive's WAL objects that the mirror lacks, from the
# first segment that a backup in the catalogue needs. Timeline histories are
# always wanted.
select_wal() { # catalogue, mirror's entries, archive's entries, conflicts
  awk -v conflicts="$4" "$wal"'
    FILENAME == ARGV[1] {
      size = $4; at = position($2, size)
      if (first == "" || at < first) first = at
      next
    }
    FILENAME == ARGV[2] { mirrored[$2] = $1; next }
    $2 in mirrored { if (mirrored[$2] != $1) print $2 >conflicts; next }
    (name = origin($2)) == "" || position(name, size) >= first { print $2 }
  ' "$1" "$2" "$3"
}

# verify prints "<id> ok" or "<id> <what is missing>" for every backup in a
# catalogue, from what the mirror holds.
verify() { # catalogue, archive's base entries, mirror's base and wal entries
  awk "$wal"'
    FILENAME == ARGV[1] { id[++backups] = $1; begin[$1] = $2; end[$1] = $3; size[$1] = $4; next }
    FILENAME == ARGV[2] { expected[$2] = $1; next }
    FILENAME == ARGV[3] {
      split($2, part, "/")
      if (part[2] ~ /^data(_[0-9]+)?\.tar/) data[part[1]] = 1
      if ($2 in expected && expected[$2] == $1) delete expected[$2]
      next
    }
    (name = segment($2)) != "" { have[substr(name, 1, 8), hex(substr(name, 9, 8)), hex(substr(name, 17, 8))] = 1 }
    END {
      for (path in expected) {
        split(path, part, "/")
        if (part[2] != "backup.info") missing[part[1]] = "lacks " path
      }
      for (i = 1; i <= backups; i++) print id[i], check(id[i])
    }
    function check(id,   timeline, per, at, last) {
      if (id in missing) return missing[id]
      if (!(id in data)) return "lacks its data"
      timeline = substr(begin[id], 1, 8)
      per = 4294967296 / size[id]
      at = position(begin[id], size[id]); last = position(end[id], size[id])
      if (timeline != substr(end[id], 1, 8) || at > last)
        return "has an impossible WAL range " begin[id] " to " end[id]
      for (; at <= last; at++)
        if (!((timeline, int(at / per), at % per) in have))
          return sprintf("lacks WAL %s%08X%08X", timeline, int(at / per), at % per)
      return "ok"
    }
  ' "$1" "$2" "$3" "$4"
}

# reach prints the last segment that recovery from the newest restorable backup
# gets to. A second word names the segment that stops it short of what an
# earlier run mirrored: segments are archived in parallel, so a hole among the
# latest ones is normal, but one that older runs went past stays.
reach() { # newest restorable backup's catalogue line, wal entries before, wal entries now
  awk "$wal"'
    FILENAME == ARGV[1] { size = $4; at = position($2, size); per = 4294967296 / size; next }
    (name = segment($2)) == "" { next }
    FILENAME == ARGV[2] { if (position(name, size) > before) before = position(name, size); next }
    { names[position(name, size)] = name }
    END {
      while (at in names) newest = names[at++]
      print newest, at <= before ? sprintf("%08X%08X", int(at / per), at % per) : ""
    }
  ' "$1" "$2" "$3"
}

# copy_base copies the data of the selected backups without backup.info.
copy_base() { # server, selected backups
  [ -s "$2" ] || return 0
  {
    echo '- /*/backup.info'
    awk '{ print "+ /" $1 "/**" }' "$2"
    echo '- *'
  } >"$2.filter"
  transfer --filter-from "$2.filter" "$ARCHIVE/$1/base" "$MIRROR/$1/base" ||
    problem "$1: not all base backup data could be copied"
}

mirror_server() {
  server=$1
  dir=$work/servers/$server
  mkdir -p "$dir/archive" "$dir/mirror"

  # The order matters: what a later listing shows is at least what the
  # backups of an earlier one need.
  rclone copy --fast-list --include '/*/backup.info' "$ARCHIVE/$server/base" "$dir/archive"
  rclone copy --fast-list --include '/*/backup.info' "$MIRROR/$server/base" "$dir/mirror"
  catalogue "$dir/archive" >"$dir/archived"
  catalogue "$dir/mirror" >"$dir/mirrored"
  # Until its successor is in the mirror, a backup that became obsolete counts.
  sort -ru "$dir/archived" "$dir/mirrored" | select_backups >"$dir/kept"
  select_backups <"$dir/mirrored" | sort -ru - "$dir/kept" >"$dir/wanted"
  entries "$ARCHIVE/$server/base" >"$dir/base.archive"
  copy_base "$server" "$dir/wanted"

  entries "$ARCHIVE/$server/wals" >"$dir/wals.archive"
  entries "$MIRROR/$server/wals" >"$dir/wals.before"
  : >"$dir/wals.new"
  : >"$dir/wals.conflicts"
  # An archive that has lost its backups may be damaged in other ways, too.
  if [ -s "$dir/archived" ]; then
    select_wal "$dir/wanted" "$dir/wals.before" "$dir/wals.archive" "$dir/wals.conflicts" >"$dir/wals.new"
  fi
  if [ -s "$dir/wals.conflicts" ]; then
    problem "$server: $(wc -l <"$dir/wals.conflicts") WAL files in the archive have changed since they were copied," \
      "for instance $(head -n 1 "$dir/wals.conflicts"); the mirror keeps what it has"
  fi
  if [ -s "$dir/wals.new" ]; then
    transfer --files-from-raw "$dir/wals.new" "$ARCHIVE/$server/wals" "$MIRROR/$server/wals" ||
      problem "$server: not all WAL files could be copied"
  fi

  entries "$MIRROR/$server/base" >"$dir/base.now"
  entries "$MIRROR/$server/wals" >"$dir/wals.now"
  verify "$dir/wanted" "$dir/base.archive" "$dir/base.now" "$dir/wals.now" >"$dir/verified"
  while read -r id result; do
    [ "$result" = ok ] || problem "$server: backup $id $result"
  done <"$dir/verified"
  publish "$server" "$dir"
  report "$server" "$dir"
}

# publish makes the backups restorable that are complete in the mirror now.
publish() { # server, folder
  awk 'FILENAME == ARGV[1] { published[$1]; next } $2 == "ok" && !($1 in published) { print $1 "/backup.info" }' \
    "$2/mirrored" "$2/verified" >"$2/publish"
  [ -s "$2/publish" ] || return 0
  rclone copy --immutable --files-from-raw "$2/publish" "$2/archive" "$MIRROR/$1/base"
}

# report says what restores from the mirror now.
report() { # server, folder
  awk 'FILENAME == ARGV[1] { ok[$1] = $2; next } ok[$1] == "ok"' "$2/verified" "$2/wanted" >"$2/restorable"
  newest=
  if [ -s "$2/restorable" ]; then
    head -n 1 "$2/restorable" >"$2/newest"
    reach "$2/newest" "$2/wals.before" "$2/wals.now" >"$2/reach"
    read -r newest hole <"$2/reach"
    [ -z "$hole" ] || problem "$1: WAL segment $hole is missing on every timeline; recovery ends before it until there is a newer base backup"
  elif [ -s "$2/wanted" ]; then
    problem "$1: nothing restores from the mirror"
  else
    say "$1: there is no base backup yet"
  fi
  if [ "$1" = "$SERVER_NAME" ] && [ ! -s "$2/archived" ] && [ -s "$2/mirrored" ]; then
    problem "$1: the archive has lost all of its backups; the mirror still has its own"
  fi
  printf '{"server":"%s","restorableBackups":%d,"newestBackup":"%s","newestWAL":"%s","copiedWAL":%d}\n' \
    "$1" "$(wc -l <"$2/restorable")" "$(awk '{ print $1; exit }' "$2/restorable")" "$newest" "$(wc -l <"$2/wals.new")" |
    tee -a "$work/report"
}

say "mirror of $ARCHIVE to $MIRROR"
rclone lsf --dirs-only "$ARCHIVE" >"$work/names.archive"
rclone lsf --dirs-only "$MIRROR" >"$work/names.mirror"
{
  echo "$SERVER_NAME/"
  cat "$work/names.archive" "$work/names.mirror"
} | awk '!seen[$0]++ { sub("/$", ""); print }' >"$work/names"
while read -r name; do
  mirror_server "$name" </dev/null
done <"$work/names"

if [ -w /dev/termination-log ]; then
  cat "$work/report" "$work/problems" >/dev/termination-log
fi
if [ -s "$work/problems" ]; then
  say "FAILED: $(wc -l <"$work/problems") problems, listed above"
  exit 1
fi
say "the mirror holds every backup that it should, complete"
