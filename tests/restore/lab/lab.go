// Package lab is where databases are backed up, mirrored, lost and restored:
// PostgreSQL and barman's cloud tools of a Debian release, S3 servers and rclone
// built from their modules, all on loopback.
//
// It does what CloudNativePG and the Barman Cloud plugin do around those
// programs, with the library that the plugin's sidecar uses, and runs the
// mirror's job as the component renders it.
package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
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
//	outside   as root: builds, makes a temporary directory
//	entering  as root in a PID and a mount namespace of its own, where killing
//	          the first process kills all, and mounts vanish
//	inside    as user postgres in the Debian release's root: everything else
const (
	stageVariable     = "CNPG_BACKUP_LAB_STAGE"
	directoryVariable = "CNPG_BACKUP_LAB_DIRECTORY"
	rootVariable      = "CNPG_BACKUP_LAB_ROOT"
	stageEntering     = "entering"
	stageInside       = "inside"

	// account is what everything inside runs as.
	account = "postgres"

	// smallDisk is the size of the file system at [SmallDisk].
	smallDisk = "96m"
)

// Main runs body inside the lab and returns its exit code. It is called first
// thing in main or TestMain, and starts the calling program anew.
func Main(body func() int) int {
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
		if code, err = outside(ctx, os.Stdout); err == nil {
			return code
		}
	}
	fmt.Fprintln(os.Stderr, "restore lab:", err)
	return 1
}

// Directory is the lab's temporary directory.
func Directory() string { return os.Getenv(directoryVariable) }

// Plugin is the newest release of the Barman Cloud plugin whose barman is not
// newer than the lab's.
func Plugin() string {
	release, err := debian.ChosenRelease()
	if err != nil {
		panic(err) // outside has checked it
	}
	return release.Plugin
}

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
	options.Kind = cmp.Or(options.Kind, s3server.MinIO)
	options.Program = serverProgram(Directory(), options.Kind)
	return s3server.New(ctx, dir, bucket, options)
}

// SmallDisk is a directory on a file system of its own that is easily filled.
func SmallDisk() string { return "/mnt/small-disk" }

// outside makes the lab, runs it, and cleans up behind it.
func outside(ctx context.Context, progress io.Writer) (int, error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("root is needed, to make a Debian root and to become the user postgres: run it with sudo")
	}
	release, err := debian.ChosenRelease()
	if err != nil {
		return 0, err
	}
	root, err := release.Root(ctx, progress)
	if err != nil {
		return 0, err
	}
	servers, err := buildServers(ctx, progress)
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
	if err := furnish(dir, root, servers, rclone); err != nil {
		return 0, err
	}
	if err := bring(ctx, dir); err != nil {
		return 0, err
	}
	environment := append(os.Environ(), stageVariable+"="+stageEntering, directoryVariable+"="+dir, rootVariable+"="+root)

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

// buildServers builds the programs of all kinds.
func buildServers(ctx context.Context, progress io.Writer) (map[s3server.Kind]string, error) {
	if _, err := s3server.NAS(); err != nil {
		return nil, err
	}
	programs := map[s3server.Kind]string{}
	for _, kind := range []s3server.Kind{s3server.MinIO, s3server.VersityGW} {
		var err error
		if programs[kind], err = kind.Tool().Build(ctx, progress); err != nil {
			return nil, err
		}
	}
	return programs, nil
}

// serverProgram is where a server's program is in the lab's directory.
func serverProgram(dir string, kind s3server.Kind) string {
	return filepath.Join(dir, "bin", string(kind))
}

func labProgram(dir string) string  { return filepath.Join(dir, "bin", "lab") }
func toolsFolder(dir string) string { return filepath.Join(dir, "copy-image") }

