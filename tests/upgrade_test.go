package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
)

// TestAnUpdateFromTheFirstReleaseKeepsWhatItHas gives what is deployed the names
// that 0.1.0 gave it.
func TestAnUpdateFromTheFirstReleaseKeepsWhatItHas(t *testing.T) {
	box := start(t, root, "homelab", nil)
	_, err := box.Up(t.Context())
	require.NoError(t, err)
	before := names(t, box)
	asInTheFirstRelease(t, box)

	up, err := box.Up(t.Context())

	require.NoError(t, err)
	for _, change := range up.Changes {
		assert.Contains(t, change.Type, "cnpg-backup:index:", "nothing is made or deleted but in the state: %s", change)
	}
	assert.Equal(t, before, names(t, box))
	again, err := box.Preview(t.Context())
	require.NoError(t, err)
	assert.Empty(t, again.Changes)
}

// asInTheFirstRelease renames in the state: the storage was called like the stack,
// and the credentials had no parent.
func asInTheFirstRelease(t *testing.T, box *sandbox.Sandbox) {
	t.Helper()
	const stack = "urn:pulumi:homelab::cnpg-backup::pulumi:pulumi:Stack::cnpg-backup-homelab"
	printed, err := box.Run(t.Context(), "stack", "export")
	require.NoError(t, err)
	printed = strings.ReplaceAll(printed, "cnpg-backup:index:Storage$cnpg-backup:index:Credentials", "cnpg-backup:index:Credentials")
	printed = regexp.MustCompile(`(cnpg-backup:index:Storage[^":]*(?::[^":]+)*::)storage\b`).ReplaceAllString(printed, "${1}homelab")
	var state map[string]any
	require.NoError(t, json.Unmarshal([]byte(printed), &state))
	for _, resource := range state["deployment"].(map[string]any)["resources"].([]any) {
		if resource := resource.(map[string]any); resource["type"] == "cnpg-backup:index:Credentials" {
			resource["parent"] = stack
		}
	}
	content, err := json.Marshal(state)
	require.NoError(t, err)
	require.Contains(t, string(content), "Storage$b2:index/bucket:Bucket::homelab-b2-bucket")
	require.Contains(t, string(content), `cnpg-backup::cnpg-backup:index:Storage::homelab"`)
	file := filepath.Join(t.TempDir(), "state.json")
	require.NoError(t, os.WriteFile(file, content, 0o600))
	_, err = box.Run(t.Context(), "stack", "import", "--file", file)
	require.NoError(t, err)
}
