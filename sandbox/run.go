package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/providers"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"sigs.k8s.io/yaml"
)

// Result is what a run of Pulumi did, or would do.
type Result struct {
	// Changes are the steps that change something, in their order. The stack
	// itself and the providers are left out.
	Changes []Step
	// Diagnostics are the errors and warnings, Errors those of them that are.
	Diagnostics, Errors []string
	// Output is what Pulumi printed.
	Output string
}

// Step is what is done to one resource.
type Step struct {
	// Op is, for instance, create, update, delete, create-replacement.
	Op string
	// Type and Name are the resource's.
	Type, Name string
	// Diffs are the properties that change.
	Diffs []string
}

// String is short, for messages.
func (s Step) String() string { return fmt.Sprintf("%s %s %s %v", s.Op, s.Type, s.Name, s.Diffs) }

// Up deploys the project.
func (s *Sandbox) Up(ctx context.Context, args ...string) (*Result, error) {
	return s.deploy(ctx, append([]string{"up", "--yes", "--skip-preview"}, args...)...)
}

// Preview tells what Up would do.
func (s *Sandbox) Preview(ctx context.Context, args ...string) (*Result, error) {
	return s.deploy(ctx, append([]string{"preview"}, args...)...)
}

// Refresh updates the state with what is there.
func (s *Sandbox) Refresh(ctx context.Context, args ...string) (*Result, error) {
	return s.deploy(ctx, append([]string{"refresh", "--yes", "--skip-preview"}, args...)...)
}

// Destroy deletes everything.
func (s *Sandbox) Destroy(ctx context.Context, args ...string) (*Result, error) {
	return s.deploy(ctx, append([]string{"destroy", "--yes", "--skip-preview"}, args...)...)
}

// Outputs returns the stack's outputs. Secrets are left out.
func (s *Sandbox) Outputs(ctx context.Context) (map[string]any, error) {
	printed, err := s.Run(ctx, "stack", "output", "--json")
	if err != nil {
		return nil, err
	}
	outputs := map[string]any{}
	return outputs, json.Unmarshal([]byte(printed), &outputs)
}

// Export returns the state, with secrets encrypted.
func (s *Sandbox) Export(ctx context.Context) (*apitype.DeploymentV3, error) {
	printed, err := s.Run(ctx, "stack", "export")
	if err != nil {
		return nil, err
	}
	var exported struct{ Deployment apitype.DeploymentV3 }
	return &exported.Deployment, json.Unmarshal([]byte(printed), &exported)
}

// Run runs any other command of Pulumi for the stack and returns what it prints.
func (s *Sandbox) Run(ctx context.Context, args ...string) (string, error) {
	if err := s.init(ctx); err != nil {
		return "", err
	}
	return s.run(ctx, io.Discard, args...)
}

// Objects returns the Kubernetes objects that were written.
func (s *Sandbox) Objects() ([]map[string]any, error) {
	files, err := filepath.Glob(filepath.Join(s.Manifests(), "*", "*.yaml"))
	if err != nil {
		return nil, err
	}
	objects := make([]map[string]any, 0, len(files))
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var object map[string]any
		if err := yaml.Unmarshal(content, &object); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// init makes the stack when it is not there.
func (s *Sandbox) init(ctx context.Context) error {
	if _, err := os.Stat(s.StateFile()); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(s.path("state"), 0o700); err != nil {
		return fmt.Errorf("folder of the state: %w", err)
	}
	_, err := s.run(ctx, io.Discard, "stack", "init")
	return err
}

// deploy runs a command that reports on resources. It returns a result with an
// error, too.
func (s *Sandbox) deploy(ctx context.Context, args ...string) (*Result, error) {
	if err := s.init(ctx); err != nil {
		return nil, err
	}
	log := s.path("events.json")
	printed, err := s.run(ctx, s.options.Progress, append(args, "--event-log", log, "--suppress-permalink=true")...)
	result := &Result{Output: printed}
	failed := (*Error)(nil)
	if errors.As(err, &failed) {
		result.Output, failed.Result = failed.Output, result
	}
	return result, errors.Join(err, result.read(log))
}

// read takes the steps and diagnostics from a log of the engine's events.
func (r *Result) read(log string) error {
	file, err := os.Open(log)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(log) }()
	defer func() { _ = file.Close() }()
	events := json.NewDecoder(bufio.NewReader(file))
	for events.More() {
		var event apitype.EngineEvent
		if err := events.Decode(&event); err != nil {
			return fmt.Errorf("events of the engine: %w", err)
		}
		r.add(event)
	}
	return nil
}

func (r *Result) add(event apitype.EngineEvent) {
	if diagnostic := event.DiagnosticEvent; diagnostic != nil &&
		(diagnostic.Severity == "error" || diagnostic.Severity == "warning") {
		message := colors.Never.Colorize(diagnostic.Message)
		r.Diagnostics = append(r.Diagnostics, message)
		if diagnostic.Severity == "error" {
			r.Errors = append(r.Errors, message)
		}
	}
	if event.ResourcePreEvent == nil {
		return
	}
	step := event.ResourcePreEvent.Metadata
	urn := resource.URN(step.URN)
	unchanged := step.Op == apitype.OpSame || step.Op == apitype.OpRead || step.Op == apitype.OpRefresh
	if unchanged || urn.Type() == resource.RootStackType || providers.IsProviderType(urn.Type()) {
		return
	}
	r.Changes = append(r.Changes, Step{
		Op: string(step.Op), Type: string(urn.Type()), Name: urn.Name(), Diffs: step.Diffs,
	})
}
