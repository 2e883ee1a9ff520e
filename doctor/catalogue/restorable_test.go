package catalogue

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"
)

// midnight is when the day of the tests begins; its moments are hours and
// minutes.
var midnight = time.Date(2026, time.November, 24, 0, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // no constant can be a time

func at(clock string) time.Time {
	parsed, err := time.Parse("15:04", clock)
	if err != nil {
		panic(err)
	}
	return midnight.Add(parsed.Sub(time.Date(0, time.January, 1, 0, 0, 0, 0, time.UTC)))
}

// bucket is a folder in memory.
type bucket struct {
	objects  []Object
	contents map[string]string
	// arrived are objects that were copied, and when they arrived first.
	arrived map[string]time.Time
}

func (b *bucket) List(_ context.Context, prefix string) ([]Object, error) {
	return slices.DeleteFunc(slices.Clone(b.objects), func(o Object) bool { return !strings.HasPrefix(o.Path, prefix) }), nil
}

func (b *bucket) Read(_ context.Context, path string) ([]byte, error) {
	content, found := b.contents[path]
	if !found {
		return nil, errors.New("no such key")
	}
	return []byte(content), nil
}

func (b *bucket) Arrived(_ context.Context, path string) (time.Time, error) {
	if at, found := b.arrived[path]; found {
		return at, nil
	}
	for _, object := range b.objects {
		if object.Path == path {
			return object.Arrived, nil
		}
	}
	return time.Time{}, errors.New("no such key")
}

// part is something that lies in a bucket.
type part func(*bucket)

func holding(parts ...part) *bucket {
	b := &bucket{contents: map[string]string{}, arrived: map[string]time.Time{}}
	for _, put := range parts {
		put(b)
	}
	return b
}

func (b *bucket) put(path, content string, size int64, arrived time.Time) {
	b.objects = append(b.objects, Object{Path: path, Size: size, Arrived: arrived})
	b.contents[path] = content
}

func file(path string, size int64) part {
	return func(b *bucket) { b.put(path, "", size, midnight) }
}

// without removes all whose path contains a word.
func without(word string) part { //nolint:unparam // reads like the other parts
	return func(b *bucket) {
		b.objects = slices.DeleteFunc(b.objects, func(o Object) bool { return strings.Contains(o.Path, word) })
	}
}

// base is a base backup that a database of segments of 16 MiB began at a
// position of a segment and ended in another; "1:2" is segment 2 on timeline 1.
func base(id, began, ended, begin, end string, lines ...string) part {
	return func(b *bucket) {
		values := map[string]string{
			"status": "DONE", "systemid": "7576110216432775192", "tablespaces": "None", "xlog_segment_size": "16777216", "error": "None",
			"begin_time": at(began).Format("2006-01-02 15:04:05.000000-07:00"), "end_time": at(ended).Format("2006-01-02 15:04:05.000000-07:00"),
			"begin_wal": segment(begin), "end_wal": segment(end), "begin_xlog": position(begin, "000028"), "end_xlog": position(end, "000100"),
		}
		for _, line := range lines {
			name, value, _ := strings.Cut(line, "=")
			values[name] = value
		}
		var info strings.Builder
		for name, value := range values {
			fmt.Fprintf(&info, "%s=%s\n", name, value)
		}
		b.put("base/"+id+"/backup.info", info.String(), int64(info.Len()), at(ended))
		b.put("base/"+id+"/data.tar.gz", "", 1000, at(ended))
	}
}

func segment(short string) string {
	var timeline uint32
	var number place
	if _, err := fmt.Sscanf(short, "%d:%d", &timeline, &number); err != nil {
		panic(err)
	}
	return segmentSize(usualSegmentSize).name(timeline, number)
}

func position(short, offset string) string {
	var timeline, number int
	if _, err := fmt.Sscanf(short, "%d:%d", &timeline, &number); err != nil {
		panic(err)
	}
	return fmt.Sprintf("0/%X%s", number, offset)
}

// wal is a row of segments. The one with number n arrived at minute n of the hour
// after midnight.
func wal(timeline uint32, first, last place, ending ...string) part {
	return func(b *bucket) {
		for number := first; number <= last; number++ {
			name := segmentSize(usualSegmentSize).name(timeline, number)
			b.put("wals/"+name[:16]+"/"+name+strings.Join(ending, ""), "", 100, midnight.Add(time.Duration(number)*time.Minute))
		}
	}
}

// history is a timeline that branched off another in the middle of a segment.
func history(timeline int, of string) part { //nolint:unparam // reads like wal, which has other timelines
	return func(b *bucket) {
		ancestor, _, _ := strings.Cut(of, ":")
		b.put(fmt.Sprintf("wals/%08X.history", timeline), fmt.Sprintf("%s\t%s\tno recovery target specified\n", ancestor, position(of, "800000")), 50, midnight)
	}
}

func judged(t *testing.T, b, other *bucket, now string, copied bool) *Restorable {
	t.Helper()
	folder, err := Read(t.Context(), b)
	require.NoError(t, err)
	options := Options{Now: at(now), WALDelay: time.Hour, Copied: copied}
	if other != nil {
		options.Other, err = Read(t.Context(), other)
		require.NoError(t, err)
	}
	restorable, err := Judge(t.Context(), b, folder, options)
	require.NoError(t, err)
	return restorable
}

func windows(r *Restorable) string {
	var all []string
	for _, window := range r.Windows {
		all = append(all, window.From.Format("15:04")+"-"+window.To.Format("15:04"))
	}
	return strings.Join(all, " ")
}

// TestJudge has a base backup "a" that was taken from 00:02 to 00:04 and needs
// segments 2 to 4, and "b" from 00:10 to 00:12 that needs 10 to 12.
func TestJudge(t *testing.T) {
	const a, b = "20261124T000200", "20261124T001000"
	first := base(a, "00:02", "00:04", "1:2", "1:4")
	second := base(b, "00:10", "00:12", "1:10", "1:12")
	for _, test := range []struct {
		name   string
		holds  []part
		other  []part
		copied bool
		now    string
		want   string // windows
		why    string // of the newest base backup, when it does not restore
		state  State
		newest string
		taken  string
		hole   string
	}{
		{name: "nothing"},
		{name: "WAL alone", holds: []part{wal(1, 1, 9)}},
		{
			name: "one base backup, and WAL that goes on", holds: []part{first, wal(1, 2, 9)},
			want: "00:04-00:08", newest: a, taken: a,
		},
		{
			name: "no more WAL than it needs", holds: []part{first, wal(1, 2, 4)},
			want: "00:04-00:04", newest: a, taken: a,
		},
		{
			name:  "all of it in one segment, and nothing after it",
			holds: []part{base(a, "00:02", "00:04", "1:2", "1:2"), wal(1, 2, 2)},
			want:  "00:04-00:04", newest: a, taken: a,
		},
		{
			name: "two, and no hole between them", holds: []part{first, second, wal(1, 2, 20)},
			want: "00:04-00:19", newest: b, taken: b,
		},
		{
			name:  "a hole between them",
			holds: []part{first, second, wal(1, 2, 7), wal(1, 9, 20)},
			want:  "00:04-00:06 00:12-00:19", newest: b, taken: b,
		},
		{
			name: "two, and nothing after the newest: the older one leads to its end", holds: []part{first, second, wal(1, 2, 12)},
			want: "00:04-00:12", newest: b, taken: b,
		},
		{
			name:  "a hole after the newest",
			holds: []part{first, wal(1, 2, 6), wal(1, 8, 9)}, now: "01:00",
			want: "00:04-00:05", newest: a, taken: a, hole: segment("1:7"),
		},
		{
			name:  "a hole that may yet be filled: what is archived in parallel arrives in any order",
			holds: []part{first, wal(1, 2, 6), wal(1, 8, 9)}, now: "00:15",
			want: "00:04-00:05", newest: a, taken: a,
		},
		{
			name:  "a hole in a copy, made while that segment was on its way to what is copied",
			holds: []part{first, wal(1, 2, 6), wal(1, 8, 9)}, now: "01:00",
			other: []part{first, wal(1, 2, 9)}, copied: true,
			want: "00:04-00:05", newest: a, taken: a,
		},
		{
			name:  "a hole in a copy that was made when that segment had long been there",
			holds: []part{first, wal(1, 2, 6), wal(1, 18, 19)}, now: "01:00",
			other: []part{first, wal(1, 2, 19)}, copied: true,
			want: "00:04-00:05", newest: a, taken: a, hole: segment("1:7"),
		},
		{
			name:  "a hole in a copy and in what is copied",
			holds: []part{first, wal(1, 2, 6), wal(1, 8, 9)}, now: "01:00",
			other: []part{first, wal(1, 2, 6), wal(1, 8, 9)}, copied: true,
			want: "00:04-00:05", newest: a, taken: a, hole: segment("1:7"),
		},
		{
			name:  "a hole in what is copied",
			holds: []part{first, wal(1, 2, 6), wal(1, 8, 9)}, now: "01:00",
			other: []part{first, wal(1, 2, 9)},
			want:  "00:04-00:05", newest: a, taken: a, hole: segment("1:7"),
		},
		{
			name: "compressed in every way, and one change in the middle",
			holds: []part{
				first, wal(1, 2, 2), wal(1, 3, 3, ".gz"), wal(1, 4, 4, ".bz2"), wal(1, 5, 5, ".xz"),
				wal(1, 6, 6, ".zst"), wal(1, 7, 7, ".lz4"), wal(1, 8, 8, ".snappy"),
			},
			want: "00:04-00:07", newest: a, taken: a,
		},
		{
			name:  "an ending that barman does not know",
			holds: []part{first, wal(1, 2, 3), wal(1, 4, 4, ".rar")}, now: "02:00",
			why: "lacks WAL " + segment("1:4"), state: Incomplete, taken: a,
		},
		{
			name:  "its last segment has not arrived",
			holds: []part{first, wal(1, 2, 3)}, now: "00:30",
			why: "lacks WAL " + segment("1:4"), state: Pending, taken: a,
		},
		{
			name:  "its last segment never arrived",
			holds: []part{first, wal(1, 2, 3)}, now: "02:00",
			why: "lacks WAL " + segment("1:4"), state: Incomplete, taken: a,
		},
		{
			name:  "a segment in its middle is missing, at once",
			holds: []part{first, wal(1, 2, 2), wal(1, 4, 9)}, now: "00:10",
			why: "lacks WAL " + segment("1:3"), state: Incomplete, taken: a,
		},
		{
			name:  "its first segment is missing",
			holds: []part{first, wal(1, 3, 9)}, now: "02:00",
			why: "lacks WAL " + segment("1:2"), state: Incomplete, taken: a,
		},
		{
			name:  "an empty segment",
			holds: []part{first, wal(1, 2, 3), file("wals/0000000100000000/"+segment("1:4"), 0), wal(1, 5, 9)}, now: "02:00",
			why: "lacks WAL " + segment("1:4"), state: Incomplete, taken: a,
		},
		{
			name:  "a segment in a folder of another name",
			holds: []part{first, wal(1, 2, 3), file("wals/0000000100000001/"+segment("1:4"), 9), wal(1, 5, 9)}, now: "02:00",
			why: "lacks WAL " + segment("1:4"), state: Incomplete, taken: a,
		},
		{
			name:  "it ended at the end of a segment, and the next is not needed",
			holds: []part{base(a, "00:02", "00:04", "1:2", "1:4", "end_xlog=0/4000000"), wal(1, 2, 3)}, now: "02:00",
			want: "00:04-00:04", newest: a, taken: a,
		},
		{
			name:  "it would have ended where it began, and has no WAL at all",
			holds: []part{base(a, "00:02", "00:04", "1:4", "1:4", "begin_xlog=0/4000000", "end_xlog=0/4000000")}, now: "02:00",
			why: "lacks WAL " + segment("1:4"), state: Incomplete, taken: a,
		},
		{
			name:  "the newest is incomplete: an older one restores, but the plugin does not know",
			holds: []part{first, second, wal(1, 2, 9)}, now: "02:00",
			want: "00:04-00:08", why: "lacks WAL " + segment("1:10"), state: Incomplete, newest: a, taken: b,
		},
		{
			name:  "the newest failed, and has an end",
			holds: []part{first, base(b, "00:10", "00:12", "1:10", "1:12", "status=FAILED"), wal(1, 2, 20)},
			want:  "00:04-00:19", why: "is FAILED", state: Failed, newest: a, taken: b,
		},
		{
			name:  "the newest failed, and has no end",
			holds: []part{first, base(b, "00:10", "00:12", "1:10", "1:12", "status=FAILED", "end_time=None"), wal(1, 2, 20)},
			want:  "00:04-00:19", why: "is FAILED", state: Failed, newest: a, taken: a,
		},
		{
			name:  "no data",
			holds: []part{first, without("data.tar"), wal(1, 2, 9)},
			why:   "lacks its data (data.tar)", state: Incomplete, taken: a,
		},
		{
			name:  "empty data",
			holds: []part{first, without("data.tar"), file("base/"+a+"/data.tar", 0), wal(1, 2, 9)},
			why:   "has an empty data.tar", state: Incomplete, taken: a,
		},
		{
			name:  "a part of the data is missing",
			holds: []part{first, file("base/"+a+"/data_0002.tar.gz", 9), wal(1, 2, 9)},
			why:   "lacks part 1 of its data (data.tar)", state: Incomplete, taken: a,
		},
		{
			name:  "data in parts",
			holds: []part{first, file("base/"+a+"/data_0001.tar.gz", 9), file("base/"+a+"/data_0002.tar.gz", 9), wal(1, 2, 9)},
			want:  "00:04-00:08", newest: a, taken: a,
		},
		{
			name: "a tablespace is missing",
			holds: []part{
				base(a, "00:02", "00:04", "1:2", "1:4", "tablespaces=[('fast', 16385, '/disks/fast'), ('it\\'s', 16386, '/disks/slow')]"),
				file("base/"+a+"/16385.tar.gz", 9), wal(1, 2, 9),
			},
			why: "lacks its data (16386.tar)", state: Incomplete, taken: a,
		},
		{
			name: "tablespaces",
			holds: []part{
				base(a, "00:02", "00:04", "1:2", "1:4", "tablespaces=[('fast', 16385, '/disks/fast')]"),
				file("base/"+a+"/16385.tar.gz", 9), wal(1, 2, 9),
			},
			want: "00:04-00:08", newest: a, taken: a,
		},
		{
			name:  "data that is smaller than in the other copy",
			holds: []part{first, without("data.tar"), file("base/"+a+"/data.tar.gz", 999), wal(1, 2, 9)},
			other: []part{first, wal(1, 2, 9)},
			why:   "has 999 bytes of data.tar.gz, the other copy 1000", state: Incomplete, taken: a,
		},
		{
			name:  "data that is larger than in the other copy: that one was cut off",
			holds: []part{first, wal(1, 2, 9)},
			other: []part{first, without("data.tar"), file("base/"+a+"/data.tar.gz", 999), wal(1, 2, 9)},
			want:  "00:04-00:08", newest: a, taken: a,
		},
		{
			name:  "a part that only the other copy has",
			holds: []part{first, wal(1, 2, 9)},
			other: []part{first, file("base/"+a+"/data_0001.tar.gz", 9), wal(1, 2, 9)},
			why:   "lacks data_0001.tar.gz, which the other copy has", state: Incomplete, taken: a,
		},
		{
			name:  "a segment that is smaller than in the other copy",
			holds: []part{first, wal(1, 2, 5), file("wals/0000000100000000/"+segment("1:6"), 99), wal(1, 7, 9)}, now: "01:00",
			other: []part{first, wal(1, 2, 9)},
			want:  "00:04-00:04", newest: a, taken: a, hole: segment("1:6"),
		},
		{
			name:  "a failover: the new timeline begins in segment 6, of which the old one has a part",
			holds: []part{first, wal(1, 2, 5), wal(1, 6, 6, ".partial"), history(2, "1:6"), wal(2, 6, 9)},
			want:  "00:04-00:08", newest: a, taken: a,
		},
		{
			name:  "the old primary went on for a while",
			holds: []part{first, wal(1, 2, 8), history(2, "1:6"), wal(2, 6, 9)},
			want:  "00:04-00:08", newest: a, taken: a,
		},
		{
			name:  "the new timeline has archived nothing",
			holds: []part{first, wal(1, 2, 8), history(2, "1:6")},
			want:  "00:04-00:04", newest: a, taken: a,
		},
		{
			name:  "a timeline without a history does not exist",
			holds: []part{first, wal(1, 2, 6), wal(2, 6, 9)},
			want:  "00:04-00:05", newest: a, taken: a,
		},
		{
			name: "histories are followed until one is missing",
			holds: []part{
				first, wal(1, 2, 5), history(2, "1:6"), wal(2, 6, 9), wal(4, 9, 12),
				func(b *bucket) {
					b.put("wals/00000004.history", "1\t0/6800000\tfailover\n2\t0/9800000\tfailover\n", 9, midnight)
				},
			},
			want: "00:04-00:08", newest: a, taken: a,
		},
		{
			name: "three timelines, and a base backup over two of them",
			holds: []part{
				base(a, "00:02", "00:08", "1:2", "2:8"), wal(1, 2, 5), history(2, "1:6"), wal(2, 6, 9),
				func(b *bucket) {
					b.put("wals/00000003.history", "1\t0/6800000\tfailover\n\n2\t0/9800000\tfailover\n", 9, midnight)
				}, wal(3, 9, 12),
			},
			want: "00:08-00:11", newest: a, taken: a,
		},
		{
			name:  "a base backup of the old primary, after the failover",
			holds: []part{base(a, "00:08", "00:09", "1:8", "1:9"), wal(1, 2, 10), history(2, "1:6"), wal(2, 6, 12)}, now: "02:00",
			why: "goes on on timeline 1 after timeline 2 had left it", state: Incomplete, taken: a,
		},
		{
			name:  "a base backup whose end the failover cut off",
			holds: []part{base(a, "00:02", "00:08", "1:2", "1:8"), wal(1, 2, 10), history(2, "1:6"), wal(2, 6, 12)}, now: "02:00",
			why: "goes on on timeline 1 after timeline 2 had left it", state: Incomplete, taken: a,
		},
		{
			name:  "a base backup that began on the old primary after the failover",
			holds: []part{base(a, "00:08", "00:10", "1:8", "2:10"), wal(1, 2, 10), history(2, "1:6"), wal(2, 6, 12)}, now: "02:00",
			why: "goes on on timeline 1 after timeline 2 had left it", state: Incomplete, taken: a,
		},
		{
			name:  "it ended in the segment in which the old primary died, and only that one's is there",
			holds: []part{base(a, "00:02", "00:06", "1:2", "1:6"), wal(1, 2, 6), history(2, "1:6")},
			want:  "00:06-00:06", newest: a, taken: a,
		},
		{
			name: "it ended in that segment, and that one's is cut off",
			holds: []part{
				base(a, "00:02", "00:06", "1:2", "1:6"), wal(1, 2, 5), file("wals/0000000100000000/"+segment("1:6"), 99), history(2, "1:6"),
			},
			other: []part{wal(1, 2, 6)}, now: "02:00",
			why: "lacks WAL " + segment("2:6"), state: Incomplete, taken: a,
		},
		{
			name:  "its last segment has not arrived, and the old primary archived more",
			holds: []part{base(a, "00:10", "00:12", "2:10", "2:12"), wal(1, 2, 20), history(2, "1:6"), wal(2, 6, 11)}, now: "00:30",
			why: "lacks WAL " + segment("2:12"), state: Pending, taken: a,
		},
		{
			name: "a history is missing between two base backups, and with it the way from the one to the other",
			holds: []part{
				base(a, "00:02", "00:04", "2:2", "2:4"), history(2, "1:1"), wal(2, 2, 9),
				base(b, "00:10", "00:12", "4:8", "4:10"), wal(4, 8, 14),
				func(b *bucket) {
					b.put("wals/00000004.history", "1\t0/1800000\tx\n2\t0/7800000\tx\n3\t0/7900000\tx\n", 9, midnight)
				},
			},
			want: "00:04-00:08 00:12-00:13", newest: b, taken: b,
		},
		{
			name: "what two base backups lead to overlaps, and no way goes from the one to the other",
			holds: []part{
				base(a, "00:02", "00:04", "2:2", "2:4"), history(2, "1:1"), wal(2, 2, 9),
				base(b, "00:06", "00:07", "4:8", "4:10"), wal(4, 8, 14),
				func(b *bucket) {
					b.put("wals/00000004.history", "1\t0/1800000\tx\n2\t0/7800000\tx\n3\t0/7900000\tx\n", 9, midnight)
				},
			},
			want: "00:04-00:13", newest: b, taken: b,
		},
		{
			name:  "a base backup that ended on a timeline whose history is lost",
			holds: []part{base(a, "00:02", "00:08", "1:2", "2:8"), wal(1, 2, 6), wal(2, 6, 12)}, now: "02:00",
			why: "is on timeline 2, which is no ancestor of timeline 1", state: Incomplete, taken: a,
		},
		{
			name:  "a standby's that began on the timeline that was left in that segment",
			holds: []part{base(a, "00:02", "00:07", "1:6", "2:7"), wal(1, 6, 6, ".partial"), history(2, "1:6"), wal(2, 6, 9)},
			want:  "00:07-00:08", newest: a, taken: a,
		},
		{
			name:  "a history without sense",
			holds: []part{first, wal(1, 2, 9), func(b *bucket) { b.put("wals/00000002.history", "1\n", 9, midnight) }},
			why:   "cannot be followed: the history of timeline 2 cannot be read", state: Incomplete, taken: a,
		},
		{
			name: "the end of the log, where the numbers begin anew",
			holds: []part{
				base(a, "00:02", "00:04", "1:254", "1:256", "begin_xlog=0/FE000028", "end_xlog=1/100"), wal(1, 254, 260),
			},
			now: "23:00", want: "00:04-04:19", newest: a, taken: a,
		},
		{
			name: "segments of 64 MiB, of which a log has 64",
			holds: []part{
				base(a, "00:02", "00:04", "1:63", "1:63", "xlog_segment_size=67108864", "end_wal=000000010000000100000000",
					"begin_xlog=0/FC000028", "end_xlog=1/100"),
				file("wals/0000000100000000/00000001000000000000003F", 9), file("wals/0000000100000001/000000010000000100000000", 9),
			},
			want: "00:04-00:04", newest: a, taken: a,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.now == "" {
				test.now = "00:20"
			}
			var other *bucket
			if test.other != nil {
				other = holding(test.other...)
			}
			r := judged(t, holding(test.holds...), other, test.now, test.copied)

			assert.Equal(t, test.want, windows(r))
			var newest, taken string
			if r.Newest != nil {
				newest = r.Newest.ID
			}
			if r.Taken != nil {
				taken = r.Taken.ID
			}
			assert.Equal(t, test.newest, newest, "the newest that restores")
			assert.Equal(t, test.taken, taken, "the one that the plugin takes")
			assert.Equal(t, test.hole, r.Hole)
			if len(r.Backups) > 0 {
				last := r.Backups[len(r.Backups)-1]
				assert.Equal(t, test.why, last.Why)
				assert.Equal(t, test.state, last.State)
			}
		})
	}
}

