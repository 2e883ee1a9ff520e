//go:build acceptance

package acceptance

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
)

// root is the project's folder.
const root = "../.."

// program is a Pulumi program that this project ships.
type program struct {
	// project is the folder of its Pulumi.yaml, from the root.
	project, stack string
	// namespaces have to be there: the program makes none.
	namespaces []string
	// clusters are its databases, as namespace/name.
	clusters []string
	// needsStores tells that it restores from the ObjectStores of the seed's
	// database, which have to be there.
	needsStores bool
}

func (p program) String() string { return strings.TrimPrefix(p.project+" "+p.stack, ". ") }

// programs are all that are shipped; testPrograms fails when one is missing.
func programs() []program {
	const keys = "external-secrets"
	return []program{
		{".", "local", []string{keys, "apps"}, []string{"apps/notes-postgresql"}, false},
		{".", "homelab", []string{keys, "auth"}, []string{"auth/authentik-postgresql"}, false},
		{
			".", "cabin", []string{keys, "apps", "files"},
			[]string{"apps/forgejo-postgresql", "apps/immich-postgresql", "files/nextcloud-postgresql"}, false,
		},
		{"examples/authentik", "acceptance", []string{keys, "auth"}, []string{"auth/authentik-postgresql"}, false},
		{"examples/outside", "acceptance", []string{keys, "wiki"}, []string{"wiki/wiki-postgresql"}, false},
		{
			"examples/point-in-time", "acceptance", []string{keys, "auth"},
			[]string{"auth/authentik-postgresql", "auth/authentik-restored-postgresql"}, false,
		},
		{
			"examples/several", "acceptance", []string{keys, "auth", "media"},
			[]string{"auth/authentik-postgresql", "media/immich-postgresql", "media/jellyfin-postgresql"}, false,
		},
		{"examples/restore-drill", "acceptance", []string{"auth"}, []string{"auth/authentik-drill"}, true},
	}
}

// shipped finds the programs in the project's folders.
func shipped(t *testing.T) []string {
	t.Helper()
	var found []string
	stacks, err := filepath.Glob(filepath.Join(root, "stacks", "Pulumi.*.yaml"))
	require.NoError(t, err)
	for _, file := range stacks {
		stack := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "Pulumi."), ".yaml")
		found = append(found, program{project: ".", stack: stack}.String())
	}
	examples, err := filepath.Glob(filepath.Join(root, "examples", "*", "Pulumi.yaml"))
	require.NoError(t, err)
	for _, file := range examples {
		project, err := filepath.Rel(root, filepath.Dir(file))
		require.NoError(t, err)
		found = append(found, program{project: project, stack: "acceptance"}.String())
	}
	slices.Sort(found)
	return found
}

// testPrograms deploys everything that is shipped by the real engine.
func (s *suite) testPrograms(t *testing.T) {
	names := make([]string, 0, len(programs()))
	for _, p := range programs() {
		names = append(names, p.String())
	}
	slices.Sort(names)
	require.Equal(t, shipped(t), names, "every environment and example is deployed here")
	for _, p := range programs() {
		t.Run(p.String(), func(t *testing.T) { s.testProgram(t, p) })
	}
}

func (s *suite) testProgram(t *testing.T, p program) {
	for _, namespace := range p.namespaces {
		s.newNamespace(t, namespace)
	}
	if p.needsStores {
		s.newStores(t)
	}
	options := sandbox.Options{Project: filepath.Join(root, p.project), Stack: p.stack}
	if p.needsStores {
		// There are only the ObjectStores here, and no Cluster whose life to read.
		options.Config = map[string]any{"example-restore-drill:generation": 1}
	}
	box := s.newBox(t, options)

	preview := box.must(t, "preview", box.Preview)
	assert.NotEmpty(t, preview.Changes)
	box.must(t, "up", box.Up)
	assert.Empty(t, box.warnings.texts, "admission warnings")

	for _, cluster := range p.clusters {
		s.assertReconciled(t, cluster)
	}
	// The webhooks have filled in defaults and the reconcilers have written
	// status, labels and annotations since.
	box.assertNoChanges(t)
	assert.Empty(t, box.warnings.texts, "admission warnings")

	box.destroyAll(t)
	for _, cluster := range p.clusters {
		s.assertGone(t, cluster)
	}
}

