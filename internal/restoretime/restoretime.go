// Package restoretime says how long a restore will take, before one is needed.
package restoretime

import (
	"math"
	"time"
)

// What a restore costs on a node of two cores, whatever the line. How it was
// measured is in docs/figures.md.
const (
	// Start is for what CloudNativePG does beside the restore: pods, volumes, and
	// the promotion.
	Start = 55 * time.Second
	// Segment is for one WAL segment. It is the start of a Python process, so that
	// a segment with little in it costs as much as any.
	Segment = 300 * time.Millisecond
	// Unpack is how many bytes of a base backup, as they are stored, are unpacked
	// and written in a second.
	Unpack = 60e6
)

// Line is how many bits a second come from a store.
type Line float64

// Mbit is a million bits a second.
const Mbit Line = 1e6

// Restore is what has to come from a store.
type Restore struct {
	// Backup is the size of the base backup as it is stored, in bytes.
	Backup int64
	// Segments is the number of WAL segments from the base backup to the moment
	// that is to be restored.
	Segments int
	// WAL is the size of the segments as they are stored, in bytes.
	WAL int64
}

// Time is how long the restore takes until the database is ready. A line of 0
// is one that holds nothing up.
func (r Restore) Time(line Line) time.Duration {
	unpack := time.Duration(float64(r.Backup) / Unpack * float64(time.Second))
	replay := time.Duration(r.Segments) * Segment
	return Start + max(unpack, line.time(r.Backup)) + max(replay, line.time(r.WAL))
}

// Minutes is Time in full minutes, rounded up.
func (r Restore) Minutes(line Line) int {
	return int(math.Ceil(r.Time(line).Minutes()))
}

// time is how long the line takes for a number of bytes.
func (l Line) time(bytes int64) time.Duration {
	if l <= 0 {
		return 0
	}
	return time.Duration(float64(bytes) * 8 / float64(l) * float64(time.Second))
}
