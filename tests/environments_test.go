// Package tests runs the project's environments and examples with the real
// Pulumi engine in the sandbox.
package tests

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/sandbox"
)

// environments are the stacks with a configuration file.
func environments(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "stacks", "Pulumi.*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	names := make([]string, 0, len(files))
	for _, file := range files {
		names = append(names, strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "Pulumi."), ".yaml"))
	}
	return names
}

func TestEveryEnvironmentDeploysCleanly(t *testing.T) {
	for _, environment := range environments(t) {
		t.Run(environment, func(t *testing.T) {
			secrets := deploysCleanly(t, start(t, root, environment, nil))

			assert.NotEmpty(t, secrets, "it makes a key, or the search for it would mean nothing")
		})
	}
}

func TestARefusalIsNothingButItsProblems(t *testing.T) {
	box := start(t, root, "local", map[string]any{
		"cnpg-backup:protcet":   false,
		"cnpg-backup:databases": []any{map[string]any{"name": "notes", "namespace": "apps", "spec": "none"}},
	})
	for name, run := range map[string]func(context.Context, ...string) (*sandbox.Result, error){
		"preview": box.Preview, "up": box.Up,
	} {
		result, err := run(t.Context())

		var failed *sandbox.Error
		require.ErrorAs(t, err, &failed, name)
		assert.Equal(t, []string{
			`error: databases[0].spec of "notes": Invalid value: "none": ` +
				"expected fields below it: description, inheritedMetadata, imageName, imageCatalogRef …",
			"error: protcet: there is no such field; did you mean protect?",
		}, failed.Problems(), name)
		assert.NotContains(t, result.Output, "created")
		assert.NotContains(t, result.Output, "unhandled")
		assert.NotContains(t, result.Output, "urn:")
	}
}

func TestRenderingIsStableAndLeavesOtherFilesAlone(t *testing.T) {
	options := sandbox.Options{
		Project: root,
		Stack:   "homelab",
		Binary:  filepath.Join(root, ".sandbox", "programs", "program"),
	}
	folder := t.TempDir()
	kustomization := filepath.Join(folder, "auth", "kustomization.yaml")
	stale := filepath.Join(folder, "auth", "cluster-gone.yaml")

	files, err := sandbox.Render(t.Context(), options, folder)
	require.NoError(t, err)
	before := contents(t, files)
	for file, content := range before {
		assert.NotContains(t, string(content), "pulumi.com/", "%s: nobody but Pulumi reads that", file)
	}
	require.NoError(t, os.WriteFile(kustomization, []byte("kind: Kustomization\n"), 0o600))
	require.NoError(t, os.WriteFile(stale, before[files[0]], 0o600))

	again, err := sandbox.Render(t.Context(), options, folder)
	require.NoError(t, err)

	assert.Equal(t, before, contents(t, again))
	assert.FileExists(t, kustomization)
	assert.NoFileExists(t, stale)
}
