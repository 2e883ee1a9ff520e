package cnpg

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	machineryapi "github.com/cloudnative-pg/machinery/pkg/api"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// cronJob is the mirror that a database registers.
func cronJob(t *testing.T, dryRun bool, args *DatabaseArgs, storage *StorageArgs) batchv1.CronJob {
	t.Helper()
	mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
		args.NewStorage = storage
		_, err := NewDatabase(ctx, "authentik", args)
		return err
	})
	registered := mocks.only(t, "authentik-mirror")
	assert.Equal(t, "kubernetes:batch/v1:CronJob", registered.TypeToken)
	assertParent(t, registered, "Database")
	assert.Contains(t, dependencies(registered), "authentik-cluster")
	content, err := json.Marshal(registered.Inputs.Mappable())
	require.NoError(t, err)
	var job batchv1.CronJob
	require.NoError(t, json.Unmarshal(content, &job))
	return job
}

func podOf(job batchv1.CronJob) corev1.PodSpec { return job.Spec.JobTemplate.Spec.Template.Spec }

// variables are the environment of a container; a Secret's key shows as
// "<secret>/<key>".
func variables(container corev1.Container) map[string]string {
	values := map[string]string{}
	for _, variable := range container.Env {
		values[variable.Name] = variable.Value
		if from := variable.ValueFrom; from != nil {
			values[variable.Name] = from.SecretKeyRef.Name + "/" + from.SecretKeyRef.Key
		}
	}
	return values
}

func TestMirrorIsOnByDefault(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		job := cronJob(t, dryRun, databaseArgs(), storageArgs())
		assert.Equal(t, "authentik-postgresql-mirror", job.Name)
		assert.Equal(t, "auth", job.Namespace)
		assert.Equal(t, "15 * * * *", job.Spec.Schedule)
		assert.Equal(t, batchv1.ForbidConcurrent, job.Spec.ConcurrencyPolicy)
		assert.False(t, *job.Spec.Suspend)
		assert.EqualValues(t, 1, *job.Spec.SuccessfulJobsHistoryLimit)
		assert.EqualValues(t, 3, *job.Spec.FailedJobsHistoryLimit)
		assert.EqualValues(t, 24*60*60, *job.Spec.JobTemplate.Spec.ActiveDeadlineSeconds)
		assert.EqualValues(t, 2, *job.Spec.JobTemplate.Spec.BackoffLimit)

		disabled := databaseArgs()
		disabled.Mirror.Disabled = true
		for _, name := range deploy(t, dryRun, disabled, nil).names() {
			assert.NotContains(t, name, "CronJob")
		}
	})
}

func TestMirrorRunsWithoutPrivileges(t *testing.T) {
	t.Parallel()
	pod := podOf(cronJob(t, false, databaseArgs(), storageArgs()))
	assert.False(t, *pod.AutomountServiceAccountToken)
	assert.False(t, *pod.EnableServiceLinks)
	assert.True(t, *pod.SecurityContext.RunAsNonRoot)
	assert.NotZero(t, *pod.SecurityContext.RunAsUser)
	assert.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type)
	containers := slices.Concat(pod.InitContainers, pod.Containers)
	require.Len(t, containers, 4)
	for _, container := range containers {
		security := container.SecurityContext
		assert.False(t, *security.AllowPrivilegeEscalation)
		assert.True(t, *security.ReadOnlyRootFilesystem)
		assert.Equal(t, []corev1.Capability{"ALL"}, security.Capabilities.Drop)
		assert.NotEmpty(t, container.Resources.Limits)
		assert.Empty(t, checkExactImage(field.NewPath("image"), container.Image), "the default is pinned")
	}
}

