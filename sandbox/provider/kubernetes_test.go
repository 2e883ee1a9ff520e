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

// checked are an object's inputs as Check returns them.
func checked(t *testing.T, kubernetes *provider.Kubernetes, object resource.PropertyMap) resource.PropertyMap {
	t.Helper()
	response, err := kubernetes.Check(t.Context(), plugin.CheckRequest{URN: urnOf("kubernetes:any/v1:Any"), News: object})
	require.NoError(t, err)
	return response.Properties
}

// stateOf is what is recorded of an object that an API server has changed.
func stateOf(inputs, live resource.PropertyMap) resource.PropertyMap {
	state := live.Copy()
	state["__inputs"] = resource.NewProperty(inputs)
	return state
}

func TestKubernetesReplacesWhatTheRealProviderReplaces(t *testing.T) {
	kubernetes, _ := newKubernetes(t)
	store := objectStore(map[string]any{"destinationPath": "a"})
	for _, test := range []struct {
		name         string
		old, updated resource.PropertyMap
		want         map[string]plugin.DiffKind
		deleteFirst  bool
	}{
		{
			"a field of a custom resource", store, objectStore(map[string]any{"destinationPath": "b"}),
			map[string]plugin.DiffKind{"spec.configuration.destinationPath": plugin.DiffUpdate}, false,
		},
		{
			"what a Secret holds", secret("a", "old"), secret("a", "new"),
			map[string]plugin.DiffKind{"data.KEY": plugin.DiffUpdateReplace}, true,
		},
		{
			"the name of an object", secret("a", "old"), secret("b", "old"),
			map[string]plugin.DiffKind{"metadata.name": plugin.DiffUpdateReplace}, false,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			old := checked(t, kubernetes, test.old)
			diff, err := kubernetes.Diff(t.Context(), plugin.DiffRequest{
				OldOutputs: stateOf(old, old), NewInputs: checked(t, kubernetes, test.updated),
			})

			require.NoError(t, err)
			kinds := map[string]plugin.DiffKind{}
			for path, change := range diff.DetailedDiff {
				kinds[path] = change.Kind
			}
			assert.Equal(t, test.want, kinds)
			assert.Equal(t, test.deleteFirst, diff.DeleteBeforeReplace)
		})
	}
}

// TestKubernetesSeesWhatAServerChanged shows that a value that the program sets
// and something else rewrites is a difference, and one that it does not set none.
func TestKubernetesSeesWhatAServerChanged(t *testing.T) {
	kubernetes, _ := newKubernetes(t)
	inputs := objectStore(map[string]any{"destinationPath": "a"})
	defaulted := objectStore(map[string]any{"destinationPath": "a", "wal": map[string]any{"maxParallel": 1}})
	rewritten := objectStore(map[string]any{"destinationPath": "A"})

	same, err := kubernetes.Diff(t.Context(), plugin.DiffRequest{
		OldOutputs: stateOf(inputs, defaulted), NewInputs: inputs,
	})
	require.NoError(t, err)
	assert.Equal(t, plugin.DiffNone, same.Changes)

	different, err := kubernetes.Diff(t.Context(), plugin.DiffRequest{
		OldOutputs: stateOf(inputs, rewritten), NewInputs: inputs,
	})
	require.NoError(t, err)
	assert.Contains(t, different.DetailedDiff, "spec.configuration.destinationPath")
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
