//go:build e2e

package e2e_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/pki"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// damage is something that a drill of the mirror has to find.
type damage struct {
	name, code string
	// during does it, runs a drill, and puts it right.
	during func(t *testing.T, drill drillRun)
}

// drillRun runs a drill, whose pod may be changed before.
type drillRun func(changes ...func(*corev1.PodSpec))

// testDamage wants the drill's pod to tell each damage by its code.
func (w *world) testDamage(t *testing.T, db entry, damages ...damage) {
	held := w.contents(t, db)
	for _, damage := range damages {
		t.Run(damage.name, func(t *testing.T) {
			ran := false
			damage.during(t, func(changes ...func(*corev1.PodSpec)) {
				job := w.startDrill(t, db, cnpg.MinIO, false, held, changes...)
				report := w.drillEnds(t, job)
				assert.Equal(t, damage.code, report.Code, report.Problem)
				t.Logf("%s: %s", report.Code, report.Problem)
				w.deleteJob(t, job)
				ran = true
			})
			assert.True(t, ran)
		})
	}
}

// damageInStore is what may become of the mirror's objects.
func (w *world) damageInStore(t *testing.T, db entry) []damage {
	t.Helper()
	_, mirror := w.stores(db)
	folder := db.folder(db.serverName())
	backups, err := catalogue.Backups(t.Context(), mirror, folder)
	require.NoError(t, err)
	newest := folder + "/base/" + backups[len(backups)-1].ID + "/data.tar"
	wal := segments(t, mirror, folder)
	middle := wal[len(wal)-5]
	table := w.query(t, db, "select pg_relation_filepath('"+stillTable+"')")

	changed := func(key string, change func(content []byte)) func(*testing.T, drillRun) {
		return overwritten(mirror, key, func(content []byte) []byte {
			content = bytes.Clone(content)
			change(content)
			return content
		})
	}
	gone := func(prefix, word string) func(*testing.T, drillRun) {
		return func(t *testing.T, drill drillRun) {
			without(t, mirror, prefix, word, func() { drill() })
		}
	}
	return []damage{
		{"a base backup is cut off", "CB53", cutOff(mirror, newest)},
		{"the data of a base backup are gone", "CB49", gone(newest, "")},
		{"no base backup", "CB46", gone(folder+"/base/", "/backup.info")},
		{"a page is not what was written", "CB55", changed(newest, func(content []byte) {
			content[inTar(t, content, table)+8192-100] ^= 0xff
		})},
		{"a WAL segment in the middle is gone", "CB50", gone(middle, "")},
		{"a WAL segment is not what was written", "CB54", changed(middle, func(content []byte) {
			for i := len(content) / 3; i < len(content)/2; i++ {
				content[i] ^= 0xff
			}
		})},
		{"a WAL segment is cut off", "CB54", cutOff(mirror, middle)},
		{"a timeline's history makes no sense", "CB52", func(t *testing.T, drill drillRun) {
			key := folder + "/wals/00000002.history"
			require.NoError(t, mirror.Write(t.Context(), key, []byte("1\tnowhere\tno recovery target specified\n")))
			defer func() { require.NoError(t, mirror.Delete(context.WithoutCancel(t.Context()), key)) }()
			drill()
		}},
	}
}

