# Copies the archive to the mirror so that the mirror restores by itself: every
# backup.info in the mirror has all of its data and every WAL file from its
# begin_wal to its end_wal. It may be killed at any point and run again.
#
# It copies and never overwrites, so that it cannot carry a deletion or a damage
# in the archive over to the mirror. All that it deletes is data in the mirror
# that no backup.info can ever belong to; see clean.
#
# ARCHIVE, MIRROR  rclone paths that hold barman's folders, one a server name
# SERVER_NAME      the server name that the cluster writes to now
# FIRST_SERVER, GENERATION  the server name of the cluster's first life and the
#                  number of the present one; the n-th is FIRST_SERVER-n
# RETENTION_DAYS   the mirror's recovery window; what it makes obsolete is
#                  neither copied nor missed; empty: keep everything
# {ARCHIVE,MIRROR}_{DATA,WAL}_ENCRYPTION  server-side encryption of what is
#                  written there; empty: none
# BACKUP_PERIOD, MAX_BACKUP_AGE, MAX_WAL_AGE  seconds after which the first base
#                  backup, a newer base backup and newer WAL are overdue; empty:
#                  never
# DEAD_LIST        name of a file, beside the working folder, that lists what clean
#                  would delete, for what has the right to; empty: it has it
# WAL_DELAY        seconds that a base backup may wait for its last WAL file
# HISTORIES        folder, beside the working folder, with the texts of histories
#                  that this image cannot read, each named after the SHA-256 of
#                  its file
#
# Files in the working folder of a server name, one record a line, columns
# separated by spaces, times in seconds since 1970, WAL positions ("LSN") in
# decimal. S is archive or mirror.
#
# S.info/        the backup.info files as they are in the store
# S.history/     the timeline histories as they are in the store
# S.text/        the same as text, named after the timeline; empty: unreadable
# S.unread       the names of those that are
# S.base S.wals  listings:   <size> <date> <time> <path>
# S.all          catalogue:  <id> <status> <begin_wal> <end_wal> <segment size>
#                            <end time> <begin LSN> <end LSN>
# S.done kept wanted         the same, of finished backups, newest first
# S.lines        timelines:  <timeline> <an ancestor or itself> <LSN of its first
#                            record>, oldest first
# S.verified     <id> ok|pending|incomplete <why>
# S.runs         WAL without holes: <end of its first backup> <end of its last
#                            backup> <last segment> <the one before or -> <at>
# S.windows      restorable: <first moment> <last moment>
#
# PostgreSQL's names: a WAL segment's is the timeline and its place in the
# database's WAL, 8 and 16 hexadecimal digits.
set -eu
export TZ=UTC0

say() { echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $*"; }

# problem is for what makes the run fail but must not stop the rest of it. In
# a folder that nobody writes to it is only reported.
problem() { # code, sentence
  if [ "$server" = "$SERVER_NAME" ]; then
    remember PROBLEM "$@"
  else
    remember NOTICE "$@"
  fi
}

# notice is for what has to be known and does not make the run fail.
notice() { remember NOTICE "$@"; }

remember() { # PROBLEM or NOTICE, code, sentence
  level=$1 code=$2
  shift 2
  say "$level $code: $server: $*"
  echo "$level $code $server" >>"$work/problems"
}

store() { # archive or mirror
  if [ "$1" = archive ]; then echo "$ARCHIVE"; else echo "$MIRROR"; fi
}

# entries lists all objects below an rclone path. The time is that of the upload
# to this store; to ask for another would take a request for each object.
entries() {
  rclone lsf -R --fast-list --files-only --use-server-modtime --format stp --separator ' ' "$1"
}

# arrivals prints "<time> <path>" of a few objects: when they were uploaded to
# the store that they were first in.
arrivals() { # list of paths, rclone path
  [ -s "$1" ] || return 0
  rclone lsf -R --files-only --files-from-raw "$1" --format tp --separator ' ' "$2" |
    awk "$lib"'{ print epoch($1 " " $2), $3 }'
}

# transfer copies what may take long. Objects that are there already it leaves
# alone.
transfer() { # encryption, list of paths, from, to
  RCLONE_S3_SERVER_SIDE_ENCRYPTION=$1 rclone copy --size-only --immutable --use-server-modtime \
    --stats 30s --stats-one-line --stats-log-level NOTICE --files-from-raw "$2" "$3" "$4"
}

# Shared by the awk programs. They compare WAL positions as text where that is
# enough: it is a hundred times as fast for a whole archive.
lib='
  function hex(digits,   i, number) {
    for (i = 1; i <= length(digits); i++)
      number = 16 * number + index("0123456789ABCDEF", substr(digits, i, 1)) - 1
    return number + 0
  }

  # epoch is a date and time, with or without fraction and offset, in seconds,
  # rounded up; stamp is the way back.
  function epoch(text,   year, month, days, seconds, offset) {
    year = substr(text, 1, 4) + 0; month = substr(text, 6, 2) + 0
    if (month < 3) { year--; month += 12 }
    days = 365 * year + int(year / 4) - int(year / 100) + int(year / 400) + int((153 * month - 457) / 5) + substr(text, 9, 2) - 719469
    seconds = 86400 * days + 3600 * substr(text, 12, 2) + 60 * substr(text, 15, 2) + substr(text, 18, 2)
    text = substr(text, 20)
    if (text ~ /^\.[0-9]*[1-9]/) seconds++
    if (match(text, /[+-][0-9][0-9]:?[0-9][0-9]$/)) {
      offset = substr(text, RSTART)
      gsub(/[+:-]/, "", offset)
      offset = 3600 * substr(offset, 1, 2) + 60 * substr(offset, 3, 2)
      seconds += substr(text, RSTART, 1) == "-" ? offset : -offset
    }
    return seconds
  }
  function stamp(seconds,   days, era, day, year, month) {
    days = int(seconds / 86400) + 719468
    seconds -= (days - 719468) * 86400
    era = int(days / 146097)
    day = days - era * 146097
    year = int((day - int(day / 1460) + int(day / 36524) - int(day / 146096)) / 365)
    day -= 365 * year + int(year / 4) - int(year / 100)
    month = int((5 * day + 2) / 153)
    day -= int((153 * month + 2) / 5) - 1
    month += month < 10 ? 3 : -9
    return sprintf("%04d-%02d-%02dT%02d:%02d:%02dZ", year + era * 400 + (month < 3), month, day,
      int(seconds / 3600), int(seconds / 60) % 60, seconds % 60)
  }

  # lsn is a WAL position like 0/3000028 in decimal, segment the number of a
  # segment by its name, place the last 16 digits of a name by the number.
  function lsn(text,   half) {
    return split(text, half, "/") == 2 ? hex(half[1]) * 4294967296 + hex(half[2]) : -1
  }
  function segment(name) { return hex(substr(name, 9, 8)) * (4294967296 / size) + hex(substr(name, 17, 8)) }
  function place(number) { return sprintf("%08X%08X", int(number * size / 4294967296), number % (4294967296 / size)) }

  # origin is the segment in the name of an object that has one (segments,
  # partial segments, backup labels), or "". complete is the name of the
  # complete segment in an object, or "". barman puts them in a folder that is
  # called like the first 16 digits.
  function origin(path) {
    return length(path) > 40 && substr(path, 17, 1) == "/" && substr(path, 1, 16) == substr(path, 18, 16) ? substr(path, 18, 24) : ""
  }
  function complete(path) {
    return length(path) == 41 || index(" .gz .bz2 .xz .zst .lz4 .snappy ", " " substr(path, 42) " ") ? origin(path) : ""
  }

  # A recovery follows the newest timeline that it finds, and that one knows
  # its ancestors. line[t, i] is the i-th of them, the last is t itself, and
  # began[t, i] the position at which it began.
  function add_line(timeline, ancestor, begin) {
    lines[timeline]++
    line[timeline, lines[timeline]] = ancestor
    began[timeline, lines[timeline]] = begin
  }
  function newest(timeline,   next_one) {
    while ((next_one = sprintf("%08X", hex(timeline) + 1)) in lines) timeline = next_one
    if (!(timeline in lines)) add_line(timeline, timeline, 0)
    return timeline
  }
  # owner is the timeline whose file a recovery reads for a segment.
  function owner(timeline, number,   i) {
    for (i = lines[timeline]; i > 1; i--)
      if (int(began[timeline, i] / size) <= number) break
    return line[timeline, i]
  }
  # leaves says why a position is not on the way of a timeline, or is "".
  function leaves(timeline, ancestor, position,   i) {
    for (i = 1; i <= lines[timeline]; i++) {
      if (line[timeline, i] != ancestor) continue
      if (i == lines[timeline] || position <= began[timeline, i + 1]) return ""
      return "goes on on timeline " hex(ancestor) " after timeline " hex(line[timeline, i + 1]) " had left it"
    }
    return "is on timeline " hex(ancestor) ", which is no ancestor of timeline " hex(timeline)
  }'

# catalogue prints what the backup.info files in a folder say, newest first.
catalogue() { # folder
  for info in "$1"/*/backup.info; do
    [ -f "$info" ] || continue
    id=${info%/backup.info}
    awk -v id="${id##*/}" "$lib"'
      { at = index($0, "="); value[substr($0, 1, at - 1)] = substr($0, at + 1) }
      function given(name) { return value[name] == "" || value[name] == "None" ? "-" : value[name] }
      END {
        size = given("xlog_segment_size")
        printf "%s %s %s %s %.0f %.0f %.0f %.0f\n", id, given("status"), given("begin_wal"), given("end_wal"),
          (size == "-" ? 16777216 : size), (given("end_time") == "-" ? 0 : epoch(value["end_time"])),
          lsn(value["begin_xlog"]), lsn(value["end_xlog"])
      }' "$info"
  done | sort -r
}

# finished keeps of a catalogue what can be restored.
finished() { awk '$2 == "DONE"'; }

# select_backups keeps of finished backups what the recovery window keeps. Like
# barman it keeps the newest backup that is older than the window, too.
select_backups() {
  awk -v since="$(window_start)" '{ print } $6 < since { exit }'
}

# window_start is the first second of the recovery window.
window_start() {
  if [ -n "${RETENTION_DAYS:-}" ]; then echo $((now - RETENTION_DAYS * 86400)); else echo 0; fi
}

# not_before keeps of a catalogue what is not older than all of another.
not_before() { # the other catalogue
  awk -v oldest="$(awk 'END { print $1 }' "$1")" '$1 "" >= oldest ""'
}

