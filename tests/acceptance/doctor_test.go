//go:build acceptance

package acceptance

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
)

// testDoctor runs the doctor with the rights that it prints, and with no others:
// the API server says whether they are enough.
func (s *suite) testDoctor(t *testing.T) {
	const namespace = "checkup"
	dir := t.TempDir()
	doctor := filepath.Join(dir, "doctor")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", doctor, ".")
	build.Dir = "../../doctor"
	output, err := build.CombinedOutput()
	require.NoError(t, err, string(output))
	for name, content := range map[string]string{
		"Pulumi.yaml": "name: cnpg-backup\nruntime: go\nmain: stacks\nstackConfigDir: stacks\n",
		// Nobody listens there.
		"stacks/Pulumi.homelab.yaml": `config:
  cnpg-backup:b2: { bucket: homelab-cnpg-b2, region: us-west-002, endpoint: "http://127.0.0.1:1" }
  cnpg-backup:minio: { bucket: homelab-postgres-backups, endpoint: "http://127.0.0.1:2", secret: nas-credentials }
  cnpg-backup:bitwarden: { store: bitwarden-backend, item: backblaze-b2-cnpg-offsite }
  cnpg-backup:databases:
    - name: wiki
      namespace: checkup
      spec: { instances: 1, imageName: "ghcr.io/cloudnative-pg/postgresql:17.7", storage: { size: 1Gi } }
`,
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	run := func(t *testing.T, arguments ...string) ([]byte, int) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), doctor, append([]string{"-project", dir, "-stack", "homelab"}, arguments...)...)
		cmd.Env = []string{"KUBECONFIG=" + filepath.Join(dir, "kubeconfig")}
		printed, err := cmd.Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return printed, exit.ExitCode()
		}
		require.NoError(t, err)
		return printed, 0
	}

	s.newNamespace(t, namespace)
	manifests, _ := run(t, "-rbac")
	file := filepath.Join(dir, "rbac.yaml")
	require.NoError(t, os.WriteFile(file, manifests, 0o600))
	rights, err := kube.ReadManifests(file)
	require.NoError(t, err)
	objects := rights
	labels := map[string]any{"cnpg.io/cluster": "wiki-postgresql", "cnpg.io/podRole": "instance"}
	pod := kube.Object("v1", "Pod", namespace, "wiki-postgresql-1", map[string]any{"spec": map[string]any{
		"initContainers": []any{map[string]any{"name": "plugin-barman-cloud", "image": "a", "restartPolicy": "Always"}},
		"containers":     []any{map[string]any{"name": "postgres", "image": "a"}},
	}})
	require.NoError(t, unstructured.SetNestedMap(pod.Object, labels, "metadata", "labels"))
	objects = append(objects, pod)
	for _, name := range []string{"b2-cnpg-credentials", "nas-credentials"} {
		objects = append(objects, kube.Object("v1", "Secret", namespace, name, map[string]any{"stringData": map[string]any{
			"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
		}}))
	}
	require.NoError(t, s.plane.Client().Apply(t.Context(), objects...))

	limited := rest.CopyConfig(s.plane.Admin())
	limited.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + namespace + ":cnpg-backup-doctor"}
	config, err := kube.Kubeconfig("doctor", limited)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kubeconfig"), config, 0o600))

	read := func(t *testing.T) (unread []string, codes [][]string) {
		t.Helper()
		printed, code := run(t, "-o", "json")
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
