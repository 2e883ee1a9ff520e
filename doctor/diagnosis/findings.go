package diagnosis

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/cluster"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/store"
)

// found makes a finding.
func found(code Code, seen string, since time.Time, next, command string) Finding {
	f := Finding{Code: code, Title: entryOf(code).title, Why: entryOf(code).why, Seen: oneLine(seen), Next: next, Command: command}
	if !since.IsZero() {
		since = since.UTC()
		f.Since = &since
	}
	return f
}

// oneLine leaves out what makes a message long and says nothing.
func oneLine(text string) string {
	const enough = 300
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > enough {
		return string(runes[:enough]) + " ..."
	}
	return text
}

// kubectl is a command in the database's namespace.
func (s *Subject) kubectl(format string, arguments ...any) string {
	verb, rest, _ := strings.Cut(fmt.Sprintf(format, arguments...), " ")
	return "kubectl " + verb + " -n " + s.Layout.Namespace + " " + rest
}

func (s *Subject) deploy() string { return "make up STACK=" + s.Environment }

// archiveFindings are about all that brings backups into the archive.
func (s *Subject) archiveFindings() []Finding {
	findings := s.readFindings(s.Layout.Archive, &s.Archive)
	if s.Cluster != nil {
		findings = slices.Concat(findings, s.keyFindings(cnpg.B2Secret, s.Layout.Archive.Location == cnpg.B2), s.certificateFindings(),
			s.clusterFindings(), s.pluginFindings(), s.podFindings(), s.archivingFindings(), s.backupFindings(), s.scheduleFindings())
	}
	if s.Archive.Err == nil {
		findings = slices.Concat(findings, s.catalogueFindings("archive", s.Layout.Archive, &s.Archive), s.ageFindings())
	}
	if proof := s.ArchiveProof; proof != nil && proof.Failed != "" {
		findings = append(findings, found(NotProved, "segment "+proof.Segment+": "+proof.Failed, time.Time{}, "", s.sidecarLog()))
	}
	return findings
}

// mirrorFindings are about all that brings them into the mirror.
func (s *Subject) mirrorFindings() []Finding {
	findings := s.readFindings(s.Layout.Mirror, &s.Mirror)
	if s.Cluster != nil {
		findings = slices.Concat(findings, s.keyFindings(cnpg.B2Secret, s.Layout.Mirror.Location == cnpg.B2),
			s.keyFindings(s.Layout.MirrorSecret, s.Layout.MirrorSecret == cnpg.B2MirrorSecret), s.jobFindings())
	}
	if s.Mirror.Err == nil {
		findings = append(findings, s.catalogueFindings("mirror", s.Layout.Mirror, &s.Mirror)...)
	}
	if proof := s.MirrorProof; proof != nil && proof.Failed != "" {
		findings = append(findings, found(MirrorNotProved, "segment "+proof.Segment+": "+proof.Failed, time.Time{}, "", s.mirrorLog("copy")))
	}
	return findings
}

// readFindings are why a store could not be read.
func (s *Subject) readFindings(at cnpg.StoreLayout, read *Read) []Finding {
	if read.Err == nil {
		return nil
	}
	configuration := at.Spec.Configuration
	secret := configuration.AWS.AccessKeyIDReference.Name
	var bad *cluster.SecretError
	if errors.As(read.Err, &bad) || apierrors.IsNotFound(read.Err) {
		return []Finding{found(SecretMissing, read.Err.Error(), time.Time{}, "", s.secretCommand(at.Location, secret))}
	}
	if withoutKey(read.Err) {
		return nil // the verdict says so
	}
	said := fmt.Sprintf("%s, bucket %s: %s", configuration.EndpointURL, at.Bucket, store.Said(read.Err))
	switch store.FaultOf(read.Err) {
	case store.Unreachable:
		return []Finding{found(StoreUnreachable, said, time.Time{}, "Is it up, and is there a way from here?",
			"curl -sS -o /dev/null -w '%{http_code}\\n' "+configuration.EndpointURL)}
	case store.Untrusted:
		return []Finding{found(StoreUntrusted, said, time.Time{}, "Give the whole chain up to the root, by endpointCA, or here by -ca.", "")}
	case store.Region:
		return []Finding{found(StoreRegion, said, time.Time{}, "Compare the region in "+s.Stack+" with the account's.", "")}
	case store.NoBucket:
		return []Finding{found(StoreNoBucket, said, time.Time{}, "Pulumi makes it again when its state knows that it is gone:",
			"pulumi refresh --stack "+s.Environment)}
	case store.Capped:
		return []Finding{found(StoreCapped, said, time.Time{}, `Raise the limit under "Caps & Alerts" at backblaze.com.`, "")}
	case store.Denied:
		return []Finding{found(StoreDenied, said+" (the key ends with "+read.KeyID+")", time.Time{},
			"Compare with the key that the bucket knows; at B2 the master key does not do.", s.secretCommand(at.Location, secret))}
	default:
		return []Finding{found(StoreOther, said, time.Time{}, "", "")}
	}
}

