package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/klauspost/compress/zstd"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
)

// idleVariable is how many WAL segments an idle database has written since each of
// its base backups: in a day it writes 288, in a week 2,016.
const idleVariable = "CNPG_BACKUP_IDLE_SEGMENTS"

// idleFigures prints how long a database that writes hardly anything takes to be
// restored, from base backups that are many WAL segments old.
func (w *world) idleFigures(ctx context.Context) error {
	ages, err := idleAges()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Hour)
	defer cancel()
	rendered, err := w.render("idle", w.b2.Endpoint)
	if err != nil {
		return err
	}
	archive, err := rendered.Archive()
	if err != nil {
		return err
	}
	mirror, err := rendered.Source("bench-minio-backup")
	if err != nil {
		return err
	}
	progress("writing segments of an idle database")
	backups, err := w.beIdle(ctx, archive, ages)
	if err != nil {
		return err
	}
	progress("mirroring them")
	if run, err := lab.RunJob(ctx, rendered.Mirror, w.secrets()); err != nil || run.Failed != "" {
		return fmt.Errorf("mirror: %s %w", run.Output, err)
	}

	fmt.Println("\nAn idle database until it answers, by WAL segments since its base backup")
	fmt.Println("| segments | from | maxParallel | seconds (CPU) | a segment |")
	fmt.Println("|---|---|---|---|---|")
	var without cost
	for i, row := range w.idleRows(archive, mirror, ages) {
		progress(fmt.Sprintf("restoring %d segments from the %s", row.segments, row.from))
		cost, err := w.restoreIdle(ctx, row, backups, strconv.Itoa(i))
		if err != nil {
			return fmt.Errorf("restore %d segments from the %s with %s: %w", row.segments, row.from, row.parallel(), err)
		}
		each := ""
		if row.segments == 0 {
			without = cost
		} else {
			each = fmt.Sprintf("%.2f (%.2f)", (cost.wall-without.wall).Seconds()/float64(row.segments),
				(cost.cpu-without.cpu).Seconds()/float64(row.segments))
		}
		fmt.Printf("| %d | %s | %s | %s | %s |\n", row.segments, row.from, row.parallel(), cost, each)
	}
	return nil
}

// idleAges are the ages of the base backups in segments, youngest first.
func idleAges() ([]int, error) {
	given := os.Getenv(idleVariable)
	if given == "" {
		return []int{24}, nil
	}
	var ages []int
	for word := range strings.SplitSeq(given, ",") {
		age, err := strconv.Atoi(word)
		if err != nil || age < 1 {
			return nil, fmt.Errorf("%s=%s: expected numbers of segments, such as 288,2016", idleVariable, given)
		}
		ages = append(ages, age)
	}
	slices.Sort(ages)
	return ages, nil
}

// idleRow is a restore of a base backup and the segments since, from one copy. The
// sidecar fetches maxParallel of them at a time. With ahead, barman does that itself.
type idleRow struct {
	segments    int
	from        string
	folder      lab.Folder
	maxParallel int
	ahead       int
}

func (r idleRow) parallel() string {
	if r.ahead == 0 {
		return strconv.Itoa(r.maxParallel)
	}
	return fmt.Sprintf("%d, barman's --parallel %d", r.maxParallel, r.ahead)
}

// idleRows are a restore from each copy of each base backup, oldest first, and for the
// youngest all that there is to compare. The first is for what a restore costs without
// WAL.
func (w *world) idleRows(archive, mirror lab.Folder, ages []int) []idleRow {
	rows := []idleRow{{0, "archive", archive, 4, 0}}
	for _, age := range slices.Backward(ages) {
		rows = append(rows, idleRow{age, "archive", archive, 4, 0}, idleRow{age, "mirror", mirror, 4, 0})
	}
	youngest := ages[0]
	for _, parallel := range []int{1, 2, 8} {
		rows = append(rows, idleRow{youngest, "archive", archive, parallel, 0}, idleRow{youngest, "mirror", mirror, parallel, 0})
	}
	far, name := archive.Behind(w.farB2.Endpoint), "archive, "+roundTrip.String()
	return append(rows, idleRow{youngest, name, far, 4, 0}, idleRow{youngest, name, far, 8, 0},
		idleRow{youngest, "archive", archive, 1, 32})
}

