package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
)

// mirrored is the database whose archive is mirrored.
const mirrored = "mirrored"

// mirrorFigures prints how long a run of the mirror takes for nothing new, 100
// and 1,000 new WAL segments of the size that gzip leaves of a quiet one.
func (w *world) mirrorFigures(ctx context.Context) error {
	archive, err := w.archive(mirrored, w.b2.Endpoint)
	if err != nil {
		return err
	}
	life, err := lab.Begin(ctx, filepath.Join(w.dir, mirrored), w.secrets(), archive)
	if err != nil {
		return err
	}
	if _, err := life.Backup(ctx); err != nil {
		return err
	}
	if err := life.Archived(ctx); err != nil {
		return err
	}
	life.Stop()
	near, err := w.render(mirrored, w.b2.Endpoint)
	if err != nil {
		return err
	}
	if _, err := lab.RunJob(ctx, near.Mirror, w.secrets()); err != nil {
		return err
	}

	fmt.Println("\nA run of the mirror")
	fmt.Println("| round trip | new WAL | seconds |")
	fmt.Println("|---|---|---|")
	next := 0x10
	for _, line := range w.lines() {
		far, err := w.render(mirrored, line.endpoint)
		if err != nil {
			return err
		}
		for _, count := range []int{0, 100, 1000} {
			progress(fmt.Sprintf("mirroring %d new segments, %s", count, line.name))
			if next, err = w.addWAL(ctx, next, count); err != nil {
				return err
			}
			run, err := lab.RunJob(ctx, far.Mirror, w.secrets())
			if err != nil {
				return err
			}
			fmt.Printf("| %s | %d | %.1f |\n", line.name, count, run.Took.Seconds())
		}
	}
	return nil
}

// addWAL writes objects that look like compressed WAL segments into the archive.
func (w *world) addWAL(ctx context.Context, next, count int) (int, error) {
	content := make([]byte, 100<<10)
	for i := range content {
		content[i] = byte(rand.Uint32())
	}
	for end := next + count; next < end; next++ {
		log, segment := next/0x100, next%0x100
		key := fmt.Sprintf("%s/%s/%s/wals/00000001%08X/00000001%08X%08X.gz", namespace, mirrored, mirrored, log, log, segment)
		if err := w.b2.Write(ctx, key, content); err != nil {
			return 0, err
		}
	}
	return next, nil
}
