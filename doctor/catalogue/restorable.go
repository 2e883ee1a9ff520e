package catalogue

import (
	"context"
	"fmt"
	"time"
)

// Window is a stretch of time of which every moment can be restored.
type Window struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// State is what is true of a base backup.
type State int

// The states.
const (
	// Complete is a base backup that restores.
	Complete State = iota
	// Pending is one whose last WAL has not arrived and may yet.
	Pending
	// Incomplete is one that does not restore.
	Incomplete
	// Failed is one that barman did not bring to its end.
	Failed
)

// Judgement is what becomes of a recovery from one base backup.
type Judgement struct {
	*Backup
	State State
	// Why says what is missing.
	Why string
	// Last is the segment that the recovery gets to, Segments how many it reads for
	// that, and WAL their size in the store.
	Last     string
	Segments int
	WAL      int64

	way    way
	before string // the segment before Last, "" without one
	next   place  // the first place that is missing
}

// Restorable is what can be restored from a folder.
type Restorable struct {
	// Backups are all base backups, oldest first.
	Backups []Judgement
	// Windows are the moments that can be restored, oldest first; empty when
	// nothing can.
	Windows []Window
	// Newest is the newest base backup that restores, nil without one.
	Newest *Judgement
	// Taken is the one that the plugin begins with unless it is told otherwise, nil
	// without one.
	Taken *Judgement
	// Hole is the segment at which a recovery from the newest base backup ends
	// although there are later ones, "" without.
	Hole string
}

// Options are what the rules need to know beside the folder.
type Options struct {
	// Now is the present.
	Now time.Time
	// WALDelay is for how long a base backup may wait for its last WAL.
	WALDelay time.Duration
	// Other is the folder in the other store, nil when it is not known.
	Other *Folder
	// Copied tells that what is here was copied from there.
	Copied bool
}

// settled is after how long a missing segment counts as a hole: segments are
// archived in parallel, and may arrive in any order.
const settled = 10 * time.Minute

// Judge works out what can be restored from a folder. It asks the source when a
// few segments arrived.
func Judge(ctx context.Context, source Source, f *Folder, options Options) (*Restorable, error) {
	r := &Restorable{}
	for _, backup := range f.Backups {
		r.Backups = append(r.Backups, f.judge(backup, options))
	}
	var runs []run
	for i := range r.Backups {
		judged := &r.Backups[i]
		if judged.LooksDone() && (r.Taken == nil || !judged.Began.Before(r.Taken.Began)) {
			r.Taken = judged
		}
		if judged.State != Complete {
			continue
		}
		r.Newest = judged
		runs = addRun(runs, judged)
	}
	if r.Newest != nil {
		r.Hole = f.hole(r.Newest, options)
	}
	for _, one := range runs {
		window, err := one.window(ctx, source, f)
		if err != nil {
			return nil, err
		}
		r.Windows = addWindow(r.Windows, window)
	}
	return r, nil
}

// judge follows the way of a recovery that begins with a base backup.
func (f *Folder) judge(backup *Backup, options Options) Judgement {
	j := Judgement{Backup: backup, State: Incomplete}
	if !backup.done() {
		j.State, j.Why = Failed, "is "+backup.Status
		return j
	}
	if j.Why = backup.lacks(); j.Why != "" {
		return j
	}
	if j.Why = backup.cut(options.Other.backup(backup.ID)); j.Why != "" {
		return j
	}
	size := backup.size
	firstLine, begin, _ := size.parse(backup.BeginWAL) // parseInfo has tried
	lastLine, end, _ := size.parse(backup.EndWAL)
	var err error
	if j.way, err = f.newest(firstLine); err != nil {
		j.Why = "cannot be followed: " + err.Error()
		return j
	}
	if j.Why = j.way.leaves(firstLine, backup.from); j.Why != "" {
		return j
	}
	if j.Why = j.way.leaves(lastLine, backup.to); j.Why != "" {
		return j
	}
	// The end of a segment is the beginning of the next, which is not needed.
	needed := end
	if backup.to == size.begins(end) && end > begin {
		needed--
	}
	for j.next = begin; ; j.next++ {
		name := size.name(j.way.owner(j.next, size), j.next)
		if !f.has(name, options.Other) {
			// A recovery goes on in an ancestor's file; for the end that is enough.
			if j.next != end || !f.has(backup.EndWAL, options.Other) {
				break
			}
			name = backup.EndWAL
		}
		j.before, j.Last = j.Last, name
		j.Segments, j.WAL = j.Segments+1, j.WAL+f.segments[name].Size
	}
	if j.next > needed {
		j.State = Complete
		return j
	}
	missing := size.name(j.way.owner(j.next, size), j.next)
	j.Why = "lacks WAL " + missing
	if !f.reaches(j.way, size, j.next) && options.Now.Sub(backup.Ended) < options.WALDelay {
		j.State = Pending
	}
	return j
}