# read_histories turns the histories in a folder into text, and prints the names of
# those that cannot be read. barman takes the first of several for one timeline, and
# does not see that a file with zstd is cut off; PostgreSQL ends each line.
read_histories() { # folder, folder for the texts
  mkdir -p "$2"
  for file in "$1"/*.history*; do
    name=${file##*/}
    text=$2/${name%%.*}
    if [ ! -f "$file" ] || [ -f "$text" ]; then continue; fi
    case $name in
      *.history) cat "$file" ;;
      *.gz) gunzip -c "$file" ;;
      *.bz2) bunzip2 -c "$file" ;;
      *.xz) unxz -c "$file" ;;
      *) cat "${TMPDIR:-/tmp}/${HISTORIES:-}/$(sha256sum <"$file" | cut -c 1-64)" ;;
    esac >"$text" 2>/dev/null && grep -Eq '^[0-9]+[[:space:]]+[0-9A-F]+/[0-9A-F]+' "$text" &&
      [ "$(tail -c 1 "$text" | wc -l)" -eq 1 ] || {
      : >"$text"
      echo "$name"
    }
  done
}

# timelines prints what the texts of histories say.
timelines() { # folder
  for file in "$1"/*; do
    [ -s "$file" ] || continue
    awk -v timeline="${file##*/}" "$lib"'
      BEGIN { begin = 0 }
      $1 ~ /^[0-9]+$/ && $2 ~ /^[0-9A-F]+\/[0-9A-F]+$/ {
        printf "%s %08X %.0f\n", timeline, $1, begin
        begin = lsn($2)
      }
      END { printf "%s %s %.0f\n", timeline, timeline, begin }' "$file"
  done
}

# select_base prints the objects of wanted backups, but not their backup.info,
# that the other store lacks.
select_base() { # wanted, listing of the source, listing of the destination, file for conflicts
  awk -v conflicts="$4" '
    FILENAME == ARGV[1] { wanted[$1]; next }
    { split($4, part, "/"); if (!(part[1] in wanted) || part[2] == "backup.info") next }
    FILENAME == ARGV[2] { size[$4] = $1; path[++paths] = $4; next }
    { there[$4] = $1 }
    END {
      for (i = 1; i <= paths; i++) {
        if (!(path[i] in there)) print path[i]
        else if (there[path[i]] != size[path[i]]) print path[i] >>conflicts
      }
    }' "$1" "$2" "$3"
}

# select_wal prints the WAL objects that the other store lacks, from the first
# segment that a wanted backup needs. Histories are published, not copied, and a
# partial segment only if there is no whole one: barman 3.20.0 restores neither of
# the two (https://github.com/cloudnative-pg/plugin-barman-cloud/issues/1113).
select_wal() { # wanted, listing of the source, listing of the destination, file for conflicts
  awk -v conflicts="$4" "$lib"'
    FILENAME == ARGV[1] { at = substr($3, 9); if (first == "" || at < first) first = at; next }
    complete($4) != "" { whole[complete($4)] }
    FILENAME == ARGV[2] { there[$4] = $1; next }
    (name = origin($4)) == "" || first == "" { next }
    $4 in there { if (there[$4] != $1) print $4 >>conflicts; next }
    substr(name, 9) >= first { path[++paths] = $4 }
    END {
      for (i = 1; i <= paths; i++)
        if (substr(path[i], 42, 8) != ".partial" || !(origin(path[i]) in whole)) print path[i]
    }
  ' "$1" "$3" "$2"
}

# verify says of every wanted backup whether a store has all that it needs.
# Segments are archived in parallel, so that one may be missing for a moment
# although a later one is there; hence what an earlier run has seen counts.
verify() { # wanted, base listing of the source, base and WAL listing of the store, its WAL before, timelines
  awk -v now="$now" -v delay="${WAL_DELAY:-0}" "$lib"'
    FILENAME == ARGV[1] { id[++backups] = $1; begin[$1] = $3; end[$1] = $4; size = $5; ended[$1] = $6; from[$1] = $7; to[$1] = $8; next }
    FILENAME == ARGV[2] { expected[$4] = $1; next }
    FILENAME == ARGV[3] {
      split($4, part, "/")
      if (part[2] ~ /^data(_[0-9]+)?\.tar/) data[part[1]]
      if ($4 in expected && expected[$4] == $1) delete expected[$4]
      next
    }
    FILENAME == ARGV[6] { add_line($1, $2, $3); next }
    (name = complete($4)) == "" { next }
    FILENAME == ARGV[4] { have[name]; next }
    { seen[name] }
    END {
      for (path in expected) {
        split(path, part, "/")
        if (part[2] != "backup.info") missing[part[1]] = "lacks " path
      }
      if (!backups) exit
      way = newest(substr(begin[id[1]], 1, 8))
      for (name in seen)
        if (substr(name, 9) > last_seen && substr(name, 1, 8) == owner(way, segment(name))) last_seen = substr(name, 9)
      for (i = 1; i <= backups; i++) print id[i], check(id[i])
    }
    function check(id,   way, at, last, name) {
      if (id in missing) return "incomplete " missing[id]
      if (!(id in data)) return "incomplete lacks its data"
      way = newest(substr(begin[id], 1, 8))
      if ((why = leaves(way, substr(begin[id], 1, 8), from[id])) != "" || (why = leaves(way, substr(end[id], 1, 8), to[id])) != "")
        return "incomplete " why
      at = segment(begin[id]); last = segment(end[id])
      # The end of a segment is the beginning of the next, which is not needed.
      if (to[id] > 0 && to[id] == last * size) last--
      if (at > last) return "incomplete has an impossible WAL range " begin[id] " to " end[id]
      for (; at <= last; at++) {
        name = owner(way, at) place(at)
        if ((name in have) || (at == last && (end[id] in have))) continue
        return (place(at) > last_seen && now - ended[id] < delay ? "pending" : "incomplete") " lacks WAL " name
      }
      return "ok"
    }
  ' "$1" "$2" "$3" "$4" "$5" "$6"
}

