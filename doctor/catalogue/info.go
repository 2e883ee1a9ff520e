package catalogue

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Backup is a base backup as its backup.info describes it, and its data as it was
// listed.
type Backup struct {
	// ID is the name of its folder: when it was begun.
	ID string
	// Status is barman's word: DONE for one that ended well.
	Status string
	// Error is what barman noted about one that failed.
	Error string
	// Began and Ended are when PostgreSQL began and ended it; zero when it did not.
	Began, Ended time.Time
	// BeginWAL and EndWAL are the first and the last segment that it needs.
	BeginWAL, EndWAL string
	// SystemID is the database's own number, another one for each initdb.
	SystemID string
	// Data are the sizes of its objects but backup.info, by their names.
	Data map[string]int64

	from, to    LSN
	size        segmentSize
	tablespaces []string
}

// done tells whether it ended well.
func (b *Backup) done() bool { return b.Status == "DONE" }

// LooksDone tells whether the plugin takes it for a good one: barman-cloud asks
// for a beginning and an end, and for nothing else (isBackupDone in
// https://github.com/cloudnative-pg/barman-cloud/blob/v0.5.1/pkg/catalog/catalog.go).
// barman notes the end before the last data is uploaded.
func (b *Backup) LooksDone() bool { return !b.Began.IsZero() && !b.Ended.IsZero() }

// Bytes is the size of its data in the store.
func (b *Backup) Bytes() int64 {
	var sum int64
	for _, size := range b.Data {
		sum += size
	}
	return sum
}

const usualSegmentSize = 16 << 20

// parseInfo reads a backup.info: a name and a value a line, as barman's
// infofile.py writes them; None is no value.
func parseInfo(id, content string) (*Backup, error) {
	values := map[string]string{}
	for line := range strings.Lines(content) {
		name, value, found := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		if found && value != "None" {
			values[name] = value
		}
	}
	b := &Backup{
		ID: id, Status: values["status"], Error: values["error"], BeginWAL: values["begin_wal"], EndWAL: values["end_wal"],
		SystemID: values["systemid"], size: usualSegmentSize, Data: map[string]int64{},
	}
	if b.Status == "" {
		return nil, errors.New("it has no status")
	}
	if text := values["xlog_segment_size"]; text != "" {
		size, err := strconv.ParseUint(text, 10, 32)
		if err != nil || size == 0 || size&(size-1) != 0 {
			return nil, fmt.Errorf("xlog_segment_size is %q", text)
		}
		b.size = segmentSize(size)
	}
	for _, tablespace := range tablespaceOID.FindAllStringSubmatch(values["tablespaces"], -1) {
		b.tablespaces = append(b.tablespaces, tablespace[1])
	}
	var problems []error
	for name, into := range map[string]*time.Time{"begin_time": &b.Began, "end_time": &b.Ended} {
		problems = append(problems, parseTime(name, values[name], into))
	}
	for name, into := range map[string]*LSN{"begin_xlog": &b.from, "end_xlog": &b.to} {
		if values[name] == "" {
			continue
		}
		position, err := parseLSN(values[name])
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
		*into = position
	}
	if err := errors.Join(problems...); err != nil || !b.done() {
		return b, err
	}
	return b, b.whole()
}

// whole wants of a base backup that ended well what a recovery needs.
func (b *Backup) whole() error {
	if b.Ended.IsZero() {
		return errors.New("it has no end_time")
	}
	_, begin, err := b.size.parse(b.BeginWAL)
	if err != nil {
		return fmt.Errorf("begin_wal: %w", err)
	}
	_, end, err := b.size.parse(b.EndWAL)
	if err != nil {
		return fmt.Errorf("end_wal: %w", err)
	}
	if begin > end {
		return fmt.Errorf("its WAL would begin with %s and end with %s", b.BeginWAL, b.EndWAL)
	}
	return nil
}

// tablespaceOID finds the numbers in [('name', 16385, '/where'), ...].
var tablespaceOID = regexp.MustCompile(`\('(?:[^'\\]|\\.)*', (\d+), `)

func parseTime(name, text string, into *time.Time) error {
	if text == "" {
		return nil
	}
	// Python's str() and isoformat(), and ctime, which is UTC in the sidecar.
	for _, layout := range []string{
		"2006-01-02 15:04:05.999999-07:00", "2006-01-02 15:04:05.999999", time.RFC3339Nano, time.ANSIC,
	} {
		if at, err := time.Parse(layout, text); err == nil {
			*into = at.UTC()
			return nil
		}
	}
	return fmt.Errorf("%s is no time: %q", name, text)
}

// dataName is an object with data: of the database itself or of a tablespace, by
// its number; large ones come in parts, which are numbered from the second on
// (_build_dest_name in barman's cloud.py).
var dataName = regexp.MustCompile(`^(data|[0-9]+)(?:_([0-9]{4,}))?\.tar(\.gz|\.bz2|\.snappy|\.lz4|\.zst)?$`)

// lacks says what of its data is missing, or is "".
func (b *Backup) lacks() string {
	parts := map[string]map[int]bool{}
	for name, size := range b.Data {
		match := dataName.FindStringSubmatch(name)
		if match == nil {
			continue
		}
		if size == 0 {
			return "has an empty " + name
		}
		number, _ := strconv.Atoi(match[2])
		if parts[match[1]] == nil {
			parts[match[1]] = map[int]bool{}
		}
		parts[match[1]][number] = true
	}
	for _, of := range append([]string{"data"}, b.tablespaces...) {
		if len(parts[of]) == 0 {
			return fmt.Sprintf("lacks its data (%s.tar)", of)
		}
		for number := range len(parts[of]) {
			if !parts[of][number] {
				return fmt.Sprintf("lacks part %d of its data (%s.tar)", number, of)
			}
		}
	}
	return ""
}

// cut says what of its data is smaller than in the other copy, or not there. The
// smaller one is taken to be cut off.
func (b *Backup) cut(other *Backup) string {
	if other == nil {
		return ""
	}
	worst := ""
	for name, size := range other.Data {
		here, found := b.Data[name]
		why := ""
		switch {
		case !found:
			why = fmt.Sprintf("lacks %s, which the other copy has", name)
		case here < size:
			why = fmt.Sprintf("has %d bytes of %s, the other copy %d", here, name, size)
		}
		if why != "" && (worst == "" || why < worst) {
			worst = why
		}
	}
	return worst
}
