package tests

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEveryExampleDeploysCleanly includes the example that is a module of its
// own, as a stranger's would be.
func TestEveryExampleDeploysCleanly(t *testing.T) {
	projects, err := filepath.Glob(filepath.Join(root, "examples", "*", "Pulumi.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, projects)
	for _, project := range projects {
		folder := filepath.Dir(project)
		t.Run(filepath.Base(folder), func(t *testing.T) {
			// There is no Cluster here whose life a drill could read.
			config := map[string]any{"example-restore-drill:generation": 1}
			if filepath.Base(folder) != "restore-drill" {
				config = nil
			}
			deploysCleanly(t, start(t, folder, "test", config))
		})
	}
}
