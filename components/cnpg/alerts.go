package cnpg

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// alert is a rule that tells of one thing.
type alert struct {
	name string
	// code is that of the doctor and of the guide.
	code string
	// critical is about what cannot be restored now, or soon.
	critical bool
	// copy is the copy that it is about, if it is about one.
	copy Location
	// expr is true for hold before the alert fires.
	expr string
	hold time.Duration
	// unless are alerts that tell of the same cause, and tell more of it: while one
	// of them fires this one does not. They have to stand earlier, and to fire
	// sooner. Those of sameCopy count for the same copy only.
	unless, sameCopy []string
	// summary is a sentence, and description what leads to it and what to do.
	summary, description string
	// shared says that the alert is of something that the databases of the
	// namespace share, and is one and the same from each of them.
	shared bool
}

const day = 24 * time.Hour

// prometheusRuleSpec has the alerts of a database, in one group: a later one sees
// which of the earlier ones fire. Another one is for the dashboard.
func (p *plan) prometheusRuleSpec() monitoringv1.PrometheusRuleSpec {
	group := monitoringv1.RuleGroup{Name: "cnpg-backup." + p.database}
	for _, one := range p.alerts() {
		group.Rules = append(group.Rules, p.rule(one))
	}
	return monitoringv1.PrometheusRuleSpec{Groups: []monitoringv1.RuleGroup{group, {
		Name: group.Name + ".dashboard", Rules: p.records(),
	}}}
}

func (p *plan) rule(a alert) monitoringv1.Rule {
	expr := a.expr
	if len(a.unless)+len(a.sameCopy) > 0 {
		expr = "(" + expr + ")"
	}
	if len(a.unless) > 0 {
		expr += "\nunless on() " + p.firing(a.unless)
	}
	if len(a.sameCopy) > 0 {
		expr += "\nunless on() " + p.firing(a.sameCopy, "copy=", string(a.copy))
	}
	labels := maps.Clone(p.args.Monitoring.AlertLabels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels["severity"] = p.args.Monitoring.Severities.Warning
	if a.critical {
		labels["severity"] = p.args.Monitoring.Severities.Critical
	}
	labels[labelNamespace], labels[labelCode] = p.namespace, a.code
	if !a.shared {
		labels[labelCluster] = p.cluster
	}
	if a.copy != "" {
		labels[labelCopy] = string(a.copy)
	}
	return monitoringv1.Rule{
		Alert:  a.name,
		Expr:   intstr.FromString(expr),
		For:    new(monitoringv1.Duration(promDuration(a.hold))),
		Labels: labels,
		Annotations: map[string]string{
			"summary":     a.summary,
			"description": a.description,
			"runbook_url": guide + "#" + strings.ToLower(a.code),
		},
	}
}

// guide has a heading for each code.
const guide = "https://github.com/homelab-iac/pulumi-cnpg-backup/blob/main/docs/troubleshooting.md"

// firing are those of the database's alerts that fire now.
func (p *plan) firing(alerts []string, more ...string) string {
	return fmt.Sprintf(`ALERTS{alertname=~%q,alertstate="firing",namespace=%q,cnpg_cluster=~"%s|"%s}`,
		strings.Join(alerts, "|"), p.namespace, p.cluster, matchers(more))
}

// promDuration is a duration as Prometheus writes it, in its largest units.
func promDuration(d time.Duration) string {
	var text strings.Builder
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := d / unit.of; n > 0 {
			fmt.Fprintf(&text, "%d%s", n, unit.name)
			d -= n * unit.of
		}
	}
	if text.Len() == 0 {
		return "0s"
	}
	return text.String()
}

// inWords is a duration for a sentence.
func inWords(d time.Duration) string {
	var parts []string
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		n := d / unit.of
		d -= n * unit.of
		switch {
		case n == 1:
			parts = append(parts, "1 "+unit.name)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", n, unit.name))
		}
	}
	return strings.Join(parts, " ")
}

