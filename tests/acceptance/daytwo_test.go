//go:build acceptance

package acceptance

import (
	"maps"
	"strings"
	"testing"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
)

const (
	dayTwoDatabases = `
- name: shop
  namespace: daytwo
  spec:
    instances: 1
    imageName: ghcr.io/cloudnative-pg/postgresql:17.7
    storage: {size: 20Gi, storageClass: fast}
    resources: {requests: {cpu: 1000m, memory: 1024Mi}}
    bootstrap: {initdb: {database: shop, owner: shop}}
`
	secondDatabase = `
name: blog
namespace: daytwo
spec:
  instances: 1
  imageName: ghcr.io/cloudnative-pg/postgresql:17.7
  storage: {size: 5Gi}
`
	restoredDatabase = `
name: shop-restored
namespace: daytwo
recovery:
  source: b2
  cluster: shop-postgresql
  target: {targetTime: "2026-01-15T12:00:00+01:00"}
spec:
  instances: 1
  imageName: ghcr.io/cloudnative-pg/postgresql:17.7
  storage: {size: 20Gi, storageClass: fast}
  bootstrap: {initdb: {database: shop, owner: shop}}
`
)

// dayTwo is one environment whose configuration is edited again and again.
type dayTwo struct {
	*suite
	box       *box
	config    map[string]any
	databases []any
}

// testDayTwo shows what each change of a running environment touches. No step
// may make a Cluster anew: that would delete its volumes.
func (s *suite) testDayTwo(t *testing.T) {
	s.newNamespace(t, "external-secrets")
	s.newNamespace(t, "daytwo")
	d := &dayTwo{suite: s, config: storage(t), databases: listFromYAML(t, dayTwoDatabases)}
	d.config["cnpg-backup:databases"] = d.databases
	d.box = s.newBox(t, sandbox.Options{
		Project: root, Stack: "daytwo", Config: d.config,
	})
	d.box.must(t, "up", d.box.Up)
	s.assertReconciled(t, "daytwo/shop-postgresql")
	uid := d.cluster(t).UID

	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"grow the storage", d.growStorage},
		{"shrink the storage", d.shrinkStorage},
		{"change a parameter", d.changeParameter},
		{"change the schedule", d.changeSchedule},
		{"add a database", d.addDatabase},
		{"remove a database", d.removeDatabase},
		{"restore beside the old cluster", d.restoreBeside},
		{"switch the archive", d.switchArchive},
	} {
		if !t.Run(step.name, func(t *testing.T) {
			step.run(t)
			assert.Equal(t, uid, d.cluster(t).UID, "it is the same Cluster as before")
			d.box.assertNoChanges(t)
		}) {
			break // the next step would only repeat the complaint
		}
	}
	d.box.destroyAll(t)
}

func (d *dayTwo) growStorage(t *testing.T) {
	d.setSpec(t, `{storage: {size: 30Gi}}`)
	assert.Equal(t, []string{"update shop-cluster"}, d.up(t))
	assert.Equal(t, "30Gi", d.cluster(t).Spec.StorageConfiguration.Size)
}

func (d *dayTwo) shrinkStorage(t *testing.T) {
	before := d.databases
	d.setSpec(t, `{storage: {size: 10Gi}}`)
	d.configure(t)
	_, err := d.box.Preview(t.Context())
	require.ErrorContains(t, err, "can't shrink existing storage", "the preview's dry run asks the operator")
	_, err = d.box.Up(t.Context())
	require.ErrorContains(t, err, "can't shrink existing storage")
	assert.Equal(t, "30Gi", d.cluster(t).Spec.StorageConfiguration.Size)
	d.databases = before
	assert.Equal(t, []string{"update shop-cluster"}, d.up(t), "a failed update is tried again, with what is right now")
}

func (d *dayTwo) changeParameter(t *testing.T) {
	d.setSpec(t, `{postgresql: {parameters: {max_connections: "200"}}}`)
	assert.Equal(t, []string{"update shop-cluster"}, d.up(t))
	assert.Equal(t, "200", d.cluster(t).Spec.PostgresConfiguration.Parameters["max_connections"])
}

func (d *dayTwo) changeSchedule(t *testing.T) {
	d.set(t, `{schedule: "0 30 1 * * *", retention: 14d}`)
	assert.Equal(t, []string{"update shop-b2-store", "update shop-backup", "update shop-minio-store", "update shop-mirror"}, d.up(t))
}

