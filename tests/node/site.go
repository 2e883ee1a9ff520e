package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

const (
	// switchVariable is what a user sets to say that the machine may be used.
	switchVariable = "E2E_DISPOSABLE_MACHINE"
	// siteVariable holds the site's directory and tells that this process is in
	// the site.
	siteVariable = "CNPG_BACKUP_SITE"
	// directoryPrefix is how sites' directories begin.
	directoryPrefix = "cnpg-backup-site-"
)

// Directory is the site's temporary directory.
func Directory() string { return os.Getenv(siteVariable) }

// Main runs body in a site and returns its exit code. It is called first thing
// in TestMain and starts the calling program anew. What takes the network, like
// building programs and images, is done before; prepare is for what body needs
// of that kind.
func Main(prepare func(context.Context, io.Writer) error, body func() int) int {
	if Directory() != "" {
		return body()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := outside(ctx, os.Stdout, prepare)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return code
}

// allowed refuses to start where root's doings could harm somebody.
func allowed() error {
	if os.Geteuid() != 0 {
		return errors.New("a node needs root, for namespaces, mounts and containers")
	}
	if os.Getenv(switchVariable) != "1" && os.Getenv("CI") != "true" {
		return fmt.Errorf("this installs Debian packages and runs containers as root; "+
			"on a machine where that is fine set %s=1, or test another cluster with E2E_KUBECONFIG", switchVariable)
	}
	return nil
}

// outside prepares, runs this program again inside a site, and cleans up
// whatever became of it.
func outside(ctx context.Context, progress io.Writer, prepare func(context.Context, io.Writer) error) (code int, err error) {
	if err := allowed(); err != nil {
		return 0, err
	}
	unlock, err := lockSite(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if err := Prepare(ctx, progress); err != nil {
		return 0, err
	}
	if err := prepare(ctx, progress); err != nil {
		return 0, err
	}
	if err := sweep(ctx); err != nil {
		return 0, err
	}
	before, err := traces(ctx)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", directoryPrefix)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, cleanUp(context.WithoutCancel(ctx), dir, before)) }()
	if err := makeCgroups(); err != nil {
		return 0, err
	}
	return enter(ctx, dir)
}

// enter runs this program inside the site.
func enter(ctx context.Context, dir string) (int, error) {
	// The parent-death signal is bound to the thread that starts the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), siteVariable+"="+dir, "TMPDIR="+dir, "GOPROXY=off")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	if err != nil {
		return 0, fmt.Errorf("enter the site: %w", err)
	}
	return 0, nil
}

// lockSite keeps a second site off: its cgroups would be the first one's. The
// lock is a socket without a file, which ends with this process.
func lockSite(ctx context.Context) (func(), error) {
	lock, err := (&net.ListenConfig{}).Listen(ctx, "unix", "@"+directoryPrefix+"lock")
	if err != nil {
		return nil, fmt.Errorf("another node runs on this machine, and there can be only one; wait for its end (%w)", err)
	}
	return func() { _ = lock.Close() }, nil
}

// cleanUp removes what does not vanish with the namespaces and complains of what
// remains then.
func cleanUp(ctx context.Context, dir string, before []string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := removeSite(ctx, dir); err != nil {
		return err
	}
	after, err := traces(ctx)
	if err != nil {
		return err
	}
	return compareTraces(before, after)
}

// sweep removes what is left of a site when this program was killed together
// with it.
func sweep(ctx context.Context) error {
	left, err := filepath.Glob(filepath.Join(os.TempDir(), directoryPrefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := removeSite(ctx, dir); err != nil {
			return err
		}
	}
	return removeCgroups(ctx)
}

func removeSite(ctx context.Context, dir string) error {
	if err := endProcesses(ctx, dir); err != nil {
		return err
	}
	if err := removeCgroups(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the site's directory: %w", err)
	}
	return nil
}
