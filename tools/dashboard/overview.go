package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// The colours are Grafana's own names, which follow its theme.
const (
	green, yellow, red = "green", "yellow", "red"
	blue, purple, grey = "blue", "purple", "text"
)

// guide has a heading for each code.
const guide = "https://github.com/homelab-iac/pulumi-cnpg-backup/blob/main/docs/troubleshooting.md"

func source() common.DataSourceRef {
	return common.DataSourceRef{Type: new("prometheus"), Uid: new("${datasource}")}
}

// overview shows all databases and both copies of each on one screen, the worst
// first, and below it how it came to be.
func overview() *dashboard.DashboardBuilder {
	return dashboard.NewDashboardBuilder("Backups of PostgreSQL").
		Uid("cnpg-backup").
		Description("What metrics can tell of two copies of the backups of each database. "+
			"Whether a copy restores, the doctor says, which reads both buckets.").
		Tags([]string{"cnpg-backup", "cloudnative-pg"}).
		Readonly().
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Time("now-24h", "now").
		Refresh("1m").
		Timezone(common.TimeZoneBrowser).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Prometheus").Type("prometheus")).
		Link(dashboard.NewDashboardLinkBuilder("Troubleshooting").
			Type(dashboard.DashboardLinkTypeLink).Icon("doc").TargetBlank(true).Url(guide)).
		WithPanel(number("Databases", "Databases whose rules Prometheus has.", "count("+inventory+")", units.Short,
			step(blue, nil))).
		WithPanel(number("Act now", "Copies that an alert says to act on.", copiesThatAre(actNow), units.Short,
			step(green, nil), step(red, new(1.0)))).
		WithPanel(number("Unknown", "Copies of which there are no metrics.", copiesThatAre(unknown), units.Short,
			step(green, nil), step(purple, new(1.0)))).
		WithPanel(number("Look at", "Copies that an alert warns of.", copiesThatAre(lookAtIt), units.Short,
			step(green, nil), step(yellow, new(1.0)))).
		WithPanel(number("Oldest base backup", "The age of the newest base backup, of the database where it is oldest.",
			"max("+sinceBackup()+")", units.Seconds, step(blue, nil)).Mappings(words())).
		WithPanel(number("Oldest mirror", "The time since a mirror has ended well, of the database where it is longest.",
			"max("+sinceMirror()+" >= "+never+")", units.Seconds, step(blue, nil)).Mappings(words())).
		WithPanel(number("WAL waiting", "Segments that are not archived yet, of all databases.",
			"sum("+walWaiting()+")", units.Short, step(green, nil), step(yellow, new(32.0)))).
		WithPanel(number("Costs a month at B2", "At most: as if nothing were compressed.",
			"sum("+cost()+")", units.Dollars, step(blue, nil)).Decimals(2)).
		WithPanel(databases()).
		WithPanel(alerts()).
		WithPanel(history("WAL waiting", "Segments that are not archived yet.", walWaiting(), units.Short,
			step(green, nil), step(yellow, new(32.0)))).
		WithPanel(history("WAL volume", "How full the volume with WAL is, by the size that was asked for.", walVolume(), units.PercentUnit,
			step(green, nil), step(yellow, new(0.5)), step(red, new(0.7))).Max(1)).
		WithPanel(history("Age of the newest base backup", "It falls with each base backup.", sinceBackup()+" >= 0", units.Seconds,
			step(blue, nil))).
		WithPanel(history("Age of the mirror", "It falls with each run of the mirror's job that ends well.", sinceMirror()+" >= 0", units.Seconds,
			step(blue, nil)))
}

// number is one figure of all databases.
func number(title, description, expr, unit string, steps ...dashboard.Threshold) *stat.PanelBuilder {
	return stat.NewPanelBuilder().Title(title).Description(description).
		Datasource(source()).WithTarget(query("A", expr).Instant()).
		Height(4).Span(3).
		Unit(unit).NoValue("no data").Thresholds(thresholds(steps...)).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds)).
		ColorMode(common.BigValueColorModeValue).GraphMode(common.BigValueGraphModeNone).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}))
}