func TestMirrorCopiesThenPrunes(t *testing.T) {
	t.Parallel()
	args := databaseArgs()
	args.Generation = 2
	args.MinIO.Retention = "2w"
	args.Mirror.BandwidthLimit = "4M"
	pod := podOf(cronJob(t, false, args, storageArgs()))

	require.Len(t, pod.InitContainers, 3)
	copying := pod.InitContainers[2]
	assert.Equal(t, []string{"sh", "-c", mirrorScript}, copying.Command)
	assert.Subset(t, variables(copying), map[string]string{
		"ARCHIVE":                   "archive:homelab-cnpg-b2/auth/authentik-postgresql",
		"MIRROR":                    "mirror:homelab-postgres-backups/auth/authentik-postgresql",
		"SERVER_NAME":               "authentik-postgresql-2",
		"FIRST_SERVER":              "authentik-postgresql",
		"GENERATION":                "2",
		"RETENTION_DAYS":            "14",
		"BACKUP_PERIOD":             "604800",
		"MAX_BACKUP_AGE":            "1213200",
		"MAX_WAL_AGE":               "609300",
		"WAL_DELAY":                 "4500",
		"RCLONE_BWLIMIT":            "4M",
		"RCLONE_CONFIG_MIRROR_TYPE": "s3",

		"RCLONE_CONFIG_ARCHIVE_ENDPOINT":          "https://s3.us-west-002.backblazeb2.com",
		"RCLONE_CONFIG_ARCHIVE_REGION":            "us-west-002",
		"RCLONE_CONFIG_ARCHIVE_ACCESS_KEY_ID":     "b2-cnpg-credentials/AWS_ACCESS_KEY_ID",
		"RCLONE_CONFIG_ARCHIVE_SECRET_ACCESS_KEY": "b2-cnpg-credentials/AWS_SECRET_ACCESS_KEY",
		"RCLONE_CONFIG_MIRROR_ENDPOINT":           "https://nas.example.org:9000",
		"RCLONE_CONFIG_MIRROR_ACCESS_KEY_ID":      "minio/AWS_ACCESS_KEY_ID",
	})

	require.Len(t, pod.Containers, 1)
	pruning := pod.Containers[0]
	assert.Equal(t, []string{
		"barman-cloud-backup-delete", "--endpoint-url", "https://nas.example.org:9000",
		"--cloud-provider", "aws-s3", "--retention-policy", "RECOVERY WINDOW OF 2 WEEKS",
		"s3://homelab-postgres-backups/auth/authentik-postgresql", "authentik-postgresql-2",
	}, pruning.Command)
	assert.Equal(t, map[string]string{
		"AWS_ACCESS_KEY_ID":     "minio/AWS_ACCESS_KEY_ID",
		"AWS_SECRET_ACCESS_KEY": "minio/AWS_SECRET_ACCESS_KEY",
	}, variables(pruning))
}

func TestMirrorReadsHistoriesFirst(t *testing.T) {
	t.Parallel()
	args := databaseArgs()
	args.Mirror.SourceSecret = "b2-read-only"
	pod := podOf(cronJob(t, false, args, storageArgs()))
	fetching, reading, copying := pod.InitContainers[0], pod.InitContainers[1], pod.InitContainers[2]
	assert.Equal(t, "fetch-histories", fetching.Name)
	assert.Equal(t, copying.Image, fetching.Image)
	assert.Equal(t, "b2-read-only/AWS_ACCESS_KEY_ID", variables(fetching)["RCLONE_CONFIG_ARCHIVE_ACCESS_KEY_ID"])
	assert.Equal(t, "read-histories", reading.Name)
	assert.Equal(t, pod.Containers[0].Image, reading.Image, "what runs barman has its codecs")
	assert.Equal(t, map[string]string{"HISTORIES": "histories"}, variables(reading), "it needs no key")
	for _, container := range []corev1.Container{fetching, copying} {
		assert.Equal(t, "histories", variables(container)["HISTORIES"])
		assert.Equal(t, "archive:homelab-cnpg-b2/auth/authentik-postgresql", variables(container)["ARCHIVE"])
	}
}

