//go:build e2e

package e2e_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/provider"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/bitwarden"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// What the tests have at Bitwarden, and through which store they reach it. The
// namespace has what the key is handed over by.
const (
	bitwardenStore     = "e2e-bitwarden"
	bitwardenProject   = "22222222-2222-4222-8222-222222222222"
	bitwardenNamespace = "e2e-vault"
	b2Item             = "e2e-b2-key"
	b2MirrorItem       = "e2e-b2-mirror-key"
)

// secretOf is the Secret that each namespace gets of an item.
func secretOf() map[string]string {
	return map[string]string{b2Item: "b2-cnpg-credentials", b2MirrorItem: "b2-cnpg-mirror-credentials"}
}

// newBitwarden starts the stand-in for Bitwarden, which outlives nodes.
func newBitwarden(t *testing.T, host string) *bitwarden.Service {
	t.Helper()
	service, err := bitwarden.New("11111111-1111-4111-8111-111111111111", "the-token").Serve(t.Context(), host)
	require.NoError(t, err)
	t.Cleanup(service.Close)
	return service
}

// account is what stands for Backblaze B2: it lets the keys in that are made, and
// no others.
type account struct{ *s3server.Store }

// Made lets a key in, for what its capabilities are for, and no further than its
// prefix. Each has its calls of
// https://www.backblaze.com/docs/cloud-storage-s3-compatible-app-keys.
func (a account) Made(ctx context.Context, key provider.B2Key) error {
	bucket := "arn:aws:s3:::" + a.Bucket
	files := bucket + "/" + key.NamePrefix + "*"
	var statements []any
	allow := func(resource string, actions ...string) map[string]any {
		statement := map[string]any{"Effect": "Allow", "Action": actions, "Resource": []string{resource}}
		statements = append(statements, statement)
		return statement
	}
	for _, capability := range key.Capabilities {
		switch capability {
		case "listBuckets":
			allow(bucket, "s3:HeadBucket")
		case "listFiles":
			listing := allow(bucket, "s3:ListBucket", "s3:ListBucketVersions")
			if key.NamePrefix != "" {
				listing["Condition"] = map[string]any{"StringLike": map[string]any{"s3:prefix": key.NamePrefix + "*"}}
			}
			allow(bucket, "s3:ListBucketMultipartUploads")
			allow(files, "s3:ListMultipartUploadParts")
		case "readFiles":
			allow(files, "s3:GetObject")
		case "writeFiles":
			// By name a file is deleted with writeFiles, a version of it with deleteFiles.
			allow(files, "s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject")
		case "deleteFiles":
			allow(files, "s3:DeleteObjectVersion")
		}
	}
	policy, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	if err != nil {
		return err
	}
	return a.AdmitBy(ctx, key.ID, key.Secret, policy)
}

// Deleted lets a key in no more.
func (a account) Deleted(ctx context.Context, id string) error { return a.Expel(ctx, id) }

// held is what Bitwarden holds of an item.
func (w *world) held(t *testing.T, item string) map[string]string {
	t.Helper()
	items := w.bitwarden.Items(item)
	require.Len(t, items, 1, "items %s", item)
	held := map[string]string{}
	require.NoError(t, json.Unmarshal([]byte(items[0].Value), &held))
	return held
}

// requireKeys wants the Secrets of every namespace with databases to hold what
// Bitwarden does.
func (w *world) requireKeys(t *testing.T) {
	t.Helper()
	seen := map[string]bool{}
	for _, db := range w.databases {
		if seen[db.namespace()] {
			continue
		}
		seen[db.namespace()] = true
		for item, name := range secretOf() {
			secret, err := w.client.Get(t.Context(), schema.GroupVersionKind{Version: "v1", Kind: "Secret"}, db.namespace(), name)
			require.NoError(t, err)
			data, _, err := unstructured.NestedStringMap(secret.Object, "data")
			require.NoError(t, err)
			for half, value := range data {
				plain, err := base64.StdEncoding.DecodeString(value)
				require.NoError(t, err)
				data[half] = string(plain)
			}
			require.Equal(t, w.held(t, item), data, "Secret %s/%s", db.namespace(), name)
			require.ElementsMatch(t, []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}, slices.Collect(maps.Keys(data)))
		}
	}
}

// requireAdmitted wants keys to be let in by the off-site store, or not to be.
func (w *world) requireAdmitted(t *testing.T, want bool, keys ...string) {
	t.Helper()
	admitted, err := w.b2.Admitted(t.Context())
	require.NoError(t, err)
	for _, key := range keys {
		require.Equal(t, want, slices.Contains(admitted, key), "key %s is let in", key)
	}
}
