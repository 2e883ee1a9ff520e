package mirror_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const day = 24 * time.Hour

// start is when all tests take place.
//
//nolint:gochecknoglobals // one moment for all of them
var start = time.Now().Truncate(time.Second)

func ago(d time.Duration) time.Time { return start.Add(-d) }

func iso(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// healthy has a base backup of an hour ago and one of a week ago, and WAL until
// now.
func healthy(t *testing.T) (*job, folder, folder) {
	t.Helper()
	j := newJob(t)
	archive, mirror := j.archived(t, "db"), j.mirrored(t, "db")
	archive.take(t, backup{ended: ago(7 * day), fromTimeline: 1, from: 2, toTimeline: 1, to: 3})
	archive.take(t, backup{ended: ago(time.Hour), fromTimeline: 1, from: 20, toTimeline: 1, to: 21})
	archive.wal(t, 1, 1, 30, ago(0))
	return j, archive, mirror
}

func TestHealthy(t *testing.T) {
	t.Parallel()
	j, archive, mirror := healthy(t)
	first := j.run(t)
	require.True(t, first.well, first.output)
	assert.Empty(t, first.codes())
	require.Len(t, first.Folders, 1)
	copied := first.Folders[0].Mirror
	assert.Equal(t, 2, copied.Backups)
	assert.Equal(t, 29, copied.WAL, "what no backup needs is not copied")
	assert.Equal(t, 29, copied.NewWAL)
	assert.Equal(t, segmentName(1, 30), copied.NewestWAL)
	assert.Equal(t, iso(ago(7*day)), copied.First)
	assert.Equal(t, iso(ago(time.Minute)), copied.Last)
	assert.Equal(t, copied.Last, first.Folders[0].Archive.Last, "the mirror knows when WAL was archived")
	assert.Equal(t, "the mirror restores any moment from "+copied.First+" to "+copied.Last, first.lastLine())
	assert.Equal(t, archive.objects(t)["base/"+copied.NewestBackup+"/data.tar.gz"],
		mirror.objects(t)["base/"+copied.NewestBackup+"/data.tar.gz"])

	before := mirror.objects(t)
	again := j.run(t)
	require.True(t, again.well)
	assert.Zero(t, again.Folders[0].Mirror.NewWAL)
	assert.Equal(t, before, mirror.objects(t))
}

func TestNewDatabase(t *testing.T) {
	t.Parallel()
	j := newJob(t)
	empty := j.run(t)
	assert.True(t, empty.well)
	assert.Equal(t, "there is no base backup yet, so nothing can be restored", empty.lastLine())
	j.archived(t, "db").wal(t, 1, 1, 3, ago(0))
	assert.True(t, j.run(t).well)
}

// TestNothingNew are archives that somebody has forgotten.
func TestNothingNew(t *testing.T) {
	t.Parallel()
	t.Run("WAL but never a base backup", func(t *testing.T) {
		t.Parallel()
		j := newJob(t)
		j.archived(t, "db").wal(t, 1, 1, 2, ago(365*day))
		j.archived(t, "db").wal(t, 1, 3, 4, ago(0))
		run := j.run(t)
		assert.Equal(t, []string{"no-backup!"}, run.codes())
		assert.Contains(t, run.output, "but no finished base backup, so nothing can be restored")

		j.env["BACKUP_PERIOD"] = ""
		assert.True(t, j.run(t).well, "a suspended schedule owes nothing")
	})
	t.Run("nothing for months", func(t *testing.T) {
		t.Parallel()
		j := newJob(t)
		archive := j.archived(t, "db")
		archive.take(t, backup{ended: ago(200 * day), fromTimeline: 1, from: 2, toTimeline: 1, to: 3})
		archive.wal(t, 1, 1, 30, ago(100*day))
		run := j.run(t)
		assert.Equal(t, []string{"backup-old!", "wal-old!"}, run.codes())
		assert.Contains(t, run.output, "the newest base backup is of "+iso(ago(200*day)))
		assert.Equal(t, 1, run.Folders[0].Mirror.Backups, "it is copied all the same")

		j.env["MAX_BACKUP_AGE"], j.env["MAX_WAL_AGE"] = "", ""
		assert.True(t, j.run(t).well)
	})
}

// TestFailover are base backups of a standby on which a failover falls.
func TestFailover(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]backup{
		"before its last segment was archived": {fromTimeline: 1, from: 20, toTimeline: 1, to: 22},
		"in the middle":                        {fromTimeline: 1, from: 20, toTimeline: 2, to: 24},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t)
			archive, mirror := j.archived(t, "db"), j.mirrored(t, "db")
			test.ended = ago(time.Hour)
			id := archive.take(t, test)
			archive.wal(t, 1, 20, 21, ago(10*time.Minute))
			archive.write(t, segmentPath(1, 22)+".partial", "half", ago(0))
			archive.promote(t, 22)
			archive.wal(t, 2, 22, 30, ago(0))
			run := j.run(t)
			require.True(t, run.well, run.output)
			assert.Equal(t, id, run.Folders[0].Mirror.NewestBackup)
			assert.Equal(t, segmentName(2, 30), run.Folders[0].Mirror.NewestWAL)
			assert.True(t, mirror.has("wals/00000002.history"))
		})
	}
	t.Run("before the new primary has archived anything", func(t *testing.T) {
		t.Parallel()
		j, archive, mirror := healthy(t)
		archive.promote(t, 31)
		require.True(t, j.run(t).well)
		assert.False(t, mirror.has("wals/00000002.history"), "it would lead a recovery away from timeline 1")
		archive.wal(t, 2, 31, 31, ago(0))
		require.True(t, j.run(t).well)
		assert.True(t, mirror.has("wals/00000002.history"))
	})
	t.Run("a standby's backup waits for its last segment", func(t *testing.T) {
		t.Parallel()
		j, archive, mirror := healthy(t)
		id := archive.take(t, backup{ended: ago(time.Minute), fromTimeline: 1, from: 29, toTimeline: 1, to: 31})
		run := j.run(t)
		assert.True(t, run.well, run.output)
		assert.Equal(t, []string{"backup-pending"}, run.codes())
		assert.False(t, mirror.has("base/"+id+"/backup.info"))
		j.env["WAL_DELAY"] = "30"
		assert.Equal(t, []string{"backup-incomplete!"}, j.run(t).codes())
		archive.wal(t, 1, 31, 31, ago(0))
		assert.True(t, j.run(t).well)
		assert.True(t, mirror.has("base/"+id+"/backup.info"))
	})
}

