package cnpg

import (
	"cmp"
	_ "embed" // for the script
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	barmanutils "github.com/cloudnative-pg/barman-cloud/pkg/utils"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Mirror says when and how the archive is copied to the other store. For how
// long backups stay there is said by that store's Retention.
//
// The copy restores by itself: a base backup appears in the mirror only when
// all of its data and WAL are there. The job copies and never overwrites; what
// its retention makes obsolete is pruned only after a copy without problems, so
// that damage in the archive also stops the pruning. It fails when there is
// something that nobody could restore from: docs/mirror.md.
type Mirror struct {
	// Disabled leaves the mirror out. Default false.
	Disabled bool `json:"disabled,omitempty"`
	// Schedule is when to copy: five cron fields, as Kubernetes has them, so
	// without seconds. The mirror is as old as its last run. Default
	// "15 * * * *", every hour.
	Schedule string `json:"schedule,omitempty"`
	// Suspend keeps the job but does not run it. Default false.
	Suspend bool `json:"suspend,omitempty"`
	// BandwidthLimit is the most bytes a second to copy, with K, M or G, for
	// instance "4M". Default: no limit.
	BandwidthLimit string `json:"bandwidthLimit,omitempty"`
	// Deadline ends a run that takes longer. The first run copies everything
	// and a single base backup must fit into one run. Default 24h.
	Deadline string `json:"deadline,omitempty"`
	// MaxBackupAge and MaxWALAge make the job fail when the newest base backup or
	// WAL file in the archive is older. Defaults: twice the longest pause of the
	// backup schedule, and that pause, with an hour or so added. PostgreSQL
	// archives nothing while nothing is written, so only a database that is
	// never idle can have a MaxWALAge of, say, 1h. While the schedule is
	// suspended there are no defaults.
	MaxBackupAge string `json:"maxBackupAge,omitempty"`
	MaxWALAge    string `json:"maxWALAge,omitempty"`
	// SourceSecret is a Secret in the namespace with AWS_ACCESS_KEY_ID and
	// AWS_SECRET_ACCESS_KEY of a key that may only read the archive. Default:
	// b2-cnpg-mirror-credentials when the archive is at B2 and Bitwarden has a
	// mirrorItem, minio-cnpg-mirror-credentials when it is at MinIO and its users
	// are made here, otherwise the archive's own.
	SourceSecret string `json:"sourceSecret,omitempty"`
	// PruneSecret is a Secret in the namespace with AWS_ACCESS_KEY_ID and
	// AWS_SECRET_ACCESS_KEY of a key for the mirror that may delete there. Nothing
	// else of the job gets it, so that what copies needs no right to delete.
	// Default: minio-cnpg-credentials when the mirror is at MinIO and its users are
	// made here, otherwise the mirror's own.
	PruneSecret string `json:"pruneSecret,omitempty"`
	// CopyImage has rclone and BusyBox, or another POSIX shell with awk and gzip.
	// The oldest release of rclone that is tested is 1.76.0; Debian's 1.60.1 was
	// tried between two MinIO servers only. Default: rclone's own 1.76.0.
	CopyImage string `json:"copyImage,omitempty"`
	// PruneImage has barman-cloud-backup-delete and, as python3, the Python that
	// runs it, which also reads compressed histories for the copy. It has to know
	// the codecs of base backups and WAL: it would leave the data of a base backup
	// behind. Default: the sidecar of the Barman Cloud plugin.
	PruneImage string `json:"pruneImage,omitempty"`
	// Resources of the job's containers. Default: 50m CPU and 128Mi asked for,
	// no more than 512Mi used.
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	// SuccessfulJobsHistoryLimit and FailedJobsHistoryLimit are how many
	// finished runs are kept with their logs. Default 1 and 3.
	SuccessfulJobsHistoryLimit *int32 `json:"successfulJobsHistoryLimit,omitempty"`
	FailedJobsHistoryLimit     *int32 `json:"failedJobsHistoryLimit,omitempty"`
}

// The images that are used when none is given.
const (
	defaultCopyImage  = "docker.io/rclone/rclone:1.76.0"
	sidecarImage      = "ghcr.io/cloudnative-pg/plugin-barman-cloud-sidecar"
	defaultPruneImage = sidecarImage + ":v0.15.0"
)

// mirrorUser runs the job's containers: nobody whom their images know.
const mirrorUser = 65532

// mirrorScript is what the copy container runs.
//
//go:embed mirror.sh
var mirrorScript string

// historiesScript is for the histories that the script cannot read.
//
//go:embed histories.py
var historiesScript string

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

var bandwidth = regexp.MustCompile(`^[1-9][0-9]{0,5}(\.[0-9]{1,3})?[KMG]$`)

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

// checkBandwidth wants what rclone takes for a limit, or none.
func checkBandwidth(at *field.Path, limit string) field.ErrorList {
	if limit == "" || bandwidth.MatchString(limit) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, limit, `expected bytes a second with K, M or G, for instance "4M"`)}
}

