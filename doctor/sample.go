package main

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/cluster"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/diagnosis"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/examine"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/report"
	"github.com/homelab-iac/pulumi-cnpg-backup/internal/restoretime"
)

// sample is a report on a database whose mirror has been failing for days: what
// was found is invented, and what is made of it is not.
func sample() *report.Report {
	now := time.Date(2026, time.November, 24, 0, 9, 0, 0, time.UTC)
	storage := cnpg.StorageArgs{
		B2:    cnpg.B2Args{Bucket: "homelab-cnpg-b2", Region: "us-west-002"},
		MinIO: cnpg.MinIOArgs{Bucket: "homelab-postgres-backups", Endpoint: "https://nas.example.org:9000", Secret: "minio-credentials"},
	}
	args := cnpg.DatabaseArgs{Namespace: "auth"}
	args.Generation = 2
	args.Drill.Enabled = new(true)
	l := args.Layout("authentik", &storage)
	newest := &catalogue.Judgement{
		Backup: &catalogue.Backup{ID: "20261122T020003", Ended: now.Add(-46 * time.Hour), Data: map[string]int64{"data.tar.gz": 3 << 30}},
		Last:   "000000020000000300000102", Segments: 552, WAL: 552 << 20,
	}
	drilled := metav1.NewTime(now.Add(-3 * 24 * time.Hour))
	drill := batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: l.Drills[cnpg.B2] + "-29381"},
		Status:     batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue, LastTransitionTime: drilled}}},
	}
	before := metav1.NewTime(now.Add(-9 * 24 * time.Hour))
	failedRun := batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: l.MirrorJob + "-29384"},
		Status:     batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}},
	}
	lastSuccess := metav1.NewTime(now.Add(-6 * 24 * time.Hour))
	subject := &diagnosis.Subject{
		Name: "authentik", Layout: l, Stack: "stacks/Pulumi.homelab.yaml", Environment: "homelab", Now: now, Line: usualLine * restoretime.Mbit,
		Archive: diagnosis.Read{
			Folder: &catalogue.Folder{Segments: 1, NewestArrived: now},
			Restorable: &catalogue.Restorable{
				Newest: newest, Taken: newest, Backups: []catalogue.Judgement{*newest},
				Windows: []catalogue.Window{{From: time.Date(2026, time.October, 25, 2, 9, 41, 0, time.UTC), To: now.Add(-4 * time.Minute)}},
			},
		},
		Mirror: diagnosis.Read{Folder: &catalogue.Folder{}, Restorable: &catalogue.Restorable{}},
		Cluster: &cluster.Snapshot{
			Cluster: &cnpgv1.Cluster{},
			Drills: map[cnpg.Location]*cluster.Drill{
				cnpg.B2: {
					Job: &batchv1.CronJob{Status: batchv1.CronJobStatus{LastSuccessfulTime: &drilled}}, Runs: []batchv1.Job{drill},
					Reports: map[string]cnpg.DrillReport{drill.Name: {OK: true, Seconds: 512, RestoredTo: drilled.Add(-6 * time.Minute)}},
				},
				cnpg.MinIO: {Job: &batchv1.CronJob{Status: batchv1.CronJobStatus{LastSuccessfulTime: &before}}},
			},
			MirrorJob:  &batchv1.CronJob{Status: batchv1.CronJobStatus{LastSuccessfulTime: &lastSuccess}},
			MirrorRuns: []batchv1.Job{failedRun},
			MirrorPods: []corev1.Pod{{Status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{
				Name: "copy",
				State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
					Message: `{"version":1,"problems":[{"code":"copy-failed","fails":true}]}`,
				}},
			}}}}},
			MirrorLog: "ERROR : Failed to copy: operation error S3: PutObject, StatusCode: 403, api error AccessDenied: Access Denied.",
		},
	}
	return &report.Report{
		Version: report.Version, Time: now, Environment: "homelab", Databases: []diagnosis.Database{diagnosis.Diagnose(subject)},
		Calls: map[cnpg.Location]examine.Count{cnpg.B2: {B: 9, C: 12}},
	}
}
