package diagnosis

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// ofArchive are the problems of the mirror's job that are the archive's, by their
// codes in docs/mirror.md.
//
//nolint:gochecknoglobals // Go has no constant slices
var ofArchive = []string{
	"no-backup", "backup-old", "wal-old", "backup-incomplete", "archive-incomplete", "backup-failed", "hole", "archive-lost", "later-life",
}

// jobFindings are about the mirror's job.
func (s *Subject) jobFindings() []Finding {
	l, job := s.Layout, s.Cluster.MirrorJob
	switch {
	case l.MirrorJob == "":
		return []Finding{found(MirrorIdle, "mirror.disabled is true", time.Time{}, "Remove it in "+s.Stack+" and deploy.", s.deploy())}
	case job == nil && (s.Cluster.Cluster == nil || !s.Cluster.Lacks("cronjobs", l.MirrorJob)):
		return nil
	case job == nil:
		return []Finding{found(MirrorIdle, "CronJob "+l.MirrorJob+" is not there", time.Time{}, "Deploy it:", s.deploy())}
	case job.Spec.Suspend != nil && *job.Spec.Suspend:
		return []Finding{found(MirrorIdle, "CronJob "+l.MirrorJob+" has suspend: true", time.Time{},
			"Remove mirror.suspend for "+s.Name+" in "+s.Stack+" if it is there, and deploy.", s.deploy())}
	}
	var findings []Finding
	var since time.Time
	if job.Status.LastSuccessfulTime != nil {
		since = job.Status.LastSuccessfulTime.Time
	}
	if last := s.lastRun(); last != nil && failed(last) {
		finding := found(MirrorFails, "Job "+last.Name+" failed", since, "", s.mirrorLog("copy"))
		if message := s.lastMessage(); message != nil {
			codes := message.problems()
			finding.Seen += ": " + strings.Join(codes, ", ")
			if _, text, known := logged(s.Cluster.MirrorLog); known {
				finding.Seen = oneLine(finding.Seen + ": " + text)
			}
			finding.alone = slices.ContainsFunc(codes, func(code string) bool { return !slices.Contains(ofArchive, code) })
		}
		findings = append(findings, finding)
	}
	began := since
	if began.IsZero() {
		began = job.CreationTimestamp.Time
	}
	if s.Now.Sub(began) > 3*l.MirrorPeriod+time.Hour {
		findings = append(findings, found(MirrorBehind, "CronJob "+l.MirrorJob+": no run has ended well", since, "", s.mirrorLog("copy")))
	}
	return findings
}

// lastRun is the newest Job of the mirror that has ended, nil when none is known.
func (s *Subject) lastRun() *batchv1.Job {
	if s.Cluster == nil {
		return nil
	}
	for i := len(s.Cluster.MirrorRuns) - 1; i >= 0; i-- {
		if run := &s.Cluster.MirrorRuns[i]; failed(run) || run.Status.Succeeded > 0 {
			return run
		}
	}
	return nil
}

func failed(job *batchv1.Job) bool {
	return slices.ContainsFunc(job.Status.Conditions, func(one batchv1.JobCondition) bool {
		return one.Type == batchv1.JobFailed && one.Status == corev1.ConditionTrue
	})
}

func (s *Subject) mirrorLog(container string) string {
	if last := s.lastRun(); last != nil {
		return s.kubectl("logs job/%s -c %s --tail 50", last.Name, container)
	}
	return s.kubectl("get jobs -l app.kubernetes.io/name=cnpg-backup-mirror")
}

// message is the termination message of the mirror's job, docs/mirror.md.
type message struct {
	Version  int
	Time     string
	OK       bool
	Problems []struct {
		Code, Server string
		Fails        bool
	}
	Folders []messageFolder
}

type messageFolder struct {
	Server          string
	Archive, Mirror struct{ First, Last string }
}

func (m *message) folder(server string) *messageFolder {
	for i := range m.Folders {
		if m.Folders[i].Server == server {
			return &m.Folders[i]
		}
	}
	return nil
}

// problems are the codes that made the run fail.
func (m *message) problems() []string {
	var codes []string
	for _, problem := range m.Problems {
		if problem.Fails && !slices.Contains(codes, problem.Code) {
			codes = append(codes, problem.Code)
		}
	}
	return codes
}

// lastMessage is what the newest pod of the job said, or nil.
func (s *Subject) lastMessage() *message {
	var last *message
	var ended time.Time
	for i := range s.Cluster.MirrorPods {
		status := s.Cluster.MirrorPods[i].Status
		for _, container := range slices.Concat(status.InitContainerStatuses, status.ContainerStatuses) {
			terminated := container.State.Terminated
			if container.Name != "copy" || terminated == nil || terminated.FinishedAt.Time.Before(ended) {
				continue
			}
			var said message
			if err := json.Unmarshal([]byte(terminated.Message), &said); err == nil && said.Version == 1 {
				last, ended = &said, terminated.FinishedAt.Time
			}
		}
	}
	return last
}
