package cnpg

import (
	"encoding/json"
	"testing"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
)

func drillArgs() *DrillArgs {
	return &DrillArgs{
		Namespace: "auth",
		Database:  "authentik",
		Source:    MinIO,
		Spec: cnpgv1.ClusterSpec{
			ImageName:            "ghcr.io/cloudnative-pg/postgresql:17.7",
			StorageConfiguration: cnpgv1.StorageConfiguration{Size: "20Gi"},
			Bootstrap: &cnpgv1.BootstrapConfiguration{
				InitDB: &cnpgv1.BootstrapInitDB{Database: "authentik", Owner: "authentik"},
			},
		},
		Query: "select max(created) from authentik_events_event",
	}
}

func TestDrillRestoresWithoutAnArchiver(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		var outputs seen
		args := drillArgs()
		args.Generation = 2
		mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
			drill, err := NewDrill(ctx, "authentik-drill", args)
			require.NoError(t, err)
			outputs.see("clusterName", drill.ClusterName)
			outputs.see("source", drill.Source)
			outputs.see("serverName", drill.ServerName)
			outputs.see("checkJob", drill.CheckJob)
			return nil
		})
		assert.Equal(t, map[string]any{
			"clusterName": "authentik-drill", "source": "minio",
			"serverName": "authentik-postgresql-2", "checkJob": "authentik-drill-check",
		}, outputs.all(t))

		registered := mocks.only(t, "authentik-drill")
		assertParent(t, registered, "Drill")
		assert.False(t, registered.RegisterRPC.GetProtect())
		assert.Equal(t, "2h", registered.RegisterRPC.GetCustomTimeouts().GetCreate())
		metadata, _ := registered.Inputs.Mappable()["metadata"].(map[string]any)
		assert.Equal(t, map[string]any{"pulumi.com/waitFor": "condition=Ready"}, metadata["annotations"])

		content, err := json.Marshal(registered.Inputs.Mappable())
		require.NoError(t, err)
		var cluster cnpgv1.Cluster
		require.NoError(t, json.Unmarshal(content, &cluster))
		assert.Empty(t, cluster.Spec.Plugins, "nothing is archived")
		assert.Equal(t, "authentik-minio-backup", cluster.Spec.Bootstrap.Recovery.Source)
		assert.Equal(t, "authentik", cluster.Spec.Bootstrap.Recovery.Database)
		require.Len(t, cluster.Spec.ExternalClusters, 1)
		assert.Equal(t, map[string]string{
			"barmanObjectName": "authentik-minio-store", "serverName": "authentik-postgresql-2",
		}, cluster.Spec.ExternalClusters[0].PluginConfiguration.Parameters)
	})
}

func TestDrillRestoresTheLifeInUse(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		var outputs seen
		mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
			drill, err := NewDrill(ctx, "authentik-drill", drillArgs())
			require.NoError(t, err)
			outputs.see("serverName", drill.ServerName)
			return nil
		})
		assert.Equal(t, map[string]any{"serverName": "authentik-postgresql-2"}, outputs.all(t))
		read := mocks.only(t, "authentik-in-use")
		assert.Equal(t, "auth/authentik-postgresql", read.ID)
		assert.NotNil(t, read.ReadRPC, "it is read, and never changed or deleted")
		sources := spec(mocks.only(t, "authentik-drill"))["externalClusters"].([]any)
		assert.Equal(t, map[string]any{
			"barmanObjectName": "authentik-minio-store", "serverName": "authentik-postgresql-2",
		}, sources[0].(map[string]any)["plugin"].(map[string]any)["parameters"])
	})
}

func TestDrillRestoresAnewForEachRun(t *testing.T) {
	t.Parallel()
	args := drillArgs()
	args.Run = "42"
	mocks := run(t, false, func(ctx *pulumi.Context) error {
		_, err := NewDrill(ctx, "authentik-drill", args)
		return err
	})
	for _, name := range []string{"authentik-drill", "authentik-drill-check"} {
		registered := mocks.only(t, name)
		metadata := registered.Inputs.Mappable()["metadata"].(map[string]any)
		assert.Equal(t, "42", metadata["annotations"].(map[string]any)["cnpg-backup/run"])
		assert.Equal(t, []string{"metadata.annotations", "spec"}, registered.RegisterRPC.GetReplaceOnChanges())
		assert.True(t, registered.RegisterRPC.GetDeleteBeforeReplace())
	}
}