// The names of the alerts.
const (
	notSynced          = "CNPGCredentialsNotSynced"
	notMonitored       = "CNPGNotMonitored"
	volumeAlmostFull   = "CNPGWALVolumeAlmostFull"
	archivingFailing   = "CNPGWALArchivingFailing"
	archivingStuck     = "CNPGWALArchivingStuck"
	archivingUnseen    = "CNPGWALArchivingNotMonitored"
	volumeFilling      = "CNPGWALVolumeFilling"
	backupUnseen       = "CNPGBackupNotMonitored"
	scheduleSuspended  = "CNPGScheduledBackupSuspended"
	backupNone         = "CNPGBackupNone"
	backupStale        = "CNPGBackupStale"
	sidecarOutOfMemory = "CNPGSidecarOutOfMemory"
	backupFailed       = "CNPGBackupFailed"
	windowShrunk       = "CNPGRecoveryWindowShrunk"
	windowShort        = "CNPGRecoveryWindowShort"
	mirrorUnseen       = "CNPGMirrorNotMonitored"
	mirrorSuspended    = "CNPGMirrorSuspended"
	mirrorNever        = "CNPGMirrorNever"
	mirrorFarBehind    = "CNPGMirrorFarBehind"
	mirrorFailing      = "CNPGMirrorFailing"
	mirrorBehind       = "CNPGMirrorBehind"
	drillUnseen        = "CNPGDrillNotMonitored"
	drillFailed        = "CNPGDrillFailed"
	drillOverdue       = "CNPGDrillOverdue"
)

// Metrics of the plugin, of CloudNativePG, of kube-state-metrics and of External
// Secrets: what they mean, and when they are not there, is in docs/operate.md.
const (
	lastBackup = "barman_cloud_cloudnative_pg_io_last_available_backup_timestamp"
	failedPlug = "barman_cloud_cloudnative_pg_io_last_failed_backup_timestamp"
	failedCNPG = "cnpg_collector_last_failed_backup_timestamp"
	firstPoint = "barman_cloud_cloudnative_pg_io_first_recoverability_point"
)

// of is a metric of the database's pods.
func (p *plan) of(metric string, more ...string) string {
	return fmt.Sprintf("%s{namespace=%q,cnpg_cluster=%q%s}", metric, p.namespace, p.cluster, matchers(more))
}

// ofObject is a metric about an object of the namespace.
func (p *plan) ofObject(metric string, more ...string) string {
	return fmt.Sprintf("%s{namespace=%q%s}", metric, p.namespace, matchers(more))
}

// matchers are pairs of a label, with its operator, and a value.
func matchers(pairs []string) string {
	var text strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(&text, ",%s%q", pairs[i], pairs[i+1])
	}
	return text.String()
}

// said is how the database is called in sentences.
func (p *plan) said() string { return p.database + " (" + p.namespace + "/" + p.cluster + ")" }

// place is how a location is called in sentences.
func place(at Location) string {
	if at == MinIO {
		return "MinIO"
	}
	return "B2"
}

// alerts are all of a database. The order is that of the causes: one that explains
// others stands before them.
func (p *plan) alerts() []alert {
	var all []alert
	all = append(all, p.credentialsAlerts()...)
	all = append(all, p.podAlerts()...)
	all = append(all, p.walAlerts()...)
	all = append(all, p.backupAlerts()...)
	all = append(all, p.windowAlerts()...)
	all = append(all, p.mirrorAlerts()...)
	return append(all, p.drillAlerts()...)
}

// credentialsAlerts is about the ExternalSecrets of the namespace. With External
// Secrets' own ServiceMonitor the object's namespace is exported_namespace.
func (p *plan) credentialsAlerts() []alert {
	secrets := B2Secret
	if p.storage.Bitwarden.MirrorItem != "" {
		secrets += "|" + B2MirrorSecret
	}
	const metric = "externalsecret_status_condition"
	failing := []string{"name=~", secrets, "condition=", "Ready", "status=", "False"}
	return []alert{{
		name: notSynced, code: "CB12", shared: true, hold: 15 * time.Minute,
		expr: fmt.Sprintf("max by (name) (\n  %s{exported_namespace=%q%s}\n  or %s\n) == 1", metric, p.namespace, matchers(failing),
			p.ofObject(metric, slices.Concat(failing, []string{"exported_namespace=", ""})...)),
		summary: fmt.Sprintf("The Secret {{ $labels.name }} in the namespace %s is not brought up to date from Bitwarden.", p.namespace),
		description: "The Secret keeps the key that it has, so backups go on until that key is revoked. " +
			fmt.Sprintf("Why: kubectl describe externalsecret -n %s {{ $labels.name }}", p.namespace),
	}}
}

