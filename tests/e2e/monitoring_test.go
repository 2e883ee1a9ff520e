//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/monitoring"
)

// pictureVariable names the file for a picture of the dashboard.
const pictureVariable = "E2E_PICTURE"

// release is the label by which Prometheus takes objects for its own, as in
// kube-prometheus-stack.
func release() map[string]string { return map[string]string{"release": "kube-prometheus-stack"} }

// watched is a world with a real Prometheus, which the real Prometheus operator
// configures.
type watched struct {
	*world
	prometheus *monitoring.Watch
}

// TestMonitoring causes faults and wants to be told of each by its alert, and of
// none by another.
//
// An alert fires when its expression has been true for a time, which is up to a day.
// Here that time is a thousandth, and five seconds at most; nothing else of the
// rules is changed.
func TestMonitoring(t *testing.T) {
	w := &watched{world: newWorld(t)}
	if w.node == nil {
		t.Skip("it takes a node of its own")
	}
	shop, books := w.newDatabase("shop", "e2e-apps", 1), w.newDatabase("books", "e2e-office", 1)
	// 16 segments.
	shop.spec()["walStorage"] = entry{"size": "256Mi"}
	maps.Copy(shop.spec()["postgresql"].(entry)["parameters"].(entry), entry{
		"max_wal_size": "64MB", "min_wal_size": "32MB", "wal_keep_size": "32MB",
	})
	books["immediate"] = false
	w.settings = entry{"cnpg-backup:monitoring": entry{"enabled": true, "labels": release()}}
	// Their runs are a matter of the drills' own tests.
	shop["drill"] = entry{"enabled": true, "b2Schedule": "0 0 1 1 *", "minioSchedule": "0 0 1 1 *"}
	w.add(shop, books)

	w.watch(t)
	require.True(t, t.Run("an environment goes up", func(t *testing.T) {
		w.up(t)
		for _, db := range w.databases {
			w.ready(t, db.namespace(), db.cluster())
			w.archiving(t, db.namespace(), db.cluster())
		}
		w.backedUp(t, shop)
		w.write(t, shop, 1000)
		w.archived(t, shop)
		w.runMirror(t, shop)
		w.takeOver(t)
	}), "what follows needs this")
	t.Run("no base backup yet", func(t *testing.T) {
		w.fires(t, books, "CNPGBackupNone", "CB46")
		w.takeBackup(t, books.namespace(), books.cluster(), "first")
		w.silent(t, books)
		w.silent(t, shop)
	})
	t.Run("the schedule is suspended", func(t *testing.T) {
		kind := schema.GroupVersionKind{Group: "postgresql.cnpg.io", Version: "v1", Kind: "ScheduledBackup"}
		w.patch(t, kind, shop.namespace(), shop.cluster()+"-backup", true, "spec", "suspend")
		w.fires(t, shop, "CNPGScheduledBackupSuspended", "CB44")
		w.patch(t, kind, shop.namespace(), shop.cluster()+"-backup", false, "spec", "suspend")
		w.silent(t, shop)
	})
	t.Run("the mirror is suspended", func(t *testing.T) {
		kind := schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "CronJob"}
		w.patch(t, kind, shop.namespace(), shop.cluster()+"-mirror", true, "spec", "suspend")
		w.fires(t, shop, "CNPGMirrorSuspended", "CB62")
		w.patch(t, kind, shop.namespace(), shop.cluster()+"-mirror", false, "spec", "suspend")
		w.silent(t, shop)
	})
	t.Run("a key cannot be read from Bitwarden", func(t *testing.T) {
		w.bitwarden.Away(true)
		w.syncSecrets(t, shop.namespace())
		w.fires(t, shop, "CNPGCredentialsNotSynced", "CB12")
		w.bitwarden.Away(false)
		w.syncSecrets(t, shop.namespace())
		w.silent(t, shop)
	})
	t.Run("the archive is away", func(t *testing.T) {
		stopped(t, w.b2, func() {
			w.query(t, shop, "select pg_logical_emit_message(true, 'e2e', 'more')")
			w.query(t, shop, "select pg_switch_wal()")
			w.fires(t, shop, "CNPGWALArchivingFailing", "CB32")
			for range 16 {
				w.query(t, shop, "select pg_logical_emit_message(true, 'e2e', 'more')")
				w.query(t, shop, "select pg_switch_wal()")
			}
			w.fires(t, shop, "CNPGWALVolumeAlmostFull", "CB33")
			w.seenOnPanels(t)
		})
		w.archived(t, shop)
		w.silent(t, shop)
	})
}

