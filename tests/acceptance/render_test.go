//go:build acceptance

package acceptance

import (
	"encoding/json"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/homelab-iac/pulumi-cnpg-backup/internal/engine"
	"github.com/homelab-iac/pulumi-cnpg-backup/stacks/environment"
)

// storage is how every environment that these tests make up is configured, but for
// its databases.
func storage(t *testing.T) map[string]any {
	t.Helper()
	return fromYAML(t, `
cnpg-backup:b2: {bucket: acceptance-cnpg-b2, region: us-west-002}
cnpg-backup:minio:
  {bucket: acceptance-postgres-backups, endpoint: "https://nas.example.org:9000", secret: minio-credentials}
cnpg-backup:bitwarden: {store: bitwarden-backend, item: acceptance-b2}
`)
}

// render runs the program of the environments with one database and returns the
// Kubernetes objects that it would register, or its refusal.
func render(t *testing.T, database map[string]any) ([]*unstructured.Unstructured, error) {
	t.Helper()
	settings := storage(t)
	settings["cnpg-backup:databases"] = []any{database}
	config := engine.Credentials()
	for key, value := range settings {
		encoded, err := json.Marshal(value)
		require.NoError(t, err)
		config[key] = string(encoded)
	}
	fake := &engine.Fake{}
	err := environment.Run(
		pulumi.WithMocks("cnpg-backup", "acceptance", fake),
		func(info *pulumi.RunInfo) { info.Config = config })
	made, objectsErr := fake.Objects()
	require.NoError(t, objectsErr)
	objects := make([]*unstructured.Unstructured, 0, len(made))
	for _, fields := range made {
		objects = append(objects, &unstructured.Unstructured{Object: fields})
	}
	return objects, err
}

// find returns the object of a kind, the first in order if there are several.
func find(t *testing.T, objects []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	t.Helper()
	for _, object := range objects {
		if object.GetKind() == kind && object.GetName() == name {
			return object.DeepCopy()
		}
	}
	require.Failf(t, "not rendered", "no %s %s among %d objects", kind, name, len(objects))
	return nil
}
