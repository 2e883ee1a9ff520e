package cnpg

import (
	"cmp"
	_ "embed" // for the scripts
	"fmt"
	"strconv"
	"strings"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The scripts of the two containers.
var (
	//go:embed drill.py
	drillRestoreScript string
	//go:embed drill.sh
	drillPostgresScript string
)

const (
	// drillFolder is where the throw-away volume is.
	drillFolder = "/drill"
	// drillGrace is the time that a run which is over its deadline has to report.
	drillGrace = 5 * time.Minute
)

// drillJob is the restoring of one copy of a database.
type drillJob struct {
	// options have their defaults.
	options DrillOptions
	cluster string
	// copy is what is restored, with a key that need not do more than read, and
	// turn tells which runs begin at the start of the window: the two copies of a
	// database take turns.
	copy store
	turn int
	// image is that of barman's tools, serverName the folder in the copy.
	image, serverName string
	// unordered is how many WAL segments are archived at a time.
	unordered int
	// maxAge is how old the restored moment may be, 0 for any age.
	maxAge time.Duration
	// uid is the user of PostgreSQL in its image, extensions what that lacks.
	uid        int64
	extensions []cnpgv1.ExtensionConfiguration
	// settings are those of the Cluster that a recovery needs.
	settings string
	pullFrom []corev1.LocalObjectReference
	// placement is where the database's own pods may run.
	placement cnpgv1.AffinityConfiguration
}

// drillJob is that of one copy.
func (p *plan) drillJob(at Location) drillJob {
	job := drillJob{
		options: p.args.Drill, cluster: p.cluster, copy: p.store(at), image: p.args.Mirror.PruneImage,
		serverName: p.serverName(), maxAge: duration(p.args.Drill.MaxAge), uid: postgresUser,
		extensions: p.args.Spec.PostgresConfiguration.Extensions, settings: settingsOf(p.args.Spec.PostgresConfiguration.Parameters),
		placement: p.args.Spec.Affinity, unordered: p.store(p.args.Archive).options.WAL.MaxParallel,
	}
	if at == p.args.Archive {
		if p.args.Mirror.SourceSecret != "" {
			job.copy.secret = p.args.Mirror.SourceSecret
		}
	} else {
		job.turn = 1
	}
	if uid := p.args.Spec.PostgresUID; uid > 0 {
		job.uid = uid
	}
	for _, secret := range p.args.Spec.ImagePullSecrets {
		job.pullFrom = append(job.pullFrom, corev1.LocalObjectReference{Name: secret.Name})
	}
	if job.maxAge == 0 {
		job.maxAge = p.bounds().walAge
		if at != p.args.Archive && job.maxAge > 0 {
			job.maxAge += 2 * longestPause(withSeconds(p.args.Mirror.Schedule))
		}
	}
	return job
}

// spec is that of the CronJob. The options are valid.
func (job drillJob) spec() (batchv1.CronJobSpec, error) {
	deadline, keep := duration(job.options.Deadline), duration(job.options.Keep)
	schedule := job.options.schedule(job.copy.location)
	pod, err := job.pod(deadline, longestPause(withSeconds(schedule)))
	if err != nil {
		return batchv1.CronJobSpec{}, err
	}
	return batchv1.CronJobSpec{
		Schedule:          schedule,
		Suspend:           new(job.options.Suspend),
		ConcurrencyPolicy: batchv1.ForbidConcurrent,
		// A node that was down at that time restores when it is back.
		StartingDeadlineSeconds:    new(int64(6 * 60 * 60)),
		SuccessfulJobsHistoryLimit: new(int32(1)),
		FailedJobsHistoryLimit:     new(int32(1)),
		JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{
			// What fails once is to be seen. A node that is drained is no failure.
			BackoffLimit: new(int32(0)),
			PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
				Action: batchv1.PodFailurePolicyActionIgnore,
				OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{
					Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
				}},
			}}},
			ActiveDeadlineSeconds: new(int64((deadline + drillGrace).Seconds())),
			// The volume lives as long as the pod does, also when it has ended.
			TTLSecondsAfterFinished: new(int32(keep.Seconds())),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{
					"app.kubernetes.io/name":      "cnpg-backup-drill",
					"app.kubernetes.io/instance":  job.cluster,
					"app.kubernetes.io/component": "drill-" + string(job.copy.location),
				}},
				Spec: pod,
			},
		}},
	}, nil
}

