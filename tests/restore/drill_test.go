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

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/internal/restoretime"
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
	with(job, "DEADLINE", "1800")
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
func (w *world) runDrill(t *testing.T, job batchv1.CronJob) (cnpg.DrillReport, lab.Run) {
	t.Helper()
	run, err := lab.RunJob(t.Context(), job, w.secrets)
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

// drilled is a world with two base backups, a table that the WAL does not touch any
// more, which a vacuum would, and a mirror.
func drilled(t *testing.T, prepare func(*testing.T, *lab.Life), initdb ...string) (*world, *lab.Life, moment) {
	t.Helper()
	w := newWorld(t, cnpg.B2, "")
	w.storesAsItIs()
	life := w.begin(t, append(initdb, "--data-checksums")...)
	prepare(t, life)
	require.NoError(t, life.Exec(t.Context(), "create table still with (autovacuum_enabled = off) as select i, md5(i::text) as text from generate_series(1, 20000) as i"))
	backUp(t, life)
	for range 3 {
		insertAndArchive(t, life, 500)
	}
	backUp(t, life)
	var last moment
	for range 6 {
		last = insertAndArchive(t, life, 500)
	}
	w.runMirror(t, 1)
	w.args.Drill.Query = "select count(*) || $$ $$ || md5(string_agg(md5(l::text), '' order by id)) || " + reach + " from ledger l"
	w.args.Drill.Database = "postgres"
	w.args.Drill.Result = drillResult(last)
	return w, life, last
}

// reach is by what a server would reach out of the drill's pod: a network, a primary, an
// archive, workers of extensions and those that clean up.
const reach = "concat($$ $$, current_setting('listen_addresses'), current_setting('primary_conninfo'), current_setting('archive_mode'), " +
	"current_setting('max_worker_processes'), (select string_agg(backend_type, '') from pg_stat_activity where backend_type ~ 'launcher'))"

// drillResult is what the query of a drill returns at a moment.
func drillResult(at moment) string {
	return fmt.Sprintf("%d %s off0", at.contents.Rows, at.contents.Sum)
}

// asItIs prepares nothing.
func asItIs(*testing.T, *lab.Life) {}

// folder is an empty one of the lab, until the test ends.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(lab.Directory(), "folder-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// execute runs statements, each in a transaction of its own.
func execute(t *testing.T, life *lab.Life, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		require.NoError(t, life.Exec(t.Context(), statement))
	}
}

// set adds lines to the settings of a server that does not read them.
func set(t *testing.T, life *lab.Life, lines string) {
	t.Helper()
	before, err := os.ReadFile(life.Settings())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(life.Settings(), append(before, "\n"+lines+"\n"...), 0o600))
}

// unusual prepares a database that makes it hard for a drill.
func unusual(t *testing.T, life *lab.Life) {
	t.Helper()
	execute(t, life,
		"create tablespace old location '"+folder(t)+"'", `create tablespace "o'ther one" location '`+folder(t)+"'",
		"create table kept tablespace old as select i from generate_series(1, 10000) as i",
		`create index on kept (i) tablespace "o'ther one"`,
		`create database " it is a ""strange"" name, isn't=it? $x"`, "create database closed allow_connections false",
		// A C library in which text sorts in another order says so at each connection.
		"update pg_database set datcollversion = '0.1' where datname = 'postgres'",
		`alter database " it is a ""strange"" name, isn't=it? $x" set statement_timeout = '1ms'`,
		`alter database " it is a ""strange"" name, isn't=it? $x" set default_transaction_read_only = on`,
	)
	if major(t, life) >= 17 {
		execute(t, life,
			"create function go_away() returns event_trigger language plpgsql as "+
				"$$begin if current_setting('application_name') in ('psql', 'pg_amcheck') then raise exception 'go away'; end if; end$$",
			"create event trigger no_login on login execute function go_away()",
			"create event trigger no_ddl on ddl_command_start execute function go_away()",
		)
	}
	set(t, life, "max_connections = 3000\nhuge_pages = on\nshared_buffers = '64GB'\nmin_dynamic_shared_memory = '64GB'\n"+
		"shared_preload_libraries = 'pg_stat_statements, auto_explain'\nrecovery_min_apply_delay = '1d'\n"+
		"archive_mode = on\narchive_command = 'exit 1'\nlog_statement = 'all'\nlog_destination = 'csvlog'\nlogging_collector = on\n"+
		"hba_file = '/nowhere'\nlisten_addresses = '*'\nport = 1\nssl = on\nprimary_conninfo = 'host=nowhere'\n"+
		"synchronous_standby_names = '*'\nrecovery_target_time = '2020-01-01'\nrecovery_target_action = shutdown\n"+
		"recovery_target_timeline = current\nrecovery_end_command = 'exit 200'")
	// A base backup of a standby has it.
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(life.Settings()), "standby.signal"), nil, 0o600))
}

