//go:build restore

package restore_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// verdict is what the doctor says of a copy, in its JSON.
type verdict struct {
	Role, Verdict, Reason, Backup, BackupID, WAL string
	From, To                                     time.Time
	Gaps                                         []struct{ From, To time.Time }
	Findings                                     []struct{ Code, Seen, Next string }
}

// codes are those of the findings.
func (v verdict) codes() string {
	var codes []string
	for _, finding := range v.Findings {
		codes = append(codes, finding.Code)
	}
	return strings.Join(codes, " ")
}

// stack is the configuration of the environment, with the database's entry changed.
func (w *world) stack(entry map[string]any) map[string]any {
	database := map[string]any{
		"name": "authentik", "namespace": namespace, "cluster": cluster,
		"spec": map[string]any{"imageName": "ghcr.io/cloudnative-pg/postgresql:15.18", "storage": map[string]any{"size": "1Gi"}},
	}
	if w.args.Archive != "" {
		database["archive"] = string(w.args.Archive)
	}
	maps.Copy(database, entry)
	nas := map[string]any{
		"bucket": w.nas.Bucket, "endpoint": w.nas.Endpoint, "secret": w.nasName + "-credentials",
		"endpointCA": map[string]any{"name": w.nasName + "-ca", "key": "ca.crt"},
	}
	if w.former != "" {
		nas["formerEndpoint"] = w.former
	}
	return map[string]any{
		"cnpg-backup:b2":            map[string]any{"bucket": w.b2.Bucket, "region": "us-west-002", "endpoint": w.b2.Endpoint},
		"cnpg-backup:minio":         nas,
		"cnpg-backup:bitwarden":     map[string]any{"store": "bitwarden-backend", "item": "backblaze-b2-cnpg-offsite"},
		"cnpg-backup:pluginVersion": lab.Plugin(),
		"cnpg-backup:databases":     []any{database},
	}
}

// runDoctor runs the doctor without a cluster, with a stack's file and the keys and
// nothing else, and returns what it prints.
func (w *world) runDoctor(t *testing.T, stack map[string]any, options ...string) []byte {
	t.Helper()
	project := mkdir(t, w.dir, "project")
	config, err := yaml.Marshal(map[string]any{"config": stack})
	require.NoError(t, err)
	for name, content := range map[string]string{
		"Pulumi.yaml":                "name: cnpg-backup\nruntime: go\nmain: stacks\nstackConfigDir: stacks\n",
		"stacks/Pulumi.homelab.yaml": string(config),
	} {
		mkdir(t, project, filepath.Dir(name))
		require.NoError(t, os.WriteFile(filepath.Join(project, name), []byte(content), 0o600))
	}
	doctor := exec.CommandContext(t.Context(), lab.Doctor(), append([]string{"-project", project, "-stack", "homelab", "-from-store", "-ca", w.authority(t)},
		options...)...)
	doctor.Env = []string{
		"B2_APPLICATION_KEY_ID=" + w.b2.KeyID, "B2_APPLICATION_KEY=" + w.b2.Key, "MINIO_USER=" + w.nas.KeyID, "MINIO_PASSWORD=" + w.nas.Key,
	}
	printed, err := doctor.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(t, err)
	} else if len(printed) == 0 {
		require.Fail(t, "the doctor printed nothing", "%v: %s", err, exit.Stderr)
	}
	t.Logf("the doctor used %.1f s of CPU", (doctor.ProcessState.UserTime() + doctor.ProcessState.SystemTime()).Seconds())
	return printed
}

// askDoctor returns what the doctor says of each store.
func (w *world) askDoctor(t *testing.T) map[*s3server.Store]verdict {
	t.Helper()
	printed := w.runDoctor(t, w.stack(nil), "-o", "json", "-timeout", "5m")
	var report struct {
		Databases []struct {
			Copies []verdict
		}
	}
	require.NoError(t, json.Unmarshal(printed, &report), "%s", printed)
	require.Len(t, report.Databases, 1)
	copies := report.Databases[0].Copies
	require.Len(t, copies, 2)
	require.Equal(t, []string{"archive", "mirror"}, []string{copies[0].Role, copies[1].Role})
	return map[*s3server.Store]verdict{w.archive: copies[0], w.mirror: copies[1]}
}