// checkMinutes wants a duration that a job can be held to.
func checkMinutes(at *field.Path, given string) field.ErrorList {
	if given == "" {
		return nil
	}
	if parsed, err := time.ParseDuration(given); err != nil || parsed < time.Minute {
		return field.ErrorList{field.Invalid(at, given, `expected a duration of a minute or more, for instance "24h"`)}
	}
	return nil
}

func checkHistory(at *field.Path, limit *int32) field.ErrorList {
	if limit == nil || *limit >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, *limit, "expected 0 or more")}
}

// mirrorJob is the copying of one cluster's backups.
type mirrorJob struct {
	// options have their defaults.
	options Mirror
	// cluster and serverName are the cluster and the folder it writes to now.
	cluster, serverName string
	// firstServer is the folder of the first of the cluster's lives, generation
	// the number of the present one.
	firstServer string
	generation  int
	// archive is copied to mirror.
	archive, mirror store
	bounds          mirrorBounds
}

// mirrorJob is that of a database.
func (p *plan) mirrorJob() mirrorJob {
	return mirrorJob{
		options: p.args.Mirror,
		cluster: p.cluster, serverName: p.serverName(), firstServer: p.firstServer, generation: p.generation,
		archive: p.store(p.args.Archive), mirror: p.store(p.args.Archive.other()),
		bounds: boundsOf(p.args.Spec, p.args.Backup, p.args.Mirror),
	}
}

// caVolume is the name of the volume with the endpoint's CA certificate, and
// caFile the file in it.
func (s store) caVolume() string { return string(s.location) + "-ca" }

const caFile = "ca.crt"

// caVolumes are that volume, if the store has one.
func (s store) caVolumes() []corev1.Volume {
	if s.endpointCA == nil {
		return nil
	}
	return []corev1.Volume{{
		Name: s.caVolume(),
		VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: s.endpointCA.Name,
			Items:      []corev1.KeyToPath{{Key: s.endpointCA.Key, Path: caFile}},
		}},
	}}
}

// caMount is where that volume is, if the store has one.
func (s store) caMount() []corev1.VolumeMount {
	if s.endpointCA == nil {
		return nil
	}
	return []corev1.VolumeMount{{Name: s.caVolume(), MountPath: "/mnt/" + s.caVolume(), ReadOnly: true}}
}

// rclonePath is the store's folder as rclone spells it.
func (s store) rclonePath(name string) string {
	return name + ":" + strings.Trim(s.bucket+"/"+s.path, "/")
}

