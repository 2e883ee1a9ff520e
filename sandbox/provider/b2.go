package provider

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

// NewB2 returns a stand-in for the b2 provider, which Pulumi makes of its base
// provider terraform-provider.
func NewB2(folder string) (*Cloud, error) {
	schema, err := b2Schema()
	if err != nil {
		return nil, fmt.Errorf("schema of b2: %w", err)
	}
	return &Cloud{
		base:   base{version: schema.Parameterization.BaseProvider.Version},
		name:   "b2",
		schema: schema,
		folder: folder,
		kinds: map[tokens.Type]kind{
			"b2:index/bucket:Bucket": {
				made: newB2Bucket, fixed: []resource.PropertyKey{"bucketName"}, unique: true,
			},
			// B2 has no way to change a key.
			"b2:index/applicationKey:ApplicationKey": {made: newB2Key},
		},
	}, nil
}

// b2Schema reads the schema that the SDK is generated from.
func b2Schema() (schema, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		return schema{}, errors.New("the folder of the sources is unknown: build without -trimpath")
	}
	content, err := os.ReadFile(filepath.Join(filepath.Dir(file), "..", "..", "components", "b2", "schema.json"))
	if err != nil {
		return schema{}, err
	}
	var read schema
	return read, json.Unmarshal(content, &read)
}

func newB2Bucket(inputs resource.PropertyMap) (resource.ID, resource.PropertyMap) {
	id := digest(resource.PropertyMap{"bucketName": inputs["bucketName"]})
	return resource.ID(id), resource.PropertyMap{
		"accountId":  resource.NewProperty("000000000000"),
		"bucketId":   resource.NewProperty(id),
		"b2BucketId": resource.NewProperty(id),
		"options":    resource.NewProperty([]resource.PropertyValue{resource.NewProperty("s3")}),
		"revision":   resource.NewProperty(1.0),
	}
}

func newB2Key(resource.PropertyMap) (resource.ID, resource.PropertyMap) {
	id := "002" + random(11)
	return resource.ID(id), resource.PropertyMap{
		"applicationKeyId":    resource.NewProperty(id),
		"b2ApplicationKeyId":  resource.NewProperty(id),
		"applicationKey":      resource.MakeSecret(resource.NewProperty("K002" + random(14))),
		"expirationTimestamp": resource.NewProperty(0.0),
		"options":             resource.NewProperty([]resource.PropertyValue{resource.NewProperty("s3")}),
	}
}

// digest is an ID that follows from what it is the ID of.
func digest(properties resource.PropertyMap) string {
	sum := sha256.Sum256([]byte(fmt.Sprint(properties.Mappable())))
	return hex.EncodeToString(sum[:12])
}

// random returns twice as many characters as bytes.
func random(bytes int) string {
	content := make([]byte, bytes)
	_, _ = rand.Read(content) // Read never fails: it ends the program instead.
	return hex.EncodeToString(content)
}
