package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

// WriteRules are the rights that [Client.SwitchWAL] and [Client.RunMirror] use
// beside [Rules]. Neither can be given for some names only: pods have new ones, and
// a Job that is to be made has none.
func WriteRules() []Rule {
	return []Rule{
		{"", "pods/exec", "create", nil},
		{"batch", "jobs", "create", nil},
	}
}

// restorePoint is what is written to the WAL, so that there is something to
// archive: PostgreSQL ends no segment in which nothing is. pgBackRest does it like
// this (dbWalSwitch in its src/db/db.c).
const restorePoint = "cnpg-backup doctor -prove"

// segmentName is PostgreSQL's name of a WAL segment.
var segmentName = regexp.MustCompile(`^[0-9A-F]{24}$`)

// SwitchWAL ends the WAL segment that the primary writes to, and returns its name.
func (c Client) SwitchWAL(ctx context.Context, l cnpg.Layout) (segment, pod string, err error) {
	object, err := c.Objects.Resource(clusters).Namespace(l.Namespace).Get(ctx, l.Cluster, metav1.GetOptions{})
	if err != nil {
		return "", "", err
	}
	var cluster cnpgv1.Cluster
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &cluster); err != nil {
		return "", "", err
	}
	if pod = cluster.Status.CurrentPrimary; pod == "" {
		return "", "", errors.New("the Cluster " + l.Cluster + " has no primary")
	}
	// As kubectl cnpg psql does: the container's own environment has the socket.
	said, err := c.Exec(ctx, l.Namespace, pod, "postgres", "psql", "-X", "-q", "-A", "-t", "-U", "postgres", "-v", "ON_ERROR_STOP=1",
		"-c", "select pg_create_restore_point('"+restorePoint+"')", "-c", "select pg_walfile_name(pg_switch_wal())")
	if err != nil {
		return "", pod, fmt.Errorf("psql in pod %s: %w", pod, err)
	}
	lines := strings.Fields(said)
	if len(lines) == 0 || !segmentName.MatchString(lines[len(lines)-1]) {
		return "", pod, fmt.Errorf("psql in pod %s named no WAL segment: %q", pod, said)
	}
	return lines[len(lines)-1], pod, nil
}

// Run is a Job of the mirror.
type Run struct {
	Name          string
	Ended, Failed bool
}

// MirrorRuns are the Jobs of the mirror of a database.
func (c Client) MirrorRuns(ctx context.Context, l cnpg.Layout) ([]Run, error) {
	r := &reader{client: c, namespace: l.Namespace, snapshot: &Snapshot{missing: map[string]bool{}}}
	found := list[batchv1.Job](ctx, r, jobs, "")
	if r.err == nil && len(r.snapshot.Unread) > 0 {
		r.err = errors.New(r.snapshot.Unread[0])
	}
	var runs []Run
	for i := range found {
		if owner := metav1.GetControllerOf(&found[i]); owner == nil || owner.Kind != "CronJob" || owner.Name != l.MirrorJob {
			continue
		}
		run := Run{Name: found[i].Name}
		for _, one := range found[i].Status.Conditions {
			if one.Status == corev1.ConditionTrue {
				run.Failed = run.Failed || one.Type == batchv1.JobFailed
				run.Ended = run.Ended || one.Type == batchv1.JobFailed || one.Type == batchv1.JobComplete
			}
		}
		runs = append(runs, run)
	}
	return runs, r.err
}

// RunMirror makes a Job of the mirror's CronJob, as kubectl create job --from does
// (https://github.com/kubernetes/kubectl/blob/v0.36.0/pkg/cmd/create/create_job.go),
// and returns its name.
func (c Client) RunMirror(ctx context.Context, l cnpg.Layout) (string, error) {
	object, err := c.Objects.Resource(cronJobs).Namespace(l.Namespace).Get(ctx, l.MirrorJob, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	var of batchv1.CronJob
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &of); err != nil {
		return "", err
	}
	controller := true
	annotations := map[string]string{"cronjob.kubernetes.io/instantiate": "manual"}
	maps.Copy(annotations, of.Spec.JobTemplate.Annotations)
	job := &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: of.Name + "-", Namespace: of.Namespace, Labels: of.Spec.JobTemplate.Labels, Annotations: annotations,
			// By that the CronJob counts it among those whose number it limits. That
			// it blocked the owner's deletion would take another right.
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "batch/v1", Kind: "CronJob", Name: of.Name, UID: of.UID, Controller: &controller,
			}},
		},
		Spec: of.Spec.JobTemplate.Spec,
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(job)
	if err != nil {
		return "", err
	}
	made, err := c.Objects.Resource(jobs).Namespace(l.Namespace).Create(ctx, &unstructured.Unstructured{Object: content}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return made.GetName(), nil
}
