package cnpg

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	machineryapi "github.com/cloudnative-pg/machinery/pkg/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/homelab-iac/pulumi-cnpg-backup/internal/kubelet"
)

// drillJobs are the drills that a database registers, by name.
func drillJobs(t *testing.T, dryRun bool, args *DatabaseArgs, storage *StorageArgs) map[string]batchv1.CronJob {
	t.Helper()
	jobs := map[string]batchv1.CronJob{}
	if storage == nil {
		storage = storageArgs()
	}
	mocks := deployIn(t, dryRun, args, storage)
	for _, at := range []string{"b2", "minio"} {
		name := "authentik-drill-" + at
		if !slices.ContainsFunc(mocks.names(), func(one string) bool { return strings.HasSuffix(one, name) }) {
			continue
		}
		registered := mocks.only(t, name)
		assert.Equal(t, "kubernetes:batch/v1:CronJob", registered.TypeToken)
		assertParent(t, registered, "Database")
		assert.Contains(t, dependencies(registered), "authentik-cluster")
		content, err := json.Marshal(registered.Inputs.Mappable())
		require.NoError(t, err)
		var job batchv1.CronJob
		require.NoError(t, json.Unmarshal(content, &job))
		jobs[job.Name] = job
	}
	return jobs
}

// drilling are the arguments of a database with the drill.
func drilling() *DatabaseArgs {
	args := databaseArgs()
	args.Drill.Enabled = new(true)
	return args
}

func TestDrillsAreMadeWhenSwitchedOn(t *testing.T) {
	t.Parallel()
	off, noMirror := databaseArgs(), drilling()
	off.Drill.Enabled = new(false)
	noMirror.Mirror.Disabled = true
	for name, test := range map[string]struct {
		args *DatabaseArgs
		want []string
	}{
		"not said":       {databaseArgs(), nil},
		"off":            {off, nil},
		"on":             {drilling(), []string{"authentik-drill-b2", "authentik-drill-minio"}},
		"without mirror": {noMirror, []string{"authentik-drill-b2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inUpAndPreview(t, func(t *testing.T, dryRun bool) {
				assert.Equal(t, test.want, slices.Sorted(maps.Keys(drillJobs(t, dryRun, test.args, nil))))
			})
		})
	}
}

func TestDrillHasNoRightsAndLeavesNothing(t *testing.T) {
	t.Parallel()
	args := drilling()
	args.Spec.StorageConfiguration = cnpgv1.StorageConfiguration{Size: "20Gi", StorageClass: new("longhorn")}
	args.Spec.Tablespaces = []cnpgv1.TablespaceConfiguration{
		{Name: "old", Storage: cnpgv1.StorageConfiguration{Size: "10Gi"}},
	}
	for name, job := range drillJobs(t, false, args, nil) {
		assert.Equal(t, batchv1.ForbidConcurrent, job.Spec.ConcurrencyPolicy)
		inner := job.Spec.JobTemplate.Spec
		assert.EqualValues(t, 0, *inner.BackoffLimit)
		assert.EqualValues(t, 6*60*60+5*60, *inner.ActiveDeadlineSeconds, "there is time for a report")
		assert.EqualValues(t, 24*60*60, *inner.TTLSecondsAfterFinished)
		pod := inner.Template.Spec
		assert.False(t, *pod.AutomountServiceAccountToken)
		assert.Empty(t, pod.ServiceAccountName)
		assert.True(t, *pod.SecurityContext.RunAsNonRoot)
		assert.EqualValues(t, 26, *pod.SecurityContext.RunAsUser)
		assert.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type)
		require.Len(t, pod.Containers, 2)
		for _, container := range pod.Containers {
			assert.False(t, *container.SecurityContext.AllowPrivilegeEscalation)
			assert.True(t, *container.SecurityContext.ReadOnlyRootFilesystem)
			assert.Equal(t, []corev1.Capability{"ALL"}, container.SecurityContext.Capabilities.Drop)
			assert.NotEmpty(t, container.Resources.Limits, name)
			assert.Contains(t, container.VolumeMounts, corev1.VolumeMount{Name: "drill", MountPath: "/drill"})
		}
		volume := pod.Volumes[slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == "drill" })]
		claim := volume.Ephemeral.VolumeClaimTemplate.Spec
		assert.Equal(t, "34Gi", claim.Resources.Requests.Storage().String())
		assert.Equal(t, "longhorn", *claim.StorageClassName)
	}
}