# runs prints from which restorable backup to which segment a store has all WAL.
runs() { # restorable backups, WAL listing, timelines
  awk "$lib"'
    FILENAME == ARGV[1] { backups++; begin[backups] = $3; end[backups] = $4; size = $5; ended[backups] = $6; next }
    FILENAME == ARGV[3] { add_line($1, $2, $3); next }
    (name = complete($4)) != "" { have[name] }
    function put() { if (first != "") printf "%.0f %.0f %s %s %s\n", first, latest, last, before, place(at) }
    END {
      for (i = backups; i > 0; i--) {
        way = newest(substr(begin[i], 1, 8))
        if (first != "" && way == on && segment(begin[i]) < at) { latest = ended[i]; continue }
        put()
        on = way; first = latest = ended[i]; last = end[i]; before = "-"
        for (at = segment(begin[i]); (name = owner(way, at) place(at)) in have; at++) {
          if (at > segment(begin[i])) before = last
          last = name
        }
        if (at == segment(end[i]) && (end[i] in have)) { before = last; last = end[i]; at++ }
      }
      put()
    }' "$1" "$2" "$3"
}

# windows turns runs into times. When a segment was finished is not known, only
# when it arrived, so what counts is the arrival of the last but one: the last
# one was being written then.
windows() { # runs, arrivals
  awk "$lib"'
    FILENAME == ARGV[1] { arrived[complete($2)] = $1; next }
    { last = ($4 in arrived) && arrived[$4] > $2 ? arrived[$4] : $2; printf "%.0f %.0f\n", $1, last }
  ' "$2" "$1"
}

# hole prints the segment that stops a recovery from the newest backup short of
# what an earlier run of the job has mirrored.
hole() { # runs, timelines, WAL listing before, segment size
  awk -v size="$4" "$lib"'
    FILENAME == ARGV[1] { add_line($1, $2, $3); next }
    FILENAME == ARGV[2] { way = newest(substr($3, 1, 8)); stop = $5; next }
    stop == "" || (name = complete($4)) == "" || substr(name, 9) <= stop { next }
    substr(name, 1, 8) == owner(way, segment(name)) { found = 1; exit }
    END { if (found) print owner(way, segment("        " stop)) stop }
  ' "$2" "$1" "$3"
}

# publishable prints the timelines whose history may go to a store: a recovery
# there looks for the first segment of the timeline from then on, so that has to
# be there, of this timeline or of one that began in the same segment.
publishable() { # timelines of the source, WAL listing of the store, segment size
  awk -v size="$3" "$lib"'
    FILENAME == ARGV[1] { add_line($1, $2, $3); next }
    (name = complete($4)) != "" { have[name] }
    END {
      for (timeline in lines) {
        number = int(began[timeline, lines[timeline]] / size)
        for (later = timeline; later in lines; later = sprintf("%08X", hex(later) + 1))
          if ((later place(number)) in have) { print timeline; break }
      }
    }' "$1" "$2"
}

# unpublished prints "<id> dead|alive <bytes>" of base backups in the mirror
# without a backup.info. Dead are those that can never get one: neither store
# has one, they are older than the recovery window, and nothing has been added to
# them for a week.
unpublished() { # base listing of the mirror, the archive's catalogue
  awk -v since="$(window_start)" -v idle="$((now - ${UNPUBLISHED_FOR:-604800}))" "$lib"'
    FILENAME == ARGV[1] { known[$1]; next }
    { split($4, part, "/"); id = part[1] }
    part[2] == "backup.info" { published[id]; next }
    { bytes[id] += $1; added = epoch($2 " " $3); if (added > latest[id]) latest[id] = added }
    END {
      for (id in bytes) {
        if (id in published) continue
        taken = id ~ /^[0-9]+T[0-9]+$/ && length(id) == 15 ? epoch(substr(id, 1, 4) "-" substr(id, 5, 2) "-" substr(id, 7, 2) " " \
          substr(id, 10, 2) ":" substr(id, 12, 2) ":" substr(id, 14, 2)) : since
        dead = !(id in known) && taken < since && latest[id] < idle
        printf "%s %s %.0f\n", id, (dead ? "dead" : "alive"), bytes[id]
      }
    }' "$2" "$1" | sort
}

# read_backups fetches what there is of base backups in a store.
read_backups() { # archive or mirror
  entries "$(store "$1")/$server/base" >"$dir/$1.base"
  awk '$4 ~ /^[^\/]+\/backup\.info$/ { print $4 }' "$dir/$1.base" >"$dir/$1.info.list"
  mkdir -p "$dir/$1.info"
  if [ -s "$dir/$1.info.list" ]; then
    rclone copy --files-from-raw "$dir/$1.info.list" "$(store "$1")/$server/base" "$dir/$1.info"
  fi
  catalogue "$dir/$1.info" >"$dir/$1.all"
  finished <"$dir/$1.all" >"$dir/$1.done"
}

