//go:build restore

package restore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/mirror"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
)

// pair is a primary and a standby, and what they held.
type pair struct {
	*world
	// whole is the test that the servers are for: a subtest's would end them.
	whole            *testing.T
	primary, standby *lab.Life
	moments          timeline
	servers          int
}

// newPair starts both. What they store is not compressed: this is about names.
func newPair(t *testing.T) *pair {
	t.Helper()
	w := newWorld(t, cnpg.B2, "")
	for _, options := range []*cnpg.StoreOptions{&w.args.B2, &w.args.MinIO} {
		options.Data.Compression = "none"
	}
	p := &pair{world: w, whole: t, primary: w.begin(t)}
	p.follow(t)
	return p
}

// follow makes a new standby.
func (p *pair) follow(t *testing.T) {
	t.Helper()
	p.servers++
	standby, err := p.primary.Standby(p.whole.Context(), mkdir(t, p.dir, fmt.Sprintf("standby-%d", p.servers)))
	require.NoError(t, err)
	p.whole.Cleanup(standby.Stop)
	p.standby = standby
}

func (p *pair) insert(t *testing.T, rows int) {
	t.Helper()
	require.NoError(t, p.primary.Insert(t.Context(), rows))
	p.moments = append(p.moments, remember(t, p.primary))
}

// failOver lets the primary crash and promotes the standby. What it had not
// received never was.
func (p *pair) failOver(t *testing.T) {
	t.Helper()
	p.primary.Crash()
	p.promote(t)
}

// switchOver ends the primary in an orderly way first.
func (p *pair) switchOver(t *testing.T) {
	t.Helper()
	p.primary.Stop()
	p.promote(t)
}

func (p *pair) promote(t *testing.T) {
	t.Helper()
	require.NoError(t, p.standby.Promote(t.Context()))
	p.primary = p.standby
	now := remember(t, p.primary)
	p.moments = slices.DeleteFunc(p.moments, func(m moment) bool { return m.contents.Rows > now.contents.Rows })
	p.moments = append(p.moments, now)
	p.follow(t)
}

// report is what the job said of the first generation in a store.
func (p *pair) report(t *testing.T, run lab.Run, at *lab.Store) mirror.Copy {
	t.Helper()
	message, err := mirror.Parse(run.Message)
	require.NoError(t, err, run.Output)
	folder, found := message.Folder(cluster)
	require.True(t, found, run.Output)
	if at == p.archive {
		return folder.Archive
	}
	return folder.Mirror
}

// TestFailover has base backups of a standby on which a failover falls. Both
// are good, says PostgreSQL.
func TestFailover(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.insert(t, 3_000)
	require.NoError(t, p.standby.CatchUp(t.Context(), p.primary))

	t.Run("before its last segment was archived", func(t *testing.T) {
		backup, err := p.standby.Backup(t.Context())
		require.NoError(t, err)
		run := p.runMirror(t, 1)
		assert.Contains(t, run.Output, "backup "+backup.ID+" is not complete yet")
		p.failOver(t)
		p.insert(t, 500)
		require.NoError(t, p.primary.Archived(t.Context()))
		p.runMirror(t, 1)
		assert.Equal(t, []string{backup.ID}, ids(p.requireInvariant(t, 1)))
		p.requireRestores(t, p.folder(t, p.mirror, 1), nil, p.moments[len(p.moments)-1])
	})
	t.Run("in the middle", func(t *testing.T) {
		// Without an immediate checkpoint it begins and waits for minutes.
		p.args.B2.Data.ImmediateCheckpoint = false
		written := p.written(t, 1)
		p.args.B2.Data.ImmediateCheckpoint = true
		other := p.standby
		p.follow(t)
		p.insert(t, 20_000)
		require.NoError(t, p.primary.Exec(t.Context(), "checkpoint"))
		require.NoError(t, other.CatchUp(t.Context(), p.primary))
		ended := make(chan error, 1)
		go func() {
			_, err := other.WritingTo(written).Backup(t.Context())
			ended <- err
		}()
		require.Eventually(t, func() bool {
			var running int
			err := other.Query(t.Context(), &running,
				"select count(*) from pg_stat_activity where query ilike '%pg_backup_start%' and pid <> pg_backend_pid() and state = 'active'")
			return err == nil && running == 1
		}, time.Minute, 50*time.Millisecond)
		p.failOver(t)
		require.NoError(t, other.Follow(t.Context(), p.primary))
		p.insert(t, 1_000)
		require.NoError(t, other.CatchUp(t.Context(), p.primary))
		require.NoError(t, other.Exec(t.Context(), "checkpoint"))
		require.NoError(t, <-ended)
		p.insert(t, 1_000)
		require.NoError(t, p.primary.Archived(t.Context()))

		backups, err := p.archive.Backups(t.Context(), prefix(1))
		require.NoError(t, err)
		require.Len(t, backups, 2)
		t.Logf("from %s to %s", backups[1].BeginWAL, backups[1].EndWAL)
		assert.NotEqual(t, backups[1].BeginWAL[:8], backups[1].EndWAL[:8])
		p.runMirror(t, 1)
		assert.Len(t, p.requireInvariant(t, 1), 2)
		p.requireRestores(t, p.folder(t, p.mirror, 1), nil, p.moments[len(p.moments)-1])
	})
}

