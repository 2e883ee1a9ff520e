//go:build restore

package restore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/mirror"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// pair is a primary and a standby, and what they held.
type pair struct {
	*world
	// whole is the test that the servers are for: a subtest's would end them.
	whole            *testing.T
	primary, standby *lab.Life
	// moments are those of the line that the primary is on, ever all of them.
	moments, ever timeline
	servers       int
	// undo brings back what was damaged last.
	undo func() error
}

// newPair starts both. Base backups are not compressed, and no file is fetched
// ahead: this is about names. WAL, and with it histories, is compressed with the
// default. The servers do not differ in that: barman 3.20.1 cannot restore a segment
// that lies there whole and as .partial in two codecs (docs/decisions/codecs.md).
func newPair(t *testing.T) *pair {
	t.Helper()
	w := newWorld(t, cnpg.B2, "")
	w.storesAsItIs()
	w.args.B2.WAL.MaxParallel, w.args.MinIO.WAL.MaxParallel = 1, 1
	w.args.B2.WAL.Compression, w.args.MinIO.WAL.Compression = "zstd", "zstd"
	p := &pair{world: w, whole: t, primary: w.begin(t)}
	p.follow(t)
	return p
}

// follow makes a new standby.
func (p *pair) follow(t *testing.T) {
	t.Helper()
	p.servers++
	standby, err := p.primary.Standby(p.whole.Context(), mkdir(t, p.dir, fmt.Sprintf("standby-%d", p.servers)), p.written(t, 1))
	require.NoError(t, err)
	p.whole.Cleanup(standby.Stop)
	p.standby = standby
}

func (p *pair) insert(t *testing.T, rows int) {
	t.Helper()
	since, err := p.primary.Segment(t.Context())
	require.NoError(t, err)
	require.NoError(t, p.primary.Insert(t.Context(), rows))
	m := remember(t, p.primary)
	m.since = since
	waiting, err := p.primary.WaitingWAL(t.Context())
	require.NoError(t, err)
	m.behind = waiting > 0
	p.moments, p.ever = append(p.moments, m), append(p.ever, m)
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
	p.takeOver(t)
	p.follow(t)
}

// takeOver leaves the new primary without a standby.
func (p *pair) takeOver(t *testing.T) {
	t.Helper()
	require.NoError(t, p.standby.Promote(t.Context()))
	p.primary = p.standby
	now := remember(t, p.primary)
	p.moments = slices.DeleteFunc(p.moments, func(m moment) bool { return m.contents.Rows > now.contents.Rows })
	p.moments, p.ever = append(p.moments, now), append(p.ever, now)
}

// TestFailover has base backups of a standby on which a failover falls. Both
// are good, says PostgreSQL.
func TestFailover(t *testing.T) {
	t.Parallel()
	t.Run("before its last segment was archived", func(t *testing.T) {
		p := newPair(t)
		p.insert(t, 3_000)
		require.NoError(t, p.standby.CatchUp(t.Context(), p.primary))
		id := backUp(t, p.standby)
		run := p.runMirror(t, 1)
		assert.Contains(t, run.Output, "backup "+id+" is not complete yet")
		p.failOver(t)
		p.insert(t, 500)
		require.NoError(t, p.primary.Archived(t.Context()))
		p.runMirror(t, 1)
		assert.Equal(t, []string{id}, ids(p.requireInvariant(t, 1)))
		p.requireRestores(t, p.folder(t, p.mirror, 1), nil, p.moments[len(p.moments)-1])
	})
	t.Run("in the middle", func(t *testing.T) {
		for range 3 {
			if failOverInABackup(t) {
				return
			}
		}
		assert.Fail(t, "no backup began on one timeline and ended on the next")
	})
}

