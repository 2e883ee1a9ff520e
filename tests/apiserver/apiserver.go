// Package apiserver runs Kubernetes' API server and the etcd behind it as child
// processes: for a control plane on loopback, and for a node in namespaces of its
// own. controller-runtime's envtest does the former too, but its processes live on
// when the test is killed.
package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/pki"
)

// Services is the network of the services' addresses.
const Services = "10.96.0.0/16"

// Server is an API server and its etcd. All exported fields but Timeout are
// required.
type Server struct {
	// Etcd and Program are the files of the two programs.
	Etcd, Program string
	// Dir is where their files lie. It is short: a socket's path has at most 107
	// characters.
	Dir string
	// Authority signs the certificates of the server and of its clients.
	Authority *pki.Authority
	// Address and Port are where the server listens, and Hosts are the other names
	// that it is called by.
	Address string
	Port    int
	Hosts   []string
	// Run starts a program and returns when it is ready.
	Run func(ctx context.Context, name, program string, args []string, ready func(context.Context) error) error
	// Timeout is how long a request of a client may take. Default: for ever.
	Timeout time.Duration

	admin  *rest.Config
	client *kube.Client
}

// URL is where clients find the server.
func (s *Server) URL() string {
	return "https://" + net.JoinHostPort(s.Address, strconv.Itoa(s.Port))
}

// Admin returns a copy of the configuration of a client that may do everything.
func (s *Server) Admin() *rest.Config { return rest.CopyConfig(s.admin) }

// Client reads and writes objects as the administrator.
func (s *Server) Client() *kube.Client { return s.client }

func (s *Server) etcdSocket() string { return filepath.Join(s.Dir, "etcd.sock") }

// StartEtcd starts etcd.
func (s *Server) StartEtcd(ctx context.Context) error {
	// The advertised addresses have to have a host; with one member nobody
	// uses them.
	const nobody = "http://localhost:1"
	return s.Run(ctx, "etcd", s.Etcd, []string{
		"--data-dir=" + filepath.Join(s.Dir, "etcd"),
		"--listen-client-urls=unix://" + s.etcdSocket(), "--advertise-client-urls=" + nobody,
		"--listen-peer-urls=unix://" + filepath.Join(s.Dir, "peer.sock"), "--initial-advertise-peer-urls=" + nobody,
		"--initial-cluster=default=" + nobody,
		"--unsafe-no-fsync", "--log-level=warn",
	}, func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", s.etcdSocket())
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// Start starts the API server with more options than every server has.
func (s *Server) Start(ctx context.Context, options ...string) error {
	cert, key, err := s.Issue("apiserver", pki.Subject{Name: "kube-apiserver", Hosts: append(s.Hosts, s.Address)})
	if err != nil {
		return err
	}
	if _, err := s.Write("ca.crt", s.Authority.Cert()); err != nil {
		return err
	}
	_, accounts, err := pki.NewKey()
	if err != nil {
		return err
	}
	if _, err := s.Write("accounts.key", accounts); err != nil {
		return err
	}
	if s.admin, err = s.clientFor("admin", "system:masters"); err != nil {
		return err
	}
	if s.client, err = kube.NewClient(s.admin, "tests"); err != nil {
		return err
	}
	answers, err := kubernetes.NewForConfig(s.admin)
	if err != nil {
		return err
	}
	return s.Run(ctx, "apiserver", s.Program, append([]string{
		"--etcd-servers=unix://" + s.etcdSocket(),
		"--bind-address=" + s.Address, "--secure-port=" + strconv.Itoa(s.Port), "--advertise-address=" + s.Address,
		"--tls-cert-file=" + cert, "--tls-private-key-file=" + key, "--client-ca-file=" + s.CAFile(),
		"--anonymous-auth=false",
		"--service-account-issuer=" + s.URL(),
		"--service-account-key-file=" + s.AccountKeyFile(), "--service-account-signing-key-file=" + s.AccountKeyFile(),
		"--service-cluster-ip-range=" + Services,
	}, options...), func(ctx context.Context) error {
		return answers.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// CAFile has the authority's certificate.
func (s *Server) CAFile() string { return filepath.Join(s.Dir, "ca.crt") }

// AccountKeyFile has the key that service accounts' tokens are signed with.
func (s *Server) AccountKeyFile() string { return filepath.Join(s.Dir, "accounts.key") }

// clientFor returns the configuration of a client whose certificate names the
// user and its groups.
func (s *Server) clientFor(user string, groups ...string) (*rest.Config, error) {
	pair, err := s.Authority.Issue(pki.Subject{Name: user, Groups: groups})
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host:            s.URL(),
		TLSClientConfig: rest.TLSClientConfig{CAData: s.Authority.Cert(), CertData: pair.Cert, KeyData: pair.Key},
		// The client's own limit is made for a shared server.
		QPS: 200, Burst: 400,
		Timeout: s.Timeout,
	}, nil
}

// Kubeconfig writes the configuration of such a client for a process to read, and
// returns the file.
func (s *Server) Kubeconfig(name, user string, groups ...string) (string, error) {
	client, err := s.clientFor(user, groups...)
	if err != nil {
		return "", err
	}
	content, err := kube.Kubeconfig(name, client)
	if err != nil {
		return "", fmt.Errorf("write the kubeconfig of %s: %w", name, err)
	}
	return s.Write(name+".kubeconfig", content)
}

// Issue makes a certificate and returns the files of it and of its key.
func (s *Server) Issue(name string, subject pki.Subject) (cert, key string, err error) {
	pair, err := s.Authority.Issue(subject)
	if err != nil {
		return "", "", err
	}
	cert, certErr := s.Write(name+".crt", pair.Cert)
	key, keyErr := s.Write(name+".key", pair.Key)
	return cert, key, errors.Join(certErr, keyErr)
}

// Write puts a file into the server's folder and returns its path.
func (s *Server) Write(name string, content []byte) (string, error) {
	path := filepath.Join(s.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, content, 0o600)
}
