//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"fmt"
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

// TestDrills has the copies of a database restore themselves, damages one of them
// in one way after another, and kills runs.
func TestDrills(t *testing.T) {
	w := newWorld(t)
	w.settings = entry{"cnpg-backup:drill": drills()}
	// A key for each namespace, which reaches no other's folder.
	w.b2Config["keys"] = []string{"e2e-<namespace>"}
	notes := w.newDatabase("notes", "e2e-apps", 1)
	// So that one page can be damaged, and the damage found.
	notes["b2"] = entry{"data": entry{"compression": "none"}}
	notes.spec()["bootstrap"].(entry)["initdb"].(entry)["dataChecksums"] = true
	w.add(notes)
	w.up(t)
	w.restorable(t, notes)
	w.query(t, notes, "create table "+stillTable+" as select i, md5(i::text) from generate_series(1, 20000) as i")
	// What is frozen is written to no more: WAL would bring the right page back.
	w.query(t, notes, "vacuum (freeze) "+stillTable)
	w.takeBackup(t, notes.namespace(), notes.cluster(), "second")
	var held contents
	for range 6 {
		held = w.write(t, notes, 250)
		w.archived(t, notes)
	}
	w.mirror(t, notes)

	passes := func(t *testing.T) { w.requireDrillsPass(t, notes, held) }
	require.True(t, t.Run("both copies restore", passes), "what follows needs this")
	t.Run("damage", func(t *testing.T) {
		w.testDamage(t, notes, append(w.damageInStore(t, notes), w.damageAround(t, notes)...)...)
	})
	t.Run("what is mended restores", passes)
	t.Run("kills", func(t *testing.T) { w.testKills(t, notes, held) })
	t.Run("what was killed restores", passes)
}

// stillTable is a table that nobody writes to.
const stillTable = "still"

// testDrills has the copies of a database restore themselves as they are now.
func (w *world) testDrills(t *testing.T, db entry) {
	w.requireDrillsPass(t, db, w.copied(t, db, 100))
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
func (w *world) startDrill(t *testing.T, db entry, at cnpg.Location, oldest bool, want contents,
	changes ...func(*corev1.PodSpec),
) *batchv1.Job {
	t.Helper()
	turn := ""
	if oldest {
		turn = "0"
	}
	said := map[string]string{
		"QUERY": readContents, "RESULT": string(want), "DATABASE": db.name(),
		"TURN": turn, "PERIOD": strconv.FormatInt(4*time.Now().Unix(), 10),
	}
	return w.startJob(t, db.namespace(), db.name()+"-drill-"+string(at), func(_ *batchv1.CronJob, job *batchv1.Job) {
		for name, value := range said {
			setVariable(&job.Spec.Template.Spec, name, value)
		}
		for _, change := range changes {
			change(&job.Spec.Template.Spec)
		}
	})
}

// setVariable sets a variable of those containers that have it.
func setVariable(pod *corev1.PodSpec, name, value string) {
	for _, container := range pod.Containers {
		for i := range container.Env {
			if container.Env[i].Name == name {
				container.Env[i] = corev1.EnvVar{Name: name, Value: value}
			}
		}
	}
}

// drillEnds waits for a run and returns its report. What it reports is also how the
// Job ends, and the last line of its log.
func (w *world) drillEnds(t *testing.T, job *batchv1.Job) cnpg.DrillReport {
	t.Helper()
	w.jobEnds(t, job)
	found, err := w.typed.BatchV1().Jobs(job.Namespace).Get(t.Context(), job.Name, metav1.GetOptions{})
	require.NoError(t, err)
	pods, err := w.podsOf(t.Context(), job)
	require.NoError(t, err)
	for _, pod := range pods {
		for _, container := range pod.Status.ContainerStatuses {
			if container.Name == cnpg.DrillReportContainer {
				require.NotNil(t, container.State.Terminated)
				report, err := cnpg.ParseDrillReport([]byte(container.State.Terminated.Message))
				require.NoError(t, err, container.State.Terminated.Message)
				assert.Equal(t, report.OK, found.Status.Succeeded == 1, "the Job has failed: %d", found.Status.Failed)
				last, want := w.logs(t.Context(), job.Namespace, pod.Name, container.Name, 1), "restored "+report.Server
				if !report.OK {
					want = "FAILED with " + report.Code + ": " + report.Problem
				}
				assert.Contains(t, last, want)
				return report
			}
		}
	}
	require.Fail(t, "there is no pod", job.Name)
	return cnpg.DrillReport{}
}

// jobEnds waits until a run has ended, well or not.
func (w *world) jobEnds(t *testing.T, job *batchv1.Job) {
	t.Helper()
	eventually(t, w.patience, job.Name, func(ctx context.Context) error {
		found, err := w.typed.BatchV1().Jobs(job.Namespace).Get(ctx, job.Name, metav1.GetOptions{})
		if err == nil && found.Status.Succeeded+found.Status.Failed == 0 {
			err = fmt.Errorf("active %d", found.Status.Active)
		}
		return err
	})
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
		if left := processesOf(job); len(left) > 0 {
			return fmt.Errorf("%d of its processes are there", len(left))
		}
		return nil
	})
}