// pod is the container that restores and the one that PostgreSQL runs in.
func (job drillJob) pod(deadline, period time.Duration) (corev1.PodSpec, error) {
	size, err := resource.ParseQuantity(job.options.VolumeSize)
	if err != nil {
		return corev1.PodSpec{}, fmt.Errorf("volume size of the drill: %w", err)
	}
	claim := corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: size}},
	}
	if job.options.StorageClass != "" {
		claim.StorageClassName = new(job.options.StorageClass)
	}
	pod := jobPod(job.uid)
	pod.ImagePullSecrets = job.pullFrom
	pod.TerminationGracePeriodSeconds = new(int64(10))
	pod.NodeSelector, pod.Tolerations = job.placement.NodeSelector, job.placement.Tolerations
	if job.placement.NodeAffinity != nil {
		pod.Affinity = &corev1.Affinity{NodeAffinity: job.placement.NodeAffinity}
	}
	pod.Volumes = append(pod.Volumes, corev1.Volume{
		Name: "drill",
		VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
			VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: claim},
		}},
	})
	pod.Volumes = append(pod.Volumes, job.copy.caVolumes()...)
	for _, extension := range job.extensions {
		source := extension.ImageVolumeSource
		pod.Volumes = append(pod.Volumes, corev1.Volume{
			Name: extensionVolume(extension), VolumeSource: corev1.VolumeSource{Image: &source},
		})
	}
	pod.Containers = []corev1.Container{job.restoreContainer(deadline, period), job.postgresContainer()}
	return pod, nil
}

// restoreContainer has barman and Python, and no shell.
func (job drillJob) restoreContainer(deadline, period time.Duration) corev1.Container {
	container := jobContainer(DrillReportContainer, job.image, job.options.Resources)
	container.Command = []string{"python3", "-c", drillRestoreScript}
	turn := strconv.Itoa(job.turn)
	if job.options.NewestOnly {
		turn = ""
	}
	container.Env = append(job.copy.barmanEnv(), []corev1.EnvVar{
		{Name: "COPY", Value: string(job.copy.location)},
		{Name: "ENDPOINT", Value: job.copy.endpoint},
		{Name: "DESTINATION", Value: destinationPath(job.copy.bucket, job.copy.path)},
		{Name: "SERVER_NAME", Value: job.serverName},
		{Name: "PERIOD", Value: seconds(max(period, time.Minute))},
		{Name: "TURN", Value: turn},
		retentionVariable(job.copy.options.Retention),
		{Name: "DEADLINE", Value: seconds(deadline)},
		{Name: "MAX_AGE", Value: seconds(job.maxAge)},
		{Name: "PARALLEL", Value: strconv.Itoa(job.copy.options.WAL.MaxParallel)},
		{Name: "UNORDERED", Value: strconv.Itoa(job.unordered)},
		{Name: "BANDWIDTH", Value: bytesPerSecond(job.options.BandwidthLimit)},
		{Name: "RESULT", Value: literally(job.options.Result)},
	}...)
	container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: "drill", MountPath: drillFolder})
	container.VolumeMounts = append(container.VolumeMounts, job.copy.caMount()...)
	return container
}

