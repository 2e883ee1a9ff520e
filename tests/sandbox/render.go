package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// rendered is the first line of each rendered manifest.
const rendered = "# Rendered by make render. Changes made here are lost.\n"

// Render writes the Kubernetes objects of a stack as YAML to
// <folder>/<namespace>/<kind>-<name>.yaml and returns the files. It deploys the
// stack to a sandbox of its own, which needs neither credentials nor state.
// Manifests that it rendered before and that are no longer there are removed.
func Render(ctx context.Context, options Options, folder string) (files []string, err error) {
	if options.Dir, err = os.MkdirTemp("", "render-"); err != nil {
		return nil, fmt.Errorf("folder to render in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(options.Dir)) }()
	box, err := Start(ctx, options)
	if err != nil {
		return nil, err
	}
	defer box.Close()
	box.Quiet() // Of the deployment only errors matter.
	if _, err := box.Up(ctx); err != nil {
		return nil, err
	}
	if err := removeRendered(folder); err != nil {
		return nil, fmt.Errorf("old manifests in %s: %w", folder, err)
	}
	return copyManifests(box.Manifests(), folder)
}

// removeRendered leaves files alone that were not rendered.
func removeRendered(folder string) error {
	files, err := filepath.Glob(filepath.Join(folder, "*", "*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(content, []byte(rendered)) {
			continue
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}

func copyManifests(from, to string) (copied []string, err error) {
	files, err := filepath.Glob(filepath.Join(from, "*", "*.yaml"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if content, err = withoutPulumisAnnotations(content); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		name := filepath.Join(to, filepath.Base(filepath.Dir(file)), filepath.Base(file))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(name, append([]byte(rendered), content...), 0o644); err != nil {
			return nil, err
		}
		copied = append(copied, name)
	}
	return copied, nil
}

// withoutPulumisAnnotations takes out what only Pulumi reads, and the
// fingerprint of the key, which is that of a key that the sandbox has made up.
func withoutPulumisAnnotations(manifest []byte) ([]byte, error) {
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(manifest, &object.Object); err != nil {
		return nil, err
	}
	annotations := object.GetAnnotations()
	maps.DeleteFunc(annotations, func(name, _ string) bool {
		return strings.HasPrefix(name, "pulumi.com/") || name == "cnpg-backup/key"
	})
	if len(annotations) == 0 {
		annotations = nil
	}
	object.SetAnnotations(annotations)
	return yaml.Marshal(object.Object)
}
