package monitoring

import (
	"context"
	"fmt"
	"html"
	"math"
	"strings"
	"time"

	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// Picture draws a dashboard from what Prometheus answers to its queries. It is no
// screenshot: Grafana cannot be had where the tests run, and this draws only what
// the dashboard has, much as Grafana does in its dark theme. History is how far
// back the panels over time go.
func (p *Prometheus) Picture(ctx context.Context, board Board, history time.Duration) ([]byte, error) {
	d := &drawing{}
	bottom := 0.0
	for _, panel := range board.Panels {
		bottom = max(bottom, panel.GridPos.Y+panel.GridPos.H)
	}
	height := top + bottom*row + margin
	d.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" font-family="Inter, 'DejaVu Sans', Verdana, sans-serif">`,
		width, height, width, height)
	d.add(`<rect width="100%%" height="100%%" fill="#111217"/>`)
	d.text(margin, 34, 18, "#d8d9da", "start", board.Title)
	d.text(width-margin, 34, 12, "#8e8e96", "end", "drawn from the answers of a real Prometheus to the dashboard's queries; not a screenshot of Grafana")
	for _, panel := range board.Panels {
		if err := p.draw(ctx, d, panel, history); err != nil {
			return nil, fmt.Errorf("panel %q: %w", panel.Title, err)
		}
	}
	d.add("</svg>")
	return []byte(d.String()), nil
}

// The measures of the picture, in its pixels.
const (
	width  = 1600.0
	margin = 12.0
	top    = 52.0
	row    = 38.0
	column = (width - 2*margin) / 24
	gap    = 8.0
)

// colours are Grafana's, by their names.
func colours() map[string]string {
	return map[string]string{
		"green": "#73bf69", "yellow": "#fade2a", "red": "#f2495c", "blue": "#5794f2", "purple": "#b877d9", "text": "#ccccdc",
	}
}

// drawing is an SVG as it is written.
type drawing struct{ strings.Builder }

func (d *drawing) add(format string, args ...any) { fmt.Fprintf(&d.Builder, format+"\n", args...) }

func (d *drawing) text(x, y, size float64, colour, anchor, text string) {
	d.add(`<text x="%.1f" y="%.1f" font-size="%.0f" fill="%s" text-anchor="%s">%s</text>`, x, y, size, colour, anchor, html.EscapeString(text))
}

func (d *drawing) box(x, y, w, h, round float64, colour string) {
	d.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="%.0f" fill="%s"/>`, x, y, w, h, round, colour)
}

// frame is where a panel is.
type frame struct{ x, y, w, h float64 }

func (p *Prometheus) draw(ctx context.Context, d *drawing, panel Panel, history time.Duration) error {
	f := frame{
		x: margin + panel.GridPos.X*column + gap/2, y: top + panel.GridPos.Y*row + gap/2,
		w: panel.GridPos.W*column - gap, h: panel.GridPos.H*row - gap,
	}
	d.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="3" fill="#181b1f" stroke="#2c3035"/>`, f.x, f.y, f.w, f.h)
	d.text(f.x+10, f.y+20, 13, "#d8d9da", "start", panel.Title)
	switch panel.Type {
	case "stat":
		return p.drawNumber(ctx, d, panel, f)
	case "table":
		return p.drawTable(ctx, d, panel, f)
	case "timeseries":
		return p.drawHistory(ctx, d, panel, f, history)
	default:
		return fmt.Errorf("no picture of a panel of type %q", panel.Type)
	}
}

func (p *Prometheus) drawNumber(ctx context.Context, d *drawing, panel Panel, f frame) error {
	answer, err := p.Ask(ctx, panel.Targets[0].Expr)
	if err != nil {
		return err
	}
	var value *float64
	if len(answer) > 0 {
		value = new(float64(answer[0].Value))
	}
	text, colour := panel.FieldConfig.Defaults.shown(value)
	size := min(46, 1.55*f.w/float64(len(text)))
	d.text(f.x+f.w/2, f.y+f.h/2+size/2+4, size, colours()[colour], "middle", text)
	return nil
}

func (p *Prometheus) drawTable(ctx context.Context, d *drawing, panel Panel, f frame) error {
	sheet, err := panel.sheet(ctx, p.Ask)
	if err != nil {
		return err
	}
	if len(sheet.rows) == 0 {
		d.text(f.x+f.w/2, f.y+f.h/2+6, 14, "#8e8e96", "middle", panel.FieldConfig.Defaults.NoValue)
		return nil
	}
	looks := make([]Field, len(sheet.titles))
	total := 0.0
	for i, title := range sheet.titles {
		if looks[i], err = panel.field(title); err != nil {
			return err
		}
		if looks[i].Custom.Width == 0 {
			looks[i].Custom.Width = 150
		}
		total += looks[i].Custom.Width
	}
	const line = 34
	x := f.x + 8
	for i, title := range sheet.titles {
		w := looks[i].Custom.Width * min(1.4, (f.w-16)/total)
		d.text(x+8, f.y+50, 12, "#6e9fff", "start", title)
		for n, cells := range sheet.rows {
			y := f.y + 60 + float64(n)*line
			if y+line > f.y+f.h {
				break
			}
			if i == 0 {
				d.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#2c3035"/>`, f.x+8, y, f.x+f.w-8, y)
			}
			drawCell(d, looks[i], cells[i], frame{x, y, w, line})
		}
		x += w
	}
	return nil
}

