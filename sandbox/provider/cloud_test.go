package provider_test

import (
	"context"
	"maps"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/provider"
)

const (
	b2Bucket    = "b2:index/bucket:Bucket"
	b2Key       = "b2:index/applicationKey:ApplicationKey"
	minioBucket = "minio:index/s3Bucket:S3Bucket"
	minioUser   = "minio:index/iamUser:IamUser"
	minioPolicy = "minio:index/iamPolicy:IamPolicy"
	minioILM    = "minio:index/ilmPolicy:IlmPolicy"
	minioVers   = "minio:index/s3BucketVersioning:S3BucketVersioning"
)

const goodPolicy = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:ListBucket"],
	"Resource": ["arn:aws:s3:::b"], "Condition": {"StringLike": {"s3:prefix": ["auth/*"]}}}]}`

// clouds are both providers, by the package of the types above.
func clouds(t *testing.T) map[tokens.Package]*provider.Cloud {
	t.Helper()
	b2, err := provider.NewB2(t.TempDir(), nil)
	require.NoError(t, err)
	minio := provider.NewMinIO(t.TempDir())
	b2.Environment, minio.Environment = everything, everything
	return map[tokens.Package]*provider.Cloud{"b2": b2.Cloud, "minio": minio}
}

// everything is an environment that has all variables.
func everything(string) string { return "given" }

func properties(values map[string]any) resource.PropertyMap {
	return resource.NewPropertyMapFromMap(values)
}

func key(values map[string]any) map[string]any {
	key := map[string]any{"keyName": "key", "capabilities": []any{"readFiles"}}
	maps.Copy(key, values)
	return key
}

func TestCloudsCheckInputsAgainstTheirSchemas(t *testing.T) {
	clouds := clouds(t)
	for _, test := range []struct {
		name   string
		of     tokens.Type
		inputs map[string]any
		want   []string
	}{
		{name: "a key", of: b2Key, inputs: key(nil)},
		{name: "a key without capabilities", of: b2Key, inputs: map[string]any{"keyName": "key"},
			want: []string{"capabilities: Required value"}},
		{name: "a misspelt input", of: b2Key, inputs: key(map[string]any{"bucketIDs": []any{}}),
			want: []string{"bucketIDs: Forbidden: the schema has no such property"}},
		{name: "an element of the wrong type", of: b2Key, inputs: key(map[string]any{"bucketIds": []any{"a", 1}}),
			want: []string{"bucketIds[1]: Invalid value: \"number\": expected string"}},
		{name: "a nested input that is missing", of: b2Bucket,
			inputs: map[string]any{"bucketName": "b", "bucketType": "allPrivate", "lifecycleRules": []any{map[string]any{}}},
			want:   []string{"lifecycleRules[0].fileNamePrefix: Required value"}},
		{name: "a MinIO bucket", of: minioBucket, inputs: map[string]any{"bucket": "b", "acl": "private"}},
		{name: "a number in place of a name", of: minioBucket, inputs: map[string]any{"bucket": 7},
			want: []string{"bucket: Invalid value: \"number\": expected string"}},
		{name: "a MinIO user", of: minioUser, inputs: map[string]any{"name": "homelab-auth"}},
		{name: "a MinIO user with a blank", of: minioUser, inputs: map[string]any{"name": "homelab auth"},
			want: []string{`name: Invalid value: "homelab auth"`}},
		{name: "a MinIO policy", of: minioPolicy, inputs: map[string]any{"name": "homelab-auth", "policy": goodPolicy}},
		{name: "a MinIO policy that is no JSON", of: minioPolicy, inputs: map[string]any{"name": "p", "policy": "{"},
			want: []string{`policy: Invalid value: "{": unexpected EOF`}},
		{name: "a MinIO policy with a condition that its action has not", of: minioPolicy,
			inputs: map[string]any{"name": "p", "policy": strings.ReplaceAll(goodPolicy, "ListBucket", "GetBucketLocation")},
			want:   []string{"unsupported condition keys '[s3:prefix]' used for action 's3:GetBucketLocation'"}},
		{name: "a lifecycle", of: minioILM, inputs: map[string]any{"bucket": "b", "rules": []any{
			map[string]any{"id": "undelete", "noncurrentVersionExpirationDays": 14, "expiration": "DeleteMarker"}}}},
		{name: "a lifecycle of no days", of: minioILM, inputs: map[string]any{"bucket": "b", "rules": []any{
			map[string]any{"id": "undelete", "noncurrentVersionExpirationDays": 0, "expiration": "soon"}}},
			want: []string{"must be strictly positive", `expiration: Invalid value: "soon"`}},
		{name: "versions", of: minioVers, inputs: map[string]any{"bucket": "b", "versioningConfiguration": map[string]any{"status": "Enabled"}}},
		{name: "versions that are neither on nor off", of: minioVers,
			inputs: map[string]any{"bucket": "b", "versioningConfiguration": map[string]any{"status": "On"}},
			want:   []string{`status: Invalid value: "On"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			response, err := clouds[test.of.Package()].Check(t.Context(),
				plugin.CheckRequest{Type: test.of, News: properties(test.inputs)})

			require.NoError(t, err)
			require.Len(t, response.Failures, len(test.want), "%v", response.Failures)
			for i, failure := range response.Failures {
				assert.Contains(t, failure.Reason, test.want[i])
			}
		})
	}
}

