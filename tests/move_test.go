package tests

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAnArchiveMovesOnlyWhenItWasCopied gives the NAS another endpoint, first
// without saying so. Nothing is made anew or deleted, not even the bucket.
func TestAnArchiveMovesOnlyWhenItWasCopied(t *testing.T) {
	const old, moved = "https://old.example.org:9000", "https://new.example.org:7070"
	config := two("0 0 3 * * 0")
	nas := map[string]any{"bucket": "homelab-postgres-backups", "endpoint": old, "secret": "nas-credentials"}
	config["cnpg-backup:minio"] = nas
	config["cnpg-backup:databases"].([]any)[1].(map[string]any)["archive"] = "minio"
	box := start(t, root, "homelab", config)
	must(t, box.Up)
	before := names(t, box)

	nas["endpoint"], nas["secret"] = moved, "new-nas-credentials"
	configure(t, box, config)
	preview := refused(t, box.Preview,
		`database "photos": refused, because Cluster apps/photos-postgresql may archive there.`, "minio.formerEndpoint: "+old)
	assert.NotContains(t, preview.Output, `database "wiki": refused`, "its mirror may move")

	nas["formerEndpoint"] = old
	up := deploy(t, box, config)
	require.NotEmpty(t, up.Changes)
	for _, change := range up.Changes {
		assert.Equal(t, "update", change.Op, "%+v", change)
		assert.NotContains(t, change.Type, "Cluster", "%+v", change)
	}
	assert.Equal(t, before, names(t, box))

	delete(nas, "formerEndpoint")
	configure(t, box, config)
	assertNoChanges(t, box.Preview)
}