# read_wal lists the WAL in a store and fetches the histories.
read_wal() { # archive or mirror
  entries "$(store "$1")/$server/wals" >"$dir/$1.wals"
  awk 'substr($4, 9, 8) == ".history" { print $4 }' "$dir/$1.wals" >"$dir/$1.history.list"
  mkdir -p "$dir/$1.history"
  if [ -s "$dir/$1.history.list" ]; then
    rclone copy --files-from-raw "$dir/$1.history.list" "$(store "$1")/$server/wals" "$dir/$1.history"
  fi
  : >"$dir/$1.unread"
  know_lines "$1"
}

# know_lines reads the histories that were fetched.
know_lines() { # archive or mirror
  read_histories "$dir/$1.history" "$dir/$1.text" >>"$dir/$1.unread"
  timelines "$dir/$1.text" >"$dir/$1.lines"
}

# unread reports the histories that cannot be read. Without them nobody knows which
# way a recovery takes, so that nothing may be published.
unread() {
  for at in archive mirror; do
    while read -r file; do
      problem history-unread "$file in the $at cannot be read; until it can, base backups are copied but not published"
    done <"$dir/$at.unread"
  done
  [ -s "$dir/archive.unread" ] || [ -s "$dir/mirror.unread" ]
}

# union prints backups that are in either of two catalogues, newest first; what
# the first one says counts.
union() { cat "$1" "$2" | awk '!seen[$1]++' | sort -r; }

# carry_base and carry_wal copy one store's folder to the other: data, then WAL,
# then the histories of timelines, then each backup.info whose backup is
# complete. What stands later is useless, or misleads, without what stands
# earlier.
carry_base() { # from, to, encryption
  select_base "$dir/wanted" "$dir/$1.base" "$dir/$2.base" "$dir/changed" >"$dir/base.new"
  [ -s "$dir/base.new" ] || return 0
  transfer "$3" "$dir/base.new" "$(store "$1")/$server/base" "$(store "$2")/$server/base" || uncopied "$1" "base backup data"
  entries "$(store "$2")/$server/base" >"$dir/$2.base"
}

carry_wal() { # from, to, encryption of WAL, encryption of base backups
  cp "$dir/$2.wals" "$dir/$2.before"
  : >"$dir/wals.new"
  # A store that has lost its backups may be damaged in other ways, too.
  if [ -s "$dir/$1.done" ]; then
    select_wal "$dir/wanted" "$dir/$1.wals" "$dir/$2.wals" "$dir/changed" >"$dir/wals.new"
  fi
  if [ -s "$dir/wals.new" ]; then
    transfer "$3" "$dir/wals.new" "$(store "$1")/$server/wals" "$(store "$2")/$server/wals" || uncopied "$1" "WAL"
    entries "$(store "$2")/$server/wals" >"$dir/$2.wals"
  fi
  if [ -s "$dir/archive.unread" ] || [ -s "$dir/mirror.unread" ]; then return 0; fi
  publish_histories "$1" "$2" "$3"
  know_lines "$2"
  verify "$dir/wanted" "$dir/$1.base" "$dir/$2.base" "$dir/$2.wals" "$dir/$2.before" "$dir/$2.lines" >"$dir/verified"
  publish_backups "$1" "$2" "$4"
}

# uncopied reports a copy that failed. The key of the archive may be one that
# can only read: the other direction is a bonus.
uncopied() { # from, what
  if [ "$1" = archive ]; then
    problem copy-failed "not all $2 could be copied"
  else
    notice not-copied-back "not all $2 that only the mirror has could be copied to the archive; check that the key may write there"
  fi
}

publish_histories() { # from, to, encryption
  publishable "$dir/$1.lines" "$dir/$2.wals" "$size" >"$dir/publishable"
  : >"$dir/history.new"
  while read -r timeline; do
    for file in "$dir/$1.history/$timeline".history*; do
      if [ -f "$file" ] && [ ! -f "$dir/$2.history/${file##*/}" ]; then
        echo "${file##*/}" >>"$dir/history.new"
      fi
    done
  done <"$dir/publishable"
  [ -s "$dir/history.new" ] || return 0
  if RCLONE_S3_SERVER_SIDE_ENCRYPTION=$3 rclone copy --immutable --files-from-raw "$dir/history.new" \
    "$dir/$1.history" "$(store "$2")/$server/wals"; then
    while read -r file; do cp "$dir/$1.history/$file" "$dir/$2.history/"; done <"$dir/history.new"
  else
    uncopied "$1" "timeline histories"
  fi
}

# publish_backups makes the backups restorable that are complete now.
publish_backups() { # from, to, encryption
  awk 'FILENAME == ARGV[1] { published[$1]; next } $2 == "ok" && !($1 in published) { print $1 "/backup.info" }' \
    "$dir/$2.done" "$dir/verified" >"$dir/info.new"
  [ -s "$dir/info.new" ] || return 0
  if RCLONE_S3_SERVER_SIDE_ENCRYPTION=$3 rclone copy --immutable --files-from-raw "$dir/info.new" \
    "$dir/$1.info" "$(store "$2")/$server/base"; then
    awk 'FILENAME == ARGV[1] { sub("/.*", ""); published[$0]; next } $1 in published' "$dir/info.new" "$dir/wanted" >"$dir/published"
    union "$dir/$2.done" "$dir/published" >"$dir/$2.now"
    mv "$dir/$2.now" "$dir/$2.done"
  else
    uncopied "$1" "backup.info files"
  fi
}

