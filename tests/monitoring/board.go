package monitoring

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
)

// Board is a dashboard of Grafana, as far as the tests look at it.
type Board struct {
	Title  string  `json:"title"`
	Panels []Panel `json:"panels"`
}

// Panel is one panel of it.
type Panel struct {
	Type            string `json:"type"`
	Title           string `json:"title"`
	GridPos         struct{ X, Y, W, H float64 }
	Targets         []Target         `json:"targets"`
	Transformations []Transformation `json:"transformations"`
	FieldConfig     struct {
		Defaults  Field `json:"defaults"`
		Overrides []struct {
			Matcher    struct{ Options string }
			Properties []struct {
				ID    string          `json:"id"`
				Value json.RawMessage `json:"value"`
			}
		}
	} `json:"fieldConfig"`
}

// Target is a query of a panel.
type Target struct {
	RefID        string `json:"refId"`
	Expr         string `json:"expr"`
	Instant      bool   `json:"instant"`
	LegendFormat string `json:"legendFormat"`
}

// Transformation changes the rows that the queries answer with.
type Transformation struct {
	ID      string `json:"id"`
	Options struct {
		ExcludeByName map[string]bool   `json:"excludeByName"`
		IndexByName   map[string]int    `json:"indexByName"`
		RenameByName  map[string]string `json:"renameByName"`
		Sort          []struct {
			Field string `json:"field"`
			Desc  bool   `json:"desc"`
		} `json:"sort"`
	} `json:"options"`
}

// Field says how values look.
type Field struct {
	Unit     string    `json:"unit"`
	Decimals *float64  `json:"decimals"`
	Min      *float64  `json:"min"`
	Max      *float64  `json:"max"`
	NoValue  string    `json:"noValue"`
	Mappings []mapping `json:"mappings"`
	// Thresholds are in the order of their values.
	Thresholds struct {
		Steps []struct {
			Value *float64 `json:"value"`
			Color string   `json:"color"`
		} `json:"steps"`
	} `json:"thresholds"`
	Custom struct {
		Width       float64 `json:"width"`
		CellOptions struct {
			Type string `json:"type"`
		} `json:"cellOptions"`
	} `json:"custom"`
}

type mapping struct {
	Options map[string]struct{ Text, Color string } `json:"options"`
}

// ReadBoard reads a dashboard.
func ReadBoard(content []byte) (Board, error) {
	var board Board
	err := json.Unmarshal(content, &board)
	return board, err
}

// MetricsOf are the names of the series that an expression asks for.
func MetricsOf(expr string) ([]string, error) {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	var names []string
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			names = append(names, metricsOf(selector)...)
		}
		return nil
	})
	slices.Sort(names)
	return slices.Compact(names), nil
}

// metricsOf also knows names that are given as {__name__=~"one|other"}.
func metricsOf(selector *parser.VectorSelector) []string {
	if selector.Name != "" {
		return []string{selector.Name}
	}
	for _, matcher := range selector.LabelMatchers {
		if matcher.Name == model.MetricNameLabel {
			return strings.Split(matcher.Value, "|")
		}
	}
	return nil
}

// Expressions are those of rules.
func Expressions(of promv1.RulesResult) ([]string, error) {
	var all []string
	for _, group := range of.Groups {
		for _, rule := range group.Rules {
			switch rule := rule.(type) {
			case promv1.AlertingRule:
				all = append(all, rule.Query)
			case promv1.RecordingRule:
				all = append(all, rule.Query)
			default:
				return nil, fmt.Errorf("the group %s has a rule of type %T", group.Name, rule)
			}
		}
	}
	return all, nil
}

// field is how the values of a column of that title look.
func (p Panel) field(title string) (Field, error) {
	looks := p.FieldConfig.Defaults
	for _, override := range p.FieldConfig.Overrides {
		if override.Matcher.Options != title {
			continue
		}
		for _, property := range override.Properties {
			into := map[string]any{
				"unit": &looks.Unit, "decimals": &looks.Decimals, "min": &looks.Min, "max": &looks.Max,
				"mappings": &looks.Mappings, "thresholds": &looks.Thresholds, "noValue": &looks.NoValue,
				"custom.width": &looks.Custom.Width, "custom.cellOptions": &looks.Custom.CellOptions,
			}[property.ID]
			if into == nil {
				continue
			}
			if err := json.Unmarshal(property.Value, into); err != nil {
				return Field{}, fmt.Errorf("%s: %s: %w", title, property.ID, err)
			}
		}
	}
	return looks, nil
}