func drawCell(d *drawing, looks Field, c cell, f frame) {
	if c.text != "" {
		d.text(f.x+8, f.y+22, 13, "#d8d9da", "start", c.text)
		return
	}
	text, colour := looks.shown(c.value)
	paint := colours()[colour]
	switch kind := looks.Custom.CellOptions.Type; {
	case c.value == nil:
		d.text(f.x+8, f.y+22, 13, "#8e8e96", "start", text)
	case kind == "color-background":
		d.box(f.x+2, f.y+2, f.w-4, f.h-4, 2, paint)
		d.text(f.x+f.w/2, f.y+22, 13, "#111217", "middle", text)
	case kind == "gauge":
		full := f.w - 70
		d.box(f.x+8, f.y+9, full, f.h-18, 2, "#2c3035")
		d.box(f.x+8, f.y+9, max(2, full*math.Min(1, *c.value / *looks.Max)), f.h-18, 2, paint)
		d.text(f.x+f.w-8, f.y+22, 13, paint, "end", text)
	case kind == "color-text":
		d.text(f.x+8, f.y+22, 13, paint, "start", text)
	default:
		d.text(f.x+8, f.y+22, 13, "#d8d9da", "start", text)
	}
}

// drawHistory draws a line for each series.
func (p *Prometheus) drawHistory(ctx context.Context, d *drawing, panel Panel, f frame, history time.Duration) error {
	target, now := panel.Targets[0], time.Now()
	answer, _, err := p.QueryRange(ctx, target.Expr, promv1.Range{Start: now.Add(-history), End: now, Step: history / 240})
	if err != nil {
		return err
	}
	series, _ := answer.(model.Matrix)
	looks := panel.FieldConfig.Defaults
	highest := 0.0
	for _, one := range series {
		for _, value := range one.Values {
			highest = max(highest, float64(value.Value))
		}
	}
	if looks.Max != nil {
		highest = *looks.Max
	}
	highest = max(highest*1.1, 1e-9)
	plot := frame{f.x + 78, f.y + 34, f.w - 92, f.h - 84}
	place := func(at time.Time, value float64) (x, y float64) {
		return plot.x + plot.w*(1-now.Sub(at).Seconds()/history.Seconds()), plot.y + plot.h*(1-min(1, value/highest))
	}
	for i := range 5 {
		value := highest * float64(i) / 4
		_, y := place(now, value)
		d.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#2c3035"/>`, plot.x, y, plot.x+plot.w, y)
		d.text(plot.x-8, y+4, 11, "#8e8e96", "end", looks.formatted(value))
	}
	for i := range 5 {
		ago := history * time.Duration(4-i) / 4
		x, _ := place(now.Add(-ago), 0)
		label, anchor := fmt.Sprintf("%g min ago", ago.Minutes()), "middle"
		if ago == 0 {
			label, anchor = "now", "end"
		}
		d.text(x, plot.y+plot.h+17, 11, "#8e8e96", anchor, label)
	}
	for _, limit := range looks.Thresholds.Steps {
		if limit.Value != nil && *limit.Value < highest {
			_, y := place(now, *limit.Value)
			d.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-dasharray="6 5" opacity="0.8"/>`,
				plot.x, y, plot.x+plot.w, y, colours()[limit.Color])
		}
	}
	palette := []string{"#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9"}
	x := f.x + 14
	for i, one := range series {
		paint := palette[i%len(palette)]
		var points strings.Builder
		for n, value := range one.Values {
			if math.IsNaN(float64(value.Value)) {
				continue
			}
			command := "L"
			// A gap is no line.
			if n == 0 || value.Timestamp.Sub(one.Values[n-1].Timestamp) > history/120 {
				command = "M"
			}
			px, py := place(value.Timestamp.Time(), float64(value.Value))
			fmt.Fprintf(&points, "%s%.1f %.1f", command, px, py)
		}
		d.add(`<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`, points.String(), paint)
		label := legend(target.LegendFormat, one.Metric)
		d.box(x, f.y+f.h-20, 14, 4, 1, paint)
		d.text(x+20, f.y+f.h-14, 12, "#d8d9da", "start", label)
		x += 40 + 7.4*float64(len(label))
	}
	return nil
}

// legend fills labels into a format like {{namespace}}/{{database}}.
func legend(format string, labels model.Metric) string {
	for name, value := range labels {
		format = strings.ReplaceAll(format, "{{"+string(name)+"}}", string(value))
	}
	return format
}
