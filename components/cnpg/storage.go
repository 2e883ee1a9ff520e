package cnpg

import (
	"fmt"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// StorageArgs says where an environment keeps its two copies.
type StorageArgs struct {
	// B2 is the off-site bucket and its key. Required.
	B2 B2Args `json:"b2"`
	// MinIO is the bucket on the NAS. Required.
	MinIO MinIOArgs `json:"minio"`
	// Bitwarden is where the B2 key is kept, and where External Secrets reads it for
	// the namespaces. Required.
	Bitwarden BitwardenArgs `json:"bitwarden"`
	// PluginVersion is the release of the Barman Cloud plugin that runs in the
	// Kubernetes cluster, like "0.15.0". A preview cannot see it, and it decides how
	// base backups are compressed: with zstd from 0.15.0 on, with lz4 from 0.13.0 on,
	// before that with gzip. If in doubt, give an older release than the one that runs.
	// Default: 0.13.0, the oldest whose schema knows lz4; an older plugin refuses the
	// ObjectStores in the preview.
	PluginVersion string `json:"pluginVersion,omitempty"`
	// Protect keeps Pulumi from deleting the buckets. Default true.
	Protect *bool `json:"protect,omitempty"`
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

// Validate returns every problem of the arguments. The problems name the fields below
// the path at; nil is the root.
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
			"is the server of the other copy: whatever takes one copy would take both; give the server on the NAS"))
	}
	problems = append(problems, checkPluginVersion(at.Child("pluginVersion"), a.PluginVersion)...)
	problems = append(problems, a.Bitwarden.validate(at.Child("bitwarden"))...)
	if isForEach(a.B2.inUse()) && !*a.withDefaults().Bitwarden.HandOver {
		problems = append(problems, field.Invalid(at.Child("b2").Child("keys"), a.B2.inUse(),
			"with a key for each namespace, the keys have to be handed over: set bitwarden.handOver to true, "+
				"or give a key for the whole bucket"))
	}
	if a.B2.AdoptKey != "" && a.Bitwarden.HandOver != nil && *a.Bitwarden.HandOver {
		problems = append(problems, field.Forbidden(at.Child("bitwarden").Child("handOver"),
			"B2 does not reveal the secret half of an adopted key: put the key pair into Bitwarden yourself and leave handOver out"))
	}
	return problems
}

// Storage is an environment's two buckets and the key to the one at B2, created once
// and shared by all databases of the environment.
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

	identity

	lock sync.Mutex
	// credentials are those that it has handed out, by namespace.
	credentials map[string]*Credentials
}

// NewStorage creates the two buckets and the B2 key. If an argument is wrong, it fails
// before it registers anything, with all problems in one error.
//
// The MinIO bucket is created at MinIO.Endpoint, by a provider of its own, or by the
// MinIO provider among the options or of the parent if there is one. Either takes user
// and password from the stack's configuration, minio:minioUser and minio:minioPassword,
// or from the environment, MINIO_USER and MINIO_PASSWORD. B2's provider takes
// b2:applicationKeyId and b2:applicationKey, or B2_APPLICATION_KEY_ID and
// B2_APPLICATION_KEY.
//
// Two storages of one program cannot have databases in namespaces of one name, also
// when these are in two Kubernetes clusters: Pulumi could not tell their credentials
// apart.
func NewStorage(ctx *pulumi.Context, name string, args *StorageArgs, opts ...pulumi.ResourceOption) (*Storage, error) {
	at, err := siteOf(opts)
	if err != nil {
		return nil, fmt.Errorf("storage %q: %w", name, err)
	}
	label := fmt.Sprintf("storage %q", name)
	problems := checkObjectName(field.NewPath("name"), name, "the name of the storage, a prefix of what belongs to it")
	if len(problems) == 0 {
		problems = checkPartOf(name)
	}
	problems = append(problems, args.Validate(nil)...)
	if err := refuse(label, claimsOf(ctx).take(args.claims(nil, label), problems)); err != nil {
		return nil, err
	}
	return newStorage(ctx, name, *args, identity{label, at.cluster, family{parent: at.parent}}, opts...)
}

// newStorage registers a storage whose arguments are valid.
func newStorage(ctx *pulumi.Context, name string, args StorageArgs, id identity, opts ...pulumi.ResourceOption,
) (*Storage, error) {
	storage := &Storage{args: args.withDefaults(), identity: id, credentials: map[string]*Credentials{}}

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

// Credentials returns the credentials of a namespace, and creates them on the first
// call. The databases of a namespace share them; every Database calls this itself. It
// fails if the namespace's name is wrong, or if something else creates the same Secret.
func (s *Storage) Credentials(ctx *pulumi.Context, namespace string) (*Credentials, error) {
	subject := fmt.Sprintf("credentials of namespace %q", namespace)
	problems := checkNamespace(field.NewPath("namespace"), namespace)
	claims := s.credentialsClaims(namespace, s.args.Bitwarden)
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
