package cnpg

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// checkSchedule wants six cron fields that name a moment to come.
//
// The operator accepts five fields and reads the first as seconds: "0 3 * * *",
// meant to be daily at 03:00, then runs every hour.
func checkSchedule(at *field.Path, schedule string) field.ErrorList {
	fields := strings.Fields(schedule)
	switch {
	case len(fields) == 0:
		return field.ErrorList{field.Required(at,
			`six cron fields, seconds first, for instance "0 0 2 * * 0" for Sundays at 02:00 UTC`)}
	case len(fields) == 5:
		return field.ErrorList{field.Invalid(at, schedule, fmt.Sprintf(
			"has five cron fields, which the operator would read with seconds first; did you mean %q?", "0 "+schedule))}
	case len(fields) != 6:
		return field.ErrorList{field.Invalid(at, schedule, fmt.Sprintf(
			"has %d fields; expected six cron fields, seconds first: "+
				"second minute hour day-of-month month day-of-week", len(fields)))}
	}
	parsed, err := cron.Parse(schedule)
	if err != nil {
		return field.ErrorList{field.Invalid(at, schedule, "is not a cron schedule: "+wrongFields(fields))}
	}
	return checkHappens(at, schedule, parsed)
}

// checkJobSchedule wants five cron fields that name a moment to come. A
// ScheduledBackup has six, which a CronJob refuses.
func checkJobSchedule(at *field.Path, schedule string) field.ErrorList {
	fields := strings.Fields(schedule)
	if len(fields) == 6 {
		return field.ErrorList{field.Invalid(at, schedule, fmt.Sprintf(
			"has six cron fields; a job has no seconds: did you mean %q?", strings.Join(fields[1:], " ")))}
	}
	parsed, err := cron.ParseStandard(schedule)
	switch {
	case err == nil:
		return checkHappens(at, schedule, parsed)
	case len(fields) == 5:
		return field.ErrorList{field.Invalid(at, schedule,
			"is not a cron schedule: "+wrongFields(append([]string{"0"}, fields...)))}
	}
	return field.ErrorList{field.Invalid(at, schedule,
		`expected five cron fields, for instance "15 * * * *" for every hour, or a word like "@hourly"`)}
}

// checkHappens wants a schedule to name a moment to come.
func checkHappens(at *field.Path, text string, schedule cron.Schedule) field.ErrorList {
	if schedule.Next(leapYear()).IsZero() {
		return field.ErrorList{field.Invalid(at, text, "never happens: there is no such date")}
	}
	return nil
}

// wrongFields names those of six cron fields that cannot be read.
func wrongFields(fields []string) string {
	var wrong []string
	for i, expected := range []string{
		"0 to 59 as the second", "0 to 59 as the minute", "0 to 23 as the hour", "1 to 31 as the day of the month",
		"1 to 12 or jan to dec as the month", "0 to 6 or sun to sat as the day of the week",
	} {
		alone := strings.Fields("* * * * * *")
		alone[i] = fields[i]
		if _, err := cron.Parse(strings.Join(alone, " ")); err != nil {
			wrong = append(wrong, fmt.Sprintf("expected %s, not %q", expected, fields[i]))
		}
	}
	return strings.Join(wrong, "; ")
}

// leapYear is the beginning of one. Schedules are looked at from there on, so that
// what follows from them does not depend on today.
func leapYear() time.Time { return time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC) }

// longestPause is the longest time between two runs of a valid schedule.
func longestPause(schedule string) time.Duration {
	parsed, err := cron.Parse(schedule)
	if err != nil {
		return 0
	}
	// Every minute of two weeks, or a schedule of years.
	const most = 20_000
	longest := time.Duration(0)
	first := leapYear()
	last := parsed.Next(first)
	for range most {
		next := parsed.Next(last)
		if next.IsZero() || next.After(first.AddDate(12, 0, 0)) {
			break
		}
		longest = max(longest, next.Sub(last))
		last = next
	}
	return longest
}

// withSeconds is a job's schedule as that of a ScheduledBackup is written: five
// fields lack the seconds, and words like @daily are the same in both.
func withSeconds(schedule string) string {
	if strings.HasPrefix(schedule, "@") {
		return schedule
	}
	return "0 " + schedule
}

// longestGap is the most days from one day with a base backup to the next, in
// eight years, which have leap days.
func longestGap(schedule string) int {
	parsed, err := cron.Parse(schedule)
	if err != nil {
		return 0
	}
	const day = 24 * time.Hour
	begin := leapYear()
	last, longest := time.Time{}, 0
	for next := parsed.Next(begin); !next.IsZero() && next.Before(begin.AddDate(8, 0, 0)); {
		today := next.Truncate(day)
		if !last.IsZero() {
			longest = max(longest, int(today.Sub(last)/day))
		}
		last = today
		next = parsed.Next(today.Add(day - time.Second)) // the first one of a later day
	}
	return longest
}

// mostRuns is how often at the most a valid schedule comes round in a number of
// days.
func mostRuns(schedule string, days int) int {
	parsed, err := cron.Parse(schedule)
	if err != nil || days == 0 {
		return 0
	}
	const enough = 100_000
	window := time.Duration(days) * 24 * time.Hour
	first := leapYear()
	end := first.Add(window).AddDate(1, 1, 0) // more than a year has every month
	var runs []time.Time
	most, begin := 0, 0
	for next := parsed.Next(first.Add(-time.Second)); !next.IsZero() && next.Before(end) && len(runs) < enough; next = parsed.Next(next) {
		runs = append(runs, next)
		for next.Sub(runs[begin]) >= window {
			begin++
		}
		most = max(most, len(runs)-begin)
	}
	return most
}
