//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// writer writes rows until it is stopped and counts those that the database has
// acknowledged.
type writer struct {
	stop    context.CancelFunc
	done    sync.WaitGroup
	written int
	refused int
}

func (w *world) startWriter(t *testing.T, db entry) *writer {
	t.Helper()
	w.query(t, db, "drop table if exists load")
	w.query(t, db, "create table load (n bigint, said text)")
	ctx, cancel := context.WithCancel(t.Context())
	wr := &writer{stop: cancel}
	wr.done.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			// What has begun is finished, so that the count is right.
			statement := fmt.Sprintf("insert into load select %d, repeat(md5(random()::text), 30) from generate_series(1, 2000)", n)
			if _, err := w.psql(context.WithoutCancel(ctx), db.namespace(), db.cluster(), db.name(), statement); err != nil {
				wr.refused++
			} else {
				wr.written += 2000
			}
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
	t.Cleanup(wr.end)
	return wr
}

func (wr *writer) end() {
	wr.stop()
	wr.done.Wait()
}

// requireWritten wants every acknowledged row to be there. A row whose
// acknowledgement was lost may be there too.
func (w *world) requireWritten(t *testing.T, db entry, wr *writer) {
	t.Helper()
	var rows int
	_, err := fmt.Sscan(w.query(t, db, "select count(*) from load"), &rows)
	require.NoError(t, err)
	require.NotZero(t, wr.written)
	assert.GreaterOrEqual(t, rows, wr.written)
	t.Logf("%d rows acknowledged, %d there, %d statements refused", wr.written, rows, wr.refused)
}

// testFailover deletes the primary of two instances while WAL is archived and
// the mirror runs.
func (w *world) testFailover(t *testing.T, db entry) {
	before, err := w.primary(t.Context(), db.namespace(), db.cluster())
	require.NoError(t, err)
	load := w.startWriter(t, db)
	time.Sleep(5 * time.Second)
	job := w.startMirror(t, db)
	begin := time.Now()
	require.NoError(t, w.typed.CoreV1().Pods(db.namespace()).Delete(t.Context(), before, metav1.DeleteOptions{}))
	eventually(t, 5*time.Minute, "another primary of "+db.cluster(), func(ctx context.Context) error {
		now, err := w.primary(ctx, db.namespace(), db.cluster())
		if err == nil && now == before {
			err = fmt.Errorf("it is still %s", now)
		}
		return err
	})
	t.Logf("FIGURE failover: %.0f s", time.Since(begin).Seconds())
	w.ready(t, db.namespace(), db.cluster())
	time.Sleep(5 * time.Second)
	load.end()
	w.requireWritten(t, db, load)
	w.archiving(t, db.namespace(), db.cluster())
	w.archived(t, db)
	eventually(t, 5*time.Minute, "the mirror that ran meanwhile", func(ctx context.Context) error { return w.jobDone(ctx, job) })
	w.mirror(t, db)
}

// testArchiveOutage takes the archive away from a database that is written to,
// and brings it back.
func (w *world) testArchiveOutage(t *testing.T, db entry) {
	archive, _ := w.stores(db)
	restarts := w.restarts(t, db)
	_, failed := w.archiver(t, db)
	load := w.startWriter(t, db)
	const outage = 2 * time.Minute
	stopped(t, archive, func() {
		for end := time.Now().Add(outage); time.Now().Before(end); time.Sleep(5 * time.Second) {
			w.query(t, db, "select pg_switch_wal()")
		}
	})
	load.end()
	var waiting int
	_, err := fmt.Sscan(w.query(t, db, "select count(*) from pg_ls_archive_statusdir() where name like '%.ready'"), &waiting)
	require.NoError(t, err)
	assert.NotZero(t, waiting, "the outage left WAL behind")
	_, failedThen := w.archiver(t, db)
	assert.Greater(t, failedThen, failed, "what fails is counted")
	begin := time.Now()
	w.archived(t, db)
	drained := time.Since(begin)
	t.Logf("FIGURE WAL backlog: %d segments drained in %.0f s, %.1f a second", waiting, drained.Seconds(), float64(waiting)/drained.Seconds())
	assert.Zero(t, load.refused, "the database stays up")
	w.requireWritten(t, db, load)
	assert.Equal(t, restarts, w.restarts(t, db), "nothing restarts")
	w.archiving(t, db.namespace(), db.cluster())
	w.mirror(t, db)
}

