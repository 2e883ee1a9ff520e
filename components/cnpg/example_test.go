package cnpg_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
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
	engine := &engine{}
	if err := pulumi.RunErr(program, pulumi.WithMocks("homelab", "example", engine)); err != nil {
		fmt.Println(err)
	}
	slices.Sort(engine.clusters)
	fmt.Println(strings.Join(engine.clusters, "\n"))
}

// engine answers as Pulumi's would and notes the Clusters.
type engine struct {
	mu       sync.Mutex
	clusters []string
}

func (e *engine) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	if args.ReadRPC != nil {
		return args.ID, runningCluster(), nil
	}
	if args.TypeToken == "kubernetes:postgresql.cnpg.io/v1:Cluster" {
		metadata := args.Inputs["metadata"].ObjectValue()
		e.mu.Lock()
		defer e.mu.Unlock()
		e.clusters = append(e.clusters, metadata["namespace"].StringValue()+"/"+metadata["name"].StringValue())
	}
	outputs := args.Inputs.Copy()
	for _, output := range []resource.PropertyKey{"bucketId", "applicationKeyId", "applicationKey"} {
		outputs[output] = resource.NewProperty("made by B2")
	}
	return args.Name, outputs, nil
}

// runningCluster is what a drill reads: the folder that a database archives to.
func runningCluster() resource.PropertyMap {
	return resource.NewPropertyMapFromMap(map[string]any{"spec": map[string]any{"plugins": []any{map[string]any{
		"name": "barman-cloud.cloudnative-pg.io",
		"parameters": map[string]any{
			"barmanObjectName": "authentik-b2-store", "serverName": "authentik-postgresql",
		},
	}}}})
}

func (*engine) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) { return args.Args, nil }