// TestEarlierLives are folders that nobody writes to.
func TestEarlierLives(t *testing.T) {
	t.Parallel()
	t.Run("a broken backup there does not fail the run", func(t *testing.T) {
		t.Parallel()
		j, archive, _ := healthy(t)
		require.True(t, j.run(t).well)
		archive.take(t, backup{ended: ago(30 * time.Minute), fromTimeline: 1, from: 40, toTimeline: 1, to: 41})
		j.env["SERVER_NAME"], j.env["GENERATION"] = "db-2", "2"
		next := j.archived(t, "db-2")
		next.take(t, backup{ended: ago(time.Hour), fromTimeline: 2, from: 50, toTimeline: 2, to: 50})
		next.wal(t, 2, 50, 55, ago(0))
		run := j.run(t)
		assert.True(t, run.well, run.output)
		assert.Equal(t, []string{"backup-pending"}, run.codes())
		j.env["WAL_DELAY"] = "1"
		run = j.run(t)
		assert.True(t, run.well, run.output)
		assert.Equal(t, []string{"backup-incomplete"}, run.codes())
		require.Len(t, run.Folders, 2)
		assert.Equal(t, "db-2", run.Folders[0].Server)
	})
	t.Run("a folder that cannot be read does not fail the run", func(t *testing.T) {
		t.Parallel()
		j, _, _ := healthy(t)
		j.in(t, j.archive, "other").remove(t, "wals")
		run := j.run(t)
		assert.True(t, run.well, run.output)
		assert.Equal(t, []string{"unread"}, run.codes())
	})
	t.Run("the end of a life is copied back after the archive has changed", func(t *testing.T) {
		t.Parallel()
		j, archive, mirror := healthy(t)
		require.True(t, j.run(t).well)
		id := archive.take(t, backup{ended: ago(time.Minute), fromTimeline: 1, from: 31, toTimeline: 1, to: 32})
		archive.wal(t, 1, 31, 35, ago(0))
		archive.promote(t, 36)
		archive.wal(t, 2, 36, 36, ago(0))
		mirror.remove(t, segmentPath(1, 2)+".gz") // what was let go is not brought back
		mirror.remove(t, "base/"+ago(7*day+time.Minute).UTC().Format("20060102T150405"))

		j.archive, j.mirror = j.mirror, j.archive
		j.env["SERVER_NAME"], j.env["GENERATION"] = "db-2", "2"
		j.archived(t, "db-2")
		run := j.run(t)
		require.True(t, run.well, run.output)
		assert.True(t, mirror.has("base/"+id+"/backup.info"), run.output)
		assert.True(t, mirror.has("base/"+id+"/data.tar.gz"))
		assert.True(t, mirror.has(segmentPath(1, 35)+".gz"))
		assert.True(t, mirror.has("wals/00000002.history"))
		assert.False(t, mirror.has(segmentPath(1, 2)+".gz"))
		assert.Equal(t, 6, run.Folders[1].Archive.NewWAL)
		assert.Equal(t, segmentName(2, 36), run.Folders[1].Archive.NewestWAL)
	})
	t.Run("a later life means that this one is over", func(t *testing.T) {
		t.Parallel()
		j, _, _ := healthy(t)
		j.archived(t, "db-2").wal(t, 2, 1, 1, ago(0))
		run := j.run(t)
		assert.Equal(t, []string{"later-life!"}, run.codes())
		assert.Contains(t, run.output, "there is a folder db-2 of a later life: a live cluster writes into an old one's folder")
	})
}

