package cnpg

import (
	"testing"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/stretchr/testify/assert"
)

func TestLongestPause(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for schedule, want := range map[string]time.Duration{
		"0 0 2 * * 0":       7 * day,
		"0 0 2 * * *":       day,
		"0 0 2 1 * *":       31 * day,
		"0 0 2 * * 1-5":     3 * day,
		"0 0 8,9,10 * * *":  22 * time.Hour,
		"0 * * * * 1-5":     2*day + time.Minute,
		"0 0 0 29 2 *":      4*365*day + day,
		"@every 36h":        36 * time.Hour,
		"0 0 2 * * 0 extra": 0,
	} {
		assert.Equal(t, want, longestPause(schedule), schedule)
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
