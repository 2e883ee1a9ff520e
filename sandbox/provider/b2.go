package provider

import (
	"context"
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
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

const b2KeyType tokens.Type = "b2:index/applicationKey:ApplicationKey"

// B2Keys is told which application keys exist, so that a store that stands for
// B2 can let them in.
type B2Keys interface {
	// Made is a new key. Its secret half is known to nobody else.
	Made(ctx context.Context, key B2Key) error
	// Deleted is a key that lets nobody in any more.
	Deleted(ctx context.Context, id string) error
}

// B2Key is an application key, and what it may do.
type B2Key struct {
	ID           string   `json:"applicationKeyId"`
	Secret       string   `json:"applicationKey"`
	Capabilities []string `json:"capabilities"`
	// NamePrefix is how the names of files begin that it reaches; "" for all.
	NamePrefix string `json:"namePrefix"`
}

// B2 stands in for the b2 provider, which Pulumi makes of its base provider
// terraform-provider.
type B2 struct {
	*Cloud

	keys B2Keys
}

// NewB2 returns a stand-in that keeps its resources in a folder. Nobody is told of
// its keys when keys is nil.
func NewB2(folder string, keys B2Keys) (*B2, error) {
	schema, err := b2Schema()
	if err != nil {
		return nil, fmt.Errorf("schema of b2: %w", err)
	}
	return &B2{keys: keys, Cloud: &Cloud{
		base:   base{version: schema.Parameterization.BaseProvider.Version},
		name:   "b2",
		schema: schema,
		folder: folder,
		variables: map[resource.PropertyKey]string{
			"applicationKeyId": "B2_APPLICATION_KEY_ID", "applicationKey": "B2_APPLICATION_KEY",
		},
		authorized: b2Authorized,
		kinds: map[tokens.Type]kind{
			"b2:index/bucket:Bucket": {
				made: newB2Bucket, fixed: []resource.PropertyKey{"bucketName"}, keep: keepB2Bucket,
				taken: "Bucket name is already in use: %s",
			},
			// B2 has no way to change a key.
			b2KeyType: {made: newB2Key},
		},
	}}, nil
}

// Create makes a resource.
func (b *B2) Create(ctx context.Context, request plugin.CreateRequest) (plugin.CreateResponse, error) {
	response, err := b.Cloud.Create(ctx, request)
	if err != nil || request.Preview || request.Type != b2KeyType || b.keys == nil {
		return response, err
	}
	content, err := json.Marshal(toPlain(response.Properties).object)
	if err != nil {
		return plugin.CreateResponse{}, err
	}
	var made B2Key
	if err := json.Unmarshal(content, &made); err != nil {
		return plugin.CreateResponse{}, err
	}
	return response, b.keys.Made(ctx, made)
}

// Delete deletes a resource.
func (b *B2) Delete(ctx context.Context, request plugin.DeleteRequest) (plugin.DeleteResponse, error) {
	if request.Type == b2KeyType && b.keys != nil {
		if err := b.keys.Deleted(ctx, string(request.ID)); err != nil {
			return plugin.DeleteResponse{}, err
		}
	}
	return b.Cloud.Delete(ctx, request)
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

func b2Authorized(c *Cloud) error {
	if c.setting("applicationKeyId") == "" || c.setting("applicationKey") == "" {
		return errors.New("RuntimeError: B2 Application Key and Application Key ID must be provided")
	}
	return nil
}

func keepB2Bucket(resource.PropertyMap) error {
	return errors.New("cannot delete non-empty bucket (cannot_delete_non_empty_bucket)")
}

func newB2Bucket(_ *Cloud, inputs resource.PropertyMap) (resource.ID, resource.PropertyMap) {
	id := digest(resource.PropertyMap{"bucketName": inputs["bucketName"]})
	return resource.ID(id), resource.PropertyMap{
		"accountId":  resource.NewProperty("000000000000"),
		"bucketId":   resource.NewProperty(id),
		"b2BucketId": resource.NewProperty(id),
		"options":    resource.NewProperty([]resource.PropertyValue{resource.NewProperty("s3")}),
		"revision":   resource.NewProperty(1.0),
	}
}

func newB2Key(*Cloud, resource.PropertyMap) (resource.ID, resource.PropertyMap) {
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
