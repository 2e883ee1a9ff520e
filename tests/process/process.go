// Package process runs child processes that end with the test that started
// them, and keeps what they say.
package process

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/await"
)

// grace is how long a process may take to end after it was asked to. PostgreSQL
// archives what it has before it ends.
const grace = 30 * time.Second

// Command says what to run.
type Command struct {
	// Name is what messages and the log file call the process.
	Name string
	// Path is the program's file.
	Path string
	Args []string
	// Env is added to nothing: the process inherits no environment.
	Env []string
	// Dir is the folder that it runs in and that its log lies in, <Name>.log.
	Dir string
}

// Process is a running child process.
type Process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
}

// Start runs the command. Everything that it starts in its turn belongs to its
// process group, and the kernel ends it if this process ends before Stop.
func Start(command Command) (*Process, error) {
	log := filepath.Join(command.Dir, command.Name+".log")
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", command.Name, err)
	}
	defer func() { _ = file.Close() }()
	//nolint:noctx // The process outlives the call; Stop ends it.
	cmd := exec.Command(command.Path, command.Args...)
	cmd.Env, cmd.Dir = append([]string{}, command.Env...), command.Dir
	cmd.Stdout, cmd.Stderr = file, file
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", command.Name, err)
	}
	p := &Process{name: command.Name, log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Name is the name of the command.
func (p *Process) Name() string { return p.name }

// WaitReady calls ready until it succeeds. It fails with the process's log when
// the process ends first or when the context does.
func (p *Process) WaitReady(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-p.done:
			cancel(fmt.Errorf("it ended (%s)", p.cmd.ProcessState))
		case <-ctx.Done():
		}
	}()
	if err := await.Until(ctx, 100*time.Millisecond, ready); err != nil {
		return fmt.Errorf("%s is not ready: %w; its log ends with\n%s", p.name, err, p.Tail(40))
	}
	return nil
}

// Tail returns the last lines of the log.
func (p *Process) Tail(lines int) string { return Tail(p.log, lines) }

// Tail returns the last lines of a file, or why there are none.
func Tail(file string, lines int) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimRight(content, "\n"), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

// Log returns everything that the process has said.
func (p *Process) Log() ([]byte, error) { return os.ReadFile(p.log) }

// Stop asks the process group to end, kills it after a while and returns when
// the process is gone. It may be called twice, and for a process that was never
// started.
func (p *Process) Stop() {
	if p != nil {
		p.end(-p.PID(), syscall.SIGTERM)
	}
}

// StopWith is Stop with a signal to the process alone, which sees to its own
// children.
func (p *Process) StopWith(signal syscall.Signal) {
	if p != nil {
		p.end(p.PID(), signal)
	}
}

// end sends the signal, and kills what is left of the group. One that is gone
// already is what is wanted.
func (p *Process) end(target int, signal syscall.Signal) {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(target, signal)
	}
	select {
	case <-p.done:
	case <-time.After(grace):
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	<-p.done
}
