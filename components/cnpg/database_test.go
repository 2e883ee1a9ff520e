package cnpg

import (
	"testing"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func databaseArgs() *DatabaseArgs {
	return &DatabaseArgs{
		Namespace: "auth",
		Cluster:   "authentik-postgresql",
		Spec: cnpgv1.ClusterSpec{
			Instances:            2,
			ImageName:            "ghcr.io/cloudnative-pg/postgresql:17.7",
			StorageConfiguration: cnpgv1.StorageConfiguration{Size: "20Gi", StorageClass: new("longhorn")},
		},
		Backup: Backup{Schedule: "0 0 2 * * 0", Retention: "30d"},
	}
}

// deploy runs NewDatabase on an environment's storage.
func deploy(t *testing.T, dryRun bool, args *DatabaseArgs, outputs *seen) *recorder {
	t.Helper()
	return run(t, dryRun, func(ctx *pulumi.Context) error {
		storage, err := NewStorage(ctx, "homelab", storageArgs())
		require.NoError(t, err)
		args.Storage = storage
		database, err := NewDatabase(ctx, "authentik", args)
		require.NoError(t, err)
		if outputs != nil {
			seeDatabase(outputs, database)
		}
		return nil
	})
}

func seeDatabase(outputs *seen, database *Database) {
	for name, output := range map[string]pulumi.Output{
		"namespace": database.Namespace, "clusterName": database.ClusterName,
		"readWriteHost": database.ReadWriteHost, "readOnlyHost": database.ReadOnlyHost,
		"appSecret": database.AppSecret, "archive": database.Archive, "serverName": database.ServerName,
		"b2Store": database.B2Store, "minioStore": database.MinIOStore,
		"b2Path": database.B2Path, "minioPath": database.MinIOPath,
		"recoverySources": database.RecoverySources,
	} {
		outputs.see(name, output)
	}
}

func TestDatabaseMakesEverythingInOrder(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		var outputs seen
		mocks := deploy(t, dryRun, databaseArgs(), &outputs)

		assert.Equal(t, map[string]any{
			"namespace": "auth", "clusterName": "authentik-postgresql",
			"readWriteHost": "authentik-postgresql-rw.auth.svc", "readOnlyHost": "authentik-postgresql-ro.auth.svc",
			"appSecret": "authentik-postgresql-app", "archive": "b2", "serverName": "authentik-postgresql",
			"b2Store": "authentik-b2-store", "minioStore": "authentik-minio-store",
			"b2Path":    "s3://homelab-cnpg-b2/auth/authentik-postgresql",
			"minioPath": "s3://homelab-postgres-backups/auth/authentik-postgresql",
			"recoverySources": map[string]string{
				"b2": "authentik-b2-backup", "minio": "authentik-minio-backup",
			},
		}, outputs.all(t), "every output is resolved")

		for name, kubernetesName := range map[string]string{
			"auth-b2-cnpg-credentials": "b2-cnpg-credentials",
			"authentik-b2-store":       "authentik-b2-store",
			"authentik-minio-store":    "authentik-minio-store",
			"authentik-cluster":        "authentik-postgresql",
			"authentik-backup":         "authentik-postgresql-backup",
			"authentik-mirror":         "authentik-postgresql-mirror",
		} {
			metadata := mocks.only(t, name).Inputs.Mappable()["metadata"].(map[string]any)
			assert.Equal(t, []any{kubernetesName, "auth"}, []any{metadata["name"], metadata["namespace"]})
		}
		for _, name := range []string{"authentik-b2-store", "authentik-minio-store", "authentik-cluster", "authentik-backup", "authentik-mirror"} {
			assertParent(t, mocks.only(t, name), "Database")
		}

		order := []string{
			"homelab-b2-bucket", "homelab-b2-key-homelab-cnpg-b2", "homelab-b2-key-push",
			"auth-b2-cnpg-credentials", "authentik-b2-store", "authentik-cluster", "authentik-backup",
		}
		for i := 1; i < len(order); i++ {
			assert.Less(t, mocks.index(t, order[i-1]), mocks.index(t, order[i]), "%s before %s", order[i-1], order[i])
		}
		assert.Contains(t, dependencies(mocks.only(t, "authentik-b2-store")), "auth-b2-cnpg-credentials")
		assert.Contains(t, dependencies(mocks.only(t, "authentik-minio-store")), "homelab-minio-bucket")
		assert.Subset(t, dependencies(mocks.only(t, "authentik-cluster")),
			[]string{"authentik-b2-store", "authentik-minio-store"})
		assert.Contains(t, dependencies(mocks.only(t, "authentik-backup")), "authentik-cluster")
		assert.Contains(t, dependencies(mocks.only(t, "authentik-mirror")), "authentik-cluster",
			"what a refused change of the Cluster would need is not done before")
	})
}

func TestOnlyTheClusterIsProtected(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		mocks := deploy(t, dryRun, databaseArgs(), nil)
		assert.True(t, mocks.only(t, "authentik-cluster").RegisterRPC.GetProtect())
		assert.False(t, mocks.only(t, "authentik-b2-store").RegisterRPC.GetProtect())

		unprotected := databaseArgs()
		unprotected.Protect = new(false)
		assert.False(t, deploy(t, dryRun, unprotected, nil).only(t, "authentik-cluster").RegisterRPC.GetProtect())
	})
}

