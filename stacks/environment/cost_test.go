package environment

import (
	"encoding/json"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

func TestTheCostOfAnEnvironmentIsThatOfItsDatabases(t *testing.T) {
	t.Parallel()
	one := cnpg.Cost{
		BaseBackups: 8, WALDays: 51, PerGB: 0.031, PerGBOfWAL: 0.306,
		Full: cnpg.FullCost{StoredGB: 100, Dollars: 0.6, DownloadedGB: 50, FreeGB: 300},
	}
	other := cnpg.Cost{AfterAYear: true, Full: cnpg.FullCost{StoredGB: 1, Dollars: 0.3, DownloadedGB: 2, FreeGB: 3}}

	output, err := costOutput(map[string]cnpg.Cost{"authentik": one, "forgejo": other})

	require.NoError(t, err)
	known, err := internals.UnsafeAwaitOutput(t.Context(), output.ToMapOutput())
	require.NoError(t, err)
	shown, err := json.Marshal(known.Value)
	require.NoError(t, err)
	assert.JSONEq(t, `{
		"databases": {
			"authentik": {
				"baseBackups": 8, "walDays": 51, "dollarsPerGB": 0.031, "dollarsPerGBOfWALADay": 0.306,
				"full": {"storedGB": 100, "dollars": 0.6, "downloadedGB": 50, "freeDownloadGB": 300}
			},
			"forgejo": {
				"baseBackups": 0, "walDays": 0, "dollarsPerGB": 0, "dollarsPerGBOfWALADay": 0, "afterAYear": true,
				"full": {"storedGB": 1, "dollars": 0.3, "downloadedGB": 2, "freeDownloadGB": 3}
			}
		},
		"full": {"storedGB": 101, "dollars": 0.9, "downloadedGB": 52, "freeDownloadGB": 303}
	}`, string(shown))
}
