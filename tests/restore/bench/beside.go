package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	barmanapi "github.com/cloudnative-pg/barman-cloud/pkg/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

const (
	// besideRows make a database of about 150 MB.
	besideRows = 500_000
	// besideSegments is how much WAL each of the programs archives and fetches.
	besideSegments = 8
)

// figures are what one program with one codec cost.
type figures struct {
	program                         string
	backup, restore, archive, fetch cost
	data, wal                       float64
}

// beside is where barman and pgBackRest do the same.
type beside struct {
	*world
	store   *s3server.Store
	archive lab.Folder
	life    *lab.Life
	backlog *lab.Backlog
}

// secrets are those of a namespace whose archive is this store.
func (b *beside) secrets() client.Client {
	return lab.Secrets(namespace, map[string]*s3server.Store{"b2-cnpg-credentials": b.store}, nil)
}

// besideFigures prints what barman and pgBackRest cost for the same data, to and
// from one store with TLS, which pgBackRest wants.
func (w *world) besideFigures(ctx context.Context) error {
	b, err := w.newBeside(ctx)
	if err != nil {
		return err
	}
	defer b.store.Stop()
	defer b.life.Stop()
	var size int64
	if err := b.life.Query(ctx, &size, "select (sum(pg_database_size(oid)) / 1000000)::bigint from pg_database"); err != nil {
		return err
	}
	var all []figures
	for _, codec := range []barmanapi.CompressionType{
		barmanapi.CompressionTypeGzip, barmanapi.CompressionTypeZstd, barmanapi.CompressionTypeLz4, "",
	} {
		one, err := b.barman(ctx, codec)
		if err != nil {
			// Base backups take barman 3.18 for lz4 and 3.20 for zstd.
			fmt.Printf("%s: not measured: %s\n", one.program, firstLine(err))
			continue
		}
		all = append(all, one)
	}
	for _, codec := range []string{"gz", "zst"} {
		one, err := b.pgBackRest(ctx, codec)
		if err != nil {
			return err
		}
		all = append(all, one)
	}

	fmt.Printf("\nBarman beside pgBackRest: seconds, and those of the CPU in brackets; a database of %d MB, %d WAL segments\n",
		size, besideSegments)
	fmt.Println("| | base backup | stored, MB | restore | archived, each | fetched, each | stored, MB |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, one := range all {
		fmt.Printf("| %s | %s | %.0f | %s | %s | %s | %.0f |\n",
			one.program, one.backup, one.data, one.restore, one.archive.each(), one.fetch.each(), one.wal)
	}
	return nil
}

// each is the part of one segment.
func (c cost) each() string {
	return fmt.Sprintf("%.2f (%.2f)", c.wall.Seconds()/besideSegments, c.cpu.Seconds()/besideSegments)
}

func (w *world) newBeside(ctx context.Context) (*beside, error) {
	b := &beside{world: w}
	var err error
	if b.store, err = w.store(ctx, "beside", s3server.Options{TLS: true}); err != nil {
		return nil, err
	}
	authority := filepath.Join(w.dir, "beside.crt")
	if err := os.WriteFile(authority, b.store.Authority, 0o600); err != nil {
		return nil, err
	}
	if b.archive, err = w.archive(b.store.Endpoint); err != nil {
		return nil, err
	}
	b.archive = b.archive.Trusting(authority)
	b.archive.Store.Spec.Configuration.DestinationPath = "s3://beside/barman"
	// Both without server-side encryption.
	b.archive.Store.Spec.Configuration.Wal.Encryption, b.archive.Store.Spec.Configuration.Data.Encryption = "", ""
	if b.backlog, err = lab.NewBacklog(ctx, filepath.Join(w.dir, "beside-wal"), b.secrets(), besideSegments); err != nil {
		return nil, err
	}
	if b.life, err = lab.Begin(ctx, filepath.Join(w.dir, "beside-data"), b.secrets(), b.archive); err != nil {
		return nil, err
	}
	// What is written before is not what is measured.
	b.life.ArchiveBy(func(context.Context, string, []byte) error { return nil })
	if err := b.life.CreateTable(ctx); err != nil {
		return nil, err
	}
	if err := b.life.Insert(ctx, besideRows); err != nil {
		return nil, err
	}
	if err := b.life.Archived(ctx); err != nil {
		return nil, err
	}
	b.life.ArchiveBy(nil)
	return b, nil
}

