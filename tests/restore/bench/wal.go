package main

import (
	"context"
	"fmt"
	"path/filepath"

	barmanapi "github.com/cloudnative-pg/barman-cloud/pkg/api"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
)

// walFigures prints WAL segments a second by parallelism and by compression.
func (w *world) walFigures(ctx context.Context) error {
	progress("writing WAL")
	backlog, err := lab.NewBacklog(ctx, filepath.Join(w.dir, "backlog"), w.secrets(), segments)
	if err != nil {
		return err
	}
	fmt.Printf("\n%d WAL segments of 16 MiB\n", segments)
	fmt.Println("| round trip | maxParallel | compression | archived/s | fetched/s | MiB stored |")
	fmt.Println("|---|---|---|---|---|---|")
	for _, line := range w.lines() {
		folder, err := w.archive("wal", line.endpoint)
		if err != nil {
			return err
		}
		for _, parallel := range []int{1, 2, 4, 8} {
			if err := w.walFigure(ctx, backlog, line.name, folder, parallel, barmanapi.CompressionTypeZstd); err != nil {
				return err
			}
		}
		for _, compression := range []barmanapi.CompressionType{
			"", barmanapi.CompressionTypeLz4, barmanapi.CompressionTypeGzip,
		} {
			if err := w.walFigure(ctx, backlog, line.name, folder, 4, compression); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *world) walFigure(ctx context.Context, backlog *lab.Backlog, line string, folder lab.Folder,
	parallel int, compression barmanapi.CompressionType,
) error {
	progress(fmt.Sprintf("%s, %d at a time, %s", line, parallel, nameOf(compression)))
	folder = folder.WithWAL(parallel, compression)
	folder.ServerName += "-" + line
	archived, err := backlog.Archive(ctx, folder)
	if err != nil {
		return err
	}
	fetched, err := backlog.Fetch(ctx, folder)
	if err != nil {
		return err
	}
	stored, err := w.stored(ctx, folder, "/wals")
	if err != nil {
		return err
	}
	fmt.Printf("| %s | %d | %s | %.2f | %.2f | %.1f |\n", line, parallel, nameOf(compression),
		segments/archived.Seconds(), segments/fetched.Seconds(), stored)
	return nil
}
