package cnpg

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	machineryapi "github.com/cloudnative-pg/machinery/pkg/api"
	"github.com/pulumi/pulumi-minio/sdk/go/minio"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/b2"
)

// StorageArgs says where an environment keeps its two copies.
type StorageArgs struct {
	// B2 is the off-site bucket and its key. Required.
	B2 B2Args `json:"b2"`
	// MinIO is the bucket on the NAS. Required.
	MinIO MinIOArgs `json:"minio"`
	// Bitwarden is where the B2 key is kept, and from where External Secrets
	// brings it into the namespaces. Required.
	Bitwarden BitwardenArgs `json:"bitwarden"`
	// PluginVersion is the release of the Barman Cloud plugin that runs in the
	// Kubernetes cluster, like 0.15.0. Nothing here can see it, and it decides how
	// base backups can be compressed: with zstd from 0.15.0 on, with lz4 from
	// 0.13.0 on, before that with gzip. Say an older one than what runs if in
	// doubt. Default: 0.13.0, the oldest whose schema takes lz4; one that is older
	// still refuses the ObjectStores in the preview.
	PluginVersion string `json:"pluginVersion,omitempty"`
	// Protect keeps Pulumi from deleting the buckets. Default true.
	Protect *bool `json:"protect,omitempty"`
}

// B2Args describes the bucket at Backblaze B2.
type B2Args struct {
	// Bucket is its name, unique among all of Backblaze. Required; 6 to 63
	// letters, digits and hyphens.
	Bucket string `json:"bucket"`
	// AdoptBucket uses a bucket of that name that exists already and leaves its
	// settings alone. Default false: the bucket is created.
	AdoptBucket bool `json:"adoptBucket,omitempty"`
	// Region is the account's region, for instance "us-west-002". Required.
	Region string `json:"region"`
	// Endpoint is the S3 endpoint. Default https://s3.<region>.backblazeb2.com.
	Endpoint string `json:"endpoint,omitempty"`
	// EndpointCA is a key in a Secret, in each namespace with databases, with
	// the CA certificate of the endpoint. Default: the public CAs.
	EndpointCA *machineryapi.SecretKeySelector `json:"endpointCA,omitempty"`
	// UndeleteDays is for how long B2 keeps a file that barman has deleted by its
	// name. A key that may delete can also delete versions, and those are gone at
	// once: this is no help against an intruder who has it. Default 14; at least 1.
	UndeleteDays int `json:"undeleteDays,omitempty"`
	// Keys are the names of the application keys to create, restricted to the
	// bucket. The last one is in use; earlier ones are kept valid until they are
	// removed from the list, so that a rotation interrupts nothing. A list
	// without the key that was in use is refused at preview.
	//
	// A name with "<namespace>" in it is a key for each namespace with databases,
	// which reaches only files whose names begin with the namespace and a slash,
	// and cannot delete versions. It is handed over by an item of its own, whose
	// name ends in a hyphen and the namespace. Default: one key with the bucket's
	// name.
	Keys []string `json:"keys,omitempty"`
	// AdoptKey is the name of a key that exists already. Its secret cannot be
	// read from B2 again, so it has to be in Bitwarden. Default: none.
	AdoptKey string `json:"adoptKey,omitempty"`
	// KeyPrefix restricts the keys to file names with this prefix. Keys that
	// exist already stay as they are: add a name to Keys for it to count.
	// Default: none. Nobody has tried whether barman, which asks for the bucket
	// first, works with such a key.
	KeyPrefix string `json:"keyPrefix,omitempty"`
}

