// Command outside is a program in a module of its own. It imports the component
// as any other module.
package main

import (
	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		database, err := cnpg.NewDatabase(ctx, "wiki", &cnpg.DatabaseArgs{
			Namespace: "wiki",
			Spec: cnpgv1.ClusterSpec{
				ImageName:            "ghcr.io/cloudnative-pg/postgresql:17.7",
				StorageConfiguration: cnpgv1.StorageConfiguration{Size: "5Gi"},
			},
			NewStorage: &cnpg.StorageArgs{
				B2:        cnpg.B2Args{Bucket: "wiki-cnpg-b2", Region: "eu-central-003"},
				MinIO:     cnpg.MinIOArgs{Bucket: "wiki-backups", Endpoint: "https://nas.example.org:9000", Secret: "minio"},
				Bitwarden: cnpg.BitwardenArgs{Store: "bitwarden-backend", Item: "wiki-b2-key"},
			},
		})
		if err != nil {
			return err
		}
		ctx.Export("host", database.ReadWriteHost)
		return nil
	})
}
