// Package tests runs the project's environments and examples with the real
// Pulumi engine in the sandbox.
package tests

import (
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
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
			box := start(t, root, environment, nil)
			secrets := deploysCleanly(t, box)

			assert.NotEmpty(t, secrets, "it makes a key, or the search for it would mean nothing")
			outputs, err := box.Outputs(t.Context())
			require.NoError(t, err)
			databases, cost := outputs["databases"].(map[string]any), outputs["cost"].(map[string]any)
			assert.Positive(t, cost["full"].(map[string]any)["dollars"])
			assert.ElementsMatch(t, slices.Collect(maps.Keys(databases)),
				slices.Collect(maps.Keys(cost["databases"].(map[string]any))))
		})
	}
}

func TestARefusalIsNothingButItsProblems(t *testing.T) {
	box := start(t, root, "local", map[string]any{
		"cnpg-backup:protcet":   false,
		"cnpg-backup:databases": []any{map[string]any{"name": "notes", "namespace": "apps", "spec": "none"}},
	})
	for name, run := range deployments(box) {
		result, err := run(t.Context())

		var failed *sandbox.Error
		require.ErrorAs(t, err, &failed, name)
		assert.Equal(t, []string{
			`error: databases[0].spec of "notes": Invalid value: "none": ` +
				"expected fields below it: description, inheritedMetadata, imageName …",
			"error: protcet: there is no such field; did you mean protect?",
		}, failed.Problems(), name)
		assert.Empty(t, result.Changes, name)
		for _, noise := range []string{"created", "unhandled", "urn:", "goroutine"} {
			assert.NotContains(t, result.Output, noise)
		}
	}
}

// rendered renders an environment with some of its configuration changed.
func rendered(t *testing.T, stack, folder string, config map[string]any, environment ...string) *sandbox.Rendered {
	t.Helper()
	result, err := sandbox.Render(t.Context(), sandbox.Options{
		Project: root, Stack: stack, Config: config, Environment: environment,
		Binary: filepath.Join(root, ".sandbox", "programs", "program"),
	}, folder)
	require.NoError(t, err)
	return result
}

func TestRenderingIsStableAndLeavesOtherFilesAlone(t *testing.T) {
	folder := t.TempDir()
	own := filepath.Join(folder, "auth", "kustomization.yaml")
	stale := filepath.Join(folder, "auth", "cluster-gone.yaml")
	list := filepath.Join(folder, "kustomization.yaml")

	first := rendered(t, "homelab", folder, nil)
	before := contents(t, append(first.Manifests, list))
	write(t, own, "kind: Kustomization\n")
	write(t, stale, string(before[first.Manifests[0]]))
	again := rendered(t, "homelab", folder, nil)

	assert.Equal(t, before, contents(t, append(again.Manifests, list)))
	assert.FileExists(t, own)
	assert.NoFileExists(t, stale)

	write(t, list, "resources: [auth/cluster-authentik-postgresql.yaml]\n")
	rendered(t, "homelab", folder, nil)

	assert.Equal(t, "resources: [auth/cluster-authentik-postgresql.yaml]\n", string(contents(t, []string{list})[list]),
		"a list of the user's own stays")
}

// TestWhatIsRenderedCanBeCommittedAndBuilt reads the folder as Argo CD and Flux
// do, with kustomize.
func TestWhatIsRenderedCanBeCommittedAndBuilt(t *testing.T) {
	for _, environment := range environments(t) {
		t.Run(environment, func(t *testing.T) {
			folder := t.TempDir()
			result := rendered(t, environment, folder, nil)
			require.NotEmpty(t, result.LeftOut, "it makes a key, which is in no manifest")

			built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
			require.NoError(t, err)
			assert.Len(t, built.Resources(), len(result.Manifests), "all are in the list")
			text, err := built.AsYaml()
			require.NoError(t, err)
			for _, unfit := range []string{"(secret)", "pulumi.com/", "managed-by: pulumi", "cnpg-backup/key", "kind: Secret\n", "kind: PushSecret\n"} {
				assert.NotContains(t, string(text), unfit)
			}
		})
	}
	ignored := exec.CommandContext(t.Context(), "git", "-C", root, "check-ignore", "rendered/homelab/auth/cluster-authentik-postgresql.yaml")
	printed, err := ignored.CombinedOutput()
	assert.Error(t, err, "git would ignore what is to be committed: %s", printed)
	assert.Equal(t, 1, ignored.ProcessState.ExitCode(), "git has looked: %s", printed)
}

func TestWhatIsRenderedKeepsWhatPulumiProtects(t *testing.T) {
	folder := t.TempDir()
	databases := two("0 0 3 * * 0")
	for i, settings := range []map[string]any{
		{"waitUntilReady": true, "namespace": "kept"}, {"protect": false},
	} {
		database := databases["cnpg-backup:databases"].([]any)[i].(map[string]any)
		maps.Copy(database, settings)
	}
	rendered(t, "homelab", folder, databases)

	annotations := func(file string) map[string]string {
		path := filepath.Join(folder, file)
		object := &unstructured.Unstructured{}
		require.NoError(t, yaml.Unmarshal(contents(t, []string{path})[path], &object.Object))
		return object.GetAnnotations()
	}
	for _, file := range []string{"cluster-wiki-postgresql", "objectstore-wiki-b2-store", "externalsecret-b2-cnpg-credentials"} {
		written := annotations("kept/" + file + ".yaml")
		assert.Equal(t, "Prune=false,Delete=false", written["argocd.argoproj.io/sync-options"], file)
		assert.Equal(t, "disabled", written["kustomize.toolkit.fluxcd.io/prune"], file)
	}
	assert.Empty(t, annotations("kept/scheduledbackup-wiki-postgresql-backup.yaml"), "a new life has another one")
	assert.Empty(t, annotations("apps/cluster-photos-postgresql.yaml"))
}
