//go:build acceptance

package acceptance

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

// adoptedDatabase describes the database of testdata/gitops.yaml. Its spec is
// pasted from there, without what the component writes; the cluster has no WAL
// volume and is not to get one now. Of what is there it leaves out a label, an
// annotation and enablePDB.
const adoptedDatabase = `
- name: authentik
  namespace: %s
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

// testAdopt takes over running databases that other tools made, as
// docs/adopt.md tells it and with its commands: the objects are imported, the
// pods that run stay as they are, nothing is lost that was not shown before, and
// nothing is forced in the end.
func (s *suite) testAdopt(t *testing.T) {
	s.newNamespace(t, "external-secrets")
	guide := readGuide(t)
	kubectl, err := tools.Kubectl().Build(t.Context(), t.Output())
	require.NoError(t, err)
	for _, way := range []struct {
		stack, manager string
		apply          []string
		// conflicts is what the tool keeps for itself.
		conflicts string
		// loses is what the first up drops.
		loses []string
	}{
		{
			stack: "gitops", manager: "argocd-controller",
			apply:     []string{"apply", "--server-side", "--field-manager=argocd-controller"},
			conflicts: `conflict with "argocd-controller": .spec.postgresql.parameters.max_connections`,
		},
		{
			stack: "kubectl", manager: "kubectl-client-side-apply",
			apply: []string{"apply"},
			loses: []string{
				"app.kubernetes.io/managed-by: gitops", "enablePDB: false", "example.org/note: ask before you restart it",
			},
		},
	} {
		t.Run(way.stack, func(t *testing.T) {
			a := s.newAdoption(t, way.stack, kubectl)
			a.kubectl(t, append(way.apply, "-f", a.manifests)...)
			s.waitForFirstPrimary(t, a.namespace, "authentik-postgresql")
			s.finishFirstJob(t, a.namespace, "authentik-postgresql-1-initdb")
			before := s.waitForPod(t, a.namespace, "authentik-postgresql-1", "")
			found := s.lives(t, a.existing)

			shown := a.run(t, guide.compare)
			a.box.importExisting(t, a.existing)
			_, err := a.box.Preview(t.Context())
			require.ErrorContains(t, err, "conflict", "the fields are not Pulumi's yet")
			a.assertArchiveStays(t)
			a.configure(t, "100", true)
			a.assertNothingIsMadeAnew(t)
			a.box.must(t, "up", a.box.Up)
			assert.Empty(t, a.box.warnings.texts, "admission warnings")
			a.box.assertNoChanges(t)

			lost := lostLines(t, found, s.lives(t, a.existing))
			assert.Subset(t, removedLines(shown), lost, "what is lost was shown before it was")
			assert.Subset(t, lost, way.loses)
			if way.conflicts != "" {
				a.configure(t, "200", false)
				_, err = a.box.Preview(t.Context())
				require.ErrorContains(t, err, way.conflicts, "what is equal is still owned by both")
			}

			kept := s.lives(t, a.existing)
			a.run(t, strings.ReplaceAll(guide.end, "old=argocd-controller", "old="+way.manager))
			assert.Empty(t, lostLines(t, kept, s.lives(t, a.existing)), "that nobody else owns it changes nothing")
			a.configure(t, "200", false)
			assert.Equal(t, []string{"update authentik-cluster"}, summary(a.box.must(t, "preview", a.box.Preview)))
			a.box.must(t, "up without force", a.box.Up)
			a.box.assertNoChanges(t)

			assert.Equal(t, uidsOf(found), uidsOf(s.lives(t, a.existing)), "no object was made anew")
			a.configure(t, "100", false)
			a.box.must(t, "up", a.box.Up)
			// The operator restarts a pod whose spec is no longer what it would make.
			s.remake(t, a.namespace, "authentik-postgresql-1")
			after := s.waitForPod(t, a.namespace, "authentik-postgresql-1", before.uid)
			assert.NotContains(t, after.labels, "recurring-job.longhorn.io/source", "the Cluster's labels are its own")
			assert.JSONEq(t, before.spec, after.spec, "the operator would make the same pod again, so it restarts none")
		})
	}
}

// guide has the commands of docs/adopt.md that the test runs.
type guide struct{ compare, end string }

func readGuide(t *testing.T) guide {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "docs", "adopt.md"))
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)\n *```sh\n(.*?\n) *```\n").FindAllStringSubmatch(string(content), -1)
	require.Len(t, blocks, 2, "docs/adopt.md has the comparison and the end of forcing as blocks of sh")
	return guide{compare: blocks[0][1], end: blocks[1][1]}
}

// adoption is one database on its way to Pulumi.
type adoption struct {
	*suite
	box       *box
	namespace string
	// manifests is the file with the existing objects, rendered the folder with
	// those that the configuration describes.
	manifests, rendered string
	existing            []*unstructured.Unstructured
	program, kubeconfig string
}

func (s *suite) newAdoption(t *testing.T, stack, kubectl string) *adoption {
	t.Helper()
	dir := t.TempDir()
	a := &adoption{
		suite: s, namespace: "adopted-" + stack, program: kubectl,
		manifests: filepath.Join(dir, "gitops.yaml"), kubeconfig: filepath.Join(dir, "kubeconfig"),
	}
	s.newNamespace(t, a.namespace)
	content, err := kube.Kubeconfig("adopt", s.plane.Admin())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(a.kubeconfig, content, 0o600))
	content, err = os.ReadFile("testdata/gitops.yaml")
	require.NoError(t, err)
	gitops := strings.ReplaceAll(string(content), "adopted", a.namespace)
	gitops = strings.ReplaceAll(gitops, "acceptance-cnpg-b2", a.bucket())
	require.NoError(t, os.WriteFile(a.manifests, []byte(gitops), 0o600))
	for document := range strings.SplitSeq(gitops, "\n---\n") {
		object := &unstructured.Unstructured{}
		require.NoError(t, yaml.Unmarshal([]byte(document), &object.Object))
		a.existing = append(a.existing, object)
	}
	folder := filepath.Join(dir, "rendered")
	a.rendered = filepath.Join(folder, a.namespace)
	_, err = sandbox.Render(t.Context(), sandbox.Options{
		Project: root, Stack: stack, Config: a.config(t, "100", false),
	}, folder)
	require.NoError(t, err)
	a.box = s.newBox(t, sandbox.Options{Project: root, Stack: stack, Config: a.config(t, "100", false)})
	return a
}

// bucket is the environment's own: two in one cluster share none.
func (a *adoption) bucket() string { return a.namespace + "-b2" }

func (a *adoption) config(t *testing.T, maxConnections string, force bool) map[string]any {
	t.Helper()
	config := storage(t)
	config["cnpg-backup:b2"].(map[string]any)["bucket"] = a.bucket()
	described := strings.ReplaceAll(fmt.Sprintf(adoptedDatabase, a.namespace), "'100'", "'"+maxConnections+"'")
	config["cnpg-backup:databases"] = listFromYAML(t, described)
	if force {
		config["kubernetes:enablePatchForce"] = "true"
	}
	return config
}

func (a *adoption) configure(t *testing.T, maxConnections string, force bool) {
	t.Helper()
	require.NoError(t, a.box.Configure(t.Context(), a.config(t, maxConnections, force)))
}

func (a *adoption) kubectl(t *testing.T, args ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), a.program, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+a.kubeconfig)
	printed, err := command.CombinedOutput()
	require.NoError(t, err, "%s", printed)
}

// run runs a block of the guide and returns what it prints. Its last command may
// say that there is nothing to compare with.
func (a *adoption) run(t *testing.T, block string) string {
	t.Helper()
	require.Contains(t, block, "rendered/homelab/auth/")
	script := strings.ReplaceAll(block, "rendered/homelab/auth", a.rendered)
	command := exec.CommandContext(t.Context(), "bash", "-c", script)
	command.Env = append(os.Environ(),
		"KUBECONFIG="+a.kubeconfig, "PATH="+filepath.Dir(a.program)+":"+os.Getenv("PATH"))
	printed, err := command.CombinedOutput()
	var failed *exec.ExitError
	if !errors.As(err, &failed) {
		require.NoError(t, err)
	}
	t.Logf("%s", printed)
	return string(printed)
}

// assertArchiveStays tries to adopt with another folder, server name and store
// than the database has: its archive would go on in an empty folder.
func (a *adoption) assertArchiveStays(t *testing.T) {
	t.Helper()
	for _, change := range []string{`{path: elsewhere}`, `{serverName: other}`, `{archive: minio}`} {
		wrong := a.config(t, "100", true)
		described := wrong["cnpg-backup:databases"].([]any)[0].(map[string]any)
		wrong["cnpg-backup:databases"] = []any{merge(t, described, fromYAML(t, change))}
		require.NoError(t, a.box.Configure(t.Context(), wrong))
		preview, err := a.box.Preview(t.Context())
		require.Error(t, err, change)
		assert.Contains(t, preview.Output, `database "authentik": refused`, change)
	}
}

// assertNothingIsMadeAnew looks for what the guide says no line may say.
func (a *adoption) assertNothingIsMadeAnew(t *testing.T) {
	t.Helper()
	for _, change := range a.box.must(t, "preview", a.box.Preview).Changes {
		assert.NotContains(t, change.Op, "replace", "%s", change)
		assert.NotContains(t, change.Op, "delete", "%s", change)
		for _, object := range a.existing {
			if strings.HasSuffix(change.Type, ":"+object.GetKind()) && change.Op == "create" {
				assert.NotEqual(t, a.namespace, object.GetNamespace(), "%s exists already", change)
			}
		}
	}
}

// removedLines are the lines that a diff takes away, without indentation.
func removedLines(diff string) []string {
	var removed []string
	for line := range strings.Lines(diff) {
		if line, found := strings.CutPrefix(line, "-"); found {
			removed = append(removed, strings.TrimSpace(line))
		}
	}
	return removed
}

// lostLines are the values of labels, annotations and specs that are no longer
// there, each as a line of YAML.
func lostLines(t *testing.T, before, after map[string]*unstructured.Unstructured) []string {
	t.Helper()
	lost := []string{}
	for name, object := range before {
		for _, path := range [][]string{{"metadata", "labels"}, {"metadata", "annotations"}, {"spec"}} {
			had, _, err := unstructured.NestedMap(object.Object, path...)
			require.NoError(t, err)
			has, _, err := unstructured.NestedMap(after[name].Object, path...)
			require.NoError(t, err)
			lost = append(lost, lostFrom(t, "", had, has)...)
		}
	}
	return lost
}

func lostFrom(t *testing.T, key string, had, has any) []string {
	t.Helper()
	var lost []string
	switch had := had.(type) {
	case map[string]any:
		has, _ := has.(map[string]any)
		for key, value := range had {
			lost = append(lost, lostFrom(t, key, value, has[key])...)
		}
	case []any:
		has, _ := has.([]any)
		for i, element := range had {
			if i < len(has) {
				lost = append(lost, lostFrom(t, "", element, has[i])...)
			} else {
				lost = append(lost, lostFrom(t, "", element, nil)...)
			}
		}
	default:
		if key == "kubectl.kubernetes.io/last-applied-configuration" || reflect.DeepEqual(had, has) {
			break
		}
		content, err := yaml.Marshal(map[string]any{key: had})
		require.NoError(t, err)
		lost = append(lost, strings.TrimSpace(string(content)))
	}
	return lost
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
	kind := schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}
	require.Eventually(t, func() bool {
		_, err := s.plane.Client().Get(t.Context(), kind, namespace, name)
		return err == nil
	}, reconciled, poll, "no job %s", name)
	require.NoError(t, s.plane.Client().PatchStatus(t.Context(), kind, namespace, name,
		[]byte(`{"status":`+string(completeStatus(t))+`}`)))
}

// lives are objects as they are now.
func (s *suite) lives(t *testing.T, objects []*unstructured.Unstructured) map[string]*unstructured.Unstructured {
	t.Helper()
	found := map[string]*unstructured.Unstructured{}
	for _, object := range objects {
		live, err := s.plane.Client().Get(t.Context(), object.GroupVersionKind(), object.GetNamespace(), object.GetName())
		require.NoError(t, err)
		found[describe(object.GetKind(), object.GetNamespace(), object.GetName())] = live
	}
	return found
}

func uidsOf(objects map[string]*unstructured.Unstructured) map[string]string {
	uids := map[string]string{}
	for name, object := range objects {
		uids[name] = string(object.GetUID())
	}
	return uids
}
