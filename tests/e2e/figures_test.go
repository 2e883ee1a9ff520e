//go:build e2e

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// figuresVariable asks for the figures of docs/figures.md.
	figuresVariable = "E2E_FIGURES"
	// idleVariable is how many WAL segments an idle database has written since its
	// base backup: in a day it writes 288, in a week 2,016.
	idleVariable = "CNPG_BACKUP_IDLE_SEGMENTS"
)

// TestFigures measures how long databases of several sizes take to come back
// from each copy, by a drill too, and one that was idle for a day since its base
// backup, and what memory the containers around them need.
func TestFigures(t *testing.T) {
	if os.Getenv(figuresVariable) != "1" {
		t.Skipf("set %s=1 to measure; it takes about 45 minutes and 40 GB of disk", figuresVariable)
	}
	w := newWorld(t)
	w.settings = entry{"cnpg-backup:drill": drills()}
	w.patience = time.Hour
	memory := w.watchMemory(t)
	for _, megabytes := range []int{100, 1_000, 5_000} {
		t.Run(fmt.Sprintf("%d MB", megabytes), func(t *testing.T) { w.figures(t, megabytes) })
	}
	t.Run("idle", w.idleFigures)
	peaks := memory.end()
	for _, container := range slices.Sorted(maps.Keys(peaks)) {
		t.Logf("FIGURE memory of container %s: at most %d MB", container, peaks[container]>>20)
	}
}

// figures loads, backs up, mirrors and restores a database of some size.
func (w *world) figures(t *testing.T, megabytes int) {
	db := w.newDatabase(fmt.Sprintf("size%d", megabytes), "e2e-apps", 1)
	db.spec()["postgresql"] = entry{"parameters": entry{"shared_buffers": "256MB", "max_wal_size": "2GB", "checkpoint_timeout": "30s"}}
	w.add(db)
	w.up(t)
	w.ready(t, db.namespace(), db.cluster())
	w.backedUp(t, db)
	w.write(t, db, 1)
	for range megabytes / 100 {
		// With its index entry a row takes about 125 bytes.
		w.query(t, db, "insert into facts (said) select md5(random()::text) || md5(random()::text) from generate_series(1, 800000)")
	}
	t.Logf("FIGURE %d MB: %s on disk", megabytes, w.query(t, db, "select pg_size_pretty(pg_database_size(current_database()))"))
	held := w.contents(t, db)
	took := func(what string, since time.Time) {
		t.Logf("FIGURE %d MB: %s: %.0f s", megabytes, what, time.Since(since).Seconds())
	}
	begin := time.Now()
	w.archived(t, db)
	took("rest of the WAL archived", begin)
	begin = time.Now()
	w.takeBackup(t, db.namespace(), db.cluster(), db.name())
	took("base backup", begin)
	begin = time.Now()
	w.mirror(t, db)
	took("mirrored", begin)
	w.restoreFigures(t, db, held, took)
}

// idleFigures restores a database that has written hardly anything since its base
// backup.
func (w *world) idleFigures(t *testing.T) {
	segments := 288
	if given := os.Getenv(idleVariable); given != "" {
		var err error
		segments, err = strconv.Atoi(given)
		require.NoError(t, err, "%s: expected a number of segments, such as 2016", idleVariable)
	}
	db := w.newDatabase("idle", "e2e-apps", 1)
	w.add(db)
	w.up(t)
	w.ready(t, db.namespace(), db.cluster())
	w.backedUp(t, db)
	w.write(t, db, 1)
	// The archiver keeps up with that.
	begin := time.Now()
	w.query(t, db, fmt.Sprintf(`do $$ begin for i in 1..%d loop
		insert into facts (said) values ('idle'); commit; perform pg_switch_wal(); commit; perform pg_sleep(0.5);
		end loop; end $$`, segments))
	t.Logf("FIGURE %d segments: written: %.0f s", segments, time.Since(begin).Seconds())
	held := w.contents(t, db)
	w.archived(t, db)
	w.mirror(t, db)
	w.restoreFigures(t, db, held, func(what string, since time.Time) {
		t.Logf("FIGURE %d segments: %s: %.0f s", segments, what, time.Since(since).Seconds())
	})
}

// restoreFigures restores a database from each copy, by a drill and by the operator,
// and takes it out of the stack.
func (w *world) restoreFigures(t *testing.T, db entry, held contents, took func(what string, since time.Time)) {
	t.Helper()
	w.requireDrillsPass(t, db, held)
	for _, from := range []string{"b2", "minio"} {
		restored := w.copyOf(db, db.name()+"-from-"+from, from)
		restored["suspend"], restored["immediate"] = true, false
		begin := time.Now()
		w.add(restored)
		w.up(t)
		w.ready(t, restored.namespace(), restored.cluster())
		took("restored from "+from, begin)
		w.requireContents(t, restored, db.name(), held)
		w.remove(restored.name())
		w.up(t)
	}
	// The next deployment deletes it: a stack has one database at least.
	w.remove(db.name())
}

// memoryWatch keeps the largest working set of each container by its name.
type memoryWatch struct {
	stop  context.CancelFunc
	done  sync.WaitGroup
	peaks map[string]uint64
}

// watchMemory asks the kubelets every few seconds.
func (w *world) watchMemory(t *testing.T) *memoryWatch {
	t.Helper()
	nodes, err := w.typed.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	watch := &memoryWatch{stop: cancel, peaks: map[string]uint64{}}
	watch.done.Go(func() {
		for ctx.Err() == nil {
			for _, node := range nodes.Items {
				w.sample(ctx, node.Name, watch.peaks)
			}
			select {
			case <-ctx.Done():
			case <-time.After(3 * time.Second):
			}
		}
	})
	t.Cleanup(func() { watch.end() })
	return watch
}

// sample raises the peaks by what a kubelet says now. An answer that is missed
// is no matter.
func (w *world) sample(ctx context.Context, node string, peaks map[string]uint64) {
	content, err := w.typed.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy").
		Suffix("stats", "summary").DoRaw(ctx)
	var summary struct {
		Pods []struct {
			PodRef     struct{ Namespace string }
			Containers []struct {
				Name   string
				Memory struct{ WorkingSetBytes uint64 }
			}
		}
	}
	if err != nil || json.Unmarshal(content, &summary) != nil {
		return
	}
	for _, pod := range summary.Pods {
		if !slices.Contains(namespaces(), pod.PodRef.Namespace) {
			continue
		}
		for _, container := range pod.Containers {
			peaks[container.Name] = max(peaks[container.Name], container.Memory.WorkingSetBytes)
		}
	}
}

func (watch *memoryWatch) end() map[string]uint64 {
	watch.stop()
	watch.done.Wait()
	return watch.peaks
}
