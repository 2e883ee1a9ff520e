package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	barmanv1 "github.com/cloudnative-pg/plugin-barman-cloud/api/v1"
	"github.com/minio/minio-go/v7"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/cluster"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/diagnosis"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/report"
	"github.com/homelab-iac/pulumi-cnpg-backup/internal/restoretime"
)

//nolint:gochecknoglobals // a flag
var update = flag.Bool("update", false, "write testdata as it is now")

var now = time.Date(2026, time.November, 24, 0, 9, 0, 0, time.UTC) //nolint:gochecknoglobals // no constant can be a time

func ago(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

const day = 24 * time.Hour

// scene is an environment with one database, as it is found.
type scene struct {
	// fromStore leaves the cluster out, as -from-store does.
	fromStore   bool
	args        cnpg.DatabaseArgs
	cluster     *cnpgv1.Cluster
	stores      []*barmanv1.ObjectStore
	schedule    *cnpgv1.ScheduledBackup
	backups     []*cnpgv1.Backup
	pod         *corev1.Pod
	recovery    *corev1.Pod
	job         *batchv1.CronJob
	run         *batchv1.Job
	runPod      *corev1.Pod
	drill       *drill
	external    map[string]any
	secretStore map[string]any
	certificate map[string]any
	more        []any
	logs        map[string]string
	unreachable error

	plugin                string // pluginVersion
	former                string // formerEndpoint
	archive, mirror       *tree
	archiveErr, mirrorErr error
	// recovered is the folder that a recovery reads.
	recovered *tree

	archiveProof, mirrorProof *diagnosis.Proof
}

// healthy is an environment without anything to be done: a base backup a week,
// WAL every five minutes, a mirror of the last hour.
func healthy() *scene {
	s := &scene{
		args:    cnpg.DatabaseArgs{Namespace: "auth", Cluster: "authentik-postgresql", Backup: cnpg.Backup{Generation: 2, Schedule: "0 0 2 * * 0"}},
		archive: newTree(), mirror: newTree(), logs: map[string]string{},
	}
	storage := storage()
	l := s.args.Layout("authentik", &storage)
	s.cluster = &cnpgv1.Cluster{
		ObjectMeta: metav1.ObjectMeta{Name: l.Cluster, Namespace: l.Namespace},
		Status: cnpgv1.ClusterStatus{
			Phase: cnpgv1.PhaseHealthy, CurrentPrimary: l.Cluster + "-1",
			Conditions: []metav1.Condition{{Type: "ContinuousArchiving", Status: metav1.ConditionTrue, LastTransitionTime: ago(9 * day)}},
		},
	}
	for _, store := range []cnpg.StoreLayout{l.Archive, l.Mirror} {
		s.stores = append(s.stores, &barmanv1.ObjectStore{ObjectMeta: metav1.ObjectMeta{Name: store.Name, Namespace: l.Namespace}, Spec: store.Spec})
	}
	s.schedule = &cnpgv1.ScheduledBackup{
		ObjectMeta: metav1.ObjectMeta{Name: l.ScheduledBackup, Namespace: l.Namespace},
		Spec:       cnpgv1.ScheduledBackupSpec{Schedule: l.Schedule, Cluster: cnpgv1.LocalObjectReference{Name: l.Cluster}},
	}
	s.backups = []*cnpgv1.Backup{s.backup("authentik-postgresql-2-backup-20261122020000", cnpgv1.BackupPhaseCompleted, 46*time.Hour, "")}
	s.pod = &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: l.Cluster + "-1", Namespace: l.Namespace,
			Labels: map[string]string{"cnpg.io/cluster": l.Cluster, "cnpg.io/podRole": "instance"},
		},
		Spec: corev1.PodSpec{InitContainers: []corev1.Container{{
			Name: cluster.Sidecar,
			Env: append([]corev1.EnvVar{{Name: "PGHOST", Value: "/run"}},
				l.Archive.Spec.InstanceSidecarConfiguration.Env...),
		}}},
		Status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{Name: cluster.Sidecar}}},
	}
	s.job = &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Name: l.MirrorJob, Namespace: l.Namespace, CreationTimestamp: ago(90 * day)},
		Status:     batchv1.CronJobStatus{LastSuccessfulTime: new(ago(50 * time.Minute))},
	}
	controller := true
	s.run = &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: l.MirrorJob + "-29384", Namespace: l.Namespace, CreationTimestamp: ago(54 * time.Minute),
			OwnerReferences: []metav1.OwnerReference{{Kind: "CronJob", Name: l.MirrorJob, Controller: &controller}},
		},
		Status: batchv1.JobStatus{Succeeded: 1},
	}
	s.runPod = s.mirrorPod(`{"version":1,"time":"2026-11-23T23:15:03Z","ok":true,"server":"authentik-postgresql-2","problems":[],"folders":[` +
		`{"server":"authentik-postgresql-2","archive":{"first":"2026-10-25T02:10:00Z","last":"2026-11-23T23:10:00Z"},` +
		`"mirror":{"first":"2026-10-25T02:10:00Z","last":"2026-11-23T23:10:00Z"}}],"omitted":0}`)
	s.external = map[string]any{"type": "Ready", "status": "True", "lastTransitionTime": ago(90 * day).Format(time.RFC3339)}

	s.secretStore = s.external
	s.certificate = map[string]any{
		"notAfter": ago(-60 * day).Format(time.RFC3339), "renewalTime": ago(-45 * day).Format(time.RFC3339),
		"conditions": []any{map[string]any{"type": "Ready", "status": "True", "lastTransitionTime": ago(30 * day).Format(time.RFC3339)}},
	}
	s.cluster.Status.PluginStatus = []cnpgv1.PluginStatus{{Name: "barman-cloud.cloudnative-pg.io", Version: "0.14.0"}}

	for week := range 5 {
		began := time.Date(2026, time.November, 22, 2, 0, 3, 0, time.UTC).AddDate(0, 0, -7*week)
		for _, tree := range []*tree{s.archive, s.mirror} {
			tree.backup(began, 200*(5-week), "")
		}
	}
	// Segment 1120 was archived four minutes ago.
	s.archive.wal(200, 1121)
	s.mirror.wal(200, 1108)
	return s
}