// authority is a file with the certificate of the NAS's authority.
func (w *world) authority(t *testing.T) string {
	t.Helper()
	name := filepath.Join(w.dir, "nas-ca.crt")
	require.NoError(t, os.WriteFile(name, w.nas.Authority, 0o600))
	return name
}

// TestDoctorTellsTheTruth lets anything happen to a primary, a standby and the
// job, then damages either store, and has PostgreSQL judge what the doctor says:
// what it says restores is restored, from the base backup that it names, to the very
// moments, and what it says does not fails to. Then the damage is undone.
func TestDoctorTellsTheTruth(t *testing.T) {
	t.Parallel()
	states := numberIn(t, statesVariable, 4) / 2 // each has two verdicts
	const inAWorld, together = 15, 5
	for first := 0; first < states; first += inAWorld {
		t.Run(fmt.Sprintf("from state %d", first), func(t *testing.T) {
			t.Parallel()
			seed := randomSeed(t)
			random := rand.New(rand.NewPCG(seed, 1))
			p := newPair(t)
			p.insert(t, 500)
			var story []string
			for state := first; state < min(first+inAWorld, states); state++ {
				if (state-first)%together == 0 {
					p.mend(t)
					story = append(story, p.chapter(t, random)...)
				}
				damaged := p.damage(t, random)
				said := p.askDoctor(t)
				for at, verdict := range said {
					p.judgeVerdict(t, random, at, verdict, fmt.Sprintf("state %d of seed %d, %s, %s: %s",
						state, seed, verdict.Role, damaged, strings.Join(story, ", ")))
				}
			}
		})
	}
}

// chapter is a few things that happen, the last of which are a base backup at
// times, a mirror at times, and WAL that arrives.
func (p *pair) chapter(t *testing.T, random *rand.Rand) []string {
	t.Helper()
	var story []string
	for range 3 + random.IntN(3) {
		story = append(story, p.anything(t, random))
	}
	if random.IntN(3) > 0 {
		backUp(t, p.primary)
		story = append(story, "base backup")
	}
	p.insert(t, 50)
	require.NoError(t, p.primary.SwitchWAL(t.Context()))
	p.insert(t, 50)
	if random.IntN(2) == 0 {
		require.NoError(t, p.primary.SwitchWAL(t.Context()))
	}
	require.NoError(t, p.primary.AwaitArchived(t.Context()))
	if random.IntN(4) > 0 {
		p.tryMirror(t.Context(), t, 1)
		story = append(story, "mirror")
	}
	return story
}

// mend undoes the last damage.
func (p *pair) mend(t *testing.T) {
	t.Helper()
	if p.undo != nil {
		require.NoError(t, p.undo())
		p.undo = nil
	}
}

// damage does something to the stores that nothing should, until they are mended.
func (p *pair) damage(t *testing.T, random *rand.Rand) string {
	t.Helper()
	p.mend(t)
	var done []string
	var undone []func() error
	for _, at := range []*s3server.Store{p.archive, p.mirror} {
		if random.IntN(3) == 0 {
			continue
		}
		objects, err := at.List(t.Context(), prefix(1)+"/")
		require.NoError(t, err)
		kind := []string{"data", "info", "history", "WAL", "WAL", "every info", "half of the data", "a failure"}[random.IntN(8)]
		word := map[string]string{
			"data": "/data.tar", "info": "/backup.info", "history": ".history", "WAL": "/wals/0", "every info": "/backup.info",
			"half of the data": "/data.tar", "a failure": "/backup.info",
		}[kind]
		var keys []string
		for _, object := range objects {
			if strings.Contains(object.Key, word) {
				keys = append(keys, object.Key)
			}
		}
		if len(keys) == 0 {
			continue
		}
		// Mostly the newest: only what is needed makes a difference.
		if chosen := max(random.IntN(len(keys)), random.IntN(len(keys))); kind != "every info" {
			keys = keys[chosen : chosen+1]
		}
		if kind == "half of the data" && !p.bothHave(t, keys[0]) {
			continue // it is by the other copy that it can be seen
		}
		if kind == "a failure" {
			// As it comes about: what was to be uploaded last is not there.
			for _, object := range objects {
				if strings.HasPrefix(object.Key, filepath.Dir(keys[0])+"/data.tar") {
					keys = append(keys, object.Key)
				}
			}
		}
		content, err := at.Read(t.Context(), keys[0])
		require.NoError(t, err)
		back, err := at.Hide(keys...)
		require.NoError(t, err)
		undone = append(undone, back)
		switch kind {
		case "half of the data":
			require.NoError(t, at.Write(t.Context(), keys[0], content[:len(content)/2]))
		case "a failure":
			require.NoError(t, at.Write(t.Context(), keys[0], []byte(strings.Replace(string(content), "status=DONE", "status=FAILED", 1))))
		}
		done = append(done, fmt.Sprintf("%s of %s (%s)", kind, at.Bucket, strings.TrimPrefix(keys[0], prefix(1))))
		if kind == "half of the data" {
			break
		}
	}
	p.undo = func() error {
		var problems []error
		for _, back := range undone {
			problems = append(problems, back())
		}
		return errors.Join(problems...)
	}
	if len(done) == 0 {
		return "whole"
	}
	return strings.Join(done, " and ")
}

