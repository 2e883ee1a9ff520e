package controlplane

import (
	"context"
	"fmt"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/pki"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
)

// loopback is the only address that anything here listens on, with one
// exception: the CloudNativePG operator has no option for its webhooks' address.
const loopback = "127.0.0.1"

func (c *ControlPlane) startAPIServer(ctx context.Context) error {
	return c.api.Start(ctx, "--endpoint-reconciler-type=none", "--authorization-mode=RBAC",
		// Nobody here makes the default service account that it waits for.
		"--disable-admission-plugins=ServiceAccount")
}

// startGarbageCollector runs the one controller that objects with owners need.
func (c *ControlPlane) startGarbageCollector(ctx context.Context) error {
	address, err := process.FreeAddress(ctx, loopback)
	if err != nil {
		return err
	}
	cert, key, err := c.api.Issue("controllers", pki.Subject{Name: "kube-controller-manager", Hosts: []string{loopback}})
	if err != nil {
		return err
	}
	kubeconfig, err := c.api.Kubeconfig("controllers", "system:kube-controller-manager", "system:masters")
	if err != nil {
		return err
	}
	return c.run(ctx, process.Command{Name: "controllers", Path: c.programs.controllers, Args: []string{
		"--controllers=garbage-collector-controller", "--leader-elect=false",
		"--kubeconfig=" + kubeconfig,
		"--bind-address=" + loopback, fmt.Sprintf("--secure-port=%d", address.Port()),
		"--tls-cert-file=" + cert, "--tls-private-key-file=" + key,
	}}, func(ctx context.Context) error { return c.answers(ctx, "https://"+address.String()+"/healthz") })
}