func TestDrillJudgesTheAge(t *testing.T) {
	t.Parallel()
	args := drillArgs()
	args.Query, args.MaxAge = "select max(created) from event;\n", "26h"
	command, _ := started(drillCheck("authentik-drill", *args).Template.Spec.Containers[0])
	judge := command[len(command)-1]
	assert.Contains(t, judge, "newest timestamptz := (select max(created) from event);")
	assert.Contains(t, judge, "interval '93600 seconds'")
	assert.Contains(t, judge, "may be no older than 26h")
}

func TestDrillAsksTheRestoredDatabase(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
			_, err := NewDrill(ctx, "authentik-drill", drillArgs())
			return err
		})
		registered := mocks.only(t, "authentik-drill-check")
		assert.Equal(t, "kubernetes:batch/v1:Job", registered.TypeToken)
		assert.Contains(t, dependencies(registered), "authentik-drill")
		content, err := json.Marshal(registered.Inputs.Mappable())
		require.NoError(t, err)
		var job batchv1.Job
		require.NoError(t, json.Unmarshal(content, &job))
		check := job.Spec.Template.Spec.Containers[0]
		assert.Contains(t, check.Command, drillArgs().Query)
		assert.Equal(t, map[string]string{
			"HOME": "/tmp", "PGHOST": "authentik-drill-rw", "PGDATABASE": "authentik",
			"PGUSER": "authentik-drill-app/username", "PGPASSWORD": "authentik-drill-app/password",
		}, variables(check))
	})
}

func TestDrillValidation(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*DrillArgs)
		want   string
	}{
		"no namespace":       {func(a *DrillArgs) { a.Namespace = "" }, "namespace: Required"},
		"no database":        {func(a *DrillArgs) { a.Database, a.Cluster = "", "authentik-postgresql" }, "database: Required"},
		"no source":          {func(a *DrillArgs) { a.Source = "" }, "source: Required"},
		"another source":     {func(a *DrillArgs) { a.Source = "nas" }, "Unsupported value"},
		"generation below 1": {func(a *DrillArgs) { a.Generation = -1 }, "generation: Invalid"},
		"the live cluster":   {func(a *DrillArgs) { a.Cluster = "authentik-drill" }, "name: Invalid"},
		"time without offset": {func(a *DrillArgs) {
			a.Target = &cnpgv1.RecoveryTarget{TargetTime: "2026-01-15 12:00:00"}
		}, "has no offset"},
		"no image":           {func(a *DrillArgs) { a.Spec.ImageName = "" }, "spec.imageName: Required"},
		"no storage":         {func(a *DrillArgs) { a.Spec.StorageConfiguration.Size = "" }, "spec.storage.size: Required"},
		"a bad age":          {func(a *DrillArgs) { a.MaxAge = "a day" }, "maxAge: Invalid"},
		"nothing has an age": {func(a *DrillArgs) { a.MaxAge, a.Query = "1h", "" }, "maxAge: Forbidden"},
		"a bad timeout":      {func(a *DrillArgs) { a.Timeout = "long" }, "timeout: Invalid"},
		"an archiver": {func(a *DrillArgs) {
			a.Spec.Plugins = []cnpgv1.PluginConfiguration{{Name: barmanPlugin}}
		}, "spec.plugins[0]: Forbidden"},
		"a catalogue": {func(a *DrillArgs) {
			a.Spec.ImageName, a.Spec.ImageCatalogRef = "", &cnpgv1.ImageCatalogRef{}
		}, "spec.imageCatalogRef: Forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := drillArgs()
			test.change(args)
			problems := args.validate("authentik-drill")
			require.Len(t, problems, 1)
			assert.Contains(t, problems[0].Error(), test.want)
		})
	}
	t.Run("nothing is registered", func(t *testing.T) {
		t.Parallel()
		mocks := run(t, false, func(ctx *pulumi.Context) error {
			_, err := NewDrill(ctx, "drill", nil)
			require.ErrorContains(t, err, "nothing was created")
			return nil
		})
		assert.Empty(t, mocks.Resources())
	})
}
