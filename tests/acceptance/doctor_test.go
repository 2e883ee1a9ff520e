//go:build acceptance

package acceptance

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
)

// doctor is the program, a project for it, and the rights that it has.
type doctor struct{ program, dir string }

// newDoctor builds it for a database in a namespace, with stores at two endpoints.
func newDoctor(t *testing.T, namespace, b2, nas string) doctor {
	t.Helper()
	dir := t.TempDir()
	d := doctor{program: filepath.Join(dir, "doctor"), dir: dir}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", d.program, ".")
	build.Dir = "../../doctor"
	output, err := build.CombinedOutput()
	require.NoError(t, err, string(output))
	for name, content := range map[string]string{
		"Pulumi.yaml": "name: cnpg-backup\nruntime: go\nmain: stacks\nstackConfigDir: stacks\n",
		"stacks/Pulumi.homelab.yaml": fmt.Sprintf(`config:
  cnpg-backup:b2: { bucket: homelab-cnpg-b2, region: us-west-002, endpoint: %q }
  cnpg-backup:minio: { bucket: homelab-postgres-backups, endpoint: %q, secret: nas-credentials }
  cnpg-backup:bitwarden: { store: bitwarden-backend, item: backblaze-b2-cnpg-offsite }
  cnpg-backup:databases:
    - name: wiki
      namespace: %s
      spec: { instances: 1, imageName: "ghcr.io/cloudnative-pg/postgresql:17.7", storage: { size: 1Gi } }
`, b2, nas, namespace),
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	return d
}

// run returns what it prints, and its exit code.
func (d doctor) run(t *testing.T, arguments ...string) ([]byte, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), d.program, append([]string{"-project", d.dir, "-stack", "homelab"}, arguments...)...)
	cmd.Env = []string{"KUBECONFIG=" + filepath.Join(d.dir, "kubeconfig")}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	printed, err := cmd.Output()
	if len(printed) == 0 {
		t.Log(complaint.String())
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return printed, exit.ExitCode()
	}
	require.NoError(t, err)
	return printed, 0
}

// allow gives it the rights that it prints.
func (d doctor) allow(t *testing.T, s *suite, arguments ...string) {
	t.Helper()
	manifests, _ := d.run(t, arguments...)
	file := filepath.Join(d.dir, "rbac.yaml")
	require.NoError(t, os.WriteFile(file, manifests, 0o600))
	rights, err := kube.ReadManifests(file)
	require.NoError(t, err)
	require.NoError(t, s.plane.Client().Apply(t.Context(), rights...))
}

// limited makes it be the account with these rights.
func (d doctor) limited(t *testing.T, s *suite, namespace string) *rest.Config {
	t.Helper()
	limited := rest.CopyConfig(s.plane.Admin())
	limited.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + namespace + ":cnpg-backup-doctor"}
	config, err := kube.Kubeconfig("doctor", limited)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(d.dir, "kubeconfig"), config, 0o600))
	return limited
}

// keys are the Secrets of both stores.
func (doctor) keys(namespace string) []*unstructured.Unstructured {
	var keys []*unstructured.Unstructured
	for _, name := range []string{"b2-cnpg-credentials", "nas-credentials"} {
		keys = append(keys, kube.Object("v1", "Secret", namespace, name, map[string]any{"stringData": map[string]any{
			"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
		}}))
	}
	return keys
}

// pod is the primary's, which no node runs.
func (doctor) pod(t *testing.T, namespace string) *unstructured.Unstructured {
	t.Helper()
	pod := kube.Object("v1", "Pod", namespace, "wiki-postgresql-1", map[string]any{"spec": map[string]any{
		"initContainers": []any{map[string]any{"name": "plugin-barman-cloud", "image": "a", "restartPolicy": "Always"}},
		"containers":     []any{map[string]any{"name": "postgres", "image": "a"}},
	}})
	require.NoError(t, unstructured.SetNestedMap(pod.Object,
		map[string]any{"cnpg.io/cluster": "wiki-postgresql", "cnpg.io/podRole": "instance"}, "metadata", "labels"))
	return pod
}

