package cnpg

import (
	"strconv"
	"strings"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
)

// mirrorBounds are how old things in the archive may be before the mirror's job
// fails. Zero is no bound.
type mirrorBounds struct {
	// backupPeriod is the longest time from one scheduled base backup to the
	// next; by then there has to be a first one.
	backupPeriod time.Duration
	// backupAge and walAge are for the newest base backup and WAL.
	backupAge, walAge time.Duration
	// walDelay is how long a finished base backup may wait for its last WAL: a
	// standby does not see to it that the primary archives it.
	walDelay time.Duration
}

// slack is for what a scheduled base backup takes and waits for.
const slack = time.Hour

// bounds are those of the database. A hibernated one archives nothing, and the
// operator takes no base backup of it.
func (p *plan) bounds() mirrorBounds {
	bounds := boundsOf(p.args.Spec, p.args.Backup, p.args.Mirror)
	if p.hibernated() {
		return mirrorBounds{walDelay: bounds.walDelay}
	}
	return bounds
}

// boundsOf derives the bounds from how a database is configured. The options
// are valid.
func boundsOf(spec cnpgv1.ClusterSpec, backup Backup, mirror Mirror) mirrorBounds {
	bounds := mirrorBounds{
		backupAge: duration(mirror.MaxBackupAge), walAge: duration(mirror.MaxWALAge),
		walDelay: 3*archiveTimeout(spec) + slack,
	}
	if backup.Suspend {
		return bounds
	}
	bounds.backupPeriod = longestPause(backup.Schedule)
	if bounds.backupAge == 0 {
		bounds.backupAge = 2*bounds.backupPeriod + slack
	}
	if bounds.walAge == 0 {
		bounds.walAge = bounds.backupPeriod + bounds.walDelay
	}
	return bounds
}

// duration is a duration that is valid or empty.
func duration(text string) time.Duration {
	d, _ := time.ParseDuration(text)
	return d
}

// archiveTimeout is PostgreSQL's setting; the operator's default is 5min.
func archiveTimeout(spec cnpgv1.ClusterSpec) time.Duration {
	const standard = 5 * time.Minute
	setting := strings.Trim(spec.PostgresConfiguration.Parameters["archive_timeout"], "' ")
	number := strings.TrimRight(setting, "minshd ")
	value, err := strconv.Atoi(number)
	if err != nil {
		return standard
	}
	unit, known := map[string]time.Duration{
		"": time.Second, "ms": time.Millisecond, "s": time.Second, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
	}[strings.TrimSpace(setting[len(number):])]
	if !known {
		return standard
	}
	return time.Duration(value) * unit
}

// seconds is what the script takes for a bound.
func seconds(bound time.Duration) string {
	if bound == 0 {
		return ""
	}
	return strconv.FormatInt(int64(bound/time.Second), 10)
}
