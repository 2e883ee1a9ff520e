package node

import (
	"context"
	"encoding/base64"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/await"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/controlplane"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/pki"
)

// externalSecrets is the namespace of the External Secrets operator, its service
// account and the Deployment of its controllers, as in its Helm chart; the
// webhook's objects are called externalSecretsWebhook.
const (
	externalSecrets        = "external-secrets"
	externalSecretsWebhook = externalSecrets + "-webhook"
)

// installExternalSecrets runs the controllers and the webhook of the External
// Secrets operator. Its only manifests are the templates of its Helm chart:
// https://github.com/external-secrets/external-secrets/tree/v0.20.4/deploy/charts/external-secrets/templates
func (n *Node) installExternalSecrets(ctx context.Context) error {
	types, err := controlplane.ExternalSecretsTypes(n.programs.externalSecretsSource)
	if err != nil {
		return err
	}
	if _, err := n.Client().ApplyFiles(ctx, types...); err != nil {
		return err
	}
	const host = externalSecretsWebhook + "." + externalSecrets + ".svc"
	pair, err := n.api.Authority.Issue(pki.Subject{Name: externalSecretsWebhook, Hosts: []string{host}})
	if err != nil {
		return err
	}
	encode := base64.StdEncoding.EncodeToString
	err = n.api.Client().Apply(ctx,
		kube.Object("v1", "Namespace", "", externalSecrets, nil),
		kube.Object("v1", "ServiceAccount", externalSecrets, externalSecrets, nil),
		// What it may do is in a template with many conditions.
		kube.Object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "", externalSecrets, map[string]any{
			"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
			"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": externalSecrets, "namespace": externalSecrets}},
		}),
		kube.Object("v1", "Secret", externalSecrets, externalSecretsWebhook, map[string]any{"data": map[string]any{
			"ca.crt": encode(n.api.Authority.Cert()), "tls.crt": encode(pair.Cert), "tls.key": encode(pair.Key),
		}}),
		kube.Object("v1", "Service", externalSecrets, externalSecretsWebhook, map[string]any{"spec": map[string]any{
			"selector": map[string]any{"app": externalSecretsWebhook},
			"ports":    []any{map[string]any{"port": int64(443), "targetPort": int64(10250), "protocol": "TCP"}},
		}}),
		n.externalSecretsDeployment(externalSecrets, "/healthz", nil,
			"--concurrent=1", "--metrics-addr=:8080", "--live-addr=:8081"),
		n.externalSecretsDeployment(externalSecretsWebhook, "/readyz",
			map[string]any{"name": "certificates", "secret": map[string]any{"secretName": externalSecretsWebhook}},
			"webhook", "--port=10250", "--cert-dir=/certificates", "--dns-name="+host,
			"--metrics-addr=0", "--healthz-addr=:8081",
			// It would not begin with a certificate that ends within 90 days.
			"--lookahead-interval=1h"),
	)
	if err != nil {
		return err
	}
	for _, name := range []string{externalSecrets, externalSecretsWebhook} {
		if err := n.available(ctx, externalSecrets, name); err != nil {
			return err
		}
	}
	err = n.api.Client().Apply(ctx, controlplane.ExternalSecretsWebhooks(n.api.Authority.Cert(), func(path string) map[string]any {
		return map[string]any{"service": map[string]any{
			"namespace": externalSecrets, "name": externalSecretsWebhook, "path": path,
		}}
	}))
	if err != nil {
		return err
	}
	// The pod is ready before its Service leads to it.
	store := kube.Object("external-secrets.io/v1", "ClusterSecretStore", "", "reached", map[string]any{
		"spec": map[string]any{"provider": map[string]any{"fake": map[string]any{"data": []any{}}}},
	})
	return await.Until(ctx, 250*time.Millisecond, func(ctx context.Context) error {
		const dryRun = true
		_, err := n.api.Client().Create(ctx, store, dryRun)
		return err
	})
}

// externalSecretsDeployment runs the operator's program with a volume, if there
// is one, in a folder of the volume's name.
func (n *Node) externalSecretsDeployment(name, healthPath string, volume map[string]any, args ...any) *unstructured.Unstructured {
	container := map[string]any{
		"name": name, "image": n.programs.externalSecretsImage(), "imagePullPolicy": "IfNotPresent", "args": args,
		"readinessProbe": map[string]any{
			"httpGet": map[string]any{"port": int64(8081), "path": healthPath}, "periodSeconds": int64(1),
		},
		"securityContext": map[string]any{
			"runAsNonRoot": true, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
			"capabilities": map[string]any{"drop": []any{"ALL"}},
		},
	}
	pod := map[string]any{"serviceAccountName": externalSecrets, "containers": []any{container}}
	if volume != nil {
		container["volumeMounts"] = []any{map[string]any{
			"name": volume["name"], "mountPath": "/" + volume["name"].(string), "readOnly": true,
		}}
		pod["volumes"] = []any{volume}
	}
	labels := map[string]any{"app": name}
	return kube.Object("apps/v1", "Deployment", externalSecrets, name, map[string]any{"spec": map[string]any{
		"replicas": int64(1), "selector": map[string]any{"matchLabels": labels},
		"template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": pod},
	}})
}
