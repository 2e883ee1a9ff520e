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
// WAL, Data and Sidecar are the plugin's own types, as in its documentation; a
// field that is not set gets the default below.
type StoreOptions struct {
	// Retention is for how long base backups, and the WAL that they need, are
	// kept in this store; none for ever. Default: the database's Retention.
	Retention string `json:"retention,omitempty"`
	// WAL is about the WAL archive. Defaults: compression gzip, which every
	// release of barman reads, stores as little as zstd and is as fast in a
	// recovery; encryption AES256 at B2 and none at MinIO, which refuses it
	// without a key management service; maxParallel 4: each file is a Python
	// process, and more of them gain nothing but starve a small node. The figures
	// are in docs/figures.md, from "make bench".
	WAL barmanapi.WalBackupConfiguration `json:"wal,omitempty"`
	// Data is about base backups. Defaults: compression gzip, which takes four
	// times as long as none and stores a fifth (docs/figures.md); encryption as for WAL;
	// jobs 2, barman's own; immediateCheckpoint false, which spreads the load of
	// the disk and delays a base backup by minutes at the most.
	Data barmanapi.DataBackupConfiguration `json:"data,omitempty"`
	// Sidecar is about the container beside PostgreSQL that runs barman. It
	// counts for the archive. Default: empty. At B2 two variables are added that
	// it cannot do without, see objectStoreSpec.
	Sidecar barmanv1.InstanceSidecarConfiguration `json:"sidecar,omitempty"`
}

func (o StoreOptions) withDefaults(at Location, retention string) StoreOptions {
	if o.Retention == "" {
		o.Retention = retention
	}
	if o.WAL.Compression == "" {
		o.WAL.Compression = barmanapi.CompressionTypeGzip
	}
	if o.Data.Compression == "" {
		o.Data.Compression = barmanapi.CompressionTypeGzip
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
	problems = append(problems, checkOneOf(data.Child("compression"), o.Data.Compression, none,
		barmanapi.CompressionTypeBzip2, barmanapi.CompressionTypeGzip, barmanapi.CompressionTypeLz4,
		barmanapi.CompressionTypeSnappy)...)
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
			"MinIO refuses encryption without a key management service; if it has one, say kms: true at minio")}
	}
	return checkOneOf(at, encryption, none, barmanapi.EncryptionTypeAES256, barmanapi.EncryptionTypeNoneAWSKMS)
}

// objectStoreSpec describes the backups of a cluster in one location. The
// options have their defaults already.
func objectStoreSpec(at Location, storage StorageArgs, options StoreOptions, path string,
) barmanv1.ObjectStoreSpec {
	bucket, endpoint, ca, secret := storage.B2.Bucket, storage.B2.Endpoint, storage.B2.EndpointCA, B2Secret
	if at == MinIO {
		bucket, endpoint, ca, secret = storage.MinIO.Bucket, storage.MinIO.Endpoint, storage.MinIO.EndpointCA, storage.MinIO.Secret
	}
	sidecar := *options.Sidecar.DeepCopy()
	if at == B2 {
		sidecar.Env = append(checksumEnv(), sidecar.Env...)
	}
	wal, data := *options.WAL.DeepCopy(), *options.Data.DeepCopy()
	if wal.Compression == none {
		wal.Compression = barmanapi.CompressionTypeNone
	}
	if data.Compression == none {
		data.Compression = barmanapi.CompressionTypeNone
	}
	if wal.Encryption == none {
		wal.Encryption = barmanapi.EncryptionTypeNone
	}
	if data.Encryption == none {
		data.Encryption = barmanapi.EncryptionTypeNone
	}
	retention := options.Retention
	if retention == none {
		retention = ""
	}
	return barmanv1.ObjectStoreSpec{
		RetentionPolicy: retention,
		Configuration: barmanapi.BarmanObjectStoreConfiguration{
			DestinationPath: destinationPath(bucket, path),
			EndpointURL:     endpoint,
			EndpointCA:      ca,
			BarmanCredentials: barmanapi.BarmanCredentials{AWS: &barmanapi.S3Credentials{
				AccessKeyIDReference:     secretKey(secret, accessKeyID),
				SecretAccessKeyReference: secretKey(secret, secretAccessKey),
			}},
			Wal:  &wal,
			Data: &data,
		},
		InstanceSidecarConfiguration: sidecar,
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

func secretKey(secret, key string) *machineryapi.SecretKeySelector {
	return &machineryapi.SecretKeySelector{
		LocalObjectReference: machineryapi.LocalObjectReference{Name: secret},
		Key:                  key,
	}
}
