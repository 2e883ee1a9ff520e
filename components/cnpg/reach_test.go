package cnpg

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	machineryapi "github.com/cloudnative-pg/machinery/pkg/api"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ownKeys is a storage in which each namespace has a B2 key of its own.
func ownKeys() *StorageArgs {
	args := storageArgs()
	args.B2.Keys = []string{"homelab-<namespace>"}
	return args
}

// ownUsers is a storage in which each namespace has MinIO users of its own.
func ownUsers() *StorageArgs {
	args := storageArgs()
	args.MinIO.Secret, args.MinIO.User = "", "homelab-<namespace>"
	return args
}

// deployIn deploys a database with a storage of its own.
func deployIn(t *testing.T, dryRun bool, args *DatabaseArgs, storage *StorageArgs) *recorder {
	t.Helper()
	return run(t, dryRun, func(ctx *pulumi.Context) error {
		args.NewStorage = storage
		_, err := NewDatabase(ctx, "authentik", args)
		return err
	})
}

func TestANamespaceHasB2KeysOfItsOwn(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		var outputs seen
		mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
			args := ownKeys()
			args.Bitwarden.MirrorItem = "b2-mirror"
			storage, err := NewStorage(ctx, "homelab", args)
			require.NoError(t, err)
			outputs.see("id", storage.B2KeyID)
			outputs.see("key", storage.B2Key)
			for name, namespace := range map[string]string{"authentik": "auth", "paperless": "media", "jellyfin": "media"} {
				database := databaseArgs()
				database.Namespace, database.Cluster, database.Storage = namespace, name+"-postgresql", storage
				_, err = NewDatabase(ctx, name, database)
				require.NoError(t, err)
			}
			return nil
		})
		assert.Equal(t, map[string]any{"id": "", "key": ""}, outputs.all(t), "there is no key for the whole bucket")

		keys := map[string]any{}
		for _, resource := range mocks.Resources() {
			if resource.TypeToken == "b2:index/applicationKey:ApplicationKey" {
				assertParent(t, resource, "Credentials")
				keys[resource.Inputs["keyName"].StringValue()] = resource.Inputs.Mappable()
			}
		}
		reading := []any{"listBuckets", "listAllBucketNames", "listFiles", "readFiles"}
		key := func(name, prefix string, capabilities ...any) map[string]any {
			return map[string]any{
				"keyName": name, "namePrefix": prefix, "bucketIds": []any{"bucket-id-of-homelab-b2-bucket"},
				"capabilities": append(append([]any{}, reading...), capabilities...),
			}
		}
		assert.Equal(t, map[string]any{
			"homelab-auth":         key("homelab-auth", "auth/", "writeFiles"),
			"homelab-auth-mirror":  key("homelab-auth-mirror", "auth/"),
			"homelab-media":        key("homelab-media", "media/", "writeFiles"),
			"homelab-media-mirror": key("homelab-media-mirror", "media/"),
		}, keys, "a namespace's key reaches its folder, and deletes no versions")

		for _, namespace := range []string{"auth", "media"} {
			for item, brought := range map[string]string{
				"backblaze-b2-cnpg-offsite-" + namespace: "key",
				"b2-mirror-" + namespace:                 "mirror-key",
			} {
				push := mocks.only(t, namespace+"-b2-"+brought+"-push")
				assertParent(t, push, "Credentials")
				pushed := spec(push)["data"].([]any)[0].(map[string]any)["match"].(map[string]any)["remoteRef"]
				assert.Equal(t, map[string]any{"remoteKey": item}, pushed)
				inKubernetes := "b2-homelab-cnpg-b2-" + strings.ReplaceAll(brought, "-", "") + "-" + namespace
				assert.Equal(t, inKubernetes, metadata(push)["name"])
				assert.True(t, mocks.only(t, namespace+"-b2-"+brought).Inputs["data"].ContainsSecrets())

				secret := map[string]string{"key": B2Secret, "mirror-key": B2MirrorSecret}[brought]
				externalSecret := mocks.only(t, namespace+"-"+secret)
				assert.Equal(t, []any{map[string]any{"extract": map[string]any{"key": item}}}, spec(externalSecret)["dataFrom"])
				assert.Contains(t, dependencies(externalSecret), namespace+"-b2-"+brought+"-push")
				assert.Equal(t, metadata(push)["annotations"].(map[string]any)["cnpg-backup/key"],
					metadata(externalSecret)["annotations"].(map[string]any)["cnpg-backup/key"], "what is written is read")
			}
		}
		assert.Contains(t, dependencies(mocks.only(t, "authentik-b2-store")), "auth-b2-cnpg-credentials")
	})
}

