package tests

import (
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
	must(t, box.Up)
	provider := minioProvider(t, box)
	assert.Contains(t, provider, "::storage-minio::")
	makeDefault(t, box, provider)
	require.Contains(t, minioProvider(t, box), "::default_0_16_3::")

	assertNoChanges(t, box.Refresh)
	assertNoChanges(t, box.Preview)
	assertNoChanges(t, box.Up)
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

// makeDefault makes the explicit MinIO provider of a state a default one, with the
// inputs that Pulumi records of it.
func makeDefault(t *testing.T, box *sandbox.Sandbox, reference string) {
	t.Helper()
	state, err := box.Run(t.Context(), "stack", "export")
	require.NoError(t, err)
	urn := reference[:strings.LastIndex(reference, "::")]
	byDefault := strings.Replace(urn, "::storage-minio", "::default_0_16_3", 1)
	importState(t, box, strings.ReplaceAll(state, urn, byDefault), func(resource map[string]any) bool {
		if resource["urn"] != byDefault {
			return false
		}
		resource["inputs"] = map[string]any{
			"minioServer": "truenas.peekoff.com:9000", "minioSsl": "true", "version": "0.16.3",
		}
		resource["outputs"] = resource["inputs"]
		delete(resource, "parent")
		return true
	})
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

// TestAnAdoptedBucketTakesNothingOfMinIO deploys and renders an environment whose
// server on the NAS may be any. There is no user for the plugin, and Pulumi, which
// starts a plugin for its provider alone, has no provider of it.
func TestAnAdoptedBucketTakesNothingOfMinIO(t *testing.T) {
	nobody := []string{"MINIO_USER=", "MINIO_PASSWORD="}
	config := map[string]any{"cnpg-backup:minio": map[string]any{
		"bucket": "homelab-postgres-backups", "endpoint": "https://nas.example.org:7070", "secret": "nas-credentials",
		"adoptBucket": true,
	}}
	box := start(t, root, "homelab", config, nobody...)
	deploysCleanly(t, box)
	state, err := box.Export(t.Context())
	require.NoError(t, err)
	for _, resource := range state.Resources {
		assert.NotContains(t, resource.Type, "minio", resource.URN)
	}

	assert.NotEmpty(t, rendered(t, "homelab", t.TempDir(), config, nobody...).Manifests)
}