// hibernated is whether the program has the operator keep the database without pods.
func (p *plan) hibernated() bool { return p.args.Annotations["cnpg.io/hibernation"] == "on" }

// podAlerts are about pods of which nothing is known. A hibernated database has
// none.
func (p *plan) podAlerts() []alert {
	if p.hibernated() {
		return nil
	}
	return []alert{{
		name: notMonitored, code: "CB92", critical: true, hold: 30 * time.Minute, unless: []string{notSynced},
		expr:    fmt.Sprintf("absent(%s)", p.of("cnpg_collector_up")),
		summary: fmt.Sprintf("Prometheus sees nothing of %s, so no other alert about its backups can fire.", p.said()),
		description: fmt.Sprintf("Its pods are not running, or Prometheus does not use the PodMonitor %[2]s: some only use those with a certain label. "+
			"Which of the two: kubectl get pods -n %[1]s -l cnpg.io/cluster=%[3]s", p.namespace, p.monitoringName(), p.cluster),
	}}
}

// walAlerts are about the archiver and the volume that WAL waits on.
func (p *plan) walAlerts() []alert {
	archive := p.args.Archive
	lasts := ""
	var alerts []alert
	full := func(share float64) string {
		// What PostgreSQL keeps in any case is not counted.
		count := func(what string) string {
			return fmt.Sprintf("max by (pod) (%s)", p.of("cnpg_collector_pg_wal", "value=", what))
		}
		return fmt.Sprintf("max(\n  %[1]s > %.1[5]f * %[2]s + %.1[6]f * (%[3]s + %[4]s)\n  or %[1]s > 0.9 * %[2]s\n)",
			count("count"), count("volume_max"), count("max"), count("keep"), share, 1-share)
	}
	if !p.args.WALOnDataVolume {
		lasts = " " + p.volumeLasts()
		alerts = append(alerts, alert{
			name: volumeAlmostFull, code: "CB33", critical: true, copy: archive, hold: 5 * time.Minute,
			expr:    full(0.7),
			summary: fmt.Sprintf("The WAL volume of %s is almost full; when it is full, PostgreSQL stops.", p.said()),
			description: "WAL stays there until it is archived, or until no replication slot needs it." + lasts +
				" Make archiving work, then enlarge spec.walStorage; never delete in pg_wal." + p.lookAtSidecar(),
		})
	}
	alerts = append(alerts, alert{
		name: archivingFailing, code: "CB32", critical: true, copy: archive, hold: 15 * time.Minute, unless: []string{volumeAlmostFull},
		expr: fmt.Sprintf("max(%s) > max(%s)", p.of("cnpg_pg_stat_archiver_last_failed_time"), p.of("cnpg_pg_stat_archiver_last_archived_time")),
		summary: fmt.Sprintf("WAL of %s is not archived to %s: the last attempt failed, and nothing since then could be restored from there.",
			p.said(), place(archive)),
		description: "PostgreSQL keeps its WAL and tries again." + lasts + p.lookAtSidecar(),
	}, alert{
		name: archivingStuck, code: "CB32", critical: true, copy: archive, hold: 15 * time.Minute,
		unless: []string{volumeAlmostFull, archivingFailing},
		expr: fmt.Sprintf("max(\n  (%s > 1800 or %s < 0)\n  and on(namespace, pod) %s > 0\n)", p.of("cnpg_pg_stat_archiver_seconds_since_last_archival"),
			p.of("cnpg_pg_stat_archiver_seconds_since_last_archival"), p.of("cnpg_collector_pg_wal_archive_status", "value=", "ready")),
		summary:     fmt.Sprintf("WAL of %s is waiting, and none has been archived to %s for more than half an hour.", p.said(), place(archive)),
		description: "No attempt has failed, so one of them hangs: the store, or the way to it, is slow or does not answer." + lasts + p.lookAtSidecar(),
	}, alert{
		name: archivingUnseen, code: "CB92", copy: archive, hold: 30 * time.Minute,
		expr:    fmt.Sprintf("absent(%s)\nunless on() absent(%s)", p.of("cnpg_pg_stat_archiver_last_archived_time"), p.of("cnpg_collector_up")),
		summary: fmt.Sprintf("Nothing shows whether WAL of %s is archived.", p.said()),
		description: "There is no primary, or the operator's default queries are switched off: " +
			"spec.monitoring.disableDefaultQueries, or MONITORING_QUERIES_CONFIGMAP of the operator.",
	})
	if !p.args.WALOnDataVolume {
		alerts = append(alerts, alert{
			name: volumeFilling, code: "CB36", copy: archive, hold: 20 * time.Minute,
			unless:  []string{volumeAlmostFull, archivingFailing, archivingStuck},
			expr:    full(0.5),
			summary: fmt.Sprintf("More than half of the WAL volume of %s is used.", p.said()),
			description: "WAL is written faster than it is archived, or a replication slot holds it." + lasts +
				" Enlarge spec.walStorage, or drop the slot that nobody reads.",
		})
	}
	return alerts
}

