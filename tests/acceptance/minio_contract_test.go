//go:build acceptance

package acceptance

import (
	"context"
	"maps"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/provider"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

const (
	// minioSource is where the code of the Terraform provider is that the real
	// MinIO provider is made of, at the version that this is made of:
	// https://github.com/pulumi/pulumi-minio/blob/v0.16.3/provider/go.mod
	minioSource = "https://github.com/aminueza/terraform-provider-minio/blob/v1.20.1/minio/"
	minioBucket = "minio:index/s3Bucket:S3Bucket"
)

// minioFact is one thing that the real MinIO provider does. The table runs against
// the stand-in and, with PLUGINS=real, against the real provider and a real
// server.
type minioFact struct {
	name string
	// source is the file below minioSource, and the function.
	source string
	holds  func(t *testing.T, c *minioContract)
}

func minioFacts() []minioFact {
	return []minioFact{
		{"a server has to be said, or be in the environment", "provider.go Provider", aServerIsRequired},
		{"it speaks plain HTTP unless it is told otherwise", "new_client.go NewClient", plainHTTP},
		{"without a user nothing is made", "resource_minio_s3_bucket.go minioCreateBucket", usersAreRequired},
		{"the user may have the old names", "provider.go Provider", oldNamesOfTheUser},
		{"another server, user or TLS replaces nothing", "provider.go Provider", otherSettingsReplaceNothing},
		{"a bucket has defaults", "resource_minio_s3_bucket.go resourceMinioBucket", bucketDefaults},
		{"names that S3 does not allow are refused when it is made", "resource_minio_s3_bucket.go minioCreateBucket", badNames},
		{"an ACL that there is not is refused", "resource_minio_s3_bucket.go minioSetBucketACL", unknownACLs},
		{"a bucket that exists is not made", "resource_minio_s3_bucket.go minioCreateBucket", existingBuckets},
		{"a preview makes nothing and asks nobody", "resource_minio_s3_bucket.go minioCreateBucket", bucketPreviews},
		{"another name is another bucket, an ACL is not", "resource_minio_s3_bucket.go resourceMinioBucket", bucketDifferences},
		{"a bucket with files is not deleted", "resource_minio_s3_bucket.go minioDeleteBucket", fullBuckets},
		{"forceDestroy deletes the files too", "resource_minio_s3_bucket.go minioDeleteBucket", forcedBuckets},
		{"a bucket that is gone is read as gone", "resource_minio_s3_bucket.go minioReadBucket", goneBuckets},
		{"what it may not read it takes for gone", "resource_minio_s3_bucket.go minioReadBucket", unreadableBuckets},
	}
}

// TestMinIOPlugin compares a MinIO provider with what the real one does, at the
// server that the variable NAS chooses: MinIO, or versitygw, whose bucket it makes as
// well.
func TestMinIOPlugin(t *testing.T) {
	server := newMinIOServer(t)
	for _, fact := range minioFacts() {
		t.Run(fact.name, func(t *testing.T) {
			fact.holds(t, &minioContract{server: server})
			if t.Failed() {
				t.Logf("the real provider: %s%s", minioSource, fact.source)
			}
		})
	}
}

// minioServer is what a MinIO provider talks to: a real server for the real one.
type minioServer struct {
	address, user, password string
	// real is the server, nil for the stand-in, which keeps files in folder.
	real   *s3server.Store
	folder string
	// toNobody is what it answers without a user.
	toNobody string
}

func newMinIOServer(t *testing.T) minioServer {
	t.Helper()
	if *plugins != "real" {
		return minioServer{address: "nas.invalid:9000", user: "user", password: "password", folder: t.TempDir(), toNobody: "Access Denied"}
	}
	kind, err := s3server.NAS()
	require.NoError(t, err)
	program, err := kind.Tool().Build(t.Context(), os.Stderr)
	require.NoError(t, err)
	store, err := s3server.New(t.Context(), t.TempDir(), "first", s3server.Options{Kind: kind, Program: program})
	require.NoError(t, err)
	t.Cleanup(store.Stop)
	endpoint, err := url.Parse(store.Endpoint)
	require.NoError(t, err)
	user, password := store.Administrator()
	toNobody := map[s3server.Kind]string{
		s3server.MinIO: "Access Denied", s3server.VersityGW: "Anonymous users cannot invoke this API",
	}
	return minioServer{address: endpoint.Host, user: user, password: password, real: store, toNobody: toNobody[kind]}
}

// put puts a file into a bucket.
func (s minioServer) put(t *testing.T, bucket string) {
	t.Helper()
	if s.real == nil {
		require.NoError(t, provider.NewMinIO(s.folder).Put(resource.ID(bucket), "file"))
		return
	}
	client, err := minio.New(s.address, &minio.Options{Creds: credentials.NewStaticV4(s.user, s.password, "")})
	require.NoError(t, err)
	_, err = client.PutObject(t.Context(), bucket, "file", strings.NewReader("x"), 1, minio.PutObjectOptions{})
	require.NoError(t, err)
}

// minioContract is a MinIO provider under test, as an engine talks to it.
type minioContract struct {
	plugin.Provider
	server minioServer
}

// start starts a provider with environment variables, and asks it about a
// configuration.
func (c *minioContract) start(t *testing.T, config map[string]any, environment ...string) plugin.CheckConfigResponse {
	t.Helper()
	address := ""
	if *plugins == "real" {
		path, err := sandbox.RealPlugin(t.Context(), "minio", provider.MinIOVersion)
		require.NoError(t, err)
		address = startPlugin(t, "minio", path, environment)
	} else {
		standIn := provider.NewMinIO(c.server.folder)
		standIn.Environment = lookUp(environment)
		address = serve(t, provider.Registrar(standIn))
	}
	c.Provider = connect(t, address)
	checked, err := c.CheckConfig(t.Context(), plugin.CheckConfigRequest{
		URN: urn("pulumi:providers:minio", "default"), News: resource.NewPropertyMapFromMap(config), AllowUnknowns: true,
	})
	require.NoError(t, err)
	return checked
}

// configure is start with a configuration that is right.
func (c *minioContract) configure(t *testing.T, config map[string]any, environment ...string) {
	t.Helper()
	checked := c.start(t, config, environment...)
	configure(t, c.Provider, "minio", checked)
}

// connected configures it for the server, with the user that the server has.
func (c *minioContract) connected(t *testing.T) {
	t.Helper()
	c.configure(t, map[string]any{"minioServer": c.server.address}, c.credentials()...)
}

func (c *minioContract) credentials() []string {
	return []string{"MINIO_USER=" + c.server.user, "MINIO_PASSWORD=" + c.server.password}
}

// bucket are the inputs of a bucket of the test's own.
func (c *minioContract) bucket(t *testing.T, more map[string]any) resource.PropertyMap {
	t.Helper()
	name := strings.NewReplacer(" ", "-", ",", "", "/", "-", "_", "-").Replace(strings.ToLower(t.Name()))
	name = strings.Trim(name[max(0, len(name)-50):], "-")
	inputs := map[string]any{"bucket": name}
	maps.Copy(inputs, more)
	return resource.NewPropertyMapFromMap(inputs)
}

func (c *minioContract) check(t *testing.T, inputs resource.PropertyMap) plugin.CheckResponse {
	t.Helper()
	checked, err := c.Check(t.Context(), plugin.CheckRequest{URN: urn(minioBucket, "bucket"), Type: minioBucket, News: inputs})
	require.NoError(t, err)
	return checked
}

func (c *minioContract) try(t *testing.T, inputs resource.PropertyMap) (plugin.CreateResponse, error) {
	t.Helper()
	checked := c.check(t, inputs)
	require.Empty(t, checked.Failures)
	return c.Create(t.Context(), plugin.CreateRequest{URN: urn(minioBucket, "bucket"), Type: minioBucket, Properties: checked.Properties})
}

func (c *minioContract) create(t *testing.T, inputs resource.PropertyMap) plugin.CreateResponse {
	t.Helper()
	created, err := c.try(t, inputs)
	require.NoError(t, err)
	return created
}

func (c *minioContract) read(t *testing.T, created plugin.CreateResponse) plugin.ReadResponse {
	t.Helper()
	response, err := c.Read(t.Context(), plugin.ReadRequest{
		URN: urn(minioBucket, "bucket"), Type: minioBucket, ID: created.ID,
		Inputs: resource.PropertyMap{}, State: created.Properties,
	})
	require.NoError(t, err)
	return response
}

func (c *minioContract) delete(ctx context.Context, created plugin.CreateResponse) error {
	_, err := c.Delete(ctx, plugin.DeleteRequest{
		URN: urn(minioBucket, "bucket"), Type: minioBucket, ID: created.ID,
		Inputs: resource.PropertyMap{}, Outputs: created.Properties,
	})
	return err
}

func aServerIsRequired(t *testing.T, c *minioContract) {
	checked := c.start(t, map[string]any{}, c.credentials()...)
	require.Len(t, checked.Failures, 1)
	assert.Contains(t, checked.Failures[0].Reason,
		"missing a required configuration key, try `pulumi config set minio:minioServer`")

	checked = c.start(t, map[string]any{}, append(c.credentials(), "MINIO_ENDPOINT="+c.server.address)...)
	assert.Empty(t, checked.Failures)
	assert.NotContains(t, checked.Properties, resource.PropertyKey("minioPassword"), "it does not get into the state")
}

func plainHTTP(t *testing.T, c *minioContract) {
	c.connected(t)
	made := c.create(t, c.bucket(t, nil))
	assert.Equal(t, "http://"+c.server.address+"/minio/"+string(made.ID), made.Properties["bucketDomainName"].StringValue())
}

func usersAreRequired(t *testing.T, c *minioContract) {
	c.configure(t, map[string]any{"minioServer": c.server.address})
	_, err := c.try(t, c.bucket(t, nil))
	require.ErrorContains(t, err, "[FATAL] unable to")
	assert.ErrorContains(t, err, c.server.toNobody)
}

func oldNamesOfTheUser(t *testing.T, c *minioContract) {
	c.configure(t, map[string]any{"minioServer": c.server.address},
		"MINIO_ACCESS_KEY="+c.server.user, "MINIO_SECRET_KEY="+c.server.password)
	c.create(t, c.bucket(t, nil))
}

func otherSettingsReplaceNothing(t *testing.T, c *minioContract) {
	c.connected(t)
	diff, err := c.DiffConfig(t.Context(), plugin.DiffConfigRequest{
		URN:        urn("pulumi:providers:minio", "default"),
		OldInputs:  resource.NewPropertyMapFromMap(map[string]any{"minioServer": "nas:9000", "minioSsl": "true", "minioUser": "a"}),
		OldOutputs: resource.NewPropertyMapFromMap(map[string]any{"minioServer": "nas:9000", "minioSsl": "true", "minioUser": "a"}),
		NewInputs: resource.NewPropertyMapFromMap(map[string]any{
			"minioServer": "other:9000", "minioSsl": "false", "minioRegion": "home", "minioPassword": "b",
		}),
	})
	require.NoError(t, err)
	assert.False(t, diff.Replace())
	assert.Empty(t, diff.ReplaceKeys)
}

func bucketDefaults(t *testing.T, c *minioContract) {
	c.connected(t)
	made := c.create(t, c.bucket(t, nil))
	name := string(made.ID)
	for key, want := range map[resource.PropertyKey]any{
		"bucket": name, "acl": "private", "forceDestroy": false, "objectLocking": false, "arn": "arn:aws:s3:::" + name,
	} {
		assert.Equal(t, resource.NewPropertyValue(want), made.Properties[key], key)
	}
}

func badNames(t *testing.T, c *minioContract) {
	c.connected(t)
	for _, name := range []string{"ab", "192.168.0.1", ".abc", "a..b"} {
		_, err := c.try(t, resource.NewPropertyMapFromMap(map[string]any{"bucket": name}))
		assert.ErrorContains(t, err, "unable to create bucket ("+name+")", name)
	}
}

func unknownACLs(t *testing.T, c *minioContract) {
	c.connected(t)
	_, err := c.try(t, c.bucket(t, map[string]any{"acl": "mine"}))
	require.ErrorContains(t, err, "unsupported ACL (mine)")
}

func existingBuckets(t *testing.T, c *minioContract) {
	c.connected(t)
	c.create(t, c.bucket(t, nil))
	_, err := c.try(t, c.bucket(t, nil))
	require.ErrorContains(t, err, "[FATAL] bucket already exists!")
}

func bucketPreviews(t *testing.T, c *minioContract) {
	c.configure(t, map[string]any{"minioServer": "nobody.invalid:9000"})
	_, err := c.Create(t.Context(), plugin.CreateRequest{
		URN: urn(minioBucket, "bucket"), Type: minioBucket, Preview: true,
		Properties: c.check(t, c.bucket(t, map[string]any{"acl": "private"})).Properties,
	})
	require.NoError(t, err)
}

func bucketDifferences(t *testing.T, c *minioContract) {
	c.connected(t)
	inputs := c.bucket(t, nil)
	made := c.create(t, inputs)
	old := c.check(t, inputs).Properties
	for name, test := range map[string]struct {
		change  map[string]any
		replace bool
	}{
		"bucket":        {map[string]any{"bucket": "another"}, true},
		"acl":           {map[string]any{"acl": "public"}, false},
		"forceDestroy":  {map[string]any{"forceDestroy": true}, false},
		"objectLocking": {map[string]any{"objectLocking": true}, false},
	} {
		diff, err := c.Diff(t.Context(), plugin.DiffRequest{
			URN: urn(minioBucket, "bucket"), Type: minioBucket, ID: made.ID, OldInputs: old, OldOutputs: made.Properties,
			NewInputs: c.check(t, c.bucket(t, test.change)).Properties,
		})
		require.NoError(t, err)
		assert.Equal(t, plugin.DiffSome, diff.Changes, name)
		assert.Equal(t, test.replace, diff.Replace(), name)
	}
}

func fullBuckets(t *testing.T, c *minioContract) {
	c.connected(t)
	made := c.create(t, c.bucket(t, nil))
	c.server.put(t, string(made.ID))
	err := c.delete(t.Context(), made)
	require.ErrorContains(t, err, "The bucket you tried to delete is not empty")
	assert.NotEmpty(t, c.read(t, made).ID)
}

func forcedBuckets(t *testing.T, c *minioContract) {
	c.connected(t)
	made := c.create(t, c.bucket(t, map[string]any{"forceDestroy": true}))
	c.server.put(t, string(made.ID))
	require.NoError(t, c.delete(t.Context(), made))
	assert.Empty(t, c.read(t, made).ID)
}

func goneBuckets(t *testing.T, c *minioContract) {
	c.connected(t)
	made := c.create(t, c.bucket(t, nil))
	require.NoError(t, c.delete(t.Context(), made))
	assert.Empty(t, c.read(t, made).ID)
}

func unreadableBuckets(t *testing.T, c *minioContract) {
	c.connected(t)
	made := c.create(t, c.bucket(t, nil))
	c.configure(t, map[string]any{"minioServer": c.server.address})
	assert.Empty(t, c.read(t, made).ID, "a refresh drops it from the state")
}
