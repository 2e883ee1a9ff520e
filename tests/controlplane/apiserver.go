package controlplane

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/pki"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
)

// loopback is the only address that anything here listens on, with one
// exception: the CloudNativePG operator has no option for its webhooks' address.
const loopback = "127.0.0.1"

func (c *ControlPlane) etcdSocket() string { return filepath.Join(c.dir, "etcd.sock") }

func (c *ControlPlane) startEtcd(ctx context.Context) error {
	client, peer := "unix://"+c.etcdSocket(), "unix://"+filepath.Join(c.dir, "peer.sock")
	// The advertised addresses have to have a host; with one member nobody
	// uses them.
	const nobody = "http://localhost:1"
	return c.run(ctx, process.Command{Name: "etcd", Path: c.programs.etcd, Args: []string{
		"--data-dir=" + filepath.Join(c.dir, "etcd"),
		"--listen-client-urls=" + client, "--advertise-client-urls=" + nobody,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + nobody,
		"--initial-cluster=default=" + nobody,
		"--unsafe-no-fsync", "--log-level=warn",
	}}, func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.etcdSocket())
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func (c *ControlPlane) startAPIServer(ctx context.Context) error {
	port, err := freePort(ctx)
	if err != nil {
		return err
	}
	c.server = "https://" + net.JoinHostPort(loopback, strconv.Itoa(port))
	args, err := c.apiServerArgs(port)
	if err != nil {
		return err
	}
	if c.admin, err = c.clientFor("admin", "system:masters"); err != nil {
		return err
	}
	if c.client, err = kube.NewClient(c.admin, "tests"); err != nil {
		return err
	}
	discovery, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return err
	}
	return c.run(ctx, process.Command{Name: "apiserver", Path: c.programs.apiServer, Args: args}, func(ctx context.Context) error {
		return discovery.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

func (c *ControlPlane) apiServerArgs(port int) ([]string, error) {
	pair, err := c.authority.Issue(pki.Subject{Name: "kube-apiserver", Hosts: []string{loopback, "localhost"}})
	if err != nil {
		return nil, err
	}
	cert, key, err := c.writePair("apiserver", pair)
	if err != nil {
		return nil, err
	}
	clients, err := c.write("clients.crt", c.authority.Cert())
	if err != nil {
		return nil, err
	}
	_, accounts, err := pki.NewKey()
	if err != nil {
		return nil, err
	}
	accountKey, err := c.write("accounts.key", accounts)
	if err != nil {
		return nil, err
	}
	return []string{
		"--etcd-servers=unix://" + c.etcdSocket(),
		"--bind-address=" + loopback, "--secure-port=" + strconv.Itoa(port),
		"--advertise-address=" + loopback, "--endpoint-reconciler-type=none",
		"--tls-cert-file=" + cert, "--tls-private-key-file=" + key, "--client-ca-file=" + clients,
		"--authorization-mode=RBAC", "--anonymous-auth=false",
		// Nobody here makes the default service account that it waits for.
		"--disable-admission-plugins=ServiceAccount",
		"--service-account-issuer=" + c.server,
		"--service-account-key-file=" + accountKey, "--service-account-signing-key-file=" + accountKey,
		"--service-cluster-ip-range=10.96.0.0/16",
	}, nil
}

// startGarbageCollector runs the one controller that objects with owners need.
func (c *ControlPlane) startGarbageCollector(ctx context.Context) error {
	port, err := freePort(ctx)
	if err != nil {
		return err
	}
	pair, err := c.authority.Issue(pki.Subject{Name: "kube-controller-manager", Hosts: []string{loopback}})
	if err != nil {
		return err
	}
	cert, key, err := c.writePair("controllers", pair)
	if err != nil {
		return err
	}
	client, err := c.clientFor("system:kube-controller-manager", "system:masters")
	if err != nil {
		return err
	}
	kubeconfig, err := c.writeKubeconfig("controllers", client)
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

// clientFor returns the configuration of a client whose certificate names the
// user and its groups.
func (c *ControlPlane) clientFor(user string, groups ...string) (*rest.Config, error) {
	pair, err := c.authority.Issue(pki.Subject{Name: user, Groups: groups})
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host:            c.server,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.authority.Cert(), CertData: pair.Cert, KeyData: pair.Key},
		// The client's own limit is made for a shared server.
		QPS: 200, Burst: 400,
		Timeout: time.Minute,
	}, nil
}

// writeKubeconfig writes the client's configuration for a process to read.
func (c *ControlPlane) writeKubeconfig(name string, client *rest.Config) (string, error) {
	content, err := kube.Kubeconfig(name, client)
	if err != nil {
		return "", fmt.Errorf("write the kubeconfig of %s: %w", name, err)
	}
	return c.write(name+".kubeconfig", content)
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