func storage() cnpg.StorageArgs {
	return cnpg.StorageArgs{
		B2:        cnpg.B2Args{Bucket: "homelab-cnpg-b2", Region: "us-west-002"},
		MinIO:     cnpg.MinIOArgs{Bucket: "homelab-postgres-backups", Endpoint: "https://nas.example.org:9000", Secret: "minio-credentials"},
		Bitwarden: cnpg.BitwardenArgs{Store: "bitwarden-backend", Item: "backblaze-b2-cnpg-offsite"},
	}
}

func (s *scene) backup(name string, phase cnpgv1.BackupPhase, age time.Duration, failure string) *cnpgv1.Backup {
	return &cnpgv1.Backup{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "auth", CreationTimestamp: ago(age)},
		Spec:       cnpgv1.BackupSpec{Cluster: cnpgv1.LocalObjectReference{Name: "authentik-postgresql"}},
		Status:     cnpgv1.BackupStatus{Phase: phase, Error: failure},
	}
}

func (s *scene) mirrorPod(message string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "mirror-pod", Namespace: "auth", Labels: map[string]string{
			"app.kubernetes.io/name": "cnpg-backup-mirror", "app.kubernetes.io/instance": "authentik-postgresql",
		}},
		Status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{
			Name:  "copy",
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: message, FinishedAt: ago(50 * time.Minute)}},
		}}},
	}
}

// archivingFails is how the Cluster tells.
func (s *scene) archivingFails(message, logged string) {
	s.cluster.Status.Conditions[0] = metav1.Condition{
		Type: "ContinuousArchiving", Status: metav1.ConditionFalse, Reason: "ContinuousArchivingFailing",
		Message: message, LastTransitionTime: ago(63 * time.Hour),
	}
	if logged != "" {
		s.logs[s.pod.Name] = `{"level":"info","ts":"2026-11-23T23:58:01Z","msg":"barman-cloud-wal-archive"}` + "\n" +
			fmt.Sprintf(`{"level":"info","ts":"2026-11-23T23:58:02Z","logger":"barman-cloud-wal-archive","msg":%q}`, logged) + "\n" +
			`{"level":"error","ts":"2026-11-23T23:58:02Z","msg":"failed to run wal-archive command"}` + "\n"
	}
}

func exitStatus(n int) string {
	return fmt.Sprintf("rpc error: code = Unknown desc = unexpected failure invoking barman-cloud-wal-archive: exit status %d", n)
}

// recovering is a Cluster that is being restored from the first life.
func (s *scene) recovering() {
	s.args.Recovery = &cnpg.Recovery{Source: cnpg.MinIO}
	s.cluster.Status = cnpgv1.ClusterStatus{Phase: cnpgv1.PhaseFirstPrimary}
	s.pod = nil
	s.recovery = &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "authentik-postgresql-1-full-recovery-x", Namespace: "auth", Labels: map[string]string{
			"cnpg.io/cluster": "authentik-postgresql", "cnpg.io/jobRole": "full-recovery",
		}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "full-recovery"}}},
	}
	s.archive, s.mirror = newTree(), newTree()
	s.backups = nil
}

func (s *scene) recoverySays(text string) {
	s.recovering()
	s.logs[s.recovery.Name] = fmt.Sprintf(`{"level":"error","ts":"2026-11-24T00:01:00Z","msg":%q}`, text) + "\n"
}

// drill is the drill of both copies, three days after its last runs.
type drill struct {
	// failed is the copy whose last run failed, and report what it said.
	failed, report string
	// kept is whether the run is still there.
	kept                 bool
	suspended            bool
	lastSuccess, created time.Duration
}

// drilled switches the drills on.
func (s *scene) drilled() *drill {
	s.args.Drill.Enabled = new(true)
	s.drill = &drill{kept: true, lastSuccess: 3 * day, created: 90 * day}
	return s.drill
}

func (d *drill) cronJob(at string) *batchv1.CronJob {
	job := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "authentik-drill-" + at, Namespace: "auth", CreationTimestamp: ago(d.created)}}
	job.Spec.Suspend = &d.suspended
	if d.lastSuccess > 0 {
		job.Status.LastSuccessfulTime = new(ago(d.lastSuccess))
	}
	return job
}

func (d *drill) run(at string) (*batchv1.Job, *corev1.Pod) {
	ended, kind, report := d.lastSuccess, batchv1.JobComplete, fmt.Sprintf(`{"version":1,"ok":true,"copy":%q,"server":"authentik-postgresql-2",`+
		`"backup":"20261115T020003","restoredTo":"2026-11-21T02:14:09Z","seconds":333,"checks":[]}`, at)
	if d.failed == at {
		ended, kind, report = time.Hour, batchv1.JobFailed, d.report
	}
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: "authentik-drill-" + at + "-29384", Namespace: "auth", CreationTimestamp: ago(ended + time.Hour),
			OwnerReferences: []metav1.OwnerReference{{Kind: "CronJob", Name: "authentik-drill-" + at, Controller: new(true)}},
		},
		Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: ago(ended)}}},
	}
	if d.failed == at && d.report == "" {
		job.Status.Conditions[0].Reason, job.Status.Conditions[0].Message = "BackoffLimitExceeded", "Job has reached the specified backoff limit"
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: job.Name + "-x", Namespace: "auth", Labels: map[string]string{"batch.kubernetes.io/job-name": job.Name},
		},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: "restore", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: report}},
		}}},
	}
	if !d.kept {
		job.OwnerReferences = nil
	}
	return job, pod
}