// The same list says when a key for all goes, so that it never goes while it is
// in use.
func TestFromOneKeyToOneForEachNamespaceAndBack(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		keys   []string
		inUse  string
		pushed string
		output string
	}{
		"one for each is in use, the other one kept": {
			[]string{"homelab-cnpg-b2", "homelab-<namespace>"}, "homelab-<namespace>", "auth-b2-key", "",
		},
		"and back": {
			[]string{"homelab-<namespace>", "homelab-cnpg-b2"}, "homelab-cnpg-b2", "homelab-b2-key",
			"secret-of-homelab-b2-key-homelab-cnpg-b2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var outputs seen
			mocks := run(t, false, func(ctx *pulumi.Context) error {
				args := storageArgs()
				args.B2.Keys = test.keys
				storage, err := NewStorage(ctx, "homelab", args)
				require.NoError(t, err)
				outputs.see("key", storage.B2Key)
				_, err = storage.Credentials(ctx, "auth")
				return err
			})
			assert.Equal(t, test.output, outputs.all(t)["key"])
			mocks.only(t, "homelab-b2-key-homelab-cnpg-b2")
			mocks.only(t, "auth-b2-key-homelab-auth")
			assert.Equal(t, test.inUse, mocks.component(t, "KeyInUse").Inputs["key"].StringValue())
			var pushed []string
			for _, resource := range mocks.names() {
				if of, found := strings.CutPrefix(resource, "kubernetes:core/v1:Secret "); found {
					pushed = append(pushed, of)
				}
			}
			assert.Equal(t, []string{test.pushed}, pushed)
			brought := mocks.only(t, "auth-b2-cnpg-credentials")
			assert.Equal(t, metadata(mocks.only(t, test.pushed+"-push"))["annotations"].(map[string]any)["cnpg-backup/key"],
				metadata(brought)["annotations"].(map[string]any)["cnpg-backup/key"], "the namespace waits for the key in use")
			assert.Subset(t, dependencies(brought), []string{"homelab-b2-key-homelab-cnpg-b2", "auth-b2-key-homelab-auth"},
				"no key is deleted before what may use it")
		})
	}
}

