//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

// drills is the key "drill" of a stack whose tests run the drills when they want
// to.
func drills() entry {
	return entry{"enabled": true, "b2Schedule": "0 0 1 1 *", "minioSchedule": "0 0 1 1 *", "maxAge": "24h"}
}

// TestDrills has the copies of a database restore themselves, and kills a run.
func TestDrills(t *testing.T) {
	w := newWorld(t)
	w.settings = entry{"cnpg-backup:drill": drills()}
	notes := w.newDatabase("notes", "e2e-apps", 1)
	w.add(notes)
	w.up(t)
	w.ready(t, notes.namespace(), notes.cluster())
	w.archiving(t, notes.namespace(), notes.cluster())
	w.backedUp(t, notes)
	held := w.write(t, notes, 1000)
	w.archived(t, notes)
	w.mirror(t, notes)
	w.requireDrillsPass(t, notes, held)
	for range 2 {
		job := w.startDrill(t, notes, cnpg.MinIO, false, held)
		time.Sleep(time.Duration(rand.IntN(15_000)) * time.Millisecond)
		w.deleteJob(t, job)
	}
	w.requireDrillsPass(t, notes, held)
}

// testDrills has the copies of a database restore themselves as they are now.
func (w *world) testDrills(t *testing.T, db entry) {
	held := w.write(t, db, 100)
	w.archived(t, db)
	w.mirror(t, db)
	w.requireDrillsPass(t, db, held)
}

// requireDrillsPass wants both copies of a database to restore by themselves to
// what it holds, from the newest base backup of one and the oldest of the other.
func (w *world) requireDrillsPass(t *testing.T, db entry, want contents) {
	t.Helper()
	for i, at := range []cnpg.Location{cnpg.B2, cnpg.MinIO} {
		job := w.startDrill(t, db, at, i == 1, want)
		report := w.drillEnds(t, job)
		require.True(t, report.OK, "%s: %s", report.Code, report.Problem)
		assert.Equal(t, db.serverName(), report.Server)
		results := map[string]string{}
		for _, check := range report.Checks {
			results[check.Name] = check.Result
		}
		if results["checksums"] == cnpg.DrillNotMade {
			results["checksums"] = cnpg.DrillPassed // before PostgreSQL 18 they have to be switched on
		}
		assert.Equal(t, map[string]string{
			"answers": "passed", "complete": "passed", "recent": "passed", "libraries": "passed",
			"sound": "passed", "checksums": "passed", "query": "passed",
		}, results)
		t.Logf("FIGURE drill of %s at %s: %d s, of which base backup %d s, WAL %d s (%d files), checks %d s", db.cluster(), at,
			report.Seconds, report.BaseSeconds, report.WALSeconds, report.WAL, report.CheckSeconds)
		w.deleteJob(t, job)
	}
}

// startDrill makes a Job of the CronJob of a copy, which wants the database to
// hold something. Which base backup it begins with would depend on the week.
func (w *world) startDrill(t *testing.T, db entry, at cnpg.Location, oldest bool, want contents) *batchv1.Job {
	t.Helper()
	jobs := w.typed.BatchV1()
	cron, err := jobs.CronJobs(db.namespace()).Get(t.Context(), db.name()+"-drill-"+string(at), metav1.GetOptions{})
	require.NoError(t, err)
	turn := ""
	if oldest {
		turn = "0"
	}
	said := map[string]string{
		"QUERY": readContents, "RESULT": string(want), "DATABASE": db.name(),
		"TURN": turn, "PERIOD": strconv.FormatInt(4*time.Now().Unix(), 10),
	}
	spec := cron.Spec.JobTemplate.Spec
	for _, container := range spec.Template.Spec.Containers {
		for i := range container.Env {
			if value, given := said[container.Env[i].Name]; given {
				container.Env[i] = corev1.EnvVar{Name: container.Env[i].Name, Value: value}
			}
		}
	}
	job, err := jobs.Jobs(db.namespace()).Create(t.Context(), &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{GenerateName: cron.Name + "-"}, Spec: spec,
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	return job
}

// drillEnds waits for a run and returns its report.
func (w *world) drillEnds(t *testing.T, job *batchv1.Job) cnpg.DrillReport {
	t.Helper()
	eventually(t, w.patience, job.Name, func(ctx context.Context) error {
		found, err := w.typed.BatchV1().Jobs(job.Namespace).Get(ctx, job.Name, metav1.GetOptions{})
		if err == nil && found.Status.Succeeded+found.Status.Failed == 0 {
			err = fmt.Errorf("active %d", found.Status.Active)
		}
		return err
	})
	pods, err := w.podsOf(t.Context(), job)
	require.NoError(t, err)
	for _, pod := range pods {
		for _, container := range pod.Status.ContainerStatuses {
			if container.Name == cnpg.DrillReportContainer {
				require.NotNil(t, container.State.Terminated)
				report, err := cnpg.ParseDrillReport([]byte(container.State.Terminated.Message))
				require.NoError(t, err, container.State.Terminated.Message)
				return report
			}
		}
	}
	require.Fail(t, "there is no pod", job.Name)
	return cnpg.DrillReport{}
}

func (w *world) podsOf(ctx context.Context, job *batchv1.Job) ([]corev1.Pod, error) {
	pods, err := w.typed.CoreV1().Pods(job.Namespace).List(ctx,
		metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name=" + job.Name})
	if err != nil {
		return nil, err
	}
	return pods.Items, nil
}

// deleteJob deletes a run as Kubernetes does when it has been kept for long
// enough, and wants nothing of it to be left.
func (w *world) deleteJob(t *testing.T, job *batchv1.Job) {
	t.Helper()
	require.NoError(t, w.typed.BatchV1().Jobs(job.Namespace).Delete(t.Context(), job.Name,
		metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)}))
	eventually(t, 3*time.Minute, "nothing is left of "+job.Name, func(ctx context.Context) error {
		pods, err := w.podsOf(ctx, job)
		if err != nil {
			return err
		}
		if len(pods) > 0 {
			return errors.New("its pod is there")
		}
		claims, err := w.typed.CoreV1().PersistentVolumeClaims(job.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, claim := range claims.Items {
			if len(claim.Name) > len(job.Name) && claim.Name[:len(job.Name)] == job.Name {
				return errors.New("its volume is there: " + claim.Name)
			}
		}
		return nil
	})
}
