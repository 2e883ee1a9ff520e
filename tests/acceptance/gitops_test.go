//go:build acceptance

package acceptance

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
)

// gitOpsConfig is the configuration that docs/gitops.md asks for: what is no
// Kubernetes object was made by hand.
const gitOpsConfig = `
cnpg-backup:b2:        {bucket: acceptance-cnpg-b2, region: us-west-002, adoptBucket: true, adoptKey: acceptance-cnpg-b2}
cnpg-backup:minio:     {bucket: acceptance-postgres-backups, endpoint: "https://nas.example.org:9000", secret: minio-credentials, adoptBucket: true}
cnpg-backup:bitwarden: {store: bitwarden-backend, item: acceptance-b2}
cnpg-backup:databases:
  - name: files
    namespace: gitops
    waitUntilReady: true
    spec:
      imageName: ghcr.io/cloudnative-pg/postgresql:17.7
      storage: {size: 20Gi, storageClass: longhorn}
      resources: {requests: {cpu: 1000m, memory: 1024Mi}}
  - name: notes
    namespace: gitops
    archive: minio
    protect: false
    recovery: {source: b2, cluster: old-postgresql}
    spec:
      imageName: ghcr.io/cloudnative-pg/postgresql:17.7
      storage: {size: 5Gi}
`

// testGitOps applies what make render writes without Pulumi: kustomize reads it,
// and each object is applied as Argo CD and Flux do, by server-side apply.
func (s *suite) testGitOps(t *testing.T) {
	s.newNamespace(t, "gitops")
	folder := t.TempDir()
	result, err := sandbox.Render(t.Context(), sandbox.Options{
		Project: root, Stack: "gitops", Config: fromYAML(t, gitOpsConfig), Binary: filepath.Join(t.TempDir(), "program"),
	}, folder)
	require.NoError(t, err)
	require.Empty(t, result.LeftOut, "an adopted key is in no manifest")
	objects := build(t, folder)
	require.Len(t, objects, len(result.Manifests))

	heard := &warnings{}
	config := s.plane.Admin()
	config.WarningHandler = heard
	client, err := kube.NewClient(config, "tests")
	require.NoError(t, err)
	require.NoError(t, client.Apply(t.Context(), objects...))
	assert.Empty(t, heard.texts, "admission warnings")
	s.assertReconciled(t, "gitops/files-postgresql")
	s.assertReconciled(t, "gitops/notes-postgresql")

	before := s.generations(t, objects)
	require.NoError(t, client.Apply(t.Context(), objects...))
	assert.Equal(t, before, s.generations(t, objects), "to apply it again changes nothing")
	assert.Empty(t, heard.texts, "admission warnings")
}

// build reads a folder as kustomize does.
func build(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	require.NoError(t, err)
	objects := make([]*unstructured.Unstructured, 0, built.Size())
	for _, resource := range built.Resources() {
		text, err := resource.AsYAML()
		require.NoError(t, err)
		object := &unstructured.Unstructured{}
		require.NoError(t, yaml.Unmarshal(text, &object.Object))
		objects = append(objects, object)
	}
	return objects
}

// generations count the changes of each object's spec.
func (s *suite) generations(t *testing.T, objects []*unstructured.Unstructured) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	for _, object := range objects {
		live, err := s.plane.Client().Get(t.Context(), object.GroupVersionKind(), object.GetNamespace(), object.GetName())
		require.NoError(t, err)
		found[describe(object.GetKind(), object.GetNamespace(), object.GetName())] = live.GetGeneration()
	}
	return found
}