// What the data volumes hold fits in, however their sizes are said.
func TestDrillVolumeHoldsAllVolumes(t *testing.T) {
	t.Parallel()
	claim := func(size string) *corev1.PersistentVolumeClaimSpec {
		return &corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
		}}
	}
	spec := cnpgv1.ClusterSpec{
		StorageConfiguration: cnpgv1.StorageConfiguration{PersistentVolumeClaimTemplate: claim("20Gi")},
		Tablespaces: []cnpgv1.TablespaceConfiguration{
			{Name: "old", Storage: cnpgv1.StorageConfiguration{PersistentVolumeClaimTemplate: claim("100Gi")}},
			{Name: "new", Storage: cnpgv1.StorageConfiguration{Size: "10Gi"}},
		},
	}
	assert.Equal(t, "134Gi", drillVolume(spec))
}

// The key with the rights of the mirror's job is that which does not write to the
// archive. PostgreSQL gets none.
func TestDrillReadsWithWhatMayOnlyRead(t *testing.T) {
	t.Parallel()
	storage := storageArgs()
	storage.Bitwarden.MirrorItem = "backblaze-b2-cnpg-mirror"
	args := drilling()
	args.Generation = 2
	args.Drill.BandwidthLimit = "4M"
	args.Drill.Query, args.Drill.Result = "select count(*) > 0 from users where name <> $$$(HOME)$$", ""
	args.MinIO.Retention = "2w"
	args.Spec.PostgresConfiguration.Parameters = map[string]string{
		"max_prepared_transactions": "3", "max_connections": "200", "shared_buffers": "256MB",
	}
	jobs := drillJobs(t, false, args, storage)
	restoring := podOf(jobs["authentik-drill-b2"]).Containers[0]
	assert.Equal(t, DrillReportContainer, restoring.Name)
	assert.Equal(t, []string{"python3", "-c", drillRestoreScript}, restoring.Command, "the image has no shell")
	assert.Subset(t, variables(restoring), map[string]string{
		"COPY": "b2", "ENDPOINT": "https://s3.us-west-002.backblazeb2.com",
		"DESTINATION": "s3://homelab-cnpg-b2/auth/authentik-postgresql", "SERVER_NAME": "authentik-postgresql-2",
		"AWS_ACCESS_KEY_ID":                B2MirrorSecret + "/AWS_ACCESS_KEY_ID",
		"AWS_SECRET_ACCESS_KEY":            B2MirrorSecret + "/AWS_SECRET_ACCESS_KEY",
		"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
		"TURN":                             "0", "PERIOD": "604800", "DEADLINE": "21600", "MAX_AGE": "609300", "PARALLEL": "4", "UNORDERED": "4",
		"BANDWIDTH": "4194304", "RETENTION_DAYS": "30", "RESULT": "t",
	})
	other := podOf(jobs["authentik-drill-minio"]).Containers[0]
	assert.Subset(t, variables(other), map[string]string{
		"COPY": "minio", "TURN": "1", "MAX_AGE": "616500", "RETENTION_DAYS": "14",
		"AWS_ACCESS_KEY_ID": storage.MinIO.Secret + "/AWS_ACCESS_KEY_ID",
	})
	postgres := podOf(jobs["authentik-drill-b2"]).Containers[1]
	assert.Equal(t, args.Spec.ImageName, postgres.Image)
	assert.Equal(t, []string{"sh", "-c", drillPostgresScript}, postgres.Command)
	assert.Equal(t, map[string]string{
		"HOME": "/tmp", "QUERY": "select count(*) > 0 from users where name <> $$$$$$(HOME)$$$$", "DATABASE": "app",
		"SETTINGS": "max_connections=200 max_worker_processes=32 max_prepared_transactions=3",
	}, variables(postgres), "Kubernetes makes one dollar sign of two")

	args.Drill.NewestOnly = true
	args.Suspend = true
	for _, job := range drillJobs(t, false, args, storage) {
		restoring := podOf(job).Containers[0]
		assert.Empty(t, variables(restoring)["TURN"])
		assert.Empty(t, variables(restoring)["MAX_AGE"], "a suspended schedule promises nothing")
	}

	args.Suspend, args.Annotations = false, map[string]string{"cnpg.io/hibernation": "on"}
	for _, job := range drillJobs(t, false, args, storage) {
		assert.Empty(t, variables(podOf(job).Containers[0])["MAX_AGE"], "a hibernated database archives nothing")
	}
	args.Drill.MaxAge = "72h"
	for _, job := range drillJobs(t, false, args, storage) {
		assert.Equal(t, "259200", variables(podOf(job).Containers[0])["MAX_AGE"], "it was asked for")
	}
}