func major(t *testing.T, life *lab.Life) int {
	t.Helper()
	var number int
	require.NoError(t, life.Query(t.Context(), &number, "select current_setting('server_version_num')::int / 10000"))
	return number
}

// TestDrill restores either copy, from its newest base backup and from its oldest.
func TestDrill(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare func(*testing.T, *lab.Life)
		initdb  []string
	}{
		"as usual": {func(t *testing.T, life *lab.Life) {
			t.Helper()
			execute(t, life, "alter system set log_min_messages = 'panic'")
		}, nil},
		"with all that is unusual": {unusual, []string{
			"--wal-segsize=64", "--waldir=" + filepath.Join(folder(t), "wal"), "--locale-provider=icu", "--icu-locale=de",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w, _, last := drilled(t, test.prepare, test.initdb...)
			w.args.Drill.Query = strings.Replace(w.args.Drill.Query, "''", "$$$$", 1)
			// What an instance leaves that goes over to another timeline.
			for _, at := range []*s3server.Store{w.b2, w.nas} {
				require.NoError(t, at.Write(t.Context(), prefix(1)+"/wals/0000000100000000/0000000100000000000000FE.partial", nil))
			}
			for _, at := range []*s3server.Store{w.b2, w.nas} {
				for _, oldest := range []bool{false, true} {
					before, err := at.List(t.Context(), "")
					require.NoError(t, err)
					report, run := w.runDrill(t, w.drill(t, at, oldest))
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
					t.Logf("%s oldest=%t to %s in %d s", report.Copy, oldest, report.RestoredTo, report.Seconds)
				}
			}
		})
	}
}

