package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/blang/semver"

	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

// findPulumi returns the path of an installed Pulumi that is no older than the
// one that it builds otherwise.
func findPulumi(ctx context.Context, progress io.Writer) (string, error) {
	pinned, err := tools.Pulumi().Version()
	if err != nil {
		return "", err
	}
	if installed, err := exec.LookPath("pulumi"); err == nil && newEnough(ctx, installed, pinned) {
		return installed, nil
	}
	return tools.Pulumi().Build(ctx, progress)
}

// newEnough says whether a Pulumi is of the release or a later one of Pulumi 3.
func newEnough(ctx context.Context, pulumi, release string) bool {
	cmd := exec.CommandContext(ctx, pulumi, "version")
	cmd.Env = append(os.Environ(), "PULUMI_SKIP_UPDATE_CHECK=true")
	printed, err := cmd.Output()
	if err != nil {
		return false
	}
	version, err := semver.ParseTolerant(strings.TrimSpace(string(printed)))
	return err == nil && version.Major == 3 && version.GTE(semver.MustParse(release))
}

// withoutPulumi leaves out what a user has set for Pulumi: a sandbox has its
// own state, passphrase and providers.
func withoutPulumi(environment []string) []string {
	return slices.DeleteFunc(slices.Clone(environment), func(variable string) bool {
		return strings.HasPrefix(variable, "PULUMI_")
	})
}

// run runs Pulumi and returns what it prints to standard output. All that it
// prints goes to shown too. Pulumi is interrupted when the context ends, and
// killed if that does not help.
func (s *Sandbox) run(ctx context.Context, shown io.Writer, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	args = append(args, "--non-interactive", "--stack", s.options.Stack)
	cmd := exec.CommandContext(ctx, s.pulumi, args...)
	cmd.Dir = s.project.folder
	cmd.Env = s.environment
	cmd.Stdout = io.MultiWriter(&stdout, shown)
	cmd.Stderr = io.MultiWriter(&stderr, shown)
	// A group of its own: Pulumi would stop halfway if it got a second interrupt,
	// from the terminal.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return stdout.String(), &Error{Command: args[0], Output: stdout.String() + stderr.String(), err: err}
	}
	return stdout.String(), nil
}

// Error is a failed run of Pulumi.
type Error struct {
	// Command is the Pulumi command, for instance "up".
	Command string
	// Output is what it printed.
	Output string
	// Result is what it did, if it got that far.
	Result *Result

	err error
}

// Error has what Pulumi printed: there the reason is.
func (e *Error) Error() string {
	return fmt.Sprintf("pulumi %s failed (%v):\n%s", e.Command, e.err, strings.TrimSpace(e.Output))
}

// Problems are the errors that ended the run, each once.
func (e *Error) Problems() []string {
	if e.Result == nil {
		return nil
	}
	var problems []string
	for _, problem := range e.Result.Errors {
		if line := "error: " + strings.TrimSpace(problem); !slices.Contains(problems, line) {
			problems = append(problems, line)
		}
	}
	return problems
}

// Unwrap returns the reason for the end of the process.
func (e *Error) Unwrap() error { return e.err }