// started is what the kubelet starts: it has a meaning of its own for dollar signs.
func started(container corev1.Container) (command []string, environment map[string]string) {
	environment = map[string]string{}
	for _, variable := range container.Env {
		environment[variable.Name] = kubelet.Expand(variable.Value, environment)
	}
	for _, argument := range container.Command {
		command = append(command, kubelet.Expand(argument, environment))
	}
	return command, environment
}

func TestDollarsOfAQueryArrive(t *testing.T) {
	t.Parallel()
	const query, result = "select $$a$$ || '$(DATABASE)' || '$1' from \"$(HOME)\"", "$$ $(RESULT)"
	args := drilling()
	args.Drill.Query, args.Drill.Result, args.Drill.Database = query, result, "a$$b"
	for _, job := range drillJobs(t, false, args, nil) {
		_, restoring := started(podOf(job).Containers[0])
		assert.Equal(t, result, restoring["RESULT"])
		_, asking := started(podOf(job).Containers[1])
		assert.Equal(t, query, asking["QUERY"])
		assert.Equal(t, "a$$b", asking["DATABASE"])
	}
	rehearsal := drillArgs()
	rehearsal.Query = query
	command, _ := started(drillCheck("authentik-drill", *rehearsal).Template.Spec.Containers[0])
	assert.Contains(t, command, query)
	rehearsal.MaxAge = "26h"
	command, _ = started(drillCheck("authentik-drill", *rehearsal).Template.Spec.Containers[0])
	assert.Contains(t, command[len(command)-1], query)
	assert.Contains(t, command[len(command)-1], "do $age$")
}

func TestScriptsArriveAsTheyAre(t *testing.T) {
	t.Parallel()
	args := drilling()
	args.Mirror.PruneSecret = "minio-pruning"
	pods := []corev1.PodSpec{podOf(cronJob(t, false, args, storageArgs()))}
	for _, job := range drillJobs(t, false, args, nil) {
		pods = append(pods, podOf(job))
	}
	for _, pod := range pods {
		for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
			command, _ := started(container)
			assert.Equal(t, container.Command, command, container.Name)
		}
	}
}

func TestDrillTrustsTheStoresAuthority(t *testing.T) {
	t.Parallel()
	storage := storageArgs()
	storage.MinIO.EndpointCA = &machineryapi.SecretKeySelector{
		LocalObjectReference: machineryapi.LocalObjectReference{Name: "nas-ca"}, Key: "ca.crt",
	}
	pod := podOf(drillJobs(t, false, drilling(), storage)["authentik-drill-minio"])
	assert.Equal(t, "/mnt/minio-ca/ca.crt", variables(pod.Containers[0])["AWS_CA_BUNDLE"])
	assert.Contains(t, pod.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "minio-ca", MountPath: "/mnt/minio-ca", ReadOnly: true})
}

// What the operator mounts for extensions is where the database's own settings
// look for it.
func TestDrillHasTheDatabasesExtensionsAndUser(t *testing.T) {
	t.Parallel()
	args := drilling()
	args.Spec.PostgresUID, args.Spec.PostgresGID = 999, 999
	args.Spec.PostgresConfiguration.Extensions = []cnpgv1.ExtensionConfiguration{{
		Name: "vector_x", ImageVolumeSource: corev1.ImageVolumeSource{Reference: "example.org/vector:1.0.0"},
		LdLibraryPath: []string{"system"}, BinPath: []string{"/bin"},
		Env: []cnpgv1.ExtensionEnvVar{{Name: "DATA", Value: "${image_root}/share and $${this} for 5$"}},
	}}
	pod := podOf(drillJobs(t, false, args, nil)["authentik-drill-b2"])
	assert.EqualValues(t, 999, *pod.SecurityContext.RunAsUser)
	assert.Contains(t, pod.Volumes, corev1.Volume{Name: "ext-vector-x", VolumeSource: corev1.VolumeSource{
		Image: &corev1.ImageVolumeSource{Reference: "example.org/vector:1.0.0"},
	}})
	assert.Contains(t, pod.Containers[1].VolumeMounts,
		corev1.VolumeMount{Name: "ext-vector-x", MountPath: "/extensions/vector_x", ReadOnly: true})
	assert.Subset(t, variables(pod.Containers[1]), map[string]string{
		"LD_LIBRARY_PATH": "/extensions/vector_x/system", "EXTENSIONS_PATH": "/extensions/vector_x/bin",
		"DATA": "/extensions/vector_x/share and $${this} for 5$$",
	})
}

