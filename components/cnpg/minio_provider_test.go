package cnpg

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/pulumi/pulumi-minio/sdk/go/minio"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// configured executes a program with stack configuration, all of it secret.
func configured(t *testing.T, config map[string]string, program pulumi.RunFunc) *recorder {
	t.Helper()
	mocks := &recorder{}
	require.NoError(t, pulumi.RunErr(program, pulumi.WithMocks("cnpg-backup", "test", mocks), func(info *pulumi.RunInfo) {
		info.Config = config
		for key := range config {
			info.ConfigSecretKeys = append(info.ConfigSecretKeys, key)
		}
	}))
	return mocks
}

func TestTheMinIOBucketIsMadeAtTheEndpoint(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string]map[string]any{
		"https://nas.example.org:9000": {"minioServer": "nas.example.org:9000", "minioSsl": true},
		"http://192.0.2.7:9000":        {"minioServer": "192.0.2.7:9000", "minioSsl": false},
		"https://nas.example.org":      {"minioServer": "nas.example.org", "minioSsl": true},
	} {
		inUpAndPreview(t, func(t *testing.T, dryRun bool) {
			mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
				args := storageArgs()
				args.MinIO.Endpoint = endpoint
				_, err := NewStorage(ctx, "homelab", args)
				return err
			})

			provider := mocks.only(t, "homelab-minio")
			assert.Equal(t, want, provider.Inputs.Mappable(), "user and password stay in the environment")
			assert.Contains(t, mocks.only(t, "homelab-minio-bucket").Provider, "::homelab-minio::")
		})
	}
}

func TestTheMinIOProviderTakesWhatIsConfigured(t *testing.T) {
	t.Parallel()
	mocks := configured(t, map[string]string{
		"minio:minioUser": "pulumi", "minio:minioPassword": "open", "minio:minioCacertFile": "nas.crt",
		"minio:minioInsecure": "true", "minio:minioServer": "nas.example.org:9000", "minio:minioSsl": "true",
	}, func(ctx *pulumi.Context) error {
		_, err := NewStorage(ctx, "homelab", storageArgs())
		return err
	})

	inputs := mocks.only(t, "homelab-minio").Inputs
	assert.True(t, inputs["minioPassword"].IsSecret())
	assert.True(t, inputs["minioUser"].IsSecret())
	assert.Equal(t, "open", inputs["minioPassword"].SecretValue().Element.StringValue())
	assert.Equal(t, "nas.crt", inputs["minioCacertFile"].SecretValue().Element.StringValue())
	assert.True(t, inputs["minioInsecure"].BoolValue())
	assert.NotContains(t, inputs, "minioRegion")
}

func TestAPasswordOfMinIOInClearTextIsNoneInTheState(t *testing.T) {
	t.Parallel()
	mocks := &recorder{}
	require.NoError(t, pulumi.RunErr(func(ctx *pulumi.Context) error {
		_, err := NewStorage(ctx, "homelab", storageArgs())
		return err
	}, pulumi.WithMocks("cnpg-backup", "test", mocks), func(info *pulumi.RunInfo) {
		info.Config = map[string]string{"minio:minioUser": "pulumi", "minio:minioPassword": "open", "minio:minioSecretKey": "open"}
	}))

	inputs := mocks.only(t, "homelab-minio").Inputs
	assert.True(t, inputs["minioPassword"].IsSecret())
	assert.True(t, inputs["minioSecretKey"].IsSecret())
	assert.Equal(t, "pulumi", inputs["minioUser"].StringValue())
}

func TestAMinIOProviderOfTheProgramIsUsed(t *testing.T) {
	t.Parallel()
	for name, deploy := range map[string]func(ctx *pulumi.Context, own *minio.Provider) error{
		"a storage's": func(ctx *pulumi.Context, own *minio.Provider) error {
			_, err := NewStorage(ctx, "homelab", storageArgs(), pulumi.Providers(own))
			return err
		},
		"a database's": func(ctx *pulumi.Context, own *minio.Provider) error {
			args := databaseArgs()
			args.Storage, args.NewStorage = nil, storageArgs()
			_, err := NewDatabase(ctx, "homelab", args, pulumi.Providers(own))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mocks := run(t, false, func(ctx *pulumi.Context) error {
				own, err := minio.NewProvider(ctx, "own", &minio.ProviderArgs{MinioServer: pulumi.String("other.example.org:9000")})
				require.NoError(t, err)
				return deploy(ctx, own)
			})

			assert.Contains(t, mocks.only(t, "homelab-minio-bucket").Provider, "::own::")
			for _, made := range mocks.Resources() {
				assert.False(t, made.TypeToken == "pulumi:providers:minio" && made.Name != "own", "a second provider %s", made.Name)
			}
		})
	}
}