func TestMirrorTowardsB2(t *testing.T) {
	t.Parallel()
	args := databaseArgs()
	args.Archive = MinIO
	pod := podOf(cronJob(t, false, args, storageArgs()))
	copying := variables(pod.InitContainers[2])
	assert.Equal(t, "archive:homelab-postgres-backups/auth/authentik-postgresql", copying["ARCHIVE"])
	assert.Equal(t, "mirror:homelab-cnpg-b2/auth/authentik-postgresql", copying["MIRROR"])
	assert.Equal(t, "AES256", copying["MIRROR_DATA_ENCRYPTION"])
	assert.Equal(t, "AES256", copying["MIRROR_WAL_ENCRYPTION"])
	assert.Empty(t, copying["ARCHIVE_DATA_ENCRYPTION"])
	assert.Empty(t, copying["ARCHIVE_WAL_ENCRYPTION"])
	pruning := variables(pod.Containers[0])
	assert.Equal(t, "when_required", pruning["AWS_REQUEST_CHECKSUM_CALCULATION"], "B2 refuses boto3's checksums")
	assert.Equal(t, "us-west-002", pruning["AWS_DEFAULT_REGION"])
}

func TestMirrorEncryptsDataAndWALAsTheyWereAskedTo(t *testing.T) {
	t.Parallel()
	args := databaseArgs()
	args.Archive = MinIO
	args.B2.Data.Encryption = none
	copying := variables(podOf(cronJob(t, false, args, storageArgs())).InitContainers[2])
	assert.Empty(t, copying["MIRROR_DATA_ENCRYPTION"])
	assert.Equal(t, "AES256", copying["MIRROR_WAL_ENCRYPTION"])
}

func TestMirrorReadsTheArchiveWithAKeyOfItsOwn(t *testing.T) {
	t.Parallel()
	args := databaseArgs()
	args.Mirror.SourceSecret = "b2-read-only"
	pod := podOf(cronJob(t, false, args, storageArgs()))
	copying := variables(pod.InitContainers[2])
	assert.Equal(t, "b2-read-only/AWS_ACCESS_KEY_ID", copying["RCLONE_CONFIG_ARCHIVE_ACCESS_KEY_ID"])
	assert.Equal(t, "minio/AWS_ACCESS_KEY_ID", copying["RCLONE_CONFIG_MIRROR_ACCESS_KEY_ID"])
}

func TestMirrorTrustsTheEndpointsCA(t *testing.T) {
	t.Parallel()
	storage := storageArgs()
	storage.MinIO.EndpointCA = &machineryapi.SecretKeySelector{
		LocalObjectReference: machineryapi.LocalObjectReference{Name: "nas-ca"}, Key: "ca.pem",
	}
	pod := podOf(cronJob(t, false, databaseArgs(), storage))
	require.Len(t, pod.Volumes, 2)
	assert.Equal(t, "nas-ca", pod.Volumes[1].Secret.SecretName)
	assert.Equal(t, []corev1.KeyToPath{{Key: "ca.pem", Path: "ca.crt"}}, pod.Volumes[1].Secret.Items)
	assert.Equal(t, "/etc/ssl/certs:/mnt/minio-ca", variables(pod.InitContainers[2])["SSL_CERT_DIR"])
	assert.Equal(t, "/mnt/minio-ca/ca.crt", variables(pod.Containers[0])["AWS_CA_BUNDLE"])
	for _, container := range append(pod.InitContainers, pod.Containers...) {
		if container.Name == "read-histories" {
			continue // it talks to nobody
		}
		assert.Contains(t, container.VolumeMounts,
			corev1.VolumeMount{Name: "minio-ca", MountPath: "/mnt/minio-ca", ReadOnly: true})
	}
}

func TestMirrorOfBackupsThatLieElsewhere(t *testing.T) {
	t.Parallel()
	args := databaseArgs()
	args.Path, args.ServerName, args.Generation = "/", "authentik-2024", 2
	copying := variables(podOf(cronJob(t, false, args, storageArgs())).InitContainers[2])
	assert.Equal(t, "archive:homelab-cnpg-b2", copying["ARCHIVE"])
	assert.Equal(t, "mirror:homelab-postgres-backups", copying["MIRROR"])
	assert.Equal(t, "authentik-2024", copying["FIRST_SERVER"])
	assert.Equal(t, "authentik-2024-2", copying["SERVER_NAME"])
}