// rcloneEnv sets up an rclone remote of the given name.
// See https://rclone.org/docs/#config-file and https://rclone.org/s3/.
func (s store) rcloneEnv(name string) []corev1.EnvVar {
	prefix := "RCLONE_CONFIG_" + strings.ToUpper(name) + "_"
	env := []corev1.EnvVar{
		{Name: prefix + "TYPE", Value: "s3"},
		// The one that supposes the least of a server: that it takes the bucket in
		// the path. https://github.com/rclone/rclone/blob/v1.76.0/backend/s3/provider/Other.yaml
		{Name: prefix + "PROVIDER", Value: "Other"},
		{Name: prefix + "ENDPOINT", Value: s.endpoint},
		envFromSecret(prefix+"ACCESS_KEY_ID", secretKey(s.secret, accessKeyID)),
		envFromSecret(prefix+"SECRET_ACCESS_KEY", secretKey(s.secret, secretAccessKey)),
		// A key that is restricted to its bucket may not create buckets.
		{Name: prefix + "NO_CHECK_BUCKET", Value: "true"},
	}
	if s.region != "" {
		env = append(env, corev1.EnvVar{Name: prefix + "REGION", Value: s.region})
	}
	return env
}

// encryptionEnv says how the store encrypts what the script writes to it.
func (s store) encryptionEnv(name string) []corev1.EnvVar {
	return []corev1.EnvVar{
		{Name: name + "_DATA_ENCRYPTION", Value: string(s.options.Data.Encryption)},
		{Name: name + "_WAL_ENCRYPTION", Value: string(s.options.WAL.Encryption)},
	}
}

// barmanEnv is what the plugin's sidecar gives to barman.
func (s store) barmanEnv() []corev1.EnvVar {
	env := []corev1.EnvVar{
		envFromSecret(accessKeyID, secretKey(s.secret, accessKeyID)),
		envFromSecret(secretAccessKey, secretKey(s.secret, secretAccessKey)),
	}
	if s.region != "" {
		env = append(env, corev1.EnvVar{Name: "AWS_DEFAULT_REGION", Value: s.region})
	}
	for _, mount := range s.caMount() {
		env = append(env, corev1.EnvVar{Name: "AWS_CA_BUNDLE", Value: mount.MountPath + "/" + caFile})
	}
	return append(env, s.options.Sidecar.Env...)
}

// mirrorName is the CronJob of a cluster.
func mirrorName(cluster string) string { return jobName(cluster, "-mirror") }

// spec is that of the CronJob that copies and prunes. The options are valid.
func (job mirrorJob) spec() (batchv1.CronJobSpec, error) {
	deadline, err := time.ParseDuration(job.options.Deadline)
	if err != nil {
		return batchv1.CronJobSpec{}, fmt.Errorf("deadline of the mirror: %w", err)
	}
	pod, err := job.pod()
	if err != nil {
		return batchv1.CronJobSpec{}, err
	}
	labels := map[string]string{
		"app.kubernetes.io/name":     "cnpg-backup-mirror",
		"app.kubernetes.io/instance": job.cluster,
	}
	return batchv1.CronJobSpec{
		Schedule:          job.options.Schedule,
		Suspend:           new(job.options.Suspend),
		ConcurrencyPolicy: batchv1.ForbidConcurrent,
		// A run that cannot start in time is left out; the next one copies
		// what it would have copied.
		StartingDeadlineSeconds:    new(int64(600)),
		SuccessfulJobsHistoryLimit: job.options.SuccessfulJobsHistoryLimit,
		FailedJobsHistoryLimit:     job.options.FailedJobsHistoryLimit,
		JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{
			BackoffLimit:          new(int32(2)),
			ActiveDeadlineSeconds: new(int64(deadline.Seconds())),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       pod,
			},
		}},
	}, nil
}

// pod reads what the copy needs, copies, and prunes when that went well.
func (job mirrorJob) pod() (corev1.PodSpec, error) {
	pod := jobPod(mirrorUser)
	pod.Volumes = append(pod.Volumes, append(job.archive.caVolumes(), job.mirror.caVolumes()...)...)
	containers := []corev1.Container{job.fetchContainer(), job.readContainer(), job.copyContainer()}
	if job.options.PruneSecret != "" {
		containers = append(containers, job.cleanContainer())
	}
	if job.mirror.options.Retention != "" {
		pruning, err := job.pruneContainer()
		if err != nil {
			return corev1.PodSpec{}, err
		}
		containers = append(containers, pruning)
	}
	last := len(containers) - 1
	pod.InitContainers, pod.Containers = containers[:last:last], containers[last:]
	return pod, nil
}

