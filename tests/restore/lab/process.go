package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// server is a child process that runs until it is stopped.
type server struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// startServer starts a program in a process group of its own, logging to a file.
func startServer(name, logFile string, environment []string, program string, arguments ...string) (*server, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	s := &server{name: name, done: make(chan struct{})}
	s.cmd = exec.Command(program, arguments...) //nolint:noctx // stopped by stop
	s.cmd.Env = append(os.Environ(), environment...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	return s, nil
}

// stop sends a signal and waits; after a while it kills.
func (s *server) stop(signal syscall.Signal) {
	if s == nil {
		return
	}
	_ = s.cmd.Process.Signal(signal)
	select {
	case <-s.done:
	case <-time.After(30 * time.Second):
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.done
	}
}

// await polls until ready returns nil, the server ends, or time is up.
func (s *server) await(ctx context.Context, logFile string, limit time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("%s ended: %w\n%s", s.name, s.err, tail(logFile))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %s: %w\n%s", s.name, limit, err, tail(logFile))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// tail is the end of a log.
func tail(logFile string) string {
	const most = 4000
	file, err := os.Open(logFile)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil && info.Size() > most {
		if _, err := file.Seek(-most, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	content, err := io.ReadAll(file)
	if err != nil {
		return err.Error()
	}
	return string(content)
}
