// Command point-in-time restores Authentik's database to a moment, as a new
// cluster beside the running one.
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
	spec := cnpgv1.ClusterSpec{
		Instances:            1,
		ImageName:            "ghcr.io/cloudnative-pg/postgresql:17.7",
		StorageConfiguration: cnpgv1.StorageConfiguration{Size: "20Gi"},
		Bootstrap: &cnpgv1.BootstrapConfiguration{
			InitDB: &cnpgv1.BootstrapInitDB{Database: "authentik", Owner: "authentik"},
		},
	}
	if _, err = cnpg.NewDatabase(ctx, "authentik", &cnpg.DatabaseArgs{
		Namespace: "auth", Spec: spec, Storage: storage,
	}); err != nil {
		return err
	}

	restored, err := cnpg.NewDatabase(ctx, "authentik-restored", &cnpg.DatabaseArgs{
		Namespace: "auth", Spec: spec, Storage: storage,
		Recovery: &cnpg.Recovery{
			Source:  cnpg.MinIO, // the copy on the NAS is the faster one
			Cluster: "authentik-postgresql",
			Target:  &cnpgv1.RecoveryTarget{TargetTime: "2026-01-15T12:00:00+01:00"},
		},
		WaitUntilReady: true,
	})
	if err != nil {
		return err
	}
	ctx.Export("host", restored.ReadWriteHost)
	ctx.Export("serverName", restored.ServerName)
	return nil
}