// withoutKey tells that a store was not even asked.
func withoutKey(err error) bool {
	var status apierrors.APIStatus
	return errors.Is(err, ErrNoKey) || errors.As(err, &status)
}

func (s *Subject) secretCommand(at cnpg.Location, secret string) string {
	if at == cnpg.B2 {
		return s.kubectl("describe externalsecret %s", secret)
	}
	return s.kubectl("get secret %s -o jsonpath='{.data}'", secret)
}

// keyFindings are about the key's way from Bitwarden.
func (s *Subject) keyFindings(name string, used bool) []Finding {
	external := s.Cluster.ExternalSecrets[name]
	if !used || external == nil {
		return nil
	}
	through := "ClusterSecretStore " + s.Layout.SecretStore
	describe := "kubectl describe clustersecretstore " + s.Layout.SecretStore
	switch store := s.Cluster.SecretStore; {
	case store != nil && !store.Ready && !store.Since.IsZero():
		return []Finding{found(SecretStoreBad, through+": "+store.Message, store.Since, "", describe)}
	case external.Ready:
		return nil
	case s.Cluster.Lacks("clustersecretstores", s.Layout.SecretStore):
		return []Finding{found(SecretStoreBad, through+" is not there", time.Time{}, "Make it, as docs/install.md says.", "")}
	}
	seen := external.Message
	if external.Event != "" {
		seen = external.Event
	}
	return []Finding{found(SecretNotSynced, "ExternalSecret "+name+": "+seen, external.Since, "", s.kubectl("describe externalsecret %s", name))}
}

// match finds the cause that words name.
func match(text string) (Code, bool) {
	for _, one := range wordings() {
		if strings.Contains(text, one.words) {
			return one.code, true
		}
	}
	return "", false
}

// logged finds the last line of a log that names a cause, and its text.
func logged(log string) (Code, string, bool) {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	for _, line := range slices.Backward(lines) {
		code, known := match(line)
		if !known {
			continue
		}
		// What PostgreSQL says is in a record of its own.
		var fields struct {
			Msg, Err, Error string
			Record          struct{ Message string }
		}
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			return code, line, true
		}
		for _, text := range []string{fields.Msg, fields.Err, fields.Error, fields.Record.Message} {
			if _, known := match(text); known {
				return code, text, true
			}
		}
		return code, fields.Msg, true
	}
	return "", "", false
}

// cause makes a finding of words, with what to do.
func (s *Subject) cause(code Code, seen string, since time.Time) Finding {
	l := s.Layout
	switch code {
	case NotEmpty:
		return found(code, seen, since, fmt.Sprintf("Set generation: %d for %s in %s, then deploy.", l.Generation+1, s.Name, s.Stack), s.deploy())
	case ChecksumRefused:
		return found(code, seen, since, "They are set at B2; for another store set them in its sidecar.env. Restart the pods:", s.restart())
	case NoKMS:
		return found(code, seen, since, fmt.Sprintf("Leave wal.encryption and data.encryption of minio out in %s, then deploy.", s.Stack), s.deploy())
	case StoreCapped:
		return found(code, seen, since, `Raise the limit under "Caps & Alerts" at backblaze.com.`, "")
	case StoreUntrusted:
		return found(code, seen, since, "Put the whole chain up to the root into the Secret that endpointCA names.", s.describeStore())
	case StoreRegion:
		return found(code, seen, since, "Set the server's region, by AWS_DEFAULT_REGION in sidecar.env, and restart the pods:", s.restart())
	case StoreNoBucket, StoreUnreachable:
		return found(code, seen, since, "Compare endpoint and bucket.", s.describeStore())
	case StoreDenied, SecretMissing:
		return found(code, seen, since, "Compare the key in the Secret with the one that the bucket knows.",
			s.secretCommand(l.Archive.Location, l.Archive.Spec.Configuration.AWS.AccessKeyIDReference.Name))
	case PluginMissing:
		return found(code, seen, since, "Does the plugin run, beside the operator? Restart it, then the operator, then the database's pods.",
			"kubectl get pods -A -l app=barman-cloud")
	case PluginCertificate:
		return found(code, seen, since, "Are both certificates valid? Restart the plugin, then the operator.",
			"kubectl get certificates -A")
	case SidecarMemory:
		return found(code, seen, since,
			fmt.Sprintf("Set sidecar.resources.limits.memory: 1Gi of the archive in %s, deploy, and restart the pods:", s.Stack), s.restart())
	case WrongMethod:
		return found(code, seen, since, "Take it with the plugin:",
			s.kubectl("cnpg backup %s --method plugin --plugin-name barman-cloud.cloudnative-pg.io", l.Cluster))
	case NothingToRecover:
		return found(code, seen, since, "Compare recovery in "+s.Stack+" with the folders in the bucket"+s.recoveredFolders()+".", "")
	case TargetTooLate:
		return found(code, seen, since, s.earlier()+s.recoveredWindow()+".", "")
	case DownloadBroken:
		return found(code, seen, since, "Restore from the other copy: set recovery.source in "+s.Stack+".", "")
	default:
		return found(code, seen, since, "", s.sidecarLog())
	}
}