// MinIOArgs describes the bucket on the NAS: at MinIO, or with AdoptBucket and Secret
// at any server that speaks S3. It has to take the bucket's name in the path,
// signatures of version 4, uploads in parts, and metadata of objects; nothing else
// is asked of it.
type MinIOArgs struct {
	// Bucket is its name. Required; 3 to 63 lower-case letters, digits, dots and
	// hyphens.
	Bucket string `json:"bucket"`
	// AdoptBucket uses a bucket of that name that exists already, and with Secret
	// neither the MinIO plugin nor its configuration. Default false: the bucket is
	// created.
	AdoptBucket bool `json:"adoptBucket,omitempty"`
	// Endpoint is the S3 endpoint, with scheme and port. Required.
	Endpoint string `json:"endpoint"`
	// FormerEndpoint is where the bucket was before: at a server from which it has
	// been copied and is copied once more as docs/move-nas.md says, or at this one
	// under another name. Without it an archive is not moved to another endpoint. It
	// may be left out again after the deployment. Default: none.
	FormerEndpoint string `json:"formerEndpoint,omitempty"`
	// Region is the one that the server was given, for instance by
	// MINIO_SITE_REGION. rclone and the plugin that makes the bucket have to say it;
	// barman asks MinIO for it, and is told by RegionKey where a server does not
	// answer. Default: none, for a server that takes any, or us-east-1.
	Region string `json:"region,omitempty"`
	// RegionKey is a key in Secret that holds Region, too: barman is told a region
	// by a Secret or not at all. Default: none; barman signs for us-east-1 until the
	// server names another one, which of those tried only MinIO does.
	RegionKey string `json:"regionKey,omitempty"`
	// EndpointCA is a key in a Secret, in each namespace with databases, with
	// the CA certificate of the endpoint. Default: the public CAs.
	EndpointCA *machineryapi.SecretKeySelector `json:"endpointCA,omitempty"`
	// Secret is a Secret that exists already in each namespace with databases
	// and holds AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Required without
	// User.
	Secret string `json:"secret,omitempty"`
	// User is the name of the MinIO users to create, with "<namespace>" in it. Each
	// namespace with databases gets two, which reach only its own folder and cannot
	// delete versions: one for what archives to MinIO and for pruning, and one, with
	// "-mirror" behind its name, for what only adds to the mirror. Their keys are
	// written to Secrets in the namespace. Another name makes new ones and deletes
	// the old. Pulumi has to be an administrator of MinIO. Default: none; Secret is
	// used.
	User string `json:"user,omitempty"`
	// UndeleteDays switches on versions in the bucket, and is for how long MinIO
	// keeps what was deleted or overwritten. Default: none, it keeps nothing.
	UndeleteDays int `json:"undeleteDays,omitempty"`
	// KMS says that the server has a key management service. Without one MinIO
	// refuses server-side encryption ("KMS is not configured"). Default false.
	KMS bool `json:"kms,omitempty"`
}

// withDefaults returns a copy in which everything is set.
func (a StorageArgs) withDefaults() StorageArgs {
	if a.B2.Endpoint == "" {
		a.B2.Endpoint = fmt.Sprintf("https://s3.%s.backblazeb2.com", a.B2.Region)
	}
	if a.B2.UndeleteDays == 0 {
		a.B2.UndeleteDays = 14
	}
	if len(a.B2.Keys) == 0 && a.B2.AdoptKey == "" {
		a.B2.Keys = []string{a.B2.Bucket}
	}
	if a.PluginVersion == "" {
		a.PluginVersion = lz4DataPlugin
	}
	if a.Protect == nil {
		a.Protect = new(true)
	}
	a.Bitwarden = a.Bitwarden.withDefaults(a.B2.AdoptKey == "")
	return a
}

// Validate returns every problem of the arguments; at is what their fields are
// reported below, nil for nothing.
func (a *StorageArgs) Validate(at *field.Path) field.ErrorList {
	if a == nil {
		if at == nil {
			at = field.NewPath("storage")
		}
		return field.ErrorList{field.Required(at, "where the two copies are kept")}
	}
	problems := a.B2.validate(at.Child("b2"))
	problems = append(problems, a.MinIO.validate(at.Child("minio"))...)
	if sameServer(a.withDefaults().B2.Endpoint, a.MinIO.Endpoint) {
		problems = append(problems, field.Invalid(at.Child("minio").Child("endpoint"), a.MinIO.Endpoint,
			"is where the other copy is, too: what takes the one takes both; give the MinIO server on the NAS"))
	}
	problems = append(problems, checkPluginVersion(at.Child("pluginVersion"), a.PluginVersion)...)
	problems = append(problems, a.Bitwarden.validate(at.Child("bitwarden"))...)
	if isForEach(a.B2.inUse()) && !*a.withDefaults().Bitwarden.HandOver {
		problems = append(problems, field.Invalid(at.Child("b2").Child("keys"), a.B2.inUse(),
			"there is a key for each namespace, and they have to be handed over: set bitwarden.handOver to true, "+
				"or give a key for the whole bucket"))
	}
	if a.B2.AdoptKey != "" && a.Bitwarden.HandOver != nil && *a.Bitwarden.HandOver {
		problems = append(problems, field.Forbidden(at.Child("bitwarden").Child("handOver"),
			"B2 does not reveal the secret half of an adopted key: put the key pair into Bitwarden yourself and leave handOver out"))
	}
	return problems
}