// histories is the folder, in the pod's /tmp, for histories of timelines that
// BusyBox cannot read.
const histories = "histories"

// fetchScript brings those histories from both stores. When a store does not
// answer, the copy says so.
const fetchScript = `for store in archive mirror; do
  if [ "$store" = archive ]; then from=$ARCHIVE; else from=$MIRROR; fi
  rclone copy --include '/*/wals/*.history.{zst,lz4,snappy}' "$from" "${TMPDIR:-/tmp}/$HISTORIES/$store" || true
done`

// fetchContainer brings histories to the one that reads them.
func (job mirrorJob) fetchContainer() corev1.Container {
	container := job.rcloneContainer("fetch-histories")
	container.Command = []string{"sh", "-c", fetchScript}
	return container
}

// readContainer turns them into text. barman compresses them like WAL; it has the
// codecs, and rclone's image has not.
func (job mirrorJob) readContainer() corev1.Container {
	container := jobContainer("read-histories", job.options.PruneImage, job.options.Resources)
	container.Command = []string{"python3", "-c", historiesScript}
	container.Env = []corev1.EnvVar{{Name: "HISTORIES", Value: histories}}
	return container
}

// source is the archive with the key that the job reads it with.
func (job mirrorJob) source() store {
	source := job.archive
	if job.options.SourceSecret != "" {
		source.secret = job.options.SourceSecret
	}
	return source
}

// rcloneContainer has rclone and reaches both stores.
func (job mirrorJob) rcloneContainer(name string) corev1.Container {
	source := job.source()
	container := jobContainer(name, job.options.CopyImage, job.options.Resources)
	container.Env = append(container.Env, source.rcloneEnv("archive")...)
	container.Env = append(container.Env, job.mirror.rcloneEnv("mirror")...)
	container.Env = append(container.Env, []corev1.EnvVar{
		{Name: "ARCHIVE", Value: source.rclonePath("archive")},
		{Name: "MIRROR", Value: job.mirror.rclonePath("mirror")},
		{Name: "HISTORIES", Value: histories},
	}...)
	container.Env = append(container.Env, rcloneSettings()...)
	trustCAs(&container, job.archive, job.mirror)
	return container
}

// copyContainer runs the script with rclone.
func (job mirrorJob) copyContainer() corev1.Container {
	container := job.rcloneContainer("copy")
	container.Command = []string{"sh", "-c", mirrorScript}
	container.Env = append(container.Env, []corev1.EnvVar{
		{Name: "SERVER_NAME", Value: job.serverName},
		{Name: "FIRST_SERVER", Value: job.firstServer},
		{Name: "GENERATION", Value: strconv.Itoa(job.generation)},
		{Name: "RETENTION_DAYS", Value: retentionDays(job.mirror.options.Retention)},
		{Name: "BACKUP_PERIOD", Value: seconds(job.bounds.backupPeriod)},
		{Name: "MAX_BACKUP_AGE", Value: seconds(job.bounds.backupAge)},
		{Name: "MAX_WAL_AGE", Value: seconds(job.bounds.walAge)},
		{Name: "WAL_DELAY", Value: seconds(job.bounds.walDelay)},
	}...)
	container.Env = append(container.Env, job.archive.encryptionEnv("ARCHIVE")...)
	container.Env = append(container.Env, job.mirror.encryptionEnv("MIRROR")...)
	if job.options.BandwidthLimit != "" {
		container.Env = append(container.Env, corev1.EnvVar{Name: "RCLONE_BWLIMIT", Value: job.options.BandwidthLimit})
	}
	if job.options.PruneSecret != "" {
		container.Env = append(container.Env, corev1.EnvVar{Name: "DEAD_LIST", Value: deadList})
	}
	return container
}