func (b *beside) barman(ctx context.Context, codec barmanapi.CompressionType) (figures, error) {
	one := figures{program: "barman " + nameOf(codec)}
	folder := b.archive.WithData(codec)
	var id string
	var err error
	one.backup, err = measure(func() error {
		backup, err := b.life.WritingTo(folder).Backup(ctx)
		if err == nil {
			id = backup.ID
		}
		return err
	})
	if err != nil {
		return one, err
	}
	if err := b.life.Archived(ctx); err != nil {
		return one, err
	}
	immediately := true
	if one.restore, err = b.restore(func(dir string) (interface{ Stop() }, error) {
		return lab.Restore(ctx, dir, b.secrets(), folder, nil, &cnpgv1.RecoveryTarget{BackupID: id, TargetImmediate: &immediately})
	}); err != nil {
		return one, err
	}
	if one.data, err = b.megabytes(ctx, "barman/"+folder.ServerName+"/base/"+id); err != nil {
		return one, err
	}
	wal := b.archive.WithWAL(1, codec)
	if one.archive, err = measure(func() error { _, err := b.backlog.Archive(ctx, wal); return err }); err != nil {
		return one, err
	}
	if one.fetch, err = measure(func() error { _, err := b.backlog.Fetch(ctx, wal); return err }); err != nil {
		return one, err
	}
	one.wal, err = b.megabytes(ctx, "barman/"+wal.ServerName+"/wals")
	return one, err
}

func (b *beside) pgBackRest(ctx context.Context, codec string) (figures, error) {
	one := figures{program: "pgBackRest " + codec}
	program, err := b.life.WithPgBackRest(ctx, b.store, codec)
	if err != nil {
		return one, err
	}
	if one.backup, err = measure(func() error { return program.Backup(ctx) }); err != nil {
		return one, err
	}
	if one.data, err = b.megabytes(ctx, program.Prefix+"/backup"); err != nil {
		return one, err
	}
	if one.restore, err = b.restore(func(dir string) (interface{ Stop() }, error) { return program.Restore(ctx, dir) }); err != nil {
		return one, err
	}
	// A stanza is of one database, so that this is another one.
	if program, err = b.backlog.WithPgBackRest(ctx, b.store, codec); err != nil {
		return one, err
	}
	each := func(do func(context.Context, string) error) func() error {
		return func() error {
			for _, name := range b.backlog.Names() {
				if err := do(ctx, name); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if one.archive, err = measure(each(program.Push)); err != nil {
		return one, err
	}
	if one.fetch, err = measure(each(program.Get)); err != nil {
		return one, err
	}
	one.wal, err = b.megabytes(ctx, program.Prefix+"/archive")
	return one, err
}

// restore measures a restore until the database answers.
func (b *beside) restore(begin func(dir string) (interface{ Stop() }, error)) (cost, error) {
	dir := filepath.Join(b.dir, "beside-restored")
	defer func() { _ = os.RemoveAll(dir) }()
	return measure(func() error {
		restored, err := begin(dir)
		if err == nil {
			restored.Stop()
		}
		return err
	})
}

// megabytes is how much lies below a prefix.
func (b *beside) megabytes(ctx context.Context, prefix string) (float64, error) {
	objects, err := b.store.List(ctx, strings.TrimSuffix(prefix, "/")+"/")
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, object := range objects {
		sum += object.Size
	}
	return float64(sum) / 1e6, nil
}
