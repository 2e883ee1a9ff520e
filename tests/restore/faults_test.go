//go:build restore

package restore_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// mirrored is a world with one base backup that the mirror has.
func mirrored(t *testing.T, nasData string) (*world, *lab.Life, timeline) {
	t.Helper()
	w := newWorld(t, cnpg.B2, nasData)
	life := w.begin(t)
	backUp(t, life)
	moments := timeline{insertAndArchive(t, life, 1_000)}
	w.runMirror(t, 1)
	return w, life, moments
}

// TestMirrorIsKilled kills the job's processes at random moments while there is
// a new base backup or new WAL to copy.
func TestMirrorIsKilled(t *testing.T) {
	t.Parallel()
	const kills = 30
	w, life, moments := mirrored(t, "")
	restored, killed := 0, 0
	// took is how long the last run took that came to its end.
	var took time.Duration
	for i := 0; killed < kills; i++ {
		require.Less(t, i, 3*kills, "only %d runs were killed before their end", killed)
		if i%6 == 0 {
			backUp(t, life)
			moments = append(moments, insertAndArchive(t, life, 1_000))
			took = w.runMirror(t, 1).Took
			restored = len(moments) - 1
			backUp(t, life)
		}
		moments = append(moments, insertAndArchive(t, life, 1_000))

		after := time.Duration(rand.Int64N(int64(took)))
		ctx, cancel := context.WithTimeout(t.Context(), after)
		run := w.tryMirror(ctx, t, 1)
		cancel()
		restored = w.requireNothingLost(t, moments, restored)
		if run.Failed == "" {
			took = run.Took
			continue
		}
		killed++
		t.Logf("kill %d after %.2f s in %q, restores to moment %d of %d",
			killed, after.Seconds(), run.Failed, restored, len(moments)-1)
	}
	w.runMirror(t, 1)
	assert.Equal(t, len(moments)-1, w.requireNothingLost(t, moments, restored))
}

