//go:build restore

package alerts

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tick is how far samples are apart. Prometheus looks back five minutes.
const tick = 5 * time.Minute

// The present begins a day and a quarter after 1970, so that what was before it has
// times that are not negative.
const begin = 30 * time.Hour

// value is what a series has at a time; none is no sample.
type value func(at time.Duration) float64

func none(time.Duration) float64 { return math.NaN() }

func always(number float64) value { return func(time.Duration) float64 { return number } }

// world is what Prometheus scrapes, by the names of the series.
type world map[string]value

const database = `namespace="auth",cnpg_cluster="authentik-postgresql"`

// pod is a series of an instance, in its first life and with the retention of a
// day.
func pod(number int, metric string, labels ...string) string {
	return podOf("authentik-postgresql", "1d", number, metric, labels...)
}

func podOf(server, retention string, number int, metric string, labels ...string) string {
	labels = append([]string{
		database, fmt.Sprintf(`pod="authentik-postgresql-%d"`, number), `cnpg_server="` + server + `"`, `cnpg_retention="` + retention + `"`,
	}, labels...)
	return metric + "{" + strings.Join(labels, ",") + "}"
}

// of is a series of kube-state-metrics.
func of(metric, labels string) string { return metric + `{namespace="auth",` + labels + "}" }

const (
	lastBackup   = "barman_cloud_cloudnative_pg_io_last_available_backup_timestamp"
	firstPoint   = "barman_cloud_cloudnative_pg_io_first_recoverability_point"
	pluginFailed = "barman_cloud_cloudnative_pg_io_last_failed_backup_timestamp"
	cnpgFailed   = "cnpg_collector_last_failed_backup_timestamp"
	archived     = "cnpg_pg_stat_archiver_last_archived_time"
	notArchived  = "cnpg_pg_stat_archiver_last_failed_time"
	sinceArchive = "cnpg_pg_stat_archiver_seconds_since_last_archival"
	walWaits     = "cnpg_collector_pg_wal_archive_status"
	walVolume    = "cnpg_collector_pg_wal"
	ready        = `value="ready"`
	mirror       = `cronjob="authentik-postgresql-mirror"`
	drillB2      = `cronjob="authentik-drill-b2"`
	drillMinIO   = `cronjob="authentik-drill-minio"`
	succeeded    = "kube_cronjob_status_last_successful_time"
	scheduled    = "kube_cronjob_status_last_schedule_time"
	created      = "kube_cronjob_created"
	suspended    = "kube_cronjob_spec_suspend"
	credentials  = `externalsecret_status_condition{name="b2-cnpg-credentials",condition="Ready",status="False",namespace="external-secrets",exported_namespace="auth"}`
)

// every is the last moment of a schedule, with the minutes that a run takes.
func every(period, takes time.Duration) value {
	return func(at time.Duration) float64 { return ((at - takes).Truncate(period) + takes).Seconds() }
}

// healthy is a database that is well: a base backup each hour, kept for a day; the
// mirror each hour, and a drill of each copy every six.
func healthy() world {
	w := world{credentials: always(0)}
	backups := every(time.Hour, 5*time.Minute)
	for number := 1; number <= 2; number++ {
		w[pod(number, "cnpg_collector_up")] = always(1)
		w[pod(number, lastBackup)] = backups
		w[pod(number, firstPoint)] = func(at time.Duration) float64 { return backups(at - 24*time.Hour) }
		w[pod(number, pluginFailed)] = always((20 * time.Hour).Seconds()) // it is never taken back
		w[pod(number, walWaits, ready)] = always(0)
		for what, segments := range map[string]float64{"count": 90, "max": 64, "keep": 32, "volume_max": 640} {
			w[pod(number, walVolume, `value="`+what+`"`)] = always(segments)
		}
		w[of("kube_pod_init_container_status_restarts_total", sidecar(number))] = always(0)
	}
	w[pod(1, cnpgFailed)] = always((20 * time.Hour).Seconds())
	w.primary(1)
	for job, period := range map[string]time.Duration{mirror: time.Hour, drillB2: 6 * time.Hour, drillMinIO: 6 * time.Hour} {
		w[of(created, job)] = always(time.Hour.Seconds())
		w[of(suspended, job)] = always(0)
		w[of(scheduled, job)] = every(period, 0)
		w[of(succeeded, job)] = every(period, 20*time.Minute)
	}
	return w
}

