package provider

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Files keeps Kubernetes objects as YAML files in
// <folder>/<namespace>/<kind>-<name>.yaml. Secrets are not written.
type Files struct {
	Folder string
}

// Path is the file of an object.
func (f Files) Path(object Object) string {
	return filepath.Join(f.Folder, object.GetNamespace(),
		fmt.Sprintf("%s-%s.yaml", strings.ToLower(object.GetKind()), object.GetName()))
}

// Create writes the file of an object that does not exist.
func (f Files) Create(_ context.Context, object Object, mode Mode) (map[string]any, error) {
	_, err := os.Stat(f.Path(object))
	if err == nil && !mode.Upsert && !mode.DryRun {
		return nil, fmt.Errorf("the object exists already, as %s", f.Path(object))
	}
	return f.write(object, mode)
}

// Update writes an object's file again.
func (f Files) Update(_ context.Context, object Object, mode Mode) (map[string]any, error) {
	if _, err := os.Stat(f.Path(object)); err != nil {
		return nil, fmt.Errorf("the object is gone: %w", err)
	}
	return f.write(object, mode)
}

func (f Files) write(object Object, mode Mode) (map[string]any, error) {
	if mode.DryRun {
		return object.Object, nil
	}
	content, err := yaml.Marshal(object.Shown)
	if err != nil {
		return nil, err
	}
	if err := writeFile(f.Path(object), content); err != nil {
		return nil, err
	}
	return object.Object, nil
}

// Read returns what Pulumi has recorded as long as the file is there. Of what is
// not recorded it returns the file; a Secret's has placeholders, so that one
// cannot be imported.
func (f Files) Read(_ context.Context, object Object, recorded map[string]any) (map[string]any, error) {
	if _, err := os.Stat(f.Path(object)); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	if recorded != nil || object.GetKind() == "Secret" {
		return recorded, nil
	}
	content, err := os.ReadFile(f.Path(object))
	if err != nil {
		return nil, err
	}
	return recorded, yaml.Unmarshal(content, &recorded)
}

// Delete removes an object's file.
func (f Files) Delete(_ context.Context, object Object, _ Deletion) error {
	return removeFile(f.Path(object))
}

// Await has nothing to wait for: a file does not become ready.
func (Files) Await(_ context.Context, object Object, _ time.Duration) (map[string]any, error) {
	return object.Object, nil
}