// history is a figure of each database over time.
func history(title, description, expr, unit string, steps ...dashboard.Threshold) *timeseries.PanelBuilder {
	return timeseries.NewPanelBuilder().Title(title).Description(description).
		Datasource(source()).WithTarget(query("A", expr).Range().LegendFormat("{{namespace}}/{{database}}")).
		Height(7).Span(12).
		Unit(unit).Min(0).Thresholds(thresholds(steps...)).
		ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed)).
		LineWidth(2).FillOpacity(8).ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).
			DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom))
}

// noFooter says so in full, which the schema wants.
func noFooter() *common.TableFooterOptionsBuilder {
	return common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{})
}

func query(ref, expr string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().RefId(ref).Expr(expr).Datasource(source()).EditorMode(prometheus.QueryEditorModeCode)
}

func step(colour string, from *float64) dashboard.Threshold {
	return dashboard.Threshold{Color: colour, Value: from}
}

func thresholds(steps ...dashboard.Threshold) cog.Builder[dashboard.ThresholdsConfig] {
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps)
}

// copiesThatAre counts the copies in a state.
func copiesThatAre(in string) string {
	one := func(of string) string { return "count((" + state(of) + ") == " + in + ")" }
	return "(" + one(archive) + " or vector(0)) + (" + one(mirror) + " or vector(0))"
}

// databases is the table.
func databases() *table.PanelBuilder {
	panel := table.NewPanelBuilder().Title("Databases, the worst first").
		Description("The states are what the alerts come to. A base backup that never was is no backup of 1970, " +
			"and what does not answer is unknown, not fine.").
		Datasource(source()).Height(7).Span(24).
		Unit(units.Short).NoValue("no data").Thresholds(thresholds(step(grey, nil))).
		CellHeight(common.TableCellHeightSm).ShowHeader(true).Footer(noFooter()).
		WithTransformation(dashboard.DataTransformerConfig{Id: "merge", Options: map[string]any{}}).
		WithTransformation(dashboard.DataTransformerConfig{Id: "sortBy", Options: map[string]any{
			"sort": []any{map[string]any{"field": "Value #order", "desc": true}},
		}})
	exclude, names, places := map[string]any{"Time": true, "cnpg_cluster": true, "Value #order": true}, map[string]any{}, map[string]any{}
	for i, c := range columns() {
		places[c.field()], names[c.field()] = i, c.title
		if c.expr != "" {
			panel.WithTarget(query(c.name, c.expr).Instant().Format(prometheus.PromQueryFormatTable))
		}
		panel.OverrideByName(c.title, c.looks)
	}
	panel.WithTarget(query("order", order()).Instant().Format(prometheus.PromQueryFormatTable))
	return panel.WithTransformation(dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{
		"excludeByName": exclude, "indexByName": places, "renameByName": names,
	}})
}

// alerts is the list of what fires.
func alerts() *table.PanelBuilder {
	const cause = "Alerts"
	return table.NewPanelBuilder().Title(cause).
		Description("What fires now. The code leads to what to do.").
		Datasource(source()).Height(5).Span(24).
		Unit(units.Short).NoValue("Nothing fires.").Thresholds(thresholds(step(grey, nil))).
		CellHeight(common.TableCellHeightSm).ShowHeader(true).Footer(noFooter()).
		WithTarget(query("A", `group by (alertname, code, severity, namespace, cnpg_cluster, copy) (ALERTS{alertstate="firing",code=~"CB.+"})`).
			Instant().Format(prometheus.PromQueryFormatTable)).
		OverrideByName("Alert", look(300)).
		OverrideByName("Code", look(90, is("links", []any{map[string]any{
			"title": "What to do", "url": guide + "#${__value.text:lowercase}", "targetBlank": true,
		}}))).
		WithTransformation(dashboard.DataTransformerConfig{Id: "sortBy", Options: map[string]any{
			"sort": []any{map[string]any{"field": "severity"}},
		}}).
		WithTransformation(dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{
			"excludeByName": map[string]any{"Time": true, "Value": true},
			"indexByName":   map[string]any{"severity": 0, "alertname": 1, "code": 2, "namespace": 3, "cnpg_cluster": 4, "copy": 5},
			"renameByName": map[string]any{
				"severity": "Severity", "alertname": "Alert", "code": "Code", "namespace": "Namespace", "cnpg_cluster": "Cluster", "copy": "Copy",
			},
		}})
}

