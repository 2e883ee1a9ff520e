//go:build restore

package alerts

import (
	"maps"
	"math"
	"strings"
	"time"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

// scenario is a world, and the alerts that fire in it.
type scenario struct {
	name string
	// args changes the arguments of the database, and change the healthy world.
	args   func(*cnpg.DatabaseArgs)
	change func(world)
	steps  []step
}

// step is a moment, and what fires then: names without CNPG, with a copy where
// there is one alert for each.
type step struct {
	at   time.Duration
	fire []string
}

// clock is a moment; the world begins at 48:00, midnight.
func clock(hours, minutes int) time.Duration {
	return begin + time.Duration(hours-48)*time.Hour + time.Duration(minutes)*time.Minute
}

// silent wants nothing to fire.
func silent(moments ...time.Duration) []step {
	var steps []step
	for _, at := range moments {
		steps = append(steps, step{at: at})
	}
	return steps
}

func fires(hours, minutes int, alerts ...string) step { return step{clock(hours, minutes), alerts} }

// scenarios are all. The healthy world begins at 48:00.
func scenarios() []scenario {
	zero, one := always(0), always(1)
	return []scenario{
		{
			name:  "all is well",
			steps: silent(clock(49, 0), clock(54, 30), clock(60, 0), clock(74, 0), clock(101, 0)),
		},
		{
			name: "all is well, with kube-state-metrics' custom resources",
			change: func(w world) {
				w[of("cnpg_scheduledbackup_suspended", `name="authentik-postgresql-backup"`)] = zero
			},
			steps: silent(clock(49, 0), clock(75, 0)),
		},
		{
			name:   "no pod is scraped",
			change: func(w world) { w.from(clock(50, 0), database, none) },
			steps:  []step{fires(50, 25), fires(50, 40, "NotMonitored"), fires(60, 0, "NotMonitored")},
		},
		{
			name:   "Prometheus was away for a while",
			change: func(w world) { w.between(clock(50, 0), clock(50, 20), "", none) },
			steps:  silent(clock(50, 10), clock(50, 20), clock(50, 30), clock(52, 0)),
		},
		{
			name: "a failure goes on while Prometheus starts again",
			change: func(w world) {
				w.failing(clock(50, 0))
				w.between(clock(51, 0), clock(51, 10), "", none)
			},
			steps: []step{fires(50, 40, "WALArchivingFailing"), fires(51, 30, "WALArchivingFailing")},
		},
		{
			name: "no pod starts without the key",
			change: func(w world) {
				w.from(clock(50, 0), database, none)
				w.from(clock(50, 0), credentials, one)
			},
			steps: []step{fires(50, 10), fires(50, 20, "CredentialsNotSynced"), fires(51, 0, "CredentialsNotSynced")},
		},
		{
			name:   "a hibernated database",
			args:   func(args *cnpg.DatabaseArgs) { args.Annotations = map[string]string{"cnpg.io/hibernation": "on"} },
			change: func(w world) { w.from(clock(50, 0), database, none) },
			steps:  silent(clock(51, 0), clock(60, 0)),
		},
		{
			name:   "the sidecar is gone",
			change: func(w world) { w.from(clock(50, 0), "barman_cloud", none) },
			steps:  []step{fires(50, 25), fires(50, 40, "BackupNotMonitored"), fires(60, 0, "BackupNotMonitored")},
		},
		{
			name: "the sidecar is gone, and WAL cannot be archived",
			change: func(w world) {
				w.failing(clock(50, 0))
				w.from(clock(50, 0), "barman_cloud", none)
			},
			steps: []step{fires(50, 20, "WALArchivingFailing"), fires(51, 0, "WALArchivingFailing")},
		},
		{
			name:   "the default queries are switched off",
			change: func(w world) { w.from(clock(50, 0), "cnpg_pg_stat_archiver", none) },
			steps:  []step{fires(50, 25), fires(50, 40, "WALArchivingNotMonitored"), fires(52, 0, "WALArchivingNotMonitored")},
		},

		// WAL
		{
			name:   "WAL is not archived",
			change: func(w world) { w.failing(clock(50, 0)) },
			steps:  []step{fires(50, 10), fires(50, 20, "WALArchivingFailing"), fires(54, 30, "WALArchivingFailing"), fires(60, 0, "WALArchivingFailing")},
		},
		{
			name: "WAL is archived again",
			change: func(w world) {
				well := maps.Clone(w)
				w.failing(clock(50, 0))
				for name := range w {
					w.from(clock(52, 30), name, well[name])
				}
			},
			steps: []step{fires(52, 0, "WALArchivingFailing"), fires(52, 35), fires(54, 0)},
		},
		{
			name: "an attempt fails, and the next one does not",
			change: func(w world) {
				w.between(clock(50, 0), clock(50, 10), notArchived, func(at time.Duration) float64 { return at.Seconds() })
			},
			steps: silent(clock(50, 0), clock(50, 10), clock(50, 30)),
		},
		{
			name: "no segment was ever archived",
			change: func(w world) {
				w.failing(clock(48, 0))
				w.from(clock(48, 0), archived, always(-1))
				w.from(clock(48, 0), sinceArchive, always(-1))
			},
			steps: []step{fires(48, 20, "WALArchivingFailing"), fires(49, 0, "WALArchivingFailing")},
		},
		{
			name: "archiving hangs",
			change: func(w world) {
				w.failing(clock(50, 0))
				w.from(clock(50, 0), notArchived, always(-1))
				w.from(clock(50, 0), "_failed_backup_timestamp", always(0))
			},
			steps: []step{fires(50, 40), fires(50, 55, "WALArchivingStuck"), fires(55, 0, "WALArchivingStuck")},
		},
		{
			name: "archiving hangs from the beginning",
			change: func(w world) {
				w.from(begin, archived, always(-1))
				w.from(begin, sinceArchive, always(-1))
				w.from(begin, pod(1, walWaits, ready), always(3))
			},
			steps: []step{fires(48, 10), fires(48, 20, "WALArchivingStuck")},
		},
		{
			name: "nobody writes, and a standby has an old file that is ready",
			change: func(w world) {
				w.frozen(clock(50, 0), archived)
				w.from(clock(50, 0), sinceArchive, func(at time.Duration) float64 { return (at - clock(49, 59)).Seconds() })
				w.from(begin, pod(2, walWaits, ready), one)
			},
			steps: silent(clock(51, 0), clock(55, 0)),
		},
		{
			name: "the standby takes over",
			change: func(w world) {
				w.from(clock(50, 0), "cnpg_pg_stat_archiver", none)
				for metric, then := range map[string]value{
					archived: func(at time.Duration) float64 { return at.Seconds() - 60 }, notArchived: always(-1), sinceArchive: always(60),
				} {
					w[pod(2, metric)] = func(at time.Duration) float64 {
						switch {
						case at < clock(50, 5):
							return math.NaN()
						case at < clock(50, 15):
							return -1 // it has not archived yet
						default:
							return then(at)
						}
					}
				}
			},
			steps: silent(clock(50, 0), clock(50, 5), clock(50, 20), clock(52, 0)),
		},
		{
			name: "the standby takes over, and cannot archive either",
			change: func(w world) {
				w.failing(clock(50, 0))
				for _, metric := range []string{archived, notArchived, sinceArchive} {
					before := w[pod(1, metric)]
					w.from(clock(50, 30), pod(1, metric), none)
					w[pod(2, metric)] = func(at time.Duration) float64 {
						if at < clock(50, 30) {
							return math.NaN()
						}
						return before(at)
					}
				}
			},
			steps: []step{fires(50, 25, "WALArchivingFailing"), fires(50, 30, "WALArchivingFailing"), fires(50, 40, "WALArchivingFailing")},
		},
		{
			name:   "more than half of the volume",
			change: func(w world) { w.from(clock(50, 0), pod(1, walVolume, `value="count"`), always(400)) },
			steps:  []step{fires(50, 15), fires(50, 25, "WALVolumeFilling"), fires(55, 0, "WALVolumeFilling")},
		},
		{
			name:   "the volume is almost full",
			change: func(w world) { w.from(clock(50, 0), pod(1, walVolume, `value="count"`), always(500)) },
			steps:  []step{fires(50, 0), fires(50, 10, "WALVolumeAlmostFull"), fires(55, 0, "WALVolumeAlmostFull")},
		},
		{
			name: "the volume fills because WAL is not archived",
			change: func(w world) {
				w.failing(clock(50, 0))
				w.from(clock(50, 0), pod(1, walVolume, `value="count"`), func(at time.Duration) float64 {
					return math.Min(90+(at-clock(50, 0)).Minutes(), 640)
				})
			},
			steps: []step{fires(50, 20, "WALArchivingFailing"), fires(56, 0, "WALArchivingFailing"), fires(57, 0, "WALVolumeAlmostFull"), fires(60, 0, "WALVolumeAlmostFull")},
		},
		{
			name: "the volume fills because archiving hangs",
			change: func(w world) {
				w.failing(clock(50, 0))
				w.from(clock(50, 0), notArchived, always(-1))
				w.from(clock(50, 0), pod(1, walVolume, `value="count"`), func(at time.Duration) float64 {
					return math.Min(90+(at-clock(50, 0)).Minutes(), 640)
				})
			},
			steps: []step{fires(51, 20, "WALArchivingStuck"), fires(56, 0, "WALArchivingStuck"), fires(57, 0, "WALVolumeAlmostFull")},
		},
		{
			name: "a small volume holds what PostgreSQL always keeps",
			change: func(w world) {
				w.from(begin, `value="volume_max"`, always(64))
				w.from(begin, `value="count"`, always(50))
			},
			steps: silent(clock(49, 0), clock(60, 0)),
		},
		{
			name: "a small volume is almost full",
			change: func(w world) {
				w.from(begin, `value="volume_max"`, always(64))
				w.from(begin, `value="count"`, always(50))
				w.from(clock(50, 0), `value="count"`, always(60))
			},
			steps: []step{fires(49, 55), fires(50, 10, "WALVolumeAlmostFull")},
		},

		// Base backups
		{
			name: "a new database without a base backup",
			change: func(w world) {
				w.from(begin, "barman_cloud", zero)
				w.from(begin, cnpgFailed, zero)
			},
			steps: []step{fires(50, 50), fires(51, 10, "BackupNone"), fires(60, 0, "BackupNone")},
		},
		{
			name: "the first base backup waits for its schedule",
			args: func(args *cnpg.DatabaseArgs) { args.Immediate = new(false) },
			change: func(w world) {
				w.from(begin, "barman_cloud", zero)
				w.from(begin, cnpgFailed, zero)
			},
			steps: []step{fires(51, 50), fires(52, 10, "BackupNone")},
		},
		{
			name: "the first base backups fail",
			change: func(w world) {
				w.from(begin, "barman_cloud", zero)
				w.from(clock(49, 0), "_failed_backup_timestamp", every(time.Hour, 2*time.Minute))
			},
			steps: []step{fires(50, 50), fires(51, 10, "BackupNone")},
		},
		{
			name: "there is no base backup because WAL is not archived",
			change: func(w world) {
				w.failing(clock(48, 0))
				w.from(begin, "barman_cloud", zero)
			},
			steps: []step{fires(48, 20, "WALArchivingFailing"), fires(52, 0, "WALArchivingFailing")},
		},
		{
			name:   "the second pod does not know of the base backups yet",
			change: func(w world) { w.from(clock(50, 0), pod(2, lastBackup), zero) },
			steps:  silent(clock(51, 0), clock(54, 0)),
		},
		{
			name: "a second life",
			args: func(args *cnpg.DatabaseArgs) { args.Generation = 2 },
			change: func(w world) {
				for name, values := range w {
					second := strings.Replace(name, `cnpg_server="authentik-postgresql"`, `cnpg_server="authentik-postgresql-2"`, 1)
					if second == name {
						continue
					}
					w.from(clock(52, 0), name, none)
					w[second] = func(at time.Duration) float64 {
						switch {
						case at < clock(52, 0):
							return math.NaN()
						case !strings.HasPrefix(name, "barman_cloud"):
							return values(at)
						case strings.Contains(name, "failed"), at < clock(52, 30):
							return 0
						case strings.HasPrefix(name, firstPoint):
							return math.Max(values(at), clock(52, 25).Seconds())
						default:
							return values(at)
						}
					}
				}
			},
			steps: silent(clock(51, 0), clock(52, 5), clock(53, 0), clock(56, 0), clock(74, 0), clock(101, 0)),
		},
		{
			name: "no base backup any more",
			change: func(w world) {
				w.frozen(clock(50, 0), lastBackup)
				w.frozen(clock(50, 0), firstPoint)
			},
			steps: []step{fires(53, 0), fires(53, 10, "BackupStale"), fires(60, 0, "BackupStale")},
		},
		{
			name: "base backups fail, and it gets late",
			change: func(w world) {
				w.frozen(clock(50, 0), lastBackup)
				w.frozen(clock(50, 0), firstPoint)
				w.from(clock(50, 0), pluginFailed, every(time.Hour, 2*time.Minute))
			},
			steps: []step{fires(50, 55), fires(51, 10, "BackupFailed"), fires(53, 0, "BackupFailed"), fires(53, 15, "BackupStale"), fires(60, 0, "BackupStale")},
		},
		{
			name: "base backups fail before barman begins",
			change: func(w world) {
				w.frozen(clock(50, 0), lastBackup)
				w.from(clock(50, 0), cnpgFailed, every(time.Hour, 2*time.Minute))
			},
			steps: []step{fires(50, 55), fires(51, 10, "BackupFailed")},
		},
		{
			name: "one base backup fails, and the next one does not",
			change: func(w world) {
				w.between(clock(50, 0), clock(51, 5), lastBackup, always(clock(49, 5).Seconds()))
				w.from(clock(50, 10), pluginFailed, always(clock(50, 7).Seconds()))
			},
			steps: silent(clock(50, 55), clock(51, 30), clock(53, 0)),
		},
		{
			name: "the sidecar is out of memory",
			change: func(w world) {
				w[of("kube_pod_init_container_status_last_terminated_reason", sidecar(1)+`,reason="OOMKilled"`)] = func(at time.Duration) float64 {
					if at < clock(50, 0) {
						return math.NaN()
					}
					return 1
				}
				w.from(clock(50, 0), of("kube_pod_init_container_status_restarts_total", sidecar(1)), one)
				w.from(clock(50, 0), pluginFailed, always(clock(50, 2).Seconds()))
				w.between(clock(50, 0), clock(53, 0), lastBackup, always(clock(49, 5).Seconds()))
			},
			steps: []step{fires(49, 55), fires(50, 10, "SidecarOutOfMemory"), fires(52, 0, "SidecarOutOfMemory"), fires(54, 0, "SidecarOutOfMemory"), fires(75, 0)},
		},
		{
			name: "the sidecar is out of memory, and it gets late",
			change: func(w world) {
				w[of("kube_pod_init_container_status_last_terminated_reason", sidecar(1)+`,reason="OOMKilled"`)] = one
				w.from(clock(50, 0), of("kube_pod_init_container_status_restarts_total", sidecar(1)), one)
				w.frozen(clock(50, 0), lastBackup)
			},
			steps: []step{fires(52, 0, "SidecarOutOfMemory"), fires(53, 15, "BackupStale")},
		},
		{
			name: "the sidecar of a database without a base backup is out of memory",
			change: func(w world) {
				w.from(begin, "barman_cloud", zero)
				w[of("kube_pod_init_container_status_last_terminated_reason", sidecar(1)+`,reason="OOMKilled"`)] = one
				w.from(clock(49, 0), of("kube_pod_init_container_status_restarts_total", sidecar(1)), one)
			},
			steps: []step{fires(50, 0, "SidecarOutOfMemory"), fires(51, 15, "BackupNone")},
		},
		{
			name: "the sidecar was restarted for another reason",
			change: func(w world) {
				w[of("kube_pod_init_container_status_last_terminated_reason", sidecar(1)+`,reason="Completed"`)] = one
				w.from(clock(50, 0), of("kube_pod_init_container_status_restarts_total", sidecar(1)), one)
			},
			steps: silent(clock(50, 30), clock(52, 0)),
		},
		{
			name: "the schedule is suspended by hand",
			args: func(args *cnpg.DatabaseArgs) { args.Schedule = "0 0 2 * * 0" },
			change: func(w world) {
				w[of("cnpg_scheduledbackup_suspended", `name="authentik-postgresql-backup"`)] = zero
				w.from(clock(50, 0), "cnpg_scheduledbackup_suspended", one)
				w.frozen(clock(50, 0), lastBackup)
			},
			steps: []step{fires(73, 0), fires(74, 10, "ScheduledBackupSuspended"), fires(100, 0, "ScheduledBackupSuspended")},
		},
		{
			name: "the schedule is suspended by hand, and it gets late",
			change: func(w world) {
				w[of("cnpg_scheduledbackup_suspended", `name="authentik-postgresql-backup"`)] = one
				w.frozen(clock(50, 0), lastBackup)
			},
			steps: []step{fires(53, 15, "BackupStale"), fires(75, 0, "BackupStale")},
		},
		{
			name: "the schedule is suspended before the first base backup",
			change: func(w world) {
				w[of("cnpg_scheduledbackup_suspended", `name="authentik-postgresql-backup"`)] = one
				w.from(begin, "barman_cloud", zero)
			},
			steps: []step{fires(51, 15, "BackupNone"), fires(75, 0, "BackupNone")},
		},
		{
			name:   "the configuration suspends the schedule",
			args:   func(args *cnpg.DatabaseArgs) { args.Suspend = true },
			change: func(w world) { w.frozen(clock(50, 0), lastBackup) },
			steps:  []step{fires(53, 15, "ScheduledBackupSuspended"), fires(80, 0, "ScheduledBackupSuspended")},
		},

		// The window that can be restored
		{
			name: "base backups vanish",
			change: func(w world) {
				w.between(clock(52, 0), clock(66, 0), firstPoint, always(clock(42, 5).Seconds()))
			},
			steps: []step{fires(52, 5), fires(52, 20, "RecoveryWindowShrunk"), fires(60, 0, "RecoveryWindowShrunk"), fires(67, 0)},
		},
		{
			name: "all but the last base backup vanish",
			args: func(args *cnpg.DatabaseArgs) { args.Retention = "5d" },
			change: func(w world) {
				relabel(w, "1d", "5d")
				w.from(begin, firstPoint, always(clock(48, 5).Seconds()))
				w.from(clock(200, 0), firstPoint, always(clock(176, 5).Seconds()))
			},
			steps: []step{
				fires(199, 0), fires(200, 20, "RecoveryWindowShrunk"), fires(247, 0, "RecoveryWindowShrunk"),
				fires(250, 0, "RecoveryWindowShort"), fires(290, 0, "RecoveryWindowShort"), fires(300, 0),
			},
		},
		{
			name:   "a new database grows into its retention",
			change: func(w world) { w.from(begin, firstPoint, always(clock(48, 5).Seconds())) },
			steps:  silent(clock(49, 0), clock(60, 0), clock(71, 0)),
		},
		{
			name: "the retention is raised after base backups were pruned",
			args: func(args *cnpg.DatabaseArgs) { args.Retention = "5d" },
			change: func(w world) {
				for name, values := range w {
					longer := strings.Replace(name, `cnpg_retention="1d"`, `cnpg_retention="5d"`, 1)
					if longer == name {
						continue
					}
					w.from(clock(60, 0), name, none)
					w[longer] = func(at time.Duration) float64 {
						switch {
						case at < clock(60, 0):
							return math.NaN()
						case strings.HasPrefix(name, firstPoint):
							return values(clock(60, 0))
						default:
							return values(at)
						}
					}
				}
			},
			steps: silent(clock(60, 10), clock(61, 0), clock(74, 0), clock(110, 0)),
		},
		{
			name: "nothing is ever pruned",
			args: func(args *cnpg.DatabaseArgs) { args.Retention = "none" },
			change: func(w world) {
				relabel(w, "1d", "none")
				w.from(clock(52, 0), firstPoint, always(clock(51, 5).Seconds()))
			},
			steps: silent(clock(53, 0), clock(60, 0)),
		},

		// Credentials
		{
			name: "External Secrets' series keep their namespace",
			change: func(w world) {
				w.gone(credentials)
				w[`externalsecret_status_condition{name="b2-cnpg-credentials",condition="Ready",status="False",namespace="auth"}`] = one
			},
			steps: []step{fires(48, 10), fires(48, 20, "CredentialsNotSynced")},
		},
		{
			name: "the key of another namespace does not arrive",
			change: func(w world) {
				w[strings.Replace(credentials, `exported_namespace="auth"`, `exported_namespace="apps"`, 1)] = one
				w[`externalsecret_status_condition{name="other",condition="Ready",status="False",namespace="auth"}`] = one
			},
			steps: silent(clock(49, 0), clock(52, 0)),
		},

		// The mirror
		{
			name:   "kube-state-metrics is not there",
			change: func(w world) { w.from(clock(50, 0), "kube_", none) },
			steps:  []step{fires(50, 25), fires(50, 40, "MirrorNotMonitored"), fires(60, 0, "MirrorNotMonitored")},
		},
		{
			name: "there is no mirror",
			args: func(args *cnpg.DatabaseArgs) { args.Mirror.Disabled, args.Drill.Enabled = true, nil },
			change: func(w world) {
				w.gone("kube_cronjob")
			},
			steps: silent(clock(49, 0), clock(60, 0)),
		},
		{
			name: "the first copies fail",
			change: func(w world) {
				w.gone(of(succeeded, mirror))
				w.from(begin, of(created, mirror), always(begin.Seconds()))
				w.failedJob(mirror, 1, clock(49, 0), clock(49, 5), clock(200, 0))
			},
			steps: []step{fires(51, 0), fires(51, 10, "MirrorNever"), fires(60, 0, "MirrorNever")},
		},
		{
			name: "the first copy fails, and the second does not",
			change: func(w world) {
				w.from(begin, of(created, mirror), always(begin.Seconds()))
				w.between(begin, clock(50, 20), of(succeeded, mirror), none)
				w.failedJob(mirror, 1, clock(49, 0), clock(49, 5), clock(200, 0))
			},
			steps: silent(clock(50, 0), clock(52, 0), clock(60, 0)),
		},
		{
			name: "the first copy does not come to an end",
			change: func(w world) {
				w.gone(of(succeeded, mirror))
				w.from(begin, of(created, mirror), always(begin.Seconds()))
			},
			steps: []step{fires(53, 50), fires(54, 10, "MirrorNever"), fires(60, 0, "MirrorNever")},
		},
		{
			name: "the first copy waits for a base backup",
			change: func(w world) {
				w.from(begin, "barman_cloud", zero)
				w.gone(of(succeeded, mirror))
				w.from(begin, of(created, mirror), always(begin.Seconds()))
				w.failedJob(mirror, 1, clock(49, 0), clock(49, 5), clock(200, 0))
			},
			steps: []step{fires(51, 20, "BackupNone"), fires(60, 0, "BackupNone")},
		},
		{
			name:   "the copies take long",
			change: func(w world) { w.frozen(clock(50, 30), of(succeeded, mirror)) },
			steps:  []step{fires(54, 25), fires(54, 40, "MirrorBehind"), fires(56, 15, "MirrorBehind"), fires(56, 40, "MirrorFarBehind"), fires(70, 0, "MirrorFarBehind")},
		},
		{
			name: "the copies fail",
			change: func(w world) {
				w.frozen(clock(50, 30), of(succeeded, mirror))
				w.failedJob(mirror, 2, clock(51, 0), clock(51, 5), clock(200, 0))
			},
			steps: []step{
				fires(53, 0), fires(53, 10, "MirrorFailing"), fires(55, 0, "MirrorFailing"), fires(56, 15, "MirrorFailing"),
				fires(56, 45, "MirrorFarBehind"), fires(70, 0, "MirrorFarBehind"),
			},
		},
		{
			name:   "a copy has failed long ago",
			change: func(w world) { w.failedJob(mirror, 2, clock(47, 0), clock(47, 5), clock(200, 0)) },
			steps:  silent(clock(51, 0), clock(60, 0)),
		},
		{
			name: "the mirror is suspended",
			change: func(w world) {
				w.from(clock(50, 0), of(suspended, mirror), one)
				w.frozen(clock(50, 0), of(succeeded, mirror))
			},
			steps: []step{fires(60, 0), fires(73, 55), fires(74, 5, "MirrorSuspended"), fires(100, 0, "MirrorSuspended")},
		},
		{
			name: "a new mirror is suspended",
			change: func(w world) {
				w.from(begin, of(suspended, mirror), one)
				w.gone(of(succeeded, mirror))
			},
			steps: []step{fires(60, 0), fires(73, 0, "MirrorSuspended")},
		},
		{
			name: "nothing is copied because nothing is archived",
			change: func(w world) {
				w.failing(clock(50, 0))
				w.frozen(clock(50, 30), of(succeeded, mirror))
				w.failedJob(mirror, 2, clock(51, 0), clock(51, 5), clock(200, 0))
				w.frozen(clock(54, 30), of(succeeded, drillB2))
				w.frozen(clock(54, 30), of(succeeded, drillMinIO))
			},
			steps: []step{fires(54, 40, "WALArchivingFailing"), fires(60, 0, "WALArchivingFailing"), fires(90, 0, "WALArchivingFailing")},
		},
		{
			name: "nothing is copied because there is no new base backup",
			change: func(w world) {
				w.frozen(clock(50, 0), lastBackup)
				w.frozen(clock(51, 0), of(succeeded, mirror))
				w.failedJob(mirror, 2, clock(54, 0), clock(54, 5), clock(200, 0))
			},
			steps: []step{fires(53, 15, "BackupStale"), fires(58, 0, "BackupStale"), fires(70, 0, "BackupStale")},
		},

		// Drills
		{
			name: "a drill fails",
			change: func(w world) {
				w.failedJob(drillB2, 1, clock(54, 0), clock(54, 10), clock(78, 0))
				w.between(clock(54, 0), clock(60, 20), of(succeeded, drillB2), always(clock(48, 20).Seconds()))
			},
			steps: []step{fires(54, 5), fires(54, 20, "DrillFailed/b2"), fires(60, 10, "DrillFailed/b2"), fires(61, 0)},
		},
		{
			name: "a failed drill has been thrown away",
			change: func(w world) {
				w.failedJob(drillMinIO, 1, clock(54, 0), clock(54, 10), clock(57, 0))
				w.frozen(clock(54, 0), of(succeeded, drillMinIO))
				w.frozen(clock(54, 0), of(scheduled, drillMinIO))
			},
			steps: []step{fires(54, 20, "DrillFailed/minio"), fires(57, 30, "DrillFailed/minio"), fires(70, 0, "DrillFailed/minio")},
		},
		{
			name: "the first drill fails",
			change: func(w world) {
				w.from(begin, of(created, drillB2), always(begin.Seconds()))
				w.gone(of(succeeded, drillB2))
				w.from(begin, of(scheduled, drillB2), func(at time.Duration) float64 {
					if at < clock(54, 0) {
						return math.NaN()
					}
					return clock(54, 0).Seconds()
				})
			},
			steps: []step{fires(55, 55), fires(56, 10, "DrillFailed/b2"), fires(70, 0, "DrillFailed/b2")},
		},
		{
			name: "no drill is begun",
			change: func(w world) {
				w.frozen(clock(50, 0), of(succeeded, drillMinIO))
				w.frozen(clock(50, 0), of(scheduled, drillMinIO))
			},
			steps: []step{fires(63, 15), fires(63, 25, "DrillOverdue/minio"), fires(70, 0, "DrillOverdue/minio")},
		},
		{
			name: "there was never a drill",
			change: func(w world) {
				w.from(begin, of(created, drillB2), always(begin.Seconds()))
				w.gone(of(succeeded, drillB2))
				w.gone(of(scheduled, drillB2))
			},
			steps: []step{fires(62, 55), fires(63, 10, "DrillOverdue/b2")},
		},
		{
			name:   "there is no CronJob for a drill",
			change: func(w world) { w.gone(drillB2) },
			steps:  []step{fires(48, 25), fires(48, 40, "DrillNotMonitored/b2")},
		},
		{
			name: "one drill is overdue, and the other one fails",
			change: func(w world) {
				w.frozen(clock(50, 0), of(succeeded, drillB2))
				w.frozen(clock(50, 0), of(scheduled, drillB2))
				w.failedJob(drillMinIO, 1, clock(60, 0), clock(60, 10), clock(100, 0))
				w.frozen(clock(60, 0), of(succeeded, drillMinIO))
			},
			steps: []step{fires(60, 20, "DrillFailed/minio"), fires(64, 0, "DrillFailed/minio", "DrillOverdue/b2")},
		},
		{
			name: "the drill of the mirror fails because the mirror is behind",
			change: func(w world) {
				w.frozen(clock(49, 0), of(succeeded, mirror))
				w.failedJob(drillMinIO, 1, clock(54, 0), clock(54, 10), clock(78, 0))
				w.frozen(clock(54, 0), of(succeeded, drillMinIO))
			},
			steps: []step{fires(53, 40, "MirrorBehind"), fires(54, 30, "MirrorBehind"), fires(55, 30, "MirrorFarBehind"), fires(70, 0, "MirrorFarBehind")},
		},
	}
}

// relabel gives the pods' series another retention.
func relabel(w world, from, to string) {
	for name, values := range w {
		if other := strings.Replace(name, `cnpg_retention="`+from+`"`, `cnpg_retention="`+to+`"`, 1); other != name {
			delete(w, name)
			w[other] = values
		}
	}
}
