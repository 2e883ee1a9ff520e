package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// compilation is what it costs to compile a program from nothing.
type compilation struct {
	// seconds are on the clock, cpu those of all cores.
	seconds, cpu float64
	// largest is the memory of the largest process, all of those that ran at the
	// same time.
	largest, all int64
}

// compile builds the program in a folder with an empty build cache. Modules
// have been downloaded before.
func compile(ctx context.Context, folder string) (result compilation, err error) {
	temporary, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(temporary, "program"), ".")
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GOCACHE="+filepath.Join(temporary, "cache"), "GOFLAGS=", "GOWORK=off")
	cmd.Stderr = os.Stderr

	start := time.Now()
	stop := watch(ctx, os.Getpid())
	err = cmd.Run()
	result.all = stop()
	result.seconds = time.Since(start).Seconds()
	if err != nil {
		return result, fmt.Errorf("compile %s: %w", folder, err)
	}
	result.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		result.largest = usage.Maxrss * 1024
	}
	return result, nil
}