// cell is what a table has in a place: a value, the text of a label, or nothing.
type cell struct {
	text  string
	value *float64
}

// sheet is a table as it is shown.
type sheet struct {
	titles []string
	rows   [][]cell
}

// sheet asks a table's queries and does what Grafana's transformations merge,
// sortBy and organize do.
func (p Panel) sheet(ctx context.Context, ask func(context.Context, string) (model.Vector, error)) (sheet, error) {
	rows := map[string]map[string]cell{}
	names := map[string]bool{}
	for _, target := range p.Targets {
		answer, err := ask(ctx, target.Expr)
		if err != nil {
			return sheet{}, err
		}
		value := "Value"
		if len(p.Targets) > 1 {
			value += " #" + target.RefID
		}
		names[value] = true
		for _, sample := range answer {
			key := sample.Metric.String()
			if rows[key] == nil {
				rows[key] = map[string]cell{}
			}
			for name, text := range sample.Metric {
				rows[key][string(name)] = cell{text: string(text)}
				names[string(name)] = true
			}
			rows[key][value] = cell{value: new(float64(sample.Value))}
		}
	}
	return p.arrange(rows, names), nil
}

func (p Panel) arrange(rows map[string]map[string]cell, names map[string]bool) sheet {
	keys, columns := slices.Sorted(maps.Keys(rows)), slices.Sorted(maps.Keys(names))
	titles := map[string]string{}
	for _, transformation := range p.Transformations {
		options := transformation.Options
		for _, by := range options.Sort {
			slices.SortStableFunc(keys, func(a, b string) int {
				order := compareCells(rows[a][by.Field], rows[b][by.Field])
				if by.Desc {
					return -order
				}
				return order
			})
		}
		columns = slices.DeleteFunc(columns, func(name string) bool { return options.ExcludeByName[name] })
		slices.SortStableFunc(columns, func(a, b string) int {
			return cmp.Compare(placeOf(options.IndexByName, a), placeOf(options.IndexByName, b))
		})
		maps.Copy(titles, options.RenameByName)
	}
	var shown sheet
	for _, name := range columns {
		shown.titles = append(shown.titles, cmp.Or(titles[name], name))
	}
	for _, key := range keys {
		row := make([]cell, 0, len(columns))
		for _, name := range columns {
			row = append(row, rows[key][name])
		}
		shown.rows = append(shown.rows, row)
	}
	return shown
}

func placeOf(places map[string]int, name string) int {
	if place, ok := places[name]; ok {
		return place
	}
	return len(places)
}

func compareCells(a, b cell) int {
	if a.value != nil && b.value != nil {
		return cmp.Compare(*a.value, *b.value)
	}
	return cmp.Compare(a.text, b.text)
}

// shown is the text and the colour of a value.
func (f Field) shown(value *float64) (text, colour string) {
	if value == nil {
		return f.NoValue, "text"
	}
	for _, mapping := range f.Mappings {
		if word, ok := mapping.Options[strconv.FormatFloat(*value, 'f', -1, 64)]; ok {
			return word.Text, word.Color
		}
	}
	for _, step := range f.Thresholds.Steps {
		if step.Value == nil || *value >= *step.Value {
			colour = step.Color
		}
	}
	return f.formatted(*value), colour
}

// formatted writes a value as Grafana writes its unit.
func (f Field) formatted(value float64) string {
	switch f.Unit {
	case "s":
		return scaled(value, f.decimals(1), " s", step{60, " mins"}, step{60, " hours"}, step{24, " days"}, step{7, " weeks"})
	case "decbytes":
		return scaled(value, f.decimals(1), " B", step{1000, " kB"}, step{1000, " MB"}, step{1000, " GB"}, step{1000, " TB"})
	case "percentunit":
		return strconv.FormatFloat(value*100, 'f', f.decimals(0), 64) + "%"
	case "currencyUSD":
		return "$" + strconv.FormatFloat(value, 'f', f.decimals(2), 64)
	default:
		return strconv.FormatFloat(value, 'f', f.decimals(0), 64)
	}
}

func (f Field) decimals(usual int) int {
	if f.Decimals != nil {
		return int(*f.Decimals)
	}
	return usual
}

// step is a larger unit, and how many of the smaller it is.
type step struct {
	of   float64
	unit string
}

func scaled(value float64, decimals int, unit string, steps ...step) string {
	for _, larger := range steps {
		if value < larger.of {
			break
		}
		value, unit = value/larger.of, larger.unit
	}
	return strconv.FormatFloat(value, 'f', decimals, 64) + unit
}
