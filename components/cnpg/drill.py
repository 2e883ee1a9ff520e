# Restores one copy of a database into a volume that is thrown away, has PostgreSQL
# started on it by the container beside this one (drill.sh), and reports what came
# of it: docs/drills.md. Nothing is ever written to the store.
#
# COPY                   b2 or minio
# ENDPOINT, DESTINATION  the store, and s3://bucket/folder of all lives
# SERVER_NAME            the life to restore
# PERIOD, TURN           seconds from one run to the next, and whether the base
#                        backup at the start of the window is that of the even (0) or
#                        the odd (1) runs; empty: always the newest
# RETENTION_DAYS         the window; empty: everything
# DEADLINE               seconds after which the run ends
# MAX_AGE                seconds that the restored moment may be old; empty: any
# PARALLEL               WAL files to fetch at once
# BANDWIDTH              most bytes a second; empty: no limit
# RESULT                 what the query must return
#
# The two containers share a folder, and talk by files in it: the one that a line
# names writes it, the other one reads it.
#
# begin                restore  the folders below are there
# alive, pulse         restore, postgres  it still runs
# result/version       postgres the major version of the image
# restored             restore  the base backup is in data/
# ask/<name>           postgres recovery wants this file of WAL
# answer/<name>        restore  ok: it is in wal/; none: the store has none; broken
# result/*             postgres what became of the restored database
# done                 postgres there will be no more results
# end                  restore  stop
# bye                  postgres it has stopped
import datetime
import importlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time

RUN = os.environ.get("DRILL_FOLDER", "/drill")
ENV = os.environ
STARTED = time.time()


class Found(Exception):
    """What is wrong, by its code in docs/troubleshooting.md, in a sentence."""

    def __init__(self, code, sentence):
        super().__init__(sentence)
        self.code, self.sentence = code, sentence


def say(text):
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), text, flush=True)


def path(*parts):
    return os.path.join(RUN, *parts)


def write(name, text=""):
    """Writes a file at once: the other container never reads a half."""
    with open(path(name) + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path(name) + ".new", path(name))


