//go:build restore

package restore_test

import (
	"path"
	"slices"
	"strings"
	"testing"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	barmanapi "github.com/cloudnative-pg/barman-cloud/pkg/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// codec is how base backups and WAL are compressed for a while, and what the
// names of their files end with.
type codec struct {
	data, wal     barmanapi.CompressionType
	dataName, end string
}

// TestTheCodecChanges takes each base backup, and the WAL after it, with other
// codecs than the one before, from the oldest habits to the newest and back. All
// of it is mirrored, verified and restored, WAL of several codecs in one recovery,
// and both sides delete what is too old, whatever it is compressed with.
func TestTheCodecChanges(t *testing.T) {
	codecs := []codec{
		{"none", "none", "data.tar", ""},
		{"gzip", "gzip", "data.tar.gz", ".gz"},
		{"lz4", "lz4", "data.tar.lz4", ".lz4"},
		{"zstd", "zstd", "data.tar.zst", ".zst"},
		{"bzip2", "xz", "data.tar.bz2", ".xz"},
		{"gzip", "bzip2", "data.tar.gz", ".bz2"},
	}
	for _, archive := range []cnpg.Location{cnpg.B2, cnpg.MinIO} {
		t.Run("archive "+string(archive), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, archive, "")
			codecs := slices.Clone(codecs)
			if archive == cnpg.MinIO {
				slices.Reverse(codecs)
			}
			days := []int{50, 45, 40, 20, 5, 0}
			w.setRetention("30d", "60d")
			var life *lab.Life
			var backups, names []string
			var moments timeline
			for i, codec := range codecs {
				codec = codec.here()
				w.setCodec(codec)
				if life == nil {
					life = w.begin(t)
				} else {
					require.NoError(t, life.Continue(t.Context(), w.written(t, 1)))
				}
				id := backUp(t, life)
				backups, names = append(backups, id), append(names, id+"/"+codec.dataName)
				moments = append(moments, insertAndArchive(t, life, 2_000))
				require.NoError(t, catalogue.MakeOlder(t.Context(), w.archive, prefix(1), id, days[i]))
				assert.Equal(t, codec.end, w.lastWALEnd(t), "the name of WAL with %s", codec.wal)
			}
			assert.Equal(t, names, w.data(t, w.archive))

			w.runMirror(t, 1)
			assert.Equal(t, names, w.data(t, w.mirror))
			require.Equal(t, backups, ids(w.requireInvariant(t, 1)))
			last := moments[len(moments)-1]
			for _, store := range []*s3server.Store{w.archive, w.mirror} {
				w.requireRestores(t, w.folder(t, store, 1), &cnpgv1.RecoveryTarget{BackupID: backups[0]}, last)
			}
			w.requireRestores(t, w.folder(t, w.mirror, 1), targetOf(backups[1], moments[3]), moments[3])

			// 30 days keep what is younger and the newest that is older.
			require.NoError(t, life.EnforceRetention(t.Context()))
			w.requireKept(t, w.archive, names[2:])
			w.setRetention("30d", "7d")
			run := w.runMirror(t, 1)
			assert.Contains(t, run.Output, `"backups":6`, "it reports before it prunes")
			w.requireKept(t, w.mirror, names[3:])
			again := w.runMirror(t, 1)
			assert.Contains(t, again.Output, `"newWAL":0,"backups":3`, "nothing is copied that would be deleted again")
			w.requireRestores(t, w.folder(t, w.archive, 1), targetOf(backups[2], moments[2]), moments[2])
			w.requireRestores(t, w.folder(t, w.mirror, 1), targetOf(backups[3], moments[3]), moments[3])
			w.requireRestores(t, w.folder(t, w.mirror, 1), &cnpgv1.RecoveryTarget{BackupID: backups[3]}, last)
		})
	}
}

// here is the codec, or for a barman that lacks it gzip.
func (c codec) here() codec {
	args := cnpg.DatabaseArgs{Backup: cnpg.Backup{B2: cnpg.StoreOptions{Data: barmanapi.DataBackupConfiguration{Compression: c.data}}}}
	for _, problem := range args.Validate(nil, "authentik", &cnpg.StorageArgs{PluginVersion: lab.Plugin()}) {
		if problem.Field == "b2.data.compression" {
			c.data, c.dataName = "gzip", "data.tar.gz"
		}
	}
	return c
}

func (w *world) setCodec(c codec) {
	for _, options := range []*cnpg.StoreOptions{&w.args.B2, &w.args.MinIO} {
		options.Data.Compression, options.WAL.Compression = c.data, c.wal
	}
}

// setRetention says for how long the two stores keep base backups.
func (w *world) setRetention(archive, mirror string) {
	w.args.B2.Retention, w.args.MinIO.Retention = archive, mirror
	if w.args.Archive == cnpg.MinIO {
		w.args.B2.Retention, w.args.MinIO.Retention = mirror, archive
	}
}

// data are the files of base backups in a store, without backup.info.
func (w *world) data(t *testing.T, store *s3server.Store) []string {
	t.Helper()
	folder := prefix(1) + "/base/"
	objects, err := store.List(t.Context(), folder)
	require.NoError(t, err)
	var names []string
	for _, object := range objects {
		if path.Base(object.Key) != "backup.info" {
			names = append(names, strings.TrimPrefix(object.Key, folder))
		}
	}
	return names
}

// requireKept wants a store to hold these base backups and no WAL from before them.
func (w *world) requireKept(t *testing.T, store *s3server.Store, names []string) {
	t.Helper()
	require.Equal(t, names, w.data(t, store))
	objects, err := store.List(t.Context(), prefix(1)+"/wals/")
	require.NoError(t, err)
	require.NotEmpty(t, objects)
	first := backupsIn(t, store)[0].BeginWAL
	for _, object := range objects {
		assert.GreaterOrEqual(t, path.Base(object.Key), first)
	}
}

// targetOf restores a certain backup up to a moment.
func targetOf(backup string, m moment) *cnpgv1.RecoveryTarget {
	return &cnpgv1.RecoveryTarget{BackupID: backup, TargetTime: m.time}
}

// lastWALEnd is what the name of the newest WAL segment in the archive ends with.
func (w *world) lastWALEnd(t *testing.T) string {
	t.Helper()
	objects, err := w.archive.List(t.Context(), prefix(1)+"/wals/")
	require.NoError(t, err)
	require.NotEmpty(t, objects)
	name := path.Base(objects[len(objects)-1].Key)
	return name[len("000000010000000000000001"):]
}
