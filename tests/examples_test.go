package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEveryExampleDeploysCleanly includes the example that is a module of its
// own, as a stranger's would be. Each gets what its README says and no more.
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
			deploysCleanly(t, start(t, folder, "test", config, append(nobody(), exported(t, folder)...)...))
		})
	}
}

// exported are the variables that an example's README has people export.
func exported(t *testing.T, folder string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "README.md"))
	require.NoError(t, err)
	var variables []string
	for line := range strings.Lines(string(text)) {
		if list, ok := strings.CutPrefix(line, "    export "); ok {
			for _, assignment := range strings.Fields(list) {
				variables = append(variables, strings.Replace(assignment, "=...", "=given", 1))
			}
		}
	}
	return variables
}
