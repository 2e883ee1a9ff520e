//go:build restore

package restore_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// drill is the CronJob of a copy. Which base backup a run begins with depends on
// the week, so that a test says it.
func (w *world) drill(t *testing.T, at *s3server.Store, oldest bool) batchv1.CronJob {
	t.Helper()
	w.args.Drill.Enabled = new(true)
	name := "authentik-drill-minio"
	if at == w.b2 {
		name = "authentik-drill-b2"
	}
	job, found := w.render(t, 1).Drills[name]
	require.True(t, found)
	with(job, "TURN", "")
	if oldest {
		with(job, "TURN", "0")
		with(job, "PERIOD", strconv.FormatInt(4*time.Now().Unix(), 10))
	}
	return job
}

// with sets a variable of a job's containers.
func with(job batchv1.CronJob, name, value string) {
	for _, container := range job.Spec.JobTemplate.Spec.Template.Spec.Containers {
		for i := range container.Env {
			if container.Env[i].Name == name {
				container.Env[i] = corev1.EnvVar{Name: name, Value: value}
			}
		}
	}
}

// runDrill runs a drill, and wants that it leaves an empty volume behind.
func (w *world) runDrill(t *testing.T, job batchv1.CronJob, secrets client.Client) (cnpg.DrillReport, lab.Run) {
	t.Helper()
	run, err := lab.RunJob(t.Context(), job, secrets)
	require.NoError(t, err)
	assert.Less(t, len(run.Message), 4096)
	report, err := cnpg.ParseDrillReport(run.Message)
	require.NoError(t, err, run.Output)
	assert.Empty(t, run.Left)
	assert.Equal(t, report.OK, run.Failed == "", run.Output)
	return report, run
}

// results are the checks of a report.
func results(report cnpg.DrillReport) map[string]string {
	all := map[string]string{}
	for _, check := range report.Checks {
		all[check.Name] = check.Result
	}
	return all
}

// drilled is a world with two base backups, tables that the WAL does not touch
// any more, and a mirror.
func drilled(t *testing.T, initdb ...string) (*world, *lab.Life, moment) {
	t.Helper()
	w := newWorld(t, cnpg.B2, "")
	w.storesAsItIs()
	life := w.begin(t, append(initdb, "--data-checksums")...)
	require.NoError(t, life.Exec(t.Context(), "create table still as select i, md5(i::text) as text from generate_series(1, 20000) as i"))
	_, err := life.Backup(t.Context())
	require.NoError(t, err)
	for range 3 {
		insertAndArchive(t, life, 500)
	}
	_, err = life.Backup(t.Context())
	require.NoError(t, err)
	var last moment
	for range 4 {
		last = insertAndArchive(t, life, 500)
	}
	w.runMirror(t, 1)
	w.args.Drill.Query = "select count(*) || $$ $$ || md5(string_agg(md5(l::text), '' order by id)) from ledger l"
	w.args.Drill.Database = "postgres"
	w.args.Drill.Result = fmt.Sprintf("%d %s", last.contents.Rows, last.contents.Sum)
	return w, life, last
}

// TestDrill restores either copy, from its newest base backup and from its oldest.
func TestDrill(t *testing.T) {
	t.Parallel()
	for name, initdb := range map[string][]string{"as usual": nil, "with large WAL segments": {"--wal-segsize=64"}} {
		t.Run(name, func(t *testing.T) {
			w, life, last := drilled(t, initdb...)
			if initdb == nil {
				require.NoError(t, life.Exec(t.Context(), "alter system set log_min_messages = 'panic'"))
			}
			for _, at := range []*s3server.Store{w.b2, w.nas} {
				for _, oldest := range []bool{false, true} {
					before, err := at.List(t.Context(), "")
					require.NoError(t, err)
					report, run := w.runDrill(t, w.drill(t, at, oldest), w.secrets)
					require.True(t, report.OK, run.Output)
					assert.Equal(t, map[string]string{
						"answers": "passed", "complete": "passed", "recent": "passed", "libraries": "passed",
						"sound": "passed", "checksums": "passed", "query": "passed",
					}, results(report))
					assert.Equal(t, oldest, report.Oldest)
					to, err := time.Parse(time.RFC3339, last.time)
					require.NoError(t, err)
					assert.WithinDuration(t, to, report.RestoredTo, 2*time.Second)
					assert.Positive(t, report.Size)
					assert.Positive(t, report.WAL)
					after, err := at.List(t.Context(), "")
					require.NoError(t, err)
					assert.Equal(t, before, after, "a drill changes nothing in the store")
					t.Logf("%s oldest=%t: %s", report.Copy, oldest, run.Output[strings.LastIndex(strings.TrimSpace(run.Output), "\n")+1:])
				}
			}
		})
	}
}