// column is one of the table: a query's answer, or without one a label.
type column struct {
	name, title, expr string
	looks             []dashboard.DynamicConfigValue
}

func (c column) field() string {
	if c.expr == "" {
		return c.name
	}
	return "Value #" + c.name
}

func columns() []column {
	age := func(width int) []dashboard.DynamicConfigValue {
		return look(width, is("unit", units.Seconds), is("decimals", 1), is("mappings", words()), coloured("color-text"))
	}
	return []column{
		{name: "database", title: "Database", looks: look(130)},
		{name: "namespace", title: "Namespace", looks: look(110)},
		{name: "archive", title: "Archive", expr: state(archive), looks: verdict()},
		{name: "mirror", title: "Mirror", expr: state(mirror), looks: verdict()},
		{name: "backup", title: "Base backup", expr: sinceBackup(), looks: age(110)},
		{name: "wal", title: "WAL waiting", expr: walWaiting(), looks: look(100,
			coloured("color-text"), is("thresholds", limits(step(green, nil), step(yellow, new(32.0)))))},
		{name: "mirrored", title: "Mirrored", expr: sinceMirror(), looks: age(110)},
		{name: "window", title: "Restores back to", expr: named(window()), looks: age(120)},
		{name: "kept", title: "of the retention", expr: windowKept(), looks: look(170,
			is("unit", units.PercentUnit), is("min", 0), is("max", 1), is("decimals", 0),
			is("thresholds", limits(step(blue, nil), step(green, new(1.0)))),
			is("custom.cellOptions", map[string]any{"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}))},
		{name: "drillb2", title: "Drill from B2", expr: sinceDrill("b2"), looks: age(110)},
		{name: "drillminio", title: "from MinIO", expr: sinceDrill("minio"), looks: age(110)},
		{name: "size", title: "Size", expr: named(size()), looks: look(90, is("unit", units.BytesSI))},
		{name: "cost", title: "At B2 a month", expr: cost(), looks: look(110, is("unit", units.Dollars), is("decimals", 2))},
	}
}

func look(width int, more ...dashboard.DynamicConfigValue) []dashboard.DynamicConfigValue {
	return append([]dashboard.DynamicConfigValue{is("custom.width", width)}, more...)
}

func is(id string, value any) dashboard.DynamicConfigValue {
	return dashboard.DynamicConfigValue{Id: id, Value: value}
}

func coloured(how string) dashboard.DynamicConfigValue {
	return is("custom.cellOptions", map[string]any{"type": how})
}

func limits(steps ...dashboard.Threshold) dashboard.ThresholdsConfig {
	return dashboard.ThresholdsConfig{Mode: dashboard.ThresholdsModeAbsolute, Steps: steps}
}

// verdict is how a state looks.
func verdict() []dashboard.DynamicConfigValue {
	return look(110, coloured("color-background"), is("custom.align", "center"), is("mappings", mappings(
		word{nothingWrong, "nothing wrong", green}, word{lookAtIt, "look at it", yellow},
		word{unknown, "unknown", purple}, word{actNow, "act now", red}, word{noMirror, "none", grey},
	)))
}

// word is what is shown in place of a value.
type word struct{ value, text, colour string }

// words are those that stand for no age.
func words() []dashboard.ValueMapping {
	return mappings(word{never, "never", red}, word{noMirror, "none", grey})
}

func mappings(words ...word) []dashboard.ValueMapping {
	options := map[string]dashboard.ValueMappingResult{}
	for i, w := range words {
		options[w.value] = dashboard.ValueMappingResult{Text: &w.text, Color: &w.colour, Index: new(int32(i))}
	}
	return []dashboard.ValueMapping{{ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: options}}}
}
