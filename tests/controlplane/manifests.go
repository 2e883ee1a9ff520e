package controlplane

import (
	"context"
	"io"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/crds"
	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/await"
	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

// programs are the binaries, and the folders of the modules whose manifests
// belong to them.
type programs struct {
	etcd, apiServer, controllers, operator, plugin string
	operatorSource, pluginSource                   string
	operatorVersion                                string
	// externalSecrets is built when it is asked for.
	externalSecrets string
}

func build(ctx context.Context, progress io.Writer) (programs, error) {
	var p programs
	err := tools.BuildAll(ctx, progress, []tools.Wanted{
		{Tool: tools.Etcd(), Binary: &p.etcd},
		{Tool: tools.KubeAPIServer(), Binary: &p.apiServer},
		{Tool: tools.KubeControllerManager(), Binary: &p.controllers},
		{Tool: tools.CloudNativePG(), Binary: &p.operator, Source: &p.operatorSource, Version: &p.operatorVersion},
		{Tool: tools.BarmanCloudPlugin(), Binary: &p.plugin, Source: &p.pluginSource},
	})
	return p, err
}

// installTypes makes the API server know the operators' types.
func (c *ControlPlane) installTypes(ctx context.Context) error {
	files, err := crds.Files(ctx)
	if err != nil {
		return err
	}
	if err := c.installFiles(ctx, files); err != nil {
		return err
	}
	return c.api.Client().Apply(ctx, kube.Object("v1", "Namespace", "", operatorNamespace, nil))
}

// installFiles installs types and waits until they are served.
func (c *ControlPlane) installFiles(ctx context.Context, files []string) error {
	types, err := c.Client().ApplyFiles(ctx, files...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	return await.Established(ctx, c.Client(), types)
}