func TestKeysReachWhatADatabaseReadsAndWrites(t *testing.T) {
	t.Parallel()
	elsewhere := &Recovery{Source: B2, Namespace: "media", Cluster: "jellyfin-postgresql"}
	for name, test := range map[string]struct {
		storage func() *StorageArgs
		change  func(*DatabaseArgs)
		want    []string
	}{
		"the default path":                 {ownKeys, func(*DatabaseArgs) {}, nil},
		"a path in the namespace's folder": {ownKeys, func(a *DatabaseArgs) { a.Path = "/auth/old/" }, nil},
		"the namespace's folder itself":    {ownKeys, func(a *DatabaseArgs) { a.Path = "auth" }, nil},
		"a path outside": {ownKeys, func(a *DatabaseArgs) { a.Path = "authentik/db" },
			[]string{`path: Invalid value: "authentik/db": is not in "auth/"`, "use keys for the whole bucket"}},
		"the bucket's root":            {ownKeys, func(a *DatabaseArgs) { a.Path = "/" }, []string{`path: Invalid value: "/"`}},
		"a path outside, one key":      {storageArgs, func(a *DatabaseArgs) { a.Path = "authentik/db" }, nil},
		"another namespace's backups":  {ownKeys, func(a *DatabaseArgs) { a.Recovery = elsewhere }, []string{"recovery.sourceSecret: Required", `"auth"`, `"media/jellyfin-postgresql/"`}},
		"another namespace's, one key": {storageArgs, func(a *DatabaseArgs) { a.Recovery = elsewhere }, nil},
		"another namespace's backups with a key for them": {ownKeys, func(a *DatabaseArgs) {
			with := *elsewhere
			with.SourceSecret = "reads-media"
			a.Recovery = &with
		}, nil},
		"another cluster's in the namespace": {ownKeys, func(a *DatabaseArgs) {
			a.Recovery = &Recovery{Source: B2, Cluster: "another"}
		}, nil},
		"the cluster's own with a key for them": {ownKeys, func(a *DatabaseArgs) {
			a.Generation = 2
			a.Recovery = &Recovery{Source: B2, SourceSecret: "reads-auth"}
		}, []string{"recovery.sourceSecret: Forbidden", "leave it out"}},
		"a B2 key's name that is too long": {func() *StorageArgs {
			args := ownKeys()
			args.B2.Keys = []string{strings.Repeat("k", 90) + "-<namespace>", strings.Repeat("l", 97)}
			return args
		}, func(a *DatabaseArgs) { a.Namespace = "authentication" },
			[]string{`namespace: Invalid value: "authentication"`, "with 105 characters; 100 are allowed: shorten b2.keys"}},
		"a user's name that is too long": {func() *StorageArgs {
			args := ownUsers()
			args.MinIO.User = strings.Repeat("u", 80) + "-<namespace>"
			return args
		}, func(a *DatabaseArgs) { a.Namespace = "authentication" },
			[]string{`makes the MinIO user "uuu`, "with 102 characters; 96 are allowed: shorten minio.user"}},
		"users, and a path outside": {ownUsers, func(a *DatabaseArgs) { a.Path = "authentik/db" }, []string{`is not in "auth/"`}},
		"users, and another namespace's backups at MinIO": {ownUsers, func(a *DatabaseArgs) {
			with := *elsewhere
			with.Source = MinIO
			a.Recovery = &with
		}, []string{"recovery.sourceSecret: Required"}},
		"users, and another namespace's backups at B2": {ownUsers, func(a *DatabaseArgs) { a.Recovery = elsewhere }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := databaseArgs()
			test.change(args)
			err := args.Validate(nil, "authentik", test.storage()).ToAggregate()
			if test.want == nil {
				require.NoError(t, err)
				return
			}
			for _, part := range test.want {
				require.ErrorContains(t, err, part)
			}
		})
	}
}

func TestARecoveryReadsWithTheKeyThatItIsGiven(t *testing.T) {
	t.Parallel()
	args := databaseArgs()
	args.Recovery = &Recovery{Source: B2, Namespace: "media", Cluster: "jellyfin-postgresql", SourceSecret: "reads-media"}
	mocks := deployIn(t, false, args, ownKeys())
	credentials := func(name string) any {
		return spec(mocks.only(t, name))["configuration"].(map[string]any)["s3Credentials"].(map[string]any)["accessKeyId"]
	}
	assert.Equal(t, map[string]any{"name": "reads-media", "key": "AWS_ACCESS_KEY_ID"}, credentials("authentik-recovery-store"))
	assert.Equal(t, map[string]any{"name": B2Secret, "key": "AWS_ACCESS_KEY_ID"}, credentials("authentik-b2-store"))
}

func TestKeysForEachNamespaceAreChecked(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*StorageArgs)
		want   string
	}{
		"not handed over":    {func(a *StorageArgs) { a.Bitwarden.HandOver = new(false) }, "b2.keys: Invalid value: \"homelab-<namespace>\": with a key for each namespace"},
		"the other provider": {func(a *StorageArgs) { a.Bitwarden.Provider = BitwardenProviderWebhook }, "set bitwarden.handOver to true"},
		"with a prefix":      {func(a *StorageArgs) { a.B2.KeyPrefix = "auth/" }, "b2.keyPrefix: Forbidden"},
		"misspelt":           {func(a *StorageArgs) { a.B2.Keys = []string{"homelab-<namespac>"} }, `"<namespace>" stands for each namespace`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := ownKeys()
			test.change(args)
			require.ErrorContains(t, args.Validate(nil).ToAggregate(), test.want)
		})
	}
	require.Empty(t, ownKeys().Validate(nil))
}