// TestDrillFindsDamage does to the mirror what may happen to it, and wants the
// code of it.
func TestDrillFindsDamage(t *testing.T) {
	t.Parallel()
	w, life, _ := drilled(t)
	objects, err := w.nas.List(t.Context(), prefix(1)+"/")
	require.NoError(t, err)
	var bases, segments []string
	for _, object := range objects {
		if strings.HasSuffix(object.Key, "/data.tar") {
			bases = append(bases, object.Key)
		}
		if name := filepath.Base(object.Key); strings.Contains(object.Key, "/wals/") && len(name) == 24 {
			segments = append(segments, object.Key)
		}
	}
	require.Len(t, bases, 2)
	base, middle := bases[1], segments[len(segments)-3]
	var table string
	require.NoError(t, life.Query(t.Context(), &table, "select pg_relation_filepath('still')"))

	// changed writes another content of an object until the test ends.
	changed := func(t *testing.T, key string, change func([]byte) []byte) {
		t.Helper()
		content, err := w.nas.Read(t.Context(), key)
		require.NoError(t, err)
		require.NoError(t, w.nas.Write(t.Context(), key, change(bytes.Clone(content))))
		t.Cleanup(func() { assert.NoError(t, w.nas.Write(context.Background(), key, content)) })
	}
	half := func(content []byte) []byte { return content[:len(content)/2] }
	gone := func(t *testing.T, keys ...string) {
		t.Helper()
		back, err := w.nas.Hide(keys...)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, back()) })
	}

	for _, test := range []struct {
		name, code string
		prepare    func(t *testing.T, job *batchv1.CronJob) client.Client
	}{
		{"a base backup that is cut off", "CB53", func(t *testing.T, _ *batchv1.CronJob) client.Client {
			changed(t, base, half)
			return w.secrets
		}},
		{"the data of a base backup are gone", "CB49", func(t *testing.T, _ *batchv1.CronJob) client.Client {
			gone(t, base)
			return w.secrets
		}},
		{"no base backup", "CB46", func(t *testing.T, _ *batchv1.CronJob) client.Client {
			var infos []string
			for _, key := range bases {
				infos = append(infos, filepath.Dir(key)+"/backup.info")
			}
			gone(t, infos...)
			return w.secrets
		}},
		{"a page is not what was written", "CB55", func(t *testing.T, _ *batchv1.CronJob) client.Client {
			changed(t, base, func(content []byte) []byte {
				at := inTar(t, content, table)
				content[at+8192-100] ^= 0xff
				return content
			})
			return w.secrets
		}},
		{"a WAL segment in the middle is gone", "CB50", func(t *testing.T, _ *batchv1.CronJob) client.Client {
			gone(t, middle)
			return w.secrets
		}},
		{"a WAL segment is not what was written", "CB54", func(t *testing.T, _ *batchv1.CronJob) client.Client {
			changed(t, middle, func(content []byte) []byte {
				for i := range 200 {
					content[20_000+i] ^= 0xff
				}
				return content
			})
			return w.secrets
		}},
		{"a WAL segment is cut off", "CB54", func(t *testing.T, _ *batchv1.CronJob) client.Client {
			changed(t, middle, half)
			return w.secrets
		}},
		{"a wrong key", "CB03", func(_ *testing.T, _ *batchv1.CronJob) client.Client {
			wrong := *w.nas
			wrong.Key = "wrong-" + wrong.Key
			return lab.Secrets(namespace, map[string]*s3server.Store{"b2-cnpg-credentials": w.b2, "nas-credentials": &wrong},
				map[string][]byte{"nas-ca": w.nas.Authority})
		}},
		{"another bucket", "CB05", func(_ *testing.T, job *batchv1.CronJob) client.Client {
			with(*job, "DESTINATION", "s3://another-bucket/"+namespace+"/"+cluster)
			return w.secrets
		}},
		{"the store is away", "CB01", func(_ *testing.T, job *batchv1.CronJob) client.Client {
			with(*job, "ENDPOINT", "http://127.0.0.1:1")
			return w.secrets
		}},
		{"no space", "CB75", func(t *testing.T, job *batchv1.CronJob) client.Client {
			full := filepath.Join(lab.SmallDisk(), "full")
			require.NoError(t, os.WriteFile(full, make([]byte, 70<<20), 0o600))
			t.Cleanup(func() { assert.NoError(t, os.Remove(full)) })
			lab.PutVolume(job, filepath.Join(lab.SmallDisk(), "drill"))
			return w.secrets
		}},
		{"the last moment is too old", "CB78", func(_ *testing.T, job *batchv1.CronJob) client.Client {
			with(*job, "MAX_AGE", "0.001")
			return w.secrets
		}},
		{"the query returns something else", "CB79", func(_ *testing.T, job *batchv1.CronJob) client.Client {
			with(*job, "QUERY", "select 1")
			return w.secrets
		}},
		{"it takes too long", "CB80", func(_ *testing.T, job *batchv1.CronJob) client.Client {
			with(*job, "DEADLINE", "2")
			return w.secrets
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			job := w.drill(t, w.nas, false)
			secrets := test.prepare(t, &job)
			report, run := w.runDrill(t, job, secrets)
			assert.Equal(t, test.code, report.Code, run.Output)
			assert.NotEmpty(t, report.Problem)
			t.Logf("%s: %s", report.Code, report.Problem)
		})
	}

	for _, test := range []struct{ name, code, statement, setting, mend string }{
		{"the database loads a library that is not there", "CB76", "", "shared_preload_libraries = 'nowhere'", ""},
		{"a setting that PostgreSQL does not know", "CB77", "", "no_such_setting = 1", ""},
		{"functions are in a library that is not there", "CB76", "create function nowhere(regclass) returns void language c as '$libdir/amcheck', 'bt_index_check'; " +
			"update pg_proc set probin = 'nowhere' where proname = 'nowhere'", "", "drop function nowhere"},
		{"an index is in the wrong order", "CB56", wrongOrder, "", "drop table ordered"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, err := os.ReadFile(life.Settings())
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(life.Settings(), append(bytes.Clone(before), "\n"+test.setting+"\n"...), 0o600))
			if test.statement != "" {
				require.NoError(t, life.Exec(t.Context(), test.statement))
			}
			_, err = life.Backup(t.Context())
			require.NoError(t, err)
			require.NoError(t, life.Archived(t.Context()))
			require.NoError(t, os.WriteFile(life.Settings(), before, 0o600))
			report, run := w.runDrill(t, w.drill(t, w.b2, false), w.secrets)
			assert.Equal(t, test.code, report.Code, run.Output)
			t.Logf("%s: %s", report.Code, report.Problem)
			if test.mend != "" {
				require.NoError(t, life.Exec(t.Context(), test.mend))
			}
		})
	}
}

