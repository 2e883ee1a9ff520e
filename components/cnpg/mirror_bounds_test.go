package cnpg

import (
	"testing"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Kubernetes takes descriptors as well as five fields:
// https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax
func TestSchedulesOfJobsInWords(t *testing.T) {
	t.Parallel()
	for words, fields := range map[string]string{"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@every 6h": "0 */6 * * *"} {
		said := func(schedule string) (*plan, Layout) {
			args := monitored()
			args.Drill = DrillOptions{Enabled: new(true), B2Schedule: schedule, MinIOSchedule: schedule}
			args.Mirror.Schedule = schedule
			assert.Empty(t, args.Validate(nil, "authentik", storageArgs()), schedule)
			return args.plan("authentik", *storageArgs()), args.Layout("authentik", storageArgs())
		}
		inWords, layout := said(words)
		inFields, want := said(fields)
		assert.Equal(t, want.MirrorPeriod, layout.MirrorPeriod, words)
		assert.Equal(t, want.DrillPeriods, layout.DrillPeriods, words)
		assert.Equal(t, inFields.prometheusRuleSpec(), inWords.prometheusRuleSpec(), words)
		assert.Equal(t, inFields.cost(), inWords.cost(), words)
		assert.Equal(t, inFields.drillJob(MinIO).maxAge, inWords.drillJob(MinIO).maxAge, words)
		job, err := inWords.drillJob(MinIO).spec()
		require.NoError(t, err)
		assert.Equal(t, seconds(want.DrillPeriods[MinIO]), variables(job.JobTemplate.Spec.Template.Spec.Containers[0])["PERIOD"], words)
	}
}

func TestArchiveTimeout(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]time.Duration{
		"": 5 * time.Minute, "90": 90 * time.Second, "15min": 15 * time.Minute, "'2h'": 2 * time.Hour, "1 d": 24 * time.Hour,
		"0": 0, "soon": 5 * time.Minute, "1w": 5 * time.Minute,
	} {
		spec := cnpgv1.ClusterSpec{}
		spec.PostgresConfiguration.Parameters = map[string]string{"archive_timeout": setting}
		assert.Equal(t, want, archiveTimeout(spec), setting)
	}
}

func TestMirrorBounds(t *testing.T) {
	t.Parallel()
	weekly := Backup{Schedule: "0 0 2 * * 0"}
	const week, delay = 7 * 24 * time.Hour, 75 * time.Minute
	assert.Equal(t, mirrorBounds{week, 2*week + time.Hour, week + delay, delay}, boundsOf(cnpgv1.ClusterSpec{}, weekly, Mirror{}))
	assert.Equal(t, mirrorBounds{week, 72 * time.Hour, 30 * time.Minute, delay},
		boundsOf(cnpgv1.ClusterSpec{}, weekly, Mirror{MaxBackupAge: "72h", MaxWALAge: "30m"}))
	weekly.Suspend = true
	assert.Equal(t, mirrorBounds{walDelay: delay}, boundsOf(cnpgv1.ClusterSpec{}, weekly, Mirror{}),
		"what is suspended is not overdue")
	assert.Equal(t, mirrorBounds{0, 72 * time.Hour, time.Hour, delay},
		boundsOf(cnpgv1.ClusterSpec{}, weekly, Mirror{MaxBackupAge: "72h", MaxWALAge: "1h"}), "unless it was said")
}

func TestNothingOfAHibernatedDatabaseIsOverdue(t *testing.T) {
	t.Parallel()
	args := databaseArgs()
	args.Mirror.MaxBackupAge = "72h"
	require.NotZero(t, args.plan("authentik", *storageArgs()).bounds().backupAge)

	args.Annotations = map[string]string{"cnpg.io/hibernation": "on"}
	p := args.plan("authentik", *storageArgs())
	assert.Equal(t, mirrorBounds{walDelay: 75 * time.Minute}, p.bounds())
	assert.Zero(t, args.Layout("authentik", storageArgs()).MaxBackupAge)
	for _, alert := range p.backupAlerts() {
		assert.NotEqual(t, backupStale, alert.name)
	}
}