// watch starts Prometheus and what it needs.
func (w *watched) watch(t *testing.T) {
	t.Helper()
	var err error
	w.prometheus, err = monitoring.Start(t.Context(), monitoring.Options{
		Cluster: w.config, Labels: release(), States: statesOfObjects(t), Dir: t.TempDir(), Every: 2 * time.Second,
		For: func(stands time.Duration) time.Duration { return min(stands/1000, 5*time.Second) },
	})
	require.NoError(t, err)
	t.Cleanup(w.prometheus.Stop)
	// As in the chart of External Secrets, when metrics and their ServiceMonitor are
	// switched on:
	// https://github.com/external-secrets/external-secrets/blob/v2.9.0/deploy/charts/external-secrets/templates/servicemonitor.yaml
	const name = "external-secrets"
	monitor := kube.Object("monitoring.coreos.com/v1", "ServiceMonitor", name, name+"-metrics", map[string]any{"spec": map[string]any{
		"selector":  map[string]any{"matchLabels": map[string]any{"app": name}},
		"endpoints": []any{map[string]any{"port": "metrics"}},
	}})
	monitor.SetLabels(release())
	service := kube.Object("v1", "Service", name, name+"-metrics", map[string]any{"spec": map[string]any{
		"selector": map[string]any{"app": name},
		"ports":    []any{map[string]any{"name": "metrics", "port": int64(8080), "targetPort": int64(8080)}},
	}})
	service.SetLabels(map[string]string{"app": name})
	require.NoError(t, w.client.Apply(t.Context(), service, monitor))
}

// takeOver has Prometheus take over what the operator makes of the objects as they
// are now. The operator takes a moment.
func (w *watched) takeOver(t *testing.T) {
	t.Helper()
	time.Sleep(5 * time.Second)
	require.NoError(t, w.prometheus.Reload(t.Context()))
}

// firing are the alerts about a database that fire, with their codes.
func (w *watched) firing(ctx context.Context, db entry) (map[string]string, error) {
	answer, err := w.prometheus.Ask(ctx, fmt.Sprintf(`ALERTS{alertstate="firing",namespace=%q,cnpg_cluster=~"%s|"}`, db.namespace(), db.cluster()))
	if err != nil {
		return nil, err
	}
	firing := map[string]string{}
	for _, alert := range answer {
		firing[string(alert.Metric["alertname"])] = string(alert.Metric["code"])
	}
	return firing, nil
}

// fires waits until one alert about a database fires, and none beside it.
func (w *watched) fires(t *testing.T, db entry, alert, code string) {
	t.Helper()
	w.firesOnly(t, db, map[string]string{alert: code})
}

// silent waits until none fires.
func (w *watched) silent(t *testing.T, db entry) {
	t.Helper()
	w.firesOnly(t, db, map[string]string{})
}

func (w *watched) firesOnly(t *testing.T, db entry, want map[string]string) {
	t.Helper()
	eventually(t, 4*time.Minute, fmt.Sprintf("of %s fires %v", db.name(), slices.Collect(maps.Keys(want))), func(ctx context.Context) error {
		firing, err := w.firing(ctx, db)
		if err == nil && !maps.Equal(firing, want) {
			err = fmt.Errorf("these fire: %v", firing)
		}
		return err
	})
}