// postgresContainer is the database's image, and has no key.
func (job drillJob) postgresContainer() corev1.Container {
	container := jobContainer("postgres", job.options.Image, job.options.Resources)
	container.Command = []string{"sh", "-c", drillPostgresScript}
	container.Env = []corev1.EnvVar{
		{Name: "HOME", Value: "/tmp"},
		{Name: "QUERY", Value: literally(job.options.Query)},
		{Name: "DATABASE", Value: literally(job.options.Database)},
		{Name: "SETTINGS", Value: job.settings},
	}
	container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: "drill", MountPath: drillFolder})
	// As the operator's buildPostgresEnv does (pkg/management/postgres/instance.go).
	var libraries, programs []string
	for _, extension := range job.extensions {
		// Where the operator mounts it, so that the database's settings find it.
		at := "/extensions/" + extension.Name
		container.VolumeMounts = append(container.VolumeMounts,
			corev1.VolumeMount{Name: extensionVolume(extension), MountPath: at, ReadOnly: true})
		for _, folder := range extension.LdLibraryPath {
			libraries = append(libraries, at+"/"+strings.Trim(folder, "/"))
		}
		for _, folder := range extension.BinPath {
			programs = append(programs, at+"/"+strings.Trim(folder, "/"))
		}
		placeholders := strings.NewReplacer("$${", "${", "${image_root}", at)
		for _, variable := range extension.Env {
			container.Env = append(container.Env,
				corev1.EnvVar{Name: variable.Name, Value: literally(placeholders.Replace(variable.Value))})
		}
	}
	if len(libraries) > 0 {
		container.Env = append(container.Env, corev1.EnvVar{Name: "LD_LIBRARY_PATH", Value: strings.Join(libraries, ":")})
	}
	if len(programs) > 0 {
		container.Env = append(container.Env, corev1.EnvVar{Name: "EXTENSIONS_PATH", Value: strings.Join(programs, ":")})
	}
	return container
}

// operatorsOwn are needed settings that the operator gives to a Cluster without them:
// CnpgConfigurationSettings in
// https://github.com/cloudnative-pg/cloudnative-pg/blob/v1.30.0/pkg/postgres/configuration.go
//
//nolint:gochecknoglobals // Go has no constant maps
var operatorsOwn = map[string]string{"max_worker_processes": "32"}

// settingsOf are those of a Cluster that a recovery needs, as drill.sh takes them.
func settingsOf(parameters map[string]string) string {
	var settings []string
	for name := range strings.FieldsSeq(neededSettings) {
		if value := cmp.Or(parameters[name], operatorsOwn[name]); value != "" {
			settings = append(settings, name+"="+value)
		}
	}
	return strings.Join(settings, " ")
}

// extensionVolume is the name of an extension's volume.
func extensionVolume(extension cnpgv1.ExtensionConfiguration) string {
	return "ext-" + strings.ReplaceAll(extension.Name, "_", "-")
}

// newDrills makes the CronJobs.
func (d *Database) newDrills(ctx *pulumi.Context, p *plan, cluster pulumi.Resource) error {
	if !p.args.Drill.on() {
		return nil
	}
	for _, at := range p.copies() {
		spec, err := p.drillJob(at).spec()
		if err != nil {
			return err
		}
		fields, err := specFields(spec)
		if err != nil {
			return err
		}
		if _, err := registerObject(ctx, p.database+"-drill-"+string(at), object{
			apiVersion: "batch/v1", kind: "CronJob",
			namespace: p.namespace, name: p.drill(at), component: "drill", partOf: p.database, fields: fields,
		}, pulumi.Parent(d), pulumi.DependsOn([]pulumi.Resource{cluster})); err != nil {
			return err
		}
	}
	return nil
}

// bytesPerSecond is a limit that is valid or empty, in bytes. rclone's letters
// stand for powers of 1024.
func bytesPerSecond(limit string) string {
	if limit == "" {
		return ""
	}
	quantity, err := resource.ParseQuantity(limit + "i")
	if err != nil {
		return ""
	}
	return strconv.FormatInt(quantity.Value(), 10)
}