// objects are those that the API server has.
func (s *scene) objects(t *testing.T) []runtime.Object {
	t.Helper()
	var objects []runtime.Object
	add := func(apiVersion, kind string, typed any) {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
		require.NoError(t, err)
		object := &unstructured.Unstructured{Object: content}
		object.SetAPIVersion(apiVersion)
		object.SetKind(kind)
		objects = append(objects, object)
	}
	if s.cluster != nil {
		add("postgresql.cnpg.io/v1", "Cluster", s.cluster)
	}
	for _, store := range s.stores {
		add("barmancloud.cnpg.io/v1", "ObjectStore", store)
	}
	if s.schedule != nil {
		add("postgresql.cnpg.io/v1", "ScheduledBackup", s.schedule)
	}
	for _, backup := range s.backups {
		add("postgresql.cnpg.io/v1", "Backup", backup)
	}
	for _, pod := range []*corev1.Pod{s.pod, s.recovery, s.runPod} {
		if pod != nil {
			add("v1", "Pod", pod)
		}
	}
	if s.drill != nil {
		for _, at := range []string{"b2", "minio"} {
			add("batch/v1", "CronJob", s.drill.cronJob(at))
			job, pod := s.drill.run(at)
			add("batch/v1", "Job", job)
			add("v1", "Pod", pod)
		}
	}
	if s.job != nil {
		add("batch/v1", "CronJob", s.job)
	}
	if s.run != nil {
		add("batch/v1", "Job", s.run)
	}
	for _, one := range s.more {
		switch one.(type) {
		case *corev1.Event:
			add("v1", "Event", one)
		case *cnpgv1.ScheduledBackup:
			add("postgresql.cnpg.io/v1", "ScheduledBackup", one)
		default:
			require.Fail(t, "an object of another kind", "%T", one)
		}
	}
	for _, name := range []string{"client", "server"} {
		objects = append(objects, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
			"metadata": map[string]any{"name": "barman-cloud-" + name, "namespace": "cnpg-system"},
			"spec":     map[string]any{"secretName": "barman-cloud-" + name + "-tls"},
			"status":   s.certificate,
		}})
	}
	add("v1", "Service", &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Name: "barman-cloud", Namespace: "cnpg-system", Labels: map[string]string{"cnpg.io/pluginName": "barman-cloud.cloudnative-pg.io"},
		Annotations: map[string]string{"cnpg.io/pluginClientSecret": "barman-cloud-client-tls"},
	}})
	if s.secretStore != nil {
		objects = append(objects, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": map[string]any{"name": "bitwarden-backend"},
			"status": map[string]any{"conditions": []any{s.secretStore}},
		}})
	}
	return append(objects, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
		"metadata": map[string]any{"name": cnpg.B2Secret, "namespace": "auth"},
		"status":   map[string]any{"conditions": []any{s.external}},
	}})
}

// examine reads the scene as the doctor reads a cluster and its stores.
func (s *scene) examine(t *testing.T) (*report.Report, []clienttesting.Action, []string) {
	t.Helper()
	storage := storage()
	storage.PluginVersion = s.plugin
	l := s.args.Layout("authentik", &storage)
	l.Archive.FormerEndpoint = s.former
	kinds := map[schema.GroupVersionResource]string{}
	for group, names := range map[string][]string{
		"postgresql.cnpg.io": {"Cluster", "Backup", "ScheduledBackup"}, "barmancloud.cnpg.io": {"ObjectStore"},
		"external-secrets.io": {"ExternalSecret", "ClusterSecretStore"}, "cert-manager.io": {"Certificate"},
		"batch": {"CronJob", "Job"}, "": {"Pod", "Event", "Secret", "Service"},
	} {
		for _, name := range names {
			kinds[schema.GroupVersionResource{Group: group, Version: "v1", Resource: strings.ToLower(name) + "s"}] = name + "List"
		}
	}
	objects := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, s.objects(t)...)
	var read []string
	client := cluster.Client{Operator: "cnpg-system", Objects: objects, Logs: func(_ context.Context, _, pod, container string, _ int) (string, error) {
		read = append(read, pod+"/"+container)
		return s.logs[pod], nil
	}}
	subject := &diagnosis.Subject{
		Name: "authentik", Layout: l, Stack: "stacks/Pulumi.homelab.yaml", Environment: "homelab", Now: now,
		Archive: diagnosis.Read{Err: s.archiveErr, KeyID: "…f3a9"}, Mirror: diagnosis.Read{Err: s.mirrorErr, KeyID: "…-nas"},
		Line: 100 * restoretime.Mbit, ArchiveProof: s.archiveProof, MirrorProof: s.mirrorProof,
	}
	switch {
	case s.unreachable != nil:
		subject.ClusterErr = s.unreachable
	case !s.fromStore:
		var err error
		subject.Cluster, err = client.Read(t.Context(), l)
		require.NoError(t, err)
	}
	for _, one := range []struct {
		tree *tree
		read *diagnosis.Read
	}{{s.archive, &subject.Archive}, {s.mirror, &subject.Mirror}} {
		if one.read.Err != nil {
			continue
		}
		folder, err := catalogue.Read(t.Context(), one.tree)
		require.NoError(t, err)
		one.read.Folder, one.read.Folders = folder, one.tree.folders
	}
	for _, one := range []struct {
		tree        *tree
		read, other *diagnosis.Read
	}{{s.archive, &subject.Archive, &subject.Mirror}, {s.mirror, &subject.Mirror, &subject.Archive}} {
		if one.read.Err != nil {
			continue
		}
		var err error
		one.read.Restorable, err = catalogue.Judge(t.Context(), one.tree, one.read.Folder,
			catalogue.Options{Now: now, WALDelay: l.WALDelay, Other: one.other.Folder})
		require.NoError(t, err)
	}
	if s.recovered != nil {
		folder, err := catalogue.Read(t.Context(), s.recovered)
		require.NoError(t, err)
		subject.Recovered = &diagnosis.Read{Folder: folder, Folders: s.recovered.folders}
		subject.Recovered.Restorable, err = catalogue.Judge(t.Context(), s.recovered, folder, catalogue.Options{Now: now, WALDelay: l.WALDelay})
		require.NoError(t, err)
	}
	return &report.Report{
		Version: report.Version, Time: now, Environment: "homelab", Databases: []diagnosis.Database{diagnosis.Diagnose(subject)},
	}, objects.Actions(), read
}

// tree is barman's folder in memory.
type tree struct {
	objects  []catalogue.Object
	contents map[string]string
	folders  []string
}

func newTree() *tree {
	return &tree{contents: map[string]string{}, folders: []string{"authentik-postgresql", "authentik-postgresql-2"}}
}

func (tr *tree) put(path, content string, size int64, at time.Time) {
	tr.objects = append(tr.objects, catalogue.Object{Path: path, Size: size, Arrived: at})
	tr.contents[path] = content
}

// arrival is when a segment was archived: every five minutes at the end, and every
// ten minutes before.
func arrival(number int) time.Time {
	return now.Add(time.Duration(number-1120)*5*time.Minute - 4*time.Minute)
}

func segment(number int) string {
	return fmt.Sprintf("00000001%08X%08X", number/256, number%256)
}