def read(name):
    try:
        with open(path(name), encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def there(name):
    return os.path.exists(path(name))


def moment(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"^.*\b(?:ERROR|exception): ", "", lines[-1]) if lines else ""


# How a store's refusals look, in the order in which they are looked for.
WORDINGS = [
    ("No space left on device", "CB75"),
    ("Disk quota exceeded", "CB75"),
    ("cap exceeded", "CB06"),
    ("CERTIFICATE_VERIFY_FAILED", "CB02"),
    ("(400) when calling the HeadBucket", "CB04"),
    ("the region is wrong", "CB04"),
    ("(404) when calling the HeadBucket", "CB05"),
    ("NoSuchBucket", "CB05"),
    ("does not exist. Create it", "CB05"),
    ("(403) when calling", "CB03"),
    ("SignatureDoesNotMatch", "CB03"),
    ("InvalidAccessKeyId", "CB03"),
    ("AccessDenied", "CB03"),
    ("Could not connect to the endpoint", "CB01"),
    ("Connect timeout on endpoint", "CB01"),
    ("Read timeout on endpoint", "CB01"),
    ("IncompleteRead", "CB74"),
    ("Connection broken", "CB74"),
    ("Connection was closed", "CB01"),
]


def code_of(text, otherwise):
    for words, code in WORDINGS:
        if words in text:
            return code
    return otherwise


def tick():
    """Is called in every loop: shows that this container runs, and ends the run
    when its time is over or the other container has gone."""
    write("alive")
    if time.time() - STARTED > float(ENV["DEADLINE"]):
        why = "took longer than" if there("result/version") else "saw no container with PostgreSQL before"
        raise Found("CB80", "the run %s its deadline of %s s" % (why, ENV["DEADLINE"]))
    if there("bye") and not there("done"):
        raise Found("CB77", "the container with PostgreSQL has ended: " + (last_line(read("result/failed")) or "see its log"))
    try:
        silent = time.time() - os.stat(path("pulse")).st_mtime
    except FileNotFoundError:
        return
    if silent > 120:
        raise Found("CB77", "the container with PostgreSQL has ended without a message, as it does when it needs more memory than its limit")


def pause():
    tick()
    time.sleep(0.05)


class Tool:
    """One of barman's cloud tools, as a process. To fork is much cheaper than to
    start Python anew for each file of WAL."""

    running = {}

    def __init__(self, name, arguments):
        # Not in the volume: when that is full, the tool has to be able to say so.
        self.output = os.path.join(tempfile.gettempdir(), "output.%d" % time.monotonic_ns())
        self.code = None
        main = importlib.import_module("barman.clients." + name).main
        arguments = ["--cloud-provider", "aws-s3", "--endpoint-url", ENV["ENDPOINT"]] + arguments
        self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                file = os.open(self.output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
                os.dup2(file, 1)
                os.dup2(file, 2)
                slow_down()
                main(arguments)
                code = 0
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
            except BaseException as error:  # a message, whatever it is
                print(error, file=sys.stderr)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        Tool.running[self.pid] = self

    def ended(self):
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                del Tool.running[self.pid]
        return self.code is not None

    def said(self):
        with open(self.output, encoding="utf-8", errors="replace") as file:
            text = file.read()
        os.remove(self.output)
        return text

    def run(self):
        while not self.ended():
            pause()
        return self.said()

    @classmethod
    def stop_all(cls):
        for pid in list(cls.running):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        cls.running.clear()


def slow_down():
    """Holds what is read from a store to the limit. barman has none for that."""
    if not ENV.get("BANDWIDTH"):
        return
    from botocore.response import StreamingBody

    at_once, limit, begin, total = StreamingBody.read, float(ENV["BANDWIDTH"]), time.monotonic(), 0

    def slowly(body, amt=None):
        nonlocal total
        content = at_once(body, amt)
        total += len(content)
        time.sleep(max(0.0, total / limit - (time.monotonic() - begin)))
        return content

    StreamingBody.read = slowly


def whole_wal(name):
    return re.fullmatch(r"[0-9A-F]{24}", name) is not None


class Copy:
    """What the store holds of the life, as it was listed when the run began."""

    def __init__(self):
        self.bucket, _, folder = ENV["DESTINATION"][len("s3://"):].partition("/")
        self.prefix = (folder.strip("/") + "/" if folder.strip("/") else "") + ENV["SERVER_NAME"] + "/"
        listing = Tool("cloud_backup_list", ["--format", "json", ENV["DESTINATION"], ENV["SERVER_NAME"]])
        said = listing.run()
        if listing.code != 0:
            raise Found(code_of(said, "CB09"), "the base backups cannot be listed: " + last_line(said))
        try:
            backups = json.loads(said[said.index('{"backups_list"'):].splitlines()[0])["backups_list"]
        except (ValueError, KeyError):
            raise Found("CB52", "barman's list of base backups makes no sense: " + last_line(said)) from None
        self.backups = [b for b in backups if b.get("status") == "DONE" and b.get("end_wal")]
        self.sizes = {}
        self.list_objects()
        self.wal, self.histories = {}, set()
        for key in self.sizes:
            found = re.fullmatch(r"wals/(?:[0-9A-F]{16}/)?([0-9A-F]{24}|[0-9A-F]{8}\.history)(\.(?:gz|bz2|xz|zst|lz4|snappy))?", key)
            if found:
                self.wal[found[1]] = key
                if found[1].endswith(".history"):
                    self.histories.add(int(found[1][:8], 16))

    def list_objects(self):
        import boto3

        try:
            store = boto3.session.Session().client("s3", endpoint_url=ENV["ENDPOINT"])
            for page in store.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix):
                tick()
                for item in page.get("Contents", []):
                    self.sizes[item["Key"][len(self.prefix):]] = item["Size"]
        except Found:
            raise
        except Exception as error:  # boto3's have no common ancestor
            raise Found(code_of(str(error), "CB09"), "the WAL cannot be listed: %s" % error) from None

    def stored(self, backup):
        return sum(size for key, size in self.sizes.items() if key.startswith("base/" + backup["backup_id"] + "/"))


def segment(name, size):
    return int(name[8:16], 16) * (2**32 // size) + int(name[16:24], 16)


def position(lsn):
    high, low = lsn.split("/")
    return int(high, 16) * 2**32 + int(low, 16)


def ended_at(backup):
    return datetime.datetime.fromisoformat(backup["end_time_iso"]).timestamp()


def size_of(backup):
    return int(backup.get("xlog_segment_size") or 16 * 2**20)


def choose(copy, major):
    """The base backup to begin with, and whether it is the one at the start of the
    window."""
    if not copy.backups:
        raise Found("CB46", "there is no finished base backup in %s" % ENV["SERVER_NAME"])
    ours = [b for b in copy.backups if int(b["version"]) // 10000 == major]
    if not ours:
        raise Found("CB46", "there is no finished base backup of PostgreSQL %d, which the image has; the newest is of %d"
                    % (major, int(copy.backups[-1]["version"]) // 10000))
    ours.sort(key=lambda b: b["backup_id"])
    size = size_of(ours[-1])
    there_are = {segment(name, size) for name in copy.wal if whole_wal(name)}
    # The last WAL of one that has just been finished may not be archived yet.
    last = max(there_are, default=-1)
    complete = [b for b in ours if segment(b["end_wal"], size) <= last] or ours
    newest = complete[-1]
    turn = ENV.get("TURN", "")
    if not turn or int(STARTED / float(ENV["PERIOD"])) % 2 != int(turn):
        return newest, False
    # Retention may delete the oldest one while it is restored; what has a deadline
    # to go in the window it leaves alone.
    needed = last - unordered()
    since = 0.0
    if ENV.get("RETENTION_DAYS"):
        since = STARTED - 86400 * float(ENV["RETENTION_DAYS"]) + float(ENV["DEADLINE"])
    for backup in complete:
        begin, end = segment(backup["begin_wal"], size), segment(backup["end_wal"], size)
        unbroken = all(number in there_are for number in range(begin, max(end, needed) + 1))
        if ended_at(backup) >= since and unbroken:
            return backup, backup is not newest
    return newest, False


def unordered():
    """How many segments are archived at a time: so many of the newest may come in any
    order, and one that is missing among them is on its way."""
    return max(1, int(ENV.get("UNORDERED") or 1))


INCOMPLETE = "WAL segment %s is missing, without which the base backup is not complete"


class Recovery:
    """Fetches what PostgreSQL asks for, and ahead of it."""

    def __init__(self, copy, backup):
        self.copy, self.size = copy, size_of(backup)
        self.parallel = max(1, int(ENV.get("PARALLEL") or 1))
        if ENV.get("BANDWIDTH"):
            self.parallel = 1
        self.fetching, self.ready, self.tries, self.broken = {}, set(), {}, None
        self.missing, self.asked, self.fetched, self.bytes = [], -1, 0, 0
        self.last, self.begin = "", segment(backup["begin_wal"], self.size)
        self.claim(backup)

    def claim(self, backup):
        """How far the WAL of the copy goes on the timeline that a recovery follows."""
        self.timeline = first = int(backup["begin_wal"][:8], 16)
        while self.timeline + 1 in self.copy.histories:
            self.timeline += 1
        on_it = [segment(n, self.size) for n in self.copy.wal if whole_wal(n) and int(n[:8], 16) == self.timeline]
        self.end, self.switch, switches = max(on_it, default=None), 0, []
        if self.timeline > first:
            lines = self.history("%08X.history" % self.timeline)
            switches = [line.split() for line in lines.splitlines() if re.match(r"\s*\d+\s+[0-9A-F]+/[0-9A-F]+", line)]
            if not switches:
                raise Found("CB52", "the history of timeline %d makes no sense" % self.timeline)
        elif self.end is None:
            raise Found("CB50", INCOMPLETE % backup["begin_wal"])
        if self.end is None:
            # Nothing was archived on it yet: it goes as far as its ancestor went.
            self.switch = position(switches[-1][1])
            switch = (self.switch - 1) // self.size
            self.end = max((segment(n, self.size) for n in self.copy.wal if whole_wal(n) and segment(n, self.size) <= switch), default=-1)
            if self.end < switch:
                self.switch = 0  # that segment is not archived, so that WAL ends before it

    def history(self, name):
        fetch = self.start(name)
        while not fetch.ended():
            pause()
        self.reap()
        if name not in self.ready:
            raise Found("CB54", "the history %s cannot be read" % name)
        with open(path("wal", name), encoding="utf-8", errors="replace") as file:
            text = file.read()
        # barman unpacks half a file of zstd without an error; PostgreSQL ends each line.
        if not text.endswith("\n"):
            raise Found("CB52", "the history %s is cut off" % name)
        return text

    def start(self, name):
        self.tries[name] = self.tries.get(name, 0) + 1
        self.fetching[name] = Tool("cloud_walrestore", [ENV["DESTINATION"], ENV["SERVER_NAME"], name, path("wal", name + ".part")])
        return self.fetching[name]

    def reap(self):
        for name, tool in list(self.fetching.items()):
            if not tool.ended():
                continue
            del self.fetching[name]
            said, part = tool.said(), path("wal", name + ".part")
            if tool.code == 0 and whole_wal(name) and os.path.getsize(part) != self.size:
                tool.code, said = 1, "it has %d bytes and should have %d" % (os.path.getsize(part), self.size)
            if tool.code == 0:
                os.replace(part, path("wal", name))
                self.ready.add(name)
                self.fetched += 1
                self.bytes += self.copy.sizes[self.copy.wal[name]]
            elif self.tries[name] < 3:
                self.start(name)
            else:
                self.broken = Found(code_of(said, "CB54"), "WAL segment %s cannot be read: %s" % (name, last_line(said)))

    def after(self, name, steps):
        number = segment(name, self.size) + steps
        per_log = 2**32 // self.size
        return "%s%08X%08X" % (name[:8], number // per_log, number % per_log)

    def answer(self):
        for name in sorted(os.listdir(path("ask"))):
            if name.endswith(".new"):
                continue
            if whole_wal(name):
                self.asked = max(self.asked, segment(name, self.size))
            if self.broken is not None:
                self.reply(name, "broken")
            elif name in self.ready:
                self.ready.discard(name)
                # At its end a recovery reads the segment once more that it ended in.
                if whole_wal(name) and (not self.last or name[8:] >= self.last[8:]):
                    self.last = name
                self.reply(name, "ok")
            elif name not in self.copy.wal:
                self.missing.append(name)
                self.reply(name, "none")
            elif name not in self.fetching:
                self.start(name)
            if whole_wal(name):
                self.fetch_ahead(name)

    def fetch_ahead(self, name):
        for steps in range(1, 2 * self.parallel):
            following = self.after(name, steps)
            if len(self.fetching) >= self.parallel or following not in self.copy.wal:
                return
            if following not in self.ready and following not in self.fetching and following not in self.tries:
                self.start(following)

    def reply(self, name, answer):
        os.remove(path("ask", name))
        write("answer/" + name, answer)

    def serve(self, until):
        while not there(until):
            if there("done"):
                return
            self.reap()
            self.answer()
            pause()

    def judge(self, replayed):
        """Says what is wrong with the WAL if recovery ended before the copy does."""
        # What lies before the base backup is of no timeline that can follow it: before an
        # upgrade to another major release the last WAL may be of a later one.
        last = max([int(name[:8], 16) for name in self.copy.wal if not whole_wal(name) or segment(name, self.size) >= self.begin], default=0)
        if last > self.timeline:
            raise Found("CB50", "there is WAL of timeline %d, and no history of timeline %d: recovery ended on timeline %d"
                        % (last, self.timeline + 1, self.timeline))
        if self.switch:
            if replayed >= self.switch:
                return
        elif self.asked > self.end:
            return
        ahead = self.end * self.size
        at = self.last or "the first one"
        for name in self.missing:
            if whole_wal(name) and segment(name, self.size) <= self.end and not self.elsewhere(name):
                if segment(name, self.size) > self.end - unordered():
                    return
                raise Found("CB50", "WAL segment %s is missing, and there is WAL after it: recovery ended %d MB before its end"
                            % (name, (ahead - replayed) // 2**20 + self.size // 2**20))
        raise Found("CB54", "recovery ended in WAL segment %s, before the end of what the copy holds: %s" % (at, complaint(read("postgres.log"))))

    def elsewhere(self, name):
        """Whether another timeline has the segment: recovery tries them in turn."""
        return any(whole_wal(n) and n[8:] == name[8:] for n in self.copy.wal)


def check_settings():
    """Has a drill stop where the operator's recovery does, with hot standby: at a
    setting that is higher in the WAL than PostgreSQL was given.
    https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-ADMIN"""
    given = dict(line.split("=") for line in read("result/needed").splitlines())
    for name, value in re.findall(r"^(max_\w+) setting: +(\d+)$", read("result/replayed"), re.M):
        name = name.replace("xact", "transaction")
        if int(value) > int(given[name]):
            raise Found("CB77", "recovery would stop where %s became %s: the base backup and the Cluster have %s"
                        % (name, value, given[name]))


def complaint(log):
    """What PostgreSQL's log says of why WAL ended, or else why it did not start."""
    for words in (
        r"checksum in record|invalid record|invalid magic|record with|unexpected pageaddr|contrecord|invalid resource manager|"
        r"incorrect prev-link|out-of-order|invalid info bits|could not decompress",
        r"unrecognized configuration parameter|invalid value for parameter",
        r"(?:FATAL|PANIC): ",
        r"ERROR: ",
    ):
        for line in log.splitlines():
            if re.search(words, line):
                return re.sub(r"^.*?\b(?:LOG|ERROR|FATAL|PANIC): +", "", line.strip())
    return last_line(log)


def absent_library(text):
    found = re.search(r'(?:could not (?:access file|load library)|incompatible library) "([^"]+)"', text)
    return found[1] if found else ""


def outcome(name):
    """A command's exit status, what it said, and what it complained about."""
    return read("result/" + name + ".status"), read("result/" + name), read("result/" + name + ".errors")


def message_of(report):
    """The report as a line that is short enough: of a termination message Kubernetes
    keeps 4096 bytes, and half a line is none."""
    for most in range(500, 0, -20):
        report["problem"] = report["problem"][:most]
        for check in report["checks"]:
            if "why" in check:
                check["why"] = check["why"][:most]
        message = json.dumps(report, separators=(",", ":"))
        if len(message) <= 4096:
            break
    return message


class Run:
    """One run and its report."""

    def __init__(self):
        self.report = {
            "version": 1, "ok": False, "code": "", "problem": "", "copy": ENV["COPY"], "server": ENV["SERVER_NAME"],
            "backup": "", "oldest": False, "lastWAL": "", "wal": 0, "stored": 0, "size": 0, "started": moment(STARTED),
            "seconds": 0, "baseSeconds": 0, "walSeconds": 0, "checkSeconds": 0, "checks": [],
        }
        self.found = None

    def check(self, name, result, why=""):
        entry = {"name": name, "result": result}
        if why:
            entry["why"] = why[:200]
        self.report["checks"].append(entry)
        say("%s: %s%s" % (name, result, ": " + why if why else ""))

    def fail(self, name, code, why):
        self.check(name, "failed", why)
        if self.found is None:
            self.found = Found(code, why)

    def restore(self):
        for folder in ("ask", "answer", "wal", "result", "tablespaces"):
            os.makedirs(path(folder), exist_ok=True)
        write("begin")
        copy = Copy()
        while not there("result/version"):
            pause()
        backup, self.report["oldest"] = choose(copy, int(read("result/version")))
        self.report["backup"], self.report["backupEnd"] = backup["backup_id"], moment(ended_at(backup))
        say("restoring base backup %s of %s at %s" % (backup["backup_id"], ENV["SERVER_NAME"], ENV["COPY"]))
        recovery = Recovery(copy, backup)
        arguments = []
        for name, _, _ in backup.get("tablespaces") or []:
            arguments += ["--tablespace", "%s:%s" % (name, path("tablespaces", name))]
        unpack = Tool("cloud_restore", arguments + [ENV["DESTINATION"], ENV["SERVER_NAME"], backup["backup_id"], path("data")])
        said = unpack.run()
        if unpack.code != 0:
            missing = "does not exist" in said or "Missing file" in said or "NoSuchKey" in said
            raise Found(code_of(said, "CB49" if missing else "CB53"),
                        "base backup %s cannot be unpacked: %s" % (backup["backup_id"], last_line(said)))
        if not there("data/backup_label"):
            # PostgreSQL would begin in the middle of it, and not notice.
            raise Found("CB53", "base backup %s has no backup_label, which is written at its end" % backup["backup_id"])
        self.report["baseSeconds"] = round(time.time() - STARTED)
        self.report["stored"] = copy.stored(backup)
        return copy, backup, recovery

    def recover(self, copy, recovery):
        begin = time.time()
        write("restored")
        recovery.serve("result/ready")
        self.report["walSeconds"] = round(time.time() - begin)
        self.report["wal"], self.report["lastWAL"] = recovery.fetched, recovery.last
        self.report["stored"] += recovery.bytes
        if not there("result/ready"):
            raise self.why_not(recovery, "PostgreSQL does not start")
        begin = time.time()
        recovery.serve("done")
        self.report["checkSeconds"] = round(time.time() - begin)

    def why_not(self, recovery, what):
        """Why PostgreSQL did not get to an end, or what it does not do."""
        log = read("postgres.log")
        if recovery.broken is not None:
            return recovery.broken
        library = absent_library(log)
        if library:
            return Found("CB76", "the image has no library %s, which the database loads" % library)
        if "No space left on device" in log:
            return Found("CB75", "PostgreSQL has no space: " + complaint(log))
        if re.search("could not locate required checkpoint|WAL ends before", log):
            gone = [name for name in recovery.missing if whole_wal(name)]
            if gone:
                return Found("CB50", INCOMPLETE % gone[0])
            return Found("CB54", "recovery ended in WAL segment %s: %s" % (recovery.last, complaint(log)))
        return Found("CB77", what + ": " + (complaint(log) or last_line(read("result/failed"))))

    def judge(self, copy, recovery):
        self.judge_answers()
        lsn, transaction, size = (read("result/facts").split("|") + ["", "", ""])[:3]
        replayed = position(lsn) if lsn else 0
        self.report["size"] = int(size or 0)
        moments = [float(transaction)] if transaction else []
        moments += [ended_at(b) for b in copy.backups if replayed >= position(b["end_xlog"])]
        moments.append(ended_at(next(b for b in copy.backups if b["backup_id"] == self.report["backup"])))
        restored = max(moments)
        self.report["restoredTo"] = moment(restored)
        try:
            recovery.judge(replayed)
            check_settings()
            self.check("complete", "passed")
        except Found as found:
            self.fail("complete", found.code, found.sentence)
        age = STARTED - restored
        if not ENV.get("MAX_AGE"):
            self.check("recent", "not made", "no schedule says how old the last moment may be")
        elif age > float(ENV["MAX_AGE"]):
            self.fail("recent", "CB78", "the last restored moment is %s, %d minutes ago; at most %d minutes are allowed"
                      % (moment(restored), age // 60, float(ENV["MAX_AGE"]) // 60))
        else:
            self.check("recent", "passed")
        self.judge_libraries()
        self.judge_amcheck()
        self.judge_checksums()
        self.judge_query()

    def judge_answers(self):
        status, _, errors = outcome("libraries")
        if status == "0" or absent_library(errors):
            self.check("answers", "passed")
        else:
            self.fail("answers", "CB77", "a database accepts no connections: " + complaint(errors))

    def judge_libraries(self):
        status, _, errors = outcome("libraries")
        library = absent_library(errors)
        if library:
            self.fail("libraries", "CB76", "the image has no library %s, which functions of the database are in" % library)
        elif status != "0":
            self.check("libraries", "not made", "a database accepts no connections")
        elif "ERROR: " in errors:
            self.check("libraries", "not made", complaint(errors))
        else:
            self.check("libraries", "passed")

    def judge_amcheck(self):
        status, found, errors = outcome("amcheck")
        said = found + "\n" + errors
        if status == "none":
            self.check("sound", "not made", "the image has no pg_amcheck")
        elif "invalid page in block" in said or "page verification failed" in said:
            self.fail("sound", "CB55", next(l for l in said.splitlines() if "invalid page in" in l or "page verification" in l).strip())
        elif found or status == "2":
            self.fail("sound", "CB56", " ".join(said.split())[:200])
        elif status == "0" and "skipping" not in errors:
            self.check("sound", "passed")
        else:
            self.check("sound", "not made", "pg_amcheck failed: " + last_line(errors))

    def judge_checksums(self):
        status, _, errors = outcome("checksums")
        if status == "off":
            self.check("checksums", "not made", "the database has no checksums of its pages")
        elif status == "none":
            self.check("checksums", "not made", "the image has no pg_checksums")
        elif status == "0":
            self.check("checksums", "passed")
        elif "checksum verification failed" in errors:
            self.fail("checksums", "CB55", next(l for l in errors.splitlines() if "checksum verification failed" in l).strip())
        else:
            self.check("checksums", "not made", "pg_checksums failed: " + last_line(errors))

    def judge_query(self):
        status, said, errors = outcome("query")
        if status == "none":
            self.check("query", "not made", "no query is set")
        elif status != "0":
            self.fail("query", "CB79", "the query failed: " + complaint(errors))
        elif said == ENV.get("RESULT", "").strip():
            self.check("query", "passed")
        else:
            self.fail("query", "CB79", "the query returned %r, and should have returned %r" % (said[:120], ENV.get("RESULT", "")[:80]))

    def go(self):
        copy, _, recovery = self.restore()
        self.recover(copy, recovery)
        if not there("result/facts") or there("result/failed"):
            raise self.why_not(recovery, "the restored database does not answer")
        self.judge(copy, recovery)
        if self.found is not None:
            raise self.found

    def conclude(self):
        """Ends the run in any case that lets it, and leaves the volume empty."""
        report = self.report
        try:
            self.go()
            report["ok"] = True
        except Found as found:
            report["code"], report["problem"] = found.code, found.sentence[:500]
        except Exception as error:
            import traceback

            traceback.print_exc()
            report["code"], report["problem"] = code_of(str(error), "CB83"), "the drill itself failed: %s" % str(error)[:300]
            if report["code"] == "CB75":
                report["problem"] = "the drill's volume is full"
        report["seconds"] = round(time.time() - STARTED)
        Tool.stop_all()
        if not report["ok"] and there("postgres.log"):
            print("\n".join(read("postgres.log").splitlines()[-20:]), flush=True)
        try:
            write("end")
            give_up = time.time() + 60
            while there("pulse") and not there("bye") and time.time() < give_up:
                write("alive")
                time.sleep(0.1)
        except OSError:
            pass  # a full volume
        for name in os.listdir(RUN):
            if name not in ("lost+found", "end", "bye"):
                shutil.rmtree(path(name), ignore_errors=True)
                if os.path.isfile(path(name)):
                    os.remove(path(name))
        message = message_of(report)
        print(message, flush=True)
        log = ENV.get("TERMINATION_LOG", "/dev/termination-log")
        if os.access(log, os.W_OK):
            with open(log, "w", encoding="utf-8") as file:
                file.write(message)
        say(self.sentence())
        return 0 if report["ok"] else 1

    def sentence(self):
        report = self.report
        if not report["ok"]:
            return "FAILED with %s: %s" % (report["code"], report["problem"])
        return "restored %s from %s to %s, %.1f GB, in %d s; %s" % (
            report["server"], report["copy"], report["restoredTo"], report["size"] / 1e9, report["seconds"],
            ", ".join("%s %s" % (c["name"], c["result"]) for c in report["checks"]))


def stopped(number, frame):
    Tool.stop_all()
    os._exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stopped)
    sys.exit(Run().conclude())