// A target is given in seconds, and none of a window may be too early or too late.
func TestAWindowIsOfWholeSeconds(t *testing.T) {
	for name, test := range map[string]struct {
		ended    string
		segments place
		want     string
	}{
		"it ended within a second":     {"00:04:00.400000", 9, "00:04:01-00:08:00"},
		"it ended on a second":         {"00:04:00.000000", 9, "00:04:00-00:08:00"},
		"nothing came after that time": {"00:04:00.400000", 4, "00:04:01-00:04:01"},
	} {
		t.Run(name, func(t *testing.T) {
			ended := "end_time=2026-11-24 " + test.ended + "+00:00"
			b := holding(base("20261124T000200", "00:02", "00:04", "1:2", "1:4", ended), wal(1, 2, test.segments))
			for i := range b.objects {
				b.objects[i].Arrived = b.objects[i].Arrived.Add(900 * time.Millisecond)
			}
			window := judged(t, b, nil, "00:20", false).Windows[0]
			assert.Equal(t, test.want, window.From.Format("15:04:05.999")+"-"+window.To.Format("15:04:05.999"))
		})
	}
}

func TestARecoveryReadsAllWALFromItsBaseBackupOn(t *testing.T) {
	newest := judged(t, holding(base("20261124T000200", "00:02", "00:04", "1:2", "1:4"), wal(1, 1, 9)), nil, "00:20", false).Newest
	assert.Equal(t, segment("1:9"), newest.Last)
	assert.Equal(t, 8, newest.Segments)
	assert.EqualValues(t, 800, newest.WAL)
}

