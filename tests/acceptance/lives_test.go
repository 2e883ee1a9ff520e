//go:build acceptance

package acceptance

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
)

// lives are the databases that testLives tries to change, without protection:
// nothing but the program itself keeps their Clusters.
func lives() map[string]string {
	return map[string]string{
		"named":  `{spec: {bootstrap: {initdb: {database: shop, owner: shop}}}}`,
		"plain":  `{}`,
		"second": `{generation: 2, recovery: {source: minio}}`,
	}
}

// changes are what is tried on a Cluster that lives, and a part of the refusal;
// "" means that the change is accepted. Each kind of refusal is there once, with what
// the operator's webhook has made of the Cluster; life_test.go in components/cnpg has
// them all.
func changes() []struct{ name, database, patch, refusal string } {
	const (
		asked = "The operator reads that only when it creates a Cluster"
		moved = "within one life"
	)
	return []struct{ name, database, patch, refusal string }{
		{"recovery added, with initdb", "named", `{generation: 2, recovery: {source: minio}}`, asked},
		{"recovery added, without bootstrap", "plain", `{generation: 2, recovery: {source: minio}}`, asked},
		{"recovery removed", "second", `{recovery: null}`, asked},
		{"archive without generation", "plain", `{archive: minio}`, moved},
		{"another path", "plain", `{path: elsewhere}`, "The archive would go on in a folder"},
		{"generation raised", "plain", `{generation: 2}`, ""},
		{"archive with generation", "plain", `{archive: minio, generation: 2}`, ""},
		{"archive with generation, recovery in place", "second", `{archive: minio, generation: 3}`, ""},
		{"generation raised, recovery said", "second", `{generation: 3, recovery: {generation: 1}}`, ""},
		{"another path with generation", "plain", `{path: elsewhere, generation: 2}`, ""},
		{"nothing", "second", `{}`, ""},
	}
}

// testLives shows for each change of a Cluster that lives whether a preview
// refuses it, and that the ways around end with a Cluster.
func (s *suite) testLives(t *testing.T) {
	s.newNamespace(t, "external-secrets")
	s.newNamespace(t, "lives")
	l := &livesTest{suite: s}
	l.box = s.newBox(t, sandbox.Options{Project: root, Stack: "lives", Config: l.config(t, "", "")})
	l.box.must(t, "up", l.box.Up)

	for _, change := range changes() {
		t.Run(change.name, func(t *testing.T) {
			patch := change.patch
			require.NoError(t, l.box.Configure(t.Context(), l.config(t, change.database, patch)))
			preview, err := l.box.Preview(t.Context())
			if change.refusal == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Contains(t, preview.Output, change.refusal)
			assert.Contains(t, preview.Output, `database "`+change.database+`": refused`)
			assert.Contains(t, preview.Output, "Two ways out")
		})
	}
	t.Run("by force", l.byForce)
	t.Run("lost", l.lost)
	t.Run("lost, and asked for as it was", l.lostAsItWas)
	require.NoError(t, l.box.Configure(t.Context(), l.config(t, "", "")))
	l.box.destroyAll(t)
}

type livesTest struct {
	*suite
	box *box
	// upsert sets the plugin's upsertExistingObjects.
	upsert bool
}

// config is that of all databases, with a change of one of them.
func (l *livesTest) config(t *testing.T, changed, patch string) map[string]any {
	t.Helper()
	config := storage(t)
	if l.upsert {
		config["kubernetes:upsertExistingObjects"] = "true"
	}
	var databases []any
	for _, name := range []string{"named", "plain", "second"} {
		database := merge(t, fromYAML(t, `
namespace: lives
protect: false
spec: {instances: 1, imageName: 'ghcr.io/cloudnative-pg/postgresql:17.7', storage: {size: 5Gi}}
`), fromYAML(t, lives()[name]))
		database["name"] = name
		if name == changed {
			database = merge(t, database, fromYAML(t, patch))
		}
		databases = append(databases, maps.Clone(database))
	}
	config["cnpg-backup:databases"] = databases
	return config
}

// patchDatabase changes a database of a configuration.
func patchDatabase(t *testing.T, config map[string]any, index int, patch string) {
	t.Helper()
	databases := config["cnpg-backup:databases"].([]any)
	databases[index] = merge(t, databases[index].(map[string]any), fromYAML(t, patch))
}