// failOverInABackup says whether the backup began before the failover: when the new
// primary's checkpoint comes first, the backup begins with that.
func failOverInABackup(t *testing.T) bool {
	t.Helper()
	p := newPair(t)
	p.insert(t, 3_000)
	require.NoError(t, p.standby.CatchUp(t.Context(), p.primary))
	written := p.writtenSlowly(t)
	other := p.standby
	p.follow(t)
	p.insert(t, 20_000)
	require.NoError(t, p.primary.Exec(t.Context(), "checkpoint"))
	require.NoError(t, other.CatchUp(t.Context(), p.primary))
	ended := beginBackup(t, other, written)
	p.failOver(t)
	require.NoError(t, other.Follow(t.Context(), p.primary))
	p.insert(t, 1_000)
	require.NoError(t, other.CatchUp(t.Context(), p.primary))
	require.NoError(t, other.Exec(t.Context(), "checkpoint"))
	require.NoError(t, <-ended)
	p.insert(t, 1_000)
	require.NoError(t, p.primary.Archived(t.Context()))

	backups := backupsIn(t, p.archive)
	require.Len(t, backups, 1)
	t.Logf("from %s to %s", backups[0].BeginWAL, backups[0].EndWAL)
	p.runMirror(t, 1)
	assert.Len(t, p.requireInvariant(t, 1), 1)
	p.requireRestores(t, p.folder(t, p.mirror, 1), nil, p.moments[len(p.moments)-1])
	return backups[0].BeginWAL[:8] != backups[0].EndWAL[:8]
}

// TestRecoveryStrays shows why the job promises less than PostgreSQL restores
// after some failovers: what it restores beyond is what the dead primary wrote
// and the new one never had.
func TestRecoveryStrays(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	backUp(t, p.primary)
	p.insert(t, 500)
	require.NoError(t, p.primary.Archived(t.Context()))
	require.NoError(t, p.standby.CatchUp(t.Context(), p.primary))
	require.NoError(t, p.standby.CutOff(t.Context()))
	p.insert(t, 100)
	dead := p.moments[len(p.moments)-1]
	require.NoError(t, p.primary.Archived(t.Context()))
	p.primary.Crash()
	p.takeOver(t)
	live := p.moments[len(p.moments)-1]
	require.Less(t, live.contents.Rows, dead.contents.Rows)
	require.NoError(t, p.primary.AwaitArchived(t.Context()), "the history of timeline 2")

	restore := func(t *testing.T, at *s3server.Store) (lab.Contents, []lab.Asked) {
		life, err := p.restore(t, p.folder(t, at, 1), nil)
		require.NoError(t, err)
		defer life.Stop()
		got := contentsOf(t, life)
		t.Logf("%s: %v", at, life.Asked())
		return got, life.Asked()
	}
	t.Run("nothing of the new timeline is archived", func(t *testing.T) {
		run := p.runMirror(t, 1)
		got, asked := restore(t, p.archive)
		assert.Equal(t, dead.contents, got)
		last, strayed := followed(asked)
		require.NotEmpty(t, strayed)
		assert.Contains(t, asked, lab.Asked{Name: "00000002" + strayed[8:]}, "the file that is missing")
		assert.Equal(t, last, p.said(t, run, p.archive).NewestWAL)
		assert.Less(t, last[8:], strayed[8:])

		_, asked = restore(t, p.mirror)
		last, strayed = followed(asked)
		assert.Empty(t, strayed, "the mirror does not know of the new timeline yet")
		assert.Equal(t, last, p.said(t, run, p.mirror).NewestWAL)
	})
	t.Run("its first segment is", func(t *testing.T) {
		p.insert(t, 100)
		require.NoError(t, p.primary.Archived(t.Context()))
		run := p.runMirror(t, 1)
		for _, at := range []*s3server.Store{p.archive, p.mirror} {
			got, asked := restore(t, at)
			assert.Equal(t, p.moments[len(p.moments)-1].contents, got)
			last, strayed := followed(asked)
			assert.Empty(t, strayed)
			assert.Equal(t, last, p.said(t, run, at).NewestWAL)
		}
	})
}

// statesVariable is how many random states to judge, and seedVariable how what
// happens is drawn, to see a story again.
const (
	statesVariable = "CNPG_BACKUP_RANDOM_STATES"
	seedVariable   = "CNPG_BACKUP_RANDOM_SEED"
)

// numberIn is the number in a variable of the environment.
func numberIn(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	given := os.Getenv(variable)
	if given == "" {
		return otherwise
	}
	number, err := strconv.Atoi(given)
	require.NoError(t, err, variable)
	return number
}

