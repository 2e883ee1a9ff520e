package controlplane

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/pki"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

// The processes of External Secrets.
const (
	ExternalSecretsController = "external-secrets"
	ExternalSecretsWebhook    = "external-secrets-webhook"
)

// StartExternalSecrets builds the External Secrets operator if it is not built
// yet, installs its types and runs its controllers and its webhook.
func (c *ControlPlane) StartExternalSecrets(ctx context.Context, progress io.Writer) error {
	var source string
	err := tools.BuildAll(ctx, progress, []tools.Wanted{
		{Tool: tools.ExternalSecrets(), Binary: &c.programs.externalSecrets, Source: &source},
	})
	if err != nil {
		return err
	}
	types, err := ExternalSecretsTypes(source)
	if err != nil {
		return err
	}
	if err := c.installFiles(ctx, types); err != nil {
		return err
	}
	if err := c.StartExternalSecretsWebhook(ctx); err != nil {
		return err
	}
	return c.StartExternalSecretsController(ctx)
}

// ExternalSecretsTypes are the files with the operator's types. It takes all of
// them; the sandbox's schemas are those that the component uses.
func ExternalSecretsTypes(source string) ([]string, error) {
	return filepath.Glob(filepath.Join(source, "config", "crds", "bases", "*external-secrets.io_*.yaml"))
}

// StartExternalSecretsController runs the controllers, again if they were
// stopped.
func (c *ControlPlane) StartExternalSecretsController(ctx context.Context) error {
	kubeconfig, err := c.externalSecretsKubeconfig()
	if err != nil {
		return err
	}
	live, err := process.FreeAddress(ctx, loopback)
	if err != nil {
		return err
	}
	return c.run(ctx, process.Command{
		Name: ExternalSecretsController, Path: c.programs.externalSecrets,
		Args: []string{"--metrics-addr=0", "--live-addr=" + live.String(), "--concurrent=1"},
		Env:  []string{"KUBECONFIG=" + kubeconfig},
	}, func(ctx context.Context) error { return c.answers(ctx, "http://"+live.String()+"/healthz") })
}

// StartExternalSecretsWebhook runs the webhook, again if it was stopped, and
// registers it.
func (c *ControlPlane) StartExternalSecretsWebhook(ctx context.Context) error {
	kubeconfig, err := c.externalSecretsKubeconfig()
	if err != nil {
		return err
	}
	pair, err := c.api.Authority.Issue(pki.Subject{Name: ExternalSecretsWebhook, Hosts: []string{"localhost", loopback}})
	if err != nil {
		return err
	}
	certificates := filepath.Join(c.dir, ExternalSecretsWebhook)
	for name, content := range map[string][]byte{"ca.crt": c.api.Authority.Cert(), "tls.crt": pair.Cert, "tls.key": pair.Key} {
		if _, err := c.api.Write(filepath.Join(ExternalSecretsWebhook, name), content); err != nil {
			return err
		}
	}
	address, err := process.FreeAddress(ctx, loopback)
	if err != nil {
		return err
	}
	health, err := process.FreeAddress(ctx, loopback)
	if err != nil {
		return err
	}
	err = c.run(ctx, process.Command{
		Name: ExternalSecretsWebhook, Path: c.programs.externalSecrets,
		Args: []string{
			"webhook", fmt.Sprintf("--port=%d", address.Port()), "--cert-dir=" + certificates, "--dns-name=localhost",
			"--metrics-addr=0", "--healthz-addr=" + health.String(),
			// It would not begin with a certificate that ends within 90 days.
			"--lookahead-interval=1h",
		},
		Env: []string{"KUBECONFIG=" + kubeconfig},
	}, func(ctx context.Context) error { return c.answers(ctx, "http://"+health.String()+"/readyz") })
	if err != nil {
		return err
	}
	return c.api.Client().Apply(ctx, ExternalSecretsWebhooks(c.api.Authority.Cert(), func(path string) map[string]any {
		return map[string]any{"url": "https://" + address.String() + path}
	}))
}

// ExternalSecretsWebhooks are those of the operator's Helm chart, which has them
// in a template. The API server reaches a path of the webhook by what at returns.
// https://github.com/external-secrets/external-secrets/blob/v0.20.4/deploy/charts/external-secrets/templates/validatingwebhook.yaml
func ExternalSecretsWebhooks(authority []byte, at func(path string) map[string]any) *unstructured.Unstructured {
	var hooks []any
	for resource, kind := range map[string]string{
		"secretstores": "secretstore", "clustersecretstores": "clustersecretstore", "externalsecrets": "externalsecret",
	} {
		client := at("/validate-external-secrets-io-v1-" + kind)
		client["caBundle"] = base64.StdEncoding.EncodeToString(authority)
		hooks = append(hooks, map[string]any{
			"name": "validate." + kind + ".external-secrets.io",
			"rules": []any{map[string]any{
				"apiGroups": []any{"external-secrets.io"}, "apiVersions": []any{"v1"}, "resources": []any{resource},
				"operations": []any{"CREATE", "UPDATE", "DELETE"},
			}},
			"clientConfig":            client,
			"admissionReviewVersions": []any{"v1"}, "sideEffects": "None", "timeoutSeconds": int64(5),
			"failurePolicy": "Fail",
		})
	}
	return kube.Object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "", "external-secrets",
		map[string]any{"webhooks": hooks})
}

// externalSecretsKubeconfig lets the operator do everything: its role is in a
// template of the chart, too.
func (c *ControlPlane) externalSecretsKubeconfig() (string, error) {
	return c.api.Kubeconfig("external-secrets", "external-secrets", "system:masters")
}

// End stops the named process.
func (c *ControlPlane) End(name string) error {
	p := c.processes.Named(name)
	if p == nil {
		return fmt.Errorf("no process %q", name)
	}
	p.Stop()
	return nil
}