// TestTheEndOfAWindow is about when segments arrived.
func TestTheEndOfAWindow(t *testing.T) {
	first := base("20261124T000200", "00:02", "00:04", "1:2", "1:4")
	path := func(number string) string { return "wals/0000000100000000/" + segment(number) }
	for _, test := range []struct {
		name    string
		arrived map[string]string
		want    string
	}{
		{"they lie in the store that they arrived in", nil, "00:04-00:08"},
		{"they were copied, hours later", map[string]string{"1:8": "00:06", "1:9": "00:07"}, "00:04-00:06"},
		{"the last one overtook the one before it", map[string]string{"1:8": "00:10", "1:9": "00:09"}, "00:04-00:09"},
		{"they arrived before the base backup ended", map[string]string{"1:8": "00:03", "1:9": "00:03"}, "00:04-00:04"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := holding(first, wal(1, 2, 9))
			for number, clock := range test.arrived {
				b.arrived[path(number)] = at(clock)
			}
			assert.Equal(t, test.want, windows(judged(t, b, nil, "00:20", false)))
		})
	}
}

func TestWhatMakesNoSenseIsNamed(t *testing.T) {
	for _, test := range []struct{ name, content, want string }{
		{"empty", "", "it has no status"},
		{"no end", "status=DONE\nbegin_wal=000000010000000000000002\nend_wal=000000010000000000000002\n", "it has no end_time"},
		{"a time", "status=DONE\nend_time=yesterday\n", `end_time is no time: "yesterday"`},
		{"a segment", "status=DONE\nend_time=2026-11-24 00:00:00+00:00\nbegin_wal=2\n", `begin_wal: "2" is no WAL segment`},
		{"a position", "status=DONE\nend_xlog=12\n", `end_xlog: "12" is no position in the WAL`},
		{"a size", "status=DONE\nxlog_segment_size=3\n", `xlog_segment_size is "3"`},
		{
			"the other way round",
			"status=DONE\nend_time=2026-11-24T00:00:00+00:00\nbegin_wal=000000010000000000000003\nend_wal=000000010000000000000002\n",
			"its WAL would begin with 000000010000000000000003 and end with 000000010000000000000002",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := holding()
			b.put("base/a/backup.info", test.content, 9, midnight)
			folder, err := Read(t.Context(), b)
			require.NoError(t, err)
			assert.Empty(t, folder.Backups)
			assert.Contains(t, folder.Unreadable["base/a/backup.info"], test.want)
		})
	}
}