// testDoctor runs the doctor with the rights that it prints, and with no others:
// the API server says whether they are enough.
func (s *suite) testDoctor(t *testing.T) {
	const namespace = "checkup"
	// Nobody listens there.
	d := newDoctor(t, namespace, "http://127.0.0.1:1", "http://127.0.0.1:2")
	s.newNamespace(t, namespace)
	d.allow(t, s, "-rbac")
	require.NoError(t, s.plane.Client().Apply(t.Context(), append(d.keys(namespace), d.pod(t, namespace))...))
	d.limited(t, s, namespace)

	read := func(t *testing.T) (unread []string, codes [][]string) {
		t.Helper()
		printed, code := d.run(t, "-o", "json")
		require.Equal(t, 3, code, string(printed))
		var report struct {
			Databases []struct {
				Unread []string
				Copies []struct{ Findings []struct{ Code string } }
			}
		}
		require.NoError(t, json.Unmarshal(printed, &report), string(printed))
		require.Len(t, report.Databases, 1, string(printed))
		for _, one := range report.Databases[0].Copies {
			var found []string
			for _, finding := range one.Findings {
				found = append(found, finding.Code)
			}
			codes = append(codes, found)
		}
		return report.Databases[0].Unread, codes
	}
	t.Run("with its rights it reads everything", func(t *testing.T) {
		unread, codes := read(t)
		assert.Empty(t, unread)
		assert.Equal(t, [][]string{{"CB01", "CB91"}, {"CB01"}}, codes, "both Secrets were read, and there is no Cluster")
	})
	t.Run("without them it says what it could not read", func(t *testing.T) {
		binding := schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding"}
		bindings, err := s.plane.Client().Resource(binding, namespace)
		require.NoError(t, err)
		require.NoError(t, bindings.Delete(t.Context(), "cnpg-backup-doctor", metav1.DeleteOptions{}))
		unread, codes := read(t)
		assert.Len(t, unread, 10)
		assert.Equal(t, [][]string{nil, nil}, codes, "what it could not see it does not name")
	})
}

// testDoctorProves runs -prove with the rights that it prints beside the others, and
// without: the API server says whether they are enough. No node runs the primary's
// pod, so that a command in it is refused for that, once it is allowed.
func (s *suite) testDoctorProves(t *testing.T) {
	const namespace = "proof"
	// Two stores with nothing in them.
	var empty [2]*httptest.Server
	for i := range empty {
		empty[i] = httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
			_, _ = answer.Write([]byte(`<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>`))
		}))
		t.Cleanup(empty[i].Close)
	}
	d := newDoctor(t, namespace, empty[0].URL, empty[1].URL)
	s.newNamespace(t, namespace)
	cluster := kube.Object("postgresql.cnpg.io/v1", "Cluster", namespace, "wiki-postgresql", map[string]any{"spec": map[string]any{
		"instances": int64(1), "storage": map[string]any{"size": "1Gi"},
	}})
	cluster.SetAnnotations(map[string]string{"cnpg.io/reconciliationLoop": "disabled"})
	require.NoError(t, s.plane.Client().Apply(t.Context(), append(d.keys(namespace), cluster, d.pod(t, namespace))...))
	clusters, err := s.plane.Client().Resource(cluster.GroupVersionKind(), namespace)
	require.NoError(t, err)
	_, err = clusters.Patch(t.Context(), cluster.GetName(), types.MergePatchType, []byte(`{"status":{"currentPrimary":"wiki-postgresql-1"}}`),
		metav1.PatchOptions{}, "status")
	require.NoError(t, err)
	limited := d.limited(t, s, namespace)
	client, err := dynamic.NewForConfig(limited)
	require.NoError(t, err)
	job := kube.Object("batch/v1", "Job", namespace, "wiki-postgresql-mirror-x", map[string]any{"spec": map[string]any{
		"template": map[string]any{"spec": map[string]any{
			"restartPolicy": "Never", "containers": []any{map[string]any{"name": "copy", "image": "a"}},
		}},
	}})
	try := func(t *testing.T, rights ...string) (untried string, made error) {
		t.Helper()
		d.allow(t, s, rights...)
		printed, code := d.run(t, "-prove", "-o", "json")
		assert.NotZero(t, code, string(printed))
		var report struct {
			Databases []struct {
				Copies []struct{ Proof struct{ Untried string } }
			}
		}
		require.NoError(t, json.Unmarshal(printed, &report), string(printed))
		_, made = client.Resource(schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}).Namespace(namespace).
			Create(t.Context(), job, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return report.Databases[0].Copies[0].Proof.Untried, made
	}
	t.Run("without the rights to prove it is refused", func(t *testing.T) {
		untried, made := try(t, "-rbac")
		assert.Contains(t, untried, `cannot create resource "pods/exec"`)
		assert.True(t, apierrors.IsForbidden(made), made)
	})
	t.Run("with them it comes as far as the node", func(t *testing.T) {
		untried, made := try(t, "-rbac", "-prove")
		assert.Contains(t, untried, "psql in pod wiki-postgresql-1: ")
		assert.Contains(t, untried, "does not have a host assigned")
		assert.NoError(t, made)
	})
}
