package diagnosis

import (
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/cluster"
)

// Restored is the last drill of a copy that passed.
type Restored struct {
	// At is when it ended.
	At time.Time `json:"at"`
	// Seconds is how long it took, and To the moment that came back; both are only
	// known as long as its pod is kept.
	Seconds int        `json:"seconds,omitempty"`
	To      *time.Time `json:"to,omitempty"`
}

// restored is the last drill of a copy that passed, nil without one.
func (s *Subject) restored(at cnpg.Location) *Restored {
	drill := s.drill(at)
	if drill == nil {
		return nil
	}
	var last *Restored
	for i := range drill.Runs {
		report, said := drill.Reports[drill.Runs[i].Name]
		if end := endOf(&drill.Runs[i]); said && report.OK && !end.IsZero() && (last == nil || end.After(last.At)) {
			to := report.RestoredTo.UTC()
			last = &Restored{At: end.UTC(), Seconds: report.Seconds, To: &to}
		}
	}
	if end := succeeded(drill).UTC(); !end.IsZero() && (last == nil || end.Sub(last.At) > time.Minute) {
		last = &Restored{At: end}
	}
	return last
}

// drill is that of a copy, nil when it has none or the cluster was not asked.
func (s *Subject) drill(at cnpg.Location) *cluster.Drill {
	if s.Cluster == nil || s.Layout.Drills[at] == "" {
		return nil
	}
	return s.Cluster.Drills[at]
}

// endOf is when a Job ended, zero while it runs.
func endOf(job *batchv1.Job) time.Time {
	for _, one := range job.Status.Conditions {
		if (one.Type == batchv1.JobFailed || one.Type == batchv1.JobComplete) && one.Status == corev1.ConditionTrue {
			return one.LastTransitionTime.Time
		}
	}
	return time.Time{}
}

// drillFindings are about the drill of a copy. What was found without it is not
// said again.
func (s *Subject) drillFindings(at cnpg.Location, others []Finding) []Finding {
	drill, name := s.drill(at), s.Layout.Drills[at]
	if drill == nil {
		return nil
	}
	job := drill.Job
	switch {
	case job == nil && (s.Cluster.Cluster == nil || !s.Cluster.Lacks("cronjobs", name)):
		return nil
	case job == nil:
		return []Finding{found(DrillIdle, "CronJob "+name+" is not there", time.Time{}, "Deploy it:", s.deploy())}
	case job.Spec.Suspend != nil && *job.Spec.Suspend:
		return []Finding{found(DrillIdle, "CronJob "+name+" has suspend: true", time.Time{},
			"Remove drill.suspend for "+s.Name+" in "+s.Stack+" if it is there, and deploy.", s.deploy())}
	}
	if run := lastFailed(drill); run != nil {
		finding := s.drillFailed(run, drill.Reports)
		if slices.ContainsFunc(others, func(one Finding) bool { return one.Code == finding.Code }) {
			return nil
		}
		return []Finding{finding}
	}
	succeeded := succeeded(drill)
	if last := s.vanished(drill); !last.IsZero() {
		return []Finding{found(DrillFails, "CronJob "+name+": its last run did not end well, and is gone with its report (drill.keep)", last,
			"Run it once more:", s.kubectl("create job --from=cronjob/%s %s-now", name, name))}
	}
	began := succeeded
	if began.IsZero() {
		began = job.CreationTimestamp.Time
	}
	if s.Now.Sub(began) > 2*s.Layout.DrillPeriods[at] {
		return []Finding{found(DrillIdle, "CronJob "+name+": no run has ended well", succeeded, "", s.kubectl("describe cronjob %s", name))}
	}
	return nil
}

// vanished is when the last run began, if that did not end well and is not kept
// any longer; zero otherwise, or when not all could be read.
func (s *Subject) vanished(drill *cluster.Drill) time.Time {
	status := drill.Job.Status
	if status.LastScheduleTime == nil || len(status.Active) > 0 || len(s.Cluster.Unread) > 0 {
		return time.Time{}
	}
	last := status.LastScheduleTime.UTC()
	kept := slices.ContainsFunc(drill.Runs, func(run batchv1.Job) bool { return !run.CreationTimestamp.UTC().Before(last) })
	if kept || !last.After(succeeded(drill)) {
		return time.Time{}
	}
	return last
}

// succeeded is when a run last ended well, as the CronJob knows it.
func succeeded(drill *cluster.Drill) time.Time {
	if drill.Job == nil || drill.Job.Status.LastSuccessfulTime == nil {
		return time.Time{}
	}
	return drill.Job.Status.LastSuccessfulTime.Time
}

// lastFailed is the last run that has ended, when that failed.
func lastFailed(drill *cluster.Drill) *batchv1.Job {
	for i := range slices.Backward(drill.Runs) {
		run := &drill.Runs[i]
		end := endOf(run)
		if end.IsZero() {
			continue
		}
		if failed(run) && !end.Before(succeeded(drill)) {
			return run
		}
		return nil
	}
	return nil
}

// disproved says why the newest base backup of a copy does not restore although
// all of it is there: the last drill tried it. It is "" when it did not.
func (s *Subject) disproved(at cnpg.Location, backup string) string {
	drill := s.drill(at)
	if drill == nil {
		return ""
	}
	run := lastFailed(drill)
	if run == nil {
		return ""
	}
	report := drill.Reports[run.Name]
	if code := Code(report.Code); report.Backup != backup || code != BaseDamaged && code != WALDamaged && code != NotStarting {
		return ""
	}
	return fmt.Sprintf("the last drill could not restore base backup %s (%s)", backup, report.Code)
}

// drillFailed is what a run found that failed.
func (s *Subject) drillFailed(run *batchv1.Job, reports map[string]cnpg.DrillReport) Finding {
	log := s.kubectl("logs job/%s -c %s --tail 50", run.Name, cnpg.DrillReportContainer)
	report, said := reports[run.Name]
	if !said {
		return found(DrillFails, "Job "+run.Name+" failed"+reasonOf(run), endOf(run), "", s.kubectl("describe job %s", run.Name))
	}
	code := Code(report.Code)
	if codes, _ := Codes(); !slices.Contains(codes, code) {
		code = DrillFails // of a later release
	}
	seen := fmt.Sprintf("drill of %s %s: %s", report.Copy, strings.TrimSpace("base backup "+report.Backup), report.Problem)
	if code == BaseDamaged || code == WALDamaged {
		return found(code, seen, endOf(run), "Take a new base backup:", s.takeBackup())
	}
	return found(code, seen, endOf(run), "", log)
}

func reasonOf(job *batchv1.Job) string {
	for _, one := range job.Status.Conditions {
		if one.Type == batchv1.JobFailed && one.Status == corev1.ConditionTrue && one.Reason != "" {
			return ": " + strings.TrimSuffix(one.Reason+": "+one.Message, ": ")
		}
	}
	return ""
}