// randomSeed logs the seed that it returns.
func randomSeed(t *testing.T) uint64 {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv(seedVariable), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("%s=%d", seedVariable, seed)
	return seed
}

// TestMirrorTellsTheTruth lets anything happen to a primary, a standby, the
// archive and the job, and then has PostgreSQL judge what the job says: a random
// moment that it promises comes back, one just outside does not, and a recovery
// follows its timeline to the segment that it names.
func TestMirrorTellsTheTruth(t *testing.T) {
	t.Parallel()
	states := numberIn(t, statesVariable, 3)
	const inAWorld = 5
	for first := 0; first < states; first += inAWorld {
		t.Run(fmt.Sprintf("from state %d", first), func(t *testing.T) {
			t.Parallel()
			seed := randomSeed(t)
			random := rand.New(rand.NewPCG(seed, 0))
			p := newPair(t)
			p.insert(t, 500)
			for state := first; state < min(first+inAWorld, states); state++ {
				var story []string
				for range 3 + random.IntN(3) {
					story = append(story, p.anything(t, random))
				}
				p.judge(t, random, fmt.Sprintf("state %d of seed %d: %s", state, seed, strings.Join(story, ", ")))
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
		backUp(t, p.primary)
		p.insert(t, 50)
		return "base backup"
	case chance < 65:
		backUp(t, p.standby)
		p.insert(t, 50)
		return "base backup of the standby"
	case chance < 75:
		p.failOver(t)
		return "failover"
	case chance < 82:
		p.switchOver(t)
		return "switchover"
	case chance < 86:
		require.NoError(t, p.standby.CutOff(t.Context()))
		return "standby cut off"
	case chance < 91:
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
	said := p.said(t, run, at)
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
	segment := p.judgeEnd(t, at, said, told)

	inside, outside := p.divide(windows, said.NewestWAL)
	in, out := "no moment in it", "none outside"
	if len(inside) > 0 {
		m := inside[random.IntN(len(inside))]
		got, err := p.restoreMoment(t, at, m)
		require.NoError(t, err, "promised %s: %s", m.time, told)
		assert.Equal(t, m.contents, got, "promised %s: %s", m.time, told)
		in = m.time
	}
	if len(outside) > 0 {
		m := outside[random.IntN(len(outside))]
		got, err := p.restoreFromAny(t, random, at, m)
		assert.True(t, err != nil || got != m.contents, "%s was not promised and comes back: %s", m.time, told)
		out = m.time
	}
	t.Logf("%s: %s, %d windows, recovered to %s; inside: %s; outside: %s", story, from.Store.Name, len(windows), segment, in, out)
}

// judgeEnd restores the newest base backup and all that follows it, and returns
// the last segment that the recovery was given of its timeline.
func (p *pair) judgeEnd(t *testing.T, at *s3server.Store, said mirror.Copy, told string) string {
	t.Helper()
	life, throwAway, err := p.restoreByHand(t, at, 1, &cnpgv1.RecoveryTarget{BackupID: said.NewestBackup})
	require.NoError(t, err, told)
	defer throwAway()
	asked := life.Asked()
	told = fmt.Sprintf("PostgreSQL asked for %v: %s", asked, told)
	last, strayed := followed(asked)
	if strayed != "" {
		t.Logf("the recovery strayed into %s: %v", strayed, asked)
		if slices.ContainsFunc(backupsIn(t, at), func(b catalogue.Backup) bool { return b.ID == said.NewestBackup && b.EndWAL == strayed }) {
			last = strayed // All that the base backup needs of it was written before.
		}
	}
	assert.Equal(t, last, said.NewestWAL, told)
	for _, missing := range holes(told, at == p.mirror) {
		assert.Contains(t, asked, lab.Asked{Name: missing}, "no hole: %s", told)
	}

	segment, atItsBeginning, err := life.RecoveredTo(t.Context())
	require.NoError(t, err)
	if strayed == "" && !atItsBeginning {
		assert.Equal(t, last[8:], segment, told)
	}
	assert.GreaterOrEqual(t, segment, last[8:], told)

	got := contentsOf(t, life)
	if index := p.ever.indexOf(got); assert.GreaterOrEqual(t, index, 0, "%+v never was: %s", got, told) && strayed == "" {
		assert.LessOrEqual(t, p.ever[index].since, last[8:], "%s was not promised and comes back: %s", p.ever[index].time, told)
	}
	return last
}

// followed returns the last segment that a recovery was given of the timeline
// that it follows. For each segment PostgreSQL asks for the file of that timeline
// first, and when there is none for those of its ancestors, the youngest first:
// XLogFileReadAnyTLI in src/backend/access/transam/xlogrecovery.c. In the first
// that it gets of those it strays: what was written there after the timeline
// began never was on it.
func followed(asked []lab.Asked) (last, strayed string) {
	first := map[string]string{}
	for _, file := range asked {
		if len(file.Name) != len("000000010000000000000001") {
			continue
		}
		segment := file.Name[8:]
		if first[segment] == "" {
			first[segment] = file.Name
		}
		switch {
		case !file.Got:
		case first[segment] != file.Name:
			return last, file.Name
		case last == "" || segment > last[8:]:
			last = file.Name
		}
	}
	return last, ""
}

// holes are the segments that the job said are missing in a store.
func holes(output string, mirror bool) []string {
	place := "archive"
	if mirror {
		place = "mirror"
	}
	var missing []string
	for _, found := range regexp.MustCompile(`WAL segment ([0-9A-F]{24}) is missing in the `+place).FindAllStringSubmatch(output, -1) {
		missing = append(missing, found[1])
	}
	return missing
}

// divide returns the moments that are promised, and of the others, whose contents
// no promised moment has, those just before a window and just after the last
// segment.
func (p *pair) divide(windows []mirror.Window, newestWAL string) (inside, outside timeline) {
	for _, m := range p.moments {
		// While archiving is behind, the end of a window is too late by as much.
		late := m.behind && m.since > newestWAL[8:]
		if !late && slices.ContainsFunc(windows, func(w mirror.Window) bool { return w.Contains(m.at()) }) {
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
	for _, m := range p.moments {
		if m.since > newestWAL[8:] {
			return inside, append(outside, m)
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
func (p *pair) restoreMoment(t *testing.T, at *s3server.Store, m moment) (got lab.Contents, err error) {
	t.Helper()
	err = errNoBackup
	for _, id := range p.before(t, at, m) {
		got, err = p.restoreBackup(t, at, &cnpgv1.RecoveryTarget{BackupID: id, TargetTime: m.time})
		if err != nil && strings.Contains(err.Error(), "recovery ended before configured recovery target was reached") {
			// Nothing was committed after it: it is the end of the WAL.
			got, err = p.restoreBackup(t, at, &cnpgv1.RecoveryTarget{BackupID: id})
		}
		if err == nil && got == m.contents {
			break
		}
	}
	return got, err
}

// restoreFromAny restores to a time from one of the base backups before it.
func (p *pair) restoreFromAny(t *testing.T, random *rand.Rand, at *s3server.Store, m moment) (lab.Contents, error) {
	t.Helper()
	backups := p.before(t, at, m)
	if len(backups) == 0 {
		return lab.Contents{}, errNoBackup
	}
	return p.restoreBackup(t, at, &cnpgv1.RecoveryTarget{BackupID: backups[random.IntN(len(backups))], TargetTime: m.time})
}

var errNoBackup = errors.New("no base backup is so old")

// before returns the base backups that ended before a moment, the newest first.
func (p *pair) before(t *testing.T, at *s3server.Store, m moment) []string {
	t.Helper()
	var older []string
	for _, backup := range slices.Backward(backupsIn(t, at)) {
		if !backup.Ended.After(m.at()) {
			older = append(older, backup.ID)
		}
	}
	return older
}

func (p *pair) restoreBackup(t *testing.T, at *s3server.Store, target *cnpgv1.RecoveryTarget) (lab.Contents, error) {
	t.Helper()
	life, throwAway, err := p.restoreByHand(t, at, 1, target)
	defer throwAway()
	if err != nil {
		return lab.Contents{}, err
	}
	return life.Contents(t.Context())
}
