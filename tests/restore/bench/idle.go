package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
)

// idleVariable is how many WAL segments the idle database has written since its
// base backup; in a day it writes 288, in a week 2,016.
const idleVariable = "CNPG_BACKUP_IDLE_SEGMENTS"

// idleFigures prints how long a database that writes hardly anything takes to be
// restored, from a base backup that is many WAL segments old.
func (w *world) idleFigures(ctx context.Context) error {
	count := 48
	if given := os.Getenv(idleVariable); given != "" {
		var err error
		if count, err = strconv.Atoi(given); err != nil {
			return fmt.Errorf("%s=%s: expected a number of segments", idleVariable, given)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Hour)
	defer cancel()
	rendered, err := w.render(w.b2.Endpoint)
	if err != nil {
		return err
	}
	archive, err := rendered.Archive()
	if err != nil {
		return err
	}
	backup, err := w.beIdle(ctx, archive, count)
	if err != nil {
		return err
	}
	if run, err := lab.RunJob(ctx, rendered.Mirror, w.secrets()); err != nil || run.Failed != "" {
		return fmt.Errorf("mirror: %s %w", run.Output, err)
	}
	mirror, err := rendered.Source("bench-minio-backup")
	if err != nil {
		return err
	}

	fmt.Printf("\nA restore with %d WAL segments of an idle database\n", count)
	fmt.Println("| from | maxParallel | seconds (CPU) | a segment |")
	fmt.Println("|---|---|---|---|")
	var without cost
	for i, row := range w.idleRows(archive, mirror, count) {
		var target *cnpgv1.RecoveryTarget
		want := int64(count)
		if i == 0 {
			target, want = &cnpgv1.RecoveryTarget{BackupID: backup, TargetImmediate: new(true)}, 0
		}
		dir := filepath.Join(w.dir, "idle-"+strconv.Itoa(i))
		folder := row.folder.Fetching(row.parallel)
		if row.ahead > 0 {
			folder = row.folder.Fetching(row.parallel, "--no-partial", "--parallel", strconv.Itoa(row.ahead),
				"--spool-dir", filepath.Join(dir, "spool"))
		}
		cost, err := measure(func() error {
			restored, err := lab.Restore(ctx, dir, w.secrets(), folder, nil, target)
			if err != nil {
				return err
			}
			defer restored.Stop()
			contents, err := restored.Contents(ctx)
			if err == nil && contents.Rows != want {
				err = fmt.Errorf("%d rows came back of %d", contents.Rows, want)
			}
			return err
		})
		_ = os.RemoveAll(dir)
		if err != nil {
			return fmt.Errorf("restore from %s with %d: %w", row.from, row.parallel, err)
		}
		parallel := strconv.Itoa(row.parallel)
		if row.ahead > 0 {
			parallel += fmt.Sprintf(", barman's --parallel %d", row.ahead)
		}
		if i == 0 {
			without = cost
			fmt.Printf("| %s, without WAL | %s | %s | |\n", row.from, parallel, cost)
			continue
		}
		fmt.Printf("| %s | %s | %s | %.2f (%.2f) |\n", row.from, parallel, cost,
			(cost.wall-without.wall).Seconds()/float64(count), (cost.cpu-without.cpu).Seconds()/float64(count))
	}
	return nil
}

type idleRow struct {
	from     string
	folder   lab.Folder
	parallel int
	ahead    int
}

// idleRows are all that there is to compare, or for many segments one of each copy.
// The first is for what a restore without WAL costs.
func (w *world) idleRows(archive, mirror lab.Folder, count int) []idleRow {
	rows := []idleRow{
		{"archive", archive, 4, 0}, {"archive", archive, 4, 0}, {"mirror", mirror, 4, 0}, {"archive", archive, 1, 32},
	}
	if count > 288 {
		return rows
	}
	far := archive.Behind(w.farB2.Endpoint)
	return append(rows, idleRow{"archive", archive, 1, 0}, idleRow{"archive", archive, 2, 0}, idleRow{"archive", archive, 8, 0},
		idleRow{"archive, " + roundTrip.String(), far, 4, 0}, idleRow{"archive, " + roundTrip.String(), far, 8, 0})
}

// beIdle is the life of a database that ends many WAL segments with a row in each.
// It returns the base backup's ID.
func (w *world) beIdle(ctx context.Context, archive lab.Folder, count int) (string, error) {
	life, err := lab.Begin(ctx, filepath.Join(w.dir, "idle"), w.secrets(), archive)
	if err != nil {
		return "", err
	}
	defer life.Stop()
	if err := life.CreateTable(ctx); err != nil {
		return "", err
	}
	backup, err := life.Backup(ctx)
	if err != nil {
		return "", err
	}
	path := strings.TrimPrefix(archive.Store.Spec.Configuration.DestinationPath, "s3://"+w.b2.Bucket+"/")
	life.ArchiveBy(func(ctx context.Context, name string, content []byte) error {
		var compressed bytes.Buffer
		packer := gzip.NewWriter(&compressed)
		if _, err := packer.Write(content); err != nil {
			return err
		}
		if err := packer.Close(); err != nil {
			return err
		}
		return w.b2.Write(ctx, path+"/"+archive.ServerName+"/wals/"+name[:16]+"/"+name+".gz", compressed.Bytes())
	})
	for range count {
		if err := life.Insert(ctx, 1); err != nil {
			return "", err
		}
		if err := life.SwitchWAL(ctx); err != nil {
			return "", err
		}
	}
	return backup.ID, life.AwaitArchived(ctx)
}
