package tools

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Source returns the folder of the module that the tool is built from, where
// its manifests lie. It downloads the module when it is not there yet.
func (t Tool) Source(ctx context.Context) (string, error) {
	here, err := folder()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "list", "-f", "{{.Module.Dir}}", t.Package)
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