func TestANamespaceHasMinIOUsersOfItsOwn(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		mocks := deployIn(t, dryRun, databaseArgs(), ownUsers())
		for _, user := range []struct{ name, pulumi, secret, mayDelete string }{
			{"homelab-auth", "auth-minio-user", "minio-cnpg-credentials", `,"s3:DeleteObject"`},
			{"homelab-auth-mirror", "auth-minio-user-mirror", "minio-cnpg-mirror-credentials", ""},
		} {
			made := mocks.only(t, user.pulumi)
			assertParent(t, made, "Credentials")
			assert.Equal(t, map[string]any{"name": user.name}, made.Inputs.Mappable())
			denied := `"s3:DeleteObject","s3:DeleteObjectVersion"`
			if user.mayDelete != "" {
				denied = `"s3:DeleteObjectVersion"`
			}
			policy := mocks.only(t, user.pulumi+"-policy").Inputs.Mappable()
			assert.Equal(t, user.name, policy["name"])
			assert.JSONEq(t, `{"Version": "2012-10-17", "Statement": [
				{"Effect": "Allow", "Action": ["s3:GetBucketLocation", "s3:HeadBucket"],
				 "Resource": ["arn:aws:s3:::homelab-postgres-backups"]},
				{"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::homelab-postgres-backups"],
				 "Condition": {"StringLike": {"s3:prefix": ["auth/*"]}}},
				{"Effect": "Allow", "Action": ["s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts",
				 "s3:PutObject"`+user.mayDelete+`], "Resource": ["arn:aws:s3:::homelab-postgres-backups/auth/*"]},
				{"Effect": "Deny", "Action": [`+denied+`], "Resource": ["arn:aws:s3:::homelab-postgres-backups/*"]}
			]}`, policy["policy"].(string))
			assert.Equal(t, map[string]any{"userName": user.name, "policyName": user.name},
				mocks.only(t, user.pulumi+"-attachment").Inputs.Mappable())

			secret := mocks.only(t, user.pulumi+"-key")
			assert.Equal(t, []any{user.secret, "auth"}, []any{metadata(secret)["name"], metadata(secret)["namespace"]})
			assert.Contains(t, dependencies(secret), user.pulumi+"-attachment", "the key works when it is there")
			data := secret.Inputs["data"]
			assert.True(t, data.ContainsSecrets())
			assert.Contains(t, dependencies(mocks.only(t, "authentik-minio-store")), user.pulumi+"-key")
		}
	})
}

func TestEachPartUsesTheMinIOKeyThatItNeeds(t *testing.T) {
	t.Parallel()
	const mirror, full = "minio-cnpg-mirror-credentials", "minio-cnpg-credentials"
	for _, test := range []struct {
		archive                                Location
		store, copiesFrom, copiesTo, deletesAs string
	}{
		{B2, mirror, B2Secret, mirror, full},
		{MinIO, full, mirror, B2Secret, B2Secret},
	} {
		t.Run("archive "+string(test.archive), func(t *testing.T) {
			t.Parallel()
			args := databaseArgs()
			args.Archive = test.archive
			mocks := deployIn(t, false, args, ownUsers())
			credentials := spec(mocks.only(t, "authentik-minio-store"))["configuration"].(map[string]any)["s3Credentials"]
			assert.Equal(t, test.store, credentials.(map[string]any)["accessKeyId"].(map[string]any)["name"])

			args = databaseArgs()
			args.Archive = test.archive
			pod := podOf(cronJob(t, false, args, ownUsers()))
			copying := variables(pod.InitContainers[2])
			assert.Equal(t, test.copiesFrom+"/AWS_ACCESS_KEY_ID", copying["RCLONE_CONFIG_ARCHIVE_ACCESS_KEY_ID"])
			assert.Equal(t, test.copiesTo+"/AWS_ACCESS_KEY_ID", copying["RCLONE_CONFIG_MIRROR_ACCESS_KEY_ID"])
			assert.Equal(t, test.deletesAs+"/AWS_ACCESS_KEY_ID", variables(pod.Containers[0])["AWS_ACCESS_KEY_ID"])
		})
	}
}