// TestHistories are those that the script cannot read itself.
func TestHistories(t *testing.T) {
	t.Parallel()
	const compressed = "00000002.history, compressed"
	failover := func(t *testing.T) (*job, folder, folder) {
		t.Helper()
		j, archive, mirror := healthy(t)
		archive.promote(t, 31)
		archive.remove(t, "wals/00000002.history")
		archive.write(t, "wals/00000002.history.zst", compressed, ago(0))
		archive.wal(t, 2, 31, 40, ago(0))
		archive.take(t, backup{ended: ago(0), fromTimeline: 2, from: 33, toTimeline: 2, to: 34})
		return j, archive, mirror
	}
	// text is of a timeline that began within a segment.
	text := func(segment int) string {
		return fmt.Sprintf("1\t0/%X\tno recovery target specified\n", segment<<24+100)
	}
	t.Run("another image has read it", func(t *testing.T) {
		t.Parallel()
		j, _, mirror := failover(t)
		j.read = map[string]string{compressed: text(31)}
		run := j.run(t)
		require.True(t, run.well, run.output)
		assert.Empty(t, run.codes())
		assert.Equal(t, 3, run.Folders[0].Mirror.Backups)
		assert.True(t, mirror.has("wals/00000002.history.zst"))
	})
	t.Run("its word counts, not the segments that are there", func(t *testing.T) {
		t.Parallel()
		j, archive, _ := failover(t)
		j.read = map[string]string{compressed: text(25)}
		archive.wal(t, 2, 26, 30, ago(time.Minute))
		run := j.run(t)
		assert.False(t, run.well, "timeline 2 began in segment 25, which is not there: %s", run.output)
	})
	t.Run("nobody has read it", func(t *testing.T) {
		t.Parallel()
		j, archive, mirror := failover(t)
		run := j.run(t)
		assert.Equal(t, []string{"history-unread!"}, run.codes())
		assert.Contains(t, run.output, "00000002.history.zst in the archive cannot be read; until it can, base backups are copied but not published")
		assert.True(t, mirror.has(segmentPath(2, 40)+".gz"), "WAL is copied")
		for path := range archive.objects(t) {
			if filepath.Base(path) == "data.tar.gz" {
				assert.True(t, mirror.has(path), "data is copied")
			}
		}
		for path := range mirror.objects(t) {
			assert.NotEqual(t, "backup.info", filepath.Base(path), "nothing is published")
			assert.NotContains(t, path, ".history", "nothing is published")
		}

		j.read = map[string]string{compressed: text(31)}
		again := j.run(t)
		require.True(t, again.well, again.output)
		assert.Equal(t, 3, again.Folders[0].Mirror.Backups)
	})
	t.Run("it is damaged in the mirror", func(t *testing.T) {
		t.Parallel()
		j, archive, mirror := failover(t)
		j.read = map[string]string{compressed: text(31)}
		require.True(t, j.run(t).well)
		mirror.write(t, "wals/00000002.history.zst", "00000002.history, c0mpressed", ago(0))
		archive.take(t, backup{ended: start.Add(time.Minute), fromTimeline: 2, from: 35, toTimeline: 2, to: 36})
		run := j.run(t)
		assert.Equal(t, []string{"history-unread!"}, run.codes())
		assert.Contains(t, run.output, "00000002.history.zst in the mirror cannot be read")
	})
	t.Run("of an earlier life", func(t *testing.T) {
		t.Parallel()
		j, _, _ := failover(t)
		j.env["SERVER_NAME"], j.env["GENERATION"] = "db-2", "2"
		now := j.archived(t, "db-2")
		now.take(t, backup{ended: ago(0), fromTimeline: 1, from: 2, toTimeline: 1, to: 3})
		now.wal(t, 1, 1, 9, ago(0))
		run := j.run(t)
		assert.True(t, run.well, run.output)
		assert.Equal(t, []string{"history-unread"}, run.codes())
	})
}

