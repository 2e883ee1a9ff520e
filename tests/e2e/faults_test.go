//go:build e2e

package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/provider"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/pki"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

func objectStoreKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "barmancloud.cnpg.io", Version: "v1", Kind: "ObjectStore"}
}

func scheduledBackupKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "postgresql.cnpg.io", Version: "v1", Kind: "ScheduledBackup"}
}

// patch changes an object as "kubectl patch --type merge" does.
func (w *world) patch(t *testing.T, kind schema.GroupVersionKind, namespace, name, patch string) {
	t.Helper()
	require.NoError(t, w.client.Patch(t.Context(), kind, namespace, name, []byte(patch)))
}

// archivingFails waits until the operator says that WAL does not arrive. The
// sidecar keeps what it has read of its settings for ten seconds:
// https://github.com/cloudnative-pg/plugin-barman-cloud/blob/v0.14.0/internal/cnpgi/instance/internal/client/client.go
func (w *world) archivingFails(t *testing.T, db entry) {
	t.Helper()
	eventually(t, 3*time.Minute, db.cluster()+" does not archive", func(ctx context.Context) error {
		if _, err := w.endSegment(ctx, db); err != nil {
			return err
		}
		time.Sleep(5 * time.Second)
		found, err := w.client.Get(ctx, clusterKind(), db.namespace(), db.cluster())
		if err == nil && kube.Condition(found, "ContinuousArchiving") == nil {
			err = errors.New("it does")
		}
		return err
	})
}

// archives waits until a database has archived again, all that it has to.
func (w *world) archives(t *testing.T, db entry) {
	t.Helper()
	w.archived(t, db)
	w.archiving(t, db.namespace(), db.cluster())
}

func (d *doctor) testRevokedKey(t *testing.T, db entry) {
	key := d.held(t, b2Item)
	store := account{d.b2}
	require.NoError(t, store.Deleted(t.Context(), key["AWS_ACCESS_KEY_ID"]))
	defer func() {
		require.NoError(t, store.Made(t.Context(), provider.B2Key{
			ID: key["AWS_ACCESS_KEY_ID"], Secret: key["AWS_SECRET_ACCESS_KEY"],
			Capabilities: []string{"listBuckets", "listFiles", "readFiles", "writeFiles", "deleteFiles"},
		}))
		d.archives(t, db)
	}()
	d.archivingFails(t, db)
	d.requireSaid(t, said{"exit": "3", db.name() + " archive": "UNKNOWN CB03", "till mirror": "UNKNOWN CB03"})
}

func (d *doctor) testLineBreak(t *testing.T, db entry) {
	d.putSecret(t, db.namespace(), "nas-credentials", map[string][]byte{
		"AWS_ACCESS_KEY_ID": []byte(d.nas.KeyID + "\n"), "AWS_SECRET_ACCESS_KEY": []byte(d.nas.Key),
	})
	defer func() {
		d.putNASKey(t, db.namespace(), d.nas)
		d.archives(t, db)
	}()
	d.archivingFails(t, db)
	d.requireSaid(t, said{"exit": "3", db.name() + " archive": "UNKNOWN CB11"})
}

func (d *doctor) testUntrusted(t *testing.T, db entry) {
	other, err := pki.NewAuthority("another one")
	require.NoError(t, err)
	d.putSecret(t, db.namespace(), "nas-ca", map[string][]byte{"ca.crt": other.Cert()})
	defer func() {
		d.putSecret(t, db.namespace(), "nas-ca", map[string][]byte{"ca.crt": d.nas.Authority})
		d.archives(t, db)
	}()
	d.archivingFails(t, db)
	d.requireSaid(t, said{"exit": "3", db.name() + " archive": "UNKNOWN CB02"})
}

// encryptWAL asks the NAS to encrypt, which it cannot, or with null not to.
func (d *doctor) encryptWAL(t *testing.T, db entry, how string) {
	t.Helper()
	d.patch(t, objectStoreKind(), db.namespace(), db.name()+"-minio-store", `{"spec":{"configuration":{"wal":{"encryption":`+how+`}}}}`)
}

