// Command restore-drill restores the latest backup of a database from one of
// the two copies, into a cluster that is thrown away again.
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

// deploy reads its settings from the stack; Pulumi.yaml has their defaults.
func deploy(ctx *pulumi.Context) error {
	settings := config.New(ctx, "")
	database := settings.Require("database")
	drill, err := cnpg.NewDrill(ctx, database+"-drill", &cnpg.DrillArgs{
		Namespace:  settings.Require("namespace"),
		Database:   database,
		Source:     cnpg.Location(settings.Require("source")),
		Generation: settings.RequireInt("generation"),
		Spec: cnpgv1.ClusterSpec{
			ImageName:            settings.Require("imageName"),
			StorageConfiguration: cnpgv1.StorageConfiguration{Size: settings.Require("size")},
			Bootstrap: &cnpgv1.BootstrapConfiguration{
				InitDB: &cnpgv1.BootstrapInitDB{Database: database, Owner: database},
			},
		},
		Query:   settings.Require("query"),
		MaxAge:  settings.Get("maxAge"),
		Run:     settings.Require("run"),
		Timeout: settings.Require("timeout"),
	})
	if err != nil {
		return err
	}
	ctx.Export("source", drill.Source)
	ctx.Export("serverName", drill.ServerName)
	ctx.Export("checkJob", drill.CheckJob)
	return nil
}
