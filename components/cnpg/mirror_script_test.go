package cnpg

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shell is a way to run the mirror's script: a shell and what it finds in PATH.
type shell struct{ program, path string }

// shells are those of this machine, by name: dash with every awk, as on Debian,
// and BusyBox with nothing but itself, as in rclone's image.
func shells(t *testing.T) map[string]shell {
	t.Helper()
	found := map[string]shell{}
	if dash, err := exec.LookPath("dash"); err == nil {
		for _, name := range []string{"mawk", "gawk", "original-awk"} {
			if awk, err := exec.LookPath(name); err == nil {
				dir := t.TempDir()
				require.NoError(t, os.Symlink(awk, filepath.Join(dir, "awk")))
				found["dash and "+name] = shell{dash, dir + ":" + os.Getenv("PATH")}
			}
		}
	}
	if busybox, err := exec.LookPath("busybox"); err == nil {
		dir := t.TempDir()
		applets, err := exec.CommandContext(t.Context(), busybox, "--list").Output()
		require.NoError(t, err)
		for applet := range strings.FieldsSeq(string(applets)) {
			require.NoError(t, os.Symlink(busybox, filepath.Join(dir, applet)))
		}
		found["busybox"] = shell{filepath.Join(dir, "sh"), dir}
	}
	if len(found) == 0 {
		sh, err := exec.LookPath("sh")
		require.NoError(t, err, "the mirror's script needs a shell")
		found["sh"] = shell{sh, os.Getenv("PATH")}
	}
	return found
}

// run gives files to the script's functions and returns what a command prints.
func (s shell) run(t *testing.T, files map[string]string, command string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	cmd := exec.CommandContext(t.Context(), s.program, "-c", mirrorScript+"\nnow=1000000\n"+command)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + s.path, "FUNCTIONS_ONLY=yes", "SERVER_NAME=db", "FIRST_SERVER=db", "GENERATION=2", "WAL_DELAY=3600", "RETENTION_DAYS=10",
	}
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return strings.TrimSuffix(string(output), "\n")
}

// segmentsOf are the names of 16 MB segments from one number to another, as
// objects in a listing.
func segmentsOf(timeline, from, to int) string {
	var listing strings.Builder
	for number := from; number <= to; number++ {
		fmt.Fprintln(&listing, walObject(timeline, number, 256, ".gz"))
	}
	return listing.String()
}

// walObject is a line of a listing.
func walObject(timeline, number, perLog int, suffix string) string {
	folder := fmt.Sprintf("%08X%08X", timeline, number/perLog)
	return fmt.Sprintf("100 1970-01-12 13:00:00 %s/%s%08X%s", folder, folder, number%perLog, suffix)
}

// walName is the name of a segment of 16 MB.
func walName(timeline, number int) string {
	return fmt.Sprintf("%08X%08X%08X", timeline, number/256, number%256)
}

// backupLine is a line of a catalogue, of a backup that ended at a time and
// needs segments of 16 MB.
func backupLine(id string, ended, fromTimeline, from, toTimeline, to int) string {
	return fmt.Sprintf("%s DONE %s %s 16777216 %d %d %d\n", id, walName(fromTimeline, from), walName(toTimeline, to),
		ended, from<<24+40, to<<24+80)
}

const (
	// baseOfB is a base listing in which backup b is complete.
	baseOfB = "10 1970-01-12 13:00:00 b/backup.info\n500 1970-01-12 13:00:00 b/data.tar.gz\n"
	// promotedAt3 is a timeline 2 that began in segment 3 of timeline 1.
	promotedAt3 = "00000002 00000001 0\n00000002 00000002 50331748\n"
)