func (d *doctor) testNoKMS(t *testing.T, db entry) {
	d.encryptWAL(t, db, `"AES256"`)
	defer func() {
		d.encryptWAL(t, db, "null")
		d.archives(t, db)
	}()
	d.archivingFails(t, db)
	d.requireSaid(t, said{"exit": "1", db.name() + " archive": "RESTORES CB08"})
}

func (d *doctor) testWrongMethod(t *testing.T, db entry) {
	d.apply(t, "postgresql.cnpg.io/v1", "Backup", db.namespace(), "by-hand", map[string]any{
		"cluster": map[string]any{"name": db.cluster()},
	})
	defer d.delete(t, backupKind(), db.namespace(), "by-hand")
	d.requireSaid(t, said{"exit": "1", db.name() + " archive": "RESTORES CB42"})
}

func (d *doctor) testFiveFields(t *testing.T, db entry) {
	d.apply(t, "postgresql.cnpg.io/v1", "ScheduledBackup", db.namespace(), "nightly", map[string]any{
		"schedule": "0 2 * * *", "cluster": map[string]any{"name": db.cluster()}, "method": "plugin",
		"pluginConfiguration": map[string]any{"name": barmanPlugin},
	})
	defer d.delete(t, scheduledBackupKind(), db.namespace(), "nightly")
	d.requireSaid(t, said{"exit": "1", db.name() + " archive": "RESTORES CB43"})
}

func (d *doctor) testSuspended(t *testing.T, db entry) {
	db["suspend"] = true
	defer func() {
		delete(db, "suspend")
		d.up(t)
	}()
	d.up(t)
	d.requireSaid(t, said{"exit": "1", db.name() + " archive": "RESTORES CB44"})
}

func cronJobKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "CronJob"}
}

func (d *doctor) testMirrorSuspended(t *testing.T, db entry) {
	d.patch(t, cronJobKind(), db.namespace(), db.cluster()+"-mirror", `{"spec":{"suspend":true}}`)
	defer d.patch(t, cronJobKind(), db.namespace(), db.cluster()+"-mirror", `{"spec":{"suspend":false}}`)
	d.requireSaid(t, said{"exit": "1", db.name() + " mirror": "RESTORES CB62"})
}

func (d *doctor) testMirrorFails(t *testing.T, db entry) {
	reader, err := d.nas.Reader(t.Context())
	require.NoError(t, err)
	d.putNASKey(t, db.namespace(), reader)
	defer func() {
		d.putNASKey(t, db.namespace(), d.nas)
		d.mirror(t, db)
	}()
	d.write(t, db, 100)
	d.archived(t, db)
	job := d.startMirror(t, db)
	eventually(t, d.patience, "the mirror gives up", func(ctx context.Context) error { return d.jobFailed(ctx, job) })
	d.requireSaid(t, said{"exit": "1", db.name() + " mirror": "RESTORES CB61"})
}