// TestDrillFindsDamage does to the mirror what may happen to it, and wants the
// code of it.
func TestDrillFindsDamage(t *testing.T) {
	t.Parallel()
	w, life, _ := drilled(t, asItIs)
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
	base, middle := bases[1], segments[len(segments)-5]
	var table string
	require.NoError(t, life.Query(t.Context(), &table, "select pg_relation_filepath('still')"))

	type prepare func(t *testing.T, job *batchv1.CronJob)
	// changed writes another content of an object until the test ends.
	changed := func(key string, change func(*testing.T, []byte) []byte) prepare {
		return func(t *testing.T, _ *batchv1.CronJob) {
			t.Helper()
			content, err := w.nas.Read(t.Context(), key)
			require.NoError(t, err)
			require.NoError(t, w.nas.Write(t.Context(), key, change(t, bytes.Clone(content))))
			t.Cleanup(func() { assert.NoError(t, w.nas.Write(context.Background(), key, content)) })
		}
	}
	half := func(_ *testing.T, content []byte) []byte { return content[:len(content)/2] }
	gone := func(keys ...string) prepare {
		return func(t *testing.T, _ *batchv1.CronJob) {
			t.Helper()
			back, err := w.nas.Hide(keys...)
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, back()) })
		}
	}
	told := func(name, value string) prepare {
		return func(_ *testing.T, job *batchv1.CronJob) { with(*job, name, value) }
	}

	for _, test := range []struct {
		name, code string
		prepare    prepare
	}{
		{"a base backup that is cut off", "CB53", changed(base, half)},
		{"the data of a base backup are gone", "CB49", gone(base)},
		{"the end of a base backup is gone", "CB53", changed(base, func(t *testing.T, content []byte) []byte {
			return content[:inTar(t, content, "backup_label")-512]
		})},
		{"no WAL", "CB50", gone(segments...)},
		{"no base backup", "CB46", gone(filepath.Dir(bases[0])+"/backup.info", filepath.Dir(bases[1])+"/backup.info")},
		{"a page is not what was written", "CB55", changed(base, func(t *testing.T, content []byte) []byte {
			content[inTar(t, content, table)+8192-100] ^= 0xff
			return content
		})},
		{"a WAL segment in the middle is gone", "CB50", gone(middle)},
		{"a WAL segment is not what was written", "CB54", changed(middle, func(_ *testing.T, content []byte) []byte {
			for i := range 200 {
				content[20_000+i] ^= 0xff
			}
			return content
		})},
		{"a WAL segment is cut off", "CB54", changed(middle, half)},
		{"a wrong key", "CB03", func(t *testing.T, _ *batchv1.CronJob) {
			wrong, right := *w.nas, w.secrets
			wrong.Key = "wrong-" + wrong.Key
			w.secrets = w.with(map[string]*s3server.Store{"b2-cnpg-credentials": w.b2, "nas-credentials": &wrong})
			t.Cleanup(func() { w.secrets = right })
		}},
		{"another bucket", "CB05", told("DESTINATION", "s3://another-bucket/"+namespace+"/"+cluster)},
		{"the store is away", "CB01", told("ENDPOINT", "http://127.0.0.1:1")},
		{"no space", "CB75", func(t *testing.T, job *batchv1.CronJob) {
			full := filepath.Join(lab.SmallDisk(), "full")
			require.NoError(t, os.WriteFile(full, make([]byte, 70<<20), 0o600))
			t.Cleanup(func() { assert.NoError(t, os.Remove(full)) })
			lab.PutVolume(job, filepath.Join(lab.SmallDisk(), "drill"))
		}},
		{"the last moment is too old", "CB78", told("MAX_AGE", "0.001")},
		{"the query returns something else", "CB79", told("QUERY", "select 1")},
		{"PostgreSQL crashes when it is asked", "CB77", told("QUERY", "copy (select 1) to program 'kill -9 $PPID'")},
		{"it takes too long", "CB80", told("DEADLINE", "2")},
	} {
		t.Run(test.name, func(t *testing.T) {
			job := w.drill(t, w.nas, false)
			test.prepare(t, &job)
			report, run := w.runDrill(t, job)
			assert.Equal(t, test.code, report.Code, run.Output)
			assert.NotEmpty(t, report.Problem)
			t.Logf("%s: %s", report.Code, report.Problem)
		})
	}

	libz, err := filepath.Glob("/usr/lib/*/libz.so.1")
	require.NoError(t, err)
	require.NotEmpty(t, libz)
	for _, test := range []struct {
		name, code, setting string
		statements, mend    []string
	}{
		{"the database loads a library that is not there", "CB76", "shared_preload_libraries = 'nowhere'", nil, nil},
		{"a session loads a library that is not there", "CB76", "session_preload_libraries = 'nowhere'", nil, nil},
		{"a setting that PostgreSQL does not know", "CB77", "no_such_setting = 1", nil, nil},
		{
			"functions are in a library that is not there", "CB76", "",
			[]string{functionIn("nowhere")},
			[]string{"drop function elsewhere"},
		},
		{
			"functions are in a library of something else", "CB76", "",
			[]string{functionIn(libz[0])},
			[]string{"drop function elsewhere"},
		},
		{
			"the image lacks the locale of a database", "CB77", "",
			[]string{"create database other", "update pg_database set datcollate = 'xx_XX', datctype = 'xx_XX' where datname = 'other'"},
			[]string{"drop database other"},
		},
		{
			"and that one takes no connections", "CB77", "",
			[]string{
				"create database other allow_connections false",
				"update pg_database set datcollate = 'xx_XX', datctype = 'xx_XX' where datname = 'other'",
			},
			[]string{"drop database other"},
		},
		{"an index is in the wrong order", "CB56", "", []string{wrongOrder}, []string{"drop table ordered"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, err := os.ReadFile(life.Settings())
			require.NoError(t, err)
			set(t, life, test.setting)
			execute(t, life, test.statements...)
			backUp(t, life)
			require.NoError(t, life.Archived(t.Context()))
			require.NoError(t, os.WriteFile(life.Settings(), before, 0o600))
			report, run := w.runDrill(t, w.drill(t, w.b2, false))
			assert.Equal(t, test.code, report.Code, run.Output)
			t.Logf("%s: %s", report.Code, report.Problem)
			execute(t, life, test.mend...)
		})
	}
}