# judge works out what restores from a store.
judge() { # archive or mirror, the other one, the number of WAL objects copied there
  verify "$dir/$1.done" "$dir/$2.base" "$dir/$1.base" "$dir/$1.wals" /dev/null "$dir/$1.lines" >"$dir/$1.verified"
  awk 'FILENAME == ARGV[1] { ok[$1] = $2; next } ok[$1] == "ok"' "$dir/$1.verified" "$dir/$1.done" >"$dir/$1.restorable"
  runs "$dir/$1.restorable" "$dir/$1.wals" "$dir/$1.lines" >"$dir/$1.runs"
  awk "$lib"'FILENAME == ARGV[1] { wanted[$4]; next } complete($4) in wanted { print $4 }' \
    "$dir/$1.runs" "$dir/$1.wals" >"$dir/$1.ask"
  arrivals "$dir/$1.ask" "$(store "$1")/$server/wals" >"$dir/$1.arrived"
  windows "$dir/$1.runs" "$dir/$1.arrived" >"$dir/$1.windows"
  awk -v server="$server" -v store="$1" '{ print "window", server, store, $1, $2 }' "$dir/$1.windows" >>"$work/facts"
  printf 'store %s %s %s %s %s %d %d %.0f\n' "$server" "$1" "$(awk '{ print $1, $6; exit }' "$dir/$1.restorable" | grep . || echo - 0)" \
    "$(awk 'END { print NR ? $3 : "-" }' "$dir/$1.runs")" "$3" \
    "$(wc -l <"$dir/$1.restorable")" "$(awk "$lib"'complete($4) != "" { n++ } END { print n + 0 }' "$dir/$1.wals")" \
    "$(cat "$dir/$1.base" "$dir/$1.wals" | awk '{ bytes += $1 } END { printf "%.0f", bytes }')" >>"$work/facts"
  awk -v store="$1" -v since="$(window_start)" "$lib"'
    NR > 1 && $1 > since { print "gap the " store " cannot restore moments between " stamp(last) " and " stamp($1) }
    { last = $2 }' "$dir/$1.windows" >"$dir/gaps"
  while read -r code sentence; do notice "$code" "$sentence"; done <"$dir/gaps"
}

moment() { awk -v at="$1" "$lib"'BEGIN { print stamp(at) }'; } # seconds

# generation_of prints the number of the life whose folder has a name, or 0.
generation_of() { # server name
  case $1 in
    "$FIRST_SERVER") echo 1 ;;
    "$FIRST_SERVER"-[1-9]*)
      number=${1#"$FIRST_SERVER"-}
      case $number in *[!0-9]*) echo 0 ;; *) echo "$number" ;; esac
      ;;
    *) echo 0 ;;
  esac
}

earlier_life() { # server name
  of=$(generation_of "$1")
  [ "$1" != "$SERVER_NAME" ] && [ "$of" -gt 0 ] && [ "$of" -lt "$GENERATION" ]
}

mirror_server() { # server name
  server=$1 dir=$work/servers/$1
  mkdir -p "$dir"
  : >"$dir/changed"
  # The order matters: what a later listing shows is at least what the backups
  # of an earlier one need.
  read_backups mirror
  read_backups archive
  # Until its successor is in the mirror, a backup that became obsolete counts.
  union "$dir/mirror.done" "$dir/archive.done" | select_backups >"$dir/kept"
  select_backups <"$dir/mirror.done" | union "$dir/kept" - >"$dir/wanted"
  size=$(awk '{ print $5; exit }' "$dir/wanted")
  size=${size:-16777216}
  carry_base archive mirror "$MIRROR_DATA_ENCRYPTION"
  read_wal archive
  read_wal mirror
  carry_wal archive mirror "$MIRROR_WAL_ENCRYPTION" "$MIRROR_DATA_ENCRYPTION"
  if unread; then return; fi
  cp "$dir/verified" "$dir/mirror.wanted"
  cp "$dir/mirror.before" "$dir/earlier"
  new_in_mirror=$(wc -l <"$dir/wals.new") new_in_archive=0
  if earlier_life "$server"; then
    # When the archive has changed since, the end of that life is in what was
    # the archive then and is the mirror now. What the other store has let go
    # is not brought back.
    select_backups <"$dir/mirror.done" | not_before "$dir/archive.done" >"$dir/wanted"
    carry_base mirror archive "$ARCHIVE_DATA_ENCRYPTION"
    carry_wal mirror archive "$ARCHIVE_WAL_ENCRYPTION" "$ARCHIVE_DATA_ENCRYPTION"
    new_in_archive=$(wc -l <"$dir/wals.new")
  fi
  judge archive mirror "$new_in_archive"
  judge mirror archive "$new_in_mirror"
  complain
  if [ "$server" = "$SERVER_NAME" ]; then
    assess
  fi
}

