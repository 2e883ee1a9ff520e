package tests

import (
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
	must(t, box.Up)
	before := names(t, box)
	asInTheFirstRelease(t, box)

	for _, change := range must(t, box.Up).Changes {
		assert.Contains(t, change.Type, "cnpg-backup:index:", "nothing is made or deleted but in the state: %s", change)
	}
	assert.Equal(t, before, names(t, box))
	assertNoChanges(t, box.Preview)
}

// asInTheFirstRelease renames in the state: the storage was called like the stack,
// and the credentials had no parent.
func asInTheFirstRelease(t *testing.T, box *sandbox.Sandbox) {
	t.Helper()
	const stack = "urn:pulumi:homelab::cnpg-backup::pulumi:pulumi:Stack::cnpg-backup-homelab"
	state, err := box.Run(t.Context(), "stack", "export")
	require.NoError(t, err)
	state = strings.ReplaceAll(state, "cnpg-backup:index:Storage$cnpg-backup:index:Credentials", "cnpg-backup:index:Credentials")
	state = regexp.MustCompile(`(cnpg-backup:index:Storage[^":]*(?::[^":]+)*::)storage\b`).ReplaceAllString(state, "${1}homelab")
	require.Contains(t, state, "Storage$b2:index/bucket:Bucket::homelab-b2-bucket")
	require.Contains(t, state, `cnpg-backup::cnpg-backup:index:Storage::homelab"`)
	importState(t, box, state, func(resource map[string]any) bool {
		meant := resource["type"] == "cnpg-backup:index:Credentials"
		if meant {
			resource["parent"] = stack
		}
		return meant
	})
}