// patch changes one field of an object, as somebody would by hand.
func (w *watched) patch(t *testing.T, kind schema.GroupVersionKind, namespace, name string, value any, path ...string) {
	t.Helper()
	eventually(t, time.Minute, "change of "+name, func(ctx context.Context) error {
		object, err := w.client.Get(ctx, kind, namespace, name)
		if err != nil {
			return err
		}
		if err := unstructured.SetNestedField(object.Object, value, path...); err != nil {
			return err
		}
		objects, err := w.client.Resource(kind, namespace)
		if err == nil {
			_, err = objects.Update(ctx, object, metav1.UpdateOptions{})
		}
		return err
	})
}

// startRun starts a run of the mirror that counts as one of the CronJob's own, as
// "kubectl create job --from" does, and has a name like those.
func (w *watched) startRun(t *testing.T, db entry) *batchv1.Job {
	t.Helper()
	cron, err := w.typed.BatchV1().CronJobs(db.namespace()).Get(t.Context(), db.cluster()+"-mirror", metav1.GetOptions{})
	require.NoError(t, err)
	job, err := w.typed.BatchV1().Jobs(db.namespace()).Create(t.Context(), &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name:            fmt.Sprintf("%s-%d", cron.Name, time.Now().Unix()),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(cron, batchv1.SchemeGroupVersion.WithKind("CronJob"))},
		},
		Spec: cron.Spec.JobTemplate.Spec,
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	return job
}

// runMirror wants such a run to end well.
func (w *watched) runMirror(t *testing.T, db entry) {
	t.Helper()
	job := w.startRun(t, db)
	eventually(t, w.patience, "mirror of "+db.cluster(), func(ctx context.Context) error { return w.jobDone(ctx, job) })
}

// syncSecrets has External Secrets read Bitwarden now.
func (w *watched) syncSecrets(t *testing.T, namespace string) {
	t.Helper()
	kind := schema.GroupVersionKind{Group: "external-secrets.io", Version: "v1", Kind: "ExternalSecret"}
	secrets, err := w.client.List(t.Context(), kind, namespace)
	require.NoError(t, err)
	for _, secret := range secrets {
		w.patch(t, kind, namespace, secret.GetName(), time.Now().Format(time.RFC3339Nano), "metadata", "annotations", "force-sync")
	}
}

// board is the dashboard as it is in the cluster.
func (w *watched) board(t *testing.T) monitoring.Board {
	t.Helper()
	maps, err := w.typed.CoreV1().ConfigMaps("").List(t.Context(), metav1.ListOptions{LabelSelector: "grafana_dashboard=1"})
	require.NoError(t, err)
	require.Len(t, maps.Items, 1)
	board, err := monitoring.ReadBoard([]byte(maps.Items[0].Data["cnpg-backup-dashboard.json"]))
	require.NoError(t, err)
	return board
}

// seenOnPanels wants each query of the dashboard to be answered with rows.
func (w *watched) seenOnPanels(t *testing.T) {
	t.Helper()
	board := w.board(t)
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			answer, err := w.prometheus.Ask(t.Context(), target.Expr)
			if assert.NoError(t, err, panel.Title) {
				assert.NotEmpty(t, answer, "%s, %s: %s", panel.Title, target.RefID, target.Expr)
			}
		}
	}
	if file := os.Getenv(pictureVariable); file != "" {
		picture, err := w.prometheus.Picture(t.Context(), board, 15*time.Minute)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, picture, 0o600))
	}
}

// statesOfObjects is the file with what kube-state-metrics is to tell of the
// operators' objects, as it is in the values for its chart.
func statesOfObjects(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(project, "docs", "kube-state-metrics.yaml"))
	require.NoError(t, err)
	var values struct {
		Chart struct {
			States struct{ Config any } `json:"customResourceState"`
		} `json:"kube-state-metrics"`
	}
	require.NoError(t, yaml.Unmarshal(content, &values))
	states, err := yaml.Marshal(values.Chart.States.Config)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "states.yaml")
	require.NoError(t, os.WriteFile(file, states, 0o600))
	return file
}
