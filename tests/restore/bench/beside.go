package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	barmanapi "github.com/cloudnative-pg/barman-cloud/pkg/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

const (
	// besideRows make a database of about 1 GB.
	besideRows = 3_400_000
	// besideSegments is how much WAL each of the programs archives and fetches.
	besideSegments = 8
	// besideCodec is what our defaults come to with a plugin that has it.
	besideCodec = barmanapi.CompressionTypeZstd
)

// figures are what one program with one codec cost. The baseline has no WAL.
type figures struct {
	program, codec                  string
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
	all, err := b.measureAll(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("\nBeside pgBackRest: a database of %d MB, %d WAL segments\n", size, besideSegments)
	besideTable("seconds", all, func(c cost) float64 { return c.wall.Seconds() })
	besideTable("CPU s", all, func(c cost) float64 { return c.cpu.Seconds() })
	besideRatios(all)
	return nil
}

// measureAll measures barman and pgBackRest with each of their codecs, and the
// baseline.
func (b *beside) measureAll(ctx context.Context) ([]figures, error) {
	var all []figures
	for _, codec := range []barmanapi.CompressionType{
		barmanapi.CompressionTypeGzip, barmanapi.CompressionTypeZstd, barmanapi.CompressionTypeLz4, "",
	} {
		progress("barman with " + nameOf(codec))
		one, err := b.barman(ctx, codec)
		if err != nil {
			// Base backups take barman 3.18 for lz4 and 3.20 for zstd.
			fmt.Printf("barman %s: not measured: %s\n", one.codec, firstLine(err))
			continue
		}
		all = append(all, one)
	}
	for _, codec := range []string{"gz", "zst"} {
		progress("pgBackRest with " + codec)
		one, err := b.pgBackRest(ctx, codec)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	progress("tar with zstd")
	one, err := b.tar(ctx)
	return append(all, one), err
}

// besideTable prints all figures in one unit, and what is stored.
func besideTable(unit string, all []figures, in func(cost) float64) {
	header, program := "\n| "+unit, ""
	for _, one := range all {
		name := one.codec
		if one.program != program {
			program, name = one.program, one.program+" "+one.codec
		}
		header += " | " + name
	}
	fmt.Println(header + " |\n|" + strings.Repeat("---|", len(all)+1))
	for _, row := range []struct {
		name  string
		value func(figures) (value float64, decimals int)
	}{
		{"base backup", func(f figures) (float64, int) { return in(f.backup), 1 }},
		{"restore", func(f figures) (float64, int) { return in(f.restore), 1 }},
		{"stored, MB", func(f figures) (float64, int) { return f.data, 0 }},
		{"WAL archived", func(f figures) (float64, int) { return in(f.archive) / besideSegments, 2 }},
		{"WAL fetched", func(f figures) (float64, int) { return in(f.fetch) / besideSegments, 2 }},
		{"stored, MB", func(f figures) (float64, int) { return f.wal, 0 }},
	} {
		line := "| " + row.name
		for _, one := range all {
			value, decimals := row.value(one)
			line += " | " + number(value, decimals)
		}
		fmt.Println(line + " |")
	}
}

// number is a figure, or a dash for one that there is not.
func number(value float64, decimals int) string {
	if value == 0 {
		return "–"
	}
	return strconv.FormatFloat(value, 'f', decimals, 64)
}

// besideRatios prints how our default compares with the others.
func besideRatios(all []figures) {
	ours := slices.IndexFunc(all, func(f figures) bool { return f.program == "barman" && f.codec == string(besideCodec) })
	if ours < 0 {
		return
	}
	fmt.Printf("\nbarman %s as a multiple of others: time (CPU)\n", besideCodec)
	fmt.Println("| | base backup | restore | WAL archived | WAL fetched |")
	fmt.Println("|---|---|---|---|---|")
	for _, other := range all {
		if other.program == "barman" {
			continue
		}
		fmt.Printf("| %s %s | %s | %s | %s | %s |\n", other.program, other.codec,
			all[ours].backup.over(other.backup), all[ours].restore.over(other.restore),
			all[ours].archive.over(other.archive), all[ours].fetch.over(other.fetch))
	}
}

// over is a cost as a multiple of another.
func (c cost) over(other cost) string {
	if other.wall == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f (%.2f)", c.wall.Seconds()/other.wall.Seconds(), c.cpu.Seconds()/other.cpu.Seconds())
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
	if b.archive, err = w.archive("beside", b.store.Endpoint); err != nil {
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
	progress("filling a database")
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
	one := figures{program: "barman", codec: nameOf(codec)}
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
	if one.restore, err = b.restore(ctx, func(dir string) (answering, error) {
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
	one := figures{program: "pgBackRest", codec: codec}
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
	if one.restore, err = b.restore(ctx, func(dir string) (answering, error) { return program.Restore(ctx, dir) }); err != nil {
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

// tar packs and unpacks the files of the database on the same disk, which is what
// that and the codec allow.
func (b *beside) tar(ctx context.Context) (figures, error) {
	one, file := figures{program: "tar", codec: string(besideCodec)}, filepath.Join(b.dir, "beside.tar.zst")
	b.life.Stop()
	var err error
	if one.backup, err = measure(func() error { return b.life.Pack(ctx, file) }); err != nil {
		return one, err
	}
	packed, err := os.Stat(file)
	if err != nil {
		return one, err
	}
	one.data = float64(packed.Size()) / 1e6
	one.restore, err = b.restore(ctx, func(dir string) (answering, error) { return lab.Unpack(ctx, dir, file) })
	return one, err
}

// answering is a database.
type answering interface {
	Query(ctx context.Context, into any, query string) error
	Stop()
}

// restore measures a restore until the database answers.
func (b *beside) restore(ctx context.Context, begin func(dir string) (answering, error)) (cost, error) {
	dir := filepath.Join(b.dir, "beside-restored")
	defer func() { _ = os.RemoveAll(dir) }()
	return measure(func() error {
		restored, err := begin(dir)
		if err != nil {
			return err
		}
		defer restored.Stop()
		var last int
		err = restored.Query(ctx, &last, "select max(id) from ledger")
		if err == nil && last != besideRows {
			err = fmt.Errorf("%d rows came back of %d", last, besideRows)
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
