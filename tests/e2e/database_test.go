//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/mirror"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// contents is what a database holds: the number of rows and a checksum of all
// of them.
type contents string

// query runs a statement in a database.
func (w *world) query(t *testing.T, db entry, statement string) string {
	t.Helper()
	result, err := w.psql(t.Context(), db.namespace(), db.cluster(), db.name(), statement)
	require.NoError(t, err)
	return result
}

// write adds rows and returns what the database holds then.
func (w *world) write(t *testing.T, db entry, rows int) contents {
	t.Helper()
	w.query(t, db, "create table if not exists facts (id bigserial primary key, said text not null)")
	w.query(t, db, "alter table facts owner to "+db.name())
	w.query(t, db, fmt.Sprintf("insert into facts (said) select md5(random()::text) from generate_series(1, %d)", rows))
	return w.contents(t, db)
}

const readContents = "select count(*) || ' rows, ' || coalesce(sum(hashtextextended(id || said, 0)), 0) from facts"

func (w *world) contents(t *testing.T, db entry) contents {
	t.Helper()
	return contents(w.query(t, db, readContents))
}

// requireContents wants a database, of which another may be a copy, to hold
// what was held before.
func (w *world) requireContents(t *testing.T, db entry, database string, want contents) {
	t.Helper()
	got, err := w.psql(t.Context(), db.namespace(), db.cluster(), database, readContents)
	require.NoError(t, err)
	require.Equal(t, want, contents(got))
}

// endSegment ends the WAL segment that is being written, and returns its name.
func (w *world) endSegment(ctx context.Context, db entry) (name string, err error) {
	for _, statement := range []string{
		// A segment in which nothing is written is not switched.
		"select pg_logical_emit_message(true, 'e2e', 'the end of a segment')",
		// The switch comes after the commit of what was written, so in a
		// transaction of its own.
		"select pg_walfile_name(pg_switch_wal())",
	} {
		if name, err = w.psql(ctx, db.namespace(), db.cluster(), db.name(), statement); err != nil {
			return "", err
		}
	}
	return name, nil
}

// archived waits until all that is written now lies in the archive.
func (w *world) archived(t *testing.T, db entry) {
	t.Helper()
	segment, err := w.endSegment(t.Context(), db)
	require.NoError(t, err)
	eventually(t, w.patience, db.cluster()+" has archived "+segment, func(ctx context.Context) error {
		last, err := w.psql(ctx, db.namespace(), db.cluster(), db.name(),
			"select coalesce(last_archived_wal, '') || ' ' || coalesce(last_failed_wal, '') from pg_stat_archiver")
		if err != nil {
			return err
		}
		if done, _, _ := strings.Cut(last, " "); done < segment {
			return fmt.Errorf("archived and failed last: %s", last)
		}
		return nil
	})
}

// copied adds rows, has both stores hold them, and returns what the database holds.
func (w *world) copied(t *testing.T, db entry, rows int) contents {
	t.Helper()
	held := w.write(t, db, rows)
	w.archived(t, db)
	w.mirror(t, db)
	return held
}

// restorable waits until a database runs, archives and has a base backup.
func (w *world) restorable(t *testing.T, db entry) {
	t.Helper()
	w.ready(t, db.namespace(), db.cluster())
	w.archiving(t, db.namespace(), db.cluster())
	w.backedUp(t, db)
}

// backedUp waits until a database's newest generation has a base backup.
func (w *world) backedUp(t *testing.T, db entry) {
	t.Helper()
	eventually(t, 8*time.Minute, db.cluster()+" has a base backup", func(ctx context.Context) error {
		backups, err := w.client.List(ctx, backupKind(), db.namespace())
		if err != nil {
			return err
		}
		state := "no Backup"
		for _, backup := range backups {
			if !strings.HasPrefix(backup.GetName(), db.serverName()+"-backup-") {
				continue
			}
			if state = field(&backup, "status", "phase"); state == "completed" {
				return nil
			}
		}
		return fmt.Errorf("state: %s", state)
	})
}

func (e entry) generation() int {
	if generation, given := e["generation"].(int); given {
		return generation
	}
	return 1
}

