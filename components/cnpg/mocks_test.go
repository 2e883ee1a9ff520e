package cnpg

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/internal/engine"
)

// recorder finds what a program has registered.
type recorder struct{ engine.Fake }

// run executes a program and returns what it registered. Outputs that the
// program handed to see are resolved by then.
func run(t *testing.T, dryRun bool, program pulumi.RunFunc) *recorder {
	t.Helper()
	mocks := &recorder{}
	require.NoError(t, pulumi.RunErr(program, pulumi.WithMocks("cnpg-backup", "test", mocks),
		func(info *pulumi.RunInfo) { info.DryRun = dryRun }))
	return mocks
}

// inUpAndPreview runs a test for both.
func inUpAndPreview(t *testing.T, test func(t *testing.T, dryRun bool)) {
	t.Helper()
	t.Run("up", func(t *testing.T) { test(t, false) })
	t.Run("preview", func(t *testing.T) { test(t, true) })
}

// only returns the one resource of a Pulumi name that is no component.
func (r *recorder) only(t *testing.T, name string) pulumi.MockResourceArgs {
	t.Helper()
	var found []pulumi.MockResourceArgs
	for _, candidate := range r.Resources() {
		if candidate.Name == name && !strings.HasPrefix(candidate.TypeToken, "cnpg-backup:") {
			found = append(found, candidate)
		}
	}
	require.Len(t, found, 1, "resources named %s", name)
	return found[0]
}

// component returns the one component of a kind.
func (r *recorder) component(t *testing.T, kind string) pulumi.MockResourceArgs {
	t.Helper()
	var found []pulumi.MockResourceArgs
	for _, candidate := range r.Resources() {
		if candidate.TypeToken == "cnpg-backup:index:"+kind {
			found = append(found, candidate)
		}
	}
	require.Len(t, found, 1, "components of the kind %s", kind)
	return found[0]
}

// position is when a resource was registered, counted from 0.
func (r *recorder) position(of pulumi.MockResourceArgs) int {
	return slices.IndexFunc(r.Resources(), func(candidate pulumi.MockResourceArgs) bool {
		return candidate.TypeToken == of.TypeToken && candidate.Name == of.Name
	})
}

// index is the position at which a resource was registered.
func (r *recorder) index(t *testing.T, name string) int {
	t.Helper()
	for i, candidate := range r.Resources() {
		if candidate.Name == name && !strings.HasPrefix(candidate.TypeToken, "cnpg-backup:") {
			return i
		}
	}
	require.Fail(t, "not registered", name)
	return -1
}

// names lists "<type> <name>" of everything but components and providers.
func (r *recorder) names() []string {
	var names []string
	for _, candidate := range r.Resources() {
		if !strings.HasPrefix(candidate.TypeToken, "cnpg-backup:") && !strings.HasPrefix(candidate.TypeToken, "pulumi:providers:") {
			names = append(names, candidate.TypeToken+" "+candidate.Name)
		}
	}
	return names
}

// spec is the plain value of an object's spec.
func spec(args pulumi.MockResourceArgs) map[string]any {
	value, _ := args.Inputs.Mappable()["spec"].(map[string]any)
	return value
}

// dependencies are the last parts of the URNs that a resource waits for.
func dependencies(args pulumi.MockResourceArgs) []string {
	var names []string
	for _, urn := range args.RegisterRPC.GetDependencies() {
		names = append(names, urn[strings.LastIndex(urn, "::")+2:])
	}
	return names
}

// seen collects the values of outputs while a program runs.
type seen struct {
	mu      sync.Mutex
	pending sync.WaitGroup
	values  map[string]any
}

func (s *seen) see(name string, output pulumi.Output) {
	s.pending.Add(1)
	output.ApplyT(func(value any) any {
		defer s.pending.Done()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.values == nil {
			s.values = map[string]any{}
		}
		s.values[name] = value
		return value
	})
}

// all waits for every output and returns the values by name.
func (s *seen) all(t *testing.T) map[string]any {
	t.Helper()
	resolved := make(chan struct{})
	go func() {
		s.pending.Wait()
		close(resolved)
	}()
	select {
	case <-resolved:
	case <-time.After(10 * time.Second):
		require.Fail(t, "an output is never resolved")
	}
	return s.values
}

func assertParent(t *testing.T, args pulumi.MockResourceArgs, component string) {
	t.Helper()
	assert.Contains(t, args.RegisterRPC.GetParent(), "cnpg-backup:index:"+component, "parent of %s", args.Name)
}
