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

	up, err := box.Up(t.Context())
	require.NoError(t, err)
	assert.Less(t, step(t, up, "create wiki-cluster"), step(t, up, "create application"))

	// A step begins when what it waits for has ended: with the Cluster refused
	// there is no application.
	gone, err := box.Destroy(t.Context())
	require.NoError(t, err)
	assert.Less(t, step(t, gone, "delete application"), step(t, gone, "delete wiki-cluster"))

	box.Kubernetes.RefuseOnce("Cluster", "apps", "wiki-postgresql")
	refused, err := box.Up(t.Context())
	require.Error(t, err)
	assert.NotContains(t, steps(refused), "create application")
}

// steps are what a run did, in its order.
func steps(result *sandbox.Result) []string {
	var done []string
	for _, change := range result.Changes {
		done = append(done, change.Op+" "+change.Name)
	}
	return done
}

func step(t *testing.T, result *sandbox.Result, name string) int {
	t.Helper()
	index := slices.Index(steps(result), name)
	require.GreaterOrEqual(t, index, 0, "%s in %v", name, steps(result))
	return index
}
