package diagnosis

import (
	"fmt"
	"path"
	"strings"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/cluster"
)

// clusterFindings are about the Cluster as a whole.
func (s *Subject) clusterFindings() []Finding {
	object := s.Cluster.Cluster
	if object == nil && !s.Cluster.Lacks("clusters", s.Layout.Cluster) {
		return nil
	}
	if object == nil {
		return []Finding{found(NoCluster, fmt.Sprintf("Cluster %s in namespace %s is not there", s.Layout.Cluster, s.Layout.Namespace), time.Time{},
			"Restore it as docs/restore.md says, with the lines below.", "")}
	}
	phase, reason := object.Status.Phase, object.Status.PhaseReason
	seen := strings.TrimSuffix(phase+": "+reason, ": ")
	switch {
	case phase == cnpgv1.PhaseUnknownPlugin:
		return []Finding{s.cause(PluginMissing, seen, time.Time{})}
	case strings.Contains(phase, "Not enough disk space"):
		return []Finding{found(VolumeFull, seen, time.Time{},
			"First make archiving work, then enlarge walStorage. Never delete in pg_wal.", s.sidecarLog())}
	case phase == cnpgv1.PhaseFirstPrimary:
		return s.recoveryFindings()
	}
	if code, known := match(reason); known {
		return []Finding{s.cause(code, seen, time.Time{})}
	}
	if phase == cnpgv1.PhaseFailurePlugin {
		return []Finding{s.cause(PluginMissing, seen, time.Time{})}
	}
	return nil
}

// late is for how long cert-manager may try before it is a finding.
const late = 24 * time.Hour

// certificateFindings are about those between the operator and the plugin.
func (s *Subject) certificateFindings() []Finding {
	findings := make([]Finding, 0, len(s.Cluster.Certificates))
	for _, one := range s.Cluster.Certificates {
		var since time.Time
		name := "Certificate " + one.Name + " in namespace " + one.Namespace
		switch {
		case !one.NotAfter.IsZero() && s.Now.After(one.NotAfter):
			name, since = name+" has expired", one.NotAfter
		case !one.Renewal.IsZero() && s.Now.Sub(one.Renewal) > late:
			name, since = name+" was to be renewed, and expires "+one.NotAfter.UTC().Format(time.RFC3339), one.Renewal
		case !one.Ready && !one.Since.IsZero() && s.Now.Sub(one.Since) > late:
			name, since = name+" is not ready", one.Since
		default:
			continue
		}
		if one.Message != "" {
			name += ": " + one.Message
		}
		findings = append(findings, found(CertificateOld, name, since, "Renew it, then restart the plugin and the operator.",
			fmt.Sprintf("kubectl describe certificate -n %s %s", one.Namespace, one.Name)))
	}
	return findings
}

// pluginFindings compare the plugin that runs with what the archive's codec takes.
func (s *Subject) pluginFindings() []Finding {
	wanted, err := version.ParseSemantic(s.Layout.CodecPlugin)
	if err != nil || s.Cluster.Cluster == nil {
		return nil
	}
	for _, plugin := range s.Cluster.Cluster.Status.PluginStatus {
		runs, err := version.ParseSemantic(plugin.Version)
		if plugin.Name != pluginName || err != nil || runs.AtLeast(wanted) {
			continue
		}
		return []Finding{found(PluginOld, fmt.Sprintf("the plugin is %s, and %s takes %s", plugin.Version, s.Layout.Codec, s.Layout.CodecPlugin), time.Time{},
			fmt.Sprintf("Update the plugin, or say pluginVersion: %s in %s and deploy.", plugin.Version, s.Stack), s.deploy())}
	}
	return nil
}

// pluginName is the one in spec.plugins.
const pluginName = "barman-cloud.cloudnative-pg.io"