func (s *Subject) recoveredFolders() string {
	if s.Recovered == nil || len(s.Recovered.Folders) == 0 {
		return ""
	}
	return ": " + strings.Join(s.Recovered.Folders, ", ")
}

// earlier is what to restore instead. When the recovery begins with a base backup
// that does not restore, another one is to be named.
func (s *Subject) earlier() string {
	if s.Recovered != nil && s.Recovered.Err == nil {
		if r := s.Recovered.Restorable; r.Newest != nil && r.Taken != nil && r.Taken.ID != r.Newest.ID {
			return "Base backup " + r.Taken.ID + " " + r.Taken.Why + ": set target.backupID to " + r.Newest.ID + ", or choose an earlier target"
		}
	}
	return "Choose an earlier target"
}

// recoveredWindow says from when to when the folder restores that is being read.
func (s *Subject) recoveredWindow() string {
	if s.Recovered == nil || s.Recovered.Err != nil || len(s.Recovered.Restorable.Windows) == 0 {
		return ""
	}
	windows := s.Recovered.Restorable.Windows
	return fmt.Sprintf(": the folder %s restores from %s to %s", s.Layout.RecoveryServer,
		windows[0].From.Format(time.RFC3339), windows[len(windows)-1].To.Format(time.RFC3339))
}

func (s *Subject) restart() string { return s.kubectl("cnpg restart %s", s.Layout.Cluster) }

func (s *Subject) describeStore() string {
	return s.kubectl("describe objectstore %s", s.Layout.Archive.Name)
}

func (s *Subject) sidecarLog() string {
	pod := s.Layout.Cluster + "-1"
	if s.Cluster != nil && s.Cluster.Cluster != nil && s.Cluster.Cluster.Status.CurrentPrimary != "" {
		pod = s.Cluster.Cluster.Status.CurrentPrimary
	}
	return s.kubectl("logs %s -c %s --tail 50", pod, cluster.Sidecar)
}

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

// catalogueFindings are about what lies in a store.
func (s *Subject) catalogueFindings(role string, at cnpg.StoreLayout, read *Read) []Finding {
	var findings []Finding
	r := read.Restorable
	for _, file := range slices.Sorted(maps.Keys(read.Folder.Unreadable)) {
		findings = append(findings, found(InfoUnreadable, "in the folder "+s.Layout.ServerName+", "+file+": "+read.Folder.Unreadable[file], time.Time{},
			"Take a new base backup, and delete the old one in both stores when it is there.", s.takeBackup()))
	}
	if len(r.Backups) == 0 {
		next, command := "Take one:", s.takeBackup()
		if role == "mirror" && s.Archive.Err == nil && s.Archive.Restorable.Newest != nil {
			next, command = "The archive has some: the mirror's next run copies them.", s.mirrorLog("copy")
		}
		findings = append(findings, found(NoBackup, s.noBackupYet(read.Folder), time.Time{}, next, command))
	}
	if r.Taken != nil && r.Taken.State == catalogue.Failed {
		findings = append(findings, found(FailedCounts,
			fmt.Sprintf("base backup %s has status=%s and end_time=%s%s", r.Taken.ID, r.Taken.Status, r.Taken.Ended.Format(time.RFC3339), said(r.Taken.Error)),
			r.Taken.Ended, s.failedAdvice(r), deleteBackup(at, s.Layout.ServerName, r.Taken.ID)))
	}
	if len(r.Backups) > 0 {
		if newest := r.Backups[len(r.Backups)-1]; newest.State == catalogue.Incomplete {
			findings = append(findings, found(BackupIncomplete, "base backup "+newest.ID+" "+newest.Why, time.Time{}, "Take a new one:", s.takeBackup()))
		}
	}
	if r.Hole != "" && (len(findings) == 0 || !strings.HasSuffix(findings[len(findings)-1].Seen, r.Hole)) {
		next, command := "Take a base backup: a recovery from it does not need what is missing.", s.takeBackup()
		if role == "archive" && s.Mirror.Err == nil && s.Mirror.Folder.Has(r.Hole) {
			next = "The mirror has it: copy it back, or take a base backup."
		}
		if former := at.FormerEndpoint; role == "archive" && former != "" {
			next, command = "The NAS has moved: copy what is still at "+former+", as docs/move-nas.md says.", ""
		}
		findings = append(findings, found(Hole, "the folder "+s.Layout.ServerName+" lacks "+r.Hole+", and has later ones", time.Time{}, next, command))
	}
	for _, name := range read.Folders {
		if generation, ours := s.generationOf(name); ours && generation > s.Layout.Generation {
			findings = append(findings, found(LaterLife, fmt.Sprintf("the folder %s is of generation %d", name, generation), time.Time{},
				fmt.Sprintf("Set generation: %d in %s, or delete that folder in both stores if that life never was.", generation, s.Stack), ""))
		}
	}
	systems := map[string]string{}
	for _, backup := range read.Folder.Backups {
		systems[backup.SystemID] = backup.ID
	}
	if len(systems) > 1 {
		findings = append(findings, found(TwoDatabases, "base backups "+strings.Join(slices.Sorted(maps.Values(systems)), " and ")+" have different systemid",
			time.Time{}, "Restore by target.backupID; give one of the two another folder.", ""))
	}
	return append(findings, s.pruningFindings(role, at, read)...)
}