// statesVariable is how many random states to judge.
const statesVariable = "CNPG_BACKUP_RANDOM_STATES"

// TestMirrorTellsTheTruth lets anything happen to a primary, a standby, the
// archive and the job, and then has PostgreSQL judge what the job says: a random
// moment that it promises comes back, one that it does not promise does not, and
// a recovery ends in the segment that it names.
func TestMirrorTellsTheTruth(t *testing.T) {
	t.Parallel()
	states, err := strconv.Atoi(os.Getenv(statesVariable))
	if err != nil {
		states = 3
	}
	const inAWorld = 5
	for first := 0; first < states; first += inAWorld {
		t.Run(fmt.Sprintf("from state %d", first), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			p := newPair(t)
			p.insert(t, 500)
			for state := first; state < min(first+inAWorld, states); state++ {
				var story []string
				for range 3 + random.IntN(3) {
					story = append(story, p.anything(t, random))
				}
				p.judge(t, random, fmt.Sprintf("state %d: %s", state, strings.Join(story, ", ")))
			}
		})
	}
}

// anything is one thing that happens.
func (p *pair) anything(t *testing.T, random *rand.Rand) string {
	t.Helper()
	switch chance := random.IntN(100); {
	case chance < 30:
		p.insert(t, 100+random.IntN(1_000))
		if random.IntN(3) == 0 {
			return "write"
		}
		require.NoError(t, p.primary.Archived(t.Context()))
		return "write and archive"
	case chance < 45:
		_, err := p.primary.Backup(t.Context())
		require.NoError(t, err)
		p.insert(t, 50)
		return "base backup"
	case chance < 65:
		_, err := p.standby.Backup(t.Context())
		require.NoError(t, err)
		p.insert(t, 50)
		return "base backup of the standby"
	case chance < 75:
		p.failOver(t)
		return "failover"
	case chance < 82:
		p.switchOver(t)
		return "switchover"
	case chance < 88:
		return p.loseWAL(t, random)
	default:
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(6_000))*time.Millisecond)
		defer cancel()
		if run := p.tryMirror(ctx, t, 1); run.Failed == "" {
			return "mirror"
		}
		return "mirror killed"
	}
}

// hasSegment tells whether a store has a complete segment on any timeline.
func (p *pair) hasSegment(t *testing.T, at *lab.Store, segment string) bool {
	t.Helper()
	objects, err := at.List(t.Context(), prefix(1)+"/wals/0")
	require.NoError(t, err)
	return slices.ContainsFunc(objects, func(object lab.Object) bool {
		name, _, _ := strings.Cut(path.Base(object.Key), ".gz")
		return len(name) == 24 && name[8:] == segment
	})
}

// loseWAL removes a WAL object from the archive.
func (p *pair) loseWAL(t *testing.T, random *rand.Rand) string {
	t.Helper()
	objects, err := p.archive.List(t.Context(), prefix(1)+"/wals/0")
	require.NoError(t, err)
	if len(objects) == 0 {
		return "nothing"
	}
	key := objects[random.IntN(len(objects))].Key
	_, err = p.archive.Remove(t.Context(), key)
	require.NoError(t, err)
	return "lost " + key[strings.LastIndex(key, "/")+1:]
}

