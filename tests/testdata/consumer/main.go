// Command consumer is a program whose application connects to a database that
// the same program makes.
package main

import (
	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		protect := false
		database, err := cnpg.NewDatabase(ctx, "wiki", &cnpg.DatabaseArgs{
			Namespace: "apps",
			Protect:   &protect,
			Spec: cnpgv1.ClusterSpec{
				Instances:            1,
				ImageName:            "ghcr.io/cloudnative-pg/postgresql:17.7",
				StorageConfiguration: cnpgv1.StorageConfiguration{Size: "5Gi"},
			},
			NewStorage: &cnpg.StorageArgs{
				B2:        cnpg.B2Args{Bucket: "consumer-cnpg-b2", Region: "us-west-002"},
				MinIO:     cnpg.MinIOArgs{Bucket: "consumer-postgres", Endpoint: "https://nas.example.org:9000", Secret: "minio"},
				Bitwarden: cnpg.BitwardenArgs{Store: "bitwarden", Item: "consumer-b2"},
				Protect:   &protect,
			},
		})
		if err != nil {
			return err
		}
		// In place of a Deployment: it is to wait for the Cluster just the same.
		return ctx.RegisterResource("kubernetes:core/v1:ConfigMap", "application", kubernetes.UntypedArgs{
			"apiVersion": pulumi.String("v1"),
			"kind":       pulumi.String("ConfigMap"),
			"metadata":   metav1.ObjectMetaArgs{Name: pulumi.String("wiki"), Namespace: pulumi.String("apps")},
			"data":       pulumi.StringMap{"PGHOST": database.ReadWriteHost},
		}, &apiextensions.CustomResource{})
	})
}
