// Package mirror_test runs the whole script of the mirror's job with the real
// rclone between directories, where anything can be of any age.
package mirror_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/mirror"
	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

// rclone is the program, which TestMain builds.
//
//nolint:gochecknoglobals // TestMain has no other way to hand it on
var rclone string

func TestMain(m *testing.M) {
	var err error
	if rclone, err = tools.Rclone().Build(context.Background(), os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// job is the mirror's job of a cluster called db between two directories.
type job struct {
	archive, mirror string
	env             map[string]string
	// read are the texts of histories, by the content of their files.
	read map[string]string
}

func newJob(t *testing.T) *job {
	t.Helper()
	dir := t.TempDir()
	j := &job{archive: filepath.Join(dir, "archive"), mirror: filepath.Join(dir, "mirror"), env: map[string]string{
		"SERVER_NAME": "db", "GENERATION": "1", "RETENTION_DAYS": "30",
		"BACKUP_PERIOD": "604800", "MAX_BACKUP_AGE": "1213200", "MAX_WAL_AGE": "609300", "WAL_DELAY": "4500",
	}}
	j.in(t, j.archive, "db")
	return j
}

// in is a server name in one of the stores. A store of objects has no folders
// that could be missing, a directory has.
func (j *job) in(t *testing.T, store, server string) folder {
	t.Helper()
	for _, root := range []string{j.archive, j.mirror} {
		for _, part := range []string{"base", "wals"} {
			require.NoError(t, os.MkdirAll(filepath.Join(root, server, part), 0o755))
		}
	}
	return folder(filepath.Join(store, server))
}

func (j *job) archived(t *testing.T, server string) folder {
	t.Helper()
	return j.in(t, j.archive, server)
}
func (j *job) mirrored(t *testing.T, server string) folder {
	t.Helper()
	return j.in(t, j.mirror, server)
}

// ended is how a run of the job ended.
type ended struct {
	mirror.Message
	well   bool
	output string
}

// command is the script as the job's container runs it, and its termination log.
func (j *job) command(ctx context.Context, t *testing.T) (cmd *exec.Cmd, log string) {
	t.Helper()
	script, err := os.ReadFile("../../components/cnpg/mirror.sh")
	require.NoError(t, err)
	log = filepath.Join(t.TempDir(), "termination-log")
	require.NoError(t, os.WriteFile(log, nil, 0o600))
	temporary := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(temporary, "histories"), 0o755))
	for content, text := range j.read {
		name := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
		require.NoError(t, os.WriteFile(filepath.Join(temporary, "histories", name), []byte(text), 0o600))
	}
	cmd = exec.CommandContext(ctx, "sh", "-c", string(script))
	cmd.Env = []string{
		"PATH=" + filepath.Dir(rclone) + ":" + os.Getenv("PATH"), "TMPDIR=" + temporary, "HISTORIES=histories", "RCLONE_CONFIG=/notfound",
		"TERMINATION_LOG=" + log, "ARCHIVE=" + j.archive, "MIRROR=" + j.mirror, "FIRST_SERVER=db",
		"ARCHIVE_DATA_ENCRYPTION=", "ARCHIVE_WAL_ENCRYPTION=", "MIRROR_DATA_ENCRYPTION=", "MIRROR_WAL_ENCRYPTION=",
	}
	for name, value := range j.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd, log
}

// run runs the script to its end.
func (j *job) run(t *testing.T) ended {
	t.Helper()
	cmd, log := j.command(t.Context(), t)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	result := ended{well: err == nil, output: output.String()}
	content, err := os.ReadFile(log)
	require.NoError(t, err)
	result.Message, err = mirror.Parse(content)
	require.NoError(t, err, result.output)
	require.Equal(t, result.well, result.OK, result.output)
	return result
}

// runAndKill kills all of the script's processes some time after it has said
// something. It returns how long the script ran from then on, and whether it was
// killed.
func (j *job) runAndKill(t *testing.T, said string, after time.Duration) (took time.Duration, killed bool) {
	t.Helper()
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	cmd, _ := j.command(ctx, t)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	output, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var since time.Time
	stop := func() bool { return true }
	for lines := bufio.NewScanner(output); lines.Scan(); {
		if strings.Contains(lines.Text(), said) {
			stop()
			since, stop = time.Now(), time.AfterFunc(after, kill).Stop
		}
	}
	err = cmd.Wait()
	stop()
	require.NotZero(t, since, "it never said %q", said)
	if ctx.Err() == nil {
		require.NoError(t, err)
	}
	return time.Since(since), ctx.Err() != nil && err != nil
}

// codes are the codes of what the run found, those that fail it with "!".
func (e ended) codes() []string {
	codes := []string{}
	for _, p := range e.Problems {
		code := p.Code
		if p.Fails {
			code += "!"
		}
		codes = append(codes, code)
	}
	return codes
}

// lastLine is the last that the run said, without its time.
func (e ended) lastLine() string {
	lines := strings.Split(strings.TrimSpace(e.output), "\n")
	_, said, _ := strings.Cut(lines[len(lines)-1], " ")
	return said
}
