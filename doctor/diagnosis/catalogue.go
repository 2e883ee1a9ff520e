package diagnosis

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/catalogue"
)

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
	// The mirror's job keeps everything until a run ends well; that is a finding of
	// its own.
	if at.RetentionDays == 0 {
		return nil
	}
	// A day late is no fault.
	start := s.Now.AddDate(0, 0, -at.RetentionDays-1)
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
