// Package debian installs Debian packages for the tests that need root anyway.
package debian

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Install installs those packages that are missing, and says so. Each comes with
// a file by which one knows that it is there.
func Install(ctx context.Context, progress io.Writer, packages map[string]string) error {
	var missing []string
	for name, file := range packages {
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	fmt.Fprintf(progress, "Installing Debian packages: %s\n", strings.Join(missing, " "))
	for _, arguments := range [][]string{
		{"update", "--quiet=2"},
		append([]string{"install", "--yes", "--quiet=2", "--no-install-recommends"}, missing...),
	} {
		cmd := exec.CommandContext(ctx, "apt-get", arguments...)
		// At runlevel 1 the packages do not start their services.
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(arguments, " "), err, output)
		}
	}
	return nil
}
