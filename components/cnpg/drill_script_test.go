package cnpg

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// python is the interpreter, which the unit tests do without where there is none:
// make restore-test runs the scripts as they are rendered.
func python(t *testing.T) string {
	t.Helper()
	found, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3")
	}
	return found
}

// inDrillScript runs statements of Python with the functions of drill.py, and
// returns what they print.
func inDrillScript(t *testing.T, env []string, statements string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), python(t), "-c",
		"__name__ = 'drill'\n"+drillRestoreScript+"\n"+statements)
	cmd.Env = append([]string{"DRILL_FOLDER=" + t.TempDir(), "DEADLINE=3600", "SERVER_NAME=db", "PERIOD=100000000000"}, env...)
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return strings.TrimSpace(string(output))
}

// pretended is a Copy out of lists: base backups as "<begin> <end> <days ago>
// [version]", and files of WAL.
const pretended = `
def pretended(backups, wal):
    copy = object.__new__(Copy)
    copy.backups, copy.sizes = [], {}
    for i, text in enumerate(backups):
        begin, end, days, *version = text.split()
        copy.backups.append({
            "backup_id": "backup-%d" % i, "status": "DONE", "begin_wal": begin, "end_wal": end,
            "version": int(version[0]) if version else 170007,
            "end_time_iso": datetime.datetime.fromtimestamp(STARTED - 86400 * float(days), datetime.timezone.utc).isoformat(),
        })
    copy.wal = {name: "wals/" + name for name in wal}
    copy.histories = {int(name[:8], 16) for name in wal if name.endswith(".history")}
    return copy

def seg(number, timeline=1):
    return "%08X%08X%08X" % (timeline, 0, number)
`

func TestDrillChoosesABaseBackup(t *testing.T) {
	t.Parallel()
	const three = `[seg(2) + " " + seg(2) + " 20", seg(5) + " " + seg(5) + " 10", seg(8) + " " + seg(8) + " 1"]`
	for name, test := range map[string]struct {
		turn, retention, backups, wal string
		want                          string
	}{
		"the newest":                         {"", "", three, "map(seg, range(1, 11))", "backup-2 False"},
		"the oldest":                         {"0", "", three, "map(seg, range(1, 11))", "backup-0 True"},
		"the oldest, and one is on its way":  {"0", "", three, "[seg(i) for i in range(1, 11) if i != 9]", "backup-0 True"},
		"the other copy's turn":              {"1", "", three, "map(seg, range(1, 11))", "backup-2 False"},
		"the oldest before a hole":           {"0", "", three, "[seg(i) for i in range(1, 11) if i != 4]", "backup-1 True"},
		"retention is about to take it":      {"0", "15", three, "map(seg, range(1, 11))", "backup-1 True"},
		"all but the newest have a hole":     {"0", "", three, "map(seg, range(8, 11))", "backup-2 False"},
		"the newest waits for its last WAL":  {"", "", three, "map(seg, range(1, 8))", "backup-1 False"},
		"there is only one, without its WAL": {"", "", `[seg(2) + " " + seg(2) + " 20"]`, "[seg(1)]", "backup-0 False"},
		"none":                               {"", "", "[]", "[seg(1)]", "CB46 there is no finished base backup in db"},
		"another major version": {
			"", "", `[seg(2) + " " + seg(2) + " 20 160004"]`, "[seg(2)]",
			"CB46 there is no finished base backup of PostgreSQL 17, which the image has; the newest is of 16",
		},
		"before and after an upgrade": {
			"0", "", `[seg(2) + " " + seg(2) + " 20 160004", seg(5) + " " + seg(5) + " 10"]`, "map(seg, range(1, 7))", "backup-1 False",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.want, inDrillScript(t, []string{"TURN=" + test.turn, "RETENTION_DAYS=" + test.retention, "UNORDERED=4"}, pretended+`
try:
    backup, oldest = choose(pretended(`+test.backups+", list("+test.wal+`)), 17)
    print(backup["backup_id"], oldest)
except Found as found:
    print(found.code, found.sentence)`))
		})
	}
}