// functionIn makes a function that is in a library which need not be there.
func functionIn(library string) string {
	return "create function elsewhere(regclass) returns void language c as '$libdir/amcheck', 'bt_index_check'; " +
		"update pg_proc set probin = '" + library + "' where proname = 'elsewhere'"
}

// TestDrillSeesThroughTheDatabasesSettings hides damage as the database's own
// settings can.
func TestDrillSeesThroughTheDatabasesSettings(t *testing.T) {
	t.Parallel()
	w, life, _ := drilled(t, func(t *testing.T, life *lab.Life) {
		t.Helper()
		execute(t, life, "alter role postgres set zero_damaged_pages = on")
		set(t, life, "zero_damaged_pages = on\nignore_checksum_failure = on\nignore_invalid_pages = on")
	})
	var table string
	require.NoError(t, life.Query(t.Context(), &table, "select pg_relation_filepath('still')"))
	backups, err := w.b2.List(t.Context(), prefix(1)+"/base/")
	require.NoError(t, err)
	for _, object := range backups {
		if strings.HasSuffix(object.Key, "/data.tar") {
			content, err := w.b2.Read(t.Context(), object.Key)
			require.NoError(t, err)
			content[inTar(t, content, table)+8192-100] ^= 0xff
			require.NoError(t, w.b2.Write(t.Context(), object.Key, content))
		}
	}
	report, run := w.runDrill(t, w.drill(t, w.b2, false))
	assert.Equal(t, "CB55", report.Code, run.Output)
	assert.Equal(t, "failed", results(report)["sound"], run.Output)
	assert.Equal(t, "failed", results(report)["checksums"], run.Output)
}

// TestDrillFollowsAFailover restores what two instances have written, and what is
// left of it without the word of where the second one went on.
func TestDrillFollowsAFailover(t *testing.T) {
	t.Parallel()
	w, life, _ := drilled(t, asItIs)
	standby, err := life.Standby(t.Context(), mkdir(t, w.dir, "standby"), w.written(t, 1))
	require.NoError(t, err)
	t.Cleanup(standby.Stop)
	last := insertAndArchive(t, life, 500)
	require.NoError(t, standby.CatchUp(t.Context(), life))
	life.Stop()
	require.NoError(t, standby.Promote(t.Context()))
	require.NoError(t, standby.AwaitArchived(t.Context()))
	want := func(m moment) { w.args.Drill.Result = drillResult(m) }
	requireCode := func(t *testing.T, code string) {
		t.Helper()
		report, run := w.runDrill(t, w.drill(t, w.b2, false))
		require.Equal(t, code, report.Code, run.Output)
		t.Logf("%s: %s", report.Code, report.Problem)
	}
	want(last)
	requireCode(t, "") // nothing of the new timeline is archived but its history
	for range 3 {
		last = insertAndArchive(t, standby, 500)
	}
	want(last)
	requireCode(t, "")
	history := prefix(1) + "/wals/00000002.history"
	content, err := w.b2.Read(t.Context(), history)
	require.NoError(t, err)
	for _, test := range []struct{ name, code, history string }{
		{"empty", "CB52", ""}, {"senseless", "CB52", "senseless\n"}, {"gone", "CB50", "gone"},
		{"cut off", "CB52", strings.TrimSuffix(string(content), "\n")},
	} {
		t.Run("the history is "+test.name, func(t *testing.T) {
			if test.history == "gone" {
				require.NoError(t, w.b2.Delete(t.Context(), history))
			} else {
				require.NoError(t, w.b2.Write(t.Context(), history, []byte(test.history)))
			}
			requireCode(t, test.code)
		})
	}
	require.NoError(t, w.b2.Write(t.Context(), history, content))
	requireCode(t, "")
}

