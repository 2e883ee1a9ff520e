package tests

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
)

// TestAnApplicationComesAfterItsDatabaseAndGoesBeforeIt needs no DependsOn in the
// program: the application uses the database's host.
func TestAnApplicationComesAfterItsDatabaseAndGoesBeforeIt(t *testing.T) {
	box := start(t, filepath.Join("testdata", "consumer"), "test", nil)

	up := must(t, box.Up)
	assert.Less(t, step(t, up, "create wiki-cluster"), step(t, up, "create application"))

	// A step begins when what it waits for has ended: with the Cluster refused
	// there is no application.
	gone := must(t, box.Destroy)
	assert.Less(t, step(t, gone, "delete application"), step(t, gone, "delete wiki-cluster"))

	box.Kubernetes.RefuseOnce("Cluster", "apps", "wiki-postgresql")
	assert.NotContains(t, steps(refused(t, box.Up), ""), "create application")
}

func step(t *testing.T, result *sandbox.Result, name string) int {
	t.Helper()
	index := slices.Index(steps(result, ""), name)
	require.GreaterOrEqual(t, index, 0, "%s in %v", name, steps(result, ""))
	return index
}
