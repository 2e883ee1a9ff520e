package cnpg

import (
	"strings"
	"testing"

	barmanapi "github.com/cloudnative-pg/barman-cloud/pkg/api"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestBaseBackupsAreCompressedAsThePluginCan names each release's own best codec,
// and what of the ObjectStore's schema says so.
func TestBaseBackupsAreCompressedAsThePluginCan(t *testing.T) {
	t.Parallel()
	for plugin, want := range map[string]struct {
		compression any
		arguments   any
	}{
		"":        {"lz4", nil},
		"0.12.0":  {"gzip", nil},
		"0.13.0":  {"lz4", nil},
		"v0.14.0": {"lz4", nil},
		"0.15.0":  {nil, []any{"--zstd"}},
		"1.2.3":   {nil, []any{"--zstd"}},
	} {
		t.Run(plugin, func(t *testing.T) {
			t.Parallel()
			storage := storageArgs()
			storage.PluginVersion = plugin
			for _, store := range []string{"authentik-b2-store", "authentik-minio-store"} {
				configuration := configurationOf(t, storage, databaseArgs(), store)
				data := configuration["data"].(map[string]any)
				assert.Equal(t, want.compression, data["compression"])
				assert.Equal(t, want.arguments, data["additionalCommandArgs"])
				assert.Equal(t, "zstd", configuration["wal"].(map[string]any)["compression"])
			}
		})
	}
}

// configurationOf is what an ObjectStore says about backups.
func configurationOf(t *testing.T, storage *StorageArgs, args *DatabaseArgs, store string) map[string]any {
	t.Helper()
	args.NewStorage = storage
	made := run(t, false, func(ctx *pulumi.Context) error {
		_, err := NewDatabase(ctx, "authentik", args)
		return err
	})
	return spec(made.only(t, store))["configuration"].(map[string]any)
}

func TestACodecThatIsAskedForIsTaken(t *testing.T) {
	t.Parallel()
	for compression, want := range map[barmanapi.CompressionType]any{"none": nil, "gzip": "gzip", "lz4": "lz4", "bzip2": "bzip2"} {
		t.Run(string(compression), func(t *testing.T) {
			t.Parallel()
			storage := storageArgs()
			storage.PluginVersion = "0.15.0"
			args := databaseArgs()
			args.B2.Data.Compression = compression
			args.B2.Data.AdditionalCommandArgs = []string{"--min-chunk-size=5MB"}

			data := configurationOf(t, storage, args, "authentik-b2-store")["data"].(map[string]any)

			assert.Equal(t, want, data["compression"])
			assert.Equal(t, []any{"--min-chunk-size=5MB"}, data["additionalCommandArgs"])
		})
	}
}

func TestACodecThatThePluginLacksIsRefused(t *testing.T) {
	t.Parallel()
	const sidecar = "ghcr.io/cloudnative-pg/plugin-barman-cloud-sidecar"
	for name, test := range map[string]struct {
		plugin string
		data   barmanapi.DataBackupConfiguration
		wal    barmanapi.WalBackupConfiguration
		prune  string
		want   []string
	}{
		"zstd, and nothing is said about the plugin": {
			data: barmanapi.DataBackupConfiguration{Compression: "zstd"},
			want: []string{"b2.data.compression", `"zstd"`, "0.15.0 or later", "fail with an older one", "pluginVersion: 0.15.0", "otherwise use lz4"},
		},
		"zstd and an old plugin": {
			plugin: "0.14.0",
			data:   barmanapi.DataBackupConfiguration{Compression: "zstd"},
			want:   []string{"b2.data.compression", "0.15.0 or later", "otherwise use lz4"},
		},
		"lz4 and a plugin whose schema lacks it": {
			plugin: "0.12.0",
			data:   barmanapi.DataBackupConfiguration{Compression: "lz4"},
			want:   []string{"b2.data.compression", "0.13.0 or later", "otherwise use gzip"},
		},
		"a plugin that is no release": {
			plugin: "latest", want: []string{"pluginVersion", `"latest"`, `like "0.15.0"`},
		},
		"a plugin without its last number": {plugin: "0.15", want: []string{"pluginVersion", `"0.15"`, `like "0.15.0"`}},
		"a plugin of the first days":       {plugin: "0.2.0", want: []string{"pluginVersion", "0.3.0 or later"}},
		"the plugin's own detour": {
			data: barmanapi.DataBackupConfiguration{AdditionalCommandArgs: []string{"--jobs=3", "--zstd"}},
			want: []string{"b2.data.additionalCommandArgs[1]", `"--zstd"`, "set it with compression"},
		},
		"a second codec for WAL": {
			wal:  barmanapi.WalBackupConfiguration{ArchiveAdditionalCommandArgs: []string{"-z"}},
			want: []string{"b2.wal.archiveAdditionalCommandArgs[0]", `"-z"`, "set it with compression"},
		},
		"a sidecar that would leave the mirror's data behind": {
			plugin: "0.15.0", prune: sidecar + ":v0.14.0",
			want: []string{"mirror.pruneImage", "v0.14.0", "0.15.0 of it, or later"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storage, args := storageArgs(), databaseArgs()
			storage.PluginVersion = test.plugin
			args.B2.Data, args.B2.WAL, args.Mirror.PruneImage = test.data, test.wal, test.prune

			problems := append(storage.Validate(nil), args.Validate(nil, "authentik", storage)...)

			require.Len(t, problems, 1, "%v", problems)
			for _, part := range test.want {
				assert.ErrorContains(t, problems[0], part)
			}
		})
	}
	t.Run("another image, or a digest, is the user's own", func(t *testing.T) {
		t.Parallel()
		storage := storageArgs()
		storage.PluginVersion = "0.15.0"
		for _, image := range []string{"registry.example.org/barman:v0.1.0", sidecar + ":v0.15.1", sidecar + "@sha256:" + strings.Repeat("a", 64)} {
			args := databaseArgs()
			args.Mirror.PruneImage = image
			assert.Empty(t, args.Validate(nil, "authentik", storage), image)
		}
	})
}
