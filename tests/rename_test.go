package tests

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestARenamedDatabaseKeepsWhatItHas renames an entry of databases, first without
// saying so. Its second life was restored, so that everything that a database can
// have is there.
func TestARenamedDatabaseKeepsWhatItHas(t *testing.T) {
	config := two("0 0 3 * * 0")
	photos := config["cnpg-backup:databases"].([]any)[1].(map[string]any)
	photos["generation"], photos["recovery"] = 2, map[string]any{"source": "minio"}
	box := start(t, root, "homelab", config)
	must(t, box.Up)
	before := names(t, box)

	photos["name"] = "pictures"
	configure(t, box, config)
	refused(t, box.Preview, `"photos" is no longer listed`, "formerName: photos")
	refused(t, box.Up) // without a preview
	assert.Equal(t, before, names(t, box))

	photos["formerName"] = "photos"
	for _, name := range []string{"pictures", "images"} {
		photos["name"] = name
		up := deploy(t, box, config)
		for _, change := range up.Changes {
			assert.Contains(t, change.Type, "cnpg-backup:index:", "only the component has another name: %s", change)
		}
		assert.Equal(t, before, names(t, box))
		assertNoChanges(t, box.Preview)
	}
	outputs, err := box.Outputs(t.Context())
	require.NoError(t, err)
	database := outputs["databases"].(map[string]any)["images"].(map[string]any)
	assert.Equal(t, "photos-postgresql", database["cluster"])
	assert.Equal(t, "photos-postgresql-2", database["serverName"])
}

// TestADatabaseIsNotMovedByItsEntry changes what a Cluster cannot change. Pulumi
// would say to lift the protection, and then delete the Cluster with its volumes.
func TestADatabaseIsNotMovedByItsEntry(t *testing.T) {
	for field, value := range map[string]string{"namespace": "elsewhere", "cluster": "pictures"} {
		t.Run(field, func(t *testing.T) {
			config := two("0 0 3 * * 0")
			box := start(t, root, "homelab", config)
			must(t, box.Up)
			before := names(t, box)

			photos := config["cnpg-backup:databases"].([]any)[1].(map[string]any)
			photos[field] = value
			require.NoError(t, box.Configure(t.Context(), config))
			for name, run := range deployments(box) {
				result, err := run(t.Context())
				require.Error(t, err, name)
				assert.Contains(t, result.Output, `"photos" has the Cluster apps/photos-postgresql`, name)
				assert.NotContains(t, result.Output, "To unprotect the resource", name)
				assert.Equal(t, before, names(t, box), name)
			}

			photos["protect"] = false
			deploy(t, box, config)
			assert.NotEqual(t, before, names(t, box))
		})
	}
}