// directions are what can stand in the middle of a region. The regions themselves
// are not listed, so that a new one can be used at once.
const directions = `(north|south)?(east|west)|north|south|central`

var (
	b2Region   = regexp.MustCompile(`^[a-z]+-(` + directions + `)-[0-9]{3}$`)
	b2Endpoint = regexp.MustCompile(`^https?://s3\.([^.]+)\.backblazeb2\.com(:[0-9]+)?$`)
	// https://github.com/minio/minio/blob/master/internal/config/config.go validRegionRegex
	minioRegion = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]+$`)
	b2KeyName   = regexp.MustCompile(`^[A-Za-z0-9-]{1,100}$`)
)

// sameServer compares two endpoints by host and port.
func sameServer(one, other string) bool {
	host := func(endpoint string) string {
		parsed, err := url.Parse(endpoint)
		if err != nil || parsed.Hostname() == "" {
			return ""
		}
		port := parsed.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[parsed.Scheme]
		}
		return strings.ToLower(parsed.Hostname()) + ":" + port
	}
	return host(one) != "" && host(one) == host(other)
}

func (a B2Args) validate(at *field.Path) field.ErrorList {
	problems := checkB2Bucket(at.Child("bucket"), a.Bucket)
	if a.Region == "" {
		problems = append(problems, field.Required(at.Child("region"),
			`the region of the B2 account, for instance "us-west-002"`))
	} else if !b2Region.MatchString(a.Region) {
		problems = append(problems, field.Invalid(at.Child("region"), a.Region,
			`expected the form of "us-west-002": a part of the world, a direction in it and a number`))
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
			"keys are created, adoptKey is not: give one of the two"))
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
			"is where endpoint is, too: give the one that the bucket was copied from, or leave it out"))
	default:
		problems = append(problems, checkEndpoint(former, a.FormerEndpoint)...)
	}
	if a.Region != "" && !minioRegion.MatchString(a.Region) {
		problems = append(problems, field.Invalid(at.Child("region"), a.Region,
			`expected what the server calls its region, letters, digits, hyphens and underscores: for instance "home-1"`))
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
		return field.ErrorList{field.Forbidden(at, "user is for MinIO, which tells barman its region: leave regionKey out")}
	}
	if len(validation.IsConfigMapKey(a.RegionKey)) > 0 {
		return field.ErrorList{field.Invalid(at, a.RegionKey,
			`expected letters, digits, dots, hyphens and underscores, for instance "AWS_REGION"`)}
	}
	return nil
}

// minioUserName is what the MinIO plugin accepts as the name of a user, and of a
// policy but for its length:
// https://github.com/aminueza/terraform-provider-minio/blob/v1.20.1/minio/resource_minio_iam_user.go
var minioUserName = regexp.MustCompile(`^[0-9A-Za-z.@_+-]{3,}$`)

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

// Storage is an environment's two buckets and the key to the one at B2, made
// once and shared by all databases of the environment.
type Storage struct {
	pulumi.ResourceState

	// B2Bucket is the name of the bucket at B2, known once it exists.
	B2Bucket pulumi.StringOutput `pulumi:"b2Bucket"`
	// B2KeyID is the ID of the application key, a Pulumi secret.
	B2KeyID pulumi.StringOutput `pulumi:"b2KeyId"`
	// B2Key is the secret half of the application key, a Pulumi secret; empty
	// for an adopted key, which B2 does not reveal again. Both are empty when each
	// namespace has a key of its own.
	B2Key pulumi.StringOutput `pulumi:"b2Key"`
	// MinIOBucket is the name of the bucket on the NAS, known once it exists.
	MinIOBucket pulumi.StringOutput `pulumi:"minioBucket"`

	args StorageArgs
	// b2BucketID is the ID of the bucket at B2.
	b2BucketID pulumi.StringOutput
	// keys are those for the whole bucket that are in use; empty ones when each
	// namespace has its own.
	keys b2Keys
	// inUse is what is known of the key in use when a key is handed over.
	inUse *keyInUse
	// ready is what an ExternalSecret and an ObjectStore have to wait for.
	ready []pulumi.Resource

	// label names the storage in messages, and cluster is where its objects are.
	label   string
	cluster any

	lock sync.Mutex
	// credentials are those that it has handed out, by namespace.
	credentials map[string]*Credentials
}

// NewStorage makes the two buckets and the B2 key. It fails before it registers
// anything when an argument is wrong, with all problems in one error.
//
// The MinIO bucket is made at MinIO.Endpoint, by a provider of its own; a MinIO
// provider among the options, or the parent's, is used instead. Either takes user
// and password from the stack's configuration, minio:minioUser and
// minio:minioPassword, or from MINIO_USER and MINIO_PASSWORD.
func NewStorage(ctx *pulumi.Context, name string, args *StorageArgs, opts ...pulumi.ResourceOption) (*Storage, error) {
	cluster, err := clusterOf(opts)
	if err != nil {
		return nil, fmt.Errorf("storage %q: %w", name, err)
	}
	label := fmt.Sprintf("storage %q", name)
	problems := checkObjectName(field.NewPath("name"), name, "the name of the storage, a prefix of what belongs to it")
	problems = append(problems, args.Validate(nil)...)
	if err := refuse(label, claimsOf(ctx).take(args.claims(nil, label), problems)); err != nil {
		return nil, err
	}
	return newStorage(ctx, name, *args, label, cluster, opts...)
}

// newStorage registers a storage whose arguments are valid.
func newStorage(ctx *pulumi.Context, name string, args StorageArgs, label string, cluster any, opts ...pulumi.ResourceOption,
) (*Storage, error) {
	storage := &Storage{
		args: args.withDefaults(), label: label, cluster: cluster, credentials: map[string]*Credentials{},
	}

	opts, err := withMinIO(ctx, name, storage.args.MinIO, opts)
	if err != nil {
		return nil, fmt.Errorf("storage %q: %w", name, err)
	}
	err = ctx.RegisterComponentResourceV2("cnpg-backup:index:Storage", name, pulumi.Map{
		"b2Bucket":    pulumi.String(storage.args.B2.Bucket),
		"b2Region":    pulumi.String(storage.args.B2.Region),
		"minioBucket": pulumi.String(storage.args.MinIO.Bucket),
	}, storage, opts...)
	if err != nil {
		return nil, fmt.Errorf("storage %q: %w", name, err)
	}

	if storage.b2BucketID, err = storage.newB2Bucket(ctx, name); err != nil {
		return nil, err
	}
	if err := storage.newB2Keys(ctx, name); err != nil {
		return nil, err
	}
	if err := storage.newMinIOBucket(ctx, name); err != nil {
		return nil, err
	}
	if *storage.args.Bitwarden.HandOver && !isForEach(storage.args.B2.inUse()) {
		pushes, err := storage.handOver(ctx, storage, name, "", storage.keys, storage.args.Bitwarden)
		if err != nil {
			return nil, err
		}
		storage.ready = append(storage.ready, pushes...)
	}

	registerOutputs(ctx, storage)
	return storage, nil
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

// Credentials are those of a namespace, made when it is first asked for: the
// databases of a namespace share them. Every Database asks for its own.
func (s *Storage) Credentials(ctx *pulumi.Context, namespace string) (*Credentials, error) {
	subject := fmt.Sprintf("credentials of namespace %q", namespace)
	problems := checkNamespace(field.NewPath("namespace"), namespace)
	claims := credentialsClaims(namespace, s.args.Bitwarden, s.label, s.cluster)
	if err := refuse(subject, claimsOf(ctx).take(claims, problems)); err != nil {
		return nil, err
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	if known := s.credentials[namespace]; known != nil {
		return known, nil
	}
	credentials, err := newCredentials(ctx, namespace, namespace, s.args.Bitwarden, s, pulumi.Parent(s))
	if err == nil {
		s.credentials[namespace] = credentials
	}
	return credentials, err
}
