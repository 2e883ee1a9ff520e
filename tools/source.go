package tools

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Source returns the folder of the module that the tool is built from, where
// its manifests lie. It downloads the module when it is not there yet.
func (t Tool) Source(ctx context.Context) (string, error) {
	here, err := folder()
	if err != nil {
		return "", err
	}
	// With -find Go downloads this module only, not what it imports.
	cmd := exec.CommandContext(ctx, "go", "list", "-find", "-f", "{{.Module.Dir}}", t.Package)
	cmd.Dir = filepath.Join(here, t.Module)
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	out, err := cmd.Output()
	if err != nil {
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			err = fmt.Errorf("%w\n%s", err, exit.Stderr)
		}
		return "", fmt.Errorf("find the source of %s: %w", t.Name, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Version is the release of the program, "1.30.0": that of the module that has
// its package, as the tool's go.mod pins it.
func (t Tool) Version() (string, error) {
	here, err := folder()
	if err != nil {
		return "", err
	}
	pins, err := os.ReadFile(filepath.Join(here, t.Module, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("version of %s: %w", t.Name, err)
	}
	version, longest := "", ""
	for _, pin := range required.FindAllStringSubmatch(string(pins), -1) {
		if strings.HasPrefix(t.Package+"/", pin[1]+"/") && len(pin[1]) > len(longest) {
			longest, version = pin[1], pin[2]
		}
	}
	if version == "" {
		return "", fmt.Errorf("version of %s: %s/go.mod requires no module with the package %s", t.Name, t.Module, t.Package)
	}
	return version, nil
}

// required finds the modules that a go.mod requires, and their versions. Nothing
// but Go's own packages is imported here, so that "make up" begins at once.
var required = regexp.MustCompile(`(?m)^(?:require)?\s+(\S+)\s+v(\S+)`)
