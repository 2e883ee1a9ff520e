//go:build restore

package restore_test

import (
	"context"
	"encoding/json"
	"errors"
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
	for store, have := range map[*s3server.Store]int{w.archive: segments, w.mirror: segments - copied} {
		require.NoError(t, writeSegments(t.Context(), store, folder, have))
	}
	now := time.Now().UTC()
	for i := range 10 {
		number := segments - 100 - 9_000*i
		require.NoError(t, writeBackup(t.Context(), w.archive, folder, now.AddDate(0, 0, -3*i), number, number+50))
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
		assert.Equal(t, segmentName(segments), said.NewestWAL)
		assert.Positive(t, run.Peak)
		assert.Less(t, run.Peak, int64(limit))
	}

	before, began := requests(), time.Now()
	verdicts := w.askDoctor(t)
	t.Logf("the doctor took %.1f s and %d requests", time.Since(began).Seconds(), requests()-before)
	for _, verdict := range verdicts {
		assert.Equal(t, "RESTORES", verdict.Verdict, verdict.Reason)
		assert.Equal(t, segmentName(segments), verdict.WAL)
		assert.Empty(t, verdict.Gaps)
	}
}

// segmentName is the name of a segment of the first timeline, counted from the
// beginning.
func segmentName(number int) string { return fmt.Sprintf("%08X%08X%08X", 1, number/256, number%256) }

// writeSegments puts the first so many segments into a folder, with nothing in them.
func writeSegments(ctx context.Context, store *s3server.Store, folder string, segments int) error {
	object := func(number int) string {
		name := segmentName(number)
		return folder + "/wals/" + name[:16] + "/" + name + ".gz"
	}
	if err := store.Write(ctx, object(1), []byte("tiny")); err != nil {
		return err
	}
	var others []string
	for number := 2; number <= segments; number++ {
		others = append(others, object(number))
	}
	return store.Multiply(ctx, object(1), others)
}

// writeBackup puts a base backup into a folder that has all that it needs, with
// nothing in it.
func writeBackup(ctx context.Context, store *s3server.Store, folder string, ended time.Time, first, last int) error {
	base := folder + "/base/" + ended.Format("20060102T150405")
	return errors.Join(
		store.Write(ctx, base+"/data.tar.gz", []byte("tiny")),
		store.Write(ctx, base+"/backup.info", fmt.Appendf(nil, `begin_time=%[1]s
begin_wal=%[2]s
begin_xlog=%[3]X/%[4]X
end_time=%[1]s
end_wal=%[5]s
end_xlog=%[6]X/%[7]X
status=DONE
xlog_segment_size=16777216
`, ended.Format("2006-01-02 15:04:05.000000-07:00"), segmentName(first), first/256, first%256<<24+40,
			segmentName(last), last/256, last%256<<24+80)))
}

// TestTenDatabases asks about ten databases of a usual size, a segment every five
// minutes for two weeks, with a store that is far away.
func TestTenDatabases(t *testing.T) {
	t.Parallel()
	const databases, segments, backups = 10, 4_000, 5
	w := newWorld(t, cnpg.B2, "")
	now := time.Now().UTC()
	var entries []any
	for i := range databases {
		name := fmt.Sprintf("db-%d", i)
		cluster := name + "-postgresql"
		folder := namespace + "/" + cluster + "/" + cluster
		entries = append(entries, map[string]any{
			"name": name, "namespace": namespace,
			"spec": map[string]any{"imageName": "ghcr.io/cloudnative-pg/postgresql:15.18", "storage": map[string]any{"size": "1Gi"}},
		})
		for _, store := range []*s3server.Store{w.archive, w.mirror} {
			require.NoError(t, writeSegments(t.Context(), store, folder, segments))
			for week := range backups {
				number := segments - 100 - 700*week
				require.NoError(t, writeBackup(t.Context(), store, folder, now.AddDate(0, 0, -7*week), number, number+1))
			}
		}
	}
	stack := w.stack(nil)
	stack["cnpg-backup:databases"] = entries
	far, err := w.b2.Delay(t.Context(), 100*time.Millisecond)
	require.NoError(t, err)
	defer far.Close()
	stack["cnpg-backup:b2"] = map[string]any{"bucket": w.b2.Bucket, "region": "us-west-002", "endpoint": far.Endpoint}

	began := time.Now()
	printed := w.runDoctor(t, stack, "-o", "json", "-timeout", "5m")
	took := time.Since(began)
	var report struct {
		Databases []struct{ Copies []verdict }
		Calls     map[string]struct{ ClassB, ClassC int }
	}
	require.NoError(t, json.Unmarshal(printed, &report), "%s", printed)
	require.Len(t, report.Databases, databases)
	for _, database := range report.Databases {
		require.Len(t, database.Copies, 2)
		for _, verdict := range database.Copies {
			assert.Equal(t, "RESTORES", verdict.Verdict, verdict.Reason)
			assert.Equal(t, segmentName(segments), verdict.WAL)
		}
	}
	calls := report.Calls["b2"]
	t.Logf("the doctor took %.1f s, with %d lists of B2 and %d reads", took.Seconds(), calls.ClassC, calls.ClassB)
	// What docs/operate.md says a run costs.
	assert.LessOrEqual(t, calls.ClassC, databases*(4+segments/700))
	assert.LessOrEqual(t, calls.ClassB, databases*(backups+2))
}