func TestUsersAreMadeWhereTheAdoptedBucketIs(t *testing.T) {
	t.Parallel()
	mocks := run(t, false, func(ctx *pulumi.Context) error {
		storage, args := storageArgs(), databaseArgs()
		storage.MinIO.AdoptBucket, storage.MinIO.User, storage.MinIO.Secret = true, "<namespace>-cnpg", ""
		args.Storage, args.NewStorage = nil, storage
		_, err := NewDatabase(ctx, "authentik", args)
		return err
	})
	found := 0
	for _, made := range mocks.Resources() {
		if strings.HasPrefix(made.TypeToken, "minio:") {
			found++
			assert.Contains(t, made.Provider, "::authentik-minio::", made.Name)
		}
	}
	assert.Positive(t, found)
}

func TestAnAdoptedMinIOBucketTakesNoProvider(t *testing.T) {
	t.Parallel()
	mocks := run(t, false, func(ctx *pulumi.Context) error {
		args := storageArgs()
		args.MinIO.AdoptBucket = true
		_, err := NewStorage(ctx, "homelab", args)
		return err
	})
	for _, made := range mocks.Resources() {
		assert.NotEqual(t, "pulumi:providers:minio", made.TypeToken)
	}
}

func TestTheRegionOfMinIOIsSaidWhereItHasToBe(t *testing.T) {
	t.Parallel()
	mocks := run(t, false, func(ctx *pulumi.Context) error {
		args, storage := databaseArgs(), storageArgs()
		storage.MinIO.Region = "home-1"
		args.Storage, args.NewStorage = nil, storage
		_, err := NewDatabase(ctx, "authentik", args)
		return err
	})

	assert.Equal(t, "home-1", mocks.only(t, "authentik-minio").Inputs["minioRegion"].StringValue())
	job, err := json.Marshal(spec(mocks.only(t, "authentik-mirror")))
	require.NoError(t, err)
	assert.Contains(t, string(job), `{"name":"RCLONE_CONFIG_MIRROR_REGION","value":"home-1"}`)
	assert.Contains(t, string(job), `{"name":"AWS_DEFAULT_REGION","value":"home-1"}`)
	store, err := json.Marshal(spec(mocks.only(t, "authentik-minio-store")))
	require.NoError(t, err)
	// The plugin gives the variables of all stores to one container: B2 would be
	// asked for the region of MinIO.
	assert.NotContains(t, string(store), "REGION")

	assert.Contains(t, string(job), `{"name":"RCLONE_CONFIG_MIRROR_PROVIDER","value":"Other"}`)

	for region, good := range map[string]bool{"": true, "us-east-1": true, "home": true, "1home": false, "ho me": false, "home/1": false} {
		minio := storageArgs().MinIO
		minio.Region = region
		assert.Equal(t, good, len(minio.validate(nil)) == 0, "%q", region)
	}
}

func TestBarmanIsToldTheRegionByASecret(t *testing.T) {
	t.Parallel()
	told := func(region, key string) StorageArgs {
		storage := storageArgs()
		storage.MinIO.Region, storage.MinIO.RegionKey = region, key
		return *storage
	}
	args := databaseArgs()
	for key, want := range map[string]string{"": "", "AWS_REGION": `"region":{"name":"minio","key":"AWS_REGION"}`} {
		storage := told("garage", key)
		require.Empty(t, storage.Validate(nil))
		p := args.plan("authentik", storage)
		spec, err := json.Marshal(p.store(MinIO).spec())
		require.NoError(t, err)
		assert.Equal(t, want != "", strings.Contains(string(spec), "region"))
		assert.Contains(t, string(spec), want)
		spec, err = json.Marshal(p.store(B2).spec())
		require.NoError(t, err)
		assert.NotContains(t, string(spec), "region")
	}

	ofUser := told("garage", "AWS_REGION")
	ofUser.MinIO.Secret, ofUser.MinIO.User = "", "homelab-<namespace>"
	for want, storage := range map[string]StorageArgs{
		`minio.regionKey: Invalid value: "AWS_REGION": give region, too`:         told("", "AWS_REGION"),
		`minio.regionKey: Invalid value: "AWS REGION": expected letters, digits`: told("garage", "AWS REGION"),
		`minio.regionKey: Forbidden: user only works with MinIO`:                 ofUser,
	} {
		problems := storage.Validate(nil)
		require.Len(t, problems, 1, want)
		assert.Contains(t, problems[0].Error(), want)
	}
}
