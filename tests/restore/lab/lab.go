// Package lab is where databases are backed up, mirrored, lost and restored:
// PostgreSQL and barman's cloud tools from Debian's packages, S3 servers built
// from MinIO's module and rclone built from its own, all on loopback.
//
// It does what CloudNativePG and the Barman Cloud plugin do around those
// programs, with the library that the plugin's sidecar uses, and runs the
// mirror's job as the component renders it.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr/funcr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/debian"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

// PostgreSQL refuses to run as root, and programs that were started must not
// outlive the lab even when it is killed. So the lab's process starts itself
// twice more:
//
//	outside   as root: installs, builds, makes a temporary directory
//	entering  as root in a PID and a mount namespace of its own, where killing
//	          the first process kills all, and mounts vanish
//	inside    as user postgres: everything else
const (
	stageVariable     = "CNPG_BACKUP_LAB_STAGE"
	directoryVariable = "CNPG_BACKUP_LAB_DIRECTORY"
	stageEntering     = "entering"
	stageInside       = "inside"

	// account is what everything inside runs as.
	account = "postgres"

	// smallDisk is the size of the file system at [SmallDisk].
	smallDisk = "96m"
)

// Options say what the lab is to have beyond the usual.
type Options struct {
	// NewerBarman takes barman from Debian 13 instead of 12: it compresses with
	// lz4 and zstd too.
	NewerBarman bool
}

// Main runs body inside the lab and returns its exit code. It is called first
// thing in main or TestMain, and starts the calling program anew.
func Main(options Options, body func() int) int {
	if len(os.Args) > 1 && isWALCommand(os.Args[1]) {
		return walCommand(os.Args[1:])
	}
	var err error
	switch os.Getenv(stageVariable) {
	case stageInside:
		if err = logToFile(); err == nil {
			return body()
		}
	case stageEntering:
		err = enter()
	default:
		ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer cancel()
		var code int
		if code, err = outside(ctx, os.Stdout, options); err == nil {
			return code
		}
	}
	fmt.Fprintln(os.Stderr, "restore lab:", err)
	return 1
}

// Directory is the lab's temporary directory.
func Directory() string { return os.Getenv(directoryVariable) }

// Log is the end of what barman and the library around it said.
func Log() string { return process.Tail(logFile(), 40) }

func logFile() string { return filepath.Join(Directory(), "lab.log") }

// logToFile keeps the library's log, and that of the programs it runs, off the
// terminal.
func logToFile() error {
	file, err := os.OpenFile(logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	log.SetLogger(funcr.New(func(prefix, arguments string) {
		fmt.Fprintln(file, time.Now().UTC().Format(time.StampMilli), prefix, arguments)
	}, funcr.Options{}))
	return nil
}

// NewStore starts an S3 server of the lab.
func NewStore(ctx context.Context, dir, bucket string, options s3server.Options) (*s3server.Store, error) {
	options.Program = filepath.Join(Directory(), "bin", "minio")
	return s3server.New(ctx, dir, bucket, options)
}

// SmallDisk is a directory on a file system of its own that is easily filled.
func SmallDisk() string { return "/mnt/small-disk" }

// outside makes the lab, runs it, and cleans up behind it.
func outside(ctx context.Context, progress io.Writer, options Options) (int, error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("root is needed, to install Debian packages and to become the user postgres: run it with sudo")
	}
	if err := debian.Install(ctx, progress, debianPackages()); err != nil {
		return 0, err
	}
	minio, err := tools.Minio().Build(ctx, progress)
	if err != nil {
		return 0, err
	}
	rclone, err := tools.Rclone().Build(ctx, progress)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "restore-lab-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := furnish(dir, minio, rclone); err != nil {
		return 0, err
	}
	environment := append(os.Environ(), stageVariable+"="+stageEntering, directoryVariable+"="+dir, "HOME="+dir, "TMPDIR="+dir)
	if options.NewerBarman {
		python, err := downloadBarman(ctx, progress, filepath.Join(dir, "barman"))
		if err != nil {
			return 0, err
		}
		environment = append(environment, pythonPath+"="+python,
			"PATH="+filepath.Join(dir, "barman", "usr", "bin")+":"+os.Getenv("PATH"))
	}

	// The parent-death signal is bound to the thread that starts the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, labProgram(dir), os.Args[1:]...)
	cmd.Env = environment
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	} else if err != nil {
		return 0, fmt.Errorf("enter the lab: %w", err)
	}
	return 0, nil
}

func labProgram(dir string) string  { return filepath.Join(dir, "bin", "lab") }
func toolsFolder(dir string) string { return filepath.Join(dir, "copy-image") }

// furnish puts into the directory what the user postgres is to run: this
// program, MinIO, and the programs of the mirror's copy image, which are
// BusyBox and rclone and nothing else.
func furnish(dir, minio, rclone string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, folder := range []string{filepath.Join(dir, "bin"), toolsFolder(dir)} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	if err := copyProgram(self, labProgram(dir)); err != nil {
		return err
	}
	if err := copyProgram(minio, filepath.Join(dir, "bin", "minio")); err != nil {
		return err
	}
	applets, err := exec.Command("busybox", "--list").Output() //nolint:noctx // returns at once
	if err != nil {
		return fmt.Errorf("list the applets of BusyBox: %w", err)
	}
	if err := copyProgram(rclone, filepath.Join(toolsFolder(dir), "rclone")); err != nil {
		return err
	}
	links := map[string]string{}
	for applet := range strings.FieldsSeq(string(applets)) {
		links[applet] = "/usr/bin/busybox"
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(toolsFolder(dir), name)); err != nil {
			return err
		}
	}
	uid, gid, err := accountIDs()
	if err != nil {
		return err
	}
	return os.Chown(dir, uid, gid)
}

func copyProgram(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		_ = target.Close()
		return err
	}
	return target.Close()
}

// enter mounts what the lab needs, gives up root and starts this program anew.
func enter() error {
	uid, gid, err := accountIDs()
	if err != nil {
		return err
	}
	options := fmt.Sprintf("mode=0755,uid=%d,gid=%d", uid, gid)
	for _, mount := range []struct {
		what, where, kind, options string
		flags                      uintptr
	}{
		{"", "/", "", "", syscall.MS_REC | syscall.MS_PRIVATE},
		{"proc", "/proc", "proc", "", 0},
		{"tmpfs", "/mnt", "tmpfs", options, 0},
	} {
		if err := syscall.Mount(mount.what, mount.where, mount.kind, mount.flags, mount.options); err != nil {
			return fmt.Errorf("mount %s: %w", mount.where, err)
		}
	}
	if err := os.Mkdir(SmallDisk(), 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", SmallDisk(), "tmpfs", 0, options+",size="+smallDisk); err != nil {
		return fmt.Errorf("mount %s: %w", SmallDisk(), err)
	}
	if err := errors.Join(syscall.Setgroups([]int{gid}), syscall.Setgid(gid), syscall.Setuid(uid)); err != nil {
		return fmt.Errorf("become the user %s: %w", account, err)
	}
	if err := os.Setenv(stageVariable, stageInside); err != nil {
		return err
	}
	return syscall.Exec(labProgram(Directory()), append([]string{"lab"}, os.Args[1:]...), os.Environ())
}

func accountIDs() (uid, gid int, err error) {
	postgres, err := user.Lookup(account)
	if err != nil {
		return 0, 0, fmt.Errorf("the package postgresql-common makes the user %s: %w", account, err)
	}
	if uid, err = strconv.Atoi(postgres.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(postgres.Gid)
	return uid, gid, err
}