func TestDatabaseMakesItsOwnStorage(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
			args := databaseArgs()
			args.NewStorage = storageArgs()
			_, err := NewDatabase(ctx, "authentik", args)
			return err
		})
		assertParent(t, mocks.only(t, "authentik-b2-bucket"), "Database$cnpg-backup:index:Storage")
		assertParent(t, mocks.only(t, "auth-b2-cnpg-credentials"), "Storage$cnpg-backup:index:Credentials")
	})
}

func TestDatabasesOfANamespaceShareCredentials(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
			storage, err := NewStorage(ctx, "homelab", storageArgs())
			require.NoError(t, err)
			for _, name := range []string{"one", "two"} {
				args := databaseArgs()
				args.Cluster, args.Storage = "", storage
				_, err = NewDatabase(ctx, name, args)
				require.NoError(t, err)
			}
			return nil
		})
		mocks.only(t, "auth-b2-cnpg-credentials")
		mocks.only(t, "one-cluster")
		mocks.only(t, "two-cluster")
	})
}

func TestWaitingIsAskedFor(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		args := databaseArgs()
		args.WaitUntilReady = true
		metadata := deploy(t, dryRun, args, nil).only(t, "authentik-cluster").Inputs.Mappable()["metadata"]
		assert.Equal(t, map[string]any{"pulumi.com/waitFor": "condition=Ready"}, metadata.(map[string]any)["annotations"])
	})
}

func TestArchiveAndMirrorStoresDifferWhereTheServersDo(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		mocks := deploy(t, dryRun, databaseArgs(), nil)

		b2 := spec(mocks.only(t, "authentik-b2-store"))
		assert.Equal(t, "30d", b2["retentionPolicy"])
		assert.Equal(t, map[string]any{
			"destinationPath": "s3://homelab-cnpg-b2/auth/authentik-postgresql",
			"endpointURL":     "https://s3.us-west-002.backblazeb2.com",
			"s3Credentials": map[string]any{
				"accessKeyId":     map[string]any{"name": "b2-cnpg-credentials", "key": "AWS_ACCESS_KEY_ID"},
				"secretAccessKey": map[string]any{"name": "b2-cnpg-credentials", "key": "AWS_SECRET_ACCESS_KEY"},
			},
			"wal":  map[string]any{"compression": "zstd", "encryption": "AES256", "maxParallel": 4.0},
			"data": map[string]any{"compression": "lz4", "encryption": "AES256", "jobs": 2.0},
		}, b2["configuration"])
		assert.Equal(t, []any{
			map[string]any{"name": "AWS_REQUEST_CHECKSUM_CALCULATION", "value": "when_required"},
			map[string]any{"name": "AWS_RESPONSE_CHECKSUM_VALIDATION", "value": "when_required"},
		}, b2["instanceSidecarConfiguration"].(map[string]any)["env"])

		minio := spec(mocks.only(t, "authentik-minio-store"))["configuration"].(map[string]any)
		assert.Equal(t, "https://nas.example.org:9000", minio["endpointURL"])
		assert.NotContains(t, minio["wal"], "encryption", "MinIO without KMS refuses encryption")
	})
}

func TestARestoreBesideReadsTheOtherClustersPath(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		args := databaseArgs()
		args.Cluster = "authentik-restored"
		args.Recovery = &Recovery{
			Source: MinIO, Cluster: "authentik-postgresql",
			Target: &cnpgv1.RecoveryTarget{TargetTime: "2026-01-15T12:00:00Z"},
		}
		mocks := deploy(t, dryRun, args, nil)

		store := spec(mocks.only(t, "authentik-recovery-store"))
		assert.Equal(t, "s3://homelab-postgres-backups/auth/authentik-postgresql",
			store["configuration"].(map[string]any)["destinationPath"])
		assert.NotContains(t, store, "retentionPolicy", "another cluster's backups are not to be deleted")
		assert.Contains(t, dependencies(mocks.only(t, "authentik-cluster")), "authentik-recovery-store")
	})
}

func TestANewGenerationTakesAFirstBackup(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		args := databaseArgs()
		args.Generation = 2
		backup := deploy(t, dryRun, args, nil).only(t, "authentik-backup")
		metadata := backup.Inputs.Mappable()["metadata"].(map[string]any)
		assert.Equal(t, "authentik-postgresql-2-backup", metadata["name"])
		assert.Equal(t, true, spec(backup)["immediate"])
	})
}

func TestNilArgumentsAreAnError(t *testing.T) {
	t.Parallel()
	run(t, false, func(ctx *pulumi.Context) error {
		_, err := NewStorage(ctx, "a", nil)
		require.ErrorContains(t, err, "storage")
		_, err = NewCredentials(ctx, "a", nil)
		require.ErrorContains(t, err, "namespace")
		_, err = NewDatabase(ctx, "a", nil)
		require.ErrorContains(t, err, "namespace")
		_, err = NewDatabase(ctx, "a", &DatabaseArgs{})
		require.ErrorContains(t, err, "newStorage")
		return nil
	})
}