// bothHave tells whether an object is in both stores, and as large.
func (p *pair) bothHave(t *testing.T, key string) bool {
	t.Helper()
	var sizes []int64
	for _, at := range []*s3server.Store{p.archive, p.mirror} {
		objects, err := at.List(t.Context(), key)
		require.NoError(t, err)
		for _, object := range objects {
			sizes = append(sizes, object.Size)
		}
	}
	return len(sizes) == 2 && sizes[0] == sizes[1]
}

// judgeVerdict lets PostgreSQL try it.
func (p *pair) judgeVerdict(t *testing.T, random *rand.Rand, at *s3server.Store, said verdict, story string) {
	t.Helper()
	told := fmt.Sprintf("%s\n%+v", story, said)
	if said.Verdict == "DOES NOT" {
		for _, backup := range backupsIn(t, at) {
			_, err := p.restoreBackup(t, at, &cnpgv1.RecoveryTarget{BackupID: backup.ID})
			assert.Error(t, err, "%s restores: %s", backup.ID, told)
		}
		if random.IntN(3) == 0 {
			_, throwAway, err := p.restoreForNow(t, p.folder(t, at, 1), nil)
			throwAway()
			assert.Error(t, err, "a recovery that names no base backup restores: %s", told)
		}
		t.Logf("%s: %s: %s", story, said.Verdict, said.Reason)
		return
	}
	require.Equal(t, "RESTORES", said.Verdict, told)
	moments := map[string]time.Time{"to": said.To}
	if random.IntN(3) == 0 {
		moments["from"] = said.From
	}
	for name, moment := range moments {
		got, err := p.restoreVerdict(t, random, at, said, moment)
		if !assert.NoError(t, err, "%s %s: %s", name, moment, told) {
			continue
		}
		// What was true then, or a transaction later: moments are noted after them.
		last := -1
		for i, m := range p.ever {
			if !m.at().After(moment) {
				last = i
			}
		}
		var live lab.Contents
		for _, m := range p.moments {
			if !m.at().After(moment) {
				live = m.contents
			}
		}
		assert.True(t, p.ever.indexOf(got) >= last || got == live || last >= 0 && got == p.ever[last].contents,
			"%s %s: %+v, and not %+v: %s", name, moment, got, p.ever[max(last, 0)], told)
	}
	t.Logf("%s: %s to %s", story, said.Verdict, said.To.Format(time.TimeOnly))
}

// restoreVerdict restores a moment as the doctor says: with the base backup that it
// names, or with the one that the plugin takes.
func (p *pair) restoreVerdict(t *testing.T, random *rand.Rand, at *s3server.Store, said verdict, when time.Time) (got lab.Contents, err error) {
	t.Helper()
	backups := backupsIn(t, at)
	newest := slices.IndexFunc(backups, func(b catalogue.Backup) bool { return b.ID == said.Backup })
	require.GreaterOrEqual(t, newest, 0)
	ids := []string{said.Backup}
	if when.Before(backups[newest].Ended) {
		// An earlier one has to be found: with holes and damage not every one does.
		ids = p.before(t, at, moment{time: when.Format(time.RFC3339)})
	}
	restore := func(id, time string) (lab.Contents, error) {
		if id == said.Backup && random.IntN(3) == 0 {
			// As the plugin does, which chooses unless it is told.
			life, throwAway, err := p.restoreForNow(t, p.folder(t, at, 1), &cnpgv1.RecoveryTarget{BackupID: said.BackupID, TargetTime: time})
			defer throwAway()
			if err != nil {
				return lab.Contents{}, err
			}
			return life.Contents(t.Context())
		}
		return p.restoreBackup(t, at, &cnpgv1.RecoveryTarget{BackupID: id, TargetTime: time})
	}
	err = errNoBackup
	for _, id := range ids {
		got, err = restore(id, when.Format(time.RFC3339))
		if err != nil && strings.Contains(err.Error(), "recovery ended before configured recovery target was reached") {
			// Nothing was committed after it: it is the end of the WAL.
			got, err = restore(id, "")
		}
		if err == nil {
			break
		}
	}
	return got, err
}