// recoveryFindings are why a recovery does not begin or does not end.
func (s *Subject) recoveryFindings() []Finding {
	l := s.Layout
	if l.Recovery == nil {
		return nil
	}
	name := l.RecoveryStore
	if name == "" {
		name = l.Archive.Name
		if l.Recovery.Source != l.Archive.Location {
			name = l.Mirror.Name
		}
	}
	if s.Cluster.Lacks("objectstores", name) {
		return []Finding{found(RecoveryStoreGone, "ObjectStore "+name+" is not there", time.Time{}, "Deploy it:", s.deploy())}
	}
	if code, text, known := logged(s.Cluster.RecoveryLog); known {
		return []Finding{s.cause(code, text, time.Time{})}
	}
	if s.Recovered != nil && s.Recovered.Err == nil && s.Recovered.Restorable.Newest == nil {
		return []Finding{s.cause(NothingToRecover, fmt.Sprintf("the folder %s at %s: %s", l.RecoveryServer, l.Recovery.Source,
			whyNothing(s.Recovered.Restorable)), time.Time{})}
	}
	return nil
}

// podFindings are about the sidecars.
func (s *Subject) podFindings() []Finding {
	var findings []Finding
	for i := range s.Cluster.Instances {
		pod := &s.Cluster.Instances[i]
		for _, status := range pod.Status.InitContainerStatuses {
			for _, state := range []*corev1.ContainerStateTerminated{status.State.Terminated, status.LastTerminationState.Terminated} {
				if status.Name == cluster.Sidecar && state != nil && state.Reason == "OOMKilled" {
					findings = append(findings, s.cause(SidecarMemory,
						fmt.Sprintf("pod %s: container %s ended with %s, code %d, restarts %d", pod.Name, status.Name, state.Reason, state.ExitCode, status.RestartCount),
						state.FinishedAt.Time))
				}
			}
		}
		if difference := s.outdated(pod); difference != "" {
			findings = append(findings, found(SidecarOutdated, "pod "+pod.Name+": "+difference, time.Time{}, "Restart the pods:", s.restart()))
		}
	}
	return findings
}

// outdated says what of a sidecar is not what its ObjectStore wants.
func (s *Subject) outdated(pod *corev1.Pod) string {
	object := s.Cluster.Stores[s.Layout.Archive.Name]
	if object == nil {
		return ""
	}
	wanted := object.Spec.InstanceSidecarConfiguration
	for _, container := range pod.Spec.InitContainers {
		if container.Name != cluster.Sidecar {
			continue
		}
		if tag := tooOld(container.Image, s.Layout.CodecPlugin); tag != "" {
			return fmt.Sprintf("the sidecar is of the plugin %s, and %s takes %s", tag, s.Layout.Codec, s.Layout.CodecPlugin)
		}
		given := map[string]string{}
		for _, variable := range container.Env {
			given[variable.Name] = variable.Value
		}
		for _, variable := range wanted.Env {
			if value, there := given[variable.Name]; variable.ValueFrom == nil && (!there || value != variable.Value) {
				return "the sidecar lacks " + variable.Name + "=" + variable.Value
			}
		}
		for name, quantity := range wanted.Resources.Limits {
			if has := container.Resources.Limits[name]; has.Cmp(quantity) != 0 {
				return fmt.Sprintf("the sidecar's limit of %s is %s, and should be %s", name, has.String(), quantity.String())
			}
		}
	}
	return ""
}

// tooOld is the tag of the plugin's own image that is older than a release, "" for
// any other.
func tooOld(image, release string) string {
	wanted, err := version.ParseSemantic(release)
	reference, _, _ := strings.Cut(image, "@")
	name, tag, _ := strings.Cut(path.Base(reference), ":")
	if err != nil || name != "plugin-barman-cloud-sidecar" {
		return ""
	}
	runs, err := version.ParseSemantic(tag)
	if err != nil || runs.AtLeast(wanted) {
		return ""
	}
	return strings.TrimPrefix(tag, "v")
}

// condition returns one of the Cluster's, or nil.
func (s *Subject) condition(kind cnpgv1.ClusterConditionType) *metav1.Condition {
	if s.Cluster.Cluster == nil {
		return nil
	}
	for i := range s.Cluster.Cluster.Status.Conditions {
		if one := &s.Cluster.Cluster.Status.Conditions[i]; one.Type == string(kind) {
			return one
		}
	}
	return nil
}

