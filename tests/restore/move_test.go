//go:build restore

package restore_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
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

// moved is the world with another NAS, of the other kind, whose bucket is empty. The
// namespace has the keys of both.
func (w *world) moved(t *testing.T) *world {
	t.Helper()
	kind := s3server.VersityGW
	if nasKind(t) == kind {
		kind = s3server.MinIO
	}
	nas, err := lab.NewStore(t.Context(), mkdir(t, w.dir, "new-nas"), w.nas.Bucket, s3server.Options{TLS: true, Kind: kind})
	require.NoError(t, err)
	t.Cleanup(nas.Stop)
	w.secrets = lab.Secrets(namespace,
		map[string]*s3server.Store{"b2-cnpg-credentials": w.b2, "nas-credentials": w.nas, "new-nas-credentials": nas},
		map[string][]byte{"nas-ca": w.nas.Authority, "new-nas-ca": nas.Authority})
	next := *w
	next.nas, next.nasName, next.former, next.judged = nas, "new-nas", w.nas.Endpoint, map[string]bool{}
	if w.archive == w.nas {
		next.archive = nas
	} else {
		next.mirror = nas
	}
	return &next
}

// copyNAS runs the script of docs/move-nas.md from the world's NAS to another's, and
// wants nothing to be missing there.
func (w *world) copyNAS(t *testing.T, next *world) {
	t.Helper()
	said, err := w.tryCopyNAS(t.Context(), t, next)
	require.NoError(t, err, said)
	assert.Contains(t, said, " 0 of them missing")
}

// tryCopyNAS runs it until ctx ends, and returns what it says.
func (w *world) tryCopyNAS(ctx context.Context, t *testing.T, next *world) (string, error) {
	t.Helper()
	authorities := mkdir(t, w.dir, "authorities")
	for _, each := range []*world{w, next} {
		require.NoError(t, os.WriteFile(filepath.Join(authorities, each.nasName+".crt"), each.nas.Authority, 0o600))
	}
	program, programs := lab.CopyNAS()
	script := exec.CommandContext(ctx, "sh", program, w.nas.Endpoint, next.nas.Endpoint, w.nas.Bucket)
	// What it has started goes with it.
	script.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	script.Cancel = func() error { return syscall.Kill(-script.Process.Pid, syscall.SIGKILL) }
	script.Env = []string{
		"PATH=" + programs, "HOME=" + w.dir, "TMPDIR=" + w.dir, "SSL_CERT_DIR=" + authorities,
		"OLD_KEY_ID=" + w.nas.KeyID, "OLD_KEY=" + w.nas.Key, "NEW_KEY_ID=" + next.nas.KeyID, "NEW_KEY=" + next.nas.Key,
	}
	said, err := script.CombinedOutput()
	return string(said), err
}

// newMove is a database that has lived for long, and the NAS that it is to move to.
func newMove(t *testing.T, archive cnpg.Location) (w, next *world, life *lab.Life, history []dated) {
	t.Helper()
	t.Parallel()
	w = newWorld(t, archive, "")
	next = w.moved(t)
	w.args.B2.Retention, w.args.MinIO.Retention = "30d", "60d"
	next.args = w.args
	life, history = w.liveLong(t)
	return w, next, life, history
}

// TestTheNASMoves takes a database from one server on the NAS to another as
// docs/move-nas.md says, while it is written to. At each step two copies restore, and
// in the end the new one has what only the old one had.
func TestTheNASMoves(t *testing.T) {
	for _, archive := range []cnpg.Location{cnpg.B2, cnpg.MinIO} {
		t.Run("archive "+string(archive), func(t *testing.T) {
			w, next, life, history := newMove(t, archive)
			off, old, fresh := w.folder(t, w.b2, 1), w.folder(t, w.nas, 1), next.folder(t, next.nas, 1)

			w.copyNAS(t, next)
			copied := history[len(history)-1].moment
			before := next.askDoctor(t)[next.nas]
			assert.Equal(t, "RESTORES", before.Verdict, before.Reason)
			assert.Equal(t, w.askDoctor(t)[w.nas].From, before.From, "seen before it is in use")

			between := insertAndArchive(t, life, 200)
			w.runMirror(t, 1)
			w.requireRestores(t, off, nil, between)
			w.requireRestores(t, old, nil, between)

			var last moment
			if archive == cnpg.B2 {
				// The mirror moves: what it lacks it gets by its next run.
				last = insertAndArchive(t, life, 200)
				w.requireRestores(t, fresh, nil, copied)
				w.requireRestores(t, off, nil, last)
			} else {
				// The archive moves: what was written there since has to follow.
				late := insertAndArchive(t, life, 200)
				life.Redirect(next.written(t, 1))
				last = insertAndArchive(t, life, 200)
				w.requireRestores(t, fresh, nil, copied)
				w.requireRestores(t, old, nil, late)
				w.requireRestores(t, off, nil, between)
				halfway := next.askDoctor(t)[next.nas]
				assert.Equal(t, "RESTORES", halfway.Verdict, halfway.Reason)
				assert.False(t, halfway.To.After(between.at()), "%+v: it promises what is not there yet", halfway)
				w.copyNAS(t, next)
			}
			next.runMirror(t, 1)
			w.nas.Stop()

			w.requireRestores(t, fresh, nil, last)
			w.requireRestores(t, off, nil, last)
			w.requireRestores(t, fresh, targetOf(history[0].backup, history[0].moment), history[0].moment)
			for _, verdict := range next.askDoctor(t) {
				assert.Equal(t, "RESTORES", verdict.Verdict, verdict.Reason)
				assert.Empty(t, verdict.codes())
				if verdict.Backup == before.Backup && verdict.Role == before.Role {
					assert.Equal(t, before.From, verdict.From)
				}
			}
		})
	}
}

