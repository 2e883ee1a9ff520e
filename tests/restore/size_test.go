//go:build restore

package restore_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// TestAHundredThousandSegments gives the job an archive of half a year, a segment
// every three minutes, most of which the mirror has, and the memory that its
// container may use.
func TestAHundredThousandSegments(t *testing.T) {
	t.Parallel()
	const segments, copied, limit = 100_000, 1_000, 512 << 20
	w := newWorld(t, cnpg.B2, "")
	folder := prefix(1)
	name := func(number int) string { return fmt.Sprintf("%08X%08X%08X", 1, number/256, number%256) }
	segment := func(number int) string { return folder + "/wals/" + name(number)[:16] + "/" + name(number) + ".gz" }
	var names []string
	for number := 2; number <= segments; number++ {
		names = append(names, segment(number))
	}
	for store, have := range map[*s3server.Store][]string{w.archive: names, w.mirror: names[:len(names)-copied]} {
		require.NoError(t, store.Write(t.Context(), segment(1), []byte("tiny")))
		require.NoError(t, store.Multiply(t.Context(), segment(1), have))
	}
	now := time.Now().UTC()
	for i := range 10 {
		ended, number := now.AddDate(0, 0, -3*i), segments-100-9_000*i
		base := folder + "/base/" + ended.Format("20060102T150405")
		require.NoError(t, w.archive.Write(t.Context(), base+"/data.tar.gz", []byte("tiny")))
		require.NoError(t, w.archive.Write(t.Context(), base+"/backup.info", fmt.Appendf(nil, `begin_wal=%s
begin_xlog=%X/%X
end_time=%s
end_wal=%s
end_xlog=%X/%X
status=DONE
xlog_segment_size=16777216
`, name(number), number/256, number%256<<24+40, ended.Format("2006-01-02 15:04:05.000000-07:00"),
			name(number+50), (number+50)/256, (number+50)%256<<24+80)))
	}

	requests := func() int {
		archive, err := w.archive.Requests(t.Context())
		require.NoError(t, err)
		mirror, err := w.mirror.Requests(t.Context())
		require.NoError(t, err)
		return archive + mirror
	}
	for _, want := range []int{copied, 0} {
		before := requests()
		run := w.runMirror(t, 1)
		t.Logf("%d of %d segments copied in %.1f s with %d requests; the largest process had %d MiB",
			want, segments, run.Took.Seconds(), requests()-before, run.Peak>>20)
		said := w.said(t, run, w.mirror)
		assert.Equal(t, want, said.NewWAL)
		assert.Equal(t, 10, said.Backups)
		assert.Equal(t, name(segments), said.NewestWAL)
		assert.Positive(t, run.Peak)
		assert.Less(t, run.Peak, int64(limit))
	}

	before, began := requests(), time.Now()
	verdicts := w.askDoctor(t)
	t.Logf("the doctor took %.1f s and %d requests", time.Since(began).Seconds(), requests()-before)
	for _, verdict := range verdicts {
		assert.Equal(t, "RESTORES", verdict.Verdict, verdict.Reason)
		assert.Equal(t, name(segments), verdict.WAL)
		assert.Empty(t, verdict.Gaps)
	}
}