// volumeLasts is a sentence that tells when the WAL volume is full.
func (p *plan) volumeLasts() string {
	volume := func(what string) string { return p.of("cnpg_collector_pg_wal", "value=", what) }
	query := fmt.Sprintf("min((max by (pod) (%s) - max by (pod) (%s)) / (max by (pod) (deriv(%s[30m])) > 0))",
		volume("volume_max"), volume("count"), volume("count"))
	return "{{ with query `" + query + "` }}At the rate of the last half hour its volume is full in " +
		"{{ . | first | value | humanizeDuration }}.{{ else }}Its volume does not fill up now.{{ end }}"
}

// lookAtSidecar is the command that shows why.
func (p *plan) lookAtSidecar() string {
	return fmt.Sprintf(" Why: kubectl logs -n %s -l cnpg.io/cluster=%s,cnpg.io/instanceRole=primary -c plugin-barman-cloud --tail 50", p.namespace, p.cluster)
}

// lookAtDrill is the command that shows why a drill failed, whose metrics do not.
func (p *plan) lookAtDrill(at Location) string {
	return fmt.Sprintf(" The run and its log are kept for %s; after that, start the CronJob %s once more. Why, and with which code: "+
		"kubectl logs -n %s -l app.kubernetes.io/instance=%s,app.kubernetes.io/component=drill-%s -c %s --tail 1",
		inWords(duration(p.args.Drill.Keep)), p.drill(at), p.namespace, p.cluster, at, DrillReportContainer)
}

// lookAtBackups is the command that shows what became of them.
func (p *plan) lookAtBackups() string {
	return fmt.Sprintf(" Why: kubectl get backups.postgresql.cnpg.io -n %s -l cnpg.io/cluster=%s --sort-by=.metadata.creationTimestamp", p.namespace, p.cluster)
}

