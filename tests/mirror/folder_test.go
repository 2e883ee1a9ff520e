package mirror_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// folder is one server name in a store that is a directory.
type folder string

func (f folder) write(t *testing.T, path, content string, at time.Time) {
	t.Helper()
	name := filepath.Join(string(f), path)
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	require.NoError(t, os.Chtimes(name, at, at))
}

func (f folder) remove(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(filepath.Join(string(f), path)))
}

func (f folder) has(path string) bool {
	_, err := os.Stat(filepath.Join(string(f), path))
	return err == nil
}

// objects are all files below, with their content.
func (f folder) objects(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, filepath.WalkDir(string(f), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		found[strings.TrimPrefix(path, string(f)+"/")] = string(content)
		return err
	}))
	return found
}

// segmentPath is where barman puts a segment of 16 MB.
func segmentPath(timeline, number int) string {
	log := fmt.Sprintf("%08X%08X", timeline, number/256)
	return fmt.Sprintf("wals/%s/%s%08X", log, log, number%256)
}

func segmentName(timeline, number int) string { return filepath.Base(segmentPath(timeline, number)) }

// wal writes segments that arrived at a pace of one a minute, the last of them
// at a time.
func (f folder) wal(t *testing.T, timeline, from, to int, last time.Time) {
	t.Helper()
	for number := from; number <= to; number++ {
		f.write(t, segmentPath(timeline, number)+".gz", segmentName(timeline, number), last.Add(time.Duration(number-to)*time.Minute))
	}
}

// promote writes the history of timeline 2, which began within a segment of the
// one before it.
func (f folder) promote(t *testing.T, segment int) {
	t.Helper()
	f.write(t, "wals/00000002.history", fmt.Sprintf("1\t0/%X\tno recovery target specified\n", segment<<24+100), time.Now())
}

// backup is a base backup that needs WAL from one segment to another.
type backup struct {
	ended                              time.Time
	fromTimeline, from, toTimeline, to int
	status                             string
}

func (b backup) id() string { return b.ended.Add(-time.Minute).UTC().Format("20060102T150405") }

// take writes a base backup, its backup.info last.
func (f folder) take(t *testing.T, b backup) string {
	t.Helper()
	if b.status == "" {
		b.status = "DONE"
	}
	f.write(t, "base/"+b.id()+"/data.tar.gz", "all of the data of "+b.id(), b.ended)
	f.write(t, "base/"+b.id()+"/backup.info", fmt.Sprintf(`backup_label=None
begin_wal=%s
begin_xlog=0/%X
end_time=%s
end_wal=%s
end_xlog=0/%X
status=%s
xlog_segment_size=16777216
`, segmentName(b.fromTimeline, b.from), b.from<<24+40, b.ended.UTC().Format("2006-01-02 15:04:05.000000-07:00"),
		segmentName(b.toTimeline, b.to), b.to<<24+80, b.status), b.ended)
	return b.id()
}