// What recovery itself takes for its end is one only if it asked for the segment
// after the last.
func TestDrillJudgesHowFarRecoveryGot(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ wal, asked, missing, want string }{
		"to the end":              {"map(seg, range(2, 7))", "7", "[seg(7)]", "passed"},
		"a segment is missing":    {"map(seg, [2, 3, 5, 6, 7, 8])", "4", "[seg(4)]", "CB50 " + "000000010000000000000004"},
		"a segment is on its way": {"map(seg, [2, 3, 5, 6, 7])", "4", "[seg(4)]", "passed"},
		"it stopped in a segment": {"map(seg, range(2, 7))", "4", "[]", "CB54 "},
		"it stopped in the last":  {"map(seg, range(2, 7))", "6", "[]", "CB54 "},
		"the segment is on the timeline before": {
			`list(map(seg, range(2, 5))) + ["00000002.history"] + [seg(5, 2), seg(6, 2)]`, "7", "[seg(4, 2), seg(7, 2)]", "passed",
		},
		"the history of the next timeline is missing": {
			`list(map(seg, range(2, 6))) + [seg(5, 2), seg(6, 2)]`, "6", "[seg(6)]", "CB50 there is WAL of timeline 2",
		},
		"one of the histories is missing": {
			`list(map(seg, range(2, 6))) + [seg(5, 3), "00000003.history"]`, "6", "[seg(6)]", "CB50 there is WAL of timeline 3",
		},
		"right after a failover": {`list(map(seg, range(2, 6))) + ["00000002.history"]`, "5", "[seg(5, 2)]", "passed"},
		"right after a failover, and the end is not archived": {
			`list(map(seg, range(2, 5))) + ["00000002.history"]`, "5", "[seg(5, 2), seg(5)]", "passed",
		},
		"it stopped before the failover": {`list(map(seg, range(2, 6))) + ["00000002.history"]`, "4", "[]", "CB54 "},
		"the last WAL of a release before an upgrade, in the new folder": {
			`[seg(1, 3)] + list(map(seg, range(2, 7)))`, "7", "[seg(7)]", "passed",
		},
		"one is missing on the second timeline": {
			`list(map(seg, range(2, 5))) + ["00000002.history"] + [seg(n, 2) for n in range(6, 10)]`, "5", "[seg(5, 2), seg(5)]", "CB50 " + "000000020000000000000005",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := inDrillScript(t, []string{"UNORDERED=4"}, pretended+`
Recovery.history = lambda self, name: "1\t0/5000100\tno recovery target specified\n"
recovery = Recovery(pretended([], list(`+test.wal+`)), {"begin_wal": seg(2)})
recovery.asked, recovery.missing, recovery.last = `+test.asked+", "+test.missing+`, seg(2)
try:
    recovery.judge(recovery.asked * recovery.size + 0x100)
    print("passed")
except Found as found:
    print(found.code, found.sentence.replace("WAL segment ", ""))`)
			assert.True(t, strings.HasPrefix(got, test.want), got)
		})
	}
}

// WAL that is archived while a drill runs is none of its copy, as it was when the
// run began.
func TestDrillLeavesOutWhatComesLater(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "none passed", inDrillScript(t, nil, pretended+`
recovery = Recovery(pretended([], list(map(seg, range(2, 7)))), {"begin_wal": seg(2)})
os.makedirs(path("ask"))
os.makedirs(path("answer"))
write("ask/" + seg(7))
recovery.answer()
recovery.judge(7 * recovery.size)
print(read("answer/" + seg(7)), "passed")`))
}

// The operator's recovery stops where a setting is higher than it was given.
func TestDrillStopsWhereTheOperatorsRecoveryDoes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ replayed, want string }{
		"as they are":     {`max_connections setting:              100\nmax_prepared_xacts setting:           3`, "passed"},
		"one was raised":  {`max_connections setting:              150\nmax_connections setting:              100`, "CB77 recovery would stop where max_connections became 150: the base backup and the Cluster have 100"},
		"by another name": {`max_locks_per_xact setting:           65`, "CB77 recovery would stop where max_locks_per_transaction became 65: the base backup and the Cluster have 64"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.want, inDrillScript(t, nil, `
os.makedirs(path("result"))
write("result/needed", "max_connections=100\nmax_prepared_transactions=3\nmax_locks_per_transaction=64\n")
write("result/replayed", "`+test.replayed+`\n")
try:
    check_settings()
    print("passed")
except Found as found:
    print(found.code, found.sentence)`))
		})
	}
}

// What a recovery needs is what the base backup had, or more, never less.
func TestDrillTakesTheHigherSetting(t *testing.T) {
	t.Parallel()
	programs := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(programs, "pg_controldata"), []byte(`#!/bin/sh
cat <<'END'
wal_level setting:                    replica
max_connections setting:              100
max_worker_processes setting:         8
max_wal_senders setting:              10
max_prepared_xacts setting:           0
max_locks_per_xact setting:           64
END
`), 0o755))
	functions, cut := strings.CutSuffix(drillPostgresScript, "\nmain\n")
	require.True(t, cut)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", functions+"\nneeded")
	cmd.Env = []string{
		"PATH=" + programs + ":" + os.Getenv("PATH"), "DRILL_FOLDER=" + t.TempDir(),
		"SETTINGS=max_connections=99 max_wal_senders=11 max_prepared_transactions=3 max_locks_per_transaction=64",
	}
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	assert.Equal(t, "max_connections=100\nmax_wal_senders=11\nmax_worker_processes=8\n"+
		"max_prepared_transactions=3\nmax_locks_per_transaction=64\n", string(output))
}

