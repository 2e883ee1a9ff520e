package node

import (
	"context"
	"io"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/crds"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/debian"
	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

// programs are what the node runs, and where the operators' manifests lie.
type programs struct {
	etcd, apiServer, controllerManager, scheduler, kubelet, proxy, dns string

	operator, plugin, externalSecrets                      string
	operatorSource, pluginSource, externalSecretsSource    string
	operatorVersion, pluginVersion, externalSecretsVersion string

	// rclone is of the release that rcloneImage names.
	rclone string
	root   rootfs
}

// Prepare installs and builds what a node needs, as far as it is not there.
func Prepare(ctx context.Context, progress io.Writer) error {
	if err := debian.Install(ctx, progress, debianPackages()); err != nil {
		return err
	}
	if _, err := crds.Files(ctx); err != nil {
		return err
	}
	_, err := build(ctx, progress)
	return err
}

// build builds the programs and the images' file system, or finds them.
func build(ctx context.Context, progress io.Writer) (programs, error) {
	var p programs
	err := tools.BuildAll(ctx, progress, []tools.Wanted{
		{Tool: tools.Etcd(), Binary: &p.etcd},
		{Tool: tools.KubeAPIServer(), Binary: &p.apiServer},
		{Tool: tools.KubeControllerManager(), Binary: &p.controllerManager},
		{Tool: tools.KubeScheduler(), Binary: &p.scheduler},
		{Tool: tools.Kubelet(), Binary: &p.kubelet},
		{Tool: tools.KubeProxy(), Binary: &p.proxy},
		{Tool: tools.CoreDNS(), Binary: &p.dns},
		{Tool: tools.Rclone(), Binary: &p.rclone},
		{Tool: tools.CloudNativePG(), Binary: &p.operator, Source: &p.operatorSource, Version: &p.operatorVersion},
		{Tool: tools.BarmanCloudPlugin(), Binary: &p.plugin, Source: &p.pluginSource, Version: &p.pluginVersion},
		{
			Tool: tools.ExternalSecrets(), Binary: &p.externalSecrets, Source: &p.externalSecretsSource,
			Version: &p.externalSecretsVersion,
		},
	})
	if err != nil {
		return programs{}, err
	}
	p.root, err = buildRoot(ctx, progress)
	return p, err
}

// debianPackages are what the node takes from Debian, with a file of each.
func debianPackages() map[string]string {
	return map[string]string{
		"containerd":                  "/usr/bin/containerd",
		"runc":                        "/usr/sbin/runc",
		"containernetworking-plugins": cniPlugins + "/bridge",
		"iptables":                    "/usr/sbin/iptables",
		"conntrack":                   "/usr/sbin/conntrack",
		"iproute2":                    "/usr/sbin/ip",
		"mmdebstrap":                  "/usr/bin/mmdebstrap",
	}
}
