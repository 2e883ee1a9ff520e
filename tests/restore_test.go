package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
)

// one is an environment with one database, without protection: nothing but the
// program itself keeps its Cluster.
func one(changes map[string]any) map[string]any {
	database := map[string]any{
		"name": "shop", "namespace": "apps", "protect": false,
		"spec": map[string]any{
			"instances": 1,
			"imageName": "ghcr.io/cloudnative-pg/postgresql:17.7",
			"storage":   map[string]any{"size": "5Gi"},
		},
	}
	for key, value := range changes {
		database[key] = value
	}
	return map[string]any{"cnpg-backup:databases": []any{database}}
}

// restored asks for a second life that begins with the first.
func restored() map[string]any {
	return one(map[string]any{"generation": 2, "recovery": map[string]any{"source": "minio"}})
}

func TestARestoreOfALiveClusterIsRefusedBeforeAnythingHappens(t *testing.T) {
	box := start(t, root, "homelab", one(nil))
	_, err := box.Up(t.Context())
	require.NoError(t, err)
	before := manifests(t, box)

	require.NoError(t, box.Configure(t.Context(), restored()))
	for name, run := range map[string]func() (*sandbox.Result, error){
		"preview":              func() (*sandbox.Result, error) { return box.Preview(t.Context()) },
		"up":                   func() (*sandbox.Result, error) { return box.Up(t.Context()) },
		"up of this one alone": func() (*sandbox.Result, error) { return box.Up(t.Context(), "--target", "**shop-cluster") },
	} {
		t.Run(name, func(t *testing.T) {
			result, err := run()

			require.Error(t, err)
			assert.Contains(t, result.Output, "refused, because Cluster apps/shop-postgresql exists")
			assert.Contains(t, result.Output, "pulumi refresh --stack homelab")
			assert.Equal(t, before, manifests(t, box), "nothing has changed")
		})
	}
}

func TestALostClusterIsRestoredAfterARefresh(t *testing.T) {
	box := start(t, root, "homelab", one(nil))
	_, err := box.Up(t.Context())
	require.NoError(t, err)
	lost := filepath.Join(box.Manifests(), "apps", "cluster-shop-postgresql.yaml")
	require.NoError(t, os.Remove(lost))
	require.NoError(t, box.Configure(t.Context(), restored()))

	result, err := box.Preview(t.Context())
	require.Error(t, err, "Pulumi does not know yet that the Cluster is gone")
	assert.Contains(t, result.Output, "The Cluster is lost")
	_, err = box.Up(t.Context())
	require.Error(t, err)
	assert.NoFileExists(t, lost)

	_, err = box.Refresh(t.Context())
	require.NoError(t, err)
	restoring, err := box.Up(t.Context())
	require.NoError(t, err)
	assert.Contains(t, kinds(restoring), "create kubernetes:postgresql.cnpg.io/v1:Cluster")
	content, err := os.ReadFile(lost)
	require.NoError(t, err)
	assert.Contains(t, string(content), "source: shop-recovery")
	again, err := box.Up(t.Context())
	require.NoError(t, err)
	assert.Empty(t, again.Changes)
}

// TestALostClusterDoesNotComeBackEmpty is about the user who refreshes and
// deploys again, and does not ask for a recovery.
func TestALostClusterDoesNotComeBackEmpty(t *testing.T) {
	box := start(t, root, "homelab", one(nil))
	_, err := box.Up(t.Context())
	require.NoError(t, err)
	lost := filepath.Join(box.Manifests(), "apps", "cluster-shop-postgresql.yaml")
	require.NoError(t, os.Remove(lost))
	_, err = box.Refresh(t.Context())
	require.NoError(t, err)
	// What a refresh reads of an ObjectStore with a base backup.
	state, err := box.Run(t.Context(), "stack", "export")
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "state.json")
	require.NoError(t, os.WriteFile(file, withBackups(t, state, "shop-b2-store", "shop-postgresql"), 0o600))
	_, err = box.Run(t.Context(), "stack", "import", "--file", file)
	require.NoError(t, err)

	for name, run := range map[string]func() (*sandbox.Result, error){
		"preview": func() (*sandbox.Result, error) { return box.Preview(t.Context()) },
		"up":      func() (*sandbox.Result, error) { return box.Up(t.Context()) },
	} {
		result, err := run()
		require.Error(t, err, name)
		assert.Contains(t, result.Output, "refused, because Cluster apps/shop-postgresql is lost", name)
		assert.Contains(t, result.Output, "generation: 2 and recovery", name)
		assert.NoFileExists(t, lost, name)
	}

	require.NoError(t, box.Configure(t.Context(), restored()))
	_, err = box.Up(t.Context())
	require.NoError(t, err)
	assert.FileExists(t, lost)
}

// withBackups has an ObjectStore in a state tell of backups of a server name.
func withBackups(t *testing.T, state, store, server string) []byte {
	t.Helper()
	var exported map[string]any
	require.NoError(t, json.Unmarshal([]byte(state), &exported))
	found := 0
	for _, entry := range exported["deployment"].(map[string]any)["resources"].([]any) {
		resource := entry.(map[string]any)
		if !strings.HasSuffix(resource["urn"].(string), "::"+store) {
			continue
		}
		found++
		resource["outputs"].(map[string]any)["status"] = map[string]any{"serverRecoveryWindow": map[string]any{
			server: map[string]any{"firstRecoverabilityPoint": "2026-01-01T00:00:00Z"},
		}}
	}
	require.Equal(t, 1, found)
	changed, err := json.Marshal(exported)
	require.NoError(t, err)
	return changed
}

// TestAReplacementByHandEndsWithACluster is about what a user does who has found
// pulumi's own way to insist: the restored Cluster has the lost one's name, and
// is not to be deleted in its place.
func TestAReplacementByHandEndsWithACluster(t *testing.T) {
	box := start(t, root, "homelab", one(nil))
	_, err := box.Up(t.Context())
	require.NoError(t, err)
	lost := filepath.Join(box.Manifests(), "apps", "cluster-shop-postgresql.yaml")
	require.NoError(t, os.Remove(lost))
	config := restored()
	config["kubernetes:upsertExistingObjects"] = "true"
	require.NoError(t, box.Configure(t.Context(), config))

	_, err = box.Up(t.Context(), "--replace", "**shop-cluster")

	require.NoError(t, err)
	assert.FileExists(t, lost)
	assert.Contains(t, manifests(t, box)[filepath.Base(lost)], "source: shop-recovery")
}

// manifests are the objects but for the note on the archive's ObjectStore, which
// is deployed before the Cluster and so, without a preview, before the refusal.
func manifests(t *testing.T, box *sandbox.Sandbox) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(box.Manifests(), "*", "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	note := regexp.MustCompile(`(?m)^ *cnpg-backup/server-name: .*\n`)
	written := map[string]string{}
	for file, content := range contents(t, files) {
		written[filepath.Base(file)] = note.ReplaceAllString(string(content), "")
	}
	return written
}