// judge runs the job to its end and has PostgreSQL restore from one of the
// stores.
func (p *pair) judge(t *testing.T, random *rand.Rand, story string) {
	t.Helper()
	p.insert(t, 50)
	if random.IntN(2) == 0 {
		require.NoError(t, p.primary.SwitchWAL(t.Context()))
	}
	require.NoError(t, p.primary.AwaitArchived(t.Context()))
	run := p.tryMirror(t.Context(), t, 1)
	at := p.mirror
	if random.IntN(3) == 0 {
		at = p.archive
	}
	said := p.report(t, run, at)
	windows, err := said.Windows()
	require.NoError(t, err)
	from := p.folder(t, at, 1)
	told := fmt.Sprintf("%s\n%s\n%s", story, run.Output, from.Store.Name)

	if len(windows) == 0 {
		_, err := p.restore(t, from, nil)
		assert.Error(t, err, "nothing was promised: %s", told)
		t.Logf("%s: nothing restores, as it was said", story)
		return
	}
	life, err := p.restore(t, from, &cnpgv1.RecoveryTarget{BackupID: said.NewestBackup})
	require.NoError(t, err, told)
	segment, atItsBeginning, err := life.RecoveredTo(t.Context())
	require.NoError(t, err)
	life.Stop()
	if promised := said.NewestWAL[8:]; segment != promised {
		// Where the file of the timeline that a recovery is on is missing,
		// PostgreSQL reads an ancestor's and goes on in that for a while:
		// XLogFileReadAnyTLI in src/backend/access/transam/xlogrecovery.c.
		further := atItsBeginning || p.hasSegment(t, at, segment)
		assert.True(t, further && segment > promised, "the recovery ended in %s: %s", segment, told)
	}

	inside, outside := p.divide(windows)
	in, out := "no moment in it", "none outside"
	if len(inside) > 0 {
		m := inside[random.IntN(len(inside))]
		got, err := p.restoreMoment(t, at, from, m)
		require.NoError(t, err, "promised %s: %s", m.time, told)
		assert.Equal(t, m.contents, got, "promised %s: %s", m.time, told)
		in = m.time
	}
	if len(outside) > 0 {
		m := outside[random.IntN(len(outside))]
		got, err := p.restoreMoment(t, at, from, m)
		assert.True(t, err != nil || got != m.contents, "%s was not promised and comes back: %s", m.time, told)
		out = m.time
	}
	t.Logf("%s: %s, %d windows, recovered to %s; inside: %s; outside: %s", story, from.Store.Name, len(windows), segment, in, out)
}

// divide returns the moments that are promised, and those just before a window
// whose contents no promised moment has.
func (p *pair) divide(windows []mirror.Window) (inside, outside timeline) {
	for _, m := range p.moments {
		if slices.ContainsFunc(windows, func(w mirror.Window) bool { return w.Contains(m.at()) }) {
			inside = append(inside, m)
		}
	}
	for _, w := range windows {
		for _, m := range slices.Backward(p.moments) {
			if m.at().Before(w.First.Add(-2 * time.Second)) {
				if inside.indexOf(m.contents) < 0 {
					outside = append(outside, m)
				}
				break
			}
		}
	}
	return inside, outside
}

// at is the moment's time.
func (m moment) at() time.Time {
	at, err := time.Parse(time.RFC3339, m.time)
	if err != nil {
		panic(err)
	}
	return at
}

// restoreMoment restores to a time, from the newest base backup that can. In a
// damaged archive that may not be the one that the plugin would choose.
func (p *pair) restoreMoment(t *testing.T, at *lab.Store, from lab.Folder, m moment) (got lab.Contents, err error) {
	t.Helper()
	backups, err := at.Backups(t.Context(), prefix(1))
	require.NoError(t, err)
	err = errors.New("no base backup is so old")
	for _, backup := range slices.Backward(backups) {
		if backup.Ended.After(m.at()) {
			continue
		}
		target := &cnpgv1.RecoveryTarget{BackupID: backup.ID, TargetTime: m.time}
		var life *lab.Life
		life, err = p.restore(t, from, target)
		if err != nil && strings.Contains(err.Error(), "recovery ended before configured recovery target was reached") {
			// Nothing was committed after it: it is the end of the WAL.
			target.TargetTime = ""
			life, err = p.restore(t, from, target)
		}
		if err != nil {
			continue
		}
		got, err = life.Contents(t.Context())
		life.Stop()
		if err != nil || got == m.contents {
			break
		}
	}
	return got, err
}
