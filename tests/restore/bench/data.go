package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	barmanapi "github.com/cloudnative-pg/barman-cloud/pkg/api"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
)

// rows make a database of about 400 MB.
const rows = 1_500_000

// dataFigures prints how long a base backup takes, and a restore of it until
// the database answers, by compression.
func (w *world) dataFigures(ctx context.Context) error {
	archive, err := w.archive(w.b2.Endpoint)
	if err != nil {
		return err
	}
	archive.ServerName += "-data"
	life, err := lab.Begin(ctx, filepath.Join(w.dir, "loaded"), w.secrets(), archive)
	if err != nil {
		return err
	}
	defer life.Stop()
	if err := life.CreateTable(ctx); err != nil {
		return err
	}
	if err := life.Insert(ctx, rows); err != nil {
		return err
	}
	if err := life.Archived(ctx); err != nil {
		return err
	}
	var size int64
	if err := life.Query(ctx, &size, "select pg_database_size(current_database()) / 1024 / 1024"); err != nil {
		return err
	}

	fmt.Printf("\nA base backup of %d MiB\n", size)
	fmt.Println("| round trip | compression | backup s | restore s | MiB stored |")
	fmt.Println("|---|---|---|---|---|")
	for _, line := range w.lines() {
		// Debian's barman takes none with lz4, and its snappy does not work.
		for _, compression := range []barmanapi.CompressionType{barmanapi.CompressionTypeGzip, ""} {
			if err := w.dataFigure(ctx, life, line.name, archive.Behind(line.endpoint).WithData(compression)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *world) dataFigure(ctx context.Context, life *lab.Life, line string, folder lab.Folder) error {
	start := time.Now()
	backup, err := life.WritingTo(folder).Backup(ctx)
	if err != nil {
		return err
	}
	backedUp := time.Since(start)

	dir := filepath.Join(w.dir, backup.ID)
	defer func() { _ = os.RemoveAll(dir) }()
	immediately := true
	start = time.Now()
	restored, err := lab.Restore(ctx, dir, w.secrets(), folder, nil,
		&cnpgv1.RecoveryTarget{BackupID: backup.ID, TargetImmediate: &immediately})
	if err != nil {
		return err
	}
	restoredIn := time.Since(start)
	restored.Stop()

	stored, err := w.stored(ctx, folder, "/base/"+backup.ID)
	if err != nil {
		return err
	}
	fmt.Printf("| %s | %s | %.1f | %.1f | %.1f |\n", line, nameOf(folder.Store.Spec.Configuration.Data.Compression),
		backedUp.Seconds(), restoredIn.Seconds(), stored)
	return nil
}
