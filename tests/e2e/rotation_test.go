//go:build e2e

package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testRotation rotates the key of the archive as docs/operate.md says, under a
// database that is written to, and wants no WAL file to fail.
func (w *world) testRotation(t *testing.T, db entry) {
	restarts := w.restarts(t, db)
	archived, failed := w.archiver(t, db)
	before, mirrorBefore := w.held(t, b2Item)["AWS_ACCESS_KEY_ID"], w.held(t, b2MirrorItem)["AWS_ACCESS_KEY_ID"]
	load := w.startWriter(t, db)

	first := w.b2Config["keys"].([]string)[0]
	w.b2Config["keys"] = []string{first, "e2e-second"}
	w.up(t)
	w.requireKeys(t)
	assert.NotEqual(t, before, w.held(t, b2Item)["AWS_ACCESS_KEY_ID"])
	w.archived(t, db)
	w.requireAdmitted(t, true, before, mirrorBefore)
	// The sidecar reads a Secret anew when it has had it for ten seconds:
	// https://github.com/cloudnative-pg/plugin-barman-cloud/blob/v0.14.0/internal/cnpgi/instance/internal/client/client.go
	time.Sleep(15 * time.Second)

	w.b2Config["keys"] = []string{"e2e-second"}
	w.up(t)
	w.requireAdmitted(t, false, before, mirrorBefore)
	w.archived(t, db)
	load.end()

	assert.Zero(t, load.refused)
	archivedThen, failedThen := w.archiver(t, db)
	t.Logf("%d WAL files archived over the rotation, %d failed", archivedThen-archived, failedThen-failed)
	assert.Equal(t, failed, failedThen, "no WAL file failed to be archived")
	assert.Greater(t, archivedThen, archived+2, "the database was written to")
	assert.Equal(t, restarts, w.restarts(t, db), "nothing restarts")
	w.mirror(t, db)
}

// testKeyAfterAdoption gives databases that use an adopted key one of the stack's.
func (w *world) testKeyAfterAdoption(t *testing.T, db entry) {
	archived, failed := w.archiver(t, db)
	adopted := w.held(t, b2Item)["AWS_ACCESS_KEY_ID"]
	delete(w.b2Config, "adoptKey")
	w.b2Config["keys"] = []string{"e2e-third"}
	w.up(t)
	w.requireKeys(t)
	require.NotEqual(t, adopted, w.held(t, b2Item)["AWS_ACCESS_KEY_ID"])
	w.requireAdmitted(t, true, adopted)
	w.write(t, db, 100)
	w.archived(t, db)
	archivedThen, failedThen := w.archiver(t, db)
	assert.Equal(t, failed, failedThen, "no WAL file failed to be archived")
	assert.Greater(t, archivedThen, archived)
}

// archiver counts the WAL files that were archived and those that failed.
func (w *world) archiver(t *testing.T, db entry) (archived, failed int) {
	t.Helper()
	counts := w.query(t, db, "select archived_count || ' ' || failed_count from pg_stat_archiver")
	_, err := fmt.Sscan(counts, &archived, &failed)
	require.NoError(t, err)
	return archived, failed
}