func TestDrillRunsWhereTheDatabaseMay(t *testing.T) {
	t.Parallel()
	args := drilling()
	args.Spec.Affinity = cnpgv1.AffinityConfiguration{
		NodeSelector: map[string]string{"disk": "ssd"},
		Tolerations:  []corev1.Toleration{{Key: "databases", Operator: corev1.TolerationOpExists}},
		NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
			Weight: 1, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{
				Key: "zone", Operator: corev1.NodeSelectorOpExists,
			}}},
		}}},
	}
	pod := podOf(drillJobs(t, false, args, nil)["authentik-drill-b2"])
	assert.Equal(t, args.Spec.Affinity.NodeSelector, pod.NodeSelector)
	assert.Equal(t, args.Spec.Affinity.Tolerations, pod.Tolerations)
	assert.Equal(t, &corev1.Affinity{NodeAffinity: args.Spec.Affinity.NodeAffinity}, pod.Affinity)
}

// Each database has a time of its own, and its copies are half a week apart.
func TestDrillsSpreadOverTheWeek(t *testing.T) {
	t.Parallel()
	minutes := func(schedule string) int {
		var minute, hour, day int
		_, err := fmt.Sscanf(schedule, "%d %d * * %d", &minute, &hour, &day)
		require.NoError(t, err)
		return (day*24+hour)*60 + minute
	}
	seen := map[int]int{}
	for i := range 200 {
		args := databaseArgs()
		args.Namespace = "namespace-" + string(rune('a'+i%26))
		args.Cluster = "database-" + time.Duration(i).String()
		options := DrillOptions{}.withDefaults(args.names("db"), args.Spec)
		assert.Empty(t, options.Validate(nil))
		b2, minio := minutes(options.B2Schedule), minutes(options.MinIOSchedule)
		assert.Equal(t, 7*24*60/2, (minio-b2+7*24*60)%(7*24*60))
		assert.Equal(t, 7*24*time.Hour, longestPause(withSeconds(options.B2Schedule)))
		seen[b2/60]++
		seen[minio/60]++
	}
	assert.Greater(t, len(seen), 100, "400 runs meet in few of the 168 hours")
	for hour, runs := range seen {
		assert.LessOrEqual(t, runs, 12, "hour %d", hour)
	}
}

// Those of an environment never begin in the same hour, and one more database moves
// none of the others.
func TestDrillsOfAnEnvironmentDoNotMeet(t *testing.T) {
	t.Parallel()
	environment := func(count int) []*DatabaseArgs {
		databases := make([]*DatabaseArgs, count)
		for i := range databases {
			databases[i] = drilling()
			databases[i].Cluster = fmt.Sprintf("database-%d", i)
		}
		return databases
	}
	hours := func(databases []*DatabaseArgs) map[int]int {
		runs := map[int]int{}
		for _, args := range databases {
			for _, schedule := range []string{args.Drill.B2Schedule, args.Drill.MinIOSchedule} {
				var minute, hour, day int
				_, err := fmt.Sscanf(schedule, "%d %d * * %d", &minute, &hour, &day)
				require.NoError(t, err)
				assert.Empty(t, checkJobSchedule(nil, schedule))
				runs[day*24+hour]++
			}
		}
		return runs
	}
	most, more := environment(84), environment(100)
	SpreadDrills(most)
	SpreadDrills(more)
	for _, runs := range hours(most) {
		assert.Equal(t, 1, runs)
	}
	for _, runs := range hours(more) {
		assert.LessOrEqual(t, runs, 2)
	}
	for i := range most {
		assert.Equal(t, most[i].Drill, more[i].Drill)
	}

	some := environment(3)
	some[0].Drill.Enabled = nil
	some[1].Drill.B2Schedule = "0 3 * * 1"
	SpreadDrills(some)
	assert.Empty(t, some[0].Drill.B2Schedule)
	assert.Equal(t, "0 3 * * 1", some[1].Drill.B2Schedule)
	assert.NotEmpty(t, some[1].Drill.MinIOSchedule)
}

func TestDrillOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*DatabaseArgs)
		want   string
	}{
		"six fields":     {func(a *DatabaseArgs) { a.Drill.B2Schedule = "0 0 3 * * 6" }, "drill.b2Schedule"},
		"never":          {func(a *DatabaseArgs) { a.Drill.MinIOSchedule = "0 3 31 2 *" }, "drill.minioSchedule"},
		"too short":      {func(a *DatabaseArgs) { a.Drill.Deadline = "5s" }, "drill.deadline"},
		"no duration":    {func(a *DatabaseArgs) { a.Drill.MaxAge = "a day" }, "drill.maxAge"},
		"for ever":       {func(a *DatabaseArgs) { a.Drill.Deadline = "600000h" }, "drill.deadline"},
		"kept for ever":  {func(a *DatabaseArgs) { a.Drill.Keep = "1000000h" }, "drill.keep"},
		"no time":        {func(a *DatabaseArgs) { a.Drill.Keep = "0s" }, "drill.keep"},
		"bits":           {func(a *DatabaseArgs) { a.Drill.BandwidthLimit = "4Mbit" }, "drill.bandwidthLimit"},
		"result alone":   {func(a *DatabaseArgs) { a.Drill.Result = "1" }, "drill.result"},
		"database alone": {func(a *DatabaseArgs) { a.Drill.Database = "app" }, "drill.database"},
		"volume":         {func(a *DatabaseArgs) { a.Drill.VolumeSize = "20" }, "drill.volumeSize"},
		"class":          {func(a *DatabaseArgs) { a.Drill.StorageClass = "Not a name" }, "drill.storageClass"},
		"milli-bytes": {func(a *DatabaseArgs) {
			a.Drill.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512m")}
		}, "drill.resources.limits.memory"},
		"a catalog alone": {inCatalog, "drill.image"},
		"an extension out of a catalog": {func(a *DatabaseArgs) {
			inCatalog(a)
			a.Drill.Image = "ghcr.io/cloudnative-pg/postgresql:17.7"
			a.Spec.PostgresConfiguration.Extensions = []cnpgv1.ExtensionConfiguration{{Name: "vector"}}
		}, "drill.enabled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := drilling()
			test.change(args)
			problems := args.Validate(nil, "authentik", storageArgs())
			require.Len(t, problems, 1, "%v", problems)
			assert.Equal(t, test.want, problems[0].Field)
		})
	}
	args := drilling()
	inCatalog(args)
	args.Drill.Image = "ghcr.io/cloudnative-pg/postgresql:17.7"
	assert.Empty(t, args.Validate(field.NewPath("databases").Index(0), "authentik", storageArgs()))
}

// inCatalog has the image of a database stand in a catalog.
func inCatalog(args *DatabaseArgs) {
	args.Spec.ImageName = ""
	args.Spec.ImageCatalogRef = &cnpgv1.ImageCatalogRef{Major: 17}
	args.Spec.ImageCatalogRef.APIGroup = new("postgresql.cnpg.io")
	args.Spec.ImageCatalogRef.Kind, args.Spec.ImageCatalogRef.Name = "ImageCatalog", "postgresql"
}

func TestDrillReportIsRead(t *testing.T) {
	t.Parallel()
	report, err := ParseDrillReport([]byte(`{"version":1,"ok":false,"code":"CB50","problem":"…","copy":"minio",` +
		`"server":"db","backup":"20260101T000000","backupEnd":"2026-01-01T00:00:10Z","restoredTo":"2026-01-02T03:04:05Z",` +
		`"started":"2026-01-02T04:00:00Z","seconds":90,"checks":[{"name":"sound","result":"not made","why":"no pg_amcheck"}]}`))
	require.NoError(t, err)
	assert.Equal(t, MinIO, report.Copy)
	assert.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), report.RestoredTo)
	assert.Equal(t, []DrillCheck{{Name: "sound", Result: DrillNotMade, Why: "no pg_amcheck"}}, report.Checks)
	for _, message := range []string{"", "Error: exit status 1", `{"version":2}`} {
		_, err := ParseDrillReport([]byte(message))
		assert.Error(t, err, message)
	}
}