// TestBackupFailsAtItsEnd has a base backup whose last part the store refuses to
// put together. barman marks it FAILED and uploads its backup.info, with an end;
// the plugin takes it for the last good one.
func TestBackupFailsAtItsEnd(t *testing.T) {
	t.Parallel()
	w, life, moments := mirrored(t, "")
	good := backupsIn(t, w.archive)
	written := w.written(t, 1)
	store, err := url.Parse(w.archive.Endpoint)
	require.NoError(t, err)
	forward := httputil.NewSingleHostReverseProxy(store)
	between := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		if request.Method == http.MethodPost && request.URL.Query().Has("uploadId") && strings.Contains(request.URL.Path, "/data.tar") {
			answer.WriteHeader(http.StatusBadRequest)
			_, _ = answer.Write([]byte(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>EntityTooSmall</Code><Message>refused by the test</Message></Error>`))
			return
		}
		forward.ServeHTTP(answer, request)
	}))
	defer between.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := life.WritingTo(written.Behind(between.URL)).Backup(t.Context())
		ended <- err
	}()
	var failed string
	require.Eventually(t, func() bool {
		objects, err := w.archive.List(t.Context(), prefix(1)+"/base/")
		require.NoError(t, err)
		for _, object := range objects {
			if strings.HasSuffix(object.Key, "/backup.info") && !strings.Contains(object.Key, good[0].ID) {
				content, err := w.archive.Read(t.Context(), object.Key)
				require.NoError(t, err)
				failed = string(content)
			}
		}
		return strings.Contains(failed, "status=FAILED\n")
	}, 5*time.Minute, time.Second, "a backup.info that says so")
	select {
	case err = <-ended:
	case <-time.After(20 * time.Second):
		// barman 3.4 has said all that it says, and waits for ever for a process of
		// its own that has ended.
		t.Log("barman hangs")
		lab.KillCommand(between.URL)
		err = <-ended
	}
	t.Logf("barman: %v", err)
	moments = append(moments, insertAndArchive(t, life, 500))
	assert.NotContains(t, failed, "end_time=None\n", "it has an end, so the plugin takes it for a good one")

	from := w.folder(t, w.archive, 1)
	_, err = w.restore(t, from, nil)
	assert.ErrorContains(t, err, "Missing file", "a recovery takes it")

	said := w.askDoctor(t)
	assert.Equal(t, "RESTORES", said[w.archive].Verdict)
	assert.Equal(t, "CB48", said[w.archive].codes())
	assert.Equal(t, good[0].ID, said[w.archive].BackupID)
	w.requireRestores(t, from, &cnpgv1.RecoveryTarget{BackupID: said[w.archive].BackupID}, moments[len(moments)-1])

	run := w.tryMirror(t.Context(), t, 1)
	assert.Contains(t, run.Output, "PROBLEM backup-failed")
	said = w.askDoctor(t)
	assert.Equal(t, "RESTORES", said[w.mirror].Verdict)
	assert.Empty(t, said[w.mirror].BackupID)
	w.requireRestores(t, w.folder(t, w.mirror, 1), nil, moments[len(moments)-1])
}

// TestTheLinesThatTheDoctorPrints has the site lost, asks the stores alone, puts the
// lines that it prints into the stack's file, and runs the program with that: what
// its Cluster recovers from, and writes to, brings everything back.
func TestTheLinesThatTheDoctorPrints(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		lose func(*testing.T, *world)
	}{
		{"from the archive", func(*testing.T, *world) {}},
		{"from the mirror, when the archive is lost, too", func(_ *testing.T, w *world) { w.archive.Stop() }},
		{"past a base backup that failed", func(t *testing.T, w *world) {
			info := prefix(1) + "/base/" + backupsIn(t, w.archive)[0].ID + "/backup.info"
			content, err := w.archive.Read(t.Context(), info)
			require.NoError(t, err)
			failed := strings.NewReplacer("status=DONE", "status=FAILED", "begin_time=20", "begin_time=21").Replace(string(content))
			require.NoError(t, w.archive.Write(t.Context(), prefix(1)+"/base/20991231T235959/backup.info", []byte(failed)))
			w.mirror.Stop()
		}},
		{"past a life that never was", func(t *testing.T, w *world) {
			require.NoError(t, w.archive.Write(t.Context(), prefix(2)+"/wals/0000000100000000/000000010000000000000001.gz", []byte("x")))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, cnpg.B2, "")
			life := w.begin(t)
			insertAndArchive(t, life, 1_000)
			backUp(t, life)
			want := insertAndArchive(t, life, 1_000)
			w.runMirror(t, 1)
			life.Stop()
			test.lose(t, w)

			printed := string(w.runDoctor(t, w.stack(nil)))
			t.Log(printed)
			_, lines, found := strings.Cut(printed, "To restore it, below cnpg-backup:databases, with the rest of its entry:\n")
			require.True(t, found, printed)
			pasted := ""
			for line := range strings.Lines(lines) {
				if !strings.HasPrefix(line, "    ") {
					break
				}
				pasted += line
			}
			pasted = strings.Replace(pasted, "# archive:", "archive:", 1) // it does not come back
			var entries []map[string]any
			require.NoError(t, yaml.Unmarshal([]byte(pasted), &entries), pasted)
			require.Len(t, entries, 1)
			settings := map[string]string{}
			for key, value := range w.stack(entries[0]) {
				content, err := json.Marshal(value)
				require.NoError(t, err)
				settings[key] = string(content)
			}
			rendered, err := lab.RenderStack(settings)
			require.NoError(t, err, "the program does not go up with %s", pasted)

			recovery := rendered.Cluster.Spec.Bootstrap.Recovery
			from, err := rendered.Source(recovery.Source)
			require.NoError(t, err)
			to, err := rendered.Archive()
			require.NoError(t, err)
			life, err = lab.Restore(t.Context(), mkdir(t, w.dir, "second"), w.secrets, from, &to, recovery.RecoveryTarget)
			require.NoError(t, err, pasted)
			t.Cleanup(life.Stop)
			assert.Equal(t, want.contents, contentsOf(t, life))
			assert.NotEqual(t, from.ServerName, to.ServerName, "it writes to a folder of its own")
		})
	}
}

// TestTheCopyRestoresOnALaptop runs the script of docs/restore.md with barman's
// tools, PostgreSQL, and nothing of CloudNativePG.
func TestTheCopyRestoresOnALaptop(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cnpg.B2, "")
	life := w.begin(t)
	backUp(t, life)
	want := insertAndArchive(t, life, 1_000)
	w.runMirror(t, 1)
	life.Stop()
	w.archive.Stop()

	programs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	require.NoError(t, err)
	require.Len(t, programs, 1)
	directory := mkdir(t, w.dir, "laptop")
	script := exec.CommandContext(t.Context(), "sh", lab.Laptop(), w.mirror.Endpoint,
		"s3://"+w.mirror.Bucket+"/"+namespace+"/"+cluster, cluster, directory)
	script.Env = []string{
		"PATH=" + programs[0] + ":/usr/bin:/bin", "HOME=" + directory,
		"AWS_ACCESS_KEY_ID=" + w.mirror.KeyID, "AWS_SECRET_ACCESS_KEY=" + w.mirror.Key, "AWS_CA_BUNDLE=" + w.authority(t),
	}
	printed, err := script.CombinedOutput()
	require.NoError(t, err, string(printed))
	t.Cleanup(func() {
		_ = exec.Command(filepath.Join(programs[0], "pg_ctl"), "-D", filepath.Join(directory, "data"), "-m", "immediate", "stop").Run() //nolint:noctx // it ends at once
	})
	query := exec.CommandContext(t.Context(), filepath.Join(programs[0], "psql"), "-h", directory, "-U", "postgres", "-tAc", "select count(*) from ledger")
	count, err := query.CombinedOutput()
	require.NoError(t, err, string(count))
	assert.Equal(t, strconv.FormatInt(want.contents.Rows, 10), strings.TrimSpace(string(count)))
	assert.Contains(t, string(printed), "psql -h "+directory)
}