// wrongOrder makes an index that is in another order than its operator class now
// says, as in PostgreSQL's src/bin/pg_amcheck/t/005_opclass_damage.pl.
const wrongOrder = `
create function ascending(a int4, b int4) returns int language sql immutable as
	'select case when a = b then 0 when a > b then 1 else -1 end';
create function descending(a int4, b int4) returns int language sql immutable as
	'select case when a = b then 0 when a < b then 1 else -1 end';
create operator class ordering for type int4 using btree as
	operator 1 < (int4, int4), operator 2 <= (int4, int4), operator 3 = (int4, int4),
	operator 4 >= (int4, int4), operator 5 > (int4, int4), function 1 ascending(int4, int4);
create table ordered as select i from generate_series(1, 1000) as i;
create index ordered_index on ordered using btree (i ordering);
update pg_amproc set amproc = 'descending'::regproc where amproc = 'ascending'::regproc`

// inTar is where the content of a file begins in a tar file.
func inTar(t *testing.T, archive []byte, name string) int {
	t.Helper()
	for _, spelt := range []string{"./" + name, name} {
		if at := bytes.Index(archive, append([]byte(spelt), 0)); at >= 0 {
			return at + 512
		}
	}
	require.Fail(t, "the tar file has no "+name)
	return 0
}

// TestDrillIsKilled kills runs at random moments. Each leaves nothing in the
// store, and the next one passes. CNPG_BACKUP_DRILL_KILLS says how many; a few in CI.
func TestDrillIsKilled(t *testing.T) {
	t.Parallel()
	kills := 3
	if given := os.Getenv("CNPG_BACKUP_DRILL_KILLS"); given != "" {
		var err error
		kills, err = strconv.Atoi(given)
		require.NoError(t, err)
	}
	w, _, _ := drilled(t)
	before, err := w.nas.List(t.Context(), "")
	require.NoError(t, err)
	_, whole := w.runDrill(t, w.drill(t, w.nas, false), w.secrets)
	for i := range kills {
		after := time.Duration(rand.Int64N(int64(whole.Took)))
		ctx, cancel := context.WithTimeout(t.Context(), after)
		job, volume := w.drill(t, w.nas, i%2 == 1), filepath.Join(w.dir, "killed-"+strconv.Itoa(i))
		lab.PutVolume(&job, volume)
		run, err := lab.RunJob(ctx, job, w.secrets)
		cancel()
		require.NoError(t, err)
		t.Logf("kill %d after %.2f s: failed in %q", i+1, after.Seconds(), run.Failed)
		require.Eventually(t, func() bool { return len(lab.ProcessesIn(volume)) == 0 }, time.Minute, 100*time.Millisecond,
			"nothing of the run is left")
		require.NoError(t, os.RemoveAll(volume)) // as Kubernetes does with the pod
		now, err := w.nas.List(t.Context(), "")
		require.NoError(t, err)
		require.Equal(t, before, now)
	}
	report, run := w.runDrill(t, w.drill(t, w.nas, false), w.secrets)
	assert.True(t, report.OK, run.Output)
}