# complain names what is wrong with a folder.
complain() {
  while read -r id result why; do
    case $result in
      ok) ;;
      pending) notice backup-pending "base backup $id is not complete yet: it $why" ;;
      *) problem backup-incomplete "base backup $id $why" ;;
    esac
  done <"$dir/mirror.wanted"
  newest_backup=$(awk '{ print $1; exit }' "$dir/archive.done")
  while read -r id result why; do
    if [ "$result" != incomplete ] || grep -q "^$id incomplete" "$dir/mirror.wanted"; then
      continue
    elif [ "$id" = "$newest_backup" ]; then
      problem archive-incomplete "base backup $id in the archive $why; restore from the mirror"
    else
      notice archive-incomplete "base backup $id in the archive $why"
    fi
  done <"$dir/archive.verified"
  for kind in info history; do
    (cd "$dir/archive.$kind" && find . -type f) | while read -r file; do
      if [ -f "$dir/mirror.$kind/$file" ] && ! cmp -s "$dir/archive.$kind/$file" "$dir/mirror.$kind/$file"; then
        echo "${file#./}" >>"$dir/changed"
      fi
    done
  done
  if [ -s "$dir/changed" ]; then
    problem changed "$(wc -l <"$dir/changed") objects in the archive differ from their copies, in size or, if they are a" \
      "backup.info or a history, in content, for instance $(head -n 1 "$dir/changed"); the mirror keeps what it has"
  fi
  awk '$2 != "DONE" && $6 > 0 { print $1, $2 }' "$dir/archive.all" >"$dir/failed"
  while read -r id status; do
    problem backup-failed "base backup $id in the archive is $status, but the operator takes it for a good one; delete it there"
  done <"$dir/failed"
  for at in mirror archive; do
    missing=$(hole "$dir/$at.runs" "$dir/$at.lines" "$dir/earlier" "$size")
    if [ -n "$missing" ]; then
      problem hole "WAL segment $missing is missing in the $at; recovery ends before it until there is a newer base backup"
    fi
  done
  unpublished "$dir/mirror.base" "$dir/archive.all" >"$dir/unpublished"
  while read -r id state bytes; do
    if ! grep -q "^$id " "$dir/mirror.wanted"; then
      notice unpublished "$bytes bytes in the mirror belong to base backup $id, which was never completed there"
    fi
  done <"$dir/unpublished"
}

# assess looks for what makes the folder in use useless although all of it was
# copied.
assess() {
  awk "$lib"'
    complete($4) == "" { next }
    { at = $2 " " $3; if (oldest == "" || at < oldest) oldest = at; if (at > latest) latest = at }
    END { if (latest != "") printf "%.0f %.0f\n", epoch(oldest), epoch(latest); else print 0, 0 }' "$dir/archive.wals" >"$dir/ages"
  read -r oldest latest <"$dir/ages"
  newest_end=$(awk '{ print $6; exit }' "$dir/archive.done")
  if [ ! -s "$dir/archive.done" ]; then
    if [ -s "$dir/mirror.done" ]; then
      problem archive-lost "the archive has lost all of its base backups; the mirror still has its own"
    elif [ -n "${BACKUP_PERIOD:-}" ] && [ "$oldest" -gt 0 ] && [ $((now - oldest)) -gt "$BACKUP_PERIOD" ]; then
      problem no-backup "there is WAL since $(moment "$oldest") but no finished base backup, so nothing can be restored"
    fi
  elif [ -n "${MAX_BACKUP_AGE:-}" ] && [ $((now - newest_end)) -gt "$MAX_BACKUP_AGE" ]; then
    problem backup-old "the newest base backup is of $(moment "$newest_end"); another one was due"
  fi
  if [ -n "${MAX_WAL_AGE:-}" ] && [ "$latest" -gt 0 ] && [ $((now - latest)) -gt "$MAX_WAL_AGE" ]; then
    problem wal-old "no WAL has been archived since $(moment "$latest")"
  fi
  if [ -s "$dir/mirror.wanted" ] && [ ! -s "$dir/mirror.restorable" ] && ! grep -q '^[^ ]* pending' "$dir/mirror.wanted"; then
    problem nothing-restores "nothing restores from the mirror"
  fi
}

# clean deletes from the mirror what is left of base backups that can never be
# completed, object by object as they were listed.
clean() {
  server=$SERVER_NAME dir=$work/servers/$SERVER_NAME
  awk 'FILENAME == ARGV[1] { if ($2 == "dead") dead[$1]; next }
    { split($4, part, "/") } part[1] in dead { print $4 }' "$dir/unpublished" "$dir/mirror.base" >"$dir/dead"
  [ -s "$dir/dead" ] || return 0
  say "$server: deleting $(wc -l <"$dir/dead") objects of base backups that can never be completed"
  if [ -n "${DEAD_LIST:-}" ]; then
    cp "$dir/dead" "${TMPDIR:-/tmp}/$DEAD_LIST"
    return
  fi
  rclone delete --files-from-raw "$dir/dead" "$MIRROR/$server/base" ||
    problem clean-failed "not all data of base backups that can never be completed could be deleted"
}

# check_lives looks for the folder of a life after the one that is written to.
check_lives() { # names
  while read -r name; do
    if [ "$(generation_of "$name")" -gt "$GENERATION" ]; then
      problem later-life "there is a folder $name of a later life: a live cluster writes into an old one's folder"
    fi
  done <"$1"
}

