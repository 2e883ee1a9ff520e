// Command start builds the sandbox's command and runs it. It needs no more
// than Go's own packages, so that it is there at once and can show how the rest
// gets on.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	fmt.Fprintln(os.Stderr, "error:", err)
	os.Exit(1)
}

// run returns only if it fails: the command takes the place of this process.
func run(ctx context.Context) error {
	binary, err := filepath.Abs(filepath.Join("..", ".sandbox", "sandbox"))
	if err != nil {
		return err
	}
	// Pulumi is built next, if it is not installed. Its modules come while the
	// sandbox is compiled.
	var downloads sync.WaitGroup
	if _, err := exec.LookPath("pulumi"); err != nil {
		downloads.Go(func() { tools.Pulumi().Download(ctx) })
	}
	defer downloads.Wait()
	const command = "github.com/homelab-iac/pulumi-cnpg-backup/sandbox/cmd/sandbox"
	build := exec.CommandContext(ctx, "go", "build", "-v", "-o", binary, command)
	if err := tools.Compile(os.Stdout, "the sandbox", build); err != nil {
		return fmt.Errorf("build the sandbox: %w", err)
	}
	downloads.Wait()
	return syscall.Exec(binary, append([]string{binary}, os.Args[1:]...), os.Environ())
}