// furnish puts into the directory what the user postgres is to run: this
// program, the S3 servers, and the programs of the mirror's copy image, which are
// BusyBox and rclone and nothing else.
func furnish(dir, root string, servers map[s3server.Kind]string, rclone string) error {
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
	for kind, program := range servers {
		if err := copyProgram(program, serverProgram(dir, kind)); err != nil {
			return err
		}
	}
	list := exec.Command(busybox, "--list") //nolint:noctx // returns at once
	list.Dir, list.SysProcAttr = "/", &syscall.SysProcAttr{Chroot: root}
	applets, err := list.Output()
	if err != nil {
		return fmt.Errorf("list the applets of BusyBox: %w", err)
	}
	if err := copyProgram(rclone, filepath.Join(toolsFolder(dir), "rclone")); err != nil {
		return err
	}
	for applet := range strings.FieldsSeq(string(applets)) {
		if err := os.Symlink(busybox, filepath.Join(toolsFolder(dir), applet)); err != nil {
			return err
		}
	}
	return nil
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

// busybox is where every root has it.
const busybox = "/usr/bin/busybox"

// enter changes into the root, mounts what the lab needs, gives up root and starts
// this program anew.
func enter() error {
	root, dir := os.Getenv(rootVariable), "/mnt/lab"
	uid, gid, err := accountIDs(root)
	if err != nil {
		return err
	}
	if err := os.Chown(Directory(), uid, gid); err != nil {
		return err
	}
	options := fmt.Sprintf("mode=0755,uid=%d,gid=%d", uid, gid)
	if err := mountAll([]mount{
		{"", "/", "", "", syscall.MS_REC | syscall.MS_PRIVATE},
		// Several labs share a root.
		{root, root, "", "", syscall.MS_BIND},
		{"", root, "", "", syscall.MS_BIND | syscall.MS_REMOUNT | syscall.MS_RDONLY},
		{"proc", root + "/proc", "proc", "", 0},
		{"/dev", root + "/dev", "", "", syscall.MS_BIND | syscall.MS_REC},
		{"tmpfs", root + "/tmp", "tmpfs", "mode=1777", 0},
		{"tmpfs", root + "/mnt", "tmpfs", options, 0},
	}); err != nil {
		return err
	}
	for _, folder := range []string{dir, SmallDisk()} {
		if err := os.Mkdir(root+folder, 0o755); err != nil {
			return err
		}
	}
	if err := mountAll([]mount{
		{Directory(), root + dir, "", "", syscall.MS_BIND},
		{"tmpfs", root + SmallDisk(), "tmpfs", options + ",size=" + smallDisk, 0},
	}); err != nil {
		return err
	}
	if err := errors.Join(syscall.Chroot(root), os.Chdir(dir)); err != nil {
		return fmt.Errorf("enter %s: %w", root, err)
	}
	if err := errors.Join(syscall.Setgroups([]int{gid}), syscall.Setgid(gid), syscall.Setuid(uid)); err != nil {
		return fmt.Errorf("become the user %s: %w", account, err)
	}
	for name, value := range map[string]string{
		stageVariable: stageInside, directoryVariable: dir, "HOME": dir, "TMPDIR": dir, "PATH": "/usr/bin:/bin",
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return syscall.Exec(labProgram(dir), append([]string{"lab"}, os.Args[1:]...), os.Environ())
}

type mount struct {
	what, where, kind, options string
	flags                      uintptr
}

func mountAll(mounts []mount) error {
	for _, m := range mounts {
		if err := syscall.Mount(m.what, m.where, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.where, err)
		}
	}
	return nil
}

// accountIDs are the numbers of the account in a root. The C library would look
// them up in the machine's own.
func accountIDs(root string) (uid, gid int, err error) {
	content, err := os.ReadFile(filepath.Join(root, "etc", "passwd"))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(content)) {
		if name, rest, _ := strings.Cut(line, ":"); name == account {
			_, err = fmt.Sscanf(rest, "x:%d:%d:", &uid, &gid)
			return uid, gid, err
		}
	}
	return 0, 0, fmt.Errorf("%s has no user %s", root, account)
}
