//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/catalogue"
)

// These tests do by hand what this project does otherwise, and show why.

const barmanPlugin = "barman-cloud.cloudnative-pg.io"

// apply creates an object of CloudNativePG or of its plugin.
func (w *world) apply(t *testing.T, apiVersion, kind, namespace, name string, spec map[string]any) {
	t.Helper()
	require.NoError(t, w.client.Apply(t.Context(), kube.Object(apiVersion, kind, namespace, name, map[string]any{"spec": spec})))
}

// plainCluster is the spec of a cluster without anything for backups.
func (w *world) plainCluster() map[string]any {
	return map[string]any{
		"instances": int64(1), "imageName": w.postgresImage,
		"storage": map[string]any{"size": "1Gi"},
	}
}

// testBackupNamesAnotherStore shows that a Backup, and so a ScheduledBackup,
// cannot choose where it is kept.
func (w *world) testBackupNamesAnotherStore(t *testing.T, db entry) {
	w.apply(t, "postgresql.cnpg.io/v1", "Backup", db.namespace(), "to-the-nas", map[string]any{
		"cluster": map[string]any{"name": db.cluster()}, "method": "plugin",
		"pluginConfiguration": map[string]any{
			"name": barmanPlugin, "parameters": map[string]any{"barmanObjectName": db.name() + "-minio-store"},
		},
	})
	id := w.completed(t, db.namespace(), "to-the-nas")
	inArchive, err := w.b2.List(t.Context(), db.folder(db.serverName())+"/base/"+id)
	require.NoError(t, err)
	assert.NotEmpty(t, inArchive, "the backup is where the cluster's own go")
	inMirror, err := w.nas.List(t.Context(), db.folder(db.serverName())+"/base/"+id)
	require.NoError(t, err)
	assert.Empty(t, inMirror, "the store that the Backup names has nothing of it")
}

// testSourceWithoutServerName shows that a recovery source needs one.
func (w *world) testSourceWithoutServerName(t *testing.T, db entry) {
	const name = "seed-restore"
	spec := w.plainCluster()
	spec["bootstrap"] = map[string]any{"recovery": map[string]any{"source": "source"}}
	spec["externalClusters"] = []any{map[string]any{
		"name": "source",
		"plugin": map[string]any{
			"name": barmanPlugin, "parameters": map[string]any{"barmanObjectName": db.name() + "-b2-store"},
		},
	}}
	w.apply(t, "postgresql.cnpg.io/v1", "Cluster", db.namespace(), name, spec)
	defer w.delete(t, clusterKind(), db.namespace(), name)
	w.eventuallySays(t, db.namespace(), name, "no target backup found")
	found, err := w.client.Get(t.Context(), clusterKind(), db.namespace(), name)
	require.NoError(t, err)
	assert.Error(t, kube.Condition(found, "Ready"))
}

// testUsedServerName shows that a new cluster must not write where an older one
// has written: it becomes Ready and archives nothing.
func (w *world) testUsedServerName(t *testing.T, db entry) {
	const name = "seed-again"
	spec := w.plainCluster()
	spec["plugins"] = []any{map[string]any{
		"name": barmanPlugin, "isWALArchiver": true,
		"parameters": map[string]any{"barmanObjectName": db.name() + "-b2-store", "serverName": db.serverName()},
	}}
	w.apply(t, "postgresql.cnpg.io/v1", "Cluster", db.namespace(), name, spec)
	defer w.delete(t, clusterKind(), db.namespace(), name)
	w.ready(t, db.namespace(), name)
	w.eventuallySays(t, db.namespace(), name, "Expected empty archive")
	found, err := w.client.Get(t.Context(), clusterKind(), db.namespace(), name)
	require.NoError(t, err)
	assert.Error(t, kube.Condition(found, "ContinuousArchiving"), "Ready says nothing about backups")
}

// The cluster that has compression and retention where the seed has them, under
// spec.backup of the Cluster, where they do nothing.
const (
	seedCluster = "seed"
	seedStore   = "seed-b2-store"
	seedFolder  = "seed/" + seedCluster
)

