//go:build e2e

package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/provider"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/pki"
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
		w.query(t, db, "select pg_logical_emit_message(true, 'e2e', 'the end of a segment')")
		w.query(t, db, "select pg_switch_wal()")
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
	d.archivingFails(t, db)
	d.requireSaid(t, said{"exit": "3", db.name() + " archive": "UNKNOWN CB03", "till mirror": "UNKNOWN CB03"})
	require.NoError(t, store.Made(t.Context(), provider.B2Key{
		ID: key["AWS_ACCESS_KEY_ID"], Secret: key["AWS_SECRET_ACCESS_KEY"],
		Capabilities: []string{"listBuckets", "listFiles", "readFiles", "writeFiles", "deleteFiles"},
	}))
	d.archives(t, db)
}

func (d *doctor) testLineBreak(t *testing.T, db entry) {
	d.putSecret(t, db.namespace(), "nas-credentials", map[string][]byte{
		"AWS_ACCESS_KEY_ID": []byte(d.nas.KeyID + "\n"), "AWS_SECRET_ACCESS_KEY": []byte(d.nas.Key),
	})
	d.archivingFails(t, db)
	d.requireSaid(t, said{"exit": "3", db.name() + " archive": "UNKNOWN CB11"})
	d.putKey(t, db.namespace(), "nas-credentials", d.nas)
	d.archives(t, db)
}

func (d *doctor) testUntrusted(t *testing.T, db entry) {
	other, err := pki.NewAuthority("another one")
	require.NoError(t, err)
	d.putSecret(t, db.namespace(), "nas-ca", map[string][]byte{"ca.crt": other.Cert()})
	d.archivingFails(t, db)
	d.requireSaid(t, said{"exit": "3", db.name() + " archive": "UNKNOWN CB02"})
	d.putSecret(t, db.namespace(), "nas-ca", map[string][]byte{"ca.crt": d.nas.Authority})
	d.archives(t, db)
}

func (d *doctor) testNoKMS(t *testing.T, db entry) {
	store := db.name() + "-minio-store"
	d.patch(t, objectStoreKind(), db.namespace(), store, `{"spec":{"configuration":{"wal":{"encryption":"AES256"}}}}`)
	d.archivingFails(t, db)
	d.requireSaid(t, said{"exit": "1", db.name() + " archive": "RESTORES CB08"})
	d.patch(t, objectStoreKind(), db.namespace(), store, `{"spec":{"configuration":{"wal":{"encryption":null}}}}`)
	d.archives(t, db)
}

func (d *doctor) testWrongMethod(t *testing.T, db entry) {
	d.apply(t, "postgresql.cnpg.io/v1", "Backup", db.namespace(), "by-hand", map[string]any{
		"cluster": map[string]any{"name": db.cluster()},
	})
	d.requireSaid(t, said{"exit": "1", db.name() + " archive": "RESTORES CB42"})
	d.delete(t, backupKind(), db.namespace(), "by-hand")
}

func (d *doctor) testFiveFields(t *testing.T, db entry) {
	d.apply(t, "postgresql.cnpg.io/v1", "ScheduledBackup", db.namespace(), "nightly", map[string]any{
		"schedule": "0 2 * * *", "cluster": map[string]any{"name": db.cluster()}, "method": "plugin",
		"pluginConfiguration": map[string]any{"name": barmanPlugin},
	})
	d.requireSaid(t, said{"exit": "1", db.name() + " archive": "RESTORES CB43"})
	d.delete(t, scheduledBackupKind(), db.namespace(), "nightly")
}

func (d *doctor) testSuspended(t *testing.T, db entry) {
	db["suspend"] = true
	d.up(t)
	d.requireSaid(t, said{"exit": "1", db.name() + " archive": "RESTORES CB44"})
	delete(db, "suspend")
	d.up(t)
}

func cronJobKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "CronJob"}
}

func (d *doctor) testMirrorSuspended(t *testing.T, db entry) {
	d.patch(t, cronJobKind(), db.namespace(), db.cluster()+"-mirror", `{"spec":{"suspend":true}}`)
	d.requireSaid(t, said{"exit": "1", db.name() + " mirror": "RESTORES CB62"})
	d.patch(t, cronJobKind(), db.namespace(), db.cluster()+"-mirror", `{"spec":{"suspend":false}}`)
}

func (d *doctor) testMirrorFails(t *testing.T, db entry) {
	reader, err := d.nas.Reader(t.Context())
	require.NoError(t, err)
	d.putKey(t, db.namespace(), "nas-credentials", reader)
	d.write(t, db, 100)
	d.archived(t, db)
	job := d.startMirror(t, db)
	eventually(t, d.patience, "the mirror gives up", func(ctx context.Context) error { return d.jobFailed(ctx, job) })
	d.requireSaid(t, said{"exit": "1", db.name() + " mirror": "RESTORES CB61"})
	d.putKey(t, db.namespace(), "nas-credentials", d.nas)
	d.mirror(t, db)
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
	read()
	d.requireSaid(t, said{"exit": "1", db.name() + " archive": "RESTORES CB12"})
	d.bitwarden.Away(false)
	read()
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
	d.restart(t, db)
	b2.answers(refuseChecksums, func() {
		d.archivingFails(t, db)
		d.requireSaid(t, refused)
		tell(given)
		d.requireSaid(t, refused)
		d.restart(t, db)
		d.archives(t, db)
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