func (tr *tree) wal(first, last int) {
	for number := first; number <= last; number++ {
		name := segment(number)
		tr.put("wals/"+name[:16]+"/"+name+".gz", "", 100, arrival(number))
	}
}

func (tr *tree) backup(began time.Time, number int, lines string) {
	id := began.Format("20060102T150405")
	info := fmt.Sprintf("status=DONE\nsystemid=7576110216432775192\nbegin_time=%s\nend_time=%s\nbegin_wal=%s\nend_wal=%s\nbegin_xlog=%X/%X000028\nend_xlog=%X/%X000100\n%s",
		began.Format("2006-01-02 15:04:05.000000-07:00"), began.Add(9*time.Minute).Format("2006-01-02 15:04:05.000000-07:00"),
		segment(number), segment(number+1), number/256, number%256, (number+1)/256, (number+1)%256, lines)
	tr.put("base/"+id+"/data.tar.gz", "", 1<<30, began)
	tr.put("base/"+id+"/backup.info", info, int64(len(info)), began)
}

func (tr *tree) remove(word string) {
	tr.objects = slices.DeleteFunc(tr.objects, func(o catalogue.Object) bool { return strings.Contains(o.Path, word) })
}

func (tr *tree) List(_ context.Context, prefix string) ([]catalogue.Object, error) {
	return slices.DeleteFunc(slices.Clone(tr.objects), func(o catalogue.Object) bool { return !strings.HasPrefix(o.Path, prefix) }), nil
}

func (tr *tree) Read(_ context.Context, path string) ([]byte, error) {
	return []byte(tr.contents[path]), nil
}

func (tr *tree) Arrived(_ context.Context, path string) (time.Time, error) {
	for _, object := range tr.objects {
		if object.Path == path {
			return object.Arrived, nil
		}
	}
	return time.Time{}, errors.New("no such key")
}

func refused(status int, code, message string) error {
	return minio.ErrorResponse{StatusCode: status, Code: code, Message: message}
}