// testSeedCompression starts the seed's cluster and shows that its WAL is not
// compressed. Its backups become old, for testSeedRetention.
func (w *world) testSeedCompression(t *testing.T, ours entry) {
	configuration := map[string]any{
		"destinationPath": "s3://" + w.b2.Bucket + "/seed", "endpointURL": w.b2.Endpoint,
		"s3Credentials": map[string]any{
			"accessKeyId":     map[string]any{"name": "b2-cnpg-credentials", "key": "AWS_ACCESS_KEY_ID"},
			"secretAccessKey": map[string]any{"name": "b2-cnpg-credentials", "key": "AWS_SECRET_ACCESS_KEY"},
		},
	}
	w.apply(t, "barmancloud.cnpg.io/v1", "ObjectStore", ours.namespace(), seedStore,
		map[string]any{
			"configuration":                configuration,
			"instanceSidecarConfiguration": map[string]any{"retentionPolicyIntervalSeconds": int64(5)},
		})
	spec := w.plainCluster()
	spec["backup"] = map[string]any{"retentionPolicy": "30d"}
	spec["plugins"] = []any{map[string]any{
		"name": barmanPlugin, "isWALArchiver": true, "parameters": map[string]any{"barmanObjectName": seedStore},
	}}
	w.apply(t, "postgresql.cnpg.io/v1", "Cluster", ours.namespace(), seedCluster, spec)
	w.ready(t, ours.namespace(), seedCluster)
	eventually(t, 3*time.Minute, "the seed's WAL", func(ctx context.Context) error {
		if _, err := w.psql(ctx, ours.namespace(), seedCluster, "postgres", "select pg_switch_wal()"); err != nil {
			return err
		}
		return w.hasWAL(ctx, seedFolder)
	})
	assert.Empty(t, w.suffixes(t, seedFolder), "the seed's WAL is not compressed")
	assert.Equal(t, []string{"zst"}, w.suffixes(t, ours.folder(ours.serverName())), "ours is")

	for i := range 2 {
		w.takeBackup(t, ours.namespace(), seedCluster, fmt.Sprintf("seed-%d", i))
	}
	backups, err := catalogue.Backups(t.Context(), w.b2, seedFolder)
	require.NoError(t, err)
	require.Len(t, backups, 2)
	require.NoError(t, catalogue.MakeOlder(t.Context(), w.b2, seedFolder, backups[0].ID, 50))
	require.NoError(t, catalogue.MakeOlder(t.Context(), w.b2, seedFolder, backups[1].ID, 40))
}

// testSeedRetention shows that the sidecar prunes nothing of the seed's: it says
// how old the first backup is when it has deleted what it is to delete. After a
// first look at an empty archive it takes five minutes to look again.
func (w *world) testSeedRetention(t *testing.T, namespace string) {
	kind := schema.GroupVersionKind{Group: "barmancloud.cnpg.io", Version: "v1", Kind: "ObjectStore"}
	eventually(t, 7*time.Minute, "the seed keeps a backup that its retention makes obsolete", func(ctx context.Context) error {
		found, err := w.client.Get(ctx, kind, namespace, seedStore)
		if err != nil {
			return err
		}
		first, err := time.Parse(time.RFC3339, field(found, "status", "serverRecoveryWindow", seedCluster, "firstRecoverabilityPoint"))
		if err == nil && time.Since(first) < 45*24*time.Hour {
			err = fmt.Errorf("the first is of %s", first)
		}
		return err
	})
	w.delete(t, clusterKind(), namespace, seedCluster)
}

func (w *world) hasWAL(ctx context.Context, server string) error {
	objects, err := w.b2.List(ctx, server+"/wals/")
	if err == nil && len(objects) == 0 {
		err = errors.New("nothing yet")
	}
	return err
}

// suffixes are those of the WAL segments of a server name.
func (w *world) suffixes(t *testing.T, server string) []string {
	t.Helper()
	objects, err := w.b2.List(t.Context(), server+"/wals/")
	require.NoError(t, err)
	seen, found := map[string]bool{}, []string(nil)
	for _, object := range objects {
		file := object.Key[strings.LastIndex(object.Key, "/")+1:]
		segment, suffix, compressed := strings.Cut(file, ".")
		if compressed && len(segment) == 24 && !strings.Contains(suffix, "backup") && !seen[suffix] {
			seen[suffix] = true
			found = append(found, suffix)
		}
	}
	return found
}

// eventuallySays waits until a container of a cluster's pods says something.
func (w *world) eventuallySays(t *testing.T, namespace, name, text string) {
	t.Helper()
	eventually(t, 5*time.Minute, name+" says: "+text, func(ctx context.Context) error {
		pods, err := w.typed.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "cnpg.io/cluster=" + name})
		if err != nil {
			return err
		}
		for _, pod := range pods.Items {
			for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
				if strings.Contains(w.logs(ctx, namespace, pod.Name, container.Name, 1000), text) {
					return nil
				}
			}
		}
		return fmt.Errorf("%d pods do not say so: %s", len(pods.Items), podStates(pods.Items))
	})
}

func podStates(pods []corev1.Pod) string {
	states := make([]string, 0, len(pods))
	for _, pod := range pods {
		states = append(states, pod.Name+" "+string(pod.Status.Phase))
	}
	return strings.Join(states, ", ")
}
