//go:build acceptance

package acceptance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/sandbox"
)

// adoptedDatabase describes the database of testdata/gitops.yaml. Its spec is
// pasted from there, without what the component writes; the cluster has no WAL
// volume and is not to get one now.
const adoptedDatabase = `
- name: authentik
  namespace: adopted
  cluster: authentik-postgresql
  schedule: "0 0 2 * * 0"
  walOnDataVolume: true
  labels: {recurring-job.longhorn.io/source: enabled}
  annotations: {argocd.argoproj.io/sync-wave: "-5", cnpg.io/hibernation: "off"}
  spec:
    instances: 1
    imageName: ghcr.io/cloudnative-pg/postgresql:17.7
    storage: {size: 20480Mi, storageClass: longhorn}
    resources: {requests: {cpu: 500m, memory: 1024Mi}}
    postgresql: {parameters: {max_connections: '100', shared_buffers: '256MB'}}
`

// testAdopt takes over a running database that another tool made, as
// docs/adopt.md tells it: the objects are imported, and the pod that runs stays as it is.
func (s *suite) testAdopt(t *testing.T) {
	s.newNamespace(t, "external-secrets")
	s.newNamespace(t, "adopted")
	existing := s.gitOps(t)
	s.waitForFirstPrimary(t, "adopted", "authentik-postgresql")
	s.finishFirstJob(t, "adopted", "authentik-postgresql-1-initdb")
	before := s.waitForPod(t, "adopted", "authentik-postgresql-1", "")
	uids := s.uids(t, existing)

	config := map[string]any{}
	for key, value := range fromYAML(t, storageConfig) {
		config["cnpg-backup:"+key] = value
	}
	var databases []any
	require.NoError(t, yaml.Unmarshal([]byte(adoptedDatabase), &databases))
	config["cnpg-backup:databases"] = databases
	// The objects' fields belong to the tool that made them.
	config["kubernetes:enablePatchForce"] = "true"
	b := s.newBox(t, sandbox.Options{Project: root, Stack: "adopted", Config: config})

	b.importExisting(t, existing)
	preview := b.must(t, "preview", b.Preview)
	for _, change := range preview.Changes {
		assert.NotContains(t, change.Op, "replace", "%s", change)
		assert.NotContains(t, change.Op, "delete", "%s", change)
		for _, object := range existing {
			if strings.HasSuffix(change.Type, ":"+object.GetKind()) && change.Op == "create" {
				assert.NotEqual(t, "adopted", object.GetNamespace(), "%s exists already", change)
			}
		}
	}
	b.must(t, "up", b.Up)
	assert.Empty(t, b.warnings.texts, "admission warnings")
	b.assertNoChanges(t)

	assert.Equal(t, uids, s.uids(t, existing), "no object was made anew")
	// The operator restarts a pod whose spec is no longer what it would make.
	s.remake(t, "adopted", "authentik-postgresql-1")
	after := s.waitForPod(t, "adopted", "authentik-postgresql-1", before.uid)
	assert.NotContains(t, after.labels, "recurring-job.longhorn.io/source", "the Cluster's labels are its own")
	assert.JSONEq(t, before.spec, after.spec, "the operator would make the same pod again, so it restarts none")
}

// gitOps applies the objects as kubectl and the GitOps tools do.
func (s *suite) gitOps(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	content, err := os.ReadFile("testdata/gitops.yaml")
	require.NoError(t, err)
	var objects []*unstructured.Unstructured
	for document := range strings.SplitSeq(string(content), "\n---\n") {
		object := &unstructured.Unstructured{}
		require.NoError(t, yaml.Unmarshal([]byte(document), &object.Object))
		objects = append(objects, object)
	}
	require.NoError(t, s.plane.Client().Apply(t.Context(), objects...))
	return objects
}

