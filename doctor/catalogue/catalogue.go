// Package catalogue reads what barman keeps of one database in one store, and
// works out from it which moments can be restored. It asks no status field: what
// counts is what lies in the bucket.
package catalogue

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"golang.org/x/sync/errgroup"
)

// Object is an object of a store.
type Object struct {
	// Path is where it lies, from the folder that was asked for.
	Path string
	Size int64
	// Arrived is when it was uploaded to this store.
	Arrived time.Time
}

// Source is a folder in a store. All paths are relative to it.
type Source interface {
	// List returns all objects whose path begins like that.
	List(ctx context.Context, prefix string) ([]Object, error)
	// Read returns the content of an object.
	Read(ctx context.Context, path string) ([]byte, error)
	// Arrived is when an object was first uploaded, to this store or to the one
	// that it was copied from.
	Arrived(ctx context.Context, path string) (time.Time, error)
}

// Folder is what lies in barman's folder of one life of a cluster.
type Folder struct {
	// Backups are the base backups that have a backup.info, oldest first.
	Backups []*Backup
	// Unreadable are the backup.info and histories that make no sense, and why.
	Unreadable map[string]string
	// Segments is the number of complete WAL segments, Bytes the size of all.
	Segments int
	Bytes    int64
	// NewestWAL is the segment that arrived last, and NewestArrived when.
	NewestWAL     string
	NewestArrived time.Time

	// segments are the complete WAL segments, by their names.
	segments map[string]Object
	// ways are the histories, by their timelines; nil for one without sense.
	ways map[uint32]way
}

// simultaneous is how many small files are read at once.
const simultaneous = 16

// Read lists a folder and reads its backup.info files and histories. Base backups
// are listed before WAL: what is archived in between is more than they need, not
// less.
func Read(ctx context.Context, source Source) (*Folder, error) {
	base, err := source.List(ctx, "base/")
	if err != nil {
		return nil, err
	}
	wals, err := source.List(ctx, "wals/")
	if err != nil {
		return nil, err
	}
	wanted := map[string][]byte{}
	for _, object := range slices.Concat(base, wals) {
		if strings.HasSuffix(object.Path, "/backup.info") || historyPath.MatchString(object.Path) {
			wanted[object.Path] = nil
		}
	}
	contents := make(chan func(), len(wanted))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(simultaneous)
	for name := range wanted {
		group.Go(func() error {
			content, err := source.Read(ctx, name)
			contents <- func() { wanted[name] = content }
			return err
		})
	}
	err = group.Wait()
	close(contents)
	for keep := range contents {
		keep()
	}
	if err != nil {
		return nil, err
	}
	return newFolder(base, wals, wanted), nil
}

func newFolder(base, wals []Object, contents map[string][]byte) *Folder {
	f := &Folder{Unreadable: map[string]string{}, segments: map[string]Object{}, ways: map[uint32]way{}}
	for _, object := range wals {
		f.Bytes += object.Size
		if segment := Segment(object.Path); segment != "" && object.Size > 0 {
			f.segments[segment] = object
			if object.Arrived.After(f.NewestArrived) || object.Arrived.Equal(f.NewestArrived) && segment > f.NewestWAL {
				f.NewestArrived, f.NewestWAL = object.Arrived, segment
			}
		} else if match := historyPath.FindStringSubmatch(object.Path); match != nil {
			f.addHistory(object.Path, match[1], match[2], contents[object.Path])
		}
	}
	f.Segments = len(f.segments)
	byID := map[string]*Backup{}
	for _, object := range base {
		f.Bytes += object.Size
		id, name := path.Split(strings.TrimPrefix(object.Path, "base/"))
		id = strings.TrimSuffix(id, "/")
		if name != "backup.info" || strings.Contains(id, "/") {
			continue
		}
		backup, err := parseInfo(id, string(contents[object.Path]))
		if err != nil {
			f.Unreadable[object.Path] = err.Error()
			continue
		}
		byID[id] = backup
		f.Backups = append(f.Backups, backup)
	}
	for _, object := range base {
		id, name, _ := strings.Cut(strings.TrimPrefix(object.Path, "base/"), "/")
		if backup := byID[id]; backup != nil && name != "backup.info" {
			backup.Data[name] = object.Size
		}
	}
	slices.SortFunc(f.Backups, func(a, b *Backup) int { return strings.Compare(a.ID, b.ID) })
	return f
}

func (f *Folder) addHistory(file, digits, ending string, content []byte) {
	number, err := strconv.ParseUint(digits, 16, 32)
	var plain []byte
	if err == nil {
		plain, err = decompress(ending, content)
	}
	var read way
	if err == nil {
		read, err = parseHistory(uint32(number), string(plain))
	}
	if err != nil {
		f.Unreadable[file] = err.Error()
	}
	f.ways[uint32(number)] = read
}

// decompress undoes what barman does to WAL, by the ending of the name.
func decompress(ending string, content []byte) ([]byte, error) {
	var plain io.Reader = bytes.NewReader(content)
	var err error
	switch ending {
	case ".gz":
		plain, err = gzip.NewReader(plain)
	case ".bz2":
		plain = bzip2.NewReader(plain)
	case ".xz":
		plain, err = xz.NewReader(plain)
	case ".zst":
		decoder, failed := zstd.NewReader(plain)
		if failed == nil {
			defer decoder.Close()
		}
		plain, err = decoder, failed
	case ".lz4":
		plain = lz4.NewReader(plain)
	case ".snappy":
		plain = s2.NewReader(plain)
	}
	if err != nil {
		return nil, fmt.Errorf("it is not compressed as its ending %s says: %w", ending, err)
	}
	const enough = 1 << 20
	return io.ReadAll(io.LimitReader(plain, enough))
}

// backup returns the base backup of an ID, or nil.
func (f *Folder) backup(id string) *Backup {
	if f == nil {
		return nil
	}
	for _, backup := range f.Backups {
		if backup.ID == id {
			return backup
		}
	}
	return nil
}

// newest is the way that a recovery takes that begins on a timeline: it looks for
// the histories of the next ones, until one is missing (findNewestTimeLine in
// PostgreSQL's src/backend/access/transam/timeline.c).
func (f *Folder) newest(timeline uint32) (way, error) {
	last := timeline
	for {
		if _, found := f.ways[last+1]; !found {
			break
		}
		last++
	}
	read, found := f.ways[last]
	if !found {
		return way{{timeline: timeline}}, nil
	}
	if read == nil {
		return nil, fmt.Errorf("the history of timeline %d cannot be read", last)
	}
	return read, nil
}

// Has tells whether a segment is there.
func (f *Folder) Has(name string) bool { return f.has(name, nil) }

// has tells whether a segment is there, and not smaller than in the other copy.
func (f *Folder) has(name string, other *Folder) bool {
	object, found := f.segments[name]
	if !found || other == nil {
		return found
	}
	copied, found := other.segments[name]
	return !found || copied.Path != object.Path || object.Size >= copied.Size
}