// cases are the faults that people had, by the words that they saw; where those
// come from is in docs/troubleshooting.md.
func cases() []struct {
	name  string
	codes string // all that is named: of the archive, then of the mirror
	cause func(*scene)
} {
	return []struct {
		name  string
		codes string
		cause func(*scene)
	}{
		{"healthy", " ", func(*scene) {}},
		{"P01 expected empty archive", "CB31 ", func(s *scene) {
			s.archivingFails(exitStatus(1), "ERROR: WAL archive check failed for server authentik-postgresql-2: Expected empty archive")
		}},
		{"P02 checksum headers", "CB07 ", func(s *scene) {
			s.archivingFails(exitStatus(4), "An error occurred (InvalidArgument) when calling the PutObject operation: "+
				"Unsupported header 'x-amz-sdk-checksum-algorithm' received for this API call.")
		}},
		{"P02 checksum headers, and the pod is older than the variables", "CB07 ", func(s *scene) {
			s.archivingFails(exitStatus(4), "An error occurred (InvalidArgument) when calling the PutObject operation: "+
				"Unsupported header 'x-amz-sdk-checksum-algorithm' received for this API call.")
			s.pod.Spec.InitContainers[0].Env = nil
		}},
		{"P03 a wrong key", "CB03 ", func(s *scene) {
			s.archivingFails(exitStatus(4), "An error occurred (403) when calling the HeadBucket operation: Forbidden")
			s.archiveErr = refused(http.StatusForbidden, "InvalidAccessKeyId", "The key 'f3a9' is not valid")
			s.run.Status = batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}}
		}},
		{"P03 a blank in the Secret", "CB11 ", func(s *scene) {
			s.archivingFails(exitStatus(4), "An error occurred (403) when calling the HeadBucket operation: Forbidden")
			s.archiveErr = &cluster.SecretError{Secret: cnpg.B2Secret, Problem: "has a blank or a line break around AWS_ACCESS_KEY_ID"}
			s.cluster.Status.Conditions[0].Status = metav1.ConditionTrue
		}},
		{"P04 another region", "CB04 ", func(s *scene) {
			s.archivingFails(exitStatus(4), "ERROR: Barman cloud WAL archiver exception: An error occurred (400) when calling the HeadBucket operation: Bad Request")
		}},
		{"P05 an authority that is not public", "CB02 ", func(s *scene) {
			s.archivingFails(exitStatus(4), "SSL validation failed for https://nas.example.org:9000 [SSL: CERTIFICATE_VERIFY_FAILED] "+
				"certificate verify failed: unable to get issuer certificate (_ssl.c:1032)")
		}},
		{"P06 no key service", "CB08 ", func(s *scene) {
			s.archivingFails(exitStatus(4), "An error occurred (NotImplemented) when calling the PutObject operation: "+
				"Server side encryption specified but KMS is not configured")
		}},
		{"P07 no plugin", "CB21 ", func(s *scene) {
			s.archivingFails("wal archive plugin is not available: barman-cloud.cloudnative-pg.io", "")
			s.backups = append(s.backups, s.backup("b", cnpgv1.BackupPhaseFailed, time.Hour, "requested plugin is not available: barman-cloud.cloudnative-pg.io"))
		}},
		{"P07 a plugin that does not answer", "CB21 ", func(s *scene) {
			s.cluster.Status.Phase = cnpgv1.PhaseFailurePlugin
			s.cluster.Status.PhaseReason = "Error while discovering plugins: while getting plugin connection: context deadline exceeded"
		}},
		{"P08 an expired certificate", "CB22 ", func(s *scene) {
			s.cluster.Status.Phase = cnpgv1.PhaseFailurePlugin
			s.cluster.Status.PhaseReason = "rpc error: code = Unavailable desc = connection error: desc = \"transport: authentication handshake failed: " +
				"tls: failed to verify certificate: x509: certificate has expired or is not yet valid\""
		}},
		{"P08 a certificate that is not renewed", "CB20 ", func(s *scene) {
			s.certificate["renewalTime"] = ago(3 * day).Format(time.RFC3339)
			s.certificate["notAfter"] = ago(-12 * day).Format(time.RFC3339)
		}},
		{"P08 a certificate that is not renewed and has expired", "CB20 ", func(s *scene) {
			s.certificate["renewalTime"], s.certificate["notAfter"] = ago(17*day).Format(time.RFC3339), ago(2*day).Format(time.RFC3339)
			s.certificate["conditions"] = []any{map[string]any{
				"type": "Ready", "status": "False", "lastTransitionTime": ago(2 * day).Format(time.RFC3339),
				"message": "Certificate expired on Sun, 22 Nov 2026 00:09:00 UTC",
			}}
			s.cluster.Status.Phase = cnpgv1.PhaseFailurePlugin
			s.cluster.Status.PhaseReason = "rpc error: code = Unavailable desc = connection error: desc = \"transport: authentication handshake failed: " +
				"tls: failed to verify certificate: x509: certificate has expired or is not yet valid\""
		}},
		{"P08 a certificate that was never issued", "CB20 ", func(s *scene) {
			s.certificate = map[string]any{"conditions": []any{map[string]any{
				"type": "Ready", "status": "False", "lastTransitionTime": ago(2 * day).Format(time.RFC3339),
				"message": `Issuing certificate as Secret does not exist`,
			}}}
		}},
		{"a plugin that is too old", "CB25 ", func(s *scene) {
			s.plugin = "0.15.0"
			s.backups = append(s.backups, s.backup("b", cnpgv1.BackupPhaseFailed, time.Hour, "exit status 3"))
		}},
		{"a sidecar that is too old", "CB24 ", func(s *scene) {
			s.plugin, s.cluster.Status.PluginStatus[0].Version = "0.15.0", "0.15.0"
			s.pod.Spec.InitContainers[0].Image = "ghcr.io/cloudnative-pg/plugin-barman-cloud-sidecar:v0.14.0@sha256:0"
		}},
		{"P09 out of memory", "CB23 ", func(s *scene) {
			s.pod.Status.InitContainerStatuses[0] = corev1.ContainerStatus{
				Name: cluster.Sidecar, RestartCount: 7, LastTerminationState: corev1.ContainerState{
					Terminated: &corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137, FinishedAt: ago(46 * time.Hour)},
				},
			}
			s.backups = append(s.backups, s.backup("b", cnpgv1.BackupPhaseFailed, 46*time.Hour, "rpc error: code = Unavailable desc = error reading from server: EOF"))
		}},
		{"P09 out of memory, and the sidecar lives on", "CB23 ", func(s *scene) {
			s.backups = append(s.backups, s.backup("b", cnpgv1.BackupPhaseFailed, 46*time.Hour, "rpc error: code = Unknown desc = signal: killed"))
		}},
		{"P10 a backup that does not end", "CB41 ", func(s *scene) {
			s.backups = append(s.backups, s.backup("authentik-postgresql-2-backup-20261115020000", cnpgv1.BackupPhaseRunning, 9*day, ""))
		}},
		{"P10 a backup that has waited for long and has just begun", " ", func(s *scene) {
			waited := s.backup("authentik-postgresql-2-backup-20261115020000", cnpgv1.BackupPhaseStarted, 9*day, "")
			waited.Status.ReconciliationStartedAt = new(ago(time.Hour))
			s.backups = append(s.backups, waited)
		}},
		{"P11 without the plugin", "CB42 ", func(s *scene) {
			s.backups = append(s.backups, s.backup("by-hand", cnpgv1.BackupPhaseFailed, time.Hour, "cannot proceed with the backup as the cluster has no backup section"))
		}},
		{"P12 five fields", "CB43 ", func(s *scene) {
			s.more = append(s.more, &cnpgv1.ScheduledBackup{
				ObjectMeta: metav1.ObjectMeta{Name: "nightly", Namespace: "auth"},
				Spec:       cnpgv1.ScheduledBackupSpec{Schedule: "0 2 * * *", Cluster: cnpgv1.LocalObjectReference{Name: "authentik-postgresql"}},
			})
		}},
		{"P13 a full volume", "CB31 CB33 ", func(s *scene) {
			s.archivingFails(exitStatus(1), "ERROR: WAL archive check failed for server authentik-postgresql-2: Expected empty archive")
			s.cluster.Status.Phase = "Not enough disk space"
			s.cluster.Status.PhaseReason = "Insufficient disk space detected in one or more pods is preventing PostgreSQL from running."
		}},
		{"P14 the store to recover from is not there", "CB72 ", func(s *scene) {
			s.recovering()
			s.stores = s.stores[:1]
		}},
		{"P14 nothing in the folder", "CB71 ", func(s *scene) { s.recoverySays("no target backup found") }},
		{"P15 a target that is too late", "CB73 ", func(s *scene) {
			s.recovering()
			s.logs[s.recovery.Name] = `{"level":"info","ts":"2026-11-24T00:01:00Z","logger":"postgres","msg":"record","logging_pod":"authentik-postgresql-1-full-recovery",` +
				`"record":{"log_time":"2026-11-24 00:01:00.512 UTC","error_severity":"FATAL","message":"recovery ended before configured recovery target was reached"}}` + "\n"
		}},
		{"P15 a recovery that begins without its first WAL", "CB73 ", func(s *scene) {
			from := s.mirror
			from.remove(segment(1000))
			s.recoverySays("encountered an error while checking the presence of first needed WAL in the archive: WAL not found")
			s.recovered = from
		}},
		{"P15 a hole, and the archive has moved", "CB50 ", func(s *scene) {
			s.former = "https://old.example.org:9000"
			s.archive.remove(segment(1050))
		}},
		{"P15 a hole", "CB50 ", func(s *scene) { s.archive.remove(segment(1050)) }},
		{"P15 a base backup whose first WAL never arrived", "CB49 ", func(s *scene) {
			s.archive.remove(segment(1000))
			s.mirror.remove("20261122T020003/backup.info")
		}},
		{"P16 a failed base backup counts", "CB48 ", func(s *scene) {
			s.archive.backup(time.Date(2026, time.November, 23, 2, 0, 3, 0, time.UTC), 1100, "status=FAILED\nerror=failure uploading data (SlowDown)\n")
		}},
		{"P16 a failed base backup counts, and its Backup failed", "CB48 ", func(s *scene) {
			s.archive.backup(time.Date(2026, time.November, 23, 2, 0, 3, 0, time.UTC), 1100, "status=FAILED\nerror=failure uploading data (SlowDown)\n")
			s.backups = append(s.backups, s.backup("b", cnpgv1.BackupPhaseFailed, 22*time.Hour, "rpc error: code = Unknown desc = exit status 1"))
		}},
		{"P17 the key does not arrive", "CB12 ", func(s *scene) {
			s.external = map[string]any{
				"type": "Ready", "status": "False", "reason": "SecretSyncedError", "message": "could not get secret data from provider",
				"lastTransitionTime": ago(30 * time.Hour).Format(time.RFC3339),
			}
			s.more = append(s.more, &corev1.Event{
				ObjectMeta:     metav1.ObjectMeta{Name: "e", Namespace: "auth"},
				InvolvedObject: corev1.ObjectReference{Kind: "ExternalSecret", Name: cnpg.B2Secret}, Type: corev1.EventTypeWarning,
				Message: "error processing spec.dataFrom[0].extract, err: failed to login to bitwarden using access token: 400 Bad Request",
			})
		}},
		{"P17 the store to Bitwarden is not ready", "CB10 ", func(s *scene) {
			s.secretStore = map[string]any{
				"type": "Ready", "status": "False", "reason": "InvalidProviderConfig", "message": "unable to create client",
				"lastTransitionTime": ago(30 * time.Hour).Format(time.RFC3339),
			}
			s.external = map[string]any{
				"type": "Ready", "status": "False", "reason": "SecretSyncedError", "message": "the desired SecretStore bitwarden-backend is not ready",
				"lastTransitionTime": ago(29 * time.Hour).Format(time.RFC3339),
			}
		}},
		{"P17 the store to Bitwarden is gone", "CB10 ", func(s *scene) {
			s.secretStore = nil
			s.external = map[string]any{
				"type": "Ready", "status": "False", "reason": "SecretSyncedError", "message": "could not get provider client",
				"lastTransitionTime": ago(29 * time.Hour).Format(time.RFC3339),
			}
		}},
		{"P18 WAL and no base backup", "CB44 ", func(s *scene) {
			s.archive.remove("base/")
			s.mirror.remove("base/")
			s.schedule.Spec.Suspend = new(true)
			s.backups = nil
		}},
		{"P18 another generation, and no base backup yet", "CB46 ", func(s *scene) {
			s.archive.remove("base/")
			s.mirror.remove("")
			s.backups = nil
		}},
		{"the mirror lost its base backups", " CB46", func(s *scene) { s.mirror.remove("base/") }},
		{"P19 nothing is pruned", "CB51 ", func(s *scene) {
			for week := range 9 {
				s.archive.backup(time.Date(2026, time.October, 18, 2, 0, 3, 0, time.UTC).AddDate(0, 0, -7*week), 200-2*week, "")
			}
			s.archive.wal(150, 199)
		}},
		{"P20 a broken download", "CB74 ", func(s *scene) {
			s.recoverySays("ERROR: Barman cloud restore exception: ('Connection broken: IncompleteRead(8388608 bytes read)', IncompleteRead(8388608 bytes read))")
		}},
		{"P21 a cap", "CB06 ", func(s *scene) {
			s.archivingFails(exitStatus(4), "An error occurred (AccessDenied) when calling the PutObject operation: Cannot upload files, storage cap exceeded.")
			s.archiveErr = refused(http.StatusForbidden, "AccessDenied", "Transaction cap exceeded, see the Caps & Alerts page to increase your cap.")
		}},
		{"P22 edits that are not in force", "CB24 ", func(s *scene) {
			s.stores[0].Spec.InstanceSidecarConfiguration.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}
		}},
		{"P23 harmless words", " ", func(s *scene) {
			s.logs[s.pod.Name] = `{"level":"error","ts":"2026-11-23T23:58:02Z","msg":"Reconciler error","error":` +
				`"Operation cannot be fulfilled on objectstores.barmancloud.cnpg.io \"authentik-b2-store\": the object has been modified; please apply your changes to the latest version and try again"}` + "\n" +
				`{"level":"info","ts":"2026-11-20T10:00:00Z","msg":"An error occurred (403) when calling the HeadBucket operation: Forbidden"}` + "\n"
		}},
		{"mirror fails", " CB61", func(s *scene) {
			s.run.Status = batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}}
			s.job.Status.LastSuccessfulTime = new(ago(6 * day))
			s.runPod = s.mirrorPod(`{"version":1,"time":"2026-11-23T23:15:03Z","ok":false,"server":"authentik-postgresql-2","problems":[` +
				`{"code":"copy-failed","server":"authentik-postgresql-2","fails":true,"count":1},` +
				`{"code":"gap","server":"authentik-postgresql-2","fails":false,"count":2}],"folders":[],"omitted":0}`)
			s.runPod.Status.Phase = corev1.PodFailed
			s.logs[s.runPod.Name] = "2026/11/23 23:15:09 ERROR : base/20261122T020003/data.tar.gz: Failed to copy: operation error S3: PutObject, " +
				"https response error StatusCode: 403, api error AccessDenied: Access Denied.\n" +
				"2026-11-23T23:15:31Z PROBLEM copy-failed: authentik-postgresql-2: not all base backup data could be copied\n"
			s.mirror.remove(segment(1000)[:16] + "/")
		}},
		{"mirror is suspended", " CB62", func(s *scene) {
			s.job.Spec.Suspend = new(true)
			s.job.Status.LastSuccessfulTime = new(ago(6 * day))
		}},
		{"mirror does not come to an end", " CB63", func(s *scene) {
			s.job.Status.LastSuccessfulTime, s.run = new(ago(6*day)), nil
		}},
		{"mirror does not answer", " CB01", func(s *scene) {
			s.mirrorErr = errors.New("dial tcp 192.0.2.7:9000: connect: connection refused")
		}},
		{"a part of the mirror is cut off", " CB49", func(s *scene) {
			s.mirror.remove("20261122T020003/data.tar.gz")
			s.mirror.put("base/20261122T020003/data.tar.gz", "", 1<<20, now)
		}},
		{"archiving fails, and nobody knows why", "CB32 ", func(s *scene) { s.archivingFails(exitStatus(2), "") }},
		{"no WAL for long", "CB34 ", func(s *scene) {
			for i := range s.archive.objects {
				s.archive.objects[i].Arrived = s.archive.objects[i].Arrived.Add(-8 * day)
			}
			s.mirror.objects = nil
			s.mirror.objects = append(s.mirror.objects, s.archive.objects...)
			s.mirror.contents = s.archive.contents
		}},
		{"the newest base backup is old", "CB47 ", func(s *scene) {
			for _, tree := range []*tree{s.archive, s.mirror} {
				for _, id := range []string{"20261122", "20261115", "20261108"} {
					tree.remove("base/" + id)
				}
			}
			s.backups = nil
		}},
		{"a later life", "CB81 CB81", func(s *scene) {
			s.archive.folders = append(s.archive.folders, "authentik-postgresql-3")
			s.mirror.folders = append(s.mirror.folders, "authentik-postgresql-3")
		}},
		{"two databases", "CB82 ", func(s *scene) {
			s.archive.backup(time.Date(2026, time.November, 23, 2, 0, 3, 0, time.UTC), 1100, "systemid=7000000000000000001\n")
		}},
		{"a damaged backup.info", "CB52 ", func(s *scene) {
			s.archive.contents["base/20261101T020003/backup.info"] = "<html>"
		}},
		{"the last base backup failed", "CB45 ", func(s *scene) {
			s.backups = append(s.backups, s.backup("b", cnpgv1.BackupPhaseFailed, time.Hour, "exit status 1"))
		}},
		{"the Cluster is gone", "CB91 ", func(s *scene) {
			s.cluster, s.pod, s.run, s.runPod, s.job, s.schedule, s.backups = nil, nil, nil, nil, nil, nil, nil
		}},
		{"the bucket is gone", " CB05", func(s *scene) {
			s.mirrorErr = refused(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
		}},
		{"the store says something else", " CB09", func(s *scene) {
			s.mirrorErr = refused(http.StatusInternalServerError, "InternalError", "We encountered an internal error, please try again.")
		}},
		{"a life of seconds", " ", func(s *scene) {
			for _, tree := range []*tree{s.archive, s.mirror} {
				tree.remove("")
				tree.put("wals/"+segment(1)[:16]+"/"+segment(1)+".gz", "", 100, now.Add(-50*time.Second))
				tree.backup(now.Add(-10*time.Minute+5*time.Second), 1, "")
				tree.put("wals/"+segment(2)[:16]+"/"+segment(2)+".gz", "", 100, now.Add(-30*time.Second))
				tree.put("wals/"+segment(3)[:16]+"/"+segment(3)+".gz", "", 100, now.Add(-20*time.Second))
			}
		}},
		{"a drill passed", " ", func(s *scene) { s.drilled() }},
		{"a drill passed, and its run is gone", " ", func(s *scene) { s.drilled().kept = false }},
		{"no drill yet", " ", func(s *scene) {
			d := s.drilled()
			d.kept, d.lastSuccess, d.created = false, 0, 2*day
		}},
		{"a drill finds damage", "CB54 ", func(s *scene) {
			d := s.drilled()
			d.failed = "b2"
			d.report = `{"version":1,"ok":false,"code":"CB54","problem":"WAL 00000001000000040000000A cannot be unpacked","copy":"b2","backup":"20261122T020003"}`
		}},
		{"a drill finds damage, and there is a newer base backup", "CB53 ", func(s *scene) {
			d := s.drilled()
			d.failed = "b2"
			d.report = `{"version":1,"ok":false,"code":"CB53","problem":"data.tar.gz cannot be unpacked","copy":"b2","backup":"20261115T020003"}`
		}},
		{"a drill finds what a later release knows", "CB83 ", func(s *scene) {
			d := s.drilled()
			d.failed, d.report = "b2", `{"version":1,"ok":false,"code":"CB99","problem":"the moon is full","copy":"b2","backup":"20261122T020003"}`
		}},
		{"a drill fails without a report", " CB83", func(s *scene) { s.drilled().failed = "minio" }},
		{"a drill finds what is seen without it", "CB50 ", func(s *scene) {
			d := s.drilled()
			d.failed, d.report = "b2", `{"version":1,"ok":false,"code":"CB50","problem":"WAL is missing","copy":"b2","backup":"20261122T020003"}`
			s.archive.remove(segment(1050))
		}},
		{"a drill restores what the mirror's job has not brought", " CB62", func(s *scene) {
			s.job.Spec.Suspend = new(true)
			d := s.drilled()
			d.failed, d.report = "minio", `{"version":1,"ok":false,"code":"CB78","problem":"it ends 6 days ago","copy":"minio","backup":"20261115T020003"}`
		}},
		{"drills do not run any more", "CB84 CB84", func(s *scene) { s.drilled().lastSuccess = 15 * day }},
		{"drills are suspended", "CB84 CB84", func(s *scene) { s.drilled().suspended = true }},
		{"drills are not there", "CB84 CB84", func(s *scene) {
			s.drilled()
			s.drill = nil
		}},
		{"proved", " ", func(s *scene) {
			s.archiveProof = &diagnosis.Proof{Segment: segment(1120), Seconds: 3}
			s.mirrorProof = &diagnosis.Proof{Segment: segment(1120), Seconds: 41}
		}},
		{"not proved for want of rights", " ", func(s *scene) {
			s.archiveProof = &diagnosis.Proof{Untried: "psql in pod authentik-postgresql-1: unable to upgrade connection: " +
				`pods "authentik-postgresql-1" is forbidden: User "me" cannot create resource "pods/exec" in API group "" in the namespace "auth"`}
		}},
		{"a segment does not reach the archive", "CB35 ", func(s *scene) {
			s.archiveProof = &diagnosis.Proof{Segment: segment(1121), Failed: "it is not in the archive after 10m"}
		}},
		{"a segment does not reach the archive, and the log says why", "CB03 ", func(s *scene) {
			s.archiveProof = &diagnosis.Proof{Segment: segment(1121), Failed: "it is not in the archive after 10m"}
			s.archivingFails(exitStatus(4), "An error occurred (403) when calling the HeadBucket operation: Forbidden")
		}},
		{"a segment does not reach the mirror", " CB64", func(s *scene) {
			s.archiveProof = &diagnosis.Proof{Segment: segment(1120), Seconds: 3}
			s.mirrorProof = &diagnosis.Proof{Segment: segment(1120), Failed: "it is not in the mirror after 10m"}
		}},
		{"the kubernetes cluster does not answer", " ", func(s *scene) {
			s.unreachable = errors.New("dial tcp 192.0.2.1:6443: i/o timeout")
			s.archiveErr = fmt.Errorf("%w: the cluster has it", diagnosis.ErrNoKey)
			s.mirrorErr = s.archiveErr
		}},
	}
}