// byForce is what pulumi's and the plugin's own messages propose: it must not
// cost a Cluster either.
func (l *livesTest) byForce(t *testing.T) {
	l.upsert = true
	defer func() { l.upsert = false }()
	cluster, job := l.object(t, clusterKind(), "named-postgresql"), l.object(t, cronJobKind(), "named-postgresql-mirror")
	require.NoError(t, l.box.Configure(t.Context(), l.config(t, "named", `{generation: 2, recovery: {source: minio}}`)))

	for _, args := range [][]string{nil, {"--target", "**named-cluster"}} {
		_, err := l.box.Up(t.Context(), args...)
		require.ErrorContains(t, err, "refused, because Cluster lives/named-postgresql exists")
	}

	after := l.object(t, clusterKind(), "named-postgresql")
	assert.Equal(t, cluster.GetUID(), after.GetUID())
	assert.Equal(t, cluster.GetGeneration(), after.GetGeneration(), "nothing of it has changed")
	assert.Equal(t, job.GetGeneration(), l.object(t, cronJobKind(), "named-postgresql-mirror").GetGeneration(), "nor of its mirror")
}

// lost is a Cluster that is gone without Pulumi's knowledge.
func (l *livesTest) lost(t *testing.T) {
	require.NoError(t, l.plane.Client().Release(t.Context(), clusterKind(), "lives", "named-postgresql"))
	require.NoError(t, l.box.Configure(t.Context(), l.config(t, "named", `{generation: 2, recovery: {source: minio}}`)))

	for what, run := range map[string]run{"preview": l.box.Preview, "up": l.box.Up} {
		result, err := run(t.Context())
		require.Error(t, err, what)
		assert.Contains(t, result.Output, "pulumi refresh --stack lives")
	}
	l.box.must(t, "refresh", l.box.Refresh)
	l.box.must(t, "up", l.box.Up)
	source, _, err := unstructured.NestedString(
		l.object(t, clusterKind(), "named-postgresql").Object, "spec", "bootstrap", "recovery", "source")
	require.NoError(t, err)
	assert.Equal(t, "named-recovery", source)
	l.box.assertNoChanges(t)

	require.NoError(t, l.plane.Client().Release(t.Context(), clusterKind(), "lives", "plain-postgresql"))
	config := l.config(t, "named", `{generation: 2, recovery: {source: minio}}`)
	patchDatabase(t, config, 1, `{generation: 2, recovery: {source: b2}}`)
	config["kubernetes:upsertExistingObjects"] = "true"
	require.NoError(t, l.box.Configure(t.Context(), config))
	l.box.must(t, "replaced by hand", l.box.Up, "--replace", "**plain-cluster")
	l.object(t, clusterKind(), "plain-postgresql")
}

// lostAsItWas is a Cluster that is gone, with Pulumi's knowledge, and a
// configuration that would make it once more.
func (l *livesTest) lostAsItWas(t *testing.T) {
	config := l.config(t, "named", `{generation: 2, recovery: {source: minio}}`)
	patchDatabase(t, config, 1, `{generation: 2, recovery: {source: b2}}`)
	require.NoError(t, l.box.Configure(t.Context(), config))
	l.box.must(t, "up", l.box.Up)
	store := schema.GroupVersionKind{Group: "barmancloud.cnpg.io", Version: "v1", Kind: "ObjectStore"}
	require.NoError(t, l.plane.Client().PatchStatus(t.Context(), store, "lives", "second-b2-store", []byte(
		`{"status": {"serverRecoveryWindow": {"second-postgresql-2": {"firstRecoverabilityPoint": "2026-01-01T00:00:00Z"}}}}`)))
	require.NoError(t, l.plane.Client().Release(t.Context(), clusterKind(), "lives", "second-postgresql"))
	l.box.must(t, "refresh", l.box.Refresh)

	for what, run := range map[string]run{"preview": l.box.Preview, "up": l.box.Up} {
		result, err := run(t.Context())
		require.Error(t, err, what)
		assert.Contains(t, result.Output, "refused, because Cluster lives/second-postgresql is lost", what)
		assert.Contains(t, result.Output, "generation: 3, and recovery stays", what)
	}
	patchDatabase(t, config, 2, `{generation: 3}`)
	require.NoError(t, l.box.Configure(t.Context(), config))
	l.box.must(t, "restored", l.box.Up)
	l.object(t, clusterKind(), "second-postgresql")
}

func (l *livesTest) object(t *testing.T, kind schema.GroupVersionKind, name string) *unstructured.Unstructured {
	t.Helper()
	object, err := l.plane.Client().Get(t.Context(), kind, "lives", name)
	require.NoError(t, err)
	return object
}

func cronJobKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "CronJob"}
}
