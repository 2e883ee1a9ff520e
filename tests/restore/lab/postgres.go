package lab

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	_ "github.com/lib/pq" // the driver that database/sql uses

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
)

// postgresProgram is where Debian keeps a program of the server: there is one
// major version in the root.
func postgresProgram(name string) string {
	programs, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(programs) == 0 {
		return name
	}
	return programs[0]
}

// Instance is one PostgreSQL server. Its directory holds data/ and run/.
type Instance struct {
	dir     string
	process *process.Process
	db      *sql.DB
}

// instanceAt describes a server whose files are below a directory.
func instanceAt(dir string) *Instance { return &Instance{dir: dir} }

func (i *Instance) data() string { return filepath.Join(i.dir, "data") }
func (i *Instance) run() string  { return filepath.Join(i.dir, "run") }

// Settings is the file with the server's settings.
func (i *Instance) Settings() string { return filepath.Join(i.data(), "postgresql.conf") }

// initialize makes an empty database.
func (i *Instance) initialize(ctx context.Context, arguments ...string) error {
	arguments = append([]string{
		"--pgdata", i.data(), "--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync",
	}, arguments...)
	cmd := exec.CommandContext(ctx, postgresProgram("initdb"), arguments...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, output)
	}
	return nil
}

// start starts the server with settings and waits until it takes connections
// for writing: a server that recovers does so when it is done.
func (i *Instance) start(ctx context.Context, settings map[string]string) error {
	if err := i.launch(settings); err != nil {
		return err
	}
	return i.awaitRecovering(ctx, false)
}

// launch starts the server with settings.
func (i *Instance) launch(settings map[string]string) error {
	if err := os.MkdirAll(i.run(), 0o700); err != nil {
		return err
	}
	arguments := []string{"-D", i.data()}
	for name, value := range settings {
		arguments = append(arguments, "-c", name+"="+value)
	}
	var err error
	i.process, err = process.Start(process.Command{
		Name: "postgres", Path: postgresProgram("postgres"), Args: arguments, Env: os.Environ(), Dir: i.dir,
	})
	if err != nil {
		return err
	}
	i.db, err = sql.Open("postgres", "host="+i.run()+" user=postgres dbname=postgres sslmode=disable")
	if err != nil {
		return err
	}
	i.db.SetMaxOpenConns(4)
	return nil
}

// awaitRecovering waits until the server takes connections, as one that
// recovers, or follows another one, or does not. It waits for ten minutes, or for as
// long as ctx says.
func (i *Instance) awaitRecovering(ctx context.Context, want bool) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 10*time.Minute)
		defer cancel()
	}
	return i.process.WaitReady(ctx, func(ctx context.Context) error {
		var recovering bool
		if err := i.db.QueryRowContext(ctx, "select pg_is_in_recovery()").Scan(&recovering); err != nil {
			return err
		}
		if recovering != want {
			return fmt.Errorf("recovering is %t", recovering)
		}
		return nil
	})
}

// baseSettings are those that every server of the lab needs. Durability on this
// machine's disk is not what is tested.
func (i *Instance) baseSettings() map[string]string {
	return map[string]string{
		"listen_addresses":        "",
		"unix_socket_directories": i.run(),
		"fsync":                   "off",
		"max_wal_size":            "1GB",
		"shared_buffers":          "64MB",
		"log_line_prefix":         "%m [%p] ",
	}
}

// Stop ends the server; its files stay.
func (i *Instance) Stop() {
	if i.db != nil {
		_ = i.db.Close()
	}
	i.process.StopWith(syscall.SIGINT)
}

// Exec runs a statement.
func (i *Instance) Exec(ctx context.Context, statement string, arguments ...any) error {
	if _, err := i.db.ExecContext(ctx, statement, arguments...); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// Query reads one value.
func (i *Instance) Query(ctx context.Context, into any, query string) error {
	if err := i.db.QueryRowContext(ctx, query).Scan(into); err != nil {
		return fmt.Errorf("%s: %w", query, err)
	}
	return nil
}

// Contents is what a database holds.
type Contents struct {
	Rows int64
	Sum  string
}

// CreateTable makes the table that [Instance.Insert] fills.
func (i *Instance) CreateTable(ctx context.Context) error {
	return i.Exec(ctx, `create table ledger (id bigserial primary key, at timestamptz not null default clock_timestamp(), entry text not null)`)
}

// Insert adds rows of about 200 bytes in one transaction.
func (i *Instance) Insert(ctx context.Context, rows int) error {
	return i.Exec(ctx, `insert into ledger (entry)
		select md5(random()::text) || md5(random()::text) || repeat('lorem ipsum ', 10) from generate_series(1, $1)`, rows)
}

// Contents counts and sums up all rows.
func (i *Instance) Contents(ctx context.Context) (Contents, error) {
	var c Contents
	err := i.db.QueryRowContext(ctx,
		`select count(*), coalesce(md5(string_agg(md5(l::text), '' order by id)), '') from ledger l`).Scan(&c.Rows, &c.Sum)
	if err != nil {
		return Contents{}, fmt.Errorf("sum up the table: %w", err)
	}
	return c, nil
}

// Now is the server's time, to restore to.
func (i *Instance) Now(ctx context.Context) (string, error) {
	var now string
	err := i.Query(ctx, &now, `select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`)
	return now, err
}

// Segment is the WAL segment that is being written, without its timeline.
func (i *Instance) Segment(ctx context.Context) (string, error) {
	var name string
	err := i.Query(ctx, &name, "select substr(pg_walfile_name(pg_current_wal_insert_lsn()), 9)")
	return name, err
}

// SwitchWAL ends the current WAL segment, in a transaction of its own.
func (i *Instance) SwitchWAL(ctx context.Context) error {
	return i.Exec(ctx, "select pg_switch_wal()")
}

// Archived ends the current WAL segment and waits until all are archived.
func (i *Instance) Archived(ctx context.Context) error {
	if err := i.SwitchWAL(ctx); err != nil {
		return err
	}
	return i.AwaitArchived(ctx)
}

// WaitingWAL counts the complete WAL segments, and other files of WAL, that are not
// archived yet.
func (i *Instance) WaitingWAL(ctx context.Context) (int, error) {
	var waiting int
	err := i.Query(ctx, &waiting, `select count(*) from pg_ls_archive_statusdir() where name like '%.ready'`)
	return waiting, err
}

// AwaitArchived waits until all complete WAL segments are archived.
func (i *Instance) AwaitArchived(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	return i.process.WaitReady(ctx, func(ctx context.Context) error {
		waiting, err := i.WaitingWAL(ctx)
		if err == nil && waiting > 0 {
			err = fmt.Errorf("%d WAL files are still not archived", waiting)
		}
		return err
	})
}

// shellQuote makes one word of a shell of a path.
func shellQuote(path string) string {
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