// TestCases compares the whole text with testdata, and the codes with what was
// caused: nothing else is named.
func TestCases(t *testing.T) {
	named := map[string]bool{}
	for _, test := range cases() {
		t.Run(test.name, func(t *testing.T) {
			s := healthy()
			test.cause(s)
			r, _, _ := s.examine(t)

			var codes [2][]string
			for i, one := range r.Databases[0].Copies {
				for _, finding := range one.Findings {
					codes[i] = append(codes[i], string(finding.Code))
					named[string(finding.Code)] = true
				}
			}
			want, wantMirror := test.codes, ""
			if i := strings.LastIndex(test.codes, " "); i >= 0 {
				want, wantMirror = test.codes[:i], test.codes[i+1:]
			}
			assert.Equal(t, want, strings.Join(codes[0], " "), "of the archive")
			assert.Equal(t, wantMirror, strings.Join(codes[1], " "), "of the mirror")

			var text bytes.Buffer
			report.Style{}.Database(&text, now, r.Databases[0])
			r.End(&text)
			fmt.Fprintf(&text, "exit %d\n", r.Exit())
			file := filepath.Join("testdata", strings.ReplaceAll(test.name, " ", "-")+".txt")
			if *update {
				require.NoError(t, os.WriteFile(file, text.Bytes(), 0o600))
			}
			golden, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, string(golden), text.String())
			for line := range strings.Lines(text.String()) {
				assert.LessOrEqual(t, utf8.RuneCountInString(strings.TrimRight(line, "\n")), 80, line)
			}
		})
	}
	all, _ := diagnosis.Codes()
	for _, code := range all {
		if flag.Lookup("test.run").Value.String() != "" {
			break // only some of the cases were asked for
		}
		if slices.Contains(diagnosis.FromDrills(), code) {
			continue // the drills' own tests are about these
		}
		if slices.Contains(diagnosis.FromAlerts(), code) {
			continue // and those of the alerts about these
		}
		assert.True(t, named[string(code)], "no case is about %s", code)
	}
}