func TestHistoriesAreReadInEveryCompression(t *testing.T) {
	const content = "1\t0/6800000\tno recovery target specified\n"
	for ending, compress := range map[string]func(*bytes.Buffer) error{
		"":     func(into *bytes.Buffer) error { _, err := into.WriteString(content); return err },
		".gz":  func(into *bytes.Buffer) error { w := gzip.NewWriter(into); return written(w.Write, w.Close, content) },
		".lz4": func(into *bytes.Buffer) error { w := lz4.NewWriter(into); return written(w.Write, w.Close, content) },
		".snappy": func(into *bytes.Buffer) error {
			w := s2.NewWriter(into, s2.WriterSnappyCompat())
			return written(w.Write, w.Close, content)
		},
		".zst": func(into *bytes.Buffer) error {
			w, err := zstd.NewWriter(into)
			return errors.Join(err, written(w.Write, w.Close, content))
		},
		".xz": func(into *bytes.Buffer) error {
			w, err := xz.NewWriter(into)
			return errors.Join(err, written(w.Write, w.Close, content))
		},
		// "1\t0/6800000\tx\n" by bzip2 1.0.8: Go has no writer.
		".bz2": bzipped,
	} {
		t.Run("history"+ending, func(t *testing.T) {
			var compressed bytes.Buffer
			require.NoError(t, compress(&compressed))
			b := holding()
			b.put("wals/00000002.history"+ending, compressed.String(), int64(compressed.Len()), midnight)
			folder, err := Read(t.Context(), b)
			require.NoError(t, err)
			assert.Empty(t, folder.Unreadable)
			assert.Equal(t, way{{1, 0}, {2, 0x6800000}}, folder.ways[2])
		})
	}
}

func written(write func([]byte) (int, error), closed func() error, content string) error { //nolint:unparam // compresses what it is given
	_, err := write([]byte(content))
	return errors.Join(err, closed())
}

func bzipped(into *bytes.Buffer) error {
	content, err := hex.DecodeString("425a6839314159265359c8cdbddf000005588020300000e1400040200021a68c8d08326213b9811137a3f177245385090c8cdbddf0")
	into.Write(content)
	return err
}