// TestFaults does to the mirror what may happen to it. After each, what it
// restored before it still restores, and what cannot be copied is said.
func TestFaults(t *testing.T) {
	t.Parallel()
	w, life, moments := mirrored(t, "")
	restored := 0
	// afterwards wants that the mirror catches up once the fault is gone.
	afterwards := func(t *testing.T) {
		t.Helper()
		restored = w.requireNothingLost(t, moments, restored)
		w.runMirror(t, 1)
		restored = w.requireNothingLost(t, moments, len(moments)-1)
	}
	newBackup := func(t *testing.T) string {
		t.Helper()
		id := backUp(t, life)
		moments = append(moments, insertAndArchive(t, life, 1_000))
		return id
	}

	for name, store := range map[string]*s3server.Store{"archive": w.archive, "mirror": w.mirror} {
		t.Run("the "+name+" stops and starts during the copy", func(t *testing.T) {
			newBackup(t)
			run := w.startMirror(t)
			time.Sleep(time.Duration(300+rand.IntN(1500)) * time.Millisecond)
			store.Stop()
			time.Sleep(time.Second)
			require.NoError(t, store.Start(t.Context()))
			t.Logf("the job failed in %q", run().Failed)
			afterwards(t)
		})
		t.Run("the "+name+" is away", func(t *testing.T) {
			newBackup(t)
			store.Stop()
			run := w.tryMirror(t.Context(), t, 1)
			require.NoError(t, store.Start(t.Context()))
			assert.Equal(t, "copy", run.Failed)
			afterwards(t)
		})
	}

	t.Run("a WAL that a backup needs is missing in the archive", func(t *testing.T) {
		id := newBackup(t)
		backups := backupsIn(t, w.archive)
		newest := backups[len(backups)-1]
		require.Equal(t, id, newest.ID)
		key := prefix(1) + "/wals/" + newest.EndWAL[:16] + "/" + newest.EndWAL + ".zst"
		content, err := w.archive.Read(t.Context(), key)
		require.NoError(t, err)
		removed, err := w.archive.Remove(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, 1, removed)

		run := w.runMirror(t, 1)
		assert.Contains(t, run.Output, "backup "+id+" is not complete yet: it lacks WAL "+newest.EndWAL)
		assert.NotContains(t, ids(w.requireInvariant(t, 1)), id)
		run = w.tryMirror(t.Context(), t, 1)
		assert.Equal(t, "copy", run.Failed, "later WAL had been there for a whole run")
		assert.Contains(t, run.Output, "backup "+id+" lacks WAL "+newest.EndWAL)
		assert.NotContains(t, ids(w.requireInvariant(t, 1)), id)

		restored = w.requireNothingLost(t, moments, restored)
		require.NoError(t, w.archive.Write(t.Context(), key, content))
		afterwards(t)
	})

	t.Run("a WAL between backups is missing in the archive", func(t *testing.T) {
		objects, err := w.archive.List(t.Context(), prefix(1)+"/wals/")
		require.NoError(t, err)
		moments = append(moments, insertAndArchive(t, life, 100))
		later, err := w.archive.List(t.Context(), prefix(1)+"/wals/")
		require.NoError(t, err)
		require.Greater(t, len(later), len(objects))
		gap := later[len(objects)].Key
		content, err := w.archive.Read(t.Context(), gap)
		require.NoError(t, err)
		_, err = w.archive.Remove(t.Context(), gap)
		require.NoError(t, err)
		moments = append(moments, insertAndArchive(t, life, 100))

		run := w.runMirror(t, 1)
		assert.Contains(t, run.Output, "the mirror restores", "a WAL may be late: several are archived at once")
		run = w.tryMirror(t.Context(), t, 1)
		assert.Equal(t, "copy", run.Failed, "but not by a whole run")
		assert.Contains(t, run.Output, strings.TrimSuffix(filepath.Base(gap), ".zst")[8:]+" is missing")

		restored = w.requireNothingLost(t, moments, restored)
		require.NoError(t, w.archive.Write(t.Context(), gap, content))
		afterwards(t)
	})

	t.Run("retention deletes a backup during the copy", func(t *testing.T) {
		id := newBackup(t)
		w.args.Mirror.BandwidthLimit = "500K"
		defer func() { w.args.Mirror.BandwidthLimit = "" }()
		run := w.startMirror(t)
		time.Sleep(2 * time.Second)
		_, err := w.archive.Remove(t.Context(), prefix(1)+"/base/"+id+"/data")
		require.NoError(t, err)
		_, err = w.archive.Remove(t.Context(), prefix(1)+"/base/"+id+"/")
		require.NoError(t, err)
		t.Logf("the job failed in %q", run().Failed)
		w.args.Mirror.BandwidthLimit = ""
		afterwards(t)
	})

	for name, secret := range map[string]string{"archive": "b2-cnpg-credentials", "mirror": "nas-credentials"} {
		t.Run("wrong key of the "+name, func(t *testing.T) {
			newBackup(t)
			wrong := map[string]*s3server.Store{"b2-cnpg-credentials": w.b2, "nas-credentials": w.nas}
			wrong[secret] = &s3server.Store{KeyID: wrong[secret].KeyID, Key: "not-the-key"}
			run, err := lab.RunJob(t.Context(), w.render(t, 1).Mirror, w.with(wrong))
			require.NoError(t, err)
			assert.Equal(t, "copy", run.Failed)
			assert.Contains(t, run.Output, "SignatureDoesNotMatch")
			assert.NotContains(t, run.Output, "not-the-key")
			afterwards(t)
		})
	}

	t.Run("a backup is running during the copy", func(t *testing.T) {
		require.NoError(t, life.Insert(t.Context(), 20_000))
		moments = append(moments, remember(t, life))
		ended := beginBackup(t, life, w.writtenSlowly(t))
		before := len(w.requireInvariant(t, 1))
		w.runMirror(t, 1)
		assert.Len(t, w.requireInvariant(t, 1), before, "what is not finished is not published")
		require.NoError(t, life.Exec(t.Context(), "checkpoint"))
		require.NoError(t, <-ended)
		moments = append(moments, insertAndArchive(t, life, 100))
		afterwards(t)
		assert.Len(t, w.requireInvariant(t, 1), before+1)
	})
}

func ids(backups []catalogue.Backup) []string {
	var list []string
	for _, backup := range backups {
		list = append(list, backup.ID)
	}
	return list
}

// TestMirrorDiskIsFull fills the disk below the mirror.
func TestMirrorDiskIsFull(t *testing.T) {
	t.Parallel()
	w, life, moments := mirrored(t, filepath.Join(lab.SmallDisk(), "nas"))
	backUp(t, life)
	moments = append(moments, insertAndArchive(t, life, 1_000))

	filler := filepath.Join(lab.SmallDisk(), "filler")
	require.NoError(t, fill(filler))
	run := w.tryMirror(t.Context(), t, 1)
	assert.Equal(t, "copy", run.Failed)
	assert.Contains(t, run.Output, "PROBLEM copy-failed: ")
	w.requireNothingLost(t, moments, 0)

	require.NoError(t, os.Remove(filler))
	// MinIO remembers for a moment how full its disk was.
	require.Eventually(t, func() bool {
		return w.mirror.Write(t.Context(), "room", make([]byte, 1<<20)) == nil
	}, 30*time.Second, 200*time.Millisecond)
	w.runMirror(t, 1)
	w.requireNothingLost(t, moments, len(moments)-1)
}

