package controlplane

import (
	"context"
	"fmt"
	"net"
	"strconv"

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
	port, err := freePort(ctx)
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
	address := net.JoinHostPort(loopback, strconv.Itoa(port))
	return c.run(ctx, process.Command{Name: "controllers", Path: c.programs.controllers, Args: []string{
		"--controllers=garbage-collector-controller", "--leader-elect=false",
		"--kubeconfig=" + kubeconfig,
		"--bind-address=" + loopback, "--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + cert, "--tls-private-key-file=" + key,
	}}, func(ctx context.Context) error { return c.answers(ctx, "https://"+address+"/healthz") })
}

// freePort returns a port that was free a moment ago. The kernel does not hand
// it out again soon; should another process take it, the one that was to have it
// says so and the start fails.
func freePort(ctx context.Context) (int, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
