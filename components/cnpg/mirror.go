package cnpg

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Mirror says when and how the archive is copied to the other store. That store's
// Retention says how long backups stay there.
//
// The copy restores by itself: a base backup appears in the mirror only when all of its
// data and WAL are there. The job copies and never overwrites; what its retention makes
// obsolete is pruned only after a copy without problems, so damage in the archive also
// stops the pruning. docs/mirror.md lists what makes the job fail.
type Mirror struct {
	// Disabled leaves the mirror out. Default false.
	Disabled bool `json:"disabled,omitempty"`
	// Schedule is when to copy: five cron fields, without seconds, as in a Kubernetes
	// CronJob, or a word like @hourly. The mirror is as old as its last run. Default
	// "15 * * * *", every hour.
	Schedule string `json:"schedule,omitempty"`
	// Suspend keeps the job but does not run it. Default false.
	Suspend bool `json:"suspend,omitempty"`
	// BandwidthLimit is the most bytes a second to copy, with K, M or G, for
	// instance "4M". Default: no limit.
	BandwidthLimit string `json:"bandwidthLimit,omitempty"`
	// Deadline ends a run that takes longer; a minute or more. The first run copies
	// everything, and each base backup has to be copied within one run. Default 24h.
	Deadline string `json:"deadline,omitempty"`
	// MaxBackupAge and MaxWALAge make the job fail when the newest base backup or the
	// newest WAL file in the archive is older. They are durations of a minute or more.
	// Defaults: for base backups twice the longest pause of the backup schedule and 1h;
	// for WAL that pause, 1h and three times archive_timeout. PostgreSQL archives
	// nothing while nothing is written, so only a database that is never idle can have a
	// MaxWALAge of, say, 1h. While the schedule is suspended there are no defaults, and
	// while Annotations hibernate the database neither counts.
	MaxBackupAge string `json:"maxBackupAge,omitempty"`
	MaxWALAge    string `json:"maxWALAge,omitempty"`
	// SourceSecret is a Secret in the namespace with AWS_ACCESS_KEY_ID and
	// AWS_SECRET_ACCESS_KEY of a read-only key for the archive. Default:
	// b2-cnpg-mirror-credentials when the archive is at B2 and Bitwarden has a
	// mirrorItem, minio-cnpg-mirror-credentials when it is at MinIO and its users are
	// created here, otherwise the archive's own.
	SourceSecret string `json:"sourceSecret,omitempty"`
	// PruneSecret is a Secret in the namespace with AWS_ACCESS_KEY_ID and
	// AWS_SECRET_ACCESS_KEY of a key for the mirror that may delete there. Only pruning
	// gets it, so that copying needs no right to delete.
	// Default: minio-cnpg-credentials when the mirror is at MinIO and its users are
	// created here, otherwise the mirror's own.
	PruneSecret string `json:"pruneSecret,omitempty"`
	// CopyImage is an image with rclone and BusyBox, or another POSIX shell with awk and
	// gzip, with an exact tag or a digest. The oldest release of rclone that is tested is
	// 1.76.0; 1.60.1 was only tried between two MinIO servers. Default: rclone's own
	// image of 1.76.0.
	CopyImage string `json:"copyImage,omitempty"`
	// PruneImage is an image with barman-cloud-backup-delete and, as python3, the Python
	// that runs it, with an exact tag or a digest. It also reads compressed timeline
	// histories for the copy. Its barman has to know the codecs of base backups and WAL,
	// or it leaves a base backup's data behind. Default: the sidecar of the Barman Cloud
	// plugin.
	PruneImage string `json:"pruneImage,omitempty"`
	// Resources are those of each of the job's containers. Default: requests of 50m CPU
	// and 128Mi, and a limit of 512Mi.
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	// SuccessfulJobsHistoryLimit and FailedJobsHistoryLimit are how many finished runs
	// are kept, with their logs. Defaults: 1 and 3.
	SuccessfulJobsHistoryLimit *int32 `json:"successfulJobsHistoryLimit,omitempty"`
	FailedJobsHistoryLimit     *int32 `json:"failedJobsHistoryLimit,omitempty"`
}

// The images that are used when none is given.
const (
	defaultCopyImage  = "docker.io/rclone/rclone:1.76.0"
	sidecarImage      = "ghcr.io/cloudnative-pg/plugin-barman-cloud-sidecar"
	defaultPruneImage = sidecarImage + ":v0.15.0"
)

func (m Mirror) withDefaults(archive Location, storage StorageArgs) Mirror {
	if m.Schedule == "" {
		m.Schedule = "15 * * * *"
	}
	if m.Deadline == "" {
		m.Deadline = "24h"
	}
	if m.SourceSecret == "" && archive == B2 && storage.Bitwarden.MirrorItem != "" {
		m.SourceSecret = B2MirrorSecret
	}
	if m.SourceSecret == "" && archive == MinIO && storage.MinIO.User != "" {
		m.SourceSecret = MinIOMirrorSecret
	}
	if m.PruneSecret == "" && archive == B2 && storage.MinIO.User != "" {
		m.PruneSecret = MinIOSecret
	}
	if m.CopyImage == "" {
		m.CopyImage = defaultCopyImage
	}
	if m.PruneImage == "" {
		m.PruneImage = defaultPruneImage
	}
	m.Resources = resourcesOr(m.Resources, "50m", "128Mi", "512Mi")
	if m.SuccessfulJobsHistoryLimit == nil {
		m.SuccessfulJobsHistoryLimit = new(int32(1))
	}
	if m.FailedJobsHistoryLimit == nil {
		m.FailedJobsHistoryLimit = new(int32(3))
	}
	return m
}

func (m Mirror) validate(at *field.Path) field.ErrorList {
	var problems field.ErrorList
	if m.Schedule != "" {
		problems = append(problems, checkJobSchedule(at.Child("schedule"), m.Schedule)...)
	}
	problems = append(problems, checkBandwidth(at.Child("bandwidthLimit"), m.BandwidthLimit)...)
	problems = append(problems, checkMinutes(at.Child("deadline"), m.Deadline)...)
	problems = append(problems, checkMinutes(at.Child("maxBackupAge"), m.MaxBackupAge)...)
	problems = append(problems, checkMinutes(at.Child("maxWALAge"), m.MaxWALAge)...)
	if m.SourceSecret != "" {
		problems = append(problems, checkObjectName(at.Child("sourceSecret"), m.SourceSecret, "")...)
	}
	if m.PruneSecret != "" {
		problems = append(problems, checkObjectName(at.Child("pruneSecret"), m.PruneSecret, "")...)
	}
	problems = append(problems, checkMemory(at.Child("resources"), m.Resources)...)
	problems = append(problems, checkExactImage(at.Child("copyImage"), m.CopyImage)...)
	problems = append(problems, checkExactImage(at.Child("pruneImage"), m.PruneImage)...)
	problems = append(problems, checkHistory(at.Child("successfulJobsHistoryLimit"), m.SuccessfulJobsHistoryLimit)...)
	return append(problems, checkHistory(at.Child("failedJobsHistoryLimit"), m.FailedJobsHistoryLimit)...)
}