// fill writes until the disk is full.
func fill(name string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	zeros := make([]byte, 1<<16)
	for {
		if _, err := file.Write(zeros); err != nil {
			return nil
		}
	}
}

// TestArchiveIsRansomed empties the archive, and damages it. The mirror keeps
// what it has, says so, and does not prune.
func TestArchiveIsRansomed(t *testing.T) {
	t.Parallel()
	w, life, moments := mirrored(t, "")
	life.Stop()
	objects, err := w.mirror.List(t.Context(), prefix(1))
	require.NoError(t, err)

	t.Run("overwritten", func(t *testing.T) {
		archived, err := w.archive.List(t.Context(), prefix(1))
		require.NoError(t, err)
		for _, object := range archived {
			require.NoError(t, w.archive.Write(t.Context(), object.Key, []byte("pay up")))
		}
		run := w.tryMirror(t.Context(), t, 1)
		assert.Equal(t, "copy", run.Failed)
		assert.Contains(t, run.Output, "the archive has lost all of its base backups")
	})
	t.Run("emptied", func(t *testing.T) {
		_, err := w.archive.Remove(t.Context(), prefix(1))
		require.NoError(t, err)
		for range 2 {
			run := w.tryMirror(t.Context(), t, 1)
			assert.Equal(t, "copy", run.Failed)
			assert.Contains(t, run.Output, "the archive has lost all of its base backups")
		}
	})
	after, err := w.mirror.List(t.Context(), prefix(1))
	require.NoError(t, err)
	assert.Equal(t, objects, after)
	w.requireNothingLost(t, moments, 0)

	versions, err := w.archive.Versions(t.Context(), prefix(1))
	require.NoError(t, err)
	assert.Positive(t, versions, "a store with versions still has what was deleted")
}

// TestTheArchiveHasChanged begins a second life at the other store before all of
// the first was mirrored. With a key of the archive that may only read, what is
// missing there is said; with one that may write, it is copied back.
func TestTheArchiveHasChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cnpg.B2, "")
	w.storesAsItIs()
	life := w.begin(t)
	backUp(t, life)
	w.runMirror(t, 1)
	tail := backUp(t, life)
	last := insertAndArchive(t, life, 1_000)
	life.Stop()

	from := w.folder(t, w.archive, 1)
	w.archive, w.mirror, w.args.Archive = w.mirror, w.archive, cnpg.MinIO
	to := w.written(t, 2)
	require.Equal(t, "authentik-minio-store", to.Store.Name)
	second, err := lab.Restore(t.Context(), mkdir(t, w.dir, "second"), w.secrets, from, &to, nil)
	require.NoError(t, err)
	t.Cleanup(second.Stop)
	next := backUp(t, second)
	now := insertAndArchive(t, second, 100)
	second.Stop()

	requireRestores := func(at *s3server.Store, generation int, backup string, want moment) {
		life, throwAway, err := w.restoreByHand(t, at, generation, &cnpgv1.RecoveryTarget{BackupID: backup})
		defer throwAway()
		require.NoError(t, err)
		assert.Equal(t, want.contents, contentsOf(t, life))
	}
	before, err := w.archive.List(t.Context(), prefix(1)+"/")
	require.NoError(t, err)
	w.mirrorReadsOnly(t)
	run := w.runMirror(t, 2)
	for _, what := range []string{"base backup data", "WAL"} {
		assert.Contains(t, run.Output, "NOTICE not-copied-back: "+cluster+": not all "+what+" that only the mirror has could be copied")
	}
	assert.NotContains(t, run.Output, "PROBLEM")
	after, err := w.archive.List(t.Context(), prefix(1)+"/")
	require.NoError(t, err)
	assert.Equal(t, before, after)
	requireRestores(w.mirror, 1, tail, last)
	requireRestores(w.mirror, 2, next, now)

	w.args.Mirror.SourceSecret = ""
	run = w.runMirror(t, 2)
	assert.NotContains(t, run.Output, "not-copied-back")
	requireRestores(w.archive, 1, tail, last)
}