// backupAlerts are about base backups. 0 is never, and no series is not known.
func (p *plan) backupAlerts() []alert {
	archive, bounds := p.args.Archive, p.bounds()
	newest := fmt.Sprintf("max(%s)", p.of(lastBackup))
	wal := []string{volumeAlmostFull, archivingFailing, archivingStuck}
	alerts := []alert{{
		name: backupUnseen, code: "CB92", critical: true, copy: archive, hold: 30 * time.Minute, unless: wal,
		expr:    fmt.Sprintf("absent(%s)\nunless on() absent(%s)", p.of(lastBackup), p.of("cnpg_collector_up")),
		summary: fmt.Sprintf("The pods of %s report nothing about its base backups.", p.said()),
		description: fmt.Sprintf("The sidecar of the Barman Cloud plugin is not in the pods or does not answer, or the ObjectStore %s is not there.",
			p.objectStore(archive)) + p.lookAtSidecar(),
	}}
	first := 3 * time.Hour
	if !*p.args.Immediate {
		first += longestPause(p.args.Schedule)
	}
	suspended := alert{
		name: scheduleSuspended, code: "CB44", copy: archive, hold: day, unless: []string{backupNone, backupStale},
		expr:        fmt.Sprintf("max(%s) == 1", p.ofObject("cnpg_scheduledbackup_suspended", "name=", p.scheduledBackup())),
		summary:     fmt.Sprintf("No base backups of %s are taken: the schedule is suspended.", p.said()),
		description: fmt.Sprintf("The ScheduledBackup %s in the namespace %s has been suspended for more than a day.", p.scheduledBackup(), p.namespace),
	}
	if p.args.Suspend {
		suspended.expr = "vector(1)" // it needs no metric, which may not be there
	}
	alerts = append(alerts, alert{
		name: backupNone, code: "CB46", critical: true, copy: archive, hold: first, unless: wal,
		expr:        newest + " == 0",
		summary:     fmt.Sprintf("%s has no base backup in %s: nothing can be restored from there.", p.said(), place(archive)),
		description: "There has been none in the folder of this generation for longer than a first one may take." + p.lookAtBackups(),
	})
	if p.args.Suspend || p.hibernated() {
		return append(alerts, suspended)
	}
	return append(alerts, alert{
		name: backupStale, code: "CB47", critical: true, copy: archive, hold: time.Hour, unless: wal,
		expr:        fmt.Sprintf("time() - (%s > 0) > %d", newest, int(p.staleAge(bounds).Seconds())),
		summary:     fmt.Sprintf("The newest base backup of %s in %s is {{ $value | humanizeDuration }} old.", p.said(), place(archive)),
		description: fmt.Sprintf("By its schedule there should be one at least every %s.", inWords(bounds.backupPeriod)) + p.lookAtBackups(),
	}, suspended, alert{
		name: sidecarOutOfMemory, code: "CB23", copy: archive, hold: 5 * time.Minute,
		unless: append(wal[:len(wal):len(wal)], backupNone, backupStale),
		expr: fmt.Sprintf("max(\n  %s == 1\n  and on(namespace, pod, container) increase(%s[1d]) > 0\n)",
			p.ofObject("kube_pod_init_container_status_last_terminated_reason", "pod=~", p.cluster+"-[0-9]+",
				"container=", "plugin-barman-cloud", "reason=", "OOMKilled"),
			p.ofObject("kube_pod_init_container_status_restarts_total", "pod=~", p.cluster+"-[0-9]+", "container=", "plugin-barman-cloud")),
		summary: fmt.Sprintf("The backup sidecar of %s was killed in the last day because it ran out of memory.", p.said()),
		description: fmt.Sprintf("Base backups fail because of it, while WAL is still archived. Raise sidecar.resources.limits.memory of %s, and restart the pods: "+
			"kubectl cnpg restart -n %s %s", archive, p.namespace, p.cluster),
	}, alert{
		name: backupFailed, code: "CB45", copy: archive, hold: time.Hour,
		unless:      append(wal[:len(wal):len(wal)], backupNone, backupStale, sidecarOutOfMemory),
		expr:        fmt.Sprintf("max(%s) > (%s > 0)", p.of("", "__name__=~", failedPlug+"|"+failedCNPG), newest),
		summary:     fmt.Sprintf("The last base backup of %s to %s failed.", p.said(), place(archive)),
		description: "The one before it is still there." + p.lookAtBackups(),
	})
}

// staleAge is the age of the newest base backup at which a scheduled one was
// missed: it may take as long as a day, or the time between two.
func (p *plan) staleAge(bounds mirrorBounds) time.Duration {
	if p.args.Mirror.MaxBackupAge != "" {
		return bounds.backupAge
	}
	return bounds.backupPeriod + min(bounds.backupPeriod, day) + slack
}

// windowAlerts are about base backups that are gone before their time.
func (p *plan) windowAlerts() []alert {
	archive := p.args.Archive
	kept := p.args.options(archive).Retention
	retention := retentionTime(kept)
	if retention == 0 {
		return nil
	}
	// Of this life, and pruned by this retention.
	first := func(and string) string {
		return fmt.Sprintf("max(%s%s)", p.of(firstPoint, "cnpg_server=", p.serverName(), "cnpg_retention=", kept), and)
	}
	series := p.of(firstPoint, "cnpg_server=", p.serverName(), "cnpg_retention=", kept)
	early := fmt.Sprintf("%s > time() - %d", first(""), int(retention.Seconds()))
	lost := "Base backups that are needed for it are gone from the bucket: somebody deleted them, or a lifecycle rule of the bucket did. " +
		"See what is left: make doctor"
	return []alert{{
		name: windowShrunk, code: "CB57", critical: true, copy: archive, hold: 15 * time.Minute,
		expr:        fmt.Sprintf("%s\nand on() (%s > min(min_over_time(%s[2d]) > 0))", early, first(""), series),
		summary:     fmt.Sprintf("The oldest base backup of %s in %s has vanished, although its retention of %s needs it.", p.said(), place(archive), kept),
		description: lost,
	}, {
		name: windowShort, code: "CB57", copy: archive, hold: time.Hour, unless: []string{windowShrunk},
		expr:        fmt.Sprintf("%s\nand on() %s > 0", early, first(" offset "+promDuration(retention+day))),
		summary:     fmt.Sprintf("%s cannot be restored from %s as far back as its retention of %s says.", p.said(), place(archive), kept),
		description: lost,
	}}
}

