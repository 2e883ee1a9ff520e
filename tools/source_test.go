package tools_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

func TestAToolKnowsTheVersionThatItsModulePins(t *testing.T) {
	for _, tool := range []tools.Tool{
		tools.CloudNativePG(), tools.BarmanCloudPlugin(), tools.ExternalSecrets(), tools.PrometheusOperator(),
		tools.KubeAPIServer(), tools.Pulumi(), tools.GolangciLint(), tools.Etcd(), tools.Minio(),
	} {
		version, err := tool.Version()
		require.NoError(t, err)
		assert.Regexp(t, `^\d+\.\d+\.\d+`, version, tool.Name)

		source, err := tool.Source(t.Context())
		require.NoError(t, err)
		assert.Contains(t, source, "@v"+version, "what Go takes for %s", tool.Name)
	}
}

func TestAToolThatIsPinnedNowhereHasNoVersion(t *testing.T) {
	_, err := tools.Tool{Name: "other", Module: "cnpg", Package: "example.org/other"}.Version()
	assert.ErrorContains(t, err, "cnpg/go.mod requires no module with the package example.org/other")
}
