//go:build e2e

package e2e_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/catalogue"
)

// drillProject is the program that a user rehearses with.
const drillProject = project + "/examples/restore-drill"

// newDrill sets the example up for a database, as its README says.
func (w *world) newDrill(t *testing.T, db entry, source, timeout string) *sandbox.Sandbox {
	t.Helper()
	settings := map[string]any{}
	for key, value := range map[string]any{
		"source": source, "generation": db.generation(), "namespace": db.namespace(), "database": db.name(),
		"imageName": w.postgresImage, "size": "1Gi", "timeout": timeout,
		"query": `select count(*) as "facts" from facts`, "maxAge": "",
	} {
		settings["example-restore-drill:"+key] = value
	}
	drill, err := sandbox.Start(t.Context(), sandbox.Options{
		Project: drillProject, Stack: "drill", Dir: t.TempDir(), Config: settings,
		Binary:  filepath.Join(os.TempDir(), "e2e-drill"),
		Cluster: w.config, Await: 10 * time.Minute, Progress: testLog{t},
		Warn: func(warning string) { t.Errorf("the API server warns: %s", warning) },
	})
	require.NoError(t, err)
	t.Cleanup(drill.Close)
	return drill
}

// testDrill rehearses a restore from each copy, and from one that cannot be
// restored.
func (w *world) testDrill(t *testing.T, db entry) {
	w.archived(t, db)
	w.mirror(t, db)
	for _, source := range []string{"b2", "minio"} {
		t.Run("from "+source, func(t *testing.T) {
			drill := w.newDrill(t, db, source, "10m")
			_, err := drill.Up(t.Context())
			require.NoError(t, err)
			report := w.drillReport(t, db)
			t.Log(report)
			assert.Contains(t, report, "restored to")
			assert.Contains(t, report, w.query(t, db, "select count(*) from facts"))
			w.requireDrillGoes(t, db, drill)
		})
	}
	t.Run("from a copy without the WAL that its backup begins with", func(t *testing.T) {
		_, mirror := w.stores(db)
		folder := db.folder(db.serverName())
		backups, err := catalogue.Backups(t.Context(), mirror, folder)
		require.NoError(t, err)
		first := backups[len(backups)-1].BeginWAL
		back, err := mirror.Hide(hidden(t, mirror, folder+"/wals/", "/"+first+".")...)
		require.NoError(t, err)
		defer func() { require.NoError(t, back()) }()

		drill := w.newDrill(t, db, "minio", "1m30s")
		_, err = drill.Up(t.Context())
		require.ErrorContains(t, err, "not ready after 1m30s")
		w.eventuallySays(t, db.namespace(), db.name()+"-drill", first)
		w.requireDrillGoes(t, db, drill)
	})
}

// drillReport is what the drill's job says.
func (w *world) drillReport(t *testing.T, db entry) string {
	t.Helper()
	pods, err := w.typed.CoreV1().Pods(db.namespace()).List(t.Context(), metav1.ListOptions{
		LabelSelector: "batch.kubernetes.io/job-name=" + db.name() + "-drill-check", FieldSelector: "status.phase=Succeeded",
	})
	require.NoError(t, err)
	require.Len(t, pods.Items, 1)
	return w.logs(t.Context(), db.namespace(), pods.Items[0].Name, "check", 100)
}

// requireDrillGoes wants the drill to delete what it made and nothing else.
func (w *world) requireDrillGoes(t *testing.T, db entry, drill *sandbox.Sandbox) {
	t.Helper()
	_, err := drill.Destroy(t.Context())
	require.NoError(t, err)
	_, err = w.client.Get(t.Context(), clusterKind(), db.namespace(), db.name()+"-drill")
	assert.True(t, apierrors.IsNotFound(err), "the drill's Cluster: %v", err)
	w.ready(t, db.namespace(), db.cluster())
}
