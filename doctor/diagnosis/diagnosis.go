// Package diagnosis says of each copy of a database whether it restores, and
// finds out why not. It reads nothing itself.
package diagnosis

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/cluster"
	"github.com/homelab-iac/pulumi-cnpg-backup/internal/restoretime"
)

// ErrNoKey is that there was no key to read a store with.
var ErrNoKey = errors.New("there is no key")

// Read is what was found in one of the stores.
type Read struct {
	// Folder and Restorable are those of the life in use; nil when Err is set.
	Folder     *catalogue.Folder
	Restorable *catalogue.Restorable
	// Folders are the folders of all lives.
	Folders []string
	// Err is why it could not be read.
	Err error
	// KeyID are the last characters of the key that was used.
	KeyID string
}

// Subject is all that was found about a database.
type Subject struct {
	Name   string
	Layout cnpg.Layout
	// Stack is the file with the configuration, for what is to be done in it.
	Stack, Environment string
	// Cluster is nil when it was not asked; ClusterErr says that it could not be.
	Cluster         *cluster.Snapshot
	ClusterErr      error
	Archive, Mirror Read
	// ArchiveProof and MirrorProof are what became of a segment that was ended to
	// see it arrive; nil when none was.
	ArchiveProof, MirrorProof *Proof
	// Recovered is the folder that a recovery reads which has not ended; nil when
	// none was looked at.
	Recovered *Read
	// Line is what comes from B2. What stands in the house holds nothing up.
	Line restoretime.Line
	Now  time.Time
}

// Verdict says whether a copy restores.
type Verdict string

// The verdicts.
const (
	Restores Verdict = "RESTORES"
	DoesNot  Verdict = "DOES NOT"
	Unknown  Verdict = "UNKNOWN"
)

// Database is what is said of one.
type Database struct {
	Name       string `json:"name"`
	Namespace  string `json:"namespace"`
	Cluster    string `json:"cluster"`
	Generation int    `json:"generation"`
	Copies     []Copy `json:"copies"`
	// Recovery are the lines to restore with, "" when nothing restores.
	Recovery string `json:"recovery,omitempty"`
	// Unread says what in the cluster could not be read, so that a finding may be
	// missing.
	Unread []string `json:"unread,omitempty"`
}

// Copy is what is said of one of the two copies.
type Copy struct {
	// Role is archive or mirror, Location b2 or minio.
	Role     string        `json:"role"`
	Location cnpg.Location `json:"location"`
	Verdict  Verdict       `json:"verdict"`
	// From and To are the first and the last moment that can be restored, Gaps the
	// stretches between them that cannot.
	From *time.Time         `json:"from,omitempty"`
	To   *time.Time         `json:"to,omitempty"`
	Gaps []catalogue.Window `json:"gaps,omitempty"`
	// Backup is the newest base backup that restores. BackupID is the one to name
	// in a recovery, which would take another one; "" when it would not.
	Backup   string `json:"backup,omitempty"`
	BackupID string `json:"backupID,omitempty"`
	// WAL is the last segment that a recovery gets to.
	WAL string `json:"wal,omitempty"`
	// Reason is why the verdict is not that it restores.
	Reason string `json:"reason,omitempty"`
	// Evidence is what else is known of a copy that could not be read.
	Evidence string `json:"evidence,omitempty"`
	// Proof is what became of a WAL segment that was ended to see it arrive.
	Proof *Proof `json:"proof,omitempty"`
	// Estimate is what a restore to the last moment takes, nil unless it restores.
	Estimate *Estimate `json:"estimate,omitempty"`
	// Restored is the last drill that passed, nil without one. Drilled is whether it
	// has a drill.
	Restored *Restored `json:"restored,omitempty"`
	Drilled  bool      `json:"drilled"`
	// Bytes is the size of all that lies there.
	Bytes    int64     `json:"bytes"`
	Findings []Finding `json:"findings,omitempty"`
}

// Estimate is what a restore takes, by the formula of docs/figures.md.
type Estimate struct {
	Minutes int `json:"minutes"`
	// Line is how many Mbit/s were assumed to come from the store, 0 for as many as
	// can be unpacked.
	Line float64 `json:"mbit"`
	// Backup and WAL are the bytes that come from the store, Segments the number of
	// WAL segments.
	Backup   int64 `json:"backupBytes"`
	WAL      int64 `json:"walBytes"`
	Segments int   `json:"segments"`
}

