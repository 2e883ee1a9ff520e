package cnpg

import (
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLayoutIsWhatIsMade compares it with what NewDatabase registers.
func TestLayoutIsWhatIsMade(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*DatabaseArgs)
	}{
		{"as it comes", func(*DatabaseArgs) {}},
		{"the archive on the NAS, in its third life", func(a *DatabaseArgs) {
			a.Archive, a.Generation = MinIO, 3
			a.Recovery = &Recovery{Source: MinIO}
		}},
		{"adopted, with another name and folder", func(a *DatabaseArgs) {
			a.FormerName, a.Path, a.ServerName, a.ScheduledBackup = "sso", "/", "old", "nightly"
			a.Recovery = &Recovery{Source: B2, Cluster: "other"}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			args := databaseArgs()
			test.change(args)
			mocks := deploy(t, false, args, nil)
			l := args.Layout("authentik", storageArgs())

			cluster := mocks.only(t, l.Database+"-cluster")
			assert.Equal(t, l.Cluster, objectName(cluster))
			plugin := spec(cluster)["plugins"].([]any)[0].(map[string]any)["parameters"]
			assert.Equal(t, map[string]any{"barmanObjectName": l.Archive.Name, "serverName": l.ServerName}, plugin)
			assert.Equal(t, l.ScheduledBackup, objectName(mocks.only(t, l.Database+"-backup")))
			job := mocks.only(t, l.Database+"-mirror")
			assert.Equal(t, l.MirrorJob, objectName(job))
			assert.Equal(t, l.MirrorSchedule, spec(job)["schedule"])
			assert.Equal(t, time.Hour, l.MirrorPeriod)
			for _, store := range []StoreLayout{l.Archive, l.Mirror} {
				fields, err := specFields(store.Spec)
				require.NoError(t, err)
				made := spec(mocks.only(t, store.Name))
				assert.Equal(t, fields["spec"], any(made))
				assert.Equal(t, made["configuration"].(map[string]any)["destinationPath"], "s3://"+store.Bucket+"/"+store.Folder)
			}
			assert.NotEqual(t, l.Archive.Location, l.Mirror.Location)
			assert.Equal(t, []string{"lz4", "0.13.0"}, []string{l.Codec, l.CodecPlugin}, "what any release of the schema takes")
			assert.Equal(t, storageArgs().Bitwarden.Store, l.SecretStore)
			if l.Recovery != nil {
				sources := spec(cluster)["externalClusters"].([]any)
				from := spec(cluster)["bootstrap"].(map[string]any)["recovery"].(map[string]any)["source"]
				for _, source := range sources {
					external := source.(map[string]any)
					if external["name"] != from {
						continue
					}
					parameters := external["plugin"].(map[string]any)["parameters"].(map[string]any)
					assert.Equal(t, l.RecoveryServer, parameters["serverName"])
					if l.RecoveryStore != "" {
						assert.Equal(t, l.RecoveryStore, parameters["barmanObjectName"])
					}
				}
			}
		})
	}
}

func objectName(args pulumi.MockResourceArgs) string {
	metadata, _ := args.Inputs.Mappable()["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	return name
}
