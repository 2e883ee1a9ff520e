package provider

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/minio/pkg/v3/policy"
	"github.com/pulumi/pulumi-minio/sdk/go/minio"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What the minio provider has beside a bucket: its versions, its lifecycle, and
// users with policies. What is refused and cannot be changed is that of
// https://github.com/aminueza/terraform-provider-minio/tree/v1.20.1/minio,
// of which the provider is made.
const (
	minioVersioning = "minio:index/s3BucketVersioning:S3BucketVersioning"
	minioLifecycle  = "minio:index/ilmPolicy:IlmPolicy"
	minioUser       = "minio:index/iamUser:IamUser"
	minioPolicy     = "minio:index/iamPolicy:IamPolicy"
	minioAttachment = "minio:index/iamUserPolicyAttachment:IamUserPolicyAttachment"
)

// withUsers adds those to a stand-in.
func withUsers(c *Cloud) *Cloud {
	maps.Copy(c.schema.Resources, map[string]resourceSchema{
		minioVersioning: resourceOf(minio.S3BucketVersioningArgs{}.ElementType(), reflect.TypeFor[minio.S3BucketVersioning]()),
		minioLifecycle:  resourceOf(minio.IlmPolicyArgs{}.ElementType(), reflect.TypeFor[minio.IlmPolicy]()),
		minioUser:       withSecret(resourceOf(minio.IamUserArgs{}.ElementType(), reflect.TypeFor[minio.IamUser]())),
		minioPolicy:     resourceOf(minio.IamPolicyArgs{}.ElementType(), reflect.TypeFor[minio.IamPolicy]()),
		minioAttachment: resourceOf(minio.IamUserPolicyAttachmentArgs{}.ElementType(), reflect.TypeFor[minio.IamUserPolicyAttachment]()),
	})
	maps.Copy(c.kinds, map[tokens.Type]kind{
		// Setting these again is no error: resource_minio_s3_bucket_versioning.go,
		// minioPutBucketVersioning, and resource_minio_ilm_policy.go,
		// minioCreateILMPolicy.
		minioVersioning: {made: namedBy("bucket"), fixed: []resource.PropertyKey{"bucket"}, check: checkVersioning},
		minioLifecycle:  {made: namedBy("bucket"), fixed: []resource.PropertyKey{"bucket"}, check: checkLifecycle},
		// Nor is making a user again: it gets another secret.
		// resource_minio_iam_user.go, minioCreateUser.
		minioUser:       {made: newMinIOUser, fixed: []resource.PropertyKey{"name"}, check: checkUser},
		minioPolicy:     {made: namedBy("name"), fixed: []resource.PropertyKey{"name", "namePrefix"}, check: checkPolicy},
		minioAttachment: {made: newMinIOAttachment, check: checkAttachment},
	})
	return c
}

// withSecret marks the property that the SDK makes secret.
func withSecret(user resourceSchema) resourceSchema {
	secret := user.Properties["secret"]
	secret.Secret = true
	user.Properties["secret"] = secret
	return user
}

// namedBy makes resources whose ID is one of their inputs.
func namedBy(input resource.PropertyKey) func(*Cloud, resource.PropertyMap) (resource.ID, resource.PropertyMap) {
	return func(_ *Cloud, inputs resource.PropertyMap) (resource.ID, resource.PropertyMap) {
		return resource.ID(inputs[input].StringValue()), resource.PropertyMap{}
	}
}

func newMinIOUser(_ *Cloud, inputs resource.PropertyMap) (resource.ID, resource.PropertyMap) {
	return resource.ID(inputs["name"].StringValue()), resource.PropertyMap{
		"secret": resource.MakeSecret(resource.NewProperty(random(20))),
		"status": resource.NewProperty("enabled"),
	}
}

func newMinIOAttachment(_ *Cloud, inputs resource.PropertyMap) (resource.ID, resource.PropertyMap) {
	return resource.ID(inputs["userName"].StringValue() + "-" + random(13)), resource.PropertyMap{}
}