// TestFromStore reads the stores of every case, and nothing of a cluster.
func TestFromStore(t *testing.T) {
	for _, test := range cases() {
		t.Run(test.name, func(t *testing.T) {
			s := healthy()
			test.cause(s)
			s.fromStore = true
			r, actions, _ := s.examine(t)
			assert.Empty(t, actions)
			assert.Len(t, r.Databases[0].Copies, 2)
		})
	}
}

// TestRights compares what is asked of the API server with the rights that -rbac
// prints: no more is used, and nothing is granted that is not.
func TestRights(t *testing.T) {
	used := map[string]bool{"get secrets": true} // by the keys' source
	for _, test := range cases() {
		s := healthy()
		test.cause(s)
		_, actions, logs := s.examine(t)
		storage := storage()
		l := []cnpg.Layout{s.args.Layout("authentik", &storage)}
		rules := map[string][]cluster.Rule{"auth": cluster.Rules(l), "cnpg-system": cluster.OperatorRules(), "": cluster.RulesBeside(l)}
		for _, action := range actions {
			right := action.GetVerb() + " " + action.GetResource().Resource
			used[right] = true
			assert.True(t, slices.ContainsFunc(rules[action.GetNamespace()], func(rule cluster.Rule) bool {
				if rule.Verb != action.GetVerb() || rule.Resource != action.GetResource().Resource || rule.Group != action.GetResource().Group {
					return false
				}
				get, ok := action.(clienttesting.GetAction)
				return !ok || rule.Names == nil || slices.Contains(rule.Names, get.GetName())
			}), "%s: no rule allows %v", test.name, action)
		}
		if len(logs) > 0 {
			used["get pods/log"] = true
		}
	}
	storage := storage()
	args := cnpg.DatabaseArgs{Namespace: "auth"}
	l := []cnpg.Layout{args.Layout("authentik", &storage)}
	for _, rule := range slices.Concat(cluster.Rules(l), cluster.OperatorRules(), cluster.RulesBeside(l)) {
		assert.True(t, used[rule.Verb+" "+rule.Resource], "%s %s is granted and never used", rule.Verb, rule.Resource)
	}
}

