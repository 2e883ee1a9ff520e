//go:build e2e

package e2e_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLife is one long story: what happens in one part is what the next part
// finds.
func TestLife(t *testing.T) {
	w := newWorld(t)
	w.settings = entry{"cnpg-backup:drill": drills()}
	begin := time.Now()
	notes, photos, ledger := w.newDatabase("notes", "e2e-apps", 1), w.newDatabase("photos", "e2e-apps", 1), w.newDatabase("ledger", "e2e-office", 2)
	notes["waitUntilReady"] = true
	photos["archive"] = "minio"
	photos["mirror"].(entry)["schedule"] = "* * * * *"
	photos["minio"] = entry{"sidecar": entry{"retentionPolicyIntervalSeconds": 20}}
	w.add(notes, photos, ledger)

	part := func(name string, run func(t *testing.T)) {
		t.Helper()
		require.True(t, t.Run(name, run), "what follows needs this")
	}
	part("an environment goes up", func(t *testing.T) {
		w.up(t)
		for _, db := range w.databases {
			w.ready(t, db.namespace(), db.cluster())
		}
		t.Logf("FIGURE up to Ready, three databases: %.0f s", time.Since(begin).Seconds())
		for _, db := range w.databases {
			w.archiving(t, db.namespace(), db.cluster())
			w.backedUp(t, db)
		}
		t.Logf("FIGURE up to the first restorable point of each: %.0f s", time.Since(begin).Seconds())
		for _, db := range w.databases {
			w.copied(t, db, 1000)
		}
	})
	part("the mirror runs by its schedule", func(t *testing.T) {
		w.testJobRunsItself(t, photos)
		photos["mirror"].(entry)["schedule"] = notes["mirror"].(entry)["schedule"]
		assert.Len(t, w.up(t).Changes, 1)
	})
	part("each copy restores alone, and to a point in time", func(t *testing.T) { w.testCopies(t, notes) })
	part("a second life after the cluster and its volumes are gone", func(t *testing.T) { w.testNextLife(t, "notes", "b2") })
	part("a third life, from the mirror", func(t *testing.T) { w.testNextLife(t, "notes", "minio") })
	t.Run("the third life's copies restore themselves", func(t *testing.T) { w.testDrills(t, notes) })
	part("a rehearsal", func(t *testing.T) { w.testDrill(t, notes) })
	part("the seed's way: a backup to another store", func(t *testing.T) { w.testBackupNamesAnotherStore(t, notes) })
	part("the seed's way: a source without server name", func(t *testing.T) { w.testSourceWithoutServerName(t, notes) })
	part("the seed's way: a used server name", func(t *testing.T) { w.testUsedServerName(t, notes) })
	part("the seed's way: compression at the Cluster", func(t *testing.T) { w.testSeedCompression(t, notes) })
	part("failover", func(t *testing.T) { w.testFailover(t, ledger) })
	t.Run("after the failover, too", func(t *testing.T) { w.testDrills(t, ledger) })
	part("the archive is away", func(t *testing.T) { w.testArchiveOutage(t, notes) })
	t.Run("after the archive was away, too", func(t *testing.T) { w.testDrills(t, notes) })
	part("a new key", func(t *testing.T) { w.testRotation(t, notes) })
	part("retention", func(t *testing.T) { w.testRetention(t, photos) })
	t.Run("after retention, too", func(t *testing.T) { w.testDrills(t, photos) })
	part("the seed's way: retention at the Cluster", func(t *testing.T) { w.testSeedRetention(t, notes.namespace()) })
	part("nothing changes", w.requireNoChanges)
	// What comes to life here outlives a part.
	w.testSiteLoss(t)
	for _, db := range []entry{notes, photos} {
		t.Run("on the new site, too: "+db.name(), func(t *testing.T) { w.testDrills(t, db) })
	}
	part("nothing changes on the new site", w.requireNoChanges)
	part("a key of its own for the new site", func(t *testing.T) { w.testKeyAfterAdoption(t, notes) })
	part("the environment goes down", func(t *testing.T) {
		_, err := w.box.Destroy(t.Context())
		require.NoError(t, err)
		w.deleteNamespaces(t)
	})
}

// requireNoChanges wants a preview, a refresh and another up to find nothing.
func (w *world) requireNoChanges(t *testing.T) {
	preview, err := w.box.Preview(t.Context())
	require.NoError(t, err)
	assert.Empty(t, preview.Changes)
	refresh, err := w.box.Refresh(t.Context())
	require.NoError(t, err)
	assert.Empty(t, refresh.Changes)
	assert.Empty(t, w.up(t).Changes)
}