// serverName is barman's folder for the database's generation.
func (e entry) serverName() string {
	if e.generation() == 1 {
		return e.cluster()
	}
	return fmt.Sprintf("%s-%d", e.cluster(), e.generation())
}

// folder is where a server name lies in either store.
func (e entry) folder(server string) string {
	return e.namespace() + "/" + e.cluster() + "/" + server
}

// stores are the archive and the mirror of a database.
func (w *world) stores(db entry) (archive, mirror *s3server.Store) {
	if db["archive"] == "minio" {
		return w.nas, w.b2
	}
	return w.b2, w.nas
}

// mirror runs a database's mirror job now, as "kubectl create job --from" does,
// wants it to succeed and its copy to restore by itself.
func (w *world) mirror(t *testing.T, db entry) {
	t.Helper()
	backups, report := w.mirrored(t, db)
	assert.Len(t, backups, report.Mirror.Backups, "the report counts what the mirror has")
	assert.NotEmpty(t, report.Mirror.NewestWAL)
}

// mirrored does the same and returns the base backups that the mirror has then,
// and what the job reports before it prunes them.
func (w *world) mirrored(t *testing.T, db entry) ([]catalogue.Backup, mirror.Folder) {
	t.Helper()
	job := w.startMirror(t, db)
	eventually(t, w.patience, "mirror of "+db.cluster(), func(ctx context.Context) error {
		return w.jobDone(ctx, job)
	})
	archive, mirror := w.stores(db)
	backups, err := catalogue.CheckData(t.Context(), mirror, db.folder(db.serverName()), archive)
	require.NoError(t, err)
	report, found := w.mirrorReport(t, job).Folder(db.serverName())
	require.True(t, found, "the mirror does not report on %s", db.serverName())
	return backups, report
}

// startMirror makes a Job of a database's CronJob.
func (w *world) startMirror(t *testing.T, db entry) *batchv1.Job {
	t.Helper()
	return w.startJob(t, db.namespace(), db.cluster()+"-mirror", func(cron *batchv1.CronJob, job *batchv1.Job) {
		job.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: "batch/v1", Kind: "CronJob", Name: cron.Name, UID: cron.UID, Controller: new(true),
		}}
	})
}

// startJob makes a Job of a CronJob, with a change.
func (w *world) startJob(t *testing.T, namespace, cronJob string, change func(*batchv1.CronJob, *batchv1.Job)) *batchv1.Job {
	t.Helper()
	jobs := w.typed.BatchV1()
	cron, err := jobs.CronJobs(namespace).Get(t.Context(), cronJob, metav1.GetOptions{})
	require.NoError(t, err)
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{GenerateName: cron.Name + "-"}, Spec: cron.Spec.JobTemplate.Spec}
	change(cron, job)
	job, err = jobs.Jobs(namespace).Create(t.Context(), job, metav1.CreateOptions{})
	require.NoError(t, err)
	return job
}

func (w *world) jobDone(ctx context.Context, job *batchv1.Job) error {
	found, err := w.typed.BatchV1().Jobs(job.Namespace).Get(ctx, job.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if found.Status.Succeeded == 0 {
		return fmt.Errorf("active %d, failed %d", found.Status.Active, found.Status.Failed)
	}
	return nil
}

// mirrorReport is the termination message of the job that has succeeded.
func (w *world) mirrorReport(t *testing.T, job *batchv1.Job) mirror.Message {
	t.Helper()
	pods, err := w.typed.CoreV1().Pods(job.Namespace).List(t.Context(), metav1.ListOptions{
		LabelSelector: "batch.kubernetes.io/job-name=" + job.Name, FieldSelector: "status.phase=Succeeded",
	})
	require.NoError(t, err)
	require.Len(t, pods.Items, 1)
	status := pods.Items[0].Status
	for _, container := range append(status.InitContainerStatuses, status.ContainerStatuses...) {
		if container.Name == "copy" {
			message, err := mirror.Parse([]byte(container.State.Terminated.Message))
			require.NoError(t, err)
			return message
		}
	}
	require.Fail(t, "the job has no container copy")
	return mirror.Message{}
}
