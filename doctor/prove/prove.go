// Package prove ends a WAL segment and waits until it has arrived in both copies,
// as pgbackrest check does. It is the only part of the doctor that writes.
package prove

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/cluster"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/diagnosis"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/store"
)

// Prover proves one database.
type Prover struct {
	Cluster cluster.Client
	Layout  cnpg.Layout
	// Archive is the folder of the life in use in the archive, Mirror that in the
	// mirror; nil for one that is not asked about.
	Archive, Mirror catalogue.Source
	// Wait is how long it may take until the segment is in each of them, and Every
	// how often one looks.
	Wait, Every time.Duration
	// Tell says what goes on.
	Tell func(format string, arguments ...any)
}

// Run does it. The mirror's is nil when it was not come to.
func (p *Prover) Run(ctx context.Context) (archive, mirror *diagnosis.Proof) {
	// Nothing is written whose arrival cannot be seen.
	if _, err := p.Archive.List(ctx, "wals/no"); err != nil {
		return untried(err), nil
	}
	segment, pod, err := p.switchWAL(ctx)
	if err != nil {
		return untried(err), nil
	}
	p.Tell("pod %s has ended WAL segment %s", pod, segment)
	archive = p.inArchive(ctx, segment)
	if archive.Failed != "" || p.Mirror == nil || p.Layout.MirrorJob == "" {
		return archive, nil
	}
	return archive, p.inMirror(ctx, segment)
}

func untried(err error) *diagnosis.Proof { return &diagnosis.Proof{Untried: store.Said(err)} }

// switchTime is how long a primary may take to end a segment.
const switchTime = time.Minute

func (p *Prover) switchWAL(ctx context.Context) (segment, pod string, err error) {
	ctx, cancel := context.WithTimeout(ctx, switchTime)
	defer cancel()
	return p.Cluster.SwitchWAL(ctx, p.Layout)
}

func (p *Prover) inArchive(ctx context.Context, segment string) *diagnosis.Proof {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, p.Wait)
	defer cancel()
	var last error
	for {
		var there bool
		if there, last = has(ctx, p.Archive, segment); there {
			return p.arrived("archive", segment, began)
		}
		if !p.sleep(ctx) {
			return p.late("archive", segment, last)
		}
	}
}

// inMirror runs the mirror, when the run that goes on does not bring the segment.
func (p *Prover) inMirror(ctx context.Context, segment string) *diagnosis.Proof {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, p.Wait)
	defer cancel()
	var job, awaited string
	for {
		runs, err := p.Cluster.MirrorRuns(ctx, p.Layout)
		// Asked for after the runs: what has ended has copied.
		there, unread := has(ctx, p.Mirror, segment)
		if there {
			return p.arrived("mirror", segment, began)
		}
		if err != nil && ctx.Err() == nil {
			return untried(err)
		}
		going := slices.IndexFunc(runs, func(run cluster.Run) bool { return !run.Ended })
		ours := slices.IndexFunc(runs, func(run cluster.Run) bool { return run.Name == job })
		switch {
		case ctx.Err() != nil:
		case unread != nil && job == "":
			return untried(unread) // nothing is run whose end cannot be seen
		case job != "" && ours < 0, job != "" && runs[ours].Ended && !runs[ours].Failed:
			return missing(segment, "Job "+job+" has ended, and did not bring it", unread)
		case job != "" && runs[ours].Failed:
			return missing(segment, "Job "+job+" failed, and did not bring it", unread)
		case job == "" && going >= 0:
			if awaited != runs[going].Name {
				awaited = runs[going].Name
				p.Tell("waits for Job %s, which runs", awaited)
			}
		case job == "":
			if job, err = p.Cluster.RunMirror(ctx, p.Layout); err != nil {
				return untried(err)
			}
			p.Tell("runs the mirror as Job %s", job)
		}
		if !p.sleep(ctx) {
			return p.late("mirror", segment, unread)
		}
	}
}

func (p *Prover) arrived(at, segment string, began time.Time) *diagnosis.Proof {
	proof := &diagnosis.Proof{Segment: segment, Seconds: int(time.Since(began).Round(time.Second).Seconds())}
	p.Tell("the %s has it after %d s", at, proof.Seconds)
	return proof
}

func (p *Prover) late(at, segment string, last error) *diagnosis.Proof {
	return missing(segment, fmt.Sprintf("it is not in the %s after %s", at, whole(p.Wait)), last)
}

// whole leaves out the seconds of a whole minute.
func whole(d time.Duration) string {
	if text, whole := strings.CutSuffix(d.String(), "m0s"); whole {
		return text + "m"
	}
	return d.String()
}

func missing(segment, why string, last error) *diagnosis.Proof {
	if last != nil {
		why += "; the store said last: " + store.Said(last)
	}
	return &diagnosis.Proof{Segment: segment, Failed: why}
}

// has tells whether a segment is in a folder, in whatever way it is compressed.
func has(ctx context.Context, folder catalogue.Source, segment string) (bool, error) {
	objects, err := folder.List(ctx, path.Join("wals", segment[:16], segment))
	return slices.ContainsFunc(objects, func(o catalogue.Object) bool { return o.Size > 0 && catalogue.Segment(o.Path) == segment }), err
}

// sleep tells whether there is time left.
func (p *Prover) sleep(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(p.Every):
		return true
	}
}