// A run that fails at once, as with a wrong key, has ended before the container with
// PostgreSQL begins. That one has to end, too: until then the Job has not failed.
func TestDrillEndsWhenPostgresContainerComesLate(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	inDrillScript(t, []string{"DRILL_FOLDER=" + folder, "COPY=b2"}, `
def fails():
    write("begin")
    raise Found("CB03", "a wrong key")

run = Run()
run.go = fails
assert run.conclude() == 1`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	late := exec.CommandContext(ctx, "sh", "-c", drillPostgresScript)
	late.Env = []string{"PATH=" + os.Getenv("PATH"), "DRILL_FOLDER=" + folder, "TMPDIR=" + folder}
	output, err := late.CombinedOutput()
	require.NoError(t, err, "%s", output)
}

// The containers end each other: one that waits for the other for ever would keep the
// Job, and its volume, until the deadline of the Job.
func TestDrillEndsPostgresContainerWithTheOther(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		files []string
		until string
	}{
		"while it waits for the base backup": {[]string{"begin"}, ""},
		"while it recovers":                  {[]string{"begin", "restored"}, ""},
		"when the run is over":               {[]string{"begin", "restored"}, "postgres.log"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder, programs := t.TempDir(), t.TempDir()
			for program, does := range map[string]string{
				"postgres":       `case $* in --version) echo "postgres (PostgreSQL) 17.7" ;; *) exec /bin/sleep 1000 ;; esac`,
				"pg_controldata": `echo "Bytes per WAL segment:                16777216"`,
				"sleep":          "exec /bin/sleep 0.005",
			} {
				require.NoError(t, os.WriteFile(filepath.Join(programs, program), []byte("#!/bin/sh\n"+does+"\n"), 0o755))
			}
			for _, made := range []string{"result", "data"} {
				require.NoError(t, os.Mkdir(filepath.Join(folder, made), 0o755))
			}
			for _, file := range test.files {
				require.NoError(t, os.WriteFile(filepath.Join(folder, file), nil, 0o600))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "sh", "-c", drillPostgresScript)
			cmd.Env = []string{"PATH=" + programs + ":" + os.Getenv("PATH"), "DRILL_FOLDER=" + folder, "TMPDIR=" + folder}
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it ends its process group
			require.NoError(t, cmd.Start())
			if test.until != "" {
				// The other container shows that it runs, until this one has gone.
				until := func(name string) {
					require.Eventually(t, func() bool {
						_ = os.WriteFile(filepath.Join(folder, "alive"), nil, 0o600)
						_, err := os.Stat(filepath.Join(folder, name))
						return err == nil
					}, time.Minute, time.Millisecond)
				}
				until(test.until)
				require.NoError(t, os.WriteFile(filepath.Join(folder, "end"), nil, 0o600))
				until("bye")
			}
			err := cmd.Wait()
			require.NoError(t, ctx.Err(), "it ends by itself")
			require.ErrorContains(t, err, "exit status 143")
			assert.FileExists(t, filepath.Join(folder, "bye"), "the other one need not wait for it")
		})
	}
}

// A line of the report must fit into what Kubernetes keeps of it, whatever the
// tools say: MaxContainerTerminationMessageLength in
// https://github.com/kubernetes/kubernetes/blob/v1.34.4/pkg/kubelet/container/runtime.go
func TestDrillReportIsBounded(t *testing.T) {
	t.Parallel()
	for _, said := range []string{"what it says ", "was sie sagt, für jede Prüfung ", "что она говорит ", "🐘", `\"`, `\n\0`} {
		line := inDrillScript(t, []string{"COPY=b2"}, `
run = Run()
for i in range(7):
    run.fail("name-of-a-check", "CB55", "`+said+`" * 1000)
run.report["code"], run.report["problem"] = run.found.code, run.found.sentence[:500]
print(message_of(run.report))`)
		line = line[strings.LastIndex(line, "\n")+1:]
		assert.LessOrEqual(t, len(line), 4096, said)
		report, err := ParseDrillReport([]byte(line))
		require.NoError(t, err)
		assert.Len(t, report.Checks, 7)
		assert.Equal(t, "CB55", report.Code)
		assert.Greater(t, len(report.Problem), 20)
	}
}