func TestMirrorScript(t *testing.T) {
	t.Parallel()
	all := shells(t)
	const verify = "verify wanted expected base wals before lines"
	for name, test := range map[string]struct {
		files   map[string]string
		command string
		want    string
	}{
		"a time is rounded up": {
			command: `for at in "2026-11-25 17:50:01.000001+00:00" "2026-11-25 18:50:01+01:00" "2024-02-29 23:59:59" "1970-01-01 00:00:00-00:30"; do
				awk -v at="$at" "$lib"'BEGIN { print epoch(at), stamp(epoch(at)) }'; done`,
			want: "1795629002 2026-11-25T17:50:02Z\n1795629001 2026-11-25T17:50:01Z\n1709251199 2024-02-29T23:59:59Z\n1800 1970-01-01T00:30:00Z",
		},
		"a catalogue is newest first and knows what failed": {
			files: map[string]string{
				"info/20261124T020000/backup.info": "status=DONE\nbegin_wal=000000010000000000000002\nend_wal=000000010000000000000003\n" +
					"xlog_segment_size=16777216\nend_time=2026-11-24 02:10:00.500000+00:00\nbegin_xlog=0/2000028\nend_xlog=1/3000050\n",
				"info/20261125T020000/backup.info": "status=FAILED\nbegin_wal=None\nend_wal=None\nend_time=2026-11-25 02:10:00+00:00\n",
			},
			command: "catalogue info; catalogue info | finished | wc -l",
			want: "20261125T020000 FAILED - - 16777216 1795572600 -1 -1\n" +
				"20261124T020000 DONE 000000010000000000000002 000000010000000000000003 16777216 1795486201 33554472 4345299024\n1",
		},
		"the window keeps one that is older": {
			files:   map[string]string{"done": "d DONE - - 1 999999\nc DONE - - 1 200000\nb DONE - - 1 100000\na DONE - - 1 50000\n"},
			command: "select_backups <done | cut -d ' ' -f 1 | tr '\\n' ' '",
			want:    "d c b ",
		},
		"without retention the window keeps all": {
			files:   map[string]string{"done": "d DONE - - 1 999999\na DONE - - 1 1\n"},
			command: "RETENTION_DAYS=; select_backups <done | wc -l",
			want:    "2",
		},
		"what the other store has let go is not brought back": {
			files:   map[string]string{"mirror": "d\nc\nb\n", "archive": "d\nc\n", "empty": ""},
			command: "not_before archive <mirror | wc -l; not_before empty <mirror | wc -l",
			want:    "2\n3",
		},
		"base data that is not there, and that differs": {
			files: map[string]string{
				"wanted": backupLine("b", 1, 1, 1, 1, 1),
				"from": "9 d t b/backup.info\n500 d t b/data.tar.gz\n700 d t b/data_0001.tar.gz\n" +
					"3 d t b/16384.tar\n500 d t a/data.tar.gz\n",
				"to": "400 d t b/data.tar.gz\n3 d t b/16384.tar\n",
			},
			command: "select_base wanted from to conflicts; cat conflicts",
			want:    "b/data_0001.tar.gz\nb/data.tar.gz",
		},
		"base data while the mirror is empty": {
			files:   map[string]string{"wanted": backupLine("b", 1, 1, 1, 1, 1), "from": baseOfB, "to": ""},
			command: "select_base wanted from to conflicts",
			want:    "b/data.tar.gz",
		},
		"a partial segment is copied only while there is no whole one": {
			files: map[string]string{
				"wanted": backupLine("b", 1, 1, 1, 1, 1),
				"from": walObject(1, 1, 256, ".partial.zst") + "\n" + walObject(1, 1, 256, ".gz") + "\n" +
					walObject(1, 2, 256, ".partial.zst") + "\n" + walObject(1, 3, 256, ".partial") + "\n" + walObject(2, 3, 256, ".zst") + "\n",
				"to": walObject(1, 2, 256, ".zst") + "\n",
			},
			command: "select_wal wanted from to conflicts",
			want: "0000000100000000/000000010000000000000001.gz\n0000000100000000/000000010000000000000003.partial\n" +
				"0000000200000000/000000020000000000000003.zst",
		},
		"WAL that is not there, and that differs": {
			files: map[string]string{
				"wanted": backupLine("c", 1, 1, 5, 1, 5) + backupLine("b", 1, 1, 2, 1, 2),
				"from": segmentsOf(1, 1, 4) + walObject(1, 2, 256, ".00000028.backup.gz") + "\n" + walObject(1, 4, 256, ".partial.gz") +
					"\n10 d t 00000002.history.gz\n" + walObject(2, 4, 256, ".gz") + "\n",
				"to": strings.Replace(segmentsOf(1, 3, 3), "100 ", "99 ", 1),
			},
			command: "select_wal wanted from to conflicts; echo; cat conflicts",
			want: "0000000100000000/000000010000000000000002.gz\n0000000100000000/000000010000000000000004.gz\n" +
				"0000000100000000/000000010000000000000002.00000028.backup.gz\n" +
				"0000000200000000/000000020000000000000004.gz\n\n0000000100000000/000000010000000000000003.gz",
		},
		"without a base backup there is no WAL to copy": {
			files:   map[string]string{"wanted": "", "from": segmentsOf(1, 1, 4), "to": ""},
			command: "select_wal wanted from to conflicts",
		},

		"timelines from histories": {
			files: map[string]string{
				"h/00000003.history": "1\t0/3000064\tno recovery target specified\n\n2\t1/5000000\tno recovery target specified\n",
				"h/00000002.history": "1\t0/3000064\tno recovery target specified\n",
			},
			command: `cp h/00000002.history x && gzip x && mv x.gz h/00000002.history.gz && rm h/00000002.history
				read_histories h t; timelines t`,
			want: promotedAt3 +
				"00000003 00000001 0\n00000003 00000002 50331748\n00000003 00000003 4378853376",
		},
		"timelines from histories that another image has read": {
			files: map[string]string{
				"h/00000002.history.zst": "two", "h/00000003.history.lz4": "three",
				// Named after what "two" and "three" sum up to.
				"texts/3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3": "1\t0/3000064\tno recovery target specified\n",
				"texts/8b5b9db0c13db24256c829aa364aa90c6d2eba318b9232a4ab9313b954d3555f": "1\t0/3000064\tx\n\n2\t1/5000000\tx\n",
			},
			command: "TMPDIR=. HISTORIES=texts; read_histories h t; timelines t",
			want: promotedAt3 +
				"00000003 00000001 0\n00000003 00000002 50331748\n00000003 00000003 4378853376",
		},
		"histories that cannot be read": {
			files: map[string]string{
				"h/00000002.history.zst": "nobody has read it", "h/00000003.history.gz": "not of gzip", "h/00000004.history": "no position",
				"h/00000005.history": "",
				"h/00000007.history": "1\t0/3000064\tno recovery target s",
				"h/00000006.history": "1\t0/3000064\tno recovery target specified\n",
			},
			command: "HISTORIES=texts; read_histories h t; timelines t",
			want: "00000002.history.zst\n00000003.history.gz\n00000004.history\n00000005.history\n00000007.history\n" +
				"00000006 00000001 0\n00000006 00000006 50331748",
		},
		"of several files barman takes the first": {
			files: map[string]string{
				"h/00000002.history.gz": "not of gzip", "h/00000002.history.zst": "two",
				"texts/3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3": "1\t0/3000064\tno recovery target specified\n",
				"h/00000003.history":     "1\t0/3000064\tno recovery target specified\n",
				"h/00000003.history.zst": "nobody has read it",
			},
			command: "TMPDIR=. HISTORIES=texts; read_histories h t; timelines t",
			want:    "00000002.history.gz\n" + strings.ReplaceAll(strings.TrimSpace(promotedAt3), "00000002", "00000003"),
		},
		"a history is published with the first segment of its timeline": {
			files: map[string]string{
				"lines": promotedAt3 + "00000003 00000001 0\n00000003 00000002 50331748\n00000003 00000003 50331900\n" +
					"00000004 00000001 0\n00000004 00000002 50331748\n00000004 00000003 50331900\n00000004 00000004 67108900\n",
				"none": segmentsOf(1, 1, 9), "third": segmentsOf(3, 3, 3), "fourth": segmentsOf(4, 4, 4),
			},
			command: "for wals in none third fourth; do echo $wals $(publishable lines $wals 16777216 | sort); done",
			want:    "none\nthird 00000002 00000003\nfourth 00000004",
		},

		"a backup that is complete": {
			files: map[string]string{
				"wanted": backupLine("b", 999999, 1, 1, 1, 3), "expected": baseOfB, "base": baseOfB, "wals": segmentsOf(1, 1, 3),
			},
			command: verify, want: "b ok",
		},
		"a backup across logs": {
			files: map[string]string{
				"wanted": backupLine("b", 999999, 1, 254, 1, 257), "expected": baseOfB, "base": baseOfB, "wals": segmentsOf(1, 254, 257),
			},
			command: verify, want: "b ok",
		},
		"a backup with segments of 1 MB": {
			files: map[string]string{
				"wanted": fmt.Sprintf("b DONE 000000010000000000000FFE 000000010000000100000001 1048576 999999 %d %d\n",
					0xFFE<<20+40, 0x1001<<20+40),
				"expected": baseOfB, "base": baseOfB,
				"wals": strings.Join([]string{
					walObject(1, 0xFFE, 4096, ""), walObject(1, 0xFFF, 4096, ".bz2"), walObject(1, 0x1000, 4096, ".zst"), walObject(1, 0x1001, 4096, ".lz4"),
				}, "\n"),
			},
			command: verify, want: "b ok",
		},
		"a hole in a backup that later WAL has gone past": {
			files: map[string]string{
				"wanted": backupLine("b", 999999, 1, 1, 1, 3), "expected": baseOfB, "base": baseOfB,
				"wals": segmentsOf(1, 1, 1) + segmentsOf(1, 3, 4), "before": segmentsOf(1, 4, 4),
			},
			command: verify, want: "b incomplete lacks WAL 000000010000000000000002",
		},
		"a hole in a backup that may be filled": {
			files: map[string]string{
				"wanted": backupLine("b", 999999, 1, 1, 1, 3), "expected": baseOfB, "base": baseOfB,
				"wals": segmentsOf(1, 1, 1) + segmentsOf(1, 3, 4),
			},
			command: verify, want: "b pending lacks WAL 000000010000000000000002",
		},
		"a backup whose last segment is still being written": {
			files: map[string]string{
				"wanted": backupLine("b", 999999, 1, 1, 1, 3), "expected": baseOfB, "base": baseOfB, "wals": segmentsOf(1, 1, 2), "before": segmentsOf(1, 1, 2),
			},
			command: verify, want: "b pending lacks WAL 000000010000000000000003",
		},
		"a backup whose last segment never came": {
			files: map[string]string{
				"wanted": backupLine("b", 990000, 1, 1, 1, 3), "expected": baseOfB, "base": baseOfB, "wals": segmentsOf(1, 1, 2),
			},
			command: verify, want: "b incomplete lacks WAL 000000010000000000000003",
		},
		"a backup whose last segment is only there in part": {
			files: map[string]string{
				"wanted": backupLine("b", 990000, 1, 1, 1, 3), "expected": baseOfB, "base": baseOfB,
				"wals": segmentsOf(1, 1, 2) + walObject(1, 3, 256, ".partial.gz") + "\n",
			},
			command: verify, want: "b incomplete lacks WAL 000000010000000000000003",
		},
		"a backup that ends where a segment ends": {
			files: map[string]string{
				"wanted": fmt.Sprintf("b DONE %s %s 16777216 1 %d %d\n", walName(1, 1), walName(1, 3), 1<<24+40, 3<<24), "expected": baseOfB, "base": baseOfB,
				"wals": segmentsOf(1, 1, 2),
			},
			command: verify, want: "b ok",
		},
		"a backup on which a failover falls: its last segment is of the next timeline": {
			files: map[string]string{
				"wanted": backupLine("b", 1, 1, 1, 1, 3), "expected": baseOfB, "base": baseOfB, "lines": promotedAt3,
				"wals": segmentsOf(1, 1, 2) + walObject(1, 3, 256, ".partial.gz") + "\n" + segmentsOf(2, 3, 3),
			},
			command: verify, want: "b ok",
		},
		"a backup that ends on the next timeline": {
			files: map[string]string{
				"wanted": backupLine("b", 1, 1, 1, 2, 4), "expected": baseOfB, "base": baseOfB, "lines": promotedAt3,
				"wals": segmentsOf(1, 1, 2) + segmentsOf(2, 3, 4),
			},
			command: verify, want: "b ok",
		},
		"a backup that ends on the next timeline, without its history": {
			files: map[string]string{
				"wanted": backupLine("b", 1, 1, 1, 2, 4), "expected": baseOfB, "base": baseOfB,
				"wals": segmentsOf(1, 1, 2) + segmentsOf(2, 3, 4),
			},
			command: verify, want: "b incomplete is on timeline 2, which is no ancestor of timeline 1",
		},
		"a backup of a server that went on on the old timeline": {
			files: map[string]string{
				"wanted": backupLine("b", 1, 1, 2, 1, 4), "expected": baseOfB, "base": baseOfB, "lines": promotedAt3,
				"wals": segmentsOf(1, 1, 5) + segmentsOf(2, 3, 4),
			},
			command: verify, want: "b incomplete goes on on timeline 1 after timeline 2 had left it",
		},
		"a backup without all of its data": {
			files: map[string]string{
				"wanted": backupLine("b", 1, 1, 1, 1, 1), "expected": baseOfB, "base": "400 d t b/data.tar.gz\n", "wals": segmentsOf(1, 1, 1),
			},
			command: verify, want: "b incomplete lacks b/data.tar.gz",
		},
		"a backup without any data": {
			files: map[string]string{
				"wanted": backupLine("b", 1, 1, 1, 1, 1), "base": "10 d t b/backup.info\n", "wals": segmentsOf(1, 1, 1),
			},
			command: verify, want: "b incomplete lacks its data",
		},
		"a backup that ends before it begins": {
			files: map[string]string{
				"wanted": backupLine("b", 1, 1, 3, 1, 1), "base": baseOfB, "wals": segmentsOf(1, 1, 3),
			},
			command: verify, want: "b incomplete has an impossible WAL range 000000010000000000000003 to 000000010000000000000001",
		},

		"one run for all backups": {
			files: map[string]string{
				"done": backupLine("c", 200, 1, 4, 1, 4) + backupLine("b", 100, 1, 1, 1, 2), "wals": segmentsOf(1, 1, 6), "lines": "",
			},
			command: "runs done wals lines",
			want:    "100 200 000000010000000000000006 000000010000000000000005 0000000000000007",
		},
		"a hole between two backups": {
			files: map[string]string{
				"done": backupLine("c", 200, 1, 6, 1, 6) + backupLine("b", 100, 1, 1, 1, 2),
				"wals": segmentsOf(1, 1, 3) + segmentsOf(1, 5, 6), "lines": "",
			},
			command: "runs done wals lines",
			want: "100 100 000000010000000000000003 000000010000000000000002 0000000000000004\n" +
				"200 200 000000010000000000000006 - 0000000000000007",
		},
		"a run that goes on on the next timeline": {
			files: map[string]string{
				"done": backupLine("c", 200, 2, 5, 2, 5) + backupLine("b", 100, 1, 1, 1, 2), "lines": promotedAt3,
				"wals": segmentsOf(1, 1, 2) + segmentsOf(2, 3, 6),
			},
			command: "runs done wals lines",
			want:    "100 200 000000020000000000000006 000000020000000000000005 0000000000000007",
		},
		"the old timeline does not fill a hole in the new one": {
			files: map[string]string{
				"done": backupLine("b", 100, 1, 1, 1, 2), "lines": promotedAt3, "wals": segmentsOf(1, 1, 5) + segmentsOf(2, 4, 5),
			},
			command: "runs done wals lines",
			want:    "100 100 000000010000000000000002 000000010000000000000001 0000000000000003",
		},
		"a window ends when the last but one arrived": {
			files: map[string]string{
				"runs":    "100 150 000000010000000000000003 000000010000000000000002 x\n200 250 000000010000000000000009 - x\n",
				"arrived": "180 0000000100000000/000000010000000000000002.gz\n",
			},
			command: "windows runs arrived",
			want:    "100 180\n200 250",
		},
		"a hole that an earlier run went past": {
			files: map[string]string{
				"runs": "1 1 " + walName(1, 2) + " - 0000000000000003\n", "lines": "", "one": segmentsOf(1, 1, 2), "two": segmentsOf(1, 5, 5),
			},
			command: "hole runs lines one 16777216; hole runs lines two 16777216",
			want:    "000000010000000000000003",
		},
		"what a dead primary wrote is no hole": {
			files: map[string]string{
				"runs": "1 1 " + walName(1, 2) + " - 0000000000000003\n", "lines": promotedAt3, "before": segmentsOf(1, 1, 5),
			},
			command: "hole runs lines before 16777216",
		},

		"data that can never be published": {
			files: map[string]string{
				"base": "5 1970-01-01 01:00:00 19700101T010000/data.tar\n5 1970-01-01 01:00:00 19700101T020000/data.tar\n" +
					"5 1970-01-12 13:00:00 19700101T030000/data.tar\n5 1970-01-01 01:00:00 19700103T000000/data.tar\n" +
					"5 1970-01-01 01:00:00 19700101T040000/data.tar\n1 1970-01-01 01:00:00 19700101T040000/backup.info\n" +
					"5 1970-01-01 01:00:00 elsewhere/data.tar\n7 1970-01-01 01:00:00 19700101T010000/data_0001.tar\n",
				"all": "19700101T020000 FAILED - - 1 0 -1 -1\n",
			},
			command: "unpublished base all",
			want:    "19700101T010000 dead 12\n19700101T020000 alive 5\n19700101T030000 alive 5\n19700103T000000 alive 5\nelsewhere alive 5",
		},
		"without retention nothing is dead": {
			files:   map[string]string{"base": "5 1970-01-01 01:00:00 19700101T010000/data.tar\n", "all": ""},
			command: "RETENTION_DAYS=; unpublished base all",
			want:    "19700101T010000 alive 5",
		},
		"generations by their names": {
			command: `for name in db db-2 db-10 db-x db-2a db- other db2; do echo $(generation_of $name); done | tr '\n' ' '
				SERVER_NAME=db-2; earlier_life db && echo earlier; earlier_life db-2 || echo same; earlier_life other || echo other`,
			want: "1 2 10 0 0 0 0 0 earlier\nsame\nother",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"expected": "", "before": "", "lines": ""}
			for file, content := range test.files {
				files[file] = content
			}
			for name, shell := range all {
				assert.Equal(t, test.want, shell.run(t, files, test.command), name)
			}
		})
	}
}