// TestWithoutRights wants a doctor that may not read something to say so, and to
// go on.
func TestWithoutRights(t *testing.T) {
	s := healthy()
	objects := dynamicfake.NewSimpleDynamicClient(runtime.NewScheme(), s.objects(t)...)
	objects.PrependReactor("*", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(action.GetResource().GroupResource(), "", errors.New("no rule allows it"))
	})
	client := cluster.Client{Objects: objects, Operator: "cnpg-system"}
	storage := storage()
	l := s.args.Layout("authentik", &storage)
	snapshot, err := client.Read(t.Context(), l)
	require.NoError(t, err)
	assert.Len(t, snapshot.Unread, 11, "whether there is External Secrets it could not see either")
	noKey := diagnosis.Read{Err: apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, cnpg.B2Secret, errors.New("no rule allows it"))}
	d := diagnosis.Diagnose(&diagnosis.Subject{Layout: l, Cluster: snapshot, Archive: noKey, Mirror: noKey, Now: now})
	for _, one := range d.Copies {
		assert.Empty(t, one.Findings, "what may not be seen may be well")
		assert.Contains(t, one.Reason, "forbidden")
	}
}

// TestTheGuideHasEveryCode holds docs/troubleshooting.md to the codes: a heading
// for each, and no other.
func TestTheGuideHasEveryCode(t *testing.T) {
	guide, err := os.ReadFile("../docs/troubleshooting.md")
	require.NoError(t, err)
	codes, titles := diagnosis.Codes()
	var want, got []string
	for _, code := range codes {
		want = append(want, string(code)+" "+titles[code])
	}
	lines := strings.Split(string(guide), "\n")
	for i, line := range lines {
		if code, found := strings.CutPrefix(line, "### CB"); found {
			got = append(got, "CB"+code+" "+strings.Trim(strings.TrimSuffix(lines[i+2], "."), "*"))
		}
	}
	assert.Equal(t, want, got)
}
