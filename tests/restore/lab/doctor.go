package lab

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
)

// Doctor is the doctor's program.
func Doctor() string { return filepath.Join(Directory(), "bin", "doctor") }

// Laptop is the script of docs/restore.md that restores without Kubernetes.
func Laptop() string { return filepath.Join(Directory(), "bin", "laptop.sh") }

// CopyNAS is the script of docs/move-nas.md that copies a bucket. The folder has the
// programs that it needs.
func CopyNAS() (script, programs string) {
	return filepath.Join(Directory(), "bin", "copy-nas.sh"), toolsFolder(Directory())
}

// bring takes them from this repository into the lab's directory.
func bring(ctx context.Context, dir string) error {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		return errors.New("the folder of the doctor is unknown: build without -trimpath")
	}
	repository := filepath.Join(filepath.Dir(file), "..", "..", "..")
	build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, "bin", "doctor"), ".")
	build.Dir = filepath.Join(repository, "doctor")
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the doctor: %w\n%s", err, output)
	}
	for _, script := range []string{"laptop.sh", "copy-nas.sh"} {
		if err := copyProgram(filepath.Join(repository, "docs", script), filepath.Join(dir, "bin", script)); err != nil {
			return err
		}
	}
	return nil
}

// KillCommand kills the lab's processes that were started with a word.
func KillCommand(word string) {
	for _, running := range process.Others() {
		if slices.Contains(strings.Split(running.Arguments, "\x00"), word) {
			_ = syscall.Kill(running.PID, syscall.SIGKILL)
		}
	}
}
