//go:build restore

package restore_test

import (
	"testing"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// TestEachCopyRestores loads data, takes base backups under load, mirrors, and
// restores: from the archive alone, from the mirror alone, to a point in time,
// into a second generation and from that one again. In both directions.
func TestEachCopyRestores(t *testing.T) {
	for _, archive := range []cnpg.Location{cnpg.B2, cnpg.MinIO} {
		t.Run("archive "+string(archive), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, archive, "")
			life := w.begin(t)
			insertAndArchive(t, life, 20_000)
			backUp(t, life)
			for range 3 {
				insertAndArchive(t, life, 20_000)
			}
			backUp(t, life)
			between := insertAndArchive(t, life, 5_000)
			last := insertAndArchive(t, life, 5_000)

			w.mirrorReadsOnly(t)
			run := w.runMirror(t, 1)
			t.Logf("mirror took %.1f s:\n%s", run.Took.Seconds(), run.Output)
			assert.Len(t, w.requireInvariant(t, 1), 2)
			life.Stop()

			t.Run("the archive alone", func(t *testing.T) {
				w.mirror.Stop()
				defer func() { require.NoError(t, w.mirror.Start(t.Context())) }()
				w.requireRestores(t, w.folder(t, w.archive, 1), nil, last)
			})
			t.Run("the mirror alone", func(t *testing.T) {
				w.archive.Stop()
				defer func() { require.NoError(t, w.archive.Start(t.Context())) }()
				w.requireRestores(t, w.folder(t, w.mirror, 1), nil, last)
				w.requireRestores(t, w.folder(t, w.mirror, 1), &cnpgv1.RecoveryTarget{TargetTime: between.time}, between)
			})
		})
	}
}

// TestTheNASHasARegion has one that is not the usual one. MinIO names it to barman,
// which asks again; versitygw does not.
func TestTheNASHasARegion(t *testing.T) {
	for _, archive := range []cnpg.Location{cnpg.B2, cnpg.MinIO} {
		t.Run("archive "+string(archive), func(t *testing.T) {
			t.Parallel()
			w := newWorldWith(t, archive, s3server.Options{Region: "home-1"})
			w.regionKey = nasKind(t) != s3server.MinIO
			life := w.begin(t)
			insertAndArchive(t, life, 100)
			backUp(t, life)
			last := insertAndArchive(t, life, 100)
			w.args.MinIO.Retention, w.args.B2.Retention = "30d", "30d"
			w.runMirror(t, 1)
			life.Stop()
			w.requireRestores(t, w.folder(t, w.nas, 1), nil, last)
			w.requireRestores(t, w.folder(t, w.b2, 1), nil, last)
		})
	}
}

// TestGenerations restores into a second generation, runs on and restores that
// into a third. The mirror copies all of them.
func TestGenerations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cnpg.B2, "")
	life := w.begin(t)
	backUp(t, life)
	want := insertAndArchive(t, life, 1_000)
	w.runMirror(t, 1)
	life.Stop()

	for generation := 2; generation <= 3; generation++ {
		from := w.folder(t, w.mirror, generation-1)
		t.Logf("generation %d from %s of %s", generation, from.ServerName, from.Store.Name)

		t.Run("a used server name is refused", func(t *testing.T) {
			used := w.written(t, generation-1)
			_, err := lab.Restore(t.Context(), mkdir(t, w.dir, "refused"), w.secrets, from, &used, nil)
			require.ErrorContains(t, err, "is not empty")
		})

		to := w.written(t, generation)
		dir := mkdir(t, w.dir, to.ServerName)
		life, err := lab.Restore(t.Context(), dir, w.secrets, from, &to, nil)
		require.NoError(t, err)
		t.Cleanup(life.Stop)
		require.Equal(t, want.contents, contentsOf(t, life))

		insertAndArchive(t, life, 1_000)
		backUp(t, life)
		want = insertAndArchive(t, life, 1_000)
		run := w.runMirror(t, generation)
		t.Log(run.Output)
		assert.Len(t, w.requireInvariant(t, 1), 1, "the first generation stays")
		assert.Len(t, w.requireInvariant(t, generation), 1)
		life.Stop()
		w.requireRestores(t, w.folder(t, w.archive, generation), nil, want)
	}
	w.requireRestores(t, w.folder(t, w.mirror, 3), nil, want)
}

// TestSmallSegments has WAL segments of 1 MB: the names count differently.
func TestSmallSegments(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cnpg.B2, "")
	life := w.begin(t, "--wal-segsize=1")
	backUp(t, life)
	want := insertAndArchive(t, life, 30_000)
	w.runMirror(t, 1)
	assert.Len(t, w.requireInvariant(t, 1), 1)
	w.requireRestores(t, w.folder(t, w.mirror, 1), nil, want)
}

// TestTheSeedsWayDoesNotRestore are the negative controls: what the test calls
// a restore fails where it has to.
func TestTheSeedsWayDoesNotRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cnpg.B2, "")
	life := w.begin(t)
	t.Run("base backup in one store and WAL in the other", func(t *testing.T) {
		elsewhere := life.WritingTo(w.folder(t, w.nas, 1))
		_, err := elsewhere.Backup(t.Context())
		require.NoError(t, err)
		insertAndArchive(t, life, 1_000)

		_, err = w.restore(t, w.folder(t, w.nas, 1), nil)
		require.ErrorContains(t, err, "WAL not found")
		_, err = w.restore(t, w.folder(t, w.b2, 1), nil)
		require.ErrorContains(t, err, "no target backup found")
	})
	t.Run("a source without server name", func(t *testing.T) {
		backUp(t, life)
		want := insertAndArchive(t, life, 1_000)

		rendered := w.render(t, 1)
		rendered.Cluster.Name = "authentik-restored"
		for _, source := range rendered.Cluster.Spec.ExternalClusters {
			delete(source.PluginConfiguration.Parameters, "serverName")
		}
		folder, err := rendered.Source("authentik-b2-backup")
		require.NoError(t, err)
		_, err = w.restore(t, folder, nil)
		require.ErrorContains(t, err, "no target backup found")

		w.requireRestores(t, w.folder(t, w.b2, 1), nil, want)
	})
}