// newStores makes the ObjectStores of the seed's database for one test.
func (s *suite) newStores(t *testing.T) {
	t.Helper()
	for _, object := range seed(t, "authentik.yaml") {
		if object.GetKind() != "ObjectStore" {
			continue
		}
		require.NoError(t, s.plane.Client().Apply(t.Context(), object))
		t.Cleanup(func() {
			err := s.plane.Client().Release(context.WithoutCancel(t.Context()),
				object.GroupVersionKind(), object.GetNamespace(), object.GetName())
			assert.NoError(t, err)
		})
	}
}

// box is a sandbox that applies to the control plane.
type box struct {
	*sandbox.Sandbox
	warnings *warnings
}

func (s *suite) newBox(t *testing.T, options sandbox.Options) *box {
	t.Helper()
	heard := &warnings{}
	options.Cluster = s.plane.Admin()
	options.Real = *plugins == "real"
	options.Dir = t.TempDir()
	options.Warn = func(text string) { heard.HandleWarningHeader(0, "", text) }
	sandboxed, err := sandbox.Start(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(sandboxed.Close)
	return &box{Sandbox: sandboxed, warnings: heard}
}

// run is a method of Sandbox.
type run func(ctx context.Context, args ...string) (*sandbox.Result, error)

// must runs Pulumi and shows what it printed if it fails.
func (b *box) must(t *testing.T, what string, run run, args ...string) *sandbox.Result {
	t.Helper()
	result, err := run(t.Context(), args...)
	require.NoErrorf(t, err, "%s", what)
	return result
}

// assertNoChanges wants a preview, a refresh and an up that all find nothing to
// change. Pulumi itself fails when there is something.
func (b *box) assertNoChanges(t *testing.T) {
	t.Helper()
	for _, step := range []struct {
		what string
		run  run
	}{{"preview", b.Preview}, {"refresh", b.Refresh}, {"up", b.Up}} {
		result, err := step.run(t.Context(), "--expect-no-changes", "--diff")
		require.NoErrorf(t, err, "%s should find nothing to change", step.what)
		assert.Emptyf(t, result.Changes, "%s should find nothing to change", step.what)
	}
}

// destroyAll deletes everything, after protection has been shown to keep it.
func (b *box) destroyAll(t *testing.T) {
	t.Helper()
	if state := b.export(t); slices.ContainsFunc(state.Resources, isProtected) {
		// As people run it, with its preview first.
		_, err := b.Run(t.Context(), "destroy", "--yes")
		require.ErrorContains(t, err, "protect")
		kept := len(b.export(t).Resources)
		assert.Equal(t, len(state.Resources), kept, "nothing is deleted while something is protected")
		_, err = b.Run(t.Context(), "state", "unprotect", "--all", "--yes")
		require.NoError(t, err)
	}
	b.must(t, "destroy", b.Destroy)
	assert.Empty(t, b.export(t).Resources, "resources in the state")
}

func summary(result *sandbox.Result) []string {
	steps := make([]string, 0, len(result.Changes))
	for _, change := range result.Changes {
		steps = append(steps, fmt.Sprintf("%s %s", change.Op, change.Name))
	}
	slices.Sort(steps)
	return steps
}

func (b *box) export(t *testing.T) *apitype.DeploymentV3 {
	t.Helper()
	state, err := b.Export(t.Context())
	require.NoError(t, err)
	return state
}

func isProtected(resource apitype.ResourceV3) bool { return resource.Protect }
