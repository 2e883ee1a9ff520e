package cnpg

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	machineryapi "github.com/cloudnative-pg/machinery/pkg/api"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/b2"
)

// B2Args describes the bucket at Backblaze B2.
type B2Args struct {
	// Bucket is the bucket's name, unique in all of Backblaze. Required; 6 to 63
	// letters, digits and hyphens.
	Bucket string `json:"bucket"`
	// AdoptBucket uses an existing bucket of that name, and leaves its settings alone.
	// Default false: the bucket is created, private, encrypted, and with a lifecycle
	// rule for UndeleteDays.
	AdoptBucket bool `json:"adoptBucket,omitempty"`
	// Region is the B2 account's region, for instance "us-west-002". Required.
	Region string `json:"region"`
	// Endpoint is the S3 endpoint. Default https://s3.<region>.backblazeb2.com.
	Endpoint string `json:"endpoint,omitempty"`
	// EndpointCA is a key in a Secret, in each namespace with databases, with
	// the CA certificate of the endpoint. Default: the public CAs.
	EndpointCA *machineryapi.SecretKeySelector `json:"endpointCA,omitempty"`
	// UndeleteDays is how many days B2 keeps a file after barman has deleted it by
	// its name. It does not help against an intruder who has a key that may delete:
	// that key can also delete versions, which are gone at once. Default 14; at least
	// 1.
	UndeleteDays int `json:"undeleteDays,omitempty"`
	// Keys are the names of the application keys to create, each restricted to the
	// bucket. The last one is in use; earlier ones stay valid until they are removed
	// from the list, so a rotation interrupts nothing. A list without the key that is
	// in use is refused in the preview. A name is 1 to 100 letters, digits and hyphens,
	// as B2 has it.
	//
	// A name with "<namespace>" in it makes a key for each namespace with databases.
	// Such a key only reaches files whose names begin with the namespace and a slash,
	// and cannot delete versions. It is handed over in a Bitwarden item of its own,
	// whose name ends in a hyphen and the namespace. Default: one key with the
	// bucket's name.
	Keys []string `json:"keys,omitempty"`
	// AdoptKey is the name of an existing key to use in place of Keys. B2 does not
	// reveal its secret half again, so the key has to be in Bitwarden. Default: none.
	AdoptKey string `json:"adoptKey,omitempty"`
	// KeyPrefix restricts the keys to file names with this prefix. Existing keys stay
	// as they are: add a name to Keys to get one with the prefix. Not tried: barman
	// first asks for the bucket, which such a key may not be allowed to do. Default:
	// none.
	KeyPrefix string `json:"keyPrefix,omitempty"`
}

// directions are what can stand in the middle of a region. The regions themselves
// are not listed, so that a new one can be used at once.
const directions = `(north|south)?(east|west)|north|south|central`

var (
	b2Region   = regexp.MustCompile(`^[a-z]+-(` + directions + `)-[0-9]{3}$`)
	b2Endpoint = regexp.MustCompile(`^https?://s3\.([^.]+)\.backblazeb2\.com(:[0-9]+)?$`)
	b2KeyName  = regexp.MustCompile(`^[A-Za-z0-9-]{1,100}$`)
)

func (a B2Args) validate(at *field.Path) field.ErrorList {
	problems := checkB2Bucket(at.Child("bucket"), a.Bucket)
	if a.Region == "" {
		problems = append(problems, field.Required(at.Child("region"),
			`the region of the B2 account, for instance "us-west-002"`))
	} else if !b2Region.MatchString(a.Region) {
		problems = append(problems, field.Invalid(at.Child("region"), a.Region,
			`expected a region like "us-west-002": a part of the world, a direction and a number`))
	}
	if a.Endpoint != "" {
		problems = append(problems, a.validateEndpoint(at.Child("endpoint"))...)
	}
	problems = append(problems, checkCA(at.Child("endpointCA"), a.EndpointCA, a.Endpoint)...)
	if a.UndeleteDays < 0 || a.UndeleteDays > mostUnits {
		problems = append(problems, field.Invalid(at.Child("undeleteDays"), a.UndeleteDays,
			fmt.Sprintf("expected 1 to %d days", mostUnits)))
	}
	if a.AdoptKey != "" && len(a.Keys) > 0 {
		problems = append(problems, field.Forbidden(at.Child("adoptKey"),
			"keys creates keys, and adoptKey takes an existing one: give one of the two"))
	}
	return append(problems, a.validateKeys(at)...)
}

