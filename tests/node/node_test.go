//go:build e2e

package node_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/node"
)

// victimVariable tells this program to be the one that is killed.
const victimVariable = "NODE_TEST_VICTIM"

func TestMain(m *testing.M) {
	if os.Getenv(victimVariable) == "" {
		os.Exit(m.Run())
	}
	nothing := func(context.Context, io.Writer) error { return nil }
	os.Exit(node.Main(nothing, victim))
}

// victim starts a node and is killed.
func victim() int {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if _, err := node.Start(ctx, os.Stdout); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("about to be killed")
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	return 0
}

func TestNothingIsLeftOfANodeWhoseTestIsKilled(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), victimVariable+"=1", "E2E_DISPOSABLE_MACHINE=1")
	output, err := cmd.CombinedOutput()
	t.Logf("%s", output)
	require.Error(t, err)
	require.Contains(t, string(output), "about to be killed")
	assert.NotContains(t, string(output), "left behind")
	for _, pattern := range []string{
		filepath.Join(os.TempDir(), "cnpg-backup-site-*"), "/sys/fs/cgroup/*/cnpg-backup-site", "/sys/fs/cgroup/cnpg-backup-site",
	} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		assert.Empty(t, found)
	}
}

func TestANodeIsRefusedWithoutTheSwitch(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), victimVariable+"=1", "E2E_DISPOSABLE_MACHINE=", "CI=")
	output, err := cmd.CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(output), "set E2E_DISPOSABLE_MACHINE=1")
}
