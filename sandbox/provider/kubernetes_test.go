package provider_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/crds"
	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/provider"
)

func newKubernetes(t *testing.T) (kubernetes *provider.Kubernetes, folder string) {
	t.Helper()
	catalog, err := crds.Load(t.Context())
	require.NoError(t, err)
	folder = t.TempDir()
	return provider.NewKubernetes(catalog, provider.Files{Folder: folder}), folder
}

// objectStore is an object with the given fields in spec.configuration.
func objectStore(configuration map[string]any) resource.PropertyMap {
	return properties(map[string]any{
		"apiVersion": "barmancloud.cnpg.io/v1",
		"kind":       "ObjectStore",
		"metadata":   map[string]any{"namespace": "auth", "name": "store"},
		"spec":       map[string]any{"configuration": configuration},
	})
}

func secret(name, value string) resource.PropertyMap {
	object := properties(map[string]any{
		"apiVersion": "v1",
		"kind":       "Secret",
		"metadata":   map[string]any{"namespace": "auth", "name": name},
	})
	object["stringData"] = resource.NewProperty(resource.PropertyMap{
		"KEY": resource.MakeSecret(resource.NewProperty(value)),
	})
	return object
}

func TestKubernetesChecksObjects(t *testing.T) {
	kubernetes, _ := newKubernetes(t)
	unknown := objectStore(map[string]any{"destinationPath": "s3://b/p", "wal": map[string]any{}})
	unknown["spec"].ObjectValue()["configuration"].ObjectValue()["wal"].ObjectValue()["maxParallel"] =
		resource.MakeComputed(resource.NewProperty(""))
	for _, test := range []struct {
		name   string
		object resource.PropertyMap
		want   []string
	}{
		{"a good object", objectStore(map[string]any{"destinationPath": "s3://b/p"}), nil},
		{"a value that is not known yet", unknown, nil},
		{"a missing field", objectStore(map[string]any{}),
			[]string{"ObjectStore auth/store: spec.configuration.destinationPath: Required value"}},
		{"an unknown field", objectStore(map[string]any{"destinationPath": "s3://b/p", "endpoint": "x"}),
			[]string{"ObjectStore auth/store: spec.configuration.endpoint: Forbidden: the schema has no such field"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			response, err := kubernetes.Check(t.Context(), plugin.CheckRequest{
				URN:  urnOf("kubernetes:barmancloud.cnpg.io/v1:ObjectStore"),
				News: test.object,
			})

			require.NoError(t, err)
			var reasons []string
			for _, failure := range response.Failures {
				reasons = append(reasons, failure.Reason)
			}
			assert.Equal(t, test.want, reasons)
		})
	}
}

// TestKubernetesRefusesATokenWithoutAGroup holds what keeps every environment
// from being deployed: apiextensions.NewCustomResource makes such a token of
// apiVersion v1.
func TestKubernetesRefusesATokenWithoutAGroup(t *testing.T) {
	kubernetes, _ := newKubernetes(t)
	object := secret("a", "b3Bl")
	delete(object, "stringData")

	_, err := kubernetes.Check(t.Context(), plugin.CheckRequest{URN: urnOf("kubernetes:v1:Secret"), News: object})
	require.EqualError(t, err, `apiVersion does not have both a group and a version: "v1"`)

	response, err := kubernetes.Check(t.Context(), plugin.CheckRequest{URN: urnOf("kubernetes:core/v1:Secret"), News: object})
	require.NoError(t, err)
	assert.Empty(t, response.Failures)
}

func urnOf(token tokens.Type) resource.URN {
	return resource.NewURN("homelab", "cnpg-backup", "", token, "object")
}

// TestKubernetesRefusesWhatItDoesNotKnow keeps the stand-in from doing as it
// likes where the real provider has rules of its own.
func TestKubernetesRefusesWhatItDoesNotKnow(t *testing.T) {
	kubernetes, _ := newKubernetes(t)
	deployment := properties(map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"namespace": "auth", "name": "app"},
	})
	unnamed := properties(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"namespace": "auth"},
	})

	_, err := kubernetes.Check(t.Context(), plugin.CheckRequest{URN: urnOf("kubernetes:apps/v1:Deployment"), News: deployment})
	require.ErrorContains(t, err, "Deployment auth/app: the sandbox does not know how the real provider treats this kind")
	_, err = kubernetes.Check(t.Context(), plugin.CheckRequest{URN: urnOf("kubernetes:core/v1:Secret"), News: unnamed})
	require.ErrorContains(t, err, "Secret auth/: the sandbox makes up no names")
}

// TestAConditionOfAnOlderGenerationIsNone is as in the real provider:
// https://github.com/pulumi/pulumi-kubernetes/blob/v4.30.0/provider/pkg/await/condition/kubectl.go
func TestAConditionOfAnOlderGenerationIsNone(t *testing.T) {
	object := func(observed int64) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"metadata": map[string]any{"generation": int64(2)},
			"status": map[string]any{"conditions": []any{
				map[string]any{"type": "Ready", "status": "True", "observedGeneration": observed},
			}},
		}}
	}
	require.NoError(t, provider.Meets(object(2), "Ready", "True"))
	require.ErrorContains(t, provider.Meets(object(1), "Ready", "True"), "condition Ready is of generation 1, not 2")
}

func TestAManifestHasNoSecrets(t *testing.T) {
	kubernetes, folder := newKubernetes(t)

	created, err := kubernetes.Create(t.Context(), plugin.CreateRequest{Properties: secret("keys", "hunter2hunter2")})

	require.NoError(t, err)
	assert.Equal(t, resource.ID("auth/keys"), created.ID)
	assert.True(t, created.Properties["stringData"].IsSecret())
	content, err := os.ReadFile(filepath.Join(folder, "auth", "secret-keys.yaml"))
	require.NoError(t, err)
	assert.Equal(t, `apiVersion: v1
kind: Secret
metadata:
  name: keys
  namespace: auth
stringData:
  KEY: (secret)
`, string(content))
}

func TestAnObjectIsMadeOnce(t *testing.T) {
	kubernetes, _ := newKubernetes(t)
	create := plugin.CreateRequest{Properties: objectStore(map[string]any{"destinationPath": "a"})}
	_, err := kubernetes.Create(t.Context(), create)
	require.NoError(t, err)

	_, err = kubernetes.Create(t.Context(), create)

	require.ErrorContains(t, err, "create ObjectStore auth/store: the object exists already")
}
