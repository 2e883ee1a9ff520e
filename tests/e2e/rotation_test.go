//go:build e2e

package e2e_test

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/minio/madmin-go/v3"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
)

// testRotation replaces the key of the archive under a database that is written
// to: both keys are valid for a while, as with the environment's list of keys.
func (w *world) testRotation(t *testing.T, db entry) {
	admin, err := madmin.NewWithOptions(strings.TrimPrefix(w.b2.Endpoint, "http://"), &madmin.Options{
		Creds: credentials.NewStaticV4(w.b2.KeyID, w.b2.Key, ""),
	})
	require.NoError(t, err)
	// rotate does what External Secrets does with a new key in Bitwarden. The
	// sidecar reads Secrets anew every few seconds.
	rotate := func() (keyID string) {
		keyID = rand.Text()
		key := &lab.Store{KeyID: keyID, Key: rand.Text()}
		require.NoError(t, admin.AddUser(t.Context(), keyID, key.Key))
		_, err := admin.AttachPolicy(t.Context(), madmin.PolicyAssociationReq{Policies: []string{"readwrite"}, User: keyID})
		require.NoError(t, err)
		for _, namespace := range namespaces() {
			w.putKey(t, namespace, "b2-cnpg-credentials", key)
		}
		time.Sleep(20 * time.Second)
		return keyID
	}
	const failures = "select failed_count from pg_stat_archiver"
	restarts, failed := w.restarts(t, db), w.query(t, db, failures)
	load := w.startWriter(t, db)
	first := rotate()
	w.archived(t, db)
	rotate()
	require.NoError(t, admin.RemoveUser(t.Context(), first))
	w.archived(t, db)
	load.end()
	assert.Zero(t, load.refused)
	assert.Equal(t, failed, w.query(t, db, failures), "no WAL failed to be archived")
	assert.Equal(t, restarts, w.restarts(t, db), "nothing restarts")
	w.mirror(t, db)
}