// damageAround is what may go wrong around a copy that is sound.
func (w *world) damageAround(t *testing.T, db entry) []damage {
	t.Helper()
	_, mirror := w.stores(db)
	with := func(name, value string) func(*testing.T, drillRun) {
		return func(_ *testing.T, drill drillRun) {
			drill(func(pod *corev1.PodSpec) { setVariable(pod, name, value) })
		}
	}
	around := []damage{
		{"a wrong key", "CB03", func(t *testing.T, drill drillRun) {
			wrong := *mirror
			wrong.Key = "wrong-" + wrong.Key
			w.putNASKey(t, db.namespace(), &wrong)
			defer w.putNASKey(t, db.namespace(), mirror)
			drill()
		}},
		{"another authority", "CB02", func(t *testing.T, drill drillRun) {
			other, err := pki.NewAuthority("another one")
			require.NoError(t, err)
			w.putSecret(t, db.namespace(), "nas-ca", map[string][]byte{"ca.crt": other.Cert()})
			defer w.putSecret(t, db.namespace(), "nas-ca", map[string][]byte{"ca.crt": mirror.Authority})
			drill()
		}},
		{"the store is away", "CB01", func(t *testing.T, drill drillRun) {
			stopped(t, mirror, func() { drill() })
		}},
		{"the last moment is too old", "CB78", with("MAX_AGE", "0.001")},
		{"the query returns something else", "CB79", with("QUERY", "select 1")},
		{"it takes too long", "CB80", with("DEADLINE", "0.5")},
		{"functions are in a library that is not there", "CB76", func(t *testing.T, drill drillRun) {
			change := func(statement string) {
				w.query(t, db, statement)
				w.archived(t, db)
				w.mirror(t, db)
			}
			change("create function nowhere(regclass) returns void language c as '$libdir/amcheck', 'bt_index_check'; " +
				"update pg_proc set probin = 'nowhere' where proname = 'nowhere'")
			defer change("drop function nowhere")
			drill()
		}},
	}
	if w.node == nil {
		return around
	}
	return append(around, damage{"no space", "CB75", func(t *testing.T, drill drillRun) {
		require.NoError(t, w.node.MakeVolume(t.Context(), smallVolume, 24))
		drill(func(pod *corev1.PodSpec) {
			for _, volume := range pod.Volumes {
				if volume.Ephemeral != nil {
					volume.Ephemeral.VolumeClaimTemplate.Spec.StorageClassName = new(smallVolume)
				}
			}
		})
	}})
}

// segments are the keys of a server name's WAL segments, in their order.
func segments(t *testing.T, store *s3server.Store, folder string) []string {
	t.Helper()
	var keys []string
	for _, key := range hidden(t, store, folder+"/wals/", "") {
		if name, _, _ := strings.Cut(path.Base(key), "."); len(name) == 24 && !strings.Contains(key, ".backup") {
			keys = append(keys, key)
		}
	}
	return keys
}

// overwritten has an object be another one while a drill runs.
func overwritten(store *s3server.Store, key string, change func([]byte) []byte) func(*testing.T, drillRun) {
	return func(t *testing.T, drill drillRun) {
		content, err := store.Read(t.Context(), key)
		require.NoError(t, err)
		require.NoError(t, store.Write(t.Context(), key, change(content)))
		defer func() { require.NoError(t, store.Write(context.WithoutCancel(t.Context()), key, content)) }()
		drill()
	}
}

// cutOff leaves the first half of an object.
func cutOff(store *s3server.Store, key string) func(*testing.T, drillRun) {
	return overwritten(store, key, func(content []byte) []byte { return content[:len(content)/2] })
}

// inTar is where the content of a file begins in a tar file.
func inTar(t *testing.T, archive []byte, name string) int {
	t.Helper()
	left := bytes.NewReader(archive)
	files := tar.NewReader(left)
	for {
		header, err := files.Next()
		require.NotErrorIs(t, err, io.EOF, "the tar file has no %s", name)
		require.NoError(t, err)
		if path.Clean(header.Name) == name {
			return len(archive) - left.Len()
		}
	}
}