// retentionTime is for how long a retention keeps base backups; 0 is for ever.
func retentionTime(policy string) time.Duration {
	return time.Duration(retentionDays(policy)) * 24 * time.Hour
}

// mirrorAlerts are about the job that copies, as kube-state-metrics sees it.
func (p *plan) mirrorAlerts() []alert {
	mirror, at := p.args.Mirror, p.args.Archive.other()
	if mirror.Disabled {
		return nil
	}
	job := mirrorName(p.cluster)
	cronJob := func(metric string) string { return p.ofCronJob(job, metric) }
	success := fmt.Sprintf("max(%s)", cronJob("status_last_successful_time"))
	period, deadline := longestPause(withSeconds(mirror.Schedule)), duration(mirror.Deadline)
	late := 3*period + slack
	// What is not in the archive cannot be copied, and the job says so.
	archive := []string{
		volumeAlmostFull, archivingFailing, archivingStuck, backupUnseen, backupNone, backupStale, windowShrunk,
	}
	why := fmt.Sprintf(" Why: kubectl logs -n %s -l app.kubernetes.io/name=cnpg-backup-mirror,app.kubernetes.io/instance=%s -c copy --tail 50",
		p.namespace, p.cluster)
	unless := func(more ...string) []string { return append(archive[:len(archive):len(archive)], more...) }
	return []alert{{
		name: mirrorUnseen, code: "CB92", copy: at, hold: 30 * time.Minute,
		expr:        fmt.Sprintf("absent(%s)", cronJob("created")),
		summary:     fmt.Sprintf("Nothing shows whether %s is copied to %s.", p.said(), place(at)),
		description: fmt.Sprintf("kube-state-metrics is not there or not scraped, or there is no CronJob %s in the namespace %s.", job, p.namespace),
	}, {
		name: mirrorSuspended, code: "CB62", copy: at, hold: day,
		expr:        fmt.Sprintf("max(%s) == 1", cronJob("spec_suspend")),
		summary:     fmt.Sprintf("Nothing of %s is copied to %s: the job is suspended.", p.said(), place(at)),
		description: fmt.Sprintf("The CronJob %s in the namespace %s has been suspended for more than a day, by mirror.suspend or by hand.", job, p.namespace),
	}, {
		name: mirrorNever, code: "CB61", critical: true, copy: at, hold: 2 * time.Hour, unless: unless(),
		expr: fmt.Sprintf("(\n  time() - max(%s) > %d\n  or max(%s)\n)\nunless on() %s\nunless on() %s == 1",
			cronJob("created"), int((period + deadline + slack).Seconds()), p.failedRun(job), success, cronJob("spec_suspend")),
		summary:     fmt.Sprintf("%s has never been copied to %s: there is no second copy.", p.said(), place(at)),
		description: "No run of the mirror's job has ended well so far." + why,
	}, {
		name: mirrorFarBehind, code: "CB63", critical: true, copy: at, hold: 15 * time.Minute, unless: unless(),
		expr:        fmt.Sprintf("time() - %s > %d\nunless on() %s == 1", success, int((late + deadline).Seconds()), cronJob("spec_suspend")),
		summary:     fmt.Sprintf("The copy of %s at %s is {{ $value | humanizeDuration }} old.", p.said(), place(at)),
		description: "No run of the mirror's job has ended well since then." + why,
	}, {
		name: mirrorFailing, code: "CB61", copy: at, hold: 2 * time.Hour, unless: unless(mirrorFarBehind),
		expr:        fmt.Sprintf("max(%s) > %s\nunless on() %s == 1", p.failedRun(job), success, cronJob("spec_suspend")),
		summary:     fmt.Sprintf("The job that copies %s to %s fails.", p.said(), place(at)),
		description: "Its last run failed. Its log has a line with PROBLEM for each reason, and nothing is pruned until a run has none." + why,
	}, {
		name: mirrorBehind, code: "CB63", copy: at, hold: 15 * time.Minute, unless: unless(mirrorFarBehind, mirrorFailing),
		expr:        fmt.Sprintf("time() - %s > %d\nunless on() %s == 1", success, int(late.Seconds()), cronJob("spec_suspend")),
		summary:     fmt.Sprintf("The copy of %s at %s is {{ $value | humanizeDuration }} old.", p.said(), place(at)),
		description: fmt.Sprintf("A run should end well every %s; the present one takes too long, or none starts.", inWords(period)) + why,
	}}
}