func TestWhatCopiesNeedsNoRightToDelete(t *testing.T) {
	t.Parallel()
	for name, retention := range map[string]string{"with retention": "2w", "without": none} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := databaseArgs()
			args.MinIO.Retention, args.Mirror.PruneSecret = retention, "may-delete"
			storage := storageArgs()
			storage.MinIO.EndpointCA = &machineryapi.SecretKeySelector{
				LocalObjectReference: machineryapi.LocalObjectReference{Name: "nas-ca"}, Key: "ca.pem",
			}
			pod := podOf(cronJob(t, false, args, storage))
			containers := slices.Concat(pod.InitContainers, pod.Containers)
			var names []string
			for _, container := range containers {
				names = append(names, container.Name)
				used := fmt.Sprint(slices.Collect(maps.Values(variables(container))))
				deletes := container.Name == "clean" || container.Name == "prune"
				assert.Equal(t, deletes, strings.Contains(used, "may-delete/"), container.Name)
			}
			want := []string{"fetch-histories", "read-histories", "copy", "clean", "prune"}
			if retention == none {
				want = want[:4]
			}
			assert.Equal(t, want, names)
			assert.Len(t, pod.Containers, 1, "one after the other")
			copying, cleaning := variables(containers[2]), variables(containers[3])
			assert.Equal(t, copying["DEAD_LIST"], cleaning["DEAD_LIST"])
			assert.NotEmpty(t, cleaning["DEAD_LIST"])
			assert.Equal(t, copying["MIRROR"], cleaning["MIRROR"])
			assert.Equal(t, "/etc/ssl/certs:/mnt/minio-ca", cleaning["SSL_CERT_DIR"])
			assert.Equal(t, "tmp", containers[3].VolumeMounts[0].Name, "where the list is")
		})
	}
}

func TestMinIOKeepsWhatIsDeletedForAWhile(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
			args := storageArgs()
			args.MinIO.UndeleteDays = 14
			_, err := NewStorage(ctx, "homelab", args)
			return err
		})
		assert.Equal(t, map[string]any{
			"bucket": "homelab-postgres-backups", "versioningConfiguration": map[string]any{"status": "Enabled"},
		}, mocks.only(t, "homelab-minio-versions").Inputs.Mappable())
		assert.Equal(t, map[string]any{
			"bucket": "homelab-postgres-backups", "rules": []any{map[string]any{
				"id": "undelete", "noncurrentVersionExpirationDays": 14.0, "expiration": "DeleteMarker",
			}},
		}, mocks.only(t, "homelab-minio-lifecycle").Inputs.Mappable())
	})
}

func TestMinIOUsersAreChecked(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*MinIOArgs)
		want   string
	}{
		"neither a user nor a Secret": {func(a *MinIOArgs) { a.User = "" }, "minio.secret: Required"},
		"both":                        {func(a *MinIOArgs) { a.Secret = "minio" }, "minio.secret: Forbidden: user makes a Secret in each namespace"},
		"one user for all":            {func(a *MinIOArgs) { a.User = "homelab" }, `minio.user: Invalid value: "homelab": expected "<namespace>"`},
		"a character that is refused": {func(a *MinIOArgs) { a.User = "home lab-<namespace>" }, "minio.user: Invalid value"},
		"versions of an adopted bucket": {func(a *MinIOArgs) { a.AdoptBucket, a.UndeleteDays = true, 14 },
			"minio.undeleteDays: Forbidden: an adopted bucket keeps its settings"},
		"versions for less than a day": {func(a *MinIOArgs) { a.UndeleteDays = -1 }, "expected 1 to 9999 days"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := ownUsers()
			test.change(&args.MinIO)
			require.ErrorContains(t, args.Validate(nil).ToAggregate(), test.want)
		})
	}
	require.Empty(t, ownUsers().Validate(nil))
}