// testKills ends runs at random moments, in the ways in which runs end too early:
// somebody deletes the Job or its pod, the node is drained, and, in every eighth
// run, a container is killed. Each leaves nothing behind and changes nothing in
// the store. CNPG_BACKUP_DRILL_KILLS says how many there are; 3 by default.
func (w *world) testKills(t *testing.T, db entry, held contents) {
	kills := 3
	if given := os.Getenv("CNPG_BACKUP_DRILL_KILLS"); given != "" {
		var err error
		kills, err = strconv.Atoi(given)
		require.NoError(t, err)
	}
	_, mirror := w.stores(db)
	before, err := mirror.List(t.Context(), "")
	require.NoError(t, err)
	begin := time.Now()
	whole := w.startDrill(t, db, cnpg.MinIO, false, held)
	w.jobEnds(t, whole)
	took := time.Since(begin)
	w.deleteJob(t, whole)

	for i := range kills {
		job := w.startDrill(t, db, cnpg.MinIO, i%2 == 1, held)
		after := time.Duration(rand.Int64N(int64(took)))
		time.Sleep(after)
		var how string
		switch {
		case i%8 == 7 && w.node != nil:
			how = w.killContainer(t, job)
		case i%3 == 0:
			how = "its Job is deleted"
		case i%3 == 1:
			how = w.drain(t, job)
		default:
			how = w.deletePod(t, job)
		}
		t.Logf("run %d, after %.1f s of %.1f: %s", i+1, after.Seconds(), took.Seconds(), how)
		w.deleteJob(t, job)
		now, err := mirror.List(t.Context(), "")
		require.NoError(t, err)
		require.Equal(t, before, now)
	}
}

// podOf waits for the pod of a run.
func (w *world) podOf(t *testing.T, job *batchv1.Job) corev1.Pod {
	t.Helper()
	var pod corev1.Pod
	eventually(t, time.Minute, "the pod of "+job.Name, func(ctx context.Context) error {
		pods, err := w.podsOf(ctx, job)
		if err != nil {
			return err
		}
		if len(pods) == 0 {
			return errors.New("there is none yet")
		}
		pod = pods[0]
		return nil
	})
	return pod
}

// drain evicts the pod of a run, as draining its node does. That is no failure: the
// Job runs once more.
func (w *world) drain(t *testing.T, job *batchv1.Job) string {
	t.Helper()
	pod := w.podOf(t, job)
	require.NoError(t, w.typed.PolicyV1().Evictions(pod.Namespace).Evict(t.Context(), &policyv1.Eviction{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
	}))
	w.jobEnds(t, job)
	require.NoError(t, w.jobDone(t.Context(), job))
	return "its node is drained, and it runs again"
}

// deletePod deletes the pod of a run at once. That is a failure: nobody knows
// whether the copy restores.
func (w *world) deletePod(t *testing.T, job *batchv1.Job) string {
	t.Helper()
	pod := w.podOf(t, job)
	require.NoError(t, w.typed.CoreV1().Pods(pod.Namespace).Delete(t.Context(), pod.Name,
		metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
	w.jobEnds(t, job)
	return "its pod is deleted"
}

// killContainer kills one of the containers of a run. The other one ends by itself.
func (w *world) killContainer(t *testing.T, job *batchv1.Job) string {
	t.Helper()
	restoring := rand.IntN(2) == 0
	how := "the container of PostgreSQL is killed"
	if restoring {
		how = "the container that restores is killed"
	}
	eventually(t, time.Minute, how, func(ctx context.Context) error {
		killed := 0
		for pid, environment := range processesOf(job) {
			if strings.Contains(environment, "\x00COPY=") == restoring && syscall.Kill(pid, syscall.SIGKILL) == nil {
				killed++
			}
		}
		if killed == 0 && w.jobDone(ctx, job) != nil {
			return errors.New("it does not run yet")
		}
		return nil
	})
	w.jobEnds(t, job)
	return how
}

// processesOf are the processes in the containers of a Job's pods, with what is in
// their environment: the name of the pod among it.
func processesOf(job *batchv1.Job) map[int]string {
	found := map[int]string{}
	for _, running := range process.Others() {
		if environment := "\x00" + running.Environment; strings.Contains(environment, "\x00HOSTNAME="+job.Name+"-") {
			found[running.PID] = environment
		}
	}
	return found
}
