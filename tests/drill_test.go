package tests

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runningCluster is a Cluster in its second life, as far as a drill reads it.
const runningCluster = `apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: authentik-postgresql, namespace: auth}
spec:
  plugins:
    - name: barman-cloud.cloudnative-pg.io
      parameters: {barmanObjectName: authentik-b2-store, serverName: authentik-postgresql-2}
`

func TestADrillRestoresTheLifeInUseAnewForEachRun(t *testing.T) {
	const run = "example-restore-drill:run"
	box := start(t, filepath.Join(root, "examples", "restore-drill"), "test", map[string]any{run: "one"})
	folder := filepath.Join(box.Manifests(), "auth")
	require.NoError(t, os.MkdirAll(folder, 0o750))
	running := filepath.Join(folder, "cluster-authentik-postgresql.yaml")
	write(t, running, runningCluster)

	must(t, box.Up)
	drill, err := os.ReadFile(filepath.Join(folder, "cluster-authentik-drill.yaml"))
	require.NoError(t, err)
	assert.Contains(t, string(drill), "serverName: authentik-postgresql-2")
	assertNoChanges(t, box.Up) // the same run

	next := deploy(t, box, map[string]any{run: "two"})
	for _, kind := range []string{"postgresql.cnpg.io/v1:Cluster", "batch/v1:Job"} {
		assert.Contains(t, kinds(next), "create-replacement kubernetes:"+kind, "what was left is not taken for restored")
	}

	must(t, box.Destroy)
	assert.NoFileExists(t, filepath.Join(folder, "cluster-authentik-drill.yaml"))
	content, err := os.ReadFile(running)
	require.NoError(t, err)
	assert.Equal(t, runningCluster, string(content), "the database itself is only read")
}
