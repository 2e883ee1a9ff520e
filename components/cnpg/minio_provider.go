package cnpg

import (
	"fmt"
	"net/url"

	"github.com/pulumi/pulumi-minio/sdk/go/minio"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// UsesPlugin tells whether Pulumi creates anything at the server, and so needs a user
// there.
func (a MinIOArgs) UsesPlugin() bool { return !a.AdoptBucket || a.User != "" }

// withMinIO adds a provider of the MinIO plugin for the server that the backups go
// to, unless the program gives one. Pulumi's default provider has to be
// told the server once more, and speaks plain HTTP unless it is told otherwise:
// https://www.pulumi.com/registry/packages/minio/installation-configuration/
func withMinIO(ctx *pulumi.Context, name string, args MinIOArgs, opts []pulumi.ResourceOption) ([]pulumi.ResourceOption, error) {
	options, err := pulumi.NewResourceOptions(opts...)
	if err != nil {
		return nil, err
	}
	if !args.UsesPlugin() || givesMinIO(options) {
		return opts, nil
	}
	settings, err := args.provider(ctx)
	if err != nil {
		return nil, err
	}
	var where []pulumi.ResourceOption
	if options.Parent != nil {
		where = append(where, pulumi.Parent(options.Parent))
	}
	provider, err := minio.NewProvider(ctx, name+"-minio", settings, where...)
	if err != nil {
		return nil, fmt.Errorf("MinIO plugin: %w", err)
	}
	return append(opts, pulumi.Providers(provider)), nil
}

// givesMinIO tells whether the options have a MinIO provider, or the parent.
func givesMinIO(options *pulumi.ResourceOptions) bool {
	for _, given := range append(options.Providers, options.Provider) {
		if _, ok := given.(*minio.Provider); ok {
			return true
		}
	}
	parent, ok := options.Parent.(interface {
		GetProvider(token string) pulumi.ProviderResource
	})
	return ok && parent.GetProvider("minio:index:S3Bucket") != nil
}

// provider are the settings of the plugin: server and TLS are the endpoint's,
// the region is the server's, and everything else is as it is configured for the
// default provider, which an explicit one does not read. What is not configured
// the plugin takes from its environment variables, so that it is not in the state.
func (a MinIOArgs) provider(ctx *pulumi.Context) (*minio.ProviderArgs, error) {
	endpoint, err := url.Parse(a.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("MinIO endpoint: %w", err)
	}
	plain := func(key string) pulumi.StringPtrInput {
		value, configured := ctx.GetConfig("minio:" + key)
		switch {
		case !configured:
			return nil
		case ctx.IsConfigSecret("minio:" + key):
			return secretSetting(value)
		}
		return pulumi.StringPtr(value)
	}
	secret := func(key string) pulumi.StringPtrInput {
		value, configured := ctx.GetConfig("minio:" + key)
		if !configured {
			return nil
		}
		return secretSetting(value)
	}
	settings := &minio.ProviderArgs{
		MinioServer:       pulumi.String(endpoint.Host),
		MinioSsl:          pulumi.Bool(endpoint.Scheme == "https"),
		MinioRegion:       plain("minioRegion"),
		MinioUser:         plain("minioUser"),
		MinioPassword:     secret("minioPassword"),
		MinioAccessKey:    plain("minioAccessKey"),
		MinioSecretKey:    secret("minioSecretKey"),
		MinioSessionToken: secret("minioSessionToken"),
		MinioApiVersion:   plain("minioApiVersion"),
		MinioCacertFile:   plain("minioCacertFile"),
		MinioCertFile:     plain("minioCertFile"),
		MinioKeyFile:      plain("minioKeyFile"),
	}
	if a.Region != "" {
		settings.MinioRegion = pulumi.StringPtr(a.Region)
	}
	if insecure, configured := ctx.GetConfig("minio:minioInsecure"); configured {
		settings.MinioInsecure = pulumi.Bool(insecure == "true")
	}
	return settings, nil
}

func secretSetting(value string) pulumi.StringPtrOutput {
	return pulumi.ToSecret(pulumi.StringPtr(value)).(pulumi.StringPtrOutput) // ToSecret keeps the type
}
