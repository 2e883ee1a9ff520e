// Package tools builds the programs that the sandbox and the tests run, each
// from its own pinned Go module in a folder beside this file. Nothing has to be
// installed for them but Go.
package tools

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Tool is a program that is built from a pinned Go module.
type Tool struct {
	// Name is the file name of the binary.
	Name string
	// Module is the folder beside this file with the go.mod that pins the
	// program, for instance "pulumi".
	Module string
	// Package is the import path of the program's main package.
	Package string
	// LDFlags are handed to the linker, for instance to set the version, which
	// they are told. Default: none.
	LDFlags func(version string) string
}

// Build returns the path of the tool's binary and compiles it first when it is
// not there or when its go.mod, go.sum, local sources or the Go release have
// changed. It reports on progress while it compiles. Several processes may
// build the same tool; one does the work.
func (t Tool) Build(ctx context.Context, progress io.Writer) (string, error) {
	module, binary, flags, err := t.plan()
	if err != nil {
		return "", fmt.Errorf("build %s: %w", t.Name, err)
	}
	if err := os.MkdirAll(filepath.Dir(binary), 0o755); err != nil {
		return "", fmt.Errorf("build %s: %w", t.Name, err)
	}
	unlock, err := Lock(ctx, binary+".lock")
	if err != nil {
		return "", fmt.Errorf("build %s: %w", t.Name, err)
	}
	defer unlock()
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	if err := t.compile(ctx, progress, module, flags, binary); err != nil {
		return "", fmt.Errorf("build %s from %s: %w", t.Name, t.Package, err)
	}
	return binary, nil
}

// Download fetches the modules that Build takes, for a time in which the line is
// idle. What goes wrong is told by Build.
func (t Tool) Download(ctx context.Context) {
	module, binary, _, err := t.plan()
	if err != nil {
		return
	}
	if _, err := os.Stat(binary); err == nil {
		return
	}
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", t.Package)
	cmd.Dir = module
	cmd.Env = append(cmd.Environ(), "GOWORK=off")
	_ = cmd.Run()
}

// plan says where the tool's module is, where its binary will be, and what the
// linker is told.
func (t Tool) plan() (module, binary, flags string, err error) {
	here, err := folder()
	if err != nil {
		return "", "", "", err
	}
	module = filepath.Join(here, t.Module)
	if flags, err = t.linkerFlags(); err != nil {
		return "", "", "", err
	}
	key, err := t.key(module, flags)
	return module, filepath.Join(here, ".bin", t.Module+"-"+key, t.Name), flags, err
}

// Wanted is a tool, and where to put the path of its binary and, unless nil,
// that of its module's source and its version.
type Wanted struct {
	Tool                    Tool
	Binary, Source, Version *string
}

// BuildAll builds tools one after the other, or finds them.
func BuildAll(ctx context.Context, progress io.Writer, all []Wanted) error {
	for _, wanted := range all {
		var err error
		if *wanted.Binary, err = wanted.Tool.Build(ctx, progress); err != nil {
			return err
		}
		if wanted.Source != nil {
			if *wanted.Source, err = wanted.Tool.Source(ctx); err != nil {
				return err
			}
		}
		if wanted.Version != nil {
			if *wanted.Version, err = wanted.Tool.Version(); err != nil {
				return err
			}
		}
	}
	return nil
}

// folder is where this file lies: the modules are beside it.
func folder() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		return "", errors.New("the folder of the tools is unknown: build without -trimpath")
	}
	return filepath.Dir(file), nil
}

func (t Tool) linkerFlags() (string, error) {
	if t.LDFlags == nil {
		return "", nil
	}
	version, err := t.Version()
	if err != nil {
		return "", err
	}
	return t.LDFlags(version), nil
}

// key changes whenever the binary would.
func (t Tool) key(module, flags string) (string, error) {
	sum := sha256.New()
	files, err := filepath.Glob(filepath.Join(module, "*.go"))
	if err != nil {
		return "", err
	}
	for _, name := range append(files, filepath.Join(module, "go.mod"), filepath.Join(module, "go.sum")) {
		content, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		sum.Write(content)
	}
	fmt.Fprintln(sum, t.Package, flags, runtime.Version())
	return hex.EncodeToString(sum.Sum(nil))[:12], nil
}

// Lock takes an exclusive lock that ends with the process at the latest.
func Lock(ctx context.Context, name string) (func(), error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			_ = file.Close()
			return nil, err
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// compile builds the tool under another name first, so that the binary is whole
// when it is there. Without options of the compiler, and where there is no C, what it
// has in common with other builds is compiled once.
func (t Tool) compile(ctx context.Context, progress io.Writer, module, flags, binary string) error {
	fmt.Fprintf(progress, "Building %s from its Go module. It is kept for the next time.\n", t.Name)
	partial := binary + ".partial"
	defer func() { _ = os.Remove(partial) }()
	cmd := exec.CommandContext(ctx, "go", "build", "-v", "-ldflags", "-s -w "+flags, "-o", partial, t.Package)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-buildvcs=false")
	if err := Compile(progress, t.Name, cmd); err != nil {
		return err
	}
	return os.Rename(partial, binary)
}

// quiet is how long a build may take without a word.
const quiet = 5 * time.Second

// Compile runs a go build -v that is not started yet and counts the packages
// that it names on its way. It says nothing when there is nothing to do.
func Compile(progress io.Writer, name string, cmd *exec.Cmd) error {
	start := time.Now()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	compiled, complaints := report(progress, name, start, stderr)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w\n%s", err, complaints)
	}
	if compiled > 0 || time.Since(start) > quiet {
		fmt.Fprintf(progress, "Built %s in %s.\n", name, time.Since(start).Round(time.Second))
	}
	return nil
}

// report says every few seconds how many packages are compiled and returns their
// number and the lines that are not package paths: the compiler's complaints.
func report(progress io.Writer, name string, start time.Time, stderr io.Reader) (compiled int, complaints string) {
	lines := make(chan string)
	go func() {
		defer close(lines) // The build's end closes stderr.
		for scanner := bufio.NewScanner(stderr); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	ticker := time.NewTicker(quiet)
	defer ticker.Stop()
	var other bytes.Buffer
	for {
		select {
		case <-ticker.C:
			fmt.Fprintf(progress, "  %s: %d packages compiled, %s\n", name, compiled, time.Since(start).Round(time.Second))
		case line, more := <-lines:
			switch {
			case !more:
				return compiled, other.String()
			case strings.HasPrefix(line, "go: downloading"):
			case strings.ContainsAny(line, " #:"):
				fmt.Fprintln(&other, line)
			default:
				compiled++
			}
		}
	}
}
