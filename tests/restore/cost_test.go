//go:build restore

package restore_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/catalogue"
)

// TestTheCostIsThatOfTheBucket compares what the component says that a database
// takes at B2 with what lies there after a week of nightly base backups, of which
// the plugin's own command has deleted what the retention allows.
func TestTheCostIsThatOfTheBucket(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cnpg.B2, "")
	w.args.Schedule, w.args.Retention = "0 0 2 * * *", "5d"
	life := w.begin(t)
	insertAndArchive(t, life, 150_000)
	var size int64
	require.NoError(t, life.Query(t.Context(), &size, `select sum(pg_database_size(oid))::bigint from pg_database`))
	w.args.Spec.StorageConfiguration.Size = fmt.Sprint(size)
	storage := w.storage()
	storage.B2.UndeleteDays = 1
	said := w.args.Cost("authentik", storage)

	var idle []int64
	for age := 7; age >= 0; age-- {
		id := backUp(t, life)
		before := stored(t, w, "/wals/")
		insertAndArchive(t, life, 1) // as on a night on which nobody writes
		idle = append(idle, stored(t, w, "/wals/")-before)
		require.NoError(t, catalogue.MakeOlder(t.Context(), w.archive, prefix(1), id, age))
	}
	require.NoError(t, life.EnforceRetention(t.Context()))

	kept := backupsIn(t, w.archive)
	assert.Len(t, kept, said.BaseBackups-1, "one more was deleted within a day")
	const dollarsPerByte = 0.006 / 1e9
	inBucket, asSaid := float64(stored(t, w, "/base/"))/float64(len(kept)), said.PerGB/float64(said.BaseBackups)*float64(size)/1e9/dollarsPerByte
	t.Logf("a base backup of %d bytes takes %.0f, said %.0f", size, inBucket, asSaid)
	// What is said is for data of a usual kind, and at the most. That of the tests
	// is easier on a codec, and an idle segment nearly empty.
	assert.Less(t, inBucket, asSaid)
	assert.Greater(t, inBucket, asSaid/3)

	w.args.Spec.StorageConfiguration.Size = "1"
	nothing := w.args.Cost("authentik", storage)
	segment := nothing.Full.StoredGB * 1e9 / float64(nothing.WALDays) / 288
	t.Logf("an idle segment takes %d bytes, said %.0f", idle, segment)
	// PostgreSQL may do some work of its own in one of those nights.
	slices.Sort(idle)
	usual := float64(idle[len(idle)/2])
	assert.Less(t, usual, segment)
	assert.Greater(t, usual, segment/10)
}

// stored is how much of the first generation lies below a folder of the archive.
func stored(t *testing.T, w *world, folder string) int64 {
	t.Helper()
	objects, err := w.archive.List(t.Context(), prefix(1)+folder)
	require.NoError(t, err)
	require.NotEmpty(t, objects)
	sum := int64(0)
	for _, object := range objects {
		if !strings.HasSuffix(object.Key, ".history") {
			sum += object.Size
		}
	}
	return sum
}
