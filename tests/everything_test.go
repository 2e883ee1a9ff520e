package tests

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestEverythingAtOnce switches all on that can be, for names as long as they may
// be and for text that somebody is going to write: a preview of it, an update, no
// changes after, and nothing left in the end.
func TestEverythingAtOnce(t *testing.T) {
	const odd = "Ärger \"q\" 'a' \\ \n\t %s %d $$x$$ $(QUERY) ${y} `z`"
	database := func(namespace, name, cluster string) map[string]any {
		return map[string]any{
			"name": name, "namespace": namespace, "cluster": cluster, "protect": false,
			"drill": map[string]any{"query": "select '" + odd + "'", "result": odd, "database": odd},
			"spec": map[string]any{
				"imageName": "ghcr.io/cloudnative-pg/postgresql:17.7", "storage": map[string]any{"size": "5Gi"},
				"tablespaces": []any{map[string]any{"name": "old", "storage": map[string]any{"size": "1Gi"}}},
			},
		}
	}
	box := start(t, root, "homelab", map[string]any{
		"cnpg-backup:protect": false,
		"cnpg-backup:b2": map[string]any{
			"bucket": "everything-cnpg-b2", "region": "us-west-002", "keys": []any{"everything-<namespace>"},
		},
		"cnpg-backup:minio": map[string]any{
			"bucket": "everything-backups", "endpoint": "https://nas.example.org:9000", "user": "home-<namespace>", "undeleteDays": 7,
		},
		"cnpg-backup:bitwarden": map[string]any{
			"store": "bitwarden-backend", "item": "everything", "mirrorItem": "everything-mirror",
		},
		"cnpg-backup:drill": map[string]any{"enabled": true, "bandwidthLimit": "4M"},
		"cnpg-backup:monitoring": map[string]any{
			"enabled": true, "labels": map[string]any{"release": "prometheus"},
			"alertLabels": map[string]any{"team": odd}, "severities": map[string]any{"critical": odd},
		},
		"cnpg-backup:databases": []any{
			database(strings.Repeat("n", 63), strings.Repeat("d", 63), strings.Repeat("c", 50)),
			database("everything", "one", "one"), database("everything", "two", "one-monitoring"),
		},
	})

	preview, err := box.Preview(t.Context())
	require.NoError(t, err)
	up, err := box.Up(t.Context())
	require.NoError(t, err)
	assert.Equal(t, kinds(preview), kinds(up), "the preview told what up did")
	assert.Subset(t, names(t, box), []string{
		"CronJob one-mirror", "CronJob one-drill-b2", "CronJob one-drill-minio", "CronJob two-drill-b2",
		"CronJob one-monitoring-mirror", "PodMonitor one-monitoring", "PodMonitor one-monitoring-monitoring",
		"PrometheusRule " + strings.Repeat("c", 50) + "-monitoring",
	})
	for _, run := range []func() error{
		func() error { _, err := box.Refresh(t.Context(), "--expect-no-changes"); return err },
		func() error { _, err := box.Up(t.Context(), "--expect-no-changes"); return err },
	} {
		require.NoError(t, run())
	}
	_, err = box.Destroy(t.Context())
	require.NoError(t, err)
	assert.Empty(t, names(t, box))
}
