package cnpg

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func storageArgs() *StorageArgs {
	return &StorageArgs{
		B2:        B2Args{Bucket: "homelab-cnpg-b2", Region: "us-west-002"},
		MinIO:     MinIOArgs{Bucket: "homelab-postgres-backups", Endpoint: "https://nas.example.org:9000", Secret: "minio"},
		Bitwarden: BitwardenArgs{Store: "bitwarden-backend", Item: "backblaze-b2-cnpg-offsite"},
	}
}

func TestStorageMakesBucketsKeyAndHandOver(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		var outputs seen
		mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
			storage, err := NewStorage(ctx, "homelab", storageArgs())
			require.NoError(t, err)
			for name, output := range map[string]pulumi.StringOutput{
				"b2Bucket": storage.B2Bucket, "b2KeyId": storage.B2KeyID,
				"b2Key": storage.B2Key, "minioBucket": storage.MinIOBucket,
			} {
				outputs.see(name, output)
			}
			assert.True(t, pulumi.IsSecret(storage.B2KeyID), "key ID is a secret")
			assert.True(t, pulumi.IsSecret(storage.B2Key), "key is a secret")
			return nil
		})

		assert.ElementsMatch(t, []string{
			"b2:index/bucket:Bucket homelab-b2-bucket",
			"b2:index/applicationKey:ApplicationKey homelab-b2-key-homelab-cnpg-b2",
			"minio:index/s3Bucket:S3Bucket homelab-minio-bucket",
			"kubernetes:core/v1:Secret homelab-b2-key",
			"kubernetes:external-secrets.io/v1alpha1:PushSecret homelab-b2-key-push",
		}, mocks.names())
		assert.Equal(t, map[string]any{
			"b2Bucket": "homelab-cnpg-b2", "b2KeyId": "id-of-homelab-b2-key-homelab-cnpg-b2",
			"b2Key": "secret-of-homelab-b2-key-homelab-cnpg-b2", "minioBucket": "homelab-postgres-backups",
		}, outputs.all(t))

		bucket := mocks.only(t, "homelab-b2-bucket")
		assertParent(t, bucket, "Storage")
		assert.True(t, bucket.RegisterRPC.GetProtect(), "B2 bucket is protected")
		assert.Equal(t, map[string]any{
			"bucketName": "homelab-cnpg-b2", "bucketType": "allPrivate",
			"defaultServerSideEncryption": map[string]any{"mode": "SSE-B2", "algorithm": "AES256"},
			"lifecycleRules": []any{map[string]any{
				"fileNamePrefix": "", "daysFromHidingToDeleting": 14.0,
				"daysFromStartingToCancelingUnfinishedLargeFiles": 7.0,
			}},
		}, bucket.Inputs.Mappable())

		key := mocks.only(t, "homelab-b2-key-homelab-cnpg-b2")
		assertParent(t, key, "Storage")
		assert.Equal(t, map[string]any{
			"keyName":      "homelab-cnpg-b2",
			"bucketIds":    []any{"bucket-id-of-homelab-b2-bucket"},
			"capabilities": []any{"listBuckets", "listAllBucketNames", "listFiles", "readFiles", "writeFiles", "deleteFiles"},
		}, key.Inputs.Mappable())
		assert.Subset(t, key.RegisterRPC.GetAdditionalSecretOutputs(),
			[]string{"applicationKey", "applicationKeyId", "b2ApplicationKeyId"})

		minioBucket := mocks.only(t, "homelab-minio-bucket")
		assert.True(t, minioBucket.RegisterRPC.GetProtect(), "MinIO bucket is protected")

		secret := mocks.only(t, "homelab-b2-key")
		data := secret.Inputs["data"]
		require.True(t, data.ContainsSecrets(), "the Secret's values are Pulumi secrets")
		assert.Equal(t, base64.StdEncoding.EncodeToString([]byte("secret-of-homelab-b2-key-homelab-cnpg-b2")),
			data.ObjectValue()["AWS_SECRET_ACCESS_KEY"].SecretValue().Element.StringValue())
		push := mocks.only(t, "homelab-b2-key-push")
		assert.Contains(t, dependencies(push), "homelab-b2-key")
		assert.Equal(t, map[string]any{"secret": map[string]any{"name": "b2-homelab-cnpg-b2-key"}}, spec(push)["selector"])
	})
}

func TestStorageWithoutProtectionOrHandOver(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
			args := storageArgs()
			args.Protect, args.Bitwarden.HandOver = new(false), new(false)
			_, err := NewStorage(ctx, "homelab", args)
			return err
		})
		assert.Len(t, mocks.names(), 3, "no Secret and no PushSecret")
		assert.False(t, mocks.only(t, "homelab-b2-bucket").RegisterRPC.GetProtect())
		assert.False(t, mocks.only(t, "homelab-minio-bucket").RegisterRPC.GetProtect())
	})
}