// ofCronJob is a metric about a CronJob.
func (p *plan) ofCronJob(job, metric string) string {
	return p.ofObject("kube_cronjob_"+metric, "cronjob=", job)
}

// failedRun is when the runs of a CronJob began that have failed. They are not
// kept for ever.
func (p *plan) failedRun(job string) string {
	run := job + "-[0-9]+"
	return fmt.Sprintf("%s\n  and on(namespace, job_name) %s == 1\n", p.ofObject("kube_job_status_start_time", "job_name=~", run),
		p.ofObject("kube_job_failed", "job_name=~", run, "condition=", "true"))
}

// drillAlerts are about the jobs that restore the copies.
func (p *plan) drillAlerts() []alert {
	drill := p.args.Drill
	if !drill.on() {
		return nil
	}
	// What is not in a copy is not restored from it.
	var alerts []alert
	for _, at := range p.copies() {
		unless := []string{volumeAlmostFull, archivingFailing, archivingStuck, backupUnseen, backupNone, backupStale}
		if at != p.args.Archive {
			unless = append(unless, mirrorUnseen, mirrorSuspended, mirrorNever, mirrorFarBehind, mirrorFailing, mirrorBehind)
		}
		job := p.drill(at)
		success := fmt.Sprintf("max(%s)", p.ofCronJob(job, "status_last_successful_time"))
		scheduled := fmt.Sprintf("max(%s)", p.ofCronJob(job, "status_last_schedule_time"))
		period, longest := longestPause(withSeconds(drill.schedule(at))), duration(drill.Deadline)+slack
		overdue := int((2*period + longest).Seconds())
		alerts = append(alerts, alert{
			name: drillUnseen, code: "CB92", copy: at, hold: 30 * time.Minute, unless: []string{mirrorUnseen},
			expr:    fmt.Sprintf("absent(%s)", p.ofCronJob(job, "created")),
			summary: fmt.Sprintf("Nothing shows whether %s still restores from %s.", p.said(), place(at)),
			description: fmt.Sprintf("kube-state-metrics is not there or not scraped, or there is no CronJob %s in the namespace %s.",
				job, p.namespace),
		}, alert{
			name: drillFailed, code: "CB83", critical: true, copy: at, hold: 5 * time.Minute, unless: unless,
			// A run that failed is soon thrown away; that it was begun stays.
			expr: fmt.Sprintf("(\n  max(%s)\n  or %s < time() - %d\n) > (%s or on() vector(0))",
				p.failedRun(job), scheduled, int(longest.Seconds()), success),
			summary:     fmt.Sprintf("The last drill of %s did not restore it from %s.", p.said(), place(at)),
			description: "Restore from the other copy until it is put right." + p.lookAtDrill(at),
		}, alert{
			name: drillOverdue, code: "CB84", copy: at, hold: time.Hour, unless: unless, sameCopy: []string{drillUnseen, drillFailed},
			expr: fmt.Sprintf("time() - %s > %d\nor (time() - max(%s) > %d unless on() %s)",
				success, overdue, p.ofCronJob(job, "created"), overdue, success),
			summary: fmt.Sprintf("Whether %s restores from %s has not been tried for {{ $value | humanizeDuration }}.", p.said(), place(at)),
			description: fmt.Sprintf("There should be a drill every %s. Check whether the CronJob %s in the namespace %s is suspended.",
				inWords(period), job, p.namespace),
		})
	}
	return alerts
}
