package tests

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
)

// one is an environment with one database, without protection: nothing but the
// program itself keeps its Cluster.
func one(changes map[string]any) map[string]any {
	shop := database("shop", changes)
	shop["protect"] = false
	return map[string]any{"cnpg-backup:databases": []any{shop}}
}

// restored asks for a second life that begins with the first.
func restored() map[string]any {
	return one(map[string]any{"generation": 2, "recovery": map[string]any{"source": "minio"}})
}

func TestARestoreOfALiveClusterIsRefusedBeforeAnythingHappens(t *testing.T) {
	box := start(t, root, "homelab", one(nil))
	must(t, box.Up)
	before := manifests(t, box)

	configure(t, box, restored())
	runs := deployments(box)
	runs["up of this one alone"] = func(ctx context.Context, _ ...string) (*sandbox.Result, error) {
		return box.Up(ctx, "--target", "**shop-cluster")
	}
	for name, run := range runs {
		t.Run(name, func(t *testing.T) {
			refused(t, run, "refused, because Cluster apps/shop-postgresql exists", "pulumi refresh --stack homelab")
			assert.Equal(t, before, manifests(t, box), "nothing has changed")
		})
	}
}

// TestAnArchiveDoesNotMoveBeforeItsClusterIsRefused changes what only together looks
// like another database, or like a mirror.
func TestAnArchiveDoesNotMoveBeforeItsClusterIsRefused(t *testing.T) {
	for _, test := range []struct{ changed, to, said string }{
		{"serverName", "store", `with the server name "shop-postgresql"`},
		{"archive", "minio", "The archive would go on in a folder"},
	} {
		t.Run(test.changed, func(t *testing.T) {
			config := one(nil)
			shop := config["cnpg-backup:databases"].([]any)[0].(map[string]any)
			shop["protect"] = true
			box := start(t, root, "homelab", config)
			must(t, box.Up)
			const archive = "objectstore-shop-b2-store.yaml"
			before := manifests(t, box)[archive]
			require.NotEmpty(t, before)

			shop["path"], shop[test.changed] = "elsewhere", test.to
			configure(t, box, config)
			for name, run := range deployments(box) {
				refused(t, run, test.said)
				assert.Equal(t, before, manifests(t, box)[archive], name)
			}
		})
	}
}

func TestALostClusterIsRestoredAfterARefresh(t *testing.T) {
	box := start(t, root, "homelab", one(nil))
	must(t, box.Up)
	lost := loseCluster(t, box)
	configure(t, box, restored())

	// Pulumi does not know yet that the Cluster is gone.
	refused(t, box.Preview, "The Cluster is lost")
	refused(t, box.Up)
	assert.NoFileExists(t, lost)

	must(t, box.Refresh)
	restoring := must(t, box.Up)
	assert.Contains(t, kinds(restoring), "create kubernetes:postgresql.cnpg.io/v1:Cluster")
	assert.Contains(t, manifests(t, box)[filepath.Base(lost)], "source: shop-recovery")
	assertNoChanges(t, box.Up)
}

// TestALostClusterDoesNotComeBackEmpty is about the user who refreshes and
// deploys again, and does not ask for a recovery.
func TestALostClusterDoesNotComeBackEmpty(t *testing.T) {
	box := start(t, root, "homelab", one(nil))
	must(t, box.Up)
	lost := loseCluster(t, box)
	must(t, box.Refresh)
	// What a refresh reads of an ObjectStore with a base backup.
	editState(t, box, func(resource map[string]any) bool {
		if !strings.HasSuffix(resource["urn"].(string), "::shop-b2-store") {
			return false
		}
		resource["outputs"].(map[string]any)["status"] = map[string]any{"serverRecoveryWindow": map[string]any{
			"shop-postgresql": map[string]any{"firstRecoverabilityPoint": "2026-01-01T00:00:00Z"},
		}}
		return true
	})

	for name, run := range deployments(box) {
		refused(t, run, "refused, because Cluster apps/shop-postgresql is lost", "generation: 2 and recovery")
		assert.NoFileExists(t, lost, name)
	}

	deploy(t, box, restored())
	assert.FileExists(t, lost)
}

// TestAReplacementByHandEndsWithACluster is about what a user does who has found
// pulumi's own way to insist: the restored Cluster has the lost one's name, and
// is not to be deleted in its place.
func TestAReplacementByHandEndsWithACluster(t *testing.T) {
	box := start(t, root, "homelab", one(nil))
	must(t, box.Up)
	lost := loseCluster(t, box)
	config := restored()
	config["kubernetes:upsertExistingObjects"] = "true"
	configure(t, box, config)

	must(t, box.Up, "--replace", "**shop-cluster")
	assert.FileExists(t, lost)
	assert.Contains(t, manifests(t, box)[filepath.Base(lost)], "source: shop-recovery")
}

// loseCluster deletes the Cluster behind Pulumi's back and returns its file.
func loseCluster(t *testing.T, box *sandbox.Sandbox) string {
	t.Helper()
	file := filepath.Join(box.Manifests(), "apps", "cluster-shop-postgresql.yaml")
	require.NoError(t, os.Remove(file))
	return file
}

// manifests are the objects but for the note on the archive's ObjectStore, which
// is deployed before the Cluster and so, without a preview, before the refusal.
func manifests(t *testing.T, box *sandbox.Sandbox) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(box.Manifests(), "*", "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	note := regexp.MustCompile(`(?m)^ *cnpg-backup/server-name: .*\n`)
	written := map[string]string{}
	for file, content := range contents(t, files) {
		written[filepath.Base(file)] = note.ReplaceAllString(string(content), "")
	}
	return written
}