func (w *world) jobFailed(ctx context.Context, job *batchv1.Job) error {
	found, err := w.typed.BatchV1().Jobs(job.Namespace).Get(ctx, job.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, condition := range found.Status.Conditions {
		if condition.Type == batchv1.JobFailed {
			return nil
		}
	}
	return fmt.Errorf("active %d, failed %d", found.Status.Active, found.Status.Failed)
}

func (d *doctor) testBitwardenAway(t *testing.T, db entry) {
	// External Secrets reads again when somebody touches the object.
	read := func() {
		kind := schema.GroupVersionKind{Group: "external-secrets.io", Version: "v1", Kind: "ExternalSecret"}
		d.patch(t, kind, db.namespace(), secretOf()[b2Item],
			fmt.Sprintf(`{"metadata":{"annotations":{"force-sync":"%d"}}}`, time.Now().UnixNano()))
	}
	d.bitwarden.Away(true)
	defer func() {
		d.bitwarden.Away(false)
		read()
	}()
	read()
	d.requireSaid(t, said{"exit": "1", db.name() + " archive": "RESTORES CB12"})
}

// testChecksums has the store refuse what boto3 sends unless it is told not to,
// and tells it so too late: the pod has to be made again.
func (d *doctor) testChecksums(t *testing.T, db entry, b2 *gate) {
	store := db.name() + "-b2-store"
	object, err := d.client.Get(t.Context(), objectStoreKind(), db.namespace(), store)
	require.NoError(t, err)
	given, _, err := unstructured.NestedSlice(object.Object, "spec", "instanceSidecarConfiguration", "env")
	require.NoError(t, err)
	require.NotEmpty(t, given)
	tell := func(env []any) {
		patch, err := json.Marshal(map[string]any{"spec": map[string]any{"instanceSidecarConfiguration": map[string]any{"env": env}}})
		require.NoError(t, err)
		d.patch(t, objectStoreKind(), db.namespace(), store, string(patch))
	}
	refused := said{"exit": "1", db.name() + " archive": "RESTORES CB07"}
	tell([]any{})
	defer func() {
		tell(given)
		d.restart(t, db)
		d.archives(t, db)
	}()
	d.restart(t, db)
	b2.answers(refuseChecksums, func() {
		d.archivingFails(t, db)
		d.requireSaid(t, refused)
		tell(given)
		d.requireSaid(t, refused)
	})
}

// restart makes a database's only pod anew.
func (w *world) restart(t *testing.T, db entry) {
	t.Helper()
	pods := w.typed.CoreV1().Pods(db.namespace())
	name, err := w.primary(t.Context(), db.namespace(), db.cluster())
	require.NoError(t, err)
	before, err := pods.Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	require.NoError(t, pods.Delete(t.Context(), name, metav1.DeleteOptions{}))
	eventually(t, 5*time.Minute, name+" is another pod", func(ctx context.Context) error {
		now, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err == nil && now.UID == before.UID {
			err = errors.New("it is the same")
		}
		return err
	})
	w.ready(t, db.namespace(), db.cluster())
}

// testNoPlugin takes the plugin away, of which every Cluster complains.
func (d *doctor) testNoPlugin(t *testing.T) {
	replicas := func(count int) {
		kind := schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
		d.patch(t, kind, "cnpg-system", "barman-cloud", fmt.Sprintf(`{"spec":{"replicas":%d}}`, count))
	}
	replicas(0)
	defer replicas(1)
	d.requireSaid(t, said{"exit": "1", "shop archive": "RESTORES CB21", "till archive": "RESTORES CB21"})
}

func (d *doctor) testOutOfMemory(t *testing.T, db entry) {
	store := db.name() + "-b2-store"
	limit := func(memory string) {
		d.patch(t, objectStoreKind(), db.namespace(), store,
			`{"spec":{"instanceSidecarConfiguration":{"resources":{"limits":{"memory":`+memory+`}}}}}`)
	}
	limit(`"90Mi"`)
	defer func() {
		limit("null")
		d.restart(t, db)
		d.takeBackup(t, db.namespace(), db.cluster(), "in-memory")
	}()
	d.requireSaid(t, said{"exit": "1", db.name() + " archive": "RESTORES CB24"})
	d.restart(t, db)
	d.startBackup(t, db.namespace(), db.cluster(), "out-of-memory")
	d.requireSaid(t, said{"exit": "1", db.name() + " archive": "RESTORES CB23"})
}

// testStuck keeps a base backup from ending, and says that it began yesterday.
func (d *doctor) testStuck(t *testing.T, db entry, b2 *gate) {
	ctx, release := context.WithCancel(t.Context())
	defer release()
	b2.answers(hold(ctx, "/base/"), func() {
		d.startBackup(t, db.namespace(), db.cluster(), "endless")
		defer d.delete(t, backupKind(), db.namespace(), "endless")
		eventually(t, time.Minute, "the base backup has begun", func(ctx context.Context) error {
			backup, err := d.client.Get(ctx, backupKind(), db.namespace(), "endless")
			if err == nil && field(backup, "status", "phase") != "started" {
				err = fmt.Errorf("phase %q", field(backup, "status", "phase"))
			}
			return err
		})
		began := time.Now().Add(-30 * time.Hour).UTC().Format(time.RFC3339)
		require.NoError(t, d.client.PatchStatus(t.Context(), backupKind(), db.namespace(), "endless",
			[]byte(`{"status":{"reconciliationStartedAt":"`+began+`"}}`)))
		d.requireSaid(t, said{"exit": "1", db.name() + " archive": "RESTORES CB41"})
	})
}

// testFailedUpload has the store refuse the end of a base backup's data, after
// PostgreSQL has ended the base backup. barman says FAILED in the bucket, with an
// end_time, and may not come to its own end, so that the next one waits for it.
func (d *doctor) testFailedUpload(t *testing.T, db entry, b2 *gate) {
	defer d.takeBackup(t, db.namespace(), db.cluster(), "uploaded")
	b2.answers(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/data.tar") {
			return false
		}
		refuse(w, r, http.StatusInternalServerError, "InternalError", "An internal error occurred.")
		return true
	}, func() {
		d.startBackup(t, db.namespace(), db.cluster(), "not-uploaded")
		defer d.delete(t, backupKind(), db.namespace(), "not-uploaded")
		d.requireSaid(t, said{"exit": "1", db.name() + " archive": "RESTORES CB48"})
	})
}