// StaticUserNamePattern of resource_minio_iam_user.go, and the pattern of
// validateIAMNamePolicy in resource_minio_iam_policy.go. MinIO itself takes no
// comma and no equals sign in an access key, and no less than three characters:
// ContainsReservedChars and IsAccessKeyValid in
// https://github.com/minio/minio/blob/7aac2a2c5b7c/internal/auth/credentials.go
var (
	userName   = regexp.MustCompile(`^[0-9A-Za-z.@\-_+]{3,}$`)
	policyName = regexp.MustCompile(`^[\w+=,.@:-]{1,96}$`)
)

func checkUser(inputs resource.PropertyMap) field.ErrorList {
	return checkText(inputs, "name", userName.MatchString)
}

// checkPolicy reads the policy with the library that the server reads it with.
func checkPolicy(inputs resource.PropertyMap) field.ErrorList {
	problems := checkText(inputs, "name", policyName.MatchString)
	text, known := textOf(inputs["policy"])
	if !known {
		return problems
	}
	parsed, err := policy.ParseConfig(strings.NewReader(text))
	if err == nil {
		err = parsed.Validate()
	}
	if err != nil {
		problems = append(problems, field.Invalid(field.NewPath("policy"), text, err.Error()))
	}
	return problems
}

func checkAttachment(inputs resource.PropertyMap) field.ErrorList {
	return append(checkText(inputs, "userName", userName.MatchString), checkText(inputs, "policyName", policyName.MatchString)...)
}

func checkVersioning(inputs resource.PropertyMap) field.ErrorList {
	status := inputs["versioningConfiguration"]
	if !status.IsObject() {
		return field.ErrorList{field.Required(field.NewPath("versioningConfiguration"), "")}
	}
	return checkText(status.ObjectValue(), "status", func(status string) bool {
		return status == "Enabled" || status == "Suspended"
	})
}

// checkLifecycle follows validateILMExpiration and
// validateILMNoncurrentVersionExpiration of resource_minio_ilm_policy.go.
func checkLifecycle(inputs resource.PropertyMap) field.ErrorList {
	if !inputs["rules"].IsArray() || len(inputs["rules"].ArrayValue()) == 0 {
		return field.ErrorList{field.Required(field.NewPath("rules"), "")}
	}
	var problems field.ErrorList
	for i, entry := range inputs["rules"].ArrayValue() {
		rule, at := entry.ObjectValue(), field.NewPath("rules").Index(i)
		if days := rule["noncurrentVersionExpirationDays"]; days.IsNumber() && days.NumberValue() < 1 {
			problems = append(problems, field.Invalid(at.Child("noncurrentVersionExpirationDays"), days.NumberValue(), "must be strictly positive"))
		}
		if _, given := rule["expiration"]; given {
			problems = append(problems, checkText(rule, "expiration", isExpiration)...)
		}
	}
	return problems
}

// isExpiration follows parseILMExpiration of resource_minio_ilm_policy.go.
func isExpiration(text string) bool {
	var days int
	_, dayErr := fmt.Sscanf(text, "%dd", &days)
	_, dateErr := time.Parse(time.DateOnly, text)
	return text == "DeleteMarker" || dayErr == nil && days != 0 || dateErr == nil
}

// checkText wants a text that is known to pass a check.
func checkText(inputs resource.PropertyMap, name resource.PropertyKey, passes func(string) bool) field.ErrorList {
	if text, known := textOf(inputs[name]); known && !passes(text) {
		return field.ErrorList{field.Invalid(field.NewPath(string(name)), text, "")}
	}
	return nil
}

// textOf is a text that is known already.
func textOf(value resource.PropertyValue) (text string, known bool) {
	if value.IsOutput() && value.OutputValue().Known {
		value = value.OutputValue().Element
	}
	if value.IsSecret() {
		value = value.SecretValue().Element
	}
	if !value.IsString() {
		return "", false
	}
	return value.StringValue(), true
}