// TestGaps are holes in the WAL.
func TestGaps(t *testing.T) {
	t.Parallel()
	t.Run("before the newest backup", func(t *testing.T) {
		t.Parallel()
		j, archive, _ := healthy(t)
		archive.remove(t, segmentPath(1, 10)+".gz")
		for range 2 {
			run := j.run(t)
			assert.True(t, run.well, "it cannot be mended: %s", run.output)
			assert.Equal(t, []string{"gap"}, run.codes()[:1])
			copied := run.Folders[0].Mirror
			assert.Equal(t, 1, copied.Gaps)
			assert.Equal(t, [][2]string{{iso(ago(22 * time.Minute)), iso(ago(time.Hour))}}, copied.LatestGaps)
			assert.Contains(t, run.lastLine(), "except between")
		}
	})
	t.Run("in the archive only", func(t *testing.T) {
		t.Parallel()
		j, archive, _ := healthy(t)
		require.True(t, j.run(t).well)
		archive.remove(t, segmentPath(1, 10)+".gz")
		run := j.run(t)
		assert.True(t, run.well, run.output)
		assert.Equal(t, []string{"gap"}, run.codes())
		assert.Equal(t, 1, run.Folders[0].Archive.Gaps)
		assert.Zero(t, run.Folders[0].Mirror.Gaps)
	})
	t.Run("after the newest backup", func(t *testing.T) {
		t.Parallel()
		j, archive, _ := healthy(t)
		archive.remove(t, segmentPath(1, 25)+".gz")
		run := j.run(t)
		assert.True(t, run.well, "it may be on its way: %s", run.output)
		assert.Equal(t, segmentName(1, 24), run.Folders[0].Mirror.NewestWAL)
		run = j.run(t)
		assert.Equal(t, []string{"hole!"}, run.codes())
		assert.Contains(t, run.output, "WAL segment "+segmentName(1, 25)+" is missing in the mirror")
	})
	t.Run("after the newest backup, in the archive only", func(t *testing.T) {
		t.Parallel()
		j, archive, _ := healthy(t)
		require.True(t, j.run(t).well)
		archive.remove(t, segmentPath(1, 25)+".gz")
		run := j.run(t)
		assert.Equal(t, []string{"hole!"}, run.codes())
		assert.Contains(t, run.output, "is missing in the archive")
		assert.Equal(t, segmentName(1, 30), run.Folders[0].Mirror.NewestWAL)
	})
}