// rcloneSettings are for every use of rclone.
func rcloneSettings() []corev1.EnvVar {
	return []corev1.EnvVar{
		// There is no configuration but this.
		{Name: "RCLONE_CONFIG", Value: "/notfound"},
		{Name: "RCLONE_TRANSFERS", Value: "8"},
		// rclone's ten would take minutes to say that a store is away; the job
		// is tried again, and it goes on where it stopped.
		{Name: "RCLONE_LOW_LEVEL_RETRIES", Value: "5"},
	}
}

// trustCAs has rclone trust the CAs of the stores.
func trustCAs(container *corev1.Container, stores ...store) {
	directories := []string{"/etc/ssl/certs"}
	for _, end := range stores {
		for _, mount := range end.caMount() {
			container.VolumeMounts = append(container.VolumeMounts, mount)
			directories = append(directories, mount.MountPath)
		}
	}
	if len(directories) > 1 {
		// Beside the public CAs; rclone's own option would replace those.
		container.Env = append(container.Env,
			corev1.EnvVar{Name: "SSL_CERT_DIR", Value: strings.Join(directories, ":")})
	}
}

// deadList is the file in which the container that copies leaves to another one
// what is to be deleted.
const deadList = "dead"

// cleanScript deletes what is in that file. There is none when nothing is to be
// deleted.
const cleanScript = `[ ! -s "${TMPDIR:-/tmp}/$DEAD_LIST" ] ||
  rclone delete --files-from-raw "${TMPDIR:-/tmp}/$DEAD_LIST" "$MIRROR/$SERVER_NAME/base"`

// cleanContainer deletes what the one that copies has listed.
func (job mirrorJob) cleanContainer() corev1.Container {
	job.mirror.secret = job.options.PruneSecret
	container := jobContainer("clean", job.options.CopyImage, job.options.Resources)
	container.Command = []string{"sh", "-c", cleanScript}
	container.Env = append(container.Env, job.mirror.rcloneEnv("mirror")...)
	container.Env = append(container.Env, []corev1.EnvVar{
		{Name: "MIRROR", Value: job.mirror.rclonePath("mirror")},
		{Name: "SERVER_NAME", Value: job.serverName},
		{Name: "DEAD_LIST", Value: deadList},
	}...)
	container.Env = append(container.Env, rcloneSettings()...)
	trustCAs(&container, job.mirror)
	return container
}

// pruneContainer deletes from the mirror what its retention makes obsolete,
// with the command that the plugin's sidecar runs on the archive.
func (job mirrorJob) pruneContainer() (corev1.Container, error) {
	policy, err := barmanutils.ParsePolicy(job.mirror.options.Retention)
	if err != nil {
		return corev1.Container{}, fmt.Errorf("retention %q of the mirror: %w", job.mirror.options.Retention, err)
	}
	job.mirror.secret = cmp.Or(job.options.PruneSecret, job.mirror.secret)
	container := jobContainer("prune", job.options.PruneImage, job.options.Resources)
	container.Command = []string{
		barmanutils.BarmanCloudBackupDelete,
		"--endpoint-url", job.mirror.endpoint,
		"--cloud-provider", "aws-s3",
		"--retention-policy", policy,
		destinationPath(job.mirror.bucket, job.mirror.path),
		job.serverName,
	}
	container.Env = append(container.Env, job.mirror.barmanEnv()...)
	container.VolumeMounts = append(container.VolumeMounts, job.mirror.caMount()...)
	return container, nil
}

// retentionDays is a retention policy in days; barman's months have 31.
func retentionDays(policy string) string {
	if policy == "" {
		return ""
	}
	var number, days int
	var unit rune
	if _, err := fmt.Sscanf(policy, "%d%c", &number, &unit); err != nil {
		return ""
	}
	switch unit {
	case 'w':
		days = 7
	case 'm':
		days = 31
	default:
		days = 1
	}
	return strconv.Itoa(number * days)
}
