package tests

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
)

// database is an entry of the configuration with more settings.
func database(name string, more map[string]any) map[string]any {
	entry := map[string]any{
		"name": name, "namespace": "apps",
		"spec": map[string]any{
			"instances": 1,
			"imageName": "ghcr.io/cloudnative-pg/postgresql:17.7",
			"storage":   map[string]any{"size": "5Gi"},
		},
	}
	maps.Copy(entry, more)
	return entry
}

// two are the databases of an environment in which one is going to change.
func two(schedule string) map[string]any {
	return map[string]any{"cnpg-backup:databases": []any{
		database("wiki", map[string]any{"schedule": "0 0 2 * * 0"}), database("photos", map[string]any{"schedule": schedule}),
	}}
}

func TestAChangeOfOneDatabaseTouchesNothingElse(t *testing.T) {
	box := start(t, root, "homelab", two("0 0 3 * * 0"))
	must(t, box.Up)

	changed := deploy(t, box, two("0 30 4 * * 0"))
	assert.Equal(t, []sandbox.Step{{
		Op:    "update",
		Type:  "kubernetes:postgresql.cnpg.io/v1:ScheduledBackup",
		Name:  "photos-backup",
		Diffs: []string{"spec.schedule"},
	}}, changed.Changes)
}

// TestDestroyIsRefusedWhileProtected also shows what Pulumi's protection is
// worth: before it comes to a protected resource, it deletes what depends on it.
func TestDestroyIsRefusedWhileProtected(t *testing.T) {
	box := start(t, root, "homelab", nil)
	must(t, box.Up)

	_, err := box.Destroy(t.Context())

	require.ErrorContains(t, err, "protected")
	assert.Subset(t, names(t, box), []string{
		"Cluster authentik-postgresql", "ObjectStore authentik-b2-store", "ObjectStore authentik-minio-store",
		"ExternalSecret b2-cnpg-credentials",
	})
	for _, cloud := range []string{"b2", "minio"} {
		buckets, err := filepath.Glob(filepath.Join(filepath.Dir(box.Manifests()), cloud, "*Bucket-*"))
		require.NoError(t, err)
		assert.Len(t, buckets, 1, cloud)
	}
}

func TestDestroyLeavesNothing(t *testing.T) {
	box := start(t, root, "local", nil)
	must(t, box.Up)

	must(t, box.Destroy)
	assert.Empty(t, names(t, box))
	for _, cloud := range []string{"b2", "minio"} {
		left, err := os.ReadDir(filepath.Join(filepath.Dir(box.Manifests()), cloud))
		require.NoError(t, err)
		assert.Empty(t, left)
	}
}

// TestTheStateSaysADatabasesOutputs compares what is registered before a database's
// objects are made with what a program gets.
func TestTheStateSaysADatabasesOutputs(t *testing.T) {
	box := start(t, root, "local", nil)
	must(t, box.Up)

	outputs, err := box.Outputs(t.Context())
	require.NoError(t, err)
	state, err := box.Export(t.Context())
	require.NoError(t, err)
	databases := 0
	for i := range state.Resources {
		if made := &state.Resources[i]; made.Type == "cnpg-backup:index:Database" {
			databases++
			exported := outputs["databases"].(map[string]any)[made.URN.Name()].(map[string]any)
			stores := exported["stores"].(map[string]any)
			for output, value := range map[string]any{
				"clusterName": exported["cluster"], "b2Path": stores["b2"], "minioPath": stores["minio"],
				"appSecret": exported["appSecret"], "serverName": exported["serverName"],
				"readWriteHost": exported["readWriteHost"], "recoverySources": exported["recoverySources"],
			} {
				assert.NotEmpty(t, value, output)
				assert.Equal(t, value, made.Outputs[output], output)
			}
		}
	}
	assert.Positive(t, databases)
}

func TestAFailedCreateResumes(t *testing.T) {
	box := start(t, root, "local", nil)
	box.Kubernetes.RefuseOnce("Cluster", "apps", "notes-postgresql")

	failed, err := box.Up(t.Context())
	require.ErrorContains(t, err, "Cluster apps/notes-postgresql: refused by the test")
	assert.NotContains(t, kinds(failed), "create kubernetes:postgresql.cnpg.io/v1:ScheduledBackup",
		"what depends on the Cluster waits for it")

	resumed := must(t, box.Up)
	assert.Contains(t, kinds(resumed), "create kubernetes:postgresql.cnpg.io/v1:Cluster")
	assert.NotContains(t, kinds(resumed), "create kubernetes:barmancloud.cnpg.io/v1:ObjectStore",
		"what was there stays")

	assertNoChanges(t, box.Up)
}

func TestAnImageThatFloatsIsAWarningOfPreviewAndUp(t *testing.T) {
	databases := two("0 0 3 * * 0")
	for i, image := range []string{"17-bookworm", "17-0.4.3@sha256:" + strings.Repeat("0", 64)} {
		spec := databases["cnpg-backup:databases"].([]any)[i].(map[string]any)["spec"].(map[string]any)
		spec["imageName"] = "ghcr.io/cloudnative-pg/postgresql:" + image
	}
	box := start(t, root, "homelab", databases)

	for name, run := range deployments(box) {
		result := must(t, run)

		require.Len(t, result.Diagnostics, 1, name)
		assert.Contains(t, result.Diagnostics[0], `spec.imageName: "ghcr.io/cloudnative-pg/postgresql:17-bookworm"`)
		assert.Contains(t, result.Output, "cnpg-backup:index:Database (wiki)", "it says which database")
	}
}

// TestAnEncryptedSettingNeedsNoPassphrase shows that an environment with secrets
// in its configuration can be rendered and previewed by everyone.
func TestAnEncryptedSettingNeedsNoPassphrase(t *testing.T) {
	box := start(t, root, "homelab", map[string]any{
		"minio:minioPassword": map[string]any{"secure": "v1:nobody:knows"},
	})

	preview := must(t, box.Preview)
	assert.NotEmpty(t, preview.Changes)
}
