package process_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
)

func shell(t *testing.T, script string) *process.Process {
	t.Helper()
	p, err := process.Start(process.Command{
		Name: "shell", Path: "/bin/sh", Args: []string{"-c", script}, Dir: t.TempDir(),
	})
	require.NoError(t, err)
	t.Cleanup(p.Stop)
	return p
}

func TestAProcessThatEndsBeforeItIsReadyFailsWithItsLog(t *testing.T) {
	p := shell(t, "echo no such store >&2; exit 3")
	err := p.WaitReady(t.Context(), func(context.Context) error { return errors.New("not yet") })
	require.Error(t, err)
	assert.ErrorContains(t, err, "exit status 3")
	assert.ErrorContains(t, err, "no such store")
}

func TestWaitingForAProcessEndsWithTheContext(t *testing.T) {
	p := shell(t, "echo busy; exec sleep 60")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := p.WaitReady(ctx, func(context.Context) error { return errors.New("not yet") })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "not yet")
	assert.ErrorContains(t, err, "busy")
}

func TestStopEndsWhatTheProcessHasStarted(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	p := shell(t, "sleep 60 & echo $! > "+pids+"; wait")
	var child int
	require.NoError(t, p.WaitReady(t.Context(), func(context.Context) error {
		content, err := os.ReadFile(pids)
		if err != nil {
			return err
		}
		child, err = strconv.Atoi(strings.TrimSpace(string(content)))
		return err
	}))
	p.Stop()
	assert.Eventually(t, func() bool {
		return errors.Is(syscall.Kill(child, 0), syscall.ESRCH)
	}, 5*time.Second, 50*time.Millisecond, "the child %d lives on", child)
}

func TestWhatRunsIsFound(t *testing.T) {
	dir := t.TempDir()
	p, err := process.Start(process.Command{
		Name: "shell", Path: "/bin/sh", Args: []string{"-c", "sleep 60; true"}, Env: []string{"TOLD=it"}, Dir: dir,
	})
	require.NoError(t, err)
	t.Cleanup(p.Stop)
	assert.Contains(t, process.Others(), process.Running{
		PID: p.PID(), Arguments: "/bin/sh\x00-c\x00sleep 60; true\x00", Environment: "TOLD=it\x00", Folder: dir,
	})
}

func TestASignalReachesTheProcessAlone(t *testing.T) {
	heard := filepath.Join(t.TempDir(), "heard")
	p := shell(t, `(trap 'echo child >> `+heard+`; exit' INT; while :; do sleep 0.1; done) &
		trap 'echo parent >> `+heard+`; exit' INT; echo ready; while :; do sleep 0.1; done`)
	require.NoError(t, p.WaitReady(t.Context(), func(context.Context) error {
		if p.Tail(1) != "ready" {
			return errors.New("not yet")
		}
		return nil
	}))
	p.StopWith(syscall.SIGINT)
	content, err := os.ReadFile(heard)
	require.NoError(t, err)
	assert.Equal(t, "parent\n", string(content))
}
