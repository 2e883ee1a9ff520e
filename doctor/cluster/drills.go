package cluster

import (
	"context"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

// Drill is what restores a copy on a schedule.
type Drill struct {
	// Job is nil when there is none.
	Job *batchv1.CronJob
	// Runs are its Jobs that are still there, oldest first, and Reports what they
	// said, by their names.
	Runs    []batchv1.Job
	Reports map[string]cnpg.DrillReport
}

// drills reads the drills of both copies.
func (r *reader) drills(ctx context.Context, l cnpg.Layout, runs []batchv1.Job) {
	r.snapshot.Drills = map[cnpg.Location]*Drill{}
	var names []string
	for at, cronJob := range l.Drills {
		drill := &Drill{Job: get[batchv1.CronJob](ctx, r, cronJobs, cronJob), Runs: runsOf(cronJob, runs), Reports: map[string]cnpg.DrillReport{}}
		r.snapshot.Drills[at] = drill
		for i := range drill.Runs {
			names = append(names, drill.Runs[i].Name)
		}
	}
	if len(names) == 0 {
		return
	}
	for _, pod := range list[corev1.Pod](ctx, r, pods, batchv1.JobNameLabel+" in ("+strings.Join(names, ",")+")") {
		for _, status := range pod.Status.ContainerStatuses {
			if status.Name != cnpg.DrillReportContainer || status.State.Terminated == nil {
				continue
			}
			report, err := cnpg.ParseDrillReport([]byte(status.State.Terminated.Message))
			if err != nil {
				continue // the Job says that it failed
			}
			for _, drill := range r.snapshot.Drills {
				for i := range drill.Runs {
					if drill.Runs[i].Name == pod.Labels[batchv1.JobNameLabel] {
						drill.Reports[drill.Runs[i].Name] = report
					}
				}
			}
		}
	}
}