func TestStorageAdoptsByName(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		var outputs seen
		mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
			args := storageArgs()
			args.B2.AdoptBucket, args.B2.AdoptKey, args.MinIO.AdoptBucket = true, "old-key", true
			storage, err := NewStorage(ctx, "homelab", args)
			require.NoError(t, err)
			outputs.see("bucket", storage.B2Bucket)
			outputs.see("keyID", storage.B2KeyID)
			outputs.see("key", storage.B2Key)
			outputs.see("minio", storage.MinIOBucket)
			assert.True(t, pulumi.IsSecret(storage.B2KeyID), "key ID is a secret")
			assert.True(t, pulumi.IsSecret(storage.B2Key), "key is a secret")
			return nil
		})
		assert.Empty(t, mocks.names(), "nothing is created")
		var lookedUp []any
		for _, call := range mocks.Calls() {
			lookedUp = append(lookedUp, call.Args.Mappable())
		}
		assert.ElementsMatch(t, []any{
			map[string]any{"bucketName": "homelab-cnpg-b2"}, map[string]any{"keyName": "old-key"},
		}, lookedUp)
		assert.Equal(t, map[string]any{
			"bucket": "homelab-cnpg-b2", "keyID": "adopted-key-id", "key": "", "minio": "homelab-postgres-backups",
		}, outputs.all(t))
	})
}

func TestStorageKeepsEarlierKeysDuringARotation(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		var outputs seen
		mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
			args := storageArgs()
			args.B2.Keys = []string{"old", "new"}
			storage, err := NewStorage(ctx, "homelab", args)
			require.NoError(t, err)
			outputs.see("keyID", storage.B2KeyID)
			return nil
		})
		mocks.only(t, "homelab-b2-key-old")
		mocks.only(t, "homelab-b2-key-new")
		assert.Equal(t, "id-of-homelab-b2-key-new", outputs.all(t)["keyID"], "the last key is in use")
	})
}

func TestTheKeyInUseHasToStayOnTheList(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args B2Args
		want string
	}{
		"kept beside a new one":  {B2Args{Keys: []string{"a", "b"}}, ""},
		"in use again":           {B2Args{Keys: []string{"b", "a"}}, ""},
		"replaced":               {B2Args{Keys: []string{"b"}}, "set b2.keys to [a, b] and deploy"},
		"replaced by two others": {B2Args{Keys: []string{"b", "c"}}, "set b2.keys to [a, b, c] and deploy"},
		"adopted":                {B2Args{AdoptKey: "a"}, "leave adoptKey out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := test.args.checkKept("a")
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.want)
			assert.ErrorContains(t, err, `the databases use "a"`)
		})
	}
}

func TestOnlyAKeyThatWasMadeHasToStay(t *testing.T) {
	t.Parallel()
	args := B2Args{Keys: []string{"new"}}
	for name, test := range map[string]struct {
		note    resource.PropertyMap
		refused bool
	}{
		"made":                 {resource.PropertyMap{"key": resource.NewProperty("old"), "adopted": resource.NewProperty(false)}, true},
		"adopted":              {resource.PropertyMap{"key": resource.NewProperty("old"), "adopted": resource.NewProperty(true)}, false},
		"imported without one": {resource.PropertyMap{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := args.checkKeptSince(test.note)
			assert.Equal(t, test.refused, err != nil, "%v", err)
		})
	}
}

func TestAKeyIsHandedOverAfterItIsNoted(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
			args := storageArgs()
			args.B2.Keys = []string{"old", "new"}
			_, err := NewStorage(ctx, "homelab", args)
			return err
		})
		note := mocks.component(t, "KeyInUse")
		assert.Equal(t, map[string]any{"key": "new", "adopted": false}, note.Inputs.Mappable())
		assert.NotEmpty(t, note.RegisterRPC.GetHooks().GetBeforeUpdate(), "it is judged")
		assert.Subset(t, dependencies(note), []string{"homelab-b2-key-old", "homelab-b2-key-new"})
		assert.Less(t, mocks.position(note), mocks.index(t, "homelab-b2-key"), "nothing is handed over before")
		for _, key := range []string{"old", "new"} {
			assert.Equal(t, []string{"capabilities", "namePrefix"},
				mocks.only(t, "homelab-b2-key-"+key).RegisterRPC.GetIgnoreChanges())
		}
	})
}

// refusesNote is an engine whose hook refuses another key in use.
type refusesNote struct{ recorder }

