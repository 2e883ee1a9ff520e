package b2_test

import (
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/b2"
	"github.com/homelab-iac/pulumi-cnpg-backup/internal/engine"
)

func TestPackageRegistersBucketKeyAndLookup(t *testing.T) {
	fake := &engine.Fake{}
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
	}, pulumi.WithMocks("project", "stack", fake))
	require.NoError(t, err)
	inputs := map[string]resource.PropertyMap{}
	for _, made := range fake.Resources() {
		inputs[made.TypeToken] = made.Inputs
	}

	assert.Equal(t, map[string]any{
		"bucketName": "homelab-cnpg-b2",
		"bucketType": "allPrivate",
		"lifecycleRules": []any{
			map[string]any{"fileNamePrefix": "", "daysFromHidingToDeleting": 14.0},
		},
	}, inputs["b2:index/bucket:Bucket"].Mappable())
	assert.Equal(t, map[string]any{
		"keyName":      "cnpg",
		"capabilities": []any{"listBuckets", "readFiles"},
		"bucketIds":    []any{"bucket-id-of-made", "adopted-bucket-id"},
	}, inputs["b2:index/applicationKey:ApplicationKey"].Mappable())
}
