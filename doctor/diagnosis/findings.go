package diagnosis

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/cluster"
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
		if l.Archive.Location == cnpg.MinIO {
			return found(code, seen, since, s.regionOfNAS(), s.deploy())
		}
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

func (s *Subject) regionOfNAS() string {
	return "Set minio.region in " + s.Stack + ", and minio.regionKey for another server than MinIO, then deploy."
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

func (s *Subject) takeBackup() string {
	return s.kubectl("cnpg backup %s --method plugin --plugin-name barman-cloud.cloudnative-pg.io", s.Layout.Cluster)
}
