package cnpg

import (
	"fmt"
	"regexp"

	machineryapi "github.com/cloudnative-pg/machinery/pkg/api"
	"github.com/pulumi/pulumi-minio/sdk/go/minio"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// MinIOArgs describes the bucket on the NAS: at MinIO, or with AdoptBucket and Secret
// at any server that speaks S3. It has to accept the bucket's name in the path,
// signatures of version 4, uploads in parts, and metadata of objects; nothing else is
// required of it.
type MinIOArgs struct {
	// Bucket is the bucket's name. Required; 3 to 63 lower-case letters, digits, dots and
	// hyphens.
	Bucket string `json:"bucket"`
	// AdoptBucket uses an existing bucket of that name. With Secret, neither Pulumi's
	// MinIO plugin nor its configuration is needed then. Default false: the bucket is
	// created.
	AdoptBucket bool `json:"adoptBucket,omitempty"`
	// Endpoint is the S3 endpoint: scheme, host and port, for instance
	// "https://nas.example.org:9000". Required.
	Endpoint string `json:"endpoint"`
	// FormerEndpoint is where the bucket was before: at another server, from which it
	// is being copied as docs/move-nas.md says, or at the same one under another name.
	// Without it, another Endpoint is refused for a database whose archive is there. It
	// can be removed after the deployment. Default: none.
	FormerEndpoint string `json:"formerEndpoint,omitempty"`
	// Region is the server's region, if it has one, for instance MinIO's
	// MINIO_SITE_REGION. It is passed to rclone and to the plugin that creates the
	// bucket. barman asks MinIO for it; with another server, barman needs RegionKey.
	// Default: none, for a server that accepts any region or us-east-1.
	Region string `json:"region,omitempty"`
	// RegionKey is a key in Secret that holds Region as well, because barman only takes
	// a region from a Secret. Default: none; barman signs for us-east-1 until the
	// server names another region, which only MinIO does of the servers tried.
	RegionKey string `json:"regionKey,omitempty"`
	// EndpointCA is a key in a Secret, in each namespace with databases, with
	// the CA certificate of the endpoint. Default: the public CAs.
	EndpointCA *machineryapi.SecretKeySelector `json:"endpointCA,omitempty"`
	// Secret is a Secret that already exists in each namespace with databases and holds
	// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Required without User.
	Secret string `json:"secret,omitempty"`
	// User is the name of the MinIO users to create, with "<namespace>" in it. Each
	// namespace with databases gets two, which only reach its own folder and cannot
	// delete versions: one that archives to MinIO and prunes, and one, with "-mirror"
	// at the end of its name, that only adds to the mirror. Their keys are written to
	// Secrets in the namespace. A changed name creates new users and deletes the old
	// ones. Pulumi has to be an administrator of MinIO. Default: none; Secret is used.
	User string `json:"user,omitempty"`
	// UndeleteDays switches on versions in the bucket, and is how many days MinIO
	// keeps what was deleted or overwritten. Default: none, nothing is kept.
	UndeleteDays int `json:"undeleteDays,omitempty"`
	// KMS says that the server has a key management service. Without one, MinIO
	// refuses server-side encryption ("KMS is not configured"), and so does
	// validation. Default false.
	KMS bool `json:"kms,omitempty"`
}

// minioRegion is validRegionRegex in
// https://github.com/minio/minio/blob/master/internal/config/config.go
var minioRegion = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]+$`)

// minioUserName is what the MinIO plugin accepts as the name of a user, and of a
// policy but for its length:
// https://github.com/aminueza/terraform-provider-minio/blob/v1.20.1/minio/resource_minio_iam_user.go
var minioUserName = regexp.MustCompile(`^[0-9A-Za-z.@_+-]{3,}$`)

func (a MinIOArgs) validate(at *field.Path) field.ErrorList {
	problems := checkMinIOBucket(at.Child("bucket"), a.Bucket)
	if a.Endpoint == "" {
		problems = append(problems, field.Required(at.Child("endpoint"),
			`scheme, host and port of the NAS, for instance "https://nas.example.org:9000"`))
	} else {
		problems = append(problems, checkEndpoint(at.Child("endpoint"), a.Endpoint)...)
	}
	switch former := at.Child("formerEndpoint"); {
	case a.FormerEndpoint == "":
	case sameServer(a.FormerEndpoint, a.Endpoint):
		problems = append(problems, field.Invalid(former, a.FormerEndpoint,
			"is the same server as endpoint: give the one that the bucket was copied from, or leave it out"))
	default:
		problems = append(problems, checkEndpoint(former, a.FormerEndpoint)...)
	}
	if a.Region != "" && !minioRegion.MatchString(a.Region) {
		problems = append(problems, field.Invalid(at.Child("region"), a.Region,
			`expected the name that the server gives its region, of letters, digits, hyphens and underscores, for instance "home-1"`))
	}
	problems = append(problems, a.validateRegionKey(at.Child("regionKey"))...)
	problems = append(problems, checkCA(at.Child("endpointCA"), a.EndpointCA, a.Endpoint)...)
	problems = append(problems, a.validateKeys(at)...)
	switch undelete := at.Child("undeleteDays"); {
	case a.UndeleteDays < 0 || a.UndeleteDays > mostUnits:
		problems = append(problems, field.Invalid(undelete, a.UndeleteDays, fmt.Sprintf("expected 1 to %d days", mostUnits)))
	case a.UndeleteDays > 0 && a.AdoptBucket:
		problems = append(problems, field.Forbidden(undelete,
			"an adopted bucket keeps its settings: switch versions on there, and leave undeleteDays out"))
	}
	return problems
}

// validateRegionKey wants the key to be of use.
func (a MinIOArgs) validateRegionKey(at *field.Path) field.ErrorList {
	switch {
	case a.RegionKey == "":
		return nil
	case a.Region == "":
		return field.ErrorList{field.Invalid(at, a.RegionKey, "give region, too: not everything reads the Secret")}
	case a.User != "":
		return field.ErrorList{field.Forbidden(at, "user only works with MinIO, which tells barman its region: leave regionKey out")}
	}
	if len(validation.IsConfigMapKey(a.RegionKey)) > 0 {
		return field.ErrorList{field.Invalid(at, a.RegionKey,
			`expected letters, digits, dots, hyphens and underscores, for instance "AWS_REGION"`)}
	}
	return nil
}

func (a MinIOArgs) validateKeys(at *field.Path) field.ErrorList {
	if a.User == "" {
		return checkObjectName(at.Child("secret"), a.Secret,
			"the Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the MinIO user")
	}
	var problems field.ErrorList
	if a.Secret != "" {
		problems = append(problems, field.Forbidden(at.Child("secret"),
			"user makes a Secret in each namespace: give one of the two"))
	}
	if !isForEach(a.User) || !minioUserName.MatchString(forNamespace(a.User, "abc")) {
		problems = append(problems, field.Invalid(at.Child("user"), a.User,
			`expected "`+eachNamespace+`", which stands for each namespace, and beside it letters, digits, `+
				`dots, hyphens and underscores, for instance "homelab-`+eachNamespace+`"`))
	}
	return problems
}

// newMinIOBucket creates the bucket on the NAS, or takes an existing one by name.
func (s *Storage) newMinIOBucket(ctx *pulumi.Context, name string) error {
	if s.args.MinIO.AdoptBucket {
		s.MinIOBucket = pulumi.String(s.args.MinIO.Bucket).ToStringOutput()
		return nil
	}
	bucket, err := minio.NewS3Bucket(ctx, name+"-minio-bucket", &minio.S3BucketArgs{
		Bucket: pulumi.String(s.args.MinIO.Bucket),
		Acl:    pulumi.String("private"),
	}, pulumi.Parent(s), pulumi.Protect(*s.args.Protect))
	if err != nil {
		return fmt.Errorf("MinIO bucket %q: %w", s.args.MinIO.Bucket, err)
	}
	s.MinIOBucket = bucket.Bucket
	s.ready = append(s.ready, bucket)
	if s.args.MinIO.UndeleteDays == 0 {
		return nil
	}
	return s.keepMinIOVersions(ctx, name, bucket)
}

// keepMinIOVersions has MinIO keep what is deleted or overwritten for a while.
func (s *Storage) keepMinIOVersions(ctx *pulumi.Context, name string, bucket *minio.S3Bucket) error {
	versions, err := minio.NewS3BucketVersioning(ctx, name+"-minio-versions", &minio.S3BucketVersioningArgs{
		Bucket: bucket.Bucket,
		VersioningConfiguration: &minio.S3BucketVersioningVersioningConfigurationArgs{
			Status: pulumi.String("Enabled"),
		},
	}, pulumi.Parent(s))
	if err != nil {
		return fmt.Errorf("versions in the MinIO bucket %q: %w", s.args.MinIO.Bucket, err)
	}
	expiry, err := minio.NewIlmPolicy(ctx, name+"-minio-lifecycle", &minio.IlmPolicyArgs{
		Bucket: bucket.Bucket,
		Rules: minio.IlmPolicyRuleArray{&minio.IlmPolicyRuleArgs{
			Id:                              pulumi.String("undelete"),
			NoncurrentVersionExpirationDays: pulumi.Int(s.args.MinIO.UndeleteDays),
			// The marker that something was deleted goes when nothing else is left.
			Expiration: pulumi.String("DeleteMarker"),
		}},
	}, pulumi.Parent(s), pulumi.DependsOn([]pulumi.Resource{versions}))
	if err != nil {
		return fmt.Errorf("lifecycle of the MinIO bucket %q: %w", s.args.MinIO.Bucket, err)
	}
	s.ready = append(s.ready, versions, expiry)
	return nil
}

var (
	minioBucket = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
	ipAddress   = regexp.MustCompile(`^[0-9]+(\.[0-9]+){3}$`)
)

// checkMinIOBucket follows the S3 rules that MinIO enforces: 3 to 63 lower-case
// letters, digits, dots and hyphens, none of the latter two at an end or
// adjacent, and not an IP address.
func checkMinIOBucket(at *field.Path, bucket string) field.ErrorList {
	switch {
	case bucket == "":
		return field.ErrorList{field.Required(at, "the name of the MinIO bucket")}
	case len(bucket) < 3 || len(bucket) > 63 || !minioBucket.MatchString(bucket):
		return field.ErrorList{field.Invalid(at, bucket,
			"MinIO accepts 3 to 63 lower-case letters, digits, dots and hyphens, beginning and ending with a letter or digit")}
	case ipAddress.MatchString(bucket):
		return field.ErrorList{field.Invalid(at, bucket, "MinIO refuses a name that looks like an IP address")}
	}
	return nil
}
