package monitoring

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// What an alert waits for is shortened, in the same order, and nothing else of the
// rules is another.
func TestOnlyTheTimeThatAnAlertWaitsIsShortened(t *testing.T) {
	const given = `
groups:
- name: cnpg-backup.shop
  rules:
  - {alert: Slow, expr: a > 1, for: 1d, labels: {code: CB1}, annotations: {summary: It is slow.}}
  - {alert: Quick, expr: b == 0, for: 15m}
  - {alert: AtOnce, expr: c == 0}
  - {record: d, expr: max(e)}
`
	w := &Watch{options: Options{For: func(stands time.Duration) time.Duration { return min(stands/1000, 5*time.Second) }}}
	got, err := w.shortened([]byte(given))
	require.NoError(t, err)
	var before, after map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(given), &before))
	require.NoError(t, yaml.Unmarshal(got, &after))
	rules := before["groups"].([]any)[0].(map[string]any)["rules"].([]any)
	rules[0].(map[string]any)["for"] = "5s"
	rules[1].(map[string]any)["for"] = "1s"
	assert.Equal(t, before, after)

	_, err = w.shortened([]byte(`groups: [{rules: [{alert: A, expr: a, for: soon}]}]`))
	assert.Error(t, err)
}

func TestATableIsShownAsItsTransformationsSay(t *testing.T) {
	_, board := readDashboard(t)
	for _, panel := range board.Panels {
		if panel.Type != "table" || len(panel.Targets) < 2 {
			continue
		}
		shown := panel.arrange(map[string]map[string]cell{
			"well": {"database": {text: "notes"}, "Value #archive": {value: new(0.0)}, "Value #order": {value: new(0.0)}},
			"ill":  {"database": {text: "shop"}, "Value #archive": {value: new(100.0)}, "Value #order": {value: new(101.0)}},
		}, map[string]bool{"database": true, "Value #archive": true, "Value #order": true})
		assert.Equal(t, []string{"Database", "Archive"}, shown.titles)
		require.Len(t, shown.rows, 2)
		assert.Equal(t, "shop", shown.rows[0][0].text, "the worst is the first")

		looks, err := panel.field("Archive")
		require.NoError(t, err)
		text, colour := looks.shown(shown.rows[0][1].value)
		assert.Equal(t, []string{"act now", "red"}, []string{text, colour})
		looks, err = panel.field("Base backup")
		require.NoError(t, err)
		for value, want := range map[*float64]string{new(-1.0): "never", nil: "no data", new(7200.0): "2.0 hours"} {
			text, _ = looks.shown(value)
			assert.Equal(t, want, text)
		}
	}
}

func TestTheNamesOfSeriesAreFound(t *testing.T) {
	names, err := MetricsOf(`max(a{b="c"} or {__name__=~"d|e"}) > on() rate(f[5m]) unless a`)
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "d", "e", "f"}, names)
	_, err = MetricsOf("max(")
	assert.Error(t, err)
}
