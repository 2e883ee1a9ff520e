// Command lint builds the pinned golangci-lint, if it is not there yet, and
// runs it in every module folder that it is given, and looks at the shell
// scripts there:
//
//	go -C tests run ./cmd/lint .. .
//	go -C tests run ./cmd/lint -fmt .. .     # only format, as it wants it
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	format := flag.Bool("fmt", false, "format instead of checking")
	flag.Parse()
	arguments := []string{"run", "--allow-serial-runners"}
	if *format {
		arguments = []string{"fmt"}
	}
	err := run(ctx, arguments, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lint:", err)
		os.Exit(1)
	}
}

// run calls the linter with the arguments in every module.
func run(ctx context.Context, arguments, modules []string) error {
	if len(modules) == 0 {
		return errors.New("give the module folders to lint, for instance \".. .\"")
	}
	linter, err := tools.GolangciLint().Build(ctx, os.Stderr)
	if err != nil {
		return err
	}
	var errs []error
	for _, module := range modules {
		fmt.Fprintln(os.Stderr, "golangci-lint in", module)
		if err := lint(ctx, linter, module, arguments); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", module, err))
		}
		errs = append(errs, lintScripts(module))
	}
	return errors.Join(errs...)
}

func lint(ctx context.Context, linter, module string, arguments []string) error {
	cmd := exec.CommandContext(ctx, linter, arguments...)
	cmd.Dir = module
	// The cache remembers the paths of the checkout that filled it; shared by two
	// of them, the exclusions by path match in one only.
	cmd.Env = append(os.Environ(), "GOLANGCI_LINT_CACHE="+filepath.Join(filepath.Dir(linter), "cache"))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd.Run()
}
