//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
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
	b2 := newGate(t, w.host, w.b2)
	w.b2Config["endpoint"] = b2.Endpoint
	shop, books := w.newDatabase("shop", "e2e-apps", 1), w.newDatabase("books", "e2e-office", 1)
	// 16 segments.
	shop.spec()["walStorage"] = entry{"size": "256Mi"}
	maps.Copy(shop.spec()["postgresql"].(entry)["parameters"].(entry), entry{
		"max_wal_size": "64MB", "min_wal_size": "32MB", "wal_keep_size": "32MB",
	})
	books["immediate"] = false
	books["b2"] = entry{"sidecar": entry{"resources": entry{"limits": entry{"memory": "256Mi"}}}}
	w.settings = entry{"cnpg-backup:monitoring": entry{"enabled": true, "labels": release()}}
	// Their runs are a matter of the drills' own tests.
	shop["drill"] = drills()
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
		w.run(t, shop.namespace(), shop.cluster()+"-mirror")
		w.takeOver(t)
	}), "what follows needs this")
	t.Run("no base backup yet", func(t *testing.T) {
		w.fires(t, books, "CNPGBackupNone", "CB46")
		w.takeBackup(t, books.namespace(), books.cluster(), "first")
		w.silent(t, books)
		w.silent(t, shop)
	})
	t.Run("nothing is scraped", func(t *testing.T) {
		kind := schema.GroupVersionKind{Group: "monitoring.coreos.com", Version: "v1", Kind: "PodMonitor"}
		label := func(value string) {
			w.patch(t, kind, books.namespace(), books.cluster()+"-monitoring", value, "metadata", "labels", "release")
			w.takeOver(t)
		}
		label("another-prometheus")
		w.fires(t, books, "CNPGNotMonitored", "CB92")
		label(release()["release"])
		w.silent(t, books)
	})
	t.Run("the schedule is suspended", func(t *testing.T) {
		w.patch(t, scheduledBackupKind(), shop.namespace(), shop.cluster()+"-backup", true, "spec", "suspend")
		w.fires(t, shop, "CNPGScheduledBackupSuspended", "CB44")
		w.patch(t, scheduledBackupKind(), shop.namespace(), shop.cluster()+"-backup", false, "spec", "suspend")
		w.silent(t, shop)
	})
	t.Run("the mirror is suspended", func(t *testing.T) {
		w.patch(t, cronJobKind(), shop.namespace(), shop.cluster()+"-mirror", true, "spec", "suspend")
		w.fires(t, shop, "CNPGMirrorSuspended", "CB62")
		w.patch(t, cronJobKind(), shop.namespace(), shop.cluster()+"-mirror", false, "spec", "suspend")
		w.silent(t, shop)
	})
	t.Run("the archive is away", func(t *testing.T) {
		stopped(t, w.b2, func() {
			endSegments := func(count int) {
				for range count {
					_, err := w.endSegment(t.Context(), shop)
					require.NoError(t, err)
				}
			}
			endSegments(1)
			w.fires(t, shop, "CNPGWALArchivingFailing", "CB32")
			endSegments(16)
			w.fires(t, shop, "CNPGWALVolumeAlmostFull", "CB33")
			w.seenOnPanels(t)
		})
		w.archived(t, shop)
		// It takes away what is archived. One by the clock waits for something new.
		w.query(t, shop, "checkpoint")
		w.silent(t, shop)
	})
	t.Run("the first run of the mirror fails", func(t *testing.T) { w.testMirror(t, books, "CNPGMirrorNever") })
	t.Run("a later run of the mirror fails", func(t *testing.T) {
		w.write(t, books, 100)
		w.archived(t, books)
		w.testMirror(t, books, "CNPGMirrorFailing")
	})
	t.Run("a key cannot be read from Bitwarden", func(t *testing.T) {
		w.bitwarden.Away(true)
		w.syncSecrets(t, shop.namespace())
		w.fires(t, shop, "CNPGCredentialsNotSynced", "CB12")
		w.bitwarden.Away(false)
		w.syncSecrets(t, shop.namespace())
		w.silent(t, shop)
	})
	t.Run("the upload of a base backup is refused", func(t *testing.T) { w.testBackup(t, shop, b2) })
	t.Run("a drill fails", func(t *testing.T) {
		drill := shop.name() + "-drill-" + string(cnpg.MinIO)
		w.strangers(t, shop, func() {
			w.runFails(t, shop.namespace(), drill)
			w.fires(t, shop, "CNPGDrillFailed", "CB83")
		})
		w.run(t, shop.namespace(), drill)
		w.silent(t, shop)
	})
	t.Run("the sidecar runs out of memory", func(t *testing.T) { w.testMemory(t, books) })
	t.Run("each metric of a rule or a panel is there", func(t *testing.T) { w.testMetrics(t, books) })
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

// startRun starts a run that counts as one of the CronJob's own, as "kubectl create
// job --from" does, and has a name like those. It is not tried again.
func (w *watched) startRun(t *testing.T, namespace, cronJob string) *batchv1.Job {
	t.Helper()
	return w.startJob(t, namespace, cronJob, func(cron *batchv1.CronJob, job *batchv1.Job) {
		job.Name = fmt.Sprintf("%s-%d", cron.Name, time.Now().Unix())
		job.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(cron, batchv1.SchemeGroupVersion.WithKind("CronJob"))}
		job.Spec.BackoffLimit = new(int32(0))
	})
}