func TestCloudsReplaceWhatCannotChange(t *testing.T) {
	clouds := clouds(t)
	for _, test := range []struct {
		name     string
		of       tokens.Type
		old, new map[string]any
		want     plugin.DiffKind
	}{
		{"any argument of a key", b2Key, key(map[string]any{"namePrefix": "a"}), key(map[string]any{"namePrefix": "b"}), plugin.DiffUpdateReplace},
		{"another argument of a key", b2Key, key(nil), key(map[string]any{"bucketIds": []any{"a"}}), plugin.DiffAddReplace},
		{"the name of a bucket", b2Bucket, map[string]any{"bucketName": "a"}, map[string]any{"bucketName": "b"}, plugin.DiffUpdateReplace},
		{"the type of a bucket", b2Bucket, map[string]any{"bucketType": "a"}, map[string]any{"bucketType": "b"}, plugin.DiffUpdate},
		{"the name of a MinIO bucket", minioBucket, map[string]any{"bucket": "a"}, map[string]any{"bucket": "b"}, plugin.DiffUpdateReplace},
		{"the name of a MinIO user", minioUser, map[string]any{"name": "a"}, map[string]any{"name": "b"}, plugin.DiffUpdateReplace},
		{"what a MinIO policy says", minioPolicy, map[string]any{"policy": "a"}, map[string]any{"policy": "b"}, plugin.DiffUpdate},
		{"the ACL of a MinIO bucket", minioBucket, map[string]any{"acl": "a"}, map[string]any{"acl": "b"}, plugin.DiffUpdate},
	} {
		t.Run(test.name, func(t *testing.T) {
			cloud := clouds[test.of.Package()]

			diff, err := cloud.Diff(t.Context(), plugin.DiffRequest{
				Type: test.of, OldInputs: properties(test.old), NewInputs: properties(test.new),
			})
			require.NoError(t, err)
			require.Len(t, diff.DetailedDiff, 1)
			for _, change := range diff.DetailedDiff {
				assert.Equal(t, test.want, change.Kind)
			}

			none, err := cloud.Diff(t.Context(), plugin.DiffRequest{
				Type: test.of, OldInputs: properties(test.old), NewInputs: properties(test.old),
			})
			require.NoError(t, err)
			assert.Equal(t, plugin.DiffNone, none.Changes)
		})
	}
}

func TestTheLifeOfABucket(t *testing.T) {
	cloud := clouds(t)["b2"]
	inputs := properties(map[string]any{"bucketName": "backups", "bucketType": "allPrivate"})
	create := plugin.CreateRequest{Type: b2Bucket, Properties: inputs}

	preview := create
	preview.Preview = true
	planned, err := cloud.Create(t.Context(), preview)
	require.NoError(t, err)
	assert.True(t, planned.Properties["bucketId"].IsComputed(), "not known before it exists")

	created, err := cloud.Create(t.Context(), create)
	require.NoError(t, err, "the preview made nothing")
	_, err = cloud.Create(t.Context(), create)
	require.ErrorContains(t, err, "already in use")

	found, err := cloud.Invoke(t.Context(), plugin.InvokeRequest{
		Tok: "b2:index/getBucket:getBucket", Args: properties(map[string]any{"bucketName": "backups"}),
	})
	require.NoError(t, err)
	assert.Equal(t, string(created.ID), found.Properties["bucketId"].StringValue())

	read := plugin.ReadRequest{Type: b2Bucket, ID: created.ID, Inputs: inputs, State: created.Properties}
	live, err := cloud.Read(t.Context(), read)
	require.NoError(t, err)
	assert.Equal(t, created.Properties, live.Outputs)

	_, err = cloud.Delete(t.Context(), plugin.DeleteRequest{Type: b2Bucket, ID: created.ID})
	require.NoError(t, err)
	gone, err := cloud.Read(t.Context(), read)
	require.NoError(t, err)
	assert.Empty(t, gone.ID)
}

func TestAKeyIsRandomAndSecret(t *testing.T) {
	cloud := clouds(t)["b2"]
	create := plugin.CreateRequest{Type: b2Key, Properties: properties(key(nil))}

	one, err := cloud.Create(t.Context(), create)
	require.NoError(t, err)
	other, err := cloud.Create(t.Context(), create)
	require.NoError(t, err)

	assert.NotEqual(t, one.ID, other.ID)
	assert.NotEqual(t, one.Properties["applicationKey"], other.Properties["applicationKey"])
	assert.True(t, one.Properties["applicationKey"].IsSecret())
}