// TestDamage is an archive that no longer holds what it held.
func TestDamage(t *testing.T) {
	t.Parallel()
	t.Run("changed", func(t *testing.T) {
		t.Parallel()
		j, archive, mirror := healthy(t)
		require.True(t, j.run(t).well)
		before := mirror.objects(t)
		archive.write(t, segmentPath(1, 10)+".gz", "pay up", ago(0))
		run := j.run(t)
		assert.Equal(t, []string{"changed!"}, run.codes())
		assert.Equal(t, before, mirror.objects(t))
	})
	t.Run("a backup.info of the same size", func(t *testing.T) {
		t.Parallel()
		j, archive, mirror := healthy(t)
		require.True(t, j.run(t).well)
		path := "base/" + ago(7*day+time.Minute).UTC().Format("20060102T150405") + "/backup.info"
		content := []byte(mirror.objects(t)[path])
		require.NotEmpty(t, content)
		content[0] = 'B'
		archive.write(t, path, string(content), ago(0))
		assert.Equal(t, []string{"changed!"}, j.run(t).codes())
	})
	t.Run("the newest backup is no longer complete there", func(t *testing.T) {
		t.Parallel()
		j, archive, _ := healthy(t)
		require.True(t, j.run(t).well)
		archive.remove(t, segmentPath(1, 20)+".gz")
		j.env["WAL_DELAY"] = "1"
		run := j.run(t)
		assert.Equal(t, []string{"archive-incomplete!"}, run.codes()[:1])
		assert.Equal(t, 2, run.Folders[0].Mirror.Backups)
	})
	t.Run("all backups are gone", func(t *testing.T) {
		t.Parallel()
		j, archive, mirror := healthy(t)
		require.True(t, j.run(t).well)
		before := mirror.objects(t)
		archive.remove(t, "base")
		j.archived(t, "db")
		archive.wal(t, 1, 31, 40, ago(0))
		run := j.run(t)
		assert.Equal(t, []string{"archive-lost!"}, run.codes())
		assert.Equal(t, before, mirror.objects(t))
	})
	t.Run("a failed backup that a recovery would choose", func(t *testing.T) {
		t.Parallel()
		j, archive, mirror := healthy(t)
		id := archive.take(t, backup{ended: ago(time.Minute), fromTimeline: 1, from: 29, toTimeline: 1, to: 29, status: "FAILED"})
		run := j.run(t)
		assert.Equal(t, []string{"backup-failed!"}, run.codes())
		assert.False(t, mirror.has("base/"+id))
	})
	t.Run("a backup without all of its data", func(t *testing.T) {
		t.Parallel()
		j, archive, mirror := healthy(t)
		id := archive.take(t, backup{ended: ago(time.Minute), fromTimeline: 1, from: 29, toTimeline: 1, to: 29})
		archive.remove(t, "base/"+id+"/data.tar.gz")
		run := j.run(t)
		assert.Equal(t, []string{"backup-incomplete!"}, run.codes())
		assert.False(t, mirror.has("base/"+id+"/backup.info"))
	})
}

// TestUnpublished is data in the mirror that no backup.info belongs to.
func TestUnpublished(t *testing.T) {
	t.Parallel()
	j, archive, mirror := healthy(t)
	dead, young, late := "base/20200101T000000", "base/"+ago(20*day).UTC().Format("20060102T150405"), "base/20200102T000000"
	mirror.write(t, dead+"/data.tar.gz", "dead", ago(40*day))
	mirror.write(t, dead+"/16384.tar.gz", "dead", ago(40*day))
	mirror.write(t, young+"/data.tar.gz", "young", ago(20*day))
	mirror.write(t, late+"/data.tar.gz", "late", ago(0))
	const known = "base/20200103T000000"
	mirror.write(t, known+"/data.tar.gz", "known", ago(40*day))
	archive.write(t, known+"/backup.info", "status=STARTED\n", ago(40*day))

	archive.write(t, segmentPath(1, 10)+".gz", "half", ago(0))
	mirror.write(t, segmentPath(1, 10)+".gz", "the whole of it", ago(0))
	failing := j.run(t)
	assert.False(t, failing.well)
	assert.True(t, mirror.has(dead), "nothing is deleted by a run with problems")

	archive.wal(t, 1, 10, 10, ago(0))
	mirror.remove(t, segmentPath(1, 10)+".gz")
	run := j.run(t)
	require.True(t, run.well, run.output)
	assert.Equal(t, []string{"unpublished"}, run.codes())
	assert.Equal(t, 4, run.Problems[0].Count)
	assert.False(t, mirror.has(dead+"/data.tar.gz"))
	assert.False(t, mirror.has(dead+"/16384.tar.gz"))
	assert.True(t, mirror.has(young+"/data.tar.gz"))
	assert.True(t, mirror.has(late+"/data.tar.gz"))
	assert.True(t, mirror.has(known+"/data.tar.gz"), "the archive knows of it")
}

