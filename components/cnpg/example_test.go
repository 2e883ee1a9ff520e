package cnpg_test

import (
	"fmt"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/internal/engine"
)

// A database that makes its own storage. More databases share one: see
// [cnpg.NewStorage] and DatabaseArgs.Storage.
func ExampleNewDatabase() {
	program := func(ctx *pulumi.Context) error {
		database, err := cnpg.NewDatabase(ctx, "authentik", &cnpg.DatabaseArgs{
			Namespace: "auth",
			Spec: cnpgv1.ClusterSpec{
				Instances:            2,
				ImageName:            "ghcr.io/cloudnative-pg/postgresql:17.7",
				StorageConfiguration: cnpgv1.StorageConfiguration{Size: "20Gi"},
			},
			Backup: cnpg.Backup{Schedule: "0 0 2 * * 0", Retention: "30d"},
			NewStorage: &cnpg.StorageArgs{
				B2: cnpg.B2Args{Bucket: "homelab-cnpg-b2", Region: "us-west-002"},
				MinIO: cnpg.MinIOArgs{
					Bucket:   "homelab-postgres-backups",
					Endpoint: "https://nas.example.org:9000",
					Secret:   "minio-credentials",
				},
				Bitwarden: cnpg.BitwardenArgs{Store: "bitwarden-backend", Item: "backblaze-b2-cnpg-offsite"},
			},
		})
		if err != nil {
			return err
		}
		ctx.Export("host", database.ReadWriteHost)
		return nil
	}

	// A program of your own calls pulumi.Run(program).
	clusters(program)
	// Output: auth/authentik-postgresql
}

// A rehearsal: the latest backup in MinIO becomes a cluster beside the running
// one, which "pulumi destroy" deletes again.
func ExampleNewDrill() {
	program := func(ctx *pulumi.Context) error {
		drill, err := cnpg.NewDrill(ctx, "authentik-drill", &cnpg.DrillArgs{
			Namespace: "auth",
			Database:  "authentik",
			Source:    cnpg.MinIO,
			Spec: cnpgv1.ClusterSpec{
				ImageName:            "ghcr.io/cloudnative-pg/postgresql:17.7",
				StorageConfiguration: cnpgv1.StorageConfiguration{Size: "20Gi"},
			},
			Query: "SELECT max(created) FROM authentik_events_event",
		})
		if err != nil {
			return err
		}
		ctx.Export("log", pulumi.Sprintf("kubectl logs -n auth job/%s", drill.CheckJob))
		return nil
	}

	// A program of your own calls pulumi.Run(program).
	clusters(program)
	// Output: auth/authentik-drill
}

// clusters runs a program without Pulumi's engine and prints which Clusters it
// would make.
func clusters(program pulumi.RunFunc) {
	fake := &engine.Fake{}
	if err := pulumi.RunErr(program, pulumi.WithMocks("homelab", "example", fake)); err != nil {
		fmt.Println(err)
	}
	for _, made := range fake.Resources() {
		if made.TypeToken == "kubernetes:postgresql.cnpg.io/v1:Cluster" && made.ReadRPC == nil {
			metadata := made.Inputs["metadata"].ObjectValue()
			fmt.Println(metadata["namespace"].StringValue() + "/" + metadata["name"].StringValue())
		}
	}
}
