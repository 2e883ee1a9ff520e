package tests

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestEverythingAtOnce switches all on that can be, for names as long as they may
// be and for text that somebody is going to write: a preview of it, an update, no
// changes after, and nothing left in the end.
func TestEverythingAtOnce(t *testing.T) {
	const odd = "Ärger \"q\" 'a' \\ \n\t %s %d $$x$$ $(QUERY) ${y} `z`"
	database := func(namespace, name, cluster string) map[string]any {
		entry := database(name, map[string]any{
			"namespace": namespace, "cluster": cluster, "protect": false,
			"drill": map[string]any{"query": "select '" + odd + "'", "result": odd, "database": odd},
		})
		entry["spec"].(map[string]any)["tablespaces"] = []any{map[string]any{"name": "old", "storage": map[string]any{"size": "1Gi"}}}
		return entry
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

	preview, up := must(t, box.Preview), must(t, box.Up)
	assert.Equal(t, kinds(preview), kinds(up), "the preview told what up did")
	assert.Subset(t, names(t, box), []string{
		"CronJob one-mirror", "CronJob one-drill-b2", "CronJob one-drill-minio", "CronJob two-drill-b2",
		"CronJob one-monitoring-mirror", "PodMonitor one-monitoring", "PodMonitor one-monitoring-monitoring",
		"PrometheusRule " + strings.Repeat("c", 50) + "-monitoring",
	})
	must(t, box.Refresh, "--expect-no-changes")
	must(t, box.Up, "--expect-no-changes")
	must(t, box.Destroy)
	assert.Empty(t, names(t, box))
}