// TestDrillTakesTheClustersSettings replays WAL of a server that was given more than
// the base backup's had. The operator's recovery takes the higher ones of the base
// backup and the Cluster, and stops where they do not do.
func TestDrillTakesTheClustersSettings(t *testing.T) {
	t.Parallel()
	w, life, _ := drilled(t, asItIs)
	set(t, life, "max_connections = 150\nmax_prepared_transactions = 3")
	require.NoError(t, life.Continue(t.Context(), w.written(t, 1)))
	execute(t, life, "begin; create table undecided (); prepare transaction 'undecided'")
	last := insertAndArchive(t, life, 500)
	w.args.Drill.Result = drillResult(last)
	for _, test := range []struct {
		name, code, problem string
		settings            map[string]string
	}{
		{"none of them", "CB77", "maximum number of prepared transactions reached", nil},
		{
			"one of them", "CB77", "recovery would stop where max_connections became 150: the base backup and the Cluster have 100",
			map[string]string{"max_prepared_transactions": "3"},
		},
		{"more than that", "", "", map[string]string{"max_prepared_transactions": "4", "max_connections": "200"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.args.Spec.PostgresConfiguration.Parameters = test.settings
			report, run := w.runDrill(t, w.drill(t, w.b2, false))
			assert.Equal(t, test.code, report.Code, run.Output)
			assert.Contains(t, report.Problem, test.problem)
			t.Logf("%s: %s", report.Code, report.Problem)
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
	kills := numberIn(t, "CNPG_BACKUP_DRILL_KILLS", 3)
	w, _, _ := drilled(t, asItIs)
	before, err := w.nas.List(t.Context(), "")
	require.NoError(t, err)
	_, whole := w.runDrill(t, w.drill(t, w.nas, false))
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
	report, run := w.runDrill(t, w.drill(t, w.nas, false))
	assert.True(t, report.OK, run.Output)
}

// TestDrillFigures measures the drills of databases of as many gigabytes as
// CNPG_BACKUP_DRILL_GB lists, "1 5": for docs/figures.md.
func TestDrillFigures(t *testing.T) {
	given := os.Getenv("CNPG_BACKUP_DRILL_GB")
	if given == "" {
		t.Skip("CNPG_BACKUP_DRILL_GB says no size")
	}
	for size := range strings.FieldsSeq(given) {
		t.Run(size+" GB", func(t *testing.T) {
			gigabytes, err := strconv.ParseFloat(size, 64)
			require.NoError(t, err)
			w := newWorld(t, cnpg.B2, "")
			life := w.begin(t, "--data-checksums")
			// The WAL of what was there before is not measured.
			life.ArchiveBy(func(context.Context, string, []byte) error { return nil })
			execute(t, life, "create extension pgcrypto")
			for filled := 0.0; filled < gigabytes; filled += 0.13 {
				execute(t, life, "insert into ledger (entry) select encode(gen_random_bytes(300), 'hex') || repeat('lorem ipsum ', 50) "+
					"from generate_series(1, 100000)")
			}
			require.NoError(t, life.Archived(t.Context()))
			life.ArchiveBy(nil)
			backUp(t, life)
			for range 20 {
				insertAndArchive(t, life, 5000)
			}
			w.runMirror(t, 1)
			life.Stop()
			require.NoError(t, os.RemoveAll(filepath.Join(w.dir, "first")))
			for _, at := range []*s3server.Store{w.b2, w.nas} {
				report, run := w.runDrill(t, w.drill(t, at, false))
				require.True(t, report.OK, run.Output)
				t.Logf("FIGURE %s: %.2f GB, stored %.2f GB, %d WAL files: %d s, of which base backup %d, WAL %d, checks %d; %.1f s of CPU, %d MiB; estimate %s",
					report.Copy, float64(report.Size)/1e9, float64(report.Stored)/1e9, report.WAL, report.Seconds, report.BaseSeconds,
					report.WALSeconds, report.CheckSeconds, run.CPU.Seconds(), run.Peak>>20,
					restoretime.Restore{Backup: report.Stored, Segments: report.WAL}.Time(0))
			}
		})
	}
}