// restarts names the pods of a database, and how often their containers have
// been restarted.
func (w *world) restarts(t *testing.T, db entry) map[string]int32 {
	t.Helper()
	pods, err := w.typed.CoreV1().Pods(db.namespace()).List(t.Context(), metav1.ListOptions{
		LabelSelector: "cnpg.io/cluster=" + db.cluster() + ",cnpg.io/podRole=instance",
	})
	require.NoError(t, err)
	counted := map[string]int32{}
	for _, pod := range pods.Items {
		counted[string(pod.UID)] = 0
		for _, status := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
			counted[string(pod.UID)] += status.RestartCount
		}
	}
	return counted
}

// testRetention dates base backups back and wants the sidecar to prune the
// archive, and the mirror's job the mirror, of what is out of the window.
func (w *world) testRetention(t *testing.T, db entry) {
	archive, mirror := w.stores(db)
	folder := db.folder(db.serverName())
	for i := range 2 {
		w.takeBackup(t, db.namespace(), db.cluster(), fmt.Sprintf("retention-%d", i))
	}
	w.mirror(t, db)
	backups, err := catalogue.Backups(t.Context(), archive, folder)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(backups), 3)
	// With a window of 30 days the first is out of it, the second is the one that
	// the window begins with.
	for _, store := range []*s3server.Store{archive, mirror} {
		require.NoError(t, catalogue.MakeOlder(t.Context(), store, folder, backups[0].ID, 50))
		require.NoError(t, catalogue.MakeOlder(t.Context(), store, folder, backups[1].ID, 40))
	}
	kept, report := w.mirrored(t, db)
	assert.Len(t, backups, report.Mirror.Backups, "the report is of before")
	assert.Equal(t, ids(backups[1:]), ids(kept), "the mirror's job prunes the mirror")
	eventually(t, 7*time.Minute, "the sidecar prunes the archive", func(ctx context.Context) error {
		left, err := catalogue.Backups(ctx, archive, folder)
		if err == nil && len(left) > 0 && left[0].ID == backups[0].ID {
			err = fmt.Errorf("%s is still there", left[0].ID)
		}
		return err
	})
	left, err := catalogue.Backups(t.Context(), archive, folder)
	require.NoError(t, err)
	assert.Equal(t, ids(backups[1:]), ids(left))
}

func ids(backups []catalogue.Backup) []string {
	ids := make([]string, 0, len(backups))
	for _, backup := range backups {
		ids = append(ids, backup.ID)
	}
	return ids
}

// takeBackup takes a base backup now.
func (w *world) takeBackup(t *testing.T, namespace, cluster, name string) {
	t.Helper()
	w.startBackup(t, namespace, cluster, name)
	w.completed(t, namespace, name)
}

// startBackup asks for a base backup.
func (w *world) startBackup(t *testing.T, namespace, cluster, name string) {
	t.Helper()
	w.apply(t, "postgresql.cnpg.io/v1", "Backup", namespace, name, map[string]any{
		"cluster": map[string]any{"name": cluster}, "method": "plugin",
		"pluginConfiguration": map[string]any{"name": barmanPlugin},
	})
}

// completed waits for a base backup and returns barman's ID of it.
func (w *world) completed(t *testing.T, namespace, name string) (id string) {
	t.Helper()
	eventually(t, w.patience, "Backup "+name, func(ctx context.Context) error {
		backup, err := w.client.Get(ctx, backupKind(), namespace, name)
		if err != nil {
			return err
		}
		if phase := field(backup, "status", "phase"); phase != "completed" {
			return fmt.Errorf("phase %q: %s", phase, field(backup, "status", "error"))
		}
		id = field(backup, "status", "backupId")
		return nil
	})
	return id
}

// testJobRunsItself waits for the CronJob to start a run by its schedule.
func (w *world) testJobRunsItself(t *testing.T, db entry) {
	eventually(t, 4*time.Minute, "a scheduled run of the mirror of "+db.cluster(), func(ctx context.Context) error {
		cron, err := w.typed.BatchV1().CronJobs(db.namespace()).Get(ctx, db.cluster()+"-mirror", metav1.GetOptions{})
		if err == nil && cron.Status.LastSuccessfulTime == nil {
			err = fmt.Errorf("scheduled last at %v", cron.Status.LastScheduleTime)
		}
		return err
	})
	pods, err := w.typed.CoreV1().Pods(db.namespace()).List(t.Context(), metav1.ListOptions{
		LabelSelector: "app.kubernetes.io/instance=" + db.cluster() + ",app.kubernetes.io/name=cnpg-backup-mirror",
		FieldSelector: "status.phase=" + string(corev1.PodSucceeded),
	})
	require.NoError(t, err)
	require.NotEmpty(t, pods.Items)
	security := pods.Items[0].Spec.SecurityContext
	assert.True(t, *security.RunAsNonRoot)
	assert.EqualValues(t, 65532, *security.RunAsUser)
}