// told is a store that is told of keys.
type told struct {
	made    []provider.B2Key
	deleted []string
}

func (s *told) Made(_ context.Context, key provider.B2Key) error {
	s.made = append(s.made, key)
	return nil
}

func (s *told) Deleted(_ context.Context, id string) error {
	s.deleted = append(s.deleted, id)
	return nil
}

func TestAStoreIsToldOfKeys(t *testing.T) {
	store := &told{}
	b2, err := provider.NewB2(t.TempDir(), store)
	require.NoError(t, err)
	b2.Environment = everything
	inputs := key(map[string]any{"capabilities": []any{"listFiles", "readFiles"}, "namePrefix": "auth/"})
	create := plugin.CreateRequest{Type: b2Key, Properties: properties(inputs), Preview: true}
	_, err = b2.Create(t.Context(), create)
	require.NoError(t, err)
	_, err = b2.Create(t.Context(), plugin.CreateRequest{
		Type: b2Bucket, Properties: properties(map[string]any{"bucketName": "backups", "bucketType": "allPrivate"}),
	})
	require.NoError(t, err)
	assert.Empty(t, store.made, "a preview makes no key, nor does a bucket")

	create.Preview = false
	created, err := b2.Create(t.Context(), create)
	require.NoError(t, err)
	assert.Equal(t, []provider.B2Key{{
		ID: string(created.ID), Secret: created.Properties["applicationKey"].SecretValue().Element.StringValue(),
		Capabilities: []string{"listFiles", "readFiles"}, NamePrefix: "auth/",
	}}, store.made)

	_, err = b2.Delete(t.Context(), plugin.DeleteRequest{Type: b2Key, ID: created.ID})
	require.NoError(t, err)
	assert.Equal(t, []string{string(created.ID)}, store.deleted)
}

// TestB2IsTreatedAsItsProviderTreatsIt names for each row where the real one does
// so. Nobody has compared them with it: it takes an account.
func TestB2IsTreatedAsItsProviderTreatsIt(t *testing.T) {
	const source = "https://github.com/Backblaze/terraform-provider-b2/blob/v0.13.0/python-bindings/b2_terraform/provider_tool.py"
	bucket := plugin.CreateRequest{
		Type: b2Bucket, Properties: properties(map[string]any{"bucketName": "backups", "bucketType": "allPrivate"}),
	}
	for name, row := range map[string]struct {
		source string
		holds  func(t *testing.T, b2 *provider.B2)
	}{
		"without a key nothing is made, read or looked up": {source + " provider_authorize_account", func(t *testing.T, b2 *provider.B2) {
			const missing = "B2 Application Key and Application Key ID must be provided"
			created, err := b2.Create(t.Context(), bucket)
			require.NoError(t, err)
			b2.Environment = nil
			_, err = b2.Create(t.Context(), bucket)
			require.ErrorContains(t, err, missing)
			_, err = b2.Read(t.Context(), plugin.ReadRequest{Type: b2Bucket, ID: created.ID, State: created.Properties})
			require.ErrorContains(t, err, missing, "it does not take the bucket for gone")
			_, err = b2.Invoke(t.Context(), plugin.InvokeRequest{
				Tok: "b2:index/getBucket:getBucket", Args: properties(map[string]any{"bucketName": "backups"}),
			})
			require.ErrorContains(t, err, missing)
		}},
		"a preview needs no key": {
			"https://github.com/pulumi/pulumi-terraform-bridge/blob/v3.103.0/pkg/tfbridge/provider.go Create",
			func(t *testing.T, b2 *provider.B2) {
				b2.Environment = nil
				preview := bucket
				preview.Preview = true
				_, err := b2.Create(t.Context(), preview)
				require.NoError(t, err)
			},
		},
		"a bucket's name is taken once": {source + " Bucket.resource_create", func(t *testing.T, b2 *provider.B2) {
			_, err := b2.Create(t.Context(), bucket)
			require.NoError(t, err)
			_, err = b2.Create(t.Context(), bucket)
			require.ErrorContains(t, err, "Bucket name is already in use: ")
		}},
		"a bucket with files is not deleted": {source + " Bucket.resource_delete", func(t *testing.T, b2 *provider.B2) {
			created, err := b2.Create(t.Context(), bucket)
			require.NoError(t, err)
			require.NoError(t, b2.Put(created.ID, "file"))
			_, err = b2.Delete(t.Context(), plugin.DeleteRequest{Type: b2Bucket, ID: created.ID, Outputs: created.Properties})
			require.ErrorContains(t, err, "cannot_delete_non_empty_bucket")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b2, err := provider.NewB2(t.TempDir(), nil)
			require.NoError(t, err)
			b2.Environment = everything
			row.holds(t, b2)
			if t.Failed() {
				t.Log("the real provider: " + row.source)
			}
		})
	}
}