// archivingFindings are why WAL does not leave the cluster. The log counts only
// while the condition is false: it keeps what is over.
func (s *Subject) archivingFindings() []Finding {
	condition := s.condition(cnpgv1.ConditionContinuousArchiving)
	if condition == nil || condition.Status != metav1.ConditionFalse {
		return nil
	}
	since := condition.LastTransitionTime.Time
	if code, known := match(condition.Message); known {
		return []Finding{s.cause(code, condition.Message, since)}
	}
	if code, text, known := logged(s.Cluster.SidecarLog); known {
		return []Finding{s.cause(code, text, since)}
	}
	return []Finding{found(NotArchived, condition.Message, since, "", s.sidecarLog())}
}

// stuckAfter is for how long no base backup should take: a terabyte with gzip.
const stuckAfter = 24 * time.Hour

// backupFindings are about the Backup objects.
func (s *Subject) backupFindings() []Finding {
	var findings []Finding
	var last *cnpgv1.Backup
	for i := range s.Cluster.Backups {
		backup := &s.Cluster.Backups[i]
		since := backup.CreationTimestamp.Time
		if began := backup.Status.ReconciliationStartedAt; began != nil {
			since = began.Time // before, it may have waited for the pod
		}
		switch backup.Status.Phase {
		case cnpgv1.BackupPhasePending, cnpgv1.BackupPhaseStarted, cnpgv1.BackupPhaseRunning, cnpgv1.BackupPhaseFinalizing:
			if s.Now.Sub(since) > stuckAfter {
				findings = append(findings, found(BackupStuck, fmt.Sprintf("Backup %s is %s", backup.Name, backup.Status.Phase), since,
					"Delete the object; what is in the bucket stays:", s.kubectl("delete backups.postgresql.cnpg.io %s", backup.Name)))
			}
		case cnpgv1.BackupPhaseFailed, cnpgv1.BackupPhaseCompleted, cnpgv1.BackupPhaseWalArchivingFailing:
			last = backup
		}
	}
	if last == nil || last.Status.Phase == cnpgv1.BackupPhaseCompleted {
		return findings
	}
	seen := fmt.Sprintf("Backup %s: %s", last.Name, last.Status.Error)
	since := last.CreationTimestamp.Time
	if last.Status.StoppedAt != nil {
		since = last.Status.StoppedAt.Time
	}
	if code, known := match(last.Status.Error); known {
		return append(findings, s.cause(code, seen, since))
	}
	if code, text, known := logged(s.Cluster.SidecarLog); known && code != NotEmpty {
		return append(findings, s.cause(code, text, since))
	}
	return append(findings, found(BackupFailed, seen, since, "", s.sidecarLog()))
}

// scheduleFindings are about the ScheduledBackups, foreign ones too.
func (s *Subject) scheduleFindings() []Finding {
	var findings []Finding
	for i := range s.Cluster.ScheduledBackups {
		schedule := &s.Cluster.ScheduledBackups[i]
		if len(strings.Fields(schedule.Spec.Schedule)) == 5 && !strings.HasPrefix(schedule.Spec.Schedule, "@") {
			findings = append(findings, found(FiveFields, fmt.Sprintf("ScheduledBackup %s: %q", schedule.Name, schedule.Spec.Schedule), time.Time{},
				fmt.Sprintf("Seconds first: \"0 %s\".", schedule.Spec.Schedule), s.kubectl("edit scheduledbackup %s", schedule.Name)))
		}
		if schedule.Name == s.Layout.ScheduledBackup && schedule.Spec.Suspend != nil && *schedule.Spec.Suspend {
			findings = append(findings, found(Suspended, "ScheduledBackup "+schedule.Name+" has suspend: true", time.Time{},
				"Remove suspend for "+s.Name+" in "+s.Stack+" if it is there, and deploy.", s.deploy()))
		}
	}
	return findings
}
