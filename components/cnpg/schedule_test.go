package cnpg

import (
	"testing"
	"time"

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

// TestManyRuns has the least that a schedule can say.
func TestManyRuns(t *testing.T) {
	t.Parallel()
	assert.Equal(t, 24*7, mostRuns("0 0 * * * *", 7))
	assert.Equal(t, 100_000, mostRuns("* * * * * *", 30))
	assert.Zero(t, mostRuns("0 0 2 * * 0", 0))
}