func (d *dayTwo) addDatabase(t *testing.T) {
	d.databases = append(d.databases, fromYAML(t, secondDatabase))
	assert.Equal(t, []string{
		"create blog", "create blog-b2-store", "create blog-backup", "create blog-cluster", "create blog-minio-store",
		"create blog-mirror", "update environment",
	}, d.up(t))
	d.assertReconciled(t, "daytwo/blog-postgresql")
}

func (d *dayTwo) removeDatabase(t *testing.T) {
	blog := d.databases[1].(map[string]any)
	d.databases = d.databases[:1]
	d.configure(t)
	// As people run it, with its preview first.
	_, err := d.box.Run(t.Context(), "up", "--yes")
	require.ErrorContains(t, err, "protect", "a Cluster is not deleted while it is protected")
	assert.NotEmpty(t, d.get(t, "blog-postgresql").UID)

	unprotected := maps.Clone(blog)
	unprotected["protect"] = false
	d.databases = append(d.databases, unprotected)
	d.up(t)
	d.databases = d.databases[:1]
	assert.Equal(t, []string{
		"delete blog", "delete blog-b2-store", "delete blog-backup", "delete blog-cluster", "delete blog-minio-store",
		"delete blog-mirror", "update environment",
	}, d.up(t))
	d.assertGone(t, "daytwo/blog-postgresql")
}

func (d *dayTwo) restoreBeside(t *testing.T) {
	before := d.cluster(t).Generation
	d.databases = append(d.databases, fromYAML(t, restoredDatabase))
	for _, step := range d.up(t) {
		assert.True(t, step == "update environment" || strings.HasPrefix(step, "create shop-restored"), step)
	}
	assert.Equal(t, before, d.cluster(t).Generation, "the old cluster is not touched")
	d.assertReconciled(t, "daytwo/shop-restored-postgresql")
}

func (d *dayTwo) switchArchive(t *testing.T) {
	d.set(t, `{archive: minio, generation: 2}`)
	// The new generation needs a first base backup of its own.
	assert.Equal(t, []string{
		"create-replacement shop-backup", "delete-replaced shop-backup", "replace shop-backup",
		"update shop", "update shop-b2-store", "update shop-cluster", "update shop-minio-store", "update shop-mirror",
	}, d.up(t))
	cluster := d.cluster(t)
	require.Len(t, cluster.Spec.Plugins, 1)
	assert.Equal(t, map[string]string{
		"barmanObjectName": "shop-minio-store", "serverName": "shop-postgresql-2",
	}, cluster.Spec.Plugins[0].Parameters)
	d.assertRole(t, cluster)
}

// setSpec merges a change into the spec of the first database.
func (d *dayTwo) setSpec(t *testing.T, patch string) {
	t.Helper()
	d.change(t, map[string]any{"spec": fromYAML(t, patch)})
}

// set merges a change into the first database.
func (d *dayTwo) set(t *testing.T, patch string) {
	t.Helper()
	d.change(t, fromYAML(t, patch))
}

func (d *dayTwo) change(t *testing.T, patch map[string]any) {
	t.Helper()
	changed := merge(t, d.databases[0].(map[string]any), patch)
	d.databases = append([]any{changed}, d.databases[1:]...)
}

func (d *dayTwo) configure(t *testing.T) {
	t.Helper()
	d.config["cnpg-backup:databases"] = d.databases
	require.NoError(t, d.box.Configure(t.Context(), d.config))
}

// up previews and deploys the configuration, and returns what was done. The
// preview has to have said the same.
func (d *dayTwo) up(t *testing.T) []string {
	t.Helper()
	d.configure(t)
	preview := d.box.must(t, "preview", d.box.Preview)
	result := d.box.must(t, "up", d.box.Up)
	assert.Equal(t, summary(preview), summary(result), "the preview tells what happens")
	assert.Empty(t, d.box.warnings.texts, "admission warnings")
	for _, change := range result.Changes {
		if change.Type == "kubernetes:postgresql.cnpg.io/v1:Cluster" {
			assert.NotContains(t, change.Op, "replace", "%s", change)
		}
	}
	return summary(result)
}

func (d *dayTwo) cluster(t *testing.T) *cnpgv1.Cluster {
	t.Helper()
	return d.get(t, "shop-postgresql")
}

func (d *dayTwo) get(t *testing.T, name string) *cnpgv1.Cluster {
	t.Helper()
	cluster, err := d.suite.cluster(t.Context(), "daytwo", name)
	require.NoError(t, err)
	return cluster
}
