package cnpg

import (
	"fmt"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Backup says when base backups are taken, where they go and how long they are kept.
type Backup struct {
	// Archive is the store that the cluster writes WAL and base backups to; the other
	// one is the mirror. Default b2, which is off-site within minutes. With minio an
	// outage of the internet connection does not fill the WAL volume.
	//
	// To change it for a running cluster, raise Generation as well.
	Archive Location `json:"archive,omitempty"`
	// Generation counts the lives of the cluster and names barman's folder: that of
	// the first is the cluster's name, that of the n-th <cluster>-<n>. Raise it by one
	// for every recovery, and when Archive changes. Default 1.
	Generation int `json:"generation,omitempty"`
	// Path is the folder in both buckets that holds barman's folders, for a database
	// whose backups already exist in an unusual one; "/" is the bucket's root. Default
	// <namespace>/<cluster>.
	Path string `json:"path,omitempty"`
	// ServerName is barman's folder for the first generation, likewise for a database
	// whose backups already exist. Default: the cluster's name.
	ServerName string `json:"serverName,omitempty"`
	// ScheduledBackup is the name of the first generation's ScheduledBackup, for one
	// that already exists; the n-th is <name>-<n>. Default <cluster>-backup, and
	// <cluster>-<n>-backup.
	ScheduledBackup string `json:"scheduledBackup,omitempty"`
	// Schedule is when a base backup is taken: six cron fields, seconds first, in the
	// operator's time zone, which is UTC. Default "0 0 2 * * *", every night at 02:00,
	// because a restore fetches every WAL segment since the base backup, and there are
	// up to 288 a day however little is written (docs/decisions/schedule.md). Take base
	// backups less often if the database is so large that they cost too much. Five
	// fields are refused: the operator would read them with seconds first.
	Schedule string `json:"schedule,omitempty"`
	// Immediate takes the first base backup at once. Until there is one, nothing can
	// be restored. Default true.
	Immediate *bool `json:"immediate,omitempty"`
	// Suspend stops taking base backups; WAL is still archived. Default false.
	Suspend bool `json:"suspend,omitempty"`
	// Target is the instance that base backups are taken from: primary or
	// prefer-standby. Default: the operator's, prefer-standby.
	Target cnpgv1.BackupTarget `json:"target,omitempty"`
	// Retention is how long base backups, and the WAL that they need, are kept: a
	// number with d, w or m for days, weeks or months, or none to keep them for ever.
	// Default 30d.
	Retention string `json:"retention,omitempty"`
	// B2 and MinIO say how barman uses each of the stores.
	B2    StoreOptions `json:"b2,omitempty"`
	MinIO StoreOptions `json:"minio,omitempty"`
}

// withDefaults returns a copy in which everything is set, for a release of the
// plugin.
func (b Backup) withDefaults(plugin string) Backup {
	if b.Archive == "" {
		b.Archive = B2
	}
	if b.Generation == 0 {
		b.Generation = 1
	}
	if b.Schedule == "" {
		b.Schedule = "0 0 2 * * *"
	}
	if b.Immediate == nil {
		b.Immediate = new(true)
	}
	if b.Retention == "" {
		b.Retention = "30d"
	}
	b.B2 = b.B2.withDefaults(B2, b.Retention, plugin)
	b.MinIO = b.MinIO.withDefaults(MinIO, b.Retention, plugin)
	return b
}

// options are those of one of the stores.
func (b Backup) options(at Location) StoreOptions {
	if at == MinIO {
		return b.MinIO
	}
	return b.B2
}

func (b Backup) validate(at *field.Path, storage *StorageArgs) field.ErrorList {
	problems := checkOneOf(at.Child("archive"), b.Archive, B2, MinIO)
	if b.Generation < 0 {
		problems = append(problems, field.Invalid(at.Child("generation"), b.Generation, "expected 1 or more"))
	}
	problems = append(problems, checkPath(at.Child("path"), b.Path)...)
	problems = append(problems, checkServerName(at.Child("serverName"), b.ServerName)...)
	if b.ScheduledBackup != "" {
		problems = append(problems, checkObjectName(at.Child("scheduledBackup"), b.ScheduledBackup, "")...)
	}
	if b.Schedule != "" {
		problems = append(problems, checkSchedule(at.Child("schedule"), b.Schedule)...)
	}
	problems = append(problems, checkOneOf(at.Child("target"), b.Target,
		cnpgv1.BackupTargetPrimary, cnpgv1.BackupTargetStandby)...)
	problems = append(problems, checkRetention(at.Child("retention"), b.Retention)...)
	problems = append(problems, b.B2.validate(at.Child("b2"), B2, storage)...)
	return append(problems, b.MinIO.validate(at.Child("minio"), MinIO, storage)...)
}

// warnRetention is about base backups that are further apart than they are kept.
// barman always leaves the one that the retention still needs, and no other.
func (b Backup) warnRetention() []string {
	gap := longestGap(b.Schedule)
	var warnings []string
	for _, at := range []Location{B2, MinIO} {
		kept := b.options(at).Retention
		if days := retentionDays(kept); days == 0 || days >= gap || b.Suspend {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("retention: %q of %s is shorter than the %d days that can lie between two base backups "+
			"(schedule %q). Most of the time there is then a single one, and if that is damaged nothing restores. "+
			"Keep them longer than that, or take them more often.", kept, at, gap, b.Schedule))
	}
	return warnings
}

// scheduledBackupSpec takes base backups through the plugin. The method has to
// be said: it defaults to the operator's own barman, which is not set up.
func (p *plan) scheduledBackupSpec() cnpgv1.ScheduledBackupSpec {
	backup := p.args.Backup
	return cnpgv1.ScheduledBackupSpec{
		Schedule:             backup.Schedule,
		Immediate:            backup.Immediate,
		Suspend:              new(backup.Suspend),
		Target:               backup.Target,
		BackupOwnerReference: "self",
		Cluster:              cnpgv1.LocalObjectReference{Name: p.cluster},
		Method:               cnpgv1.BackupMethodPlugin,
		PluginConfiguration:  &cnpgv1.BackupPluginConfiguration{Name: barmanPlugin},
	}
}

// retentionDays is a retention policy in days, 0 without one; barman's months have
// 31.
func retentionDays(policy string) int {
	var number int
	var unit rune
	if _, err := fmt.Sscanf(policy, "%d%c", &number, &unit); err != nil {
		return 0
	}
	return number * map[rune]int{'d': 1, 'w': 7, 'm': 31}[unit]
}
