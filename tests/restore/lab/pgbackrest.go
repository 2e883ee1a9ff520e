package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// PgBackRest backs up and restores with pgBackRest, to be compared with barman. It
// has its defaults but for the codec.
type PgBackRest struct {
	// Prefix is where its files lie in the bucket.
	Prefix string

	instance *Instance
	config   string
}

// pgBackRest configures it for a data directory. The store needs TLS.
func pgBackRest(instance *Instance, store *s3server.Store, compression, prefix string) (*PgBackRest, error) {
	endpoint, err := url.Parse(store.Endpoint)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(endpoint.Host)
	if err != nil || store.Authority == nil {
		return nil, errors.Join(err, fmt.Errorf("pgBackRest wants a store with TLS, not %s", store.Endpoint))
	}
	dir := filepath.Join(instance.dir, prefix)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	authority := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(authority, store.Authority, 0o600); err != nil {
		return nil, err
	}
	p := &PgBackRest{Prefix: prefix, instance: instance, config: filepath.Join(dir, "pgbackrest.conf")}
	lines := []string{
		"[global]",
		"repo1-type=s3", "repo1-path=/" + p.Prefix, "repo1-s3-bucket=" + store.Bucket,
		"repo1-s3-endpoint=" + host, "repo1-storage-port=" + port, "repo1-storage-ca-file=" + authority,
		"repo1-s3-region=us-east-1", "repo1-s3-uri-style=path",
		"repo1-s3-key=" + store.KeyID, "repo1-s3-key-secret=" + store.Key,
		"repo1-retention-full=2", "compress-type=" + compression, "start-fast=y",
		"log-path=" + dir, "lock-path=" + dir, "spool-path=" + dir, "log-level-console=warn", "log-level-file=off",
		"[bench]",
		"pg1-path=" + instance.data(), "pg1-socket-path=" + instance.run(), "pg1-user=postgres",
	}
	return p, os.WriteFile(p.config, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

// WithPgBackRest stops the database and starts it again with pgBackRest as its
// archiver.
func (l *Life) WithPgBackRest(ctx context.Context, store *s3server.Store, compression string) (*PgBackRest, error) {
	l.Stop()
	p, err := pgBackRest(l.Instance, store, compression, "pgbackrest-"+compression)
	if err != nil {
		return nil, err
	}
	if err := l.proceed(ctx, map[string]string{"archive_command": strings.Join(p.command("archive-push", "%p"), " ")}); err != nil {
		return nil, err
	}
	return p, p.run(ctx, "stanza-create")
}

// WithPgBackRest has the segments archived by pgBackRest.
func (b *Backlog) WithPgBackRest(ctx context.Context, store *s3server.Store, compression string) (*PgBackRest, error) {
	p, err := pgBackRest(b.sidecar.instance, store, compression, "pgbackrest-wal-"+compression)
	if err != nil {
		return nil, err
	}
	return p, p.run(ctx, "stanza-create", "--no-online")
}

func (p *PgBackRest) command(arguments ...string) []string {
	return append([]string{"/usr/bin/pgbackrest", "--config=" + p.config, "--stanza=bench"}, arguments...)
}

func (p *PgBackRest) run(ctx context.Context, arguments ...string) error {
	words := p.command(arguments...)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir = p.instance.data()
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pgbackrest %s: %w\n%s", arguments[0], err, output)
	}
	return nil
}

// Backup takes a full backup.
func (p *PgBackRest) Backup(ctx context.Context) error { return p.run(ctx, "backup", "--type=full") }

// Push archives a WAL segment.
func (p *PgBackRest) Push(ctx context.Context, name string) error {
	return p.run(ctx, "archive-push", filepath.Join("pg_wal", name))
}

// Get fetches a WAL segment.
func (p *PgBackRest) Get(ctx context.Context, name string) error {
	return p.run(ctx, "archive-get", name, filepath.Join("pg_wal", "RECOVERYXLOG"))
}

// Restore restores the newest backup into a directory and recovers just as far as
// it has to.
func (p *PgBackRest) Restore(ctx context.Context, dir string) (*Instance, error) {
	restored := instanceAt(dir)
	if err := os.MkdirAll(restored.data(), 0o700); err != nil {
		return nil, err
	}
	if err := p.run(ctx, "restore", "--pg1-path="+restored.data(), "--type=immediate", "--target-action=promote"); err != nil {
		return nil, err
	}
	return restored, restored.start(ctx, restored.baseSettings())
}