func sidecar(number int) string {
	return fmt.Sprintf(`pod="authentik-postgresql-%d",container="plugin-barman-cloud"`, number)
}

// primary has a pod archive a segment each minute.
func (w world) primary(number int) {
	w[pod(number, archived)] = func(at time.Duration) float64 { return at.Seconds() - 60 }
	w[pod(number, sinceArchive)] = always(60)
	w[pod(number, notArchived)] = always(-1)
}

// series are the names that begin with a metric, or have something in their labels.
func (w world) series(what string) []string {
	var found []string
	for name := range w {
		if strings.HasPrefix(name, what+"{") || strings.Contains(name, what) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	if found == nil {
		panic("there is no series " + what)
	}
	return found
}

// from has series be something else from a time on.
func (w world) from(start time.Duration, what string, then value) {
	for _, name := range w.series(what) {
		before := w[name]
		w[name] = func(at time.Duration) float64 {
			if at >= start {
				return then(at)
			}
			return before(at)
		}
	}
}

// between has series be something else for a while.
func (w world) between(start, end time.Duration, what string, then value) {
	for _, name := range w.series(what) {
		before := w[name]
		w[name] = func(at time.Duration) float64 {
			if at >= start && at < end {
				return then(at)
			}
			return before(at)
		}
	}
}

// frozen has series keep the value of a time from then on.
func (w world) frozen(start time.Duration, what string) {
	for _, name := range w.series(what) {
		w.from(start, name, always(w[name](start)))
	}
}

// gone takes series away for good.
func (w world) gone(what string) {
	for _, name := range w.series(what) {
		delete(w, name)
	}
}

// failing has WAL archiving fail, with all that follows from it.
func (w world) failing(start time.Duration) {
	w.frozen(start, archived)
	w.from(start, notArchived, func(at time.Duration) float64 { return at.Seconds() - 10 })
	w.from(start, sinceArchive, func(at time.Duration) float64 { return (at - start).Seconds() + 60 })
	w.from(start, pod(1, walWaits, ready), func(at time.Duration) float64 { return math.Ceil((at - start).Minutes()) })
	w.frozen(start, lastBackup)
	w.frozen(start, firstPoint)
	w.from(start+time.Hour, pluginFailed, every(time.Hour, 2*time.Minute))
	w.from(start+time.Hour, cnpgFailed, every(time.Hour, 2*time.Minute))
}

// failedJob is a run of a CronJob that has failed.
func (w world) failedJob(job string, number int, start, end, thrownAway time.Duration) {
	run := fmt.Sprintf(`job_name=%q`, strings.TrimSuffix(strings.TrimPrefix(job, `cronjob="`), `"`)+"-"+strconv.Itoa(number))
	while := func(from time.Duration, number float64) value {
		return func(at time.Duration) float64 {
			if at < from || at >= thrownAway {
				return math.NaN()
			}
			return number
		}
	}
	w[of("kube_job_status_start_time", run)] = while(start, start.Seconds())
	w[of("kube_job_failed", run+`,condition="true"`)] = while(end, 1)
}

// input is the world as promtool reads it, to a time.
func (w world) input(end time.Duration) []map[string]string {
	var series []map[string]string
	for _, name := range slices.Sorted(maps.Keys(w)) {
		series = append(series, map[string]string{"series": name, "values": samples(w[name], end)})
	}
	return series
}

// samples are those of a series. One that ends is marked as ended, as a scrape
// without it does.
func samples(of value, end time.Duration) string {
	var text []string
	there := false
	for at := time.Duration(0); at <= end; at += tick {
		number := math.NaN()
		if at >= begin {
			number = of(at)
		}
		switch {
		case !math.IsNaN(number):
			text = append(text, strconv.FormatFloat(number, 'f', -1, 64))
		case there:
			text = append(text, "stale")
		default:
			text = append(text, "_")
		}
		there = !math.IsNaN(number)
	}
	return strings.Join(text, " ")
}
