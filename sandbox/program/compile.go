// Package program compiles Pulumi programs in Go and runs them for a Pulumi
// engine. It stands in for the language host pulumi-language-go, which comes
// with an installed Pulumi but cannot be built from a Go module.
package program

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

// Compile builds the program in a folder and reports on its progress. Nothing
// is done when the binary is up to date.
func Compile(ctx context.Context, progress io.Writer, folder, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-v", "-o", binary, ".")
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if err := tools.Compile(progress, "the program", cmd); err != nil {
		return fmt.Errorf("compile the program in %s: %w", folder, err)
	}
	return nil
}