func (r *refusesNote) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	if args.TypeToken == "cnpg-backup:index:KeyInUse" {
		return "", nil, errors.New("refused")
	}
	return r.recorder.NewResource(args)
}

func TestWhenTheNoteIsRefusedNoKeyIsHandedOver(t *testing.T) {
	t.Parallel()
	for name, args := range map[string]*StorageArgs{"one key": storageArgs(), "a key for each namespace": ownKeys()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mocks := &refusesNote{}
			err := pulumi.RunErr(func(ctx *pulumi.Context) error {
				storage, err := NewStorage(ctx, "homelab", args)
				if err != nil {
					return err
				}
				_, err = storage.Credentials(ctx, "auth")
				return err
			}, pulumi.WithMocks("cnpg-backup", "test", mocks))
			require.ErrorContains(t, err, "refused")
			for _, made := range mocks.names() {
				assert.NotContains(t, made, "kubernetes:")
			}
		})
	}
}

// What is handed over are both halves of one key, in a Secret beside the PushSecret
// that reads it. B2 takes capitals in a bucket's name, and Kubernetes takes none.
func TestAKeyIsHandedOverWhole(t *testing.T) {
	t.Parallel()
	mocks := run(t, false, func(ctx *pulumi.Context) error {
		args := storageArgs()
		args.B2.Bucket, args.B2.Keys = "Homelab-CNPG", []string{"offsite"}
		args.Bitwarden.MirrorItem, args.Bitwarden.Namespace = "b2-mirror", "secrets"
		_, err := NewStorage(ctx, "homelab", args)
		return err
	})
	for name, want := range map[string]struct{ object, key string }{
		"homelab-b2-key":        {"b2-homelab-cnpg-key", "homelab-b2-key-offsite"},
		"homelab-b2-mirror-key": {"b2-homelab-cnpg-mirrorkey", "homelab-b2-key-offsite-mirror"},
	} {
		secret, push := mocks.only(t, name), mocks.only(t, name+"-push")
		for _, object := range []pulumi.MockResourceArgs{secret, push} {
			of := metadata(object)
			assert.Equal(t, []any{"secrets", want.object}, []any{of["namespace"], of["name"]})
		}
		assert.Equal(t, map[string]any{"secret": map[string]any{"name": want.object}}, spec(push)["selector"])
		halves := secret.Inputs["data"].ObjectValue()
		assert.Len(t, halves, 2)
		for half, value := range map[resource.PropertyKey]string{
			"AWS_ACCESS_KEY_ID": "id-of-" + want.key, "AWS_SECRET_ACCESS_KEY": "secret-of-" + want.key,
		} {
			require.True(t, halves[half].IsSecret(), "%s of %s", half, name)
			assert.Equal(t, base64.StdEncoding.EncodeToString([]byte(value)), halves[half].SecretValue().Element.StringValue())
		}
	}
}

func TestKeysReachTheFolderThatIsSaid(t *testing.T) {
	t.Parallel()
	mocks := run(t, false, func(ctx *pulumi.Context) error {
		args := storageArgs()
		args.B2.KeyPrefix, args.Bitwarden.MirrorItem = "auth/", "b2-mirror"
		_, err := NewStorage(ctx, "homelab", args)
		return err
	})
	for _, key := range []string{"homelab-cnpg-b2", "homelab-cnpg-b2-mirror"} {
		assert.Equal(t, "auth/", mocks.only(t, "homelab-b2-key-"+key).Inputs.Mappable()["namePrefix"])
	}
}

func TestStorageMakesAReadOnlyKeyForTheMirror(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
			args := storageArgs()
			args.Bitwarden.MirrorItem = "b2-mirror"
			storage, err := NewStorage(ctx, "homelab", args)
			require.NoError(t, err)
			database := databaseArgs()
			database.Storage = storage
			_, err = NewDatabase(ctx, "authentik", database)
			return err
		})
		key := mocks.only(t, "homelab-b2-key-homelab-cnpg-b2-mirror")
		assert.Equal(t, []any{"listBuckets", "listAllBucketNames", "listFiles", "readFiles"},
			key.Inputs.Mappable()["capabilities"])
		assert.True(t, mocks.only(t, "homelab-b2-mirror-key").Inputs["data"].ContainsSecrets())

		externalSecret := mocks.only(t, "auth-b2-cnpg-mirror-credentials")
		assert.Equal(t, []any{map[string]any{"extract": map[string]any{"key": "b2-mirror"}}}, spec(externalSecret)["dataFrom"])
		job, err := json.Marshal(spec(mocks.only(t, "authentik-mirror")))
		require.NoError(t, err)
		assert.Contains(t, string(job), `"name":"b2-cnpg-mirror-credentials"`, "the job reads with that key")
	})
}