// reaches tells whether there is a segment after a place, on the way.
func (f *Folder) reaches(w way, size segmentSize, after place) bool {
	for name := range f.segments {
		if timeline, at, err := size.parse(name); err == nil && at > after && timeline == w.owner(at, size) {
			return true
		}
	}
	return false
}

// hole is the segment that keeps a recovery from later ones that have been there
// for a while.
func (f *Folder) hole(j *Judgement, options Options) string {
	missing := j.size.name(j.way.owner(j.next, j.size), j.next)
	for name, object := range f.segments {
		timeline, at, err := j.size.parse(name)
		if err == nil && at > j.next && timeline == j.way.owner(at, j.size) &&
			options.Now.Sub(object.Arrived) > settled && !options.comes(missing, object.Arrived) {
			return missing
		}
	}
	return ""
}

// comes tells whether a segment arrived in the other folder too late to be copied
// from there with a later one, so that the next copy brings it.
func (o Options) comes(name string, later time.Time) bool {
	if !o.Copied || o.Other == nil {
		return false
	}
	original, found := o.Other.segments[name]
	return found && original.Arrived.After(later.Add(-settled))
}

// run is WAL without a hole, and the base backups to begin with.
type run struct {
	first, last *Judgement
}

// addRun adds a base backup to the run before it, if that gets to it.
func addRun(runs []run, judged *Judgement) []run {
	if len(runs) > 0 {
		before := &runs[len(runs)-1]
		_, begin, _ := judged.size.parse(judged.BeginWAL)
		if before.last.way.last() == judged.way.last() && begin < before.last.next {
			before.last = judged
			return runs
		}
	}
	return append(runs, run{first: judged, last: judged})
}

// window is a run in times. When a segment was finished is not known, only when
// it arrived. So the last moment is the arrival of the last segment but one,
// while the last was being written. When the last one arrived before, it is that:
// it was finished by then.
func (r run) window(ctx context.Context, source Source, f *Folder) (Window, error) {
	w := Window{From: ceil(r.first.Ended), To: r.last.Ended}
	if r.last.before != "" {
		var arrived time.Time
		for _, name := range []string{r.last.before, r.last.Last} {
			at, err := source.Arrived(ctx, f.segments[name].Path)
			if err != nil {
				return Window{}, fmt.Errorf("when %s arrived: %w", name, err)
			}
			if arrived.IsZero() || at.Before(arrived) {
				arrived = at
			}
		}
		if arrived.After(w.To) {
			w.To = arrived
		}
	}
	w.To = w.To.Truncate(time.Second)
	if w.To.Before(w.From) {
		w.To = w.From
	}
	return w, nil
}

// ceil is the first whole second that is not before a time.
func ceil(at time.Time) time.Time {
	if whole := at.Truncate(time.Second); !whole.Equal(at) {
		return whole.Add(time.Second)
	}
	return at
}

// addWindow adds a window after the others, or to the last of them when they
// meet: base backups of different timelines may overlap.
func addWindow(windows []Window, next Window) []Window {
	if len(windows) > 0 {
		if last := &windows[len(windows)-1]; !next.From.After(last.To) {
			if next.To.After(last.To) {
				last.To = next.To
			}
			return windows
		}
	}
	return append(windows, next)
}
