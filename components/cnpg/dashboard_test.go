package cnpg

import (
	"encoding/json"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGrafanasSidecarFindsTheDashboard(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		var made pulumi.StringOutput
		mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
			dashboard, err := NewDashboard(ctx, "dashboard", &DashboardArgs{
				Namespace: "monitoring", Annotations: map[string]string{"grafana_folder": "Databases"},
			})
			if err == nil {
				made = dashboard.ConfigMap
			}
			return err
		})
		require.NotNil(t, made)
		registered := mocks.only(t, "dashboard")
		assertParent(t, registered, "Dashboard")
		assert.Equal(t, "kubernetes:core/v1:ConfigMap", registered.TypeToken)
		inputs := registered.Inputs.Mappable()
		metadata := inputs["metadata"].(map[string]any)
		assert.Equal(t, "monitoring", metadata["namespace"])
		assert.Equal(t, "cnpg-backup-dashboard", metadata["name"])
		assert.Equal(t, "1", metadata["labels"].(map[string]any)["grafana_dashboard"])
		assert.Equal(t, map[string]any{"grafana_folder": "Databases"}, metadata["annotations"])

		files := inputs["data"].(map[string]any)
		require.Len(t, files, 1)
		var board struct{ UID, Title string }
		require.NoError(t, json.Unmarshal([]byte(files["cnpg-backup-dashboard.json"].(string)), &board))
		assert.Equal(t, "cnpg-backup", board.UID)
	})
}

func TestTheSidecarsLabelCanBeAnother(t *testing.T) {
	t.Parallel()
	mocks := run(t, false, func(ctx *pulumi.Context) error {
		_, err := NewDashboard(ctx, "dashboard", &DashboardArgs{Namespace: "monitoring", Labels: map[string]string{"dashboards": "home"}})
		return err
	})
	labels := mocks.only(t, "dashboard").Inputs.Mappable()["metadata"].(map[string]any)["labels"].(map[string]any)
	assert.Equal(t, "home", labels["dashboards"])
	assert.NotContains(t, labels, "grafana_dashboard")
}

func TestBadDashboardsAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args *DashboardArgs
		want string
	}{
		"no arguments":   {nil, "namespace: Required value: the namespace for the dashboard's ConfigMap"},
		"no namespace":   {&DashboardArgs{}, "namespace: Required value: the namespace for the dashboard's ConfigMap"},
		"a bad label":    {&DashboardArgs{Namespace: "monitoring", Labels: map[string]string{"grafana": "a folder"}}, `labels[grafana]: Invalid value: "a folder"`},
		"an annotation ": {&DashboardArgs{Namespace: "monitoring", Annotations: map[string]string{"pulumi.com/x": "y"}}, "annotations[pulumi.com/x]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mocks := &recorder{}
			err := pulumi.RunErr(func(ctx *pulumi.Context) error {
				_, err := NewDashboard(ctx, "dashboard", c.args)
				return err
			}, pulumi.WithMocks("cnpg-backup", "test", mocks))
			require.ErrorContains(t, err, c.want)
			assert.Empty(t, mocks.names(), "nothing is made")
		})
	}
}
