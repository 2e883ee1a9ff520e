package cnpg

import cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"

func storageArgs() *StorageArgs {
	return &StorageArgs{
		B2:        B2Args{Bucket: "homelab-cnpg-b2", Region: "us-west-002"},
		MinIO:     MinIOArgs{Bucket: "homelab-postgres-backups", Endpoint: "https://nas.example.org:9000", Secret: "minio"},
		Bitwarden: BitwardenArgs{Store: "bitwarden-backend", Item: "backblaze-b2-cnpg-offsite"},
	}
}

func databaseArgs() *DatabaseArgs {
	return &DatabaseArgs{
		Namespace: "auth",
		Cluster:   "authentik-postgresql",
		Spec: cnpgv1.ClusterSpec{
			Instances:            2,
			ImageName:            "ghcr.io/cloudnative-pg/postgresql:17.7",
			StorageConfiguration: cnpgv1.StorageConfiguration{Size: "20Gi", StorageClass: new("longhorn")},
		},
		Backup: Backup{Schedule: "0 0 2 * * 0", Retention: "30d"},
	}
}
