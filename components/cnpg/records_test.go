package cnpg

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recorded are the series that the rules record, by name and what tells them
// apart.
func recorded(t *testing.T, args *DatabaseArgs) map[string]string {
	t.Helper()
	rules := map[string]string{}
	for _, rule := range args.plan("authentik", *storageArgs()).records() {
		require.Empty(t, rule.Alert)
		assert.Equal(t, "auth", rule.Labels["namespace"])
		assert.Equal(t, "authentik-postgresql", rule.Labels["cnpg_cluster"])
		assert.Equal(t, "authentik", rule.Labels["database"])
		key := rule.Record + " " + rule.Labels["role"] + " " + rule.Labels["copy"]
		require.NotContains(t, rules, key)
		rules[key] = rule.Expr.String()
	}
	return rules
}

func TestTheDashboardIsToldOfBothCopies(t *testing.T) {
	t.Parallel()
	args := monitored()
	args.Drill.Enabled = new(true)
	rules := recorded(t, args)
	assert.Len(t, rules, 8)
	assert.Equal(t, "vector(2592000)", rules["cnpg_backup_retention_seconds archive b2"])
	assert.Contains(t, rules["cnpg_backup_state archive b2"], `copy=~"b2|"`)
	assert.Contains(t, rules["cnpg_backup_state mirror minio"], `copy=~"minio|"`)
	assert.Contains(t, rules["cnpg_backup_mirrored_timestamp_seconds mirror minio"], `cronjob="authentik-postgresql-mirror"`)
	assert.Contains(t, rules["cnpg_backup_drilled_timestamp_seconds archive b2"], `cronjob="authentik-drill-b2"`)
	assert.Contains(t, rules["cnpg_backup_drilled_timestamp_seconds mirror minio"], `cronjob="authentik-drill-minio"`)
	assert.Contains(t, rules, "cnpg_backup_dollars_per_gb  b2")
	assert.Contains(t, rules, "cnpg_backup_dollars_per_gb_of_wal_a_day  b2")
}

func TestTheDashboardIsToldOfWhatThereIs(t *testing.T) {
	t.Parallel()
	args := monitored()
	args.Archive, args.Mirror.Disabled, args.Retention = MinIO, true, none
	args.Drill.Enabled = new(true)
	rules := recorded(t, args)
	assert.Len(t, rules, 4)
	assert.Contains(t, rules, "cnpg_backup_drilled_timestamp_seconds archive minio")
	assert.Contains(t, rules, "cnpg_backup_state archive minio")
}

// A state goes by the words that the alerts have, whatever they are.
func TestAStateGoesByTheAlertsOwnWords(t *testing.T) {
	t.Parallel()
	args := monitored()
	args.Monitoring.Severities.Critical = "page"
	assert.Contains(t, recorded(t, args)["cnpg_backup_state archive b2"], `severity="page"`)
}