func said(text string) string {
	if text == "" {
		return ""
	}
	return ", error=" + text
}

func (s *Subject) takeBackup() string {
	return s.kubectl("cnpg backup %s --method plugin --plugin-name barman-cloud.cloudnative-pg.io", s.Layout.Cluster)
}

// deleteBackup is barman's command, which takes the keys from the environment.
func deleteBackup(at cnpg.StoreLayout, server, id string) string {
	return fmt.Sprintf("barman-cloud-backup-delete --endpoint-url %s --backup-id %s %s %s",
		at.Spec.Configuration.EndpointURL, id, at.Spec.Configuration.DestinationPath, server)
}

func (s *Subject) noBackupYet(folder *catalogue.Folder) string {
	if folder.Segments == 0 {
		return "the folder " + s.Layout.ServerName + " is empty"
	}
	return "the folder " + s.Layout.ServerName + " has " + strconv.Itoa(folder.Segments) + " WAL segments and no base backup"
}

func (s *Subject) failedAdvice(r *catalogue.Restorable) string {
	advice := "Delete it."
	if r.Newest != nil {
		advice += " Until then a recovery has to say target.backupID: " + r.Newest.ID + "."
	}
	return advice
}

// pruningFindings compare what is there with the retention, which keeps the
// newest base backup before its window.
func (s *Subject) pruningFindings(role string, at cnpg.StoreLayout, read *Read) []Finding {
	days := retentionDays(at.Spec.RetentionPolicy)
	// The mirror's job keeps everything until a run ends well; that is a finding of
	// its own.
	if days == 0 {
		return nil
	}
	// A day late is no fault.
	start := s.Now.AddDate(0, 0, -days-1)
	var obsolete []string
	for _, backup := range read.Restorable.Backups {
		if backup.State == catalogue.Complete && backup.Ended.Before(start) {
			obsolete = append(obsolete, backup.ID)
		}
	}
	if len(obsolete) < 3 {
		return nil
	}
	command := s.sidecarLog()
	if role == "mirror" {
		command = s.mirrorLog("prune")
	}
	return []Finding{found(NotPruned, fmt.Sprintf("%d base backups are older than %s, the oldest is %s", len(obsolete), at.Spec.RetentionPolicy, obsolete[0]),
		time.Time{}, "May the key delete?", command)}
}

// retentionDays is a retention policy in days; barman's months have 31.
func retentionDays(policy string) int {
	if policy == "" {
		return 0
	}
	number, err := strconv.Atoi(policy[:len(policy)-1])
	if err != nil {
		return 0
	}
	return number * map[byte]int{'d': 1, 'w': 7, 'm': 31}[policy[len(policy)-1]]
}

// ageFindings compare what is in the archive with the schedule.
func (s *Subject) ageFindings() []Finding {
	l, folder, r := s.Layout, s.Archive.Folder, s.Archive.Restorable
	var findings []Finding
	if l.MaxWALAge > 0 && folder.Segments > 0 && s.Now.Sub(folder.NewestArrived) > l.MaxWALAge {
		findings = append(findings, found(WALOld, "the newest is "+folder.NewestWAL, folder.NewestArrived,
			"Does it come after a write?", s.kubectl("cnpg psql %s -- -c 'select pg_switch_wal()'", l.Cluster)))
	}
	if l.MaxBackupAge > 0 && r.Newest != nil && s.Now.Sub(r.Newest.Ended) > l.MaxBackupAge {
		findings = append(findings, found(BackupOld, "the newest is "+r.Newest.ID, r.Newest.Ended, "", s.kubectl("get backups.postgresql.cnpg.io --sort-by=.metadata.creationTimestamp")))
	}
	return findings
}

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