// Proof is what became of a WAL segment that was ended to see it arrive.
type Proof struct {
	Segment string `json:"segment,omitempty"`
	// Seconds are those until it had arrived.
	Seconds int `json:"seconds"`
	// Failed is why it did not arrive, "" when it did.
	Failed string `json:"failed,omitempty"`
	// Untried is why it could not be tried, "" when it was.
	Untried string `json:"untried,omitempty"`
}

// Finding is something to be done.
type Finding struct {
	Code  Code   `json:"code"`
	Title string `json:"title"`
	// Seen is what was seen, word for word, and Since from when on.
	Seen  string     `json:"seen"`
	Since *time.Time `json:"since,omitempty"`
	Why   string     `json:"why"`
	// Next is what to do, Command what to run for it.
	Next    string `json:"next,omitempty"`
	Command string `json:"command,omitempty"`

	// alone is one that no other explains.
	alone bool
}

// most is how many findings a copy gets: more would hide the first one.
const most = 3

// Diagnose judges a database.
func Diagnose(s *Subject) Database {
	l := s.Layout
	d := Database{
		Name: s.Name, Namespace: l.Namespace, Cluster: l.Cluster, Generation: l.Generation,
		Copies: []Copy{s.copy("archive", l.Archive, &s.Archive), s.copy("mirror", l.Mirror, &s.Mirror)},
	}
	if s.Cluster != nil {
		d.Unread = s.Cluster.Unread
	}
	if s.ClusterErr != nil {
		d.Unread = []string{"the cluster: " + oneLine(s.ClusterErr.Error())}
	}
	d.Copies[0].Proof, d.Copies[1].Proof = s.ArchiveProof, s.MirrorProof
	for i := range d.Copies {
		at := d.Copies[i].Location
		d.Copies[i].Drilled, d.Copies[i].Restored = s.drill(at) != nil, s.restored(at)
	}
	archive, mirror := s.archiveFindings(), s.mirrorFindings()
	archive = append(archive, s.drillFindings(s.Layout.Archive.Location, archive)...)
	mirror = append(mirror, s.drillFindings(s.Layout.Mirror.Location, mirror)...)
	d.Copies[0].Findings = rank(archive, nil)
	var explained []Code //nolint:prealloc // each finding explains any number
	for _, one := range d.Copies[0].Findings {
		explained = append(explained, explainsMirror(one.Code)...)
	}
	d.Copies[1].Findings = rank(mirror, explained)
	d.Recovery = s.recovery(d.Copies)
	return d
}

// rank puts findings in the order of their codes, causes first, and leaves out
// those that others explain.
func rank(found []Finding, explained []Code) []Finding {
	for _, one := range found {
		for _, code := range explains(one.Code) {
			if code != one.Code {
				explained = append(explained, code)
			}
		}
	}
	var ranked []Finding
	for _, entry := range entries() {
		for _, one := range found {
			if one.Code == entry.code && (one.alone || !slices.Contains(explained, one.Code)) && len(ranked) < most {
				ranked = append(ranked, one)
				break
			}
		}
	}
	return ranked
}

func (s *Subject) copy(role string, store cnpg.StoreLayout, read *Read) Copy {
	c := Copy{Role: role, Location: store.Location, Verdict: Unknown}
	if read.Err != nil {
		c.Reason, c.Evidence = "could not be read", s.evidence(role, store)
		if withoutKey(read.Err) {
			c.Reason += ": " + oneLine(read.Err.Error())
		}
		return c
	}
	c.Bytes = read.Folder.Bytes
	r := read.Restorable
	if r.Newest == nil {
		c.Verdict, c.Reason = DoesNot, whyNothing(r)
		return c
	}
	if c.Reason = s.disproved(store.Location, r.Newest.ID); c.Reason != "" {
		c.Verdict = DoesNot
		return c
	}
	c.Verdict, c.Backup, c.WAL = Restores, r.Newest.ID, r.Newest.Last
	if r.Taken == nil || r.Taken.ID != r.Newest.ID {
		c.BackupID = r.Newest.ID
	}
	c.Estimate = s.estimate(store.Location, r.Newest)
	c.From, c.To = &r.Windows[0].From, &r.Windows[len(r.Windows)-1].To
	for i := 1; i < len(r.Windows); i++ {
		c.Gaps = append(c.Gaps, catalogue.Window{From: r.Windows[i-1].To, To: r.Windows[i].From})
	}
	return c
}