// TestWhatIsDeadIsLeftToWhoMayDelete has the job list what it would delete, for a
// container with another key.
func TestWhatIsDeadIsLeftToWhoMayDelete(t *testing.T) {
	t.Parallel()
	j, _, mirror := healthy(t)
	require.True(t, j.run(t).well)
	mirror.write(t, "base/20200103T000000/data.tar.gz", "dead", ago(40*day))
	mirror.write(t, "base/20200103T000000/data_0001.tar.gz", "dead", ago(40*day))
	shared := t.TempDir()
	j.env["TMPDIR"], j.env["DEAD_LIST"] = shared, "dead"

	require.True(t, j.run(t).well)

	listed, err := os.ReadFile(filepath.Join(shared, "dead"))
	require.NoError(t, err)
	assert.Equal(t, "20200103T000000/data.tar.gz\n20200103T000000/data_0001.tar.gz\n", string(listed))
	assert.True(t, mirror.has("base/20200103T000000/data.tar.gz"), "it may not delete that")
}

// TestCleaningIsKilled kills the job while it deletes what can never be
// published, again and again. Nothing else is ever touched, and the next run goes
// on with the rest.
func TestCleaningIsKilled(t *testing.T) {
	t.Parallel()
	const kills, objects = 5, 1_000
	j, _, mirror := healthy(t)
	require.True(t, j.run(t).well)
	mirror.write(t, "base/"+ago(20*day).UTC().Format("20060102T150405")+"/data.tar.gz", "young", ago(20*day))
	mirror.write(t, "base/20200102T000000/data.tar.gz", "late", ago(0))
	kept := mirror.objects(t)
	dead := func() int {
		left := mirror.objects(t)
		for name, content := range kept {
			require.Equal(t, content, left[name], "%s is not dead", name)
		}
		return len(left) - len(kept)
	}
	// A cleaning took that long when nothing killed it, and was killed too early and
	// too late after so long.
	took := time.Hour
	early, late := time.Duration(0), took
	for midway, runs := 0, 0; midway < kills; runs++ {
		require.Less(t, runs, 10*kills, "only %d cleanings were killed midway", midway)
		if dead() == 0 {
			for i := range objects {
				mirror.write(t, fmt.Sprintf("base/2020010%dT000000/data_%04d.tar.gz", 3+i%3, i), "dead", ago(40*day))
			}
		}
		before := dead()
		after := early + time.Duration(rand.Int64N(int64(late-early)))
		all, killed := j.runAndKill(t, "deleting ", after)
		switch left := dead(); {
		case !killed:
			require.Zero(t, left)
			took, early, late = all, 0, all
		case left == before:
			early = after
		case left == 0:
			late = after
		default:
			midway++
			t.Logf("kill %d in run %d: %d of %d left", midway, runs, left, before)
		}
		if late-early < time.Millisecond {
			early, late = 0, took
		}
	}
	require.True(t, j.run(t).well)
	assert.Zero(t, dead())
}

// TestAborted ends before it has looked at anything.
func TestAborted(t *testing.T) {
	t.Parallel()
	j, _, _ := healthy(t)
	j.archive += "-elsewhere"
	run := j.run(t)
	assert.Equal(t, []string{"aborted!"}, run.codes())
	assert.Equal(t, "FAILED: 1 problems, listed above", run.lastLine())
}