# facts is the termination message: one line of JSON, described in
# docs/mirror.md. Kubernetes cuts it off after 4096 bytes, so old folders are
# left out when there is no room.
facts() { # "true" when the run ended well
  awk -v ok="$1" -v now="$now" -v current="$SERVER_NAME" "$lib"'
    function text(value) { gsub(/[\\"]/, "", value); return "\"" value "\"" }
    function given(value) { return value == "-" ? "\"\"" : text(value) }
    function windows(key,   i, first, gaps, n) {
      n = count[key]
      if (!n) return ",\"first\":\"\",\"last\":\"\",\"gaps\":0,\"latestGaps\":[]"
      for (i = n > 4 ? n - 2 : 2; i <= n; i++)
        gaps = gaps (gaps == "" ? "" : ",") "[" text(stamp(until[key, i - 1])) "," text(stamp(begin[key, i])) "]"
      return ",\"first\":" text(stamp(begin[key, 1])) ",\"last\":" text(stamp(until[key, n])) \
        ",\"gaps\":" n - 1 ",\"latestGaps\":[" gaps "]"
    }
    FILENAME == ARGV[1] && $1 == "window" {
      key = $2 SUBSEP $3; i = ++count[key]; begin[key, i] = $4; until[key, i] = $5
      next
    }
    FILENAME == ARGV[1] {
      if (!($2 in known)) { known[$2]; server[++servers] = $2 }
      about[$2, $3] = "\"newestBackup\":" given($4) ",\"newestBackupEnd\":" ($4 == "-" ? "\"\"" : text(stamp($5))) \
        ",\"newestWAL\":" given($6) ",\"newWAL\":" $7 ",\"backups\":" $8 ",\"wal\":" $9 ",\"bytes\":" $10
      next
    }
    { key = $1 " " $2 " " $3; if (!(key in times)) problem[++problems] = key; times[key]++ }
    END {
      for (i = 1; i <= problems && i <= 12; i++) {
        split(problem[i], part, " ")
        list = list (i > 1 ? "," : "") "{\"code\":" text(part[2]) ",\"server\":" text(part[3]) \
          ",\"fails\":" (part[1] == "PROBLEM" ? "true" : "false") ",\"count\":" times[problem[i]] "}"
      }
      head = "{\"version\":1,\"time\":" text(stamp(now)) ",\"ok\":" ok ",\"server\":" text(current) ",\"problems\":[" list "],\"folders\":["
      for (i = 1; i <= servers; i++) {
        folder = (i > 1 ? "," : "") "{\"server\":" text(server[i])
        split("archive mirror", store, " ")
        for (j = 1; j <= 2; j++)
          if ((server[i], store[j]) in about)
            folder = folder ",\"" store[j] "\":{" about[server[i], store[j]] windows(server[i] SUBSEP store[j]) "}"
        folder = folder "}"
        if (length(head) + length(folders) + length(folder) > 4000) break
        folders = folders folder
      }
      print head folders "],\"omitted\":" servers - i + 1 "}"
    }' "$work/facts" "$work/problems"
}

# outcome is what a run that ended well leaves, in words.
outcome() {
  awk -v server="$SERVER_NAME" "$lib"'
    $1 == "window" && $2 == server && $3 == "mirror" {
      if (first == "") first = $4; else gaps = gaps ", except between " stamp(last) " and " stamp($4)
      last = $5
    }
    END {
      if (first == "") print "there is no base backup yet, so nothing can be restored"
      else print "the mirror restores any moment from " stamp(first) " to " stamp(last) gaps
    }' "$work/facts"
}

# conclude ends the run in any case that lets it.
conclude() { # exit status
  trap - EXIT
  server=$SERVER_NAME status=$1
  failures=$(grep -c ^PROBLEM "$work/problems" || true)
  if [ "$status" != 0 ] && [ "$failures" = 0 ]; then
    problem aborted "a command failed, see the lines above"
    failures=1
  fi
  if [ "$failures" = 0 ]; then ok=true; else ok=false status=1; fi
  facts $ok >"$work/message"
  cat "$work/message"
  log=${TERMINATION_LOG:-/dev/termination-log}
  if [ -w "$log" ]; then
    cat "$work/message" >"$log"
  fi
  if [ $ok = true ]; then say "$(outcome)"; else say "FAILED: $failures problems, listed above"; fi
  rm -rf "$work"
  exit "$status"
}

main() {
  now=$(date +%s)
  server=$SERVER_NAME
  work=$(mktemp -d)
  : >"$work/problems"
  : >"$work/facts"
  trap 'conclude $?' EXIT
  trap 'exit 143' INT TERM
  say "mirror of $ARCHIVE to $MIRROR"
  rclone lsf --dirs-only "$ARCHIVE" >"$work/names.archive"
  rclone lsf --dirs-only "$MIRROR" >"$work/names.mirror"
  {
    echo "$SERVER_NAME/"
    cat "$work/names.archive" "$work/names.mirror"
  } | awk '!seen[$0]++ { sub("/$", ""); print }' >"$work/names"
  check_lives "$work/names"
  mirror_server "$SERVER_NAME"
  while read -r name; do
    [ "$name" != "$SERVER_NAME" ] || continue
    # A condition would switch off "set -e" inside.
    (mirror_server "$name") </dev/null &
    wait $! || {
      server=$name
      notice unread "could not be read or copied, see the lines above"
    }
  done <"$work/names"
  server=$SERVER_NAME
  if ! grep -q ^PROBLEM "$work/problems"; then
    clean
  fi
}

if [ -z "${FUNCTIONS_ONLY:-}" ]; then
  main
fi
