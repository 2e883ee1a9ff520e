package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	barmanv1 "github.com/cloudnative-pg/plugin-barman-cloud/api/v1"
	"github.com/minio/minio-go/v7"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
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
	l := s.layout()
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
	s.run = &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: l.MirrorJob + "-29384", Namespace: l.Namespace, CreationTimestamp: ago(54 * time.Minute),
			OwnerReferences: []metav1.OwnerReference{{Kind: "CronJob", Name: l.MirrorJob, Controller: new(true)}},
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

// layout is where the database is, as the doctor works it out.
func (s *scene) layout() cnpg.Layout {
	storage := storage()
	storage.PluginVersion = s.plugin
	return s.args.Layout("authentik", &storage)
}

// notReady is a condition that has been so for a while.
func notReady(reason, message string, age time.Duration) map[string]any {
	return map[string]any{
		"type": "Ready", "status": "False", "reason": reason, "message": message,
		"lastTransitionTime": ago(age).Format(time.RFC3339),
	}
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
	kept bool
	// running is whether another one is on.
	running, suspended bool
	// lastScheduled is when a run last began.
	lastSuccess, lastScheduled, created time.Duration
}

// drillFails has the last drill of a copy fail with a report.
func (s *scene) drillFails(copied, report string) {
	d := s.drilled()
	d.failed, d.report = copied, report
}

// drilled switches the drills on.
func (s *scene) drilled() *drill {
	s.args.Drill.Enabled = new(true)
	s.drill = &drill{kept: true, lastSuccess: 3 * day, lastScheduled: 3*day + time.Hour, created: 90 * day}
	return s.drill
}

func (d *drill) cronJob(at string) *batchv1.CronJob {
	job := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "authentik-drill-" + at, Namespace: "auth", CreationTimestamp: ago(d.created)}}
	job.Spec.Suspend = &d.suspended
	if d.lastSuccess > 0 {
		job.Status.LastSuccessfulTime = new(ago(d.lastSuccess))
	}
	if d.lastScheduled > 0 {
		job.Status.LastScheduleTime = new(ago(d.lastScheduled))
	}
	if d.running {
		job.Status.Active = []corev1.ObjectReference{{Kind: "Job", Namespace: "auth", Name: job.Name + "-29999"}}
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
	l := s.layout()
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
