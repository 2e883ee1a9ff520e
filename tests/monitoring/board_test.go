package monitoring

import (
	"os"
	"regexp"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// dashboardFile is what the component puts into a ConfigMap.
const dashboardFile = "../../components/cnpg/dashboard.json"

func readDashboard(t *testing.T) ([]byte, Board) {
	t.Helper()
	content, err := os.ReadFile(dashboardFile)
	require.NoError(t, err)
	board, err := ReadBoard(content)
	require.NoError(t, err)
	require.NotEmpty(t, board.Panels)
	return content, board
}

// Grafana takes what it does not know without a word; the library of its schema
// does not.
func TestTheDashboardIsWhatGrafanasSchemaKnows(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	content, _ := readDashboard(t)
	var read dashboard.Dashboard
	require.NoError(t, read.UnmarshalJSONStrict(content))
	require.NoError(t, read.Validate())
	assert.False(t, *read.Editable, "Grafana's sidecar would write over what somebody edits")

	misspelt := regexp.MustCompile(`"gridPos"`).ReplaceAll(content, []byte(`"gridPosition"`))
	assert.Error(t, read.UnmarshalJSONStrict(misspelt), "the reading is strict")
}

func TestPanelsSayWhatTheyShow(t *testing.T) {
	content, board := readDashboard(t)
	assert.Contains(t, string(content), `"name": "datasource"`)
	var read dashboard.Dashboard
	require.NoError(t, read.UnmarshalJSONStrict(content))
	for i, panel := range board.Panels {
		t.Run(panel.Title, func(t *testing.T) {
			shown := read.Panels[i].Panel
			require.NotNil(t, shown.Description)
			assert.NotEmpty(t, *shown.Description)
			assert.Equal(t, "${datasource}", *shown.Datasource.Uid)
			assert.NotEmpty(t, panel.FieldConfig.Defaults.Unit)
			assert.NotEmpty(t, panel.FieldConfig.Defaults.Thresholds.Steps)
			require.NotEmpty(t, panel.Targets)
			for _, target := range panel.Targets {
				metrics, err := MetricsOf(target.Expr)
				require.NoError(t, err)
				assert.NotEmpty(t, metrics)
			}
		})
	}
}

// A counter is worth nothing without the time in which it has grown, and what is
// grown is asked of counters only.
func TestCountersAreAskedForTheirGrowth(t *testing.T) {
	_, board := readDashboard(t)
	grown := regexp.MustCompile(`(rate|increase)\(\w+(_count|_total)\b`)
	counter := regexp.MustCompile(`\w+(_count|_total)\b`)
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			assert.Len(t, grown.FindAllString(target.Expr, -1), len(counter.FindAllString(target.Expr, -1)), target.Expr)
		}
	}
}

// No age is counted from 1970: what is 0 because there never was one, and what
// does not answer, have words of their own.
func TestNothingIsOlderThanItself(t *testing.T) {
	_, board := readDashboard(t)
	age := regexp.MustCompile(`time\(\) - (\S+)`)
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			metrics, err := MetricsOf(target.Expr)
			require.NoError(t, err)
			for _, metric := range metrics {
				if regexp.MustCompile(`^barman_cloud_cloudnative_pg_io_`).MatchString(metric) && age.MatchString(target.Expr) {
					assert.NotRegexp(t, `time\(\) - max by \([^)]*\) \(`+metric, target.Expr, "a 0 is no time")
				}
			}
		}
	}
}

func TestValuesAreWrittenAsGrafanaDoes(t *testing.T) {
	for _, c := range []struct {
		unit  string
		value float64
		want  string
	}{
		{"s", 42, "42.0 s"}, {"s", 90, "1.5 mins"}, {"s", 5400, "1.5 hours"}, {"s", 2 * 86400, "2.0 days"}, {"s", 21 * 86400, "3.0 weeks"},
		{"decbytes", 31_500_000, "31.5 MB"}, {"percentunit", 1.17, "117%"}, {"currencyUSD", 0.704, "$0.70"}, {"short", 3, "3"},
	} {
		assert.Equal(t, c.want, Field{Unit: c.unit}.formatted(c.value))
	}
}
