//go:build e2e

package e2e_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// copyOf is an entry for a database that begins as a copy of another one, beside
// it, and keeps its own backups in the store that it is restored from.
func (w *world) copyOf(db entry, name, source string) entry {
	copied := w.newDatabase(name, db.namespace(), 1)
	copied["archive"] = source
	copied["recovery"] = entry{"source": source, "cluster": db.cluster(), "generation": db.generation()}
	copied.spec()["bootstrap"] = db.spec()["bootstrap"]
	return copied
}

// testCopies restores a database beside itself from each of its copies while the
// other one is away.
func (w *world) testCopies(t *testing.T, db entry) {
	early := w.write(t, db, 500)
	time.Sleep(2 * time.Second)
	moment := w.query(t, db, `select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`)
	time.Sleep(2 * time.Second)
	late := w.write(t, db, 500)
	w.archived(t, db)
	w.mirror(t, db)

	for _, from := range []string{"b2", "minio"} {
		t.Run("from "+from+" alone", func(t *testing.T) {
			other := w.nas
			if from == "minio" {
				other = w.b2
			}
			whole, then := w.copyOf(db, db.name()+"-whole-"+from, from), w.copyOf(db, db.name()+"-then-"+from, from)
			then["recovery"].(entry)["target"] = entry{"targetTime": moment}
			stopped(t, other, func() {
				begin := time.Now()
				w.add(whole, then)
				w.up(t)
				w.ready(t, whole.namespace(), whole.cluster())
				t.Logf("FIGURE recovery from %s to Ready: %.0f s", from, time.Since(begin).Seconds())
				w.ready(t, then.namespace(), then.cluster())
				w.requireContents(t, whole, db.name(), late)
				w.requireContents(t, then, db.name(), early)
			})
			w.remove(whole.name())
			w.remove(then.name())
			w.up(t)
		})
	}
}

// testNextLife loses a cluster with its volumes and restores it in place, by an
// edit of the stack configuration, then lives on and backs up.
func (w *world) testNextLife(t *testing.T, name, source string) {
	var db entry
	w.edit(name, func(each entry) { db = each })
	before := w.copied(t, db, 300)

	w.delete(t, clusterKind(), db.namespace(), db.cluster())
	begin := time.Now()
	db["generation"] = db.generation() + 1
	db["recovery"] = entry{"source": source}
	w.up(t, "--refresh")
	w.ready(t, db.namespace(), db.cluster())
	t.Logf("FIGURE generation %d restored from %s: %.0f s", db.generation(), source, time.Since(begin).Seconds())
	w.requireContents(t, db, db.name(), before)
	w.archiving(t, db.namespace(), db.cluster())
	w.backedUp(t, db)
	w.copied(t, db, 300)
}

// testSiteLoss leaves nothing but the off-site store, Bitwarden and the stack
// configuration, and brings every database back from them.
func (w *world) testSiteLoss(t *testing.T) {
	held := map[string]contents{}
	for _, db := range w.databases {
		held[db.name()] = w.copied(t, db, 200)
	}
	keys := w.held(t, b2Item)
	w.loseSite(t)
	begin := time.Now()
	w.adoptB2()
	for _, db := range w.databases {
		db["generation"] = db.generation() + 1
		db["recovery"] = entry{"source": "b2"}
	}
	w.up(t)
	for _, db := range w.databases {
		w.ready(t, db.namespace(), db.cluster())
		w.requireContents(t, db, db.name(), held[db.name()])
	}
	w.requireKeys(t)
	require.Equal(t, keys, w.held(t, b2Item), "the keys are the old site's")
	t.Logf("FIGURE site loss to three databases Ready: %.0f s", time.Since(begin).Seconds())
	for _, db := range w.databases {
		w.archiving(t, db.namespace(), db.cluster())
		w.backedUp(t, db)
		w.mirror(t, db)
	}
}

// loseSite destroys the cluster, the NAS and the stack's state, and gets new
// ones. A cluster that is not the tests' own loses its namespaces.
func (w *world) loseSite(t *testing.T) {
	t.Helper()
	w.box.Close()
	if w.node != nil {
		w.nas.Stop()
		w.node.Stop()
		w.cluster = newCluster(t)
	} else {
		// A database that archives to the NAS does not end without it.
		w.deleteNamespaces(t)
		w.nas.Stop()
	}
	w.nas = newNAS(t, w.host)
	w.useCluster(t)
	t.Logf("a new site: only %s and Bitwarden are the old ones", w.b2)
}

// adoptB2 tells a stack without state, as docs/restore.md says, that the bucket
// and the key are there. The key's secret half is in Bitwarden and nowhere else.
func (w *world) adoptB2() {
	keys := w.b2Config["keys"].([]string)
	delete(w.b2Config, "keys")
	w.b2Config["adoptBucket"], w.b2Config["adoptKey"] = true, keys[len(keys)-1]
}