func (a B2Args) validateKeys(at *field.Path) field.ErrorList {
	var problems field.ErrorList
	seen := map[string]bool{}
	for i, key := range a.Keys {
		if !b2KeyName.MatchString(forNamespace(key, "n")) {
			problems = append(problems, field.Invalid(at.Child("keys").Index(i), key,
				`B2 accepts 1 to 100 letters, digits and hyphens; "`+eachNamespace+`" stands for each namespace`))
		}
		if seen[key] {
			problems = append(problems, field.Duplicate(at.Child("keys").Index(i), key))
		}
		seen[key] = true
	}
	if a.KeyPrefix != "" && slices.ContainsFunc(a.Keys, isForEach) {
		problems = append(problems, field.Forbidden(at.Child("keyPrefix"),
			"a key for each namespace is restricted to the namespace's folder: leave keyPrefix out"))
	}
	return problems
}

func (a B2Args) validateEndpoint(at *field.Path) field.ErrorList {
	if problems := checkEndpoint(at, a.Endpoint); len(problems) > 0 {
		return problems
	}
	parts := b2Endpoint.FindStringSubmatch(a.Endpoint)
	if parts != nil && parts[1] != a.Region {
		return field.ErrorList{field.Invalid(at, a.Endpoint,
			fmt.Sprintf("is the endpoint of %q, but region says %q", parts[1], a.Region))}
	}
	return nil
}

var b2Bucket = regexp.MustCompile(`^[A-Za-z0-9-]{6,63}$`)

// checkB2Bucket follows https://www.backblaze.com/docs/cloud-storage-buckets:
// 6 to 63 letters, digits and hyphens, and the prefix b2- is Backblaze's own.
func checkB2Bucket(at *field.Path, bucket string) field.ErrorList {
	switch {
	case bucket == "":
		return field.ErrorList{field.Required(at, "the name of the B2 bucket")}
	case !b2Bucket.MatchString(bucket):
		return field.ErrorList{field.Invalid(at, bucket, "B2 accepts 6 to 63 letters, digits and hyphens")}
	case strings.HasPrefix(strings.ToLower(bucket), "b2-"):
		return field.ErrorList{field.Invalid(at, bucket, `B2 keeps names that begin with "b2-" for itself`)}
	}
	return nil
}

// newB2Bucket creates or looks up the bucket and returns its ID.
func (s *Storage) newB2Bucket(ctx *pulumi.Context, name string) (pulumi.StringOutput, error) {
	if s.args.B2.AdoptBucket {
		found := b2.LookupBucketOutput(ctx, b2.LookupBucketOutputArgs{
			BucketName: pulumi.String(s.args.B2.Bucket),
		}, pulumi.Parent(s))
		s.B2Bucket = found.BucketName()
		return found.BucketId(), nil
	}
	bucket, err := b2.NewBucket(ctx, name+"-b2-bucket", &b2.BucketArgs{
		BucketName: pulumi.String(s.args.B2.Bucket),
		BucketType: pulumi.String("allPrivate"),
		DefaultServerSideEncryption: &b2.BucketDefaultServerSideEncryptionArgs{
			Mode:      pulumi.String("SSE-B2"),
			Algorithm: pulumi.String("AES256"),
		},
		// A delete at B2 only hides the file. There is no daysFromUploadingToHiding:
		// what to delete is for barman's retention policy to say.
		LifecycleRules: b2.BucketLifecycleRuleArray{&b2.BucketLifecycleRuleArgs{
			FileNamePrefix:           pulumi.String(""),
			DaysFromHidingToDeleting: pulumi.Float64(float64(s.args.B2.UndeleteDays)),
			DaysFromStartingToCancelingUnfinishedLargeFiles: pulumi.Float64(7),
		}},
	}, pulumi.Parent(s), pulumi.Protect(*s.args.Protect))
	if err != nil {
		return pulumi.StringOutput{}, fmt.Errorf("B2 bucket %q: %w", s.args.B2.Bucket, err)
	}
	s.B2Bucket = bucket.BucketName
	s.ready = append(s.ready, bucket)
	return bucket.BucketId, nil
}
