package restoretime

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTime(t *testing.T) {
	for _, c := range []struct {
		name    string
		restore Restore
		line    Line
		want    time.Duration
	}{
		{"nothing", Restore{}, 0, Start},
		{"nothing over a line", Restore{}, 10 * Mbit, Start},
		{"a base backup on the same machine", Restore{Backup: 600e6}, 0, Start + 10*time.Second},
		{"a line that is faster than unpacking", Restore{Backup: 600e6}, 1000 * Mbit, Start + 10*time.Second},
		{"a line that is slower", Restore{Backup: 600e6}, 100 * Mbit, Start + 48*time.Second},
		{"a day of segments", Restore{Segments: 288, WAL: 288 * 20e3}, 50 * Mbit, Start + 288*Segment},
		{"full segments", Restore{Segments: 10, WAL: 160e6}, 16 * Mbit, Start + 80*time.Second},
		{"both", Restore{Backup: 600e6, Segments: 10, WAL: 160e6}, 16 * Mbit, Start + 380*time.Second},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.want, c.restore.Time(c.line)) })
	}
}

func TestMinutes(t *testing.T) {
	assert.Equal(t, 1, Restore{}.Minutes(0))
	assert.Equal(t, 1, Restore{Segments: 16}.Minutes(0))
	assert.Equal(t, 2, Restore{Segments: 17}.Minutes(0), "a minute and a tenth of a second")
}

// TestMeasured holds the formula to restores on a node of two cores that did little
// else: it says no less than they took, and not half as much again.
func TestMeasured(t *testing.T) {
	for _, c := range []struct {
		segments int
		took     time.Duration
	}{{4, 53 * time.Second}, {291, 129 * time.Second}} {
		says := Restore{Segments: c.segments}.Time(0)
		assert.GreaterOrEqual(t, says, c.took, "%d segments", c.segments)
		assert.Less(t, says, c.took*3/2, "%d segments", c.segments)
	}
}

// TestFigures holds the table in the documentation to the formula.
func TestFigures(t *testing.T) {
	content, err := os.ReadFile("../../docs/figures.md")
	require.NoError(t, err)
	assert.Contains(t, string(content), table())
}

// table is of databases that are nearly idle: a segment every five minutes, with
// little in it. zstd leaves about a third of a database.
func table() string {
	const gigabyte, segmentsADay, segment, left = 1e9, 288, 20e3, 0.3
	lines := []Line{50 * Mbit, 100 * Mbit, 250 * Mbit, 1000 * Mbit}
	var b strings.Builder
	b.WriteString("| database | base backup of | 50 Mbit/s | 100 Mbit/s | 250 Mbit/s | 1 Gbit/s |\n|---|---|---|---|---|---|\n")
	for _, size := range []float64{0.1, 1, 5, 20, 100} {
		for _, days := range []int{0, 1, 3, 7} {
			restore := Restore{
				Backup:   int64(size * left * gigabyte),
				Segments: days * segmentsADay, WAL: int64(days) * segmentsADay * segment,
			}
			fmt.Fprintf(&b, "| %g GB | %s |", size, age(days))
			for _, line := range lines {
				fmt.Fprintf(&b, " %d |", restore.Minutes(line))
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func age(days int) string {
	switch days {
	case 0:
		return "just now"
	case 1:
		return "1 day"
	default:
		return fmt.Sprintf("%d days", days)
	}
}
