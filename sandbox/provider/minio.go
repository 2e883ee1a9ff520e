package provider

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/minio/minio-go/v7/pkg/s3utils"
	"github.com/pulumi/pulumi-minio/sdk/go/minio"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

// MinIOVersion is that of the minio provider that is stood in for.
const MinIOVersion = "0.16.3"

// NewMinIO returns a stand-in for the minio provider. It takes the schema from
// the provider's SDK. What it does otherwise is in the contract of
// tests/acceptance, which the real provider has kept as well.
func NewMinIO(folder string) *Cloud {
	const bucket = "minio:index/s3Bucket:S3Bucket"
	return withUsers(&Cloud{
		base:   base{version: MinIOVersion},
		name:   "minio",
		folder: folder,
		schema: schema{Resources: map[string]resourceSchema{
			bucket: resourceOf(minio.S3BucketArgs{}.ElementType(), reflect.TypeFor[minio.S3Bucket]()),
		}},
		variables: map[resource.PropertyKey]string{
			"minioServer": "MINIO_ENDPOINT", "minioSsl": "MINIO_ENABLE_HTTPS",
			"minioUser": "MINIO_USER", "minioPassword": "MINIO_PASSWORD",
			"minioAccessKey": "MINIO_ACCESS_KEY", "minioSecretKey": "MINIO_SECRET_KEY",
		},
		required:   map[resource.PropertyKey]string{"minioServer": "Minio Host and Port"},
		authorized: minioAuthorized,
		kinds: map[tokens.Type]kind{
			bucket: {
				refuse: refuseMinIOBucket, made: newMinIOBucket, keep: keepMinIOBucket,
				taken:            "[FATAL] bucket already exists! (%s): <nil>",
				fixed:            []resource.PropertyKey{"bucket", "bucketPrefix"},
				goneUnauthorized: true,
			},
		},
	})
}

func minioAuthorized(c *Cloud) error {
	user, password := c.setting("minioUser")+c.setting("minioAccessKey"), c.setting("minioPassword")+c.setting("minioSecretKey")
	if user == "" || password == "" {
		return errors.New("[FATAL] unable to check bucket: Access Denied.") //nolint:revive,staticcheck // the plugin says it so
	}
	return nil
}

func refuseMinIOBucket(inputs resource.PropertyMap) error {
	if bucket := inputs["bucket"]; bucket.IsString() {
		if err := s3utils.CheckValidBucketName(bucket.StringValue()); err != nil {
			return fmt.Errorf("[FATAL] unable to create bucket (%s): %w", bucket.StringValue(), err)
		}
	}
	if acl := inputs["acl"]; acl.IsString() && !slices.Contains(
		[]string{"private", "public-write", "public-read", "public-read-write", "public"}, acl.StringValue()) {
		return fmt.Errorf("[FATAL] unsupported ACL (%s)", acl.StringValue())
	}
	return nil
}

func keepMinIOBucket(state resource.PropertyMap) error {
	if force := state["forceDestroy"]; force.IsBool() && force.BoolValue() {
		return nil
	}
	return fmt.Errorf("[FATAL] unable to remove bucket (%s): The bucket you tried to delete is not empty",
		state["bucket"].StringValue())
}

func newMinIOBucket(c *Cloud, inputs resource.PropertyMap) (resource.ID, resource.PropertyMap) {
	name := "bucket-" + random(6)
	if bucket := inputs["bucket"]; bucket.IsString() {
		name = bucket.StringValue()
	}
	scheme := "http"
	if c.setting("minioSsl") == "true" {
		scheme = "https"
	}
	return resource.ID(name), resource.PropertyMap{
		"acl":              resource.NewProperty("private"),
		"arn":              resource.NewProperty("arn:aws:s3:::" + name),
		"bucket":           resource.NewProperty(name),
		"bucketDomainName": resource.NewProperty(scheme + "://" + c.setting("minioServer") + "/minio/" + name),
		"forceDestroy":     resource.NewProperty(false),
		"objectLocking":    resource.NewProperty(false),
	}
}