// TestMirrorScriptIsFast gives it an archive of half a year, a segment every
// three minutes, and BusyBox, which is the slowest, if there is one.
func TestMirrorScriptIsFast(t *testing.T) {
	t.Parallel()
	const segments = 100_000
	var done []string
	for first := 1; first < segments; first += segments / 30 {
		done = append(done, backupLine(fmt.Sprintf("%08d", first), first, 1, first, 1, first+100))
	}
	slices.Reverse(done)
	var base strings.Builder
	for _, line := range done {
		fmt.Fprintln(&base, "5 d t "+line[:8]+"/data.tar.gz")
	}
	files := map[string]string{
		"done": strings.Join(done, ""), "base": base.String(), "expected": base.String(), "lines": "",
		"wals": segmentsOf(1, 1, segments), "half": segmentsOf(1, 1, segments/2),
	}
	all := shells(t)
	if busybox, found := all["busybox"]; found {
		all = map[string]shell{"busybox": busybox}
	}
	for name, shell := range all {
		start := time.Now()
		got := shell.run(t, files, `
			select_wal done wals half conflicts | wc -l
			verify done expected base wals half lines | grep -c ok
			runs done wals lines | tee runs
			hole runs lines half 16777216`)
		assert.Equal(t, "50000\n30\n1 99991 00000001"+walName(1, segments)[8:]+" "+walName(1, segments-1)+" "+walName(1, segments+1)[8:], got, name)
		t.Logf("%s: %.1f s", name, time.Since(start).Seconds())
	}
}

// TestMirrorMessageFits keeps the termination message below what Kubernetes
// cuts off, whatever there is to say.
func TestMirrorMessageFits(t *testing.T) {
	t.Parallel()
	var facts, problems strings.Builder
	for generation := 40; generation > 0; generation-- {
		server := fmt.Sprintf("a-name-that-is-as-long-as-the-operator-lets-it-be-%d", generation)
		for _, store := range []string{"archive", "mirror"} {
			for i := range 20 {
				fmt.Fprintf(&facts, "window %s %s %d %d\n", server, store, i*1000, i*1000+500)
			}
			fmt.Fprintf(&facts, "store %s %s 20261125T020000 1000 %s 10 11 12 13000000000\n", server, store, walName(1, 9))
		}
		for i := range 30 {
			fmt.Fprintf(&problems, "NOTICE code-%d %s\n", i%15, server)
		}
	}
	files := map[string]string{"facts": facts.String(), "problems": problems.String()}
	for name, shell := range shells(t) {
		message := shell.run(t, files, "work=.; facts false")
		assert.Less(t, len(message), 4096, name)
		assert.Contains(t, message, `"gaps":19,"latestGaps":[["`, name)
	}
}
