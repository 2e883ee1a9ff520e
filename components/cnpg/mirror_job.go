package cnpg

import (
	"cmp"
	_ "embed" // for the scripts
	"fmt"
	"strconv"
	"time"

	barmanutils "github.com/cloudnative-pg/barman-cloud/pkg/utils"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
		bounds: p.bounds(),
	}
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
		retentionVariable(job.mirror.options.Retention),
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
