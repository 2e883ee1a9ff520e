// Command restore-drill restores the latest backup of Authentik's database from
// one of the two copies, into a cluster that is thrown away again.
package main

import (
	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

func main() {
	pulumi.Run(deploy)
}

func deploy(ctx *pulumi.Context) error {
	settings := config.New(ctx, "")
	source := settings.Get("source")
	if source == "" {
		source = string(cnpg.MinIO)
	}
	drill, err := cnpg.NewDrill(ctx, "authentik-drill", &cnpg.DrillArgs{
		Namespace:  "auth",
		Database:   "authentik",
		Source:     cnpg.Location(source),
		Generation: settings.GetInt("generation"),
		Spec: cnpgv1.ClusterSpec{
			ImageName:            "ghcr.io/cloudnative-pg/postgresql:17.7",
			StorageConfiguration: cnpgv1.StorageConfiguration{Size: "20Gi"},
			Bootstrap: &cnpgv1.BootstrapConfiguration{
				InitDB: &cnpgv1.BootstrapInitDB{Database: "authentik", Owner: "authentik"},
			},
		},
		// How old what came back is. A drill with a query that fails, fails.
		Query: `select max(created) as "last event" from authentik_events_event`,
	})
	if err != nil {
		return err
	}
	ctx.Export("source", drill.Source)
	ctx.Export("serverName", drill.ServerName)
	ctx.Export("checkJob", drill.CheckJob)
	return nil
}
