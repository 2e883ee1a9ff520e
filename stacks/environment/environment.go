// Package environment deploys a homelab environment, one Pulumi stack, from the
// stack's configuration: one storage, and any number of databases in any number
// of namespaces.
package environment

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

// Deploy is a Pulumi program. Its outputs are the storage's buckets and, for
// each database, what an application and an operator need to know.
func Deploy(ctx *pulumi.Context) error {
	config, err := Load(ctx)
	if err != nil {
		return err
	}
	storage, err := cnpg.NewStorage(ctx, ctx.Stack(), &config.StorageArgs)
	if err != nil {
		return err
	}

	credentials := map[string]*cnpg.Credentials{}
	databases := pulumi.Map{}
	for i := range config.Databases {
		args := config.Databases[i].DatabaseArgs
		if credentials[args.Namespace] == nil {
			credentials[args.Namespace], err = cnpg.NewCredentials(ctx, args.Namespace, &cnpg.CredentialsArgs{
				Namespace: args.Namespace,
				Storage:   storage,
			})
			if err != nil {
				return err
			}
		}
		args.Storage, args.Credentials = storage, credentials[args.Namespace]
		database, err := cnpg.NewDatabase(ctx, config.Databases[i].Name, &args)
		if err != nil {
			return err
		}
		databases[config.Databases[i].Name] = outputs(database)
	}

	ctx.Export("storage", pulumi.Map{"b2Bucket": storage.B2Bucket, "minioBucket": storage.MinIOBucket})
	ctx.Export("databases", databases)
	return nil
}

func outputs(database *cnpg.Database) pulumi.Map {
	return pulumi.Map{
		"namespace":       database.Namespace,
		"cluster":         database.ClusterName,
		"readWriteHost":   database.ReadWriteHost,
		"readOnlyHost":    database.ReadOnlyHost,
		"appSecret":       database.AppSecret,
		"archive":         database.Archive,
		"serverName":      database.ServerName,
		"stores":          pulumi.Map{"b2": database.B2Path, "minio": database.MinIOPath},
		"recoverySources": database.RecoverySources,
	}
}