// restoreIdle restores the base backup of a row's age and sees that each segment's row
// has come back.
func (w *world) restoreIdle(ctx context.Context, row idleRow, backups map[int]idleBackup, name string) (cost, error) {
	dir := filepath.Join(w.dir, "idle-"+name)
	defer func() { _ = os.RemoveAll(dir) }()
	folder := row.folder.Fetching(row.maxParallel)
	if row.ahead > 0 {
		folder = row.folder.Fetching(row.maxParallel, "--no-partial", "--parallel", strconv.Itoa(row.ahead),
			"--spool-dir", filepath.Join(dir, "spool"))
	}
	backup := backups[row.segments]
	return measure(func() error {
		restored, err := lab.Restore(ctx, dir, w.secrets(), folder, nil, &cnpgv1.RecoveryTarget{BackupID: backup.id})
		if err != nil {
			return err
		}
		defer restored.Stop()
		contents, err := restored.Contents(ctx)
		if want := backup.rows + int64(row.segments); err == nil && contents.Rows != want {
			err = fmt.Errorf("%d rows came back of %d", contents.Rows, want)
		}
		return err
	})
}

// idleBackup is a base backup, and how many rows the database had then.
type idleBackup struct {
	id   string
	rows int64
}

// beIdle is the life of a database that ends one WAL segment after the other with a
// row in each. It returns a base backup of each age in segments, and one of the end.
//
// The segments are compressed as barman does it and written into the archive, but not
// by barman: that would take 20 minutes of the CPU for a week's.
func (w *world) beIdle(ctx context.Context, archive lab.Folder, ages []int) (map[int]idleBackup, error) {
	life, err := lab.Begin(ctx, filepath.Join(w.dir, "idle"), w.secrets(), archive)
	if err != nil {
		return nil, err
	}
	defer life.Stop()
	if err := life.CreateTable(ctx); err != nil {
		return nil, err
	}
	packer, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer func() { _ = packer.Close() }()
	path := strings.TrimPrefix(archive.Store.Spec.Configuration.DestinationPath, "s3://"+w.b2.Bucket+"/") + "/" + archive.ServerName
	quickly := func(ctx context.Context, name string, content []byte) error {
		return w.b2.Write(ctx, path+"/wals/"+name[:16]+"/"+name+".zst", packer.EncodeAll(content, nil))
	}
	backups, start := map[int]idleBackup{}, time.Now()
	for left := slices.Max(ages); left > 0; left-- {
		if slices.Contains(ages, left) {
			if backups[left], err = idleBackupOf(ctx, life); err != nil {
				return nil, err
			}
			life.ArchiveBy(quickly)
		}
		if err := life.Insert(ctx, 1); err != nil {
			return nil, err
		}
		if err := life.SwitchWAL(ctx); err != nil {
			return nil, err
		}
		if left%250 == 0 {
			progress(fmt.Sprintf("%d segments to be written, %s so far", left, time.Since(start).Round(time.Second)))
		}
		// The disk need not hold a week's.
		if left%20 == 0 {
			if err := life.AwaitArchived(ctx); err != nil {
				return nil, err
			}
		}
	}
	backups[0], err = idleBackupOf(ctx, life)
	return backups, err
}

// idleBackupOf takes a base backup. What belongs to it is archived by barman.
func idleBackupOf(ctx context.Context, life *lab.Life) (idleBackup, error) {
	if err := life.AwaitArchived(ctx); err != nil {
		return idleBackup{}, err
	}
	life.ArchiveBy(nil)
	var rows int64
	if err := life.Query(ctx, &rows, "select count(*) from ledger"); err != nil {
		return idleBackup{}, err
	}
	backup, err := life.Backup(ctx)
	if err != nil {
		return idleBackup{}, err
	}
	return idleBackup{backup.ID, rows}, life.AwaitArchived(ctx)
}
