// Command several deploys databases that share one storage, two of them in one
// namespace.
package main

import (
	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

func main() {
	pulumi.Run(deploy)
}

func deploy(ctx *pulumi.Context) error {
	storage, err := cnpg.NewStorage(ctx, "homelab", &cnpg.StorageArgs{
		B2: cnpg.B2Args{Bucket: "homelab-cnpg-b2", Region: "us-west-002"},
		MinIO: cnpg.MinIOArgs{
			Bucket:   "homelab-postgres-backups",
			Endpoint: "https://truenas.peekoff.com:9000",
			Secret:   "longhorn-minio-credentials",
		},
		Bitwarden: cnpg.BitwardenArgs{Store: "bitwarden-backend", Item: "backblaze-b2-cnpg-offsite"},
	})
	if err != nil {
		return err
	}
	hosts := pulumi.StringMap{}
	for namespace, databases := range map[string][]string{"auth": {"authentik"}, "media": {"immich", "jellyfin"}} {
		for _, name := range databases {
			database, err := cnpg.NewDatabase(ctx, name, &cnpg.DatabaseArgs{
				Namespace: namespace,
				Spec:      spec(),
				Storage:   storage,
			})
			if err != nil {
				return err
			}
			hosts[name] = database.ReadWriteHost
		}
	}
	ctx.Export("hosts", hosts)
	return nil
}

func spec() cnpgv1.ClusterSpec {
	return cnpgv1.ClusterSpec{
		Instances:            1,
		ImageName:            "ghcr.io/cloudnative-pg/postgresql:17.7",
		StorageConfiguration: cnpgv1.StorageConfiguration{Size: "10Gi"},
	}
}
