package tests

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
)

// TestABucketOfTheDefaultProviderStays goes on with a state in which the MinIO
// bucket belongs to Pulumi's default provider, as it did when the server had to
// be configured for it.
func TestABucketOfTheDefaultProviderStays(t *testing.T) {
	box := start(t, root, "homelab", map[string]any{
		"minio:minioServer": "truenas.peekoff.com:9000", "minio:minioSsl": "true",
	})
	_, err := box.Up(t.Context())
	require.NoError(t, err)
	provider := minioProvider(t, box)
	assert.Contains(t, provider, "::storage-minio::")
	state, err := box.Run(t.Context(), "stack", "export")
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "state.json")
	require.NoError(t, os.WriteFile(file, withDefaultMinIO(t, state, provider), 0o600))
	_, err = box.Run(t.Context(), "stack", "import", "--file", file)
	require.NoError(t, err)
	require.Contains(t, minioProvider(t, box), "::default_0_16_3::")

	for name, run := range map[string]func(context.Context, ...string) (*sandbox.Result, error){
		"refresh": box.Refresh, "preview": box.Preview,
	} {
		result, err := run(t.Context())
		require.NoError(t, err, name)
		assert.Empty(t, result.Changes, name)
	}
	up, err := box.Up(t.Context())
	require.NoError(t, err)
	assert.Empty(t, up.Changes)
	assert.Contains(t, minioProvider(t, box), "::storage-minio::")
}

// minioProvider is the reference of the provider that the MinIO bucket has.
func minioProvider(t *testing.T, box *sandbox.Sandbox) string {
	t.Helper()
	state, err := box.Export(t.Context())
	require.NoError(t, err)
	for _, resource := range state.Resources {
		if resource.Type == "minio:index/s3Bucket:S3Bucket" {
			return resource.Provider
		}
	}
	require.Fail(t, "no bucket")
	return ""
}

// withDefaultMinIO makes the explicit provider of a state a default one, with the
// inputs that Pulumi records of it.
func withDefaultMinIO(t *testing.T, state, reference string) []byte {
	t.Helper()
	urn := reference[:strings.LastIndex(reference, "::")]
	var exported map[string]any
	require.NoError(t, json.Unmarshal([]byte(strings.ReplaceAll(state, urn, defaultURN(urn))), &exported))
	found := 0
	for _, entry := range exported["deployment"].(map[string]any)["resources"].([]any) {
		resource := entry.(map[string]any)
		if resource["urn"] != defaultURN(urn) {
			continue
		}
		found++
		resource["inputs"] = map[string]any{
			"minioServer": "truenas.peekoff.com:9000", "minioSsl": "true", "version": "0.16.3",
		}
		resource["outputs"] = resource["inputs"]
		delete(resource, "parent")
	}
	require.Equal(t, 1, found)
	changed, err := json.Marshal(exported)
	require.NoError(t, err)
	return changed
}

func defaultURN(urn string) string {
	return strings.Replace(urn, "::storage-minio", "::default_0_16_3", 1)
}

// nobody are no credentials: an empty variable is none.
func nobody() []string {
	return []string{"B2_APPLICATION_KEY_ID=", "B2_APPLICATION_KEY=", "MINIO_USER=", "MINIO_PASSWORD="}
}

func TestMissingCredentialsAreToldInThePreview(t *testing.T) {
	box := start(t, root, "homelab", nil, nobody()...)

	_, err := box.Preview(t.Context())

	var failed *sandbox.Error
	require.ErrorAs(t, err, &failed)
	var named []string
	for _, problem := range failed.Problems() {
		name, _, _ := strings.Cut(strings.TrimPrefix(problem, "error: "), ": Required value")
		named = append(named, name)
	}
	assert.Equal(t, []string{"B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY", "MINIO_USER", "MINIO_PASSWORD"}, named)
}