// hidden are the keys of a store below a prefix that have a word in them.
func hidden(t *testing.T, store *s3server.Store, prefix, word string) []string {
	t.Helper()
	objects, err := store.List(t.Context(), prefix)
	require.NoError(t, err)
	var keys []string
	for _, object := range objects {
		if strings.Contains(object.Key, word) {
			keys = append(keys, object.Key)
		}
	}
	require.NotEmpty(t, keys, "%s with %s", prefix, word)
	return keys
}

// without hides objects of a store while something runs.
func without(t *testing.T, store *s3server.Store, prefix, word string, during func()) {
	t.Helper()
	back, err := store.Hide(hidden(t, store, prefix, word)...)
	require.NoError(t, err)
	defer func() { require.NoError(t, back()) }()
	during()
}

func (d *doctor) testNoBackup(t *testing.T, db entry) {
	archive, _ := d.stores(db)
	without(t, archive, db.folder(db.serverName())+"/base/", "", func() {
		d.requireSaid(t, said{"exit": "2", db.name() + " archive": "DOES NOT CB46"})
	})
}

func (d *doctor) testNoFirstWAL(t *testing.T, db entry) {
	archive, _ := d.stores(db)
	backups, err := catalogue.Backups(t.Context(), archive, db.folder(db.serverName()))
	require.NoError(t, err)
	require.Len(t, backups, 1)
	without(t, archive, db.folder(db.serverName())+"/wals/", backups[0].BeginWAL, func() {
		d.requireSaid(t, said{"exit": "2", db.name() + " archive": "DOES NOT CB49"})
	})
}

// annex is a database that begins as a copy of another one, and does not come to
// its beginning.
func (d *doctor) annex(t *testing.T, db entry, during func(annex entry), changes entry) {
	t.Helper()
	annex := d.copyOf(db, "annex", "b2")
	maps.Copy(annex["recovery"].(entry), changes)
	d.add(annex)
	defer func() {
		d.remove("annex")
		d.up(t)
	}()
	d.up(t)
	during(annex)
}

// testNothingToRecover begins with the backups of a life that never was.
func (d *doctor) testNothingToRecover(t *testing.T, db entry) {
	d.annex(t, db, func(annex entry) {
		d.eventuallySays(t, annex.namespace(), annex.cluster(), "no target backup found")
		d.requireSaid(t, said{"exit": "2", "annex archive": "DOES NOT CB71", "annex mirror": "DOES NOT"})
		d.delete(t, objectStoreKind(), annex.namespace(), "annex-recovery-store")
		d.requireSaid(t, said{"exit": "2", "annex archive": "DOES NOT CB72", "annex mirror": "DOES NOT"})
	}, entry{"generation": 7})
}

// testTargetTooLate wants what is written tomorrow.
func (d *doctor) testTargetTooLate(t *testing.T, db entry) {
	tomorrow := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
	d.annex(t, db, func(annex entry) {
		d.eventuallySays(t, annex.namespace(), annex.cluster(), "recovery ended before configured recovery target was reached")
		d.requireSaid(t, said{"exit": "2", "annex archive": "DOES NOT CB73", "annex mirror": "DOES NOT"})
	}, entry{"target": entry{"targetTime": tomorrow}})
}

