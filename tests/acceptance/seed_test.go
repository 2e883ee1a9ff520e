//go:build acceptance

package acceptance

import (
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// seed reads a file of the page that this project began with. Its text is the
// page's; only the indentation, which the page lost, is restored.
func seed(t *testing.T, name string, replacements ...string) []*unstructured.Unstructured {
	t.Helper()
	content, err := os.ReadFile("testdata/seed/" + name)
	require.NoError(t, err)
	text := strings.NewReplacer(replacements...).Replace(string(content))
	var objects []*unstructured.Unstructured
	for document := range strings.SplitSeq(strings.TrimPrefix(text, "---\n"), "\n---\n") {
		object := &unstructured.Unstructured{}
		require.NoError(t, yaml.Unmarshal([]byte(document), &object.Object))
		objects = append(objects, object)
	}
	return objects
}

// testSeed shows why this project does not write what the page says.
func (s *suite) testSeed(t *testing.T) {
	s.newNamespace(t, "auth")
	objects := seed(t, "authentik.yaml")

	t.Run("its Cluster is refused", func(t *testing.T) {
		cluster := find(t, objects, "Cluster", "authentik-postgresql")
		warnings, err := s.tryCreate(t, cluster)
		require.ErrorContains(t, err, "Cannot enable a WAL archiver plugin when barmanObjectStore is configured")
		require.Len(t, warnings, 1)
		assert.Contains(t, warnings[0], "Found usage in: spec.backup.barmanObjectStore, spec.externalClusters.0")
	})
	t.Run("its Cluster is accepted without spec.backup, with a warning", func(t *testing.T) {
		cluster := find(t, objects, "Cluster", "authentik-postgresql")
		unstructured.RemoveNestedField(cluster.Object, "spec", "backup")
		warnings, err := s.tryCreate(t, cluster)
		require.NoError(t, err)
		require.Len(t, warnings, 1)
		assert.Contains(t, warnings[0], "Native support for Barman Cloud backups and recovery is deprecated")
	})
	t.Run("its other objects are accepted", func(t *testing.T) {
		for _, object := range objects {
			if object.GetKind() == "Cluster" {
				continue
			}
			warnings, err := s.tryCreate(t, object)
			require.NoError(t, err, object.GetKind())
			assert.Empty(t, warnings, object.GetKind())
		}
	})
	t.Run("its recovery is refused", func(t *testing.T) {
		cluster := seed(t, "recovery.yaml",
			"<recovery-cluster-name>", "authentik-restored", "<external-cluster-name>", "authentik-b2-backup")[0]
		cluster.SetNamespace("auth")
		_, err := s.tryCreate(t, cluster)
		require.ErrorContains(t, err, "External cluster authentik-b2-backup not found")
		require.ErrorContains(t, err, "Size not configured")
	})
	t.Run("its second schedule is accepted with a warning, and refused by us", func(t *testing.T) {
		backup := find(t, objects, "ScheduledBackup", "authentik-postgresql-backup")
		require.NoError(t, unstructured.SetNestedField(backup.Object, "0 3 * * *", "spec", "schedule"))
		warnings, err := s.tryCreate(t, backup)
		require.NoError(t, err)
		assert.Equal(t, []string{"Schedule parameter may not have the right number of arguments (usually six arguments are needed)"}, warnings)

		_, err = render(t, authentik(t, map[string]any{"schedule": "0 3 * * *"}))
		require.ErrorContains(t, err, `did you mean "0 0 3 * * *"?`)
	})
	t.Run("a recovery source without a server name is accepted, and would restore from an empty folder", func(t *testing.T) {
		cluster := s.withoutServerName(t)
		_, err := s.tryCreate(t, cluster)
		require.NoError(t, err, "nothing but our own rendering keeps it out")
	})
	t.Run("what this project makes of it is accepted without a warning", func(t *testing.T) {
		rendered, err := render(t, authentik(t, nil))
		require.NoError(t, err)
		for _, object := range rendered {
			if object.GetNamespace() != "auth" {
				continue
			}
			warnings, err := s.tryCreate(t, object)
			require.NoError(t, err, object.GetKind())
			assert.Empty(t, warnings, object.GetKind())
		}
	})
}

// authentik is the page's database in the form of stack configuration, with the
// image's minor release pinned.
func authentik(t *testing.T, changes map[string]any) map[string]any {
	t.Helper()
	cluster := find(t, seed(t, "authentik.yaml"), "Cluster", "authentik-postgresql")
	spec := cluster.Object["spec"].(map[string]any)
	database := map[string]any{
		"name": "authentik", "namespace": "auth", "cluster": "authentik-postgresql",
		"schedule": "0 0 2 * * 0", "retention": "30d",
		"spec": map[string]any{
			"instances": spec["instances"], "storage": spec["storage"],
			"imageName": spec["imageName"].(string) + ".7",
		},
	}
	maps.Copy(database, changes)
	return database
}

// withoutServerName is a restored cluster whose recovery source lacks what we
// always write, the server name.
func (s *suite) withoutServerName(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	rendered, err := render(t, authentik(t, map[string]any{
		"generation": 2, "recovery": map[string]any{"source": "b2"},
	}))
	require.NoError(t, err)
	cluster := find(t, rendered, "Cluster", "authentik-postgresql")
	sources, _, err := unstructured.NestedSlice(cluster.Object, "spec", "externalClusters")
	require.NoError(t, err)
	require.NotEmpty(t, sources)
	for _, source := range sources {
		parameters, found, err := unstructured.NestedMap(source.(map[string]any), "plugin", "parameters")
		require.NoError(t, err)
		require.True(t, found)
		assert.NotEmpty(t, parameters["serverName"], "we write it")
		delete(parameters, "serverName")
		require.NoError(t, unstructured.SetNestedMap(source.(map[string]any), parameters, "plugin", "parameters"))
	}
	require.NoError(t, unstructured.SetNestedSlice(cluster.Object, sources, "spec", "externalClusters"))
	return cluster
}
