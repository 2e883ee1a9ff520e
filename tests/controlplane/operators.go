package controlplane

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/pki"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
)

// operatorNamespace is where the operators' own manifests put them.
const operatorNamespace = "cnpg-system"

// plugins is the folder in which CloudNativePG looks for plugins' sockets.
func (c *ControlPlane) plugins() string { return filepath.Join(c.dir, "plugins") }

// installRole lets an operator do what its manifests say.
func (c *ControlPlane) installRole(ctx context.Context, source string) error {
	folder := filepath.Join(source, "config", "rbac")
	_, err := c.Client().ApplyFiles(ctx, filepath.Join(folder, "role.yaml"), filepath.Join(folder, "role_binding.yaml"))
	return err
}

// startPlugin runs the Barman Cloud plugin's operator. CloudNativePG reaches it
// as it reaches a plugin in its own pod, by a socket: the name of the plugin's
// Service means nothing on a machine without cluster DNS.
func (c *ControlPlane) startPlugin(ctx context.Context) error {
	if err := c.installRole(ctx, c.programs.pluginSource); err != nil {
		return err
	}
	kubeconfig, err := c.kubeconfigOf("plugin-barman-cloud")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.plugins(), 0o700); err != nil {
		return err
	}
	return c.run(ctx, process.Command{
		Name: "plugin", Path: c.programs.plugin,
		Args: []string{"operator", "--plugin-path=" + c.plugins(), "--health-probe-bind-address=0"},
		// No pod starts, so nobody pulls the sidecar's image.
		Env: []string{"KUBECONFIG=" + kubeconfig, "SIDECAR_IMAGE=localhost/plugin-barman-cloud-sidecar:test"},
	}, func(context.Context) error {
		sockets, err := os.ReadDir(c.plugins())
		if err == nil && len(sockets) == 0 {
			err = fmt.Errorf("no socket in %s", c.plugins())
		}
		return err
	})
}

// startOperator runs the CloudNativePG operator and registers its webhooks.
func (c *ControlPlane) startOperator(ctx context.Context) error {
	if err := c.installRole(ctx, c.programs.operatorSource); err != nil {
		return err
	}
	if err := c.installMonitoring(ctx); err != nil {
		return err
	}
	address, err := process.FreeAddress(ctx, loopback)
	if err != nil {
		return err
	}
	command, err := c.operator(address.Port())
	if err != nil {
		return err
	}
	webhooks := "https://" + address.String()
	if err := c.run(ctx, command, func(ctx context.Context) error { return c.answers(ctx, webhooks+"/readyz") }); err != nil {
		return err
	}
	return c.installWebhooks(ctx, webhooks)
}

func (c *ControlPlane) operator(port uint16) (process.Command, error) {
	// The operator looks for the instance managers beside it.
	managers := filepath.Join(c.dir, "operator")
	if err := os.MkdirAll(managers, 0o700); err != nil {
		return process.Command{}, err
	}
	if err := os.Symlink(c.programs.operator, filepath.Join(managers, "manager_amd64")); err != nil {
		return process.Command{}, err
	}
	cert, _, err := c.api.Issue("webhooks/apiserver", pki.Subject{Name: "cnpg-webhook-service", Hosts: []string{loopback}})
	if err != nil {
		return process.Command{}, err
	}
	kubeconfig, err := c.kubeconfigOf("cnpg-manager")
	if err != nil {
		return process.Command{}, err
	}
	return process.Command{
		Name: "cnpg", Path: c.programs.operator,
		Args: []string{"controller", fmt.Sprintf("--webhook-port=%d", port), "--metrics-bind-address=0"},
		Env: []string{
			"KUBECONFIG=" + kubeconfig,
			"OPERATOR_NAMESPACE=" + operatorNamespace,
			"OPERATOR_IMAGE_NAME=ghcr.io/cloudnative-pg/cloudnative-pg:" + c.programs.operatorVersion,
			"MONITORING_QUERIES_CONFIGMAP=" + monitoringQueries,
			"WEBHOOK_CERT_DIR=" + filepath.Dir(cert),
			"PLUGIN_SOCKET_DIR=" + c.plugins(),
		},
	}, nil
}

// kubeconfigOf lets a process be the service account that the operators'
// manifests bind their roles to, so that it may do no more than in a cluster.
func (c *ControlPlane) kubeconfigOf(account string) (string, error) {
	return c.api.Kubeconfig(account, "system:serviceaccount:"+operatorNamespace+":"+account,
		"system:serviceaccounts", "system:serviceaccounts:"+operatorNamespace)
}

// answers asks a server of this control plane's authority for a page.
func (c *ControlPlane) answers(ctx context.Context, url string) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.api.Authority.Cert())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	return process.Call(ctx, &http.Client{Transport: transport}, http.MethodGet, url)
}

// monitoringQueries is the name that the operator's manifests give the
// ConfigMap with its default queries.
const monitoringQueries = "cnpg-default-monitoring"

func (c *ControlPlane) installMonitoring(ctx context.Context) error {
	objects, err := kube.ReadManifests(filepath.Join(c.programs.operatorSource, "config", "manager", "default-monitoring.yaml"))
	if err != nil {
		return err
	}
	for _, object := range objects {
		object.SetName(monitoringQueries)
		object.SetNamespace(operatorNamespace)
	}
	return c.api.Client().Apply(ctx, objects...)
}

// installWebhooks registers the operator's webhooks at an address instead of
// the name of a Service.
func (c *ControlPlane) installWebhooks(ctx context.Context, address string) error {
	objects, err := kube.ReadManifests(filepath.Join(c.programs.operatorSource, "config", "webhook", "manifests.yaml"))
	if err != nil {
		return err
	}
	bundle := base64.StdEncoding.EncodeToString(bytes.TrimSpace(c.api.Authority.Cert()))
	for _, object := range objects {
		object.SetName("cnpg-" + object.GetName())
		hooks, _, err := unstructured.NestedSlice(object.Object, "webhooks")
		if err != nil {
			return err
		}
		for _, hook := range hooks {
			hook := hook.(map[string]any)
			path, _, err := unstructured.NestedString(hook, "clientConfig", "service", "path")
			if err != nil {
				return err
			}
			hook["clientConfig"] = map[string]any{"url": address + path, "caBundle": bundle}
		}
		if err := unstructured.SetNestedSlice(object.Object, hooks, "webhooks"); err != nil {
			return err
		}
	}
	return c.api.Client().Apply(ctx, objects...)
}
