// Command authentik deploys Authentik's database with two backups.
package main

import (
	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		longhorn := "longhorn"
		database, err := cnpg.NewDatabase(ctx, "authentik", &cnpg.DatabaseArgs{
			Namespace: "auth",
			Cluster:   "authentik-postgresql",
			Spec: cnpgv1.ClusterSpec{
				Instances:            2,
				ImageName:            "ghcr.io/cloudnative-pg/postgresql:17.7",
				StorageConfiguration: cnpgv1.StorageConfiguration{Size: "20Gi", StorageClass: &longhorn},
			},
			Backup: cnpg.Backup{Schedule: "0 0 2 * * 0", Retention: "30d"},
			NewStorage: &cnpg.StorageArgs{
				B2: cnpg.B2Args{Bucket: "homelab-cnpg-b2", Region: "us-west-002"},
				MinIO: cnpg.MinIOArgs{
					Bucket:   "homelab-postgres-backups",
					Endpoint: "https://truenas.peekoff.com:9000",
					Secret:   "longhorn-minio-credentials",
				},
				Bitwarden: cnpg.BitwardenArgs{Store: "bitwarden-backend", Item: "backblaze-b2-cnpg-offsite"},
			},
		})
		if err != nil {
			return err
		}
		ctx.Export("host", database.ReadWriteHost)
		ctx.Export("secret", database.AppSecret)
		return nil
	})
}