// testRecoveryWithoutFirstWAL restores a base backup whose first WAL is not there;
// the one before it would do.
func (d *doctor) testRecoveryWithoutFirstWAL(t *testing.T, db entry) {
	d.takeBackup(t, db.namespace(), db.cluster(), "newest")
	d.archived(t, db)
	archive, _ := d.stores(db)
	backups, err := catalogue.Backups(t.Context(), archive, db.folder(db.serverName()))
	require.NoError(t, err)
	without(t, archive, db.folder(db.serverName())+"/wals/", backups[len(backups)-1].BeginWAL, func() {
		d.annex(t, db, func(annex entry) {
			d.eventuallySays(t, annex.namespace(), annex.cluster(), "first needed WAL")
			d.requireSaid(t, said{
				"exit": "2", db.name() + " archive": "RESTORES CB49", "annex archive": "DOES NOT CB73", "annex mirror": "DOES NOT",
			})
		}, nil)
	})
}

// testProve sends a segment through both copies.
func (d *doctor) testProve(t *testing.T) {
	printed, code, err := d.run(t.Context(), "-prove")
	require.NoError(t, err)
	t.Logf("%s", printed)
	require.Zero(t, code)
}

// testFullVolume writes until the volume is full that WAL is on, which the archive
// does not take.
func (d *doctor) testFullVolume(t *testing.T, db entry) {
	d.encryptWAL(t, db, `"AES256"`)
	defer func() {
		d.encryptWAL(t, db, "null")
		require.NoError(t, d.node.ResizeVolume(t.Context(), smallVolume, 512))
		d.ready(t, db.namespace(), db.cluster())
		d.archives(t, db)
	}()
	d.archivingFails(t, db)
	eventually(t, 5*time.Minute, "the volume is full", func(ctx context.Context) error {
		for range 20 {
			if _, err := d.endSegment(ctx, db); err != nil {
				break
			}
		}
		found, err := d.client.Get(ctx, clusterKind(), db.namespace(), db.cluster())
		if err == nil && field(found, "status", "phase") != "Not enough disk space" {
			err = fmt.Errorf("phase %q", field(found, "status", "phase"))
		}
		return err
	})
	d.requireSaid(t, said{"exit": "1", db.name() + " archive": "RESTORES CB08 CB33"})
}

// smallVolume is the StorageClass of the only volume whose size counts.
const smallVolume = "small"

// testHole takes a segment away that nobody has missed for ten minutes: one that
// is younger may still be on its way.
func (d *doctor) testHole(t *testing.T, db entry) {
	archive, _ := d.stores(db)
	folder := db.folder(db.serverName())
	backups, err := catalogue.Backups(t.Context(), archive, folder)
	require.NoError(t, err)
	last := backups[len(backups)-1].EndWAL
	var after []string
	for _, key := range hidden(t, archive, folder+"/wals/", "/"+last[:16]+"/") {
		if name := key[strings.LastIndex(key, "/")+1:]; name[:24] > last && !strings.Contains(name, "backup") {
			after = append(after, name)
		}
	}
	slices.Sort(after)
	without(t, archive, folder+"/wals/", after[0], func() {
		d.requireSaid(t, said{"exit": "1", db.name() + " archive": "RESTORES CB50"})
	})
}

// testUsedServerName deletes a Cluster and makes it again, as it was.
func (d *doctor) testUsedServerName(t *testing.T, db entry) {
	object, err := d.client.Get(t.Context(), clusterKind(), db.namespace(), db.cluster())
	require.NoError(t, err)
	d.delete(t, clusterKind(), db.namespace(), db.cluster())
	d.requireSaid(t, said{"exit": "1", db.name() + " archive": "RESTORES CB91"})
	again := kube.Object(object.GetAPIVersion(), object.GetKind(), db.namespace(), db.cluster(), map[string]any{"spec": object.Object["spec"]})
	require.NoError(t, d.client.Apply(t.Context(), again))
	// Nobody owns its fields, so that the stack may.
	d.patch(t, clusterKind(), db.namespace(), db.cluster(), `{"metadata":{"managedFields":[{}]}}`)
	d.ready(t, db.namespace(), db.cluster())
	d.archivingFails(t, db)
	d.requireSaid(t, said{"exit": "1", db.name() + " archive": "RESTORES CB31"})
	db["generation"] = db.generation() + 1
	d.up(t)
	d.ready(t, db.namespace(), db.cluster())
	d.archives(t, db)
	d.backedUp(t, db)
	d.archived(t, db)
	d.mirror(t, db)
}
