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

func TestWrongFieldsOfASchedule(t *testing.T) {
	t.Parallel()
	for schedule, want := range map[string]string{
		"0 0 25 * * *":  `expected 0 to 23 as the hour, not "25"`,
		"60 x 2 * * 7":  `expected 0 to 59 as the second, not "60"; expected 0 to 59 as the minute, not "x"; expected 0 to 6 or sun to sat as the day of the week, not "7"`,
		"0 0 2 0 may *": `expected 1 to 31 as the day of the month, not "0"`,
	} {
		assert.ErrorContains(t, checkSchedule(nil, schedule).ToAggregate(), "is not a cron schedule: "+want)
	}
	for schedule, want := range map[string]string{
		"15 * * 13 *":      `is not a cron schedule: expected 1 to 12 or jan to dec as the month, not "13"`,
		"@daily at 2 or 3": `expected 0 to 59 as the minute, not "@daily"`,
		"@often":           `expected five cron fields`,
	} {
		assert.ErrorContains(t, checkJobSchedule(nil, schedule).ToAggregate(), want)
	}
}
