package provider

import (
	"reflect"

	"github.com/pulumi/pulumi-minio/sdk/go/minio"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

// NewMinIO returns a stand-in for the minio provider. It takes the schema from
// the provider's SDK.
func NewMinIO(folder string) *Cloud {
	const bucket = "minio:index/s3Bucket:S3Bucket"
	return &Cloud{
		base:   base{version: "0.16.3"},
		name:   "minio",
		folder: folder,
		schema: schema{Resources: map[string]resourceSchema{
			bucket: resourceOf(minio.S3BucketArgs{}.ElementType(), reflect.TypeFor[minio.S3Bucket]()),
		}},
		kinds: map[tokens.Type]kind{
			bucket: {
				made: newMinIOBucket, unique: true,
				fixed: []resource.PropertyKey{"bucket", "bucketPrefix", "objectLocking"},
			},
		},
	}
}

func newMinIOBucket(inputs resource.PropertyMap) (resource.ID, resource.PropertyMap) {
	name := "bucket-" + random(6)
	if bucket := inputs["bucket"]; bucket.IsString() {
		name = bucket.StringValue()
	}
	return resource.ID(name), resource.PropertyMap{
		"acl":              resource.NewProperty("private"),
		"arn":              resource.NewProperty("arn:aws:s3:::" + name),
		"bucket":           resource.NewProperty(name),
		"bucketDomainName": resource.NewProperty("https://minio.invalid/" + name),
		"forceDestroy":     resource.NewProperty(false),
		"objectLocking":    resource.NewProperty(false),
	}
}