// importExisting follows docs/adopt.md: Pulumi lists what it would create, the
// entries of what exists get their IDs, the others are left out.
func (b *box) importExisting(t *testing.T, existing []*unstructured.Unstructured) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "adopt.json")
	b.must(t, "preview", b.Preview, "--import-file", file)
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	var list struct {
		NameTable map[string]any   `json:"nameTable,omitempty"`
		Resources []map[string]any `json:"resources"`
	}
	require.NoError(t, json.Unmarshal(content, &list))
	var imported int
	list.Resources = slices.DeleteFunc(list.Resources, func(entry map[string]any) bool {
		if entry["component"] == true {
			return false
		}
		for _, object := range existing {
			suffix := ":" + object.GetKind()
			name, _ := entry["logicalName"].(string)
			if name == "" {
				name, _ = entry["name"].(string)
			}
			if strings.HasSuffix(entry["type"].(string), suffix) && isEntryOf(name, object) {
				entry["id"] = object.GetNamespace() + "/" + object.GetName()
				imported++
				return false
			}
		}
		return true
	})
	require.Equal(t, len(existing), imported, "every existing object has its entry")
	content, err = json.Marshal(list)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, content, 0o600))
	_, err = b.Run(t.Context(), "import", "--file", file, "--yes", "--generate-code=false", "--protect=false", "--skip-preview")
	require.NoError(t, err)
}

// isEntryOf matches the name of a resource with the object that it is.
func isEntryOf(name string, object *unstructured.Unstructured) bool {
	switch object.GetKind() {
	case "ObjectStore":
		return name == object.GetName()
	default:
		return true // there is one of each other kind
	}
}

// pod is the part of a pod that the operator compares.
type pod struct {
	uid, spec string
	labels    map[string]string
}

// waitForPod waits for a pod that is not the old one.
func (s *suite) waitForPod(t *testing.T, namespace, name, old string) pod {
	t.Helper()
	var found pod
	require.Eventually(t, func() bool {
		object, err := s.plane.Client().Get(t.Context(), coreKind("Pod"), namespace, name)
		if err != nil || string(object.GetUID()) == old {
			return false
		}
		found = pod{uid: string(object.GetUID()), spec: object.GetAnnotations()["cnpg.io/podSpec"], labels: object.GetLabels()}
		return found.spec != ""
	}, reconciled, poll, "the operator makes no pod %s", name)
	return found
}

// remake deletes a pod, so that the operator makes it anew.
func (s *suite) remake(t *testing.T, namespace, name string) {
	t.Helper()
	require.NoError(t, s.plane.Client().Release(t.Context(), coreKind("Pod"), namespace, name))
}

// finishFirstJob says of the job that makes the first instance that it is done,
// which a node would have to do, so that the operator goes on to the pod.
func (s *suite) finishFirstJob(t *testing.T, namespace, name string) {
	t.Helper()
	now := time.Now().UTC().Format(time.RFC3339)
	condition := func(kind string) map[string]any {
		return map[string]any{
			"type": kind, "status": "True", "reason": "CompletionsReached", "message": "done by the test",
			"lastTransitionTime": now, "lastProbeTime": now,
		}
	}
	status, err := json.Marshal(map[string]any{"status": map[string]any{
		"succeeded": 1, "startTime": now, "completionTime": now,
		"conditions": []any{condition("SuccessCriteriaMet"), condition("Complete")},
	}})
	require.NoError(t, err)
	kind := schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}
	require.Eventually(t, func() bool {
		_, err := s.plane.Client().Get(t.Context(), kind, namespace, name)
		return err == nil
	}, reconciled, poll, "no job %s", name)
	require.NoError(t, s.plane.Client().PatchStatus(t.Context(), kind, namespace, name, status))
}

func (s *suite) uids(t *testing.T, objects []*unstructured.Unstructured) map[string]string {
	t.Helper()
	uids := map[string]string{}
	for _, object := range objects {
		live, err := s.plane.Client().Get(t.Context(), object.GroupVersionKind(), object.GetNamespace(), object.GetName())
		require.NoError(t, err)
		uids[describe(object.GetKind(), object.GetNamespace(), object.GetName())] = string(live.GetUID())
	}
	return uids
}