// The fields that the script writes are those of the type.
func TestDrillReportHasTheScriptsFields(t *testing.T) {
	t.Parallel()
	line := inDrillScript(t, []string{"COPY=b2"}, `
run = Run()
run.report["backupEnd"] = run.report["restoredTo"] = moment(0)
run.report["code"], run.report["problem"] = "", ""
print(json.dumps(run.report))`)
	decoder := json.NewDecoder(strings.NewReader(line))
	decoder.DisallowUnknownFields()
	var report DrillReport
	require.NoError(t, decoder.Decode(&report))
	written := map[string]any{}
	require.NoError(t, json.Unmarshal([]byte(line), &written))
	known := map[string]any{}
	content, err := json.Marshal(report)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, &known))
	for field := range known {
		assert.Contains(t, written, field)
	}
}

// Silence is never taken for passed: what a check has to show, it has to show.
func TestDrillChecksHaveToBeMade(t *testing.T) {
	t.Parallel()
	const refused = `psql: error: connection to server on socket "/tmp/.s.PGSQL.5432" failed: FATAL:  database locale is incompatible`
	for name, test := range map[string]struct{ files, want string }{
		"none was made": {"{}", "answers failed, libraries not made, sound not made, checksums not made, query failed"},
		"all of them": {
			`{"libraries.status": "0", "amcheck.status": "0", "checksums.status": "0", "query.status": "0", "query": "t"}`,
			"answers passed, libraries passed, sound passed, checksums passed, query passed",
		},
		"the image has no programs": {
			`{"libraries.status": "0", "amcheck.status": "none", "checksums.status": "none", "query.status": "none"}`,
			"answers passed, libraries passed, sound not made, checksums not made, query not made",
		},
		"a database refuses": {
			`{"libraries.status": "2", "libraries.errors": '''` + refused + `''', "amcheck.status": "1", "amcheck.errors": "pg_amcheck: error: x",
			  "checksums.status": "1", "checksums.errors": "pg_checksums: error: cluster must be shut down",
			  "query.status": "1", "query": "t", "query.errors": "psql: error: x"}`,
			"answers failed, libraries not made, sound not made, checksums not made, query failed",
		},
		"with complaints that mean nothing": {
			`{"libraries.status": "0", "libraries.errors": "WARNING:  database has no actual collation version",
			  "amcheck.status": "0", "amcheck.errors": "WARNING:  x", "checksums.status": "off", "query.status": "0",
			  "query": "t", "query.errors": "WARNING:  x"}`,
			"answers passed, libraries passed, sound passed, checksums not made, query passed",
		},
		"a library that only loads at the start": {
			`{"libraries.status": "0", "libraries.errors": "ERROR:  pg_cron can only be loaded via shared_preload_libraries",
			  "amcheck.status": "0", "checksums.status": "0", "query.status": "none"}`,
			"answers passed, libraries not made, sound passed, checksums passed, query not made",
		},
		"a library that is not there": {
			`{"libraries.status": "0", "libraries.errors": 'ERROR:  could not access file "$libdir/x": No such file or directory',
			  "amcheck.status": "0", "checksums.status": "0", "query.status": "none"}`,
			"answers passed, libraries failed, sound passed, checksums passed, query not made",
		},
		"a database is left out, and damage found before the end": {
			`{"libraries.status": "0", "amcheck.status": "0", "amcheck.errors": 'pg_amcheck: warning: skipping database "app"',
			  "checksums.status": "1", "checksums.errors": "pg_checksums: error: checksum verification failed in file \"base/5/1\"",
			  "query.status": "0", "query": "f"}`,
			"answers passed, libraries passed, sound not made, checksums failed, query failed",
		},
		"damage, and then no more": {
			`{"libraries.status": "0", "amcheck.status": "1", "amcheck": "heap table x: corrupt", "checksums.status": "0", "query.status": "none"}`,
			"answers passed, libraries passed, sound failed, checksums passed, query not made",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := inDrillScript(t, []string{"COPY=b2", "RESULT=t"}, `
os.makedirs(path("result"))
for name, text in (`+test.files+`).items():
    write("result/" + name, text)
say, run = lambda text: None, Run()
for judge in (run.judge_answers, run.judge_libraries, run.judge_amcheck, run.judge_checksums, run.judge_query):
    judge()
print(", ".join(c["name"] + " " + c["result"] for c in run.report["checks"]))`)
			assert.Equal(t, test.want, got)
		})
	}
}
