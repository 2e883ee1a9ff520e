package lab_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
)

// A kill is a failure of the container that it meets, whenever it comes.
func TestRunJobIsKilled(t *testing.T) {
	before, cancel := context.WithCancel(t.Context())
	cancel()
	during, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var job batchv1.CronJob
	job.Spec.JobTemplate.Spec.Template.Spec.Containers = []corev1.Container{
		{Name: "prune", Command: []string{"sleep", "60"}},
	}
	for name, ctx := range map[string]context.Context{"before the container starts": before, "while it runs": during} {
		t.Run(name, func(t *testing.T) {
			run, err := lab.RunJob(ctx, job, nil)
			require.NoError(t, err)
			assert.Equal(t, "prune", run.Failed)
		})
	}
}

// What a job needs is told from what the tests themselves hold.
func TestRunJobMeasuresTheJobAlone(t *testing.T) {
	held := bytes.Repeat([]byte("x"), 256<<20)
	var job batchv1.CronJob
	job.Spec.JobTemplate.Spec.Template.Spec.Containers = []corev1.Container{
		{Name: "prune", Command: []string{"sleep", "0"}},
	}
	run, err := lab.RunJob(t.Context(), job, nil)
	require.NoError(t, err)
	assert.Positive(t, run.Peak)
	assert.Less(t, run.Peak, int64(len(held)/4))
}
