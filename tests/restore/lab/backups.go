package lab

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Backup is a finished base backup as its backup.info describes it.
type Backup struct {
	ID, BeginWAL, EndWAL string
	segmentSize          int64
}

// Backups reads every backup.info of a server name and returns the finished
// backups, oldest first.
func (s *Store) Backups(ctx context.Context, server string) ([]Backup, error) {
	objects, err := s.List(ctx, server+"/base/")
	if err != nil {
		return nil, err
	}
	var backups []Backup
	for _, object := range objects {
		if path.Base(object.Key) != "backup.info" {
			continue
		}
		content, err := s.Read(ctx, object.Key)
		if err != nil {
			return nil, err
		}
		values := map[string]string{}
		for line := range strings.Lines(string(content)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			values[name] = value
		}
		if values["status"] != "DONE" {
			continue
		}
		size, err := strconv.ParseInt(values["xlog_segment_size"], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", object.Key, err)
		}
		backups = append(backups, Backup{
			ID:       path.Base(path.Dir(object.Key)),
			BeginWAL: values["begin_wal"], EndWAL: values["end_wal"], segmentSize: size,
		})
	}
	slices.SortFunc(backups, func(a, b Backup) int { return strings.Compare(a.ID, b.ID) })
	return backups, nil
}

// CheckInvariant wants that every backup.info of a server name has all of its
// data and every WAL segment from begin_wal to end_wal, and that what the
// original has of a backup is there in the same size. It is written anew and
// not after the mirror's script, which it judges.
func (s *Store) CheckInvariant(ctx context.Context, server string, original *Store) ([]Backup, error) {
	backups, err := s.Backups(ctx, server)
	if err != nil {
		return nil, err
	}
	objects, err := s.List(ctx, server+"/")
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	segments := map[string]bool{}
	for _, object := range objects {
		sizes[object.Key] = object.Size
		segments[strings.SplitN(path.Base(object.Key), ".", 2)[0]+partialSuffix(object.Key)] = true
	}
	var problems []error
	for _, backup := range backups {
		problems = append(problems, backup.check(server, sizes, segments))
		if original == nil {
			continue
		}
		expected, err := original.List(ctx, server+"/base/"+backup.ID+"/")
		if err != nil {
			return nil, err
		}
		for _, object := range expected {
			if size, found := sizes[object.Key]; !found || size != object.Size {
				problems = append(problems, fmt.Errorf("%s has %d bytes, the original %d", object.Key, size, object.Size))
			}
		}
	}
	return backups, errors.Join(problems...)
}

// partialSuffix keeps an incomplete segment from passing for a complete one.
func partialSuffix(key string) string {
	if strings.Contains(path.Base(key), ".partial") {
		return ".partial"
	}
	return ""
}

func (b Backup) check(server string, sizes map[string]int64, segments map[string]bool) error {
	data := regexp.MustCompile(`^` + regexp.QuoteMeta(server+"/base/"+b.ID) + `/data\.tar(\.[a-z0-9]+)?$`)
	found := false
	for key, size := range sizes {
		found = found || data.MatchString(key) && size > 0
	}
	if !found {
		return fmt.Errorf("backup %s has no data", b.ID)
	}
	for name, err := range b.segments() {
		if err != nil {
			return err
		}
		if !segments[name] {
			return fmt.Errorf("backup %s lacks WAL %s", b.ID, name)
		}
	}
	return nil
}

// segments are the names from begin_wal to end_wal.
func (b Backup) segments() func(yield func(string, error) bool) {
	return func(yield func(string, error) bool) {
		name := b.BeginWAL
		for range 1 << 16 {
			if !yield(name, nil) || name == b.EndWAL {
				return
			}
			var timeline, log, segment int64
			if _, err := fmt.Sscanf(name, "%08X%08X%08X", &timeline, &log, &segment); err != nil {
				yield("", fmt.Errorf("backup %s: WAL %q: %w", b.ID, name, err))
				return
			}
			if segment++; segment == (1<<32)/b.segmentSize {
				log, segment = log+1, 0
			}
			name = fmt.Sprintf("%08X%08X%08X", timeline, log, segment)
		}
		yield("", fmt.Errorf("backup %s: no end from WAL %s to %s", b.ID, b.BeginWAL, b.EndWAL))
	}
}
