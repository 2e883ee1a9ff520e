package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Standby makes a server that follows this one, with a sidecar of its own. It
// archives nothing until it is promoted, and then to a folder.
func (l *Life) Standby(ctx context.Context, dir string, to Folder) (*Life, error) {
	instance := instanceAt(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, postgresProgram("pg_basebackup"), "--pgdata", instance.data(),
		"--host", l.run(), "--username", "postgres", "--wal-method", "stream", "--checkpoint", "fast", "--no-sync")
	if output, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("pg_basebackup: %w\n%s", err, output)
	}
	// The folder belongs to the primary's life.
	if err := os.Remove(filepath.Join(instance.data(), emptyArchiveCheck)); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	standby := &Life{instance, &Sidecar{instance: instance, secrets: l.secrets, to: &to}}
	if err := os.WriteFile(filepath.Join(instance.data(), "standby.signal"), nil, 0o600); err != nil {
		return nil, err
	}
	if err := standby.writeUpstream(l); err != nil {
		return nil, err
	}
	if err := standby.serve(ctx); err != nil {
		return nil, err
	}
	settings := instance.baseSettings()
	settings["archive_mode"] = "on"
	settings["archive_command"] = standby.command(archiveCommand, "%p")
	if err := instance.launch(settings); err != nil {
		return nil, err
	}
	return standby, instance.awaitRecovering(ctx, true)
}

func (l *Life) writeUpstream(primary *Life) error {
	setting := fmt.Sprintf("primary_conninfo = 'host=%s user=postgres'\n", primary.run())
	return os.WriteFile(l.upstreamFile(), []byte(setting), 0o600)
}

func (l *Life) upstreamFile() string { return filepath.Join(l.data(), "postgresql.auto.conf") }

// Follow makes a standby follow another primary.
func (l *Life) Follow(ctx context.Context, primary *Life) error {
	if err := l.writeUpstream(primary); err != nil {
		return err
	}
	return l.Exec(ctx, "select pg_reload_conf()")
}

// CutOff makes a standby get nothing more from anybody.
func (l *Life) CutOff(ctx context.Context) error {
	if err := os.WriteFile(l.upstreamFile(), []byte("primary_conninfo = ''\n"), 0o600); err != nil {
		return err
	}
	if err := l.Exec(ctx, "select pg_reload_conf()"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return l.process.WaitReady(ctx, func(ctx context.Context) error {
		var receiving bool
		err := l.Query(ctx, &receiving, "select count(*) > 0 from pg_stat_wal_receiver")
		if err == nil && receiving {
			err = errors.New("the standby still receives")
		}
		return err
	})
}

// CatchUp waits until a standby has replayed all that its primary has written.
func (l *Life) CatchUp(ctx context.Context, primary *Life) error {
	var position string
	if err := primary.Query(ctx, &position, "select pg_current_wal_lsn()"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return l.process.WaitReady(ctx, func(ctx context.Context) error {
		var behind bool
		err := l.Query(ctx, &behind, "select pg_last_wal_replay_lsn() < '"+position+"'::pg_lsn")
		if err == nil && behind {
			err = fmt.Errorf("the standby is still before %s", position)
		}
		return err
	})
}

// Promote makes a primary of a standby.
func (l *Life) Promote(ctx context.Context) error {
	if err := l.Exec(ctx, "select pg_promote()"); err != nil {
		return err
	}
	return l.awaitRecovering(ctx, false)
}

// Crash ends server and sidecar as a power failure would.
func (l *Life) Crash() {
	l.process.StopWith(syscall.SIGQUIT)
	_ = l.db.Close()
	l.stopServing()
}

// RecoveredTo is the WAL segment, without its timeline, in which the recovery
// of a restored server ended, and whether that was at its very beginning. It is
// PostgreSQL's own word, from the history of the timeline that it began.
func (l *Life) RecoveredTo(ctx context.Context) (segment string, atItsBeginning bool, err error) {
	var timeline int
	if err := l.Query(ctx, &timeline, "select timeline_id from pg_control_checkpoint()"); err != nil {
		return "", false, err
	}
	content, err := os.ReadFile(filepath.Join(l.data(), "pg_wal", fmt.Sprintf("%08X.history", timeline)))
	if err != nil {
		return "", false, err
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	var parent int
	var log, offset uint32
	if _, err := fmt.Sscanf(lines[len(lines)-1], "%d %X/%X", &parent, &log, &offset); err != nil {
		return "", false, fmt.Errorf("history %q: %w", content, err)
	}
	return fmt.Sprintf("%08X%08X", log, offset>>24), offset&0xFFFFFF == 0, nil
}