// estimate is what a restore takes that begins with a base backup.
func (s *Subject) estimate(at cnpg.Location, from *catalogue.Judgement) *Estimate {
	line := restoretime.Line(0)
	if at == cnpg.B2 {
		line = s.Line
	}
	restore := restoretime.Restore{Backup: from.Bytes(), Segments: from.Segments, WAL: from.WAL}
	return &Estimate{
		Minutes: restore.Minutes(line), Line: float64(line / restoretime.Mbit),
		Backup: restore.Backup, WAL: restore.WAL, Segments: restore.Segments,
	}
}

// whyNothing says it of the base backup that came closest.
func whyNothing(r *catalogue.Restorable) string {
	for i := len(r.Backups) - 1; i >= 0; i-- {
		if judged := r.Backups[i]; judged.State != catalogue.Failed {
			return "newest base backup " + judged.ID + " " + judged.Why
		}
	}
	if len(r.Backups) > 0 {
		last := r.Backups[len(r.Backups)-1]
		return "newest base backup " + last.ID + " " + last.Why
	}
	return "there is no base backup"
}

// evidence is what the cluster says about a store that cannot be read.
func (s *Subject) evidence(role string, store cnpg.StoreLayout) string {
	if s.Cluster == nil {
		return ""
	}
	if role == "mirror" {
		if message := s.lastMessage(); message != nil {
			if copied := message.folder(s.Layout.ServerName); copied != nil && copied.Mirror.Last != "" {
				return fmt.Sprintf("the job said at %s: restores %s to %s", message.Time, copied.Mirror.First, copied.Mirror.Last)
			}
		}
		return ""
	}
	object := s.Cluster.Stores[store.Name]
	if object == nil {
		return ""
	}
	window, found := object.Status.ServerRecoveryWindow[s.Layout.ServerName]
	if !found || window.FirstRecoverabilityPoint == nil || window.LastSuccessfulBackupTime == nil {
		return ""
	}
	return fmt.Sprintf("the plugin says: recoverable since %s, last base backup %s",
		window.FirstRecoverabilityPoint.UTC().Format(time.RFC3339), window.LastSuccessfulBackupTime.UTC().Format(time.RFC3339))
}

// recovery are the lines of the configuration that begin a new life with the copy
// that goes further.
func (s *Subject) recovery(copies []Copy) string {
	var best *Copy
	for i := range copies {
		if copies[i].Verdict == Restores && (best == nil || copies[i].To.After(*best.To)) {
			best = &copies[i]
		}
	}
	if best == nil {
		return ""
	}
	latest := s.Layout.Generation
	for _, read := range []Read{s.Archive, s.Mirror} {
		for _, name := range read.Folders {
			if generation, ours := s.generationOf(name); ours {
				latest = max(latest, generation)
			}
		}
	}
	var lines strings.Builder
	fmt.Fprintf(&lines, "- name: %s\n  generation: %d\n", s.Name, latest+1)
	if best.Role == "mirror" && s.Archive.Err != nil && !withoutKey(s.Archive.Err) {
		// A restore asks the archive first whether the new folder in it is empty.
		fmt.Fprintf(&lines, "  # archive: %s # if %s does not come back\n", best.Location, s.Layout.Archive.Location)
	}
	fmt.Fprintf(&lines, "  recovery:\n    source: %s\n", best.Location)
	if latest != s.Layout.Generation {
		fmt.Fprintf(&lines, "    generation: %d\n", s.Layout.Generation)
	}
	if best.BackupID != "" {
		fmt.Fprintf(&lines, "    target: { backupID: %s }\n", best.BackupID)
	}
	return lines.String()
}

// generationOf is the generation whose folder has a name.
func (s *Subject) generationOf(name string) (generation int, ours bool) {
	if name == s.Layout.FirstServer {
		return 1, true
	}
	if _, err := fmt.Sscanf(strings.TrimPrefix(name, s.Layout.FirstServer), "-%d", &generation); err != nil || generation < 2 {
		return 0, false
	}
	return generation, name == fmt.Sprintf("%s-%d", s.Layout.FirstServer, generation)
}