// TestTheNASMovesTheWrongWay goes ways that docs/move-nas.md does not: each is put
// right by copying, and until then what is said of the copies is true.
func TestTheNASMovesTheWrongWay(t *testing.T) {
	// itIsPutRight copies, and wants both copies to have the last moment, and the new
	// NAS the first.
	itIsPutRight := func(t *testing.T, w, next *world, oldest dated, last moment) {
		t.Helper()
		w.copyNAS(t, next)
		next.runMirror(t, 1)
		w.nas.Stop()
		next.requireRestores(t, next.folder(t, next.nas, 1), nil, last)
		next.requireRestores(t, next.folder(t, next.b2, 1), nil, last)
		next.requireRestores(t, next.folder(t, next.nas, 1), targetOf(oldest.backup, oldest.moment), oldest.moment)
		for _, verdict := range next.askDoctor(t) {
			assert.Equal(t, "RESTORES", verdict.Verdict, verdict.Reason)
			assert.Empty(t, verdict.codes())
		}
	}

	t.Run("a mirror to which nothing was copied", func(t *testing.T) {
		w, next, life, history := newMove(t, cnpg.B2)
		last := insertAndArchive(t, life, 200)
		empty := next.askDoctor(t)
		assert.Equal(t, "DOES NOT", empty[next.nas].Verdict)
		assert.Equal(t, "RESTORES", empty[next.b2].Verdict)

		next.runMirror(t, 1)
		assert.Len(t, next.requireInvariant(t, 1), 2, "what B2 has")
		next.requireRestores(t, next.folder(t, next.nas, 1), nil, last)
		assert.Equal(t, "RESTORES", next.askDoctor(t)[next.nas].Verdict)
		itIsPutRight(t, w, next, history[0], last)
	})

	t.Run("an archive to which nothing was copied", func(t *testing.T) {
		w, next, life, history := newMove(t, cnpg.MinIO)
		before := insertAndArchive(t, life, 200)
		w.runMirror(t, 1)
		life.Redirect(next.written(t, 1))
		last := insertAndArchive(t, life, 200)

		halfway := next.askDoctor(t)
		assert.Equal(t, "DOES NOT", halfway[next.nas].Verdict)
		assert.Equal(t, "RESTORES", halfway[next.b2].Verdict)
		run := next.tryMirror(t.Context(), t, 1)
		assert.Equal(t, "copy", run.Failed)
		assert.Contains(t, run.Output, "the archive has lost all of its base backups")
		w.requireRestores(t, w.folder(t, w.nas, 1), nil, before)
		w.requireRestores(t, w.folder(t, w.b2, 1), nil, before)
		itIsPutRight(t, w, next, history[0], last)
	})

	t.Run("copies that are killed while the archive is written to", func(t *testing.T) {
		w, next, life, history := newMove(t, cnpg.MinIO)
		writing, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			whole := context.WithoutCancel(writing)
			for writing.Err() == nil {
				if err := errors.Join(life.Insert(whole, 100), life.Archived(whole)); err != nil {
					ended <- err
					return
				}
			}
			ended <- nil
		}()
		defer stop()
		for _, after := range []time.Duration{100, 300, 1_000, 3_000} {
			ctx, cancel := context.WithTimeout(t.Context(), after*time.Millisecond)
			said, err := w.tryCopyNAS(ctx, t, next)
			cancel()
			half := next.askDoctor(t)[next.nas]
			t.Logf("after %d ms: %v, %s, %s %s", after, err, said, half.Verdict, half.Reason)
			_, throwAway, err := w.restoreForNow(t, next.folder(t, next.nas, 1), &cnpgv1.RecoveryTarget{BackupID: half.BackupID})
			throwAway()
			assert.Equal(t, half.Verdict == "RESTORES", err == nil, "%+v: %v", half, err)
		}
		stop()
		require.NoError(t, <-ended)
		w.copyNAS(t, next)
		life.Redirect(next.written(t, 1))
		last := insertAndArchive(t, life, 200)
		itIsPutRight(t, w, next, history[0], last)
	})
}

// dated is a base backup, and what was true after it.
type dated struct {
	backup string
	moment moment
}

// liveLong begins a database with three base backups, the oldest of which only the
// NAS keeps.
func (w *world) liveLong(t *testing.T) (life *lab.Life, history []dated) {
	t.Helper()
	life = w.begin(t)
	for _, age := range []int{50, 40, 0} {
		id := backUp(t, life)
		history = append(history, dated{id, insertAndArchive(t, life, 500)})
		require.NoError(t, catalogue.MakeOlder(t.Context(), w.archive, prefix(1), id, age))
	}
	w.runMirror(t, 1)
	if w.archive == w.b2 {
		require.NoError(t, life.EnforceRetention(t.Context()))
	}
	for at, want := range map[*s3server.Store][]string{
		w.nas: {history[0].backup, history[1].backup, history[2].backup}, w.b2: {history[1].backup, history[2].backup},
	} {
		require.Equal(t, want, ids(backupsIn(t, at)))
	}
	return life, history
}
