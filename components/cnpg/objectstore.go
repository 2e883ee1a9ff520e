package cnpg

import (
	barmanapi "github.com/cloudnative-pg/barman-cloud/pkg/api"
	machineryapi "github.com/cloudnative-pg/machinery/pkg/api"
	barmanv1 "github.com/cloudnative-pg/plugin-barman-cloud/api/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// none switches off what is on by default: a compression, an encryption, retention.
const none = "none"

// StoreOptions says how barman writes to and reads from one of the two stores.
// WAL, Data and Sidecar are the plugin's own types, as documented at
// https://cloudnative-pg.io/plugin-barman-cloud/docs/plugin-barman-cloud.v1/; a field
// that is not set gets the default below.
type StoreOptions struct {
	// Retention is how long base backups, and the WAL that they need, are kept in this
	// store, as in Backup. Default: the database's Retention.
	Retention string `json:"retention,omitempty"`
	// WAL is about archiving and fetching WAL. Defaults: compression zstd, which every
	// plugin from 0.3.0 on has (docs/decisions/codecs.md); encryption AES256 at B2, and
	// none at MinIO, which refuses it without a key management service; maxParallel 4:
	// a Python process is started for each file, and more of them gain nothing and
	// starve a small node (docs/figures.md).
	WAL barmanapi.WalBackupConfiguration `json:"wal,omitempty"`
	// Data is about base backups. Compression can also be zstd, which the plugin's
	// own schema does not have. Defaults: compression lz4, or by
	// StorageArgs.PluginVersion zstd or gzip; encryption as for WAL; jobs 2, which is
	// barman's; immediateCheckpoint false, which spreads the load on the disk and delays
	// a base backup by a few minutes at most.
	Data barmanapi.DataBackupConfiguration `json:"data,omitempty"`
	// Sidecar is about the container beside PostgreSQL that runs barman. Only that of
	// the archive is used. A change only takes effect when the pods restart. Default:
	// empty. At B2 two variables are added, without which B2 refuses what barman sends:
	// AWS_REQUEST_CHECKSUM_CALCULATION and AWS_RESPONSE_CHECKSUM_VALIDATION, both
	// when_required.
	Sidecar barmanv1.InstanceSidecarConfiguration `json:"sidecar,omitempty"`
}

func (o StoreOptions) withDefaults(at Location, retention, plugin string) StoreOptions {
	if o.Retention == "" {
		o.Retention = retention
	}
	if o.WAL.Compression == "" {
		o.WAL.Compression = barmanapi.CompressionTypeZstd
	}
	if o.Data.Compression == "" {
		o.Data.Compression = dataCompression(plugin)
	}
	if at == B2 && o.WAL.Encryption == "" {
		o.WAL.Encryption = barmanapi.EncryptionTypeAES256
	}
	if at == B2 && o.Data.Encryption == "" {
		o.Data.Encryption = barmanapi.EncryptionTypeAES256
	}
	if o.WAL.MaxParallel == 0 {
		o.WAL.MaxParallel = 4
	}
	if o.Data.Jobs == nil {
		o.Data.Jobs = new(int32(2))
	}
	return o
}

func (o StoreOptions) validate(at *field.Path, location Location, storage *StorageArgs) field.ErrorList {
	problems := checkRetention(at.Child("retention"), o.Retention)
	problems = append(problems, checkMemory(at.Child("sidecar", "resources"), o.Sidecar.Resources)...)
	wal, data := at.Child("wal"), at.Child("data")
	problems = append(problems, checkOneOf(wal.Child("compression"), o.WAL.Compression, none,
		barmanapi.CompressionTypeBzip2, barmanapi.CompressionTypeGzip, barmanapi.CompressionTypeLz4,
		barmanapi.CompressionTypeSnappy, barmanapi.CompressionTypeXz, barmanapi.CompressionTypeZstd)...)
	problems = append(problems, checkArguments(wal.Child("archiveAdditionalCommandArgs"), o.WAL.ArchiveAdditionalCommandArgs)...)
	if storage != nil {
		plugin := storage.withDefaults().PluginVersion
		problems = append(problems, checkDataCompression(data.Child("compression"), o.Data.Compression, plugin)...)
	}
	problems = append(problems, checkArguments(data.Child("additionalCommandArgs"), o.Data.AdditionalCommandArgs)...)
	problems = append(problems, checkEncryption(wal.Child("encryption"), o.WAL.Encryption, location, storage)...)
	problems = append(problems, checkEncryption(data.Child("encryption"), o.Data.Encryption, location, storage)...)
	if o.WAL.MaxParallel < 0 {
		problems = append(problems, field.Invalid(wal.Child("maxParallel"), o.WAL.MaxParallel, "expected 1 or more"))
	}
	if o.Data.Jobs != nil && *o.Data.Jobs < 1 {
		problems = append(problems, field.Invalid(data.Child("jobs"), *o.Data.Jobs, "expected 1 or more"))
	}
	return problems
}

// checkEncryption knows what each location can do: B2 has no aws:kms, and MinIO
// needs a key management service for either.
func checkEncryption(at *field.Path, encryption barmanapi.EncryptionType, location Location, storage *StorageArgs,
) field.ErrorList {
	if location == B2 {
		return checkOneOf(at, encryption, none, barmanapi.EncryptionTypeAES256)
	}
	if encryption == "" || encryption == none {
		return nil
	}
	if storage != nil && !storage.MinIO.KMS {
		return field.ErrorList{field.Invalid(at, encryption,
			"MinIO refuses encryption without a key management service; if it has one, set kms: true at minio")}
	}
	return checkOneOf(at, encryption, none, barmanapi.EncryptionTypeAES256, barmanapi.EncryptionTypeNoneAWSKMS)
}

// store is one of the two stores, as what uses it has to know it.
type store struct {
	location Location
	// bucket and path are where the backups of a cluster lie.
	bucket, path string
	endpoint     string
	// endpointCA is where its CA certificate is; nil for the public CAs.
	endpointCA *machineryapi.SecretKeySelector
	// region is "" where the server takes any, and regionRef where barman finds it,
	// nil where barman is not told.
	region    string
	regionRef *machineryapi.SecretKeySelector
	// secret is the Secret with its credentials.
	secret string
	// options are complete, and what is switched off is empty.
	options StoreOptions
}

// store is where a database keeps its backups in one location.
func (p *plan) store(at Location) store {
	b2, minio := p.storage.B2, p.storage.MinIO
	options := p.args.options(at).withoutNone()
	if at == MinIO {
		nas := store{
			location: MinIO, bucket: minio.Bucket, path: p.path, region: minio.Region,
			endpoint: minio.Endpoint, endpointCA: minio.EndpointCA, secret: p.minioSecret(), options: options,
		}
		if minio.RegionKey != "" {
			nas.regionRef = secretKey(minio.Secret, minio.RegionKey)
		}
		return nas
	}
	options.Sidecar.Env = append(checksumEnv(), options.Sidecar.Env...)
	return store{
		location: B2, bucket: b2.Bucket, path: p.path, region: b2.Region,
		endpoint: b2.Endpoint, endpointCA: b2.EndpointCA, secret: B2Secret, options: options,
	}
}

// minioSecret is the Secret with the key for MinIO. A namespace's own key may
// delete only where it archives.
func (p *plan) minioSecret() string {
	switch {
	case p.storage.MinIO.User == "":
		return p.storage.MinIO.Secret
	case p.args.Archive == MinIO:
		return MinIOSecret
	default:
		return MinIOMirrorSecret
	}
}

// withoutNone returns a copy as the plugin has it, in which what is switched off is
// empty.
func (o StoreOptions) withoutNone() StoreOptions {
	o.WAL, o.Data, o.Sidecar = *o.WAL.DeepCopy(), *o.Data.DeepCopy(), *o.Sidecar.DeepCopy()
	for _, compression := range []*barmanapi.CompressionType{&o.WAL.Compression, &o.Data.Compression} {
		if *compression == none {
			*compression = barmanapi.CompressionTypeNone
		}
	}
	for _, encryption := range []*barmanapi.EncryptionType{&o.WAL.Encryption, &o.Data.Encryption} {
		if *encryption == none {
			*encryption = barmanapi.EncryptionTypeNone
		}
	}
	if o.Retention == none {
		o.Retention = ""
	}
	return o
}

// spec is that of the ObjectStore.
func (s store) spec() barmanv1.ObjectStoreSpec {
	data := withZstd(s.options.Data)
	return barmanv1.ObjectStoreSpec{
		RetentionPolicy: s.options.Retention,
		Configuration: barmanapi.BarmanObjectStoreConfiguration{
			DestinationPath: destinationPath(s.bucket, s.path),
			EndpointURL:     s.endpoint,
			EndpointCA:      s.endpointCA,
			BarmanCredentials: barmanapi.BarmanCredentials{AWS: &barmanapi.S3Credentials{
				AccessKeyIDReference:     secretKey(s.secret, accessKeyID),
				SecretAccessKeyReference: secretKey(s.secret, secretAccessKey),
				RegionReference:          s.regionRef,
			}},
			Wal:  &s.options.WAL,
			Data: &data,
		},
		InstanceSidecarConfiguration: s.options.Sidecar,
	}
}

// checksumEnv keeps boto3 1.36 and later from sending the checksum headers that
// B2 refuses (https://github.com/boto/boto3/issues/4392).
func checksumEnv() []corev1.EnvVar {
	return []corev1.EnvVar{
		{Name: "AWS_REQUEST_CHECKSUM_CALCULATION", Value: "when_required"},
		{Name: "AWS_RESPONSE_CHECKSUM_VALIDATION", Value: "when_required"},
	}
}
