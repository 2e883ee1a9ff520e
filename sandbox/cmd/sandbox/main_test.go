package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatIsProtectedIsNotHalfDestroyed(t *testing.T) {
	root, err := filepath.Abs("../../..")
	require.NoError(t, err)
	c := command{root: root, dir: t.TempDir(), out: io.Discard}
	require.NoError(t, c.up(t.Context(), "homelab"))
	state := filepath.Join(c.dir, "homelab", "state", ".pulumi", "stacks", "cnpg-backup", "homelab.json")
	before, err := os.ReadFile(state)
	require.NoError(t, err)

	err = c.destroy(t.Context(), "homelab")

	require.EqualError(t, err, "nothing was deleted: storage-b2-bucket, storage-minio-bucket, authentik-cluster are protected.\n"+
		"Set protect: false in stacks/Pulumi.homelab.yaml and run make up first, or delete the sandbox as a whole with make clean")
	after, err := os.ReadFile(state)
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after))
}
