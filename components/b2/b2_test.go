package b2_test

import (
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/b2"
)

// recorder stands for the engine. It remembers the registered inputs by type.
type recorder struct {
	mu     sync.Mutex
	inputs map[string]resource.PropertyMap
}

func (r *recorder) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inputs[args.TypeToken] = args.Inputs
	outputs := args.Inputs.Copy()
	if args.TypeToken == "b2:index/bucket:Bucket" {
		outputs["bucketId"] = resource.NewStringProperty("bucket-1")
	}
	return args.Name + "-id", outputs, nil
}

func (r *recorder) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	result := args.Args.Copy()
	if args.Token == "b2:index/getBucket:getBucket" {
		result["bucketId"] = resource.NewStringProperty("bucket-2")
	}
	return result, nil
}

func TestPackageRegistersBucketKeyAndLookup(t *testing.T) {
	engine := &recorder{inputs: map[string]resource.PropertyMap{}}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		bucket, err := b2.NewBucket(ctx, "made", &b2.BucketArgs{
			BucketName: pulumi.String("homelab-cnpg-b2"),
			BucketType: pulumi.String("allPrivate"),
			LifecycleRules: b2.BucketLifecycleRuleArray{b2.BucketLifecycleRuleArgs{
				FileNamePrefix:           pulumi.String(""),
				DaysFromHidingToDeleting: pulumi.Float64(14),
			}},
		})
		if err != nil {
			return err
		}
		adopted := b2.LookupBucketOutput(ctx, b2.LookupBucketOutputArgs{BucketName: pulumi.String("older")})
		_, err = b2.NewApplicationKey(ctx, "key", &b2.ApplicationKeyArgs{
			KeyName:      pulumi.String("cnpg"),
			Capabilities: pulumi.ToStringArray([]string{"listBuckets", "readFiles"}),
			BucketIds:    pulumi.StringArray{bucket.BucketId, adopted.BucketId()},
		})
		return err
	}, pulumi.WithMocks("project", "stack", engine))
	require.NoError(t, err)

	assert.Equal(t, map[string]any{
		"bucketName": "homelab-cnpg-b2",
		"bucketType": "allPrivate",
		"lifecycleRules": []any{
			map[string]any{"fileNamePrefix": "", "daysFromHidingToDeleting": 14.0},
		},
	}, engine.inputs["b2:index/bucket:Bucket"].Mappable())
	assert.Equal(t, map[string]any{
		"keyName":      "cnpg",
		"capabilities": []any{"listBuckets", "readFiles"},
		"bucketIds":    []any{"bucket-1", "bucket-2"},
	}, engine.inputs["b2:index/applicationKey:ApplicationKey"].Mappable())
}