func TestMirrorWithoutRetentionNeverPrunes(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*DatabaseArgs){
		"of the database": func(a *DatabaseArgs) { a.Retention = none },
		"of the store":    func(a *DatabaseArgs) { a.MinIO.Retention = none },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := databaseArgs()
			change(args)
			pod := podOf(cronJob(t, false, args, storageArgs()))
			require.Len(t, pod.InitContainers, 2)
			require.Len(t, pod.Containers, 1)
			assert.Equal(t, "copy", pod.Containers[0].Name)
			assert.Empty(t, variables(pod.Containers[0])["RETENTION_DAYS"])
		})
	}
}

func TestRetentionDays(t *testing.T) {
	t.Parallel()
	for policy, days := range map[string]int{"": 0, "7d": 7, "2w": 14, "3m": 93} {
		assert.Equal(t, days, retentionDays(policy), policy)
	}
}

func TestMirrorNameFits(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 49)
	assert.Equal(t, "authentik-mirror", mirrorName("authentik"))
	assert.Len(t, mirrorName(strings.Repeat("a", 45)), 52)
	assert.Len(t, mirrorName(long+"b"), 52)
	assert.NotEqual(t, mirrorName(long+"b"), mirrorName(long+"c"))
}

func TestMirrorValidation(t *testing.T) {
	t.Parallel()
	negative := int32(-1)
	for name, test := range map[string]struct {
		mirror Mirror
		want   string
	}{
		"six cron fields":   {Mirror{Schedule: "0 15 * * * *"}, `did you mean "15 * * * *"?`},
		"four cron fields":  {Mirror{Schedule: "15 * * *"}, "expected five cron fields"},
		"an impossible day": {Mirror{Schedule: "0 0 30 2 *"}, "never happens"},
		"no unit":           {Mirror{BandwidthLimit: "1000"}, "with K, M or G"},
		"a short deadline":  {Mirror{Deadline: "10s"}, "a minute or more"},
		"no duration":       {Mirror{Deadline: "soon"}, "a minute or more"},
		"an age in days":    {Mirror{MaxBackupAge: "14d"}, "a minute or more"},
		"an age of seconds": {Mirror{MaxWALAge: "5s"}, "a minute or more"},
		"a bad secret":      {Mirror{SourceSecret: "Read_Only"}, "lower-case letters, digits, hyphens and dots"},
		"a floating image":  {Mirror{CopyImage: "rclone/rclone:latest"}, "three numbers or a digest"},
		"a floating minor":  {Mirror{PruneImage: "sidecar:v0.14"}, "three numbers or a digest"},
		"no tag":            {Mirror{CopyImage: "rclone/rclone"}, "three numbers or a digest"},
		"negative history":  {Mirror{FailedJobsHistoryLimit: &negative}, "0 or more"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			problems := test.mirror.validate(field.NewPath("mirror"))
			require.Len(t, problems, 1)
			assert.Contains(t, problems[0].Error(), test.want)
		})
	}
	for name, mirror := range map[string]Mirror{
		"nothing":        {},
		"a named time":   {Schedule: "@daily"},
		"a digest":       {CopyImage: "rclone/rclone@sha256:" + strings.Repeat("0", 64)},
		"tag and digest": {PruneImage: "ghcr.io/x/sidecar:v0.14.0@sha256:" + strings.Repeat("a", 64)},
		"a limit":        {BandwidthLimit: "1.5M", Deadline: "90m"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Empty(t, mirror.validate(field.NewPath("mirror")))
		})
	}
}

// TestMirrorHoldsNoSecrets looks for what would be one.
func TestMirrorHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	for _, container := range append(podOf(cronJob(t, false, databaseArgs(), storageArgs())).InitContainers,
		podOf(cronJob(t, false, databaseArgs(), storageArgs())).Containers...) {
		for _, variable := range container.Env {
			if strings.Contains(variable.Name, "SECRET") || strings.HasSuffix(variable.Name, "KEY_ID") {
				assert.Empty(t, variable.Value, variable.Name)
				assert.NotNil(t, variable.ValueFrom, variable.Name)
			}
		}
	}
}
