package catalogue

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// LSN is a position in the WAL of a database.
type LSN uint64

// parseLSN reads two hexadecimal numbers like 0/3000028.
func parseLSN(text string) (LSN, error) {
	high, low, found := strings.Cut(text, "/")
	first, err := strconv.ParseUint(high, 16, 32)
	if !found || err != nil {
		return 0, fmt.Errorf("%q is no position in the WAL", text)
	}
	second, err := strconv.ParseUint(low, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no position in the WAL", text)
	}
	return LSN(first<<32 | second), nil
}

func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint64(l)>>32, uint64(l)&0xFFFFFFFF) }

// place is a segment of the WAL, counted from the beginning of the database,
// whatever timeline it is on.
type place uint64

// segmentSize is the size of a segment in bytes; initdb can set another than 16
// MiB.
type segmentSize uint64

func (s segmentSize) perLog() uint64 { return 1 << 32 / uint64(s) }

// at is the place of a position.
func (s segmentSize) at(position LSN) place { return place(uint64(position) / uint64(s)) }

// begins is the position at which a place begins.
func (s segmentSize) begins(at place) LSN { return LSN(uint64(at) * uint64(s)) }

// name is PostgreSQL's name of a segment: timeline, log and number in the log, 8
// hexadecimal digits each.
func (s segmentSize) name(timeline uint32, at place) string {
	return fmt.Sprintf("%08X%08X%08X", timeline, uint64(at)/s.perLog(), uint64(at)%s.perLog())
}

// parse reads the name of a segment.
func (s segmentSize) parse(name string) (timeline uint32, at place, err error) {
	var part [3]uint64
	if len(name) != 24 {
		return 0, 0, fmt.Errorf("%q is no WAL segment", name)
	}
	for i := range part {
		if part[i], err = strconv.ParseUint(name[8*i:8*i+8], 16, 32); err != nil {
			return 0, 0, fmt.Errorf("%q is no WAL segment", name)
		}
	}
	if part[2] >= s.perLog() {
		return 0, 0, fmt.Errorf("%q is no WAL segment of a database whose segments have %d bytes", name, uint64(s))
	}
	return uint32(part[0]), place(part[1]*s.perLog() + part[2]), nil //nolint:gosec // ParseUint has held it to 32 bits
}

// Where barman keeps WAL below a server's folder: a segment, compressed or not,
// in a folder that is called like its first 16 digits, and histories beside
// those folders. What else begins like a segment is no complete one: .partial and
// .backup.
var (
	segmentPath = regexp.MustCompile(`^wals/([0-9A-F]{16})/([0-9A-F]{24})(\.gz|\.bz2|\.xz|\.zst|\.lz4|\.snappy)?$`)
	historyPath = regexp.MustCompile(`^wals/([0-9A-F]{8})\.history(\.gz|\.bz2|\.xz|\.zst|\.lz4|\.snappy)?$`)
)

// Segment is the name of the complete segment that lies at a path, "" for all else.
func Segment(path string) string {
	match := segmentPath.FindStringSubmatch(path)
	if match == nil || match[2][:16] != match[1] {
		return ""
	}
	return match[2]
}

// leg is the part of a way that is on one timeline.
type leg struct {
	timeline uint32
	// begins is where the timeline branched off the one before it.
	begins LSN
}

// way is what a recovery follows: a timeline and its ancestors, oldest first.
type way []leg

// last is the timeline that the way leads to.
func (w way) last() uint32 { return w[len(w)-1].timeline }

// owner is the timeline whose file a recovery reads for a place: the newest one
// that had begun by then, XLogFileReadAnyTLI in PostgreSQL's
// src/backend/access/transam/xlogrecovery.c.
func (w way) owner(at place, size segmentSize) uint32 {
	for i := len(w) - 1; i > 0; i-- {
		if size.at(w[i].begins) <= at {
			return w[i].timeline
		}
	}
	return w[0].timeline
}

// leaves says why a position on a timeline is not on the way, or is "".
func (w way) leaves(timeline uint32, position LSN) string {
	for i, leg := range w {
		if leg.timeline != timeline {
			continue
		}
		if i == len(w)-1 || position <= w[i+1].begins {
			return ""
		}
		return fmt.Sprintf("goes on on timeline %d after timeline %d had left it", timeline, w[i+1].timeline)
	}
	return fmt.Sprintf("is on timeline %d, which is no ancestor of timeline %d", timeline, w.last())
}

// parseHistory reads a timeline's history: lines of an ancestor, the position at
// which it was left, and a reason.
func parseHistory(timeline uint32, content string) (way, error) {
	var legs way
	begins := LSN(0)
	for line := range strings.Lines(content) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) < 2 {
			return nil, fmt.Errorf("a line of a history has an ancestor and a position, not %q", strings.TrimSpace(line))
		}
		ancestor, err := strconv.ParseUint(fields[0], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%q is no timeline", fields[0])
		}
		left, err := parseLSN(fields[1])
		if err != nil {
			return nil, err
		}
		if ancestor >= uint64(timeline) || len(legs) > 0 && ancestor <= uint64(legs.last()) {
			return nil, fmt.Errorf("timeline %d cannot follow %d in the history of %d", ancestor, legs.last(), timeline)
		}
		legs = append(legs, leg{uint32(ancestor), begins})
		begins = left
	}
	if len(legs) == 0 {
		return nil, fmt.Errorf("the history of timeline %d names no ancestor", timeline)
	}
	return append(legs, leg{timeline, begins}), nil
}