// run wants such a run to end well.
func (w *watched) run(t *testing.T, namespace, cronJob string) {
	t.Helper()
	job := w.startRun(t, namespace, cronJob)
	eventually(t, w.patience, job.Name+" ends well", func(ctx context.Context) error { return w.jobDone(ctx, job) })
}

// runFails wants it to fail.
func (w *watched) runFails(t *testing.T, namespace, cronJob string) {
	t.Helper()
	job := w.startRun(t, namespace, cronJob)
	eventually(t, w.patience, job.Name+" fails", func(ctx context.Context) error { return w.jobFailed(ctx, job) })
}

// strangers has the NAS refuse what a database's namespace has for a key.
func (w *watched) strangers(t *testing.T, db entry, during func()) {
	t.Helper()
	stranger := *w.nas
	stranger.KeyID = "stranger"
	w.putNASKey(t, db.namespace(), &stranger)
	defer w.putNASKey(t, db.namespace(), w.nas)
	during()
}

// testMirror has a run of the mirror fail, of which one alert tells.
func (w *watched) testMirror(t *testing.T, db entry, alert string) {
	w.strangers(t, db, func() {
		w.runFails(t, db.namespace(), db.cluster()+"-mirror")
		w.fires(t, db, alert, "CB61")
	})
	w.run(t, db.namespace(), db.cluster()+"-mirror")
	w.silent(t, db)
}

// testBackup has the store take no data of base backups, as B2 does when an account
// may hold no more (https://github.com/restic/restic/issues/3265). An upload in
// parts begins with a POST.
func (w *watched) testBackup(t *testing.T, db entry, b2 *gate) {
	b2.answers(func(out http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || !strings.Contains(r.URL.Path, "/base/") {
			return false
		}
		refuse(out, r, http.StatusForbidden, "AccessDenied", "Cannot upload files, storage cap exceeded.")
		return true
	}, func() {
		w.startBackup(t, db.namespace(), db.cluster(), "refused")
		w.fires(t, db, "CNPGBackupFailed", "CB45")
	})
	// The sidecar keeps an ObjectStore that it has read for ten seconds, and with one
	// from before the failure it cannot write that there is a newer base backup:
	// https://github.com/cloudnative-pg/plugin-barman-cloud/blob/v0.14.0/internal/cnpgi/instance/internal/client/client.go
	time.Sleep(10 * time.Second)
	w.takeBackup(t, db.namespace(), db.cluster(), "taken")
	w.silent(t, db)
}

// testMemory takes what the sidecar may have of memory, until the kernel kills the
// sidecar for it. With cgroup v2 it kills all of a container, with v1 the process
// that it counts most for: so many small ones take the memory, and none counts for
// as much as the sidecar.
func (w *watched) testMemory(t *testing.T, db entry) {
	pod, err := w.primary(t.Context(), db.namespace(), db.cluster())
	require.NoError(t, err)
	_, err = w.exec(t.Context(), db.namespace(), pod, "plugin-barman-cloud", "sh", "-c", "echo 1000 >/proc/1/oom_score_adj; "+
		"for n in $(seq 30); do (head -c 10M /dev/zero; sleep 60) | tail -c 20M >/dev/null & done; wait")
	require.Error(t, err)
	w.fires(t, db, "CNPGSidecarOutOfMemory", "CB23")
	// A new pod has killed nobody.
	w.restart(t, db)
	w.silent(t, db)
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

// expressions are those of the rules and of the panels.
func (w *watched) expressions(t *testing.T) []string {
	t.Helper()
	rules, err := w.prometheus.Rules(t.Context())
	require.NoError(t, err)
	expressions, err := monitoring.Expressions(rules)
	require.NoError(t, err)
	require.NotEmpty(t, expressions)
	for _, panel := range w.board(t).Panels {
		for _, target := range panel.Targets {
			expressions = append(expressions, target.Expr)
		}
	}
	return expressions
}

// testMetrics wants each metric that a rule or a panel names to have been there,
// some of them by one of the faults before: ALERTS by any, kube_job_failed by a run
// that failed, and kube_pod_init_container_status_last_terminated_reason by a
// sidecar that was killed. That a run was begun by its schedule takes one.
func (w *watched) testMetrics(t *testing.T, db entry) {
	w.patch(t, cronJobKind(), db.namespace(), db.cluster()+"-mirror", "* * * * *", "spec", "schedule")
	asked := map[string]bool{}
	for _, expr := range w.expressions(t) {
		metrics, err := monitoring.MetricsOf(expr)
		require.NoError(t, err)
		for _, metric := range metrics {
			asked[metric] = true
		}
	}
	require.Greater(t, len(asked), 15)
	eventually(t, 3*time.Minute, fmt.Sprintf("%d metrics are there", len(asked)), func(ctx context.Context) error {
		var missing []string
		for _, metric := range slices.Sorted(maps.Keys(asked)) {
			answer, err := w.prometheus.Ask(ctx, "count(last_over_time("+metric+"[2h]))")
			if err != nil {
				return err
			}
			if len(answer) == 0 {
				missing = append(missing, metric)
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("these are not: %s", strings.Join(missing, ", "))
		}
		return nil
	})
	t.Log(slices.Sorted(maps.Keys(asked)))
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
