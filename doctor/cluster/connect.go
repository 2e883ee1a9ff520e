package cluster

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	"sigs.k8s.io/yaml"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

// Connect reads the kubeconfig as kubectl does. Nothing is asked yet.
func Connect(kubeContext string) (*Client, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(),
		&clientcmd.ConfigOverrides{CurrentContext: kubeContext}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return NewClient(config)
}

// NewClient is a client of a cluster.
func NewClient(config *rest.Config) (*Client, error) {
	config = rest.CopyConfig(config)
	config.Timeout = 10 * time.Second
	// A few dozen requests for each database, and all of them at once.
	config.QPS, config.Burst = 100, 200
	// Deprecations are nothing that the user of the doctor could act on.
	config.WarningHandler = rest.NoWarnings{}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	core := rest.CopyConfig(config)
	core.APIPath, core.GroupVersion = "/api", &schema.GroupVersion{Version: "v1"}
	core.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	logs, err := rest.RESTClientFor(core)
	if err != nil {
		return nil, err
	}
	return &Client{
		Objects: objects,
		Logs: func(ctx context.Context, namespace, pod, container string, lines int) (string, error) {
			content, err := logs.Get().Namespace(namespace).Resource("pods").Name(pod).SubResource("log").
				Param("container", container).Param("tailLines", fmt.Sprint(lines)).DoRaw(ctx)
			return string(content), err
		},
		Exec: func(ctx context.Context, namespace, pod, container string, command ...string) (string, error) {
			request := logs.Post().Namespace(namespace).Resource("pods").Name(pod).SubResource("exec").VersionedParams(&corev1.PodExecOptions{
				Container: container, Command: command, Stdout: true, Stderr: true,
			}, scheme.ParameterCodec)
			return execute(ctx, config, request)
		},
	}, nil
}

// execute asks for a command as kubectl exec does: by a websocket, or by SPDY when
// something on the way, or the account's rights, do not let that through.
func execute(ctx context.Context, config *rest.Config, request *rest.Request) (string, error) {
	websocket, err := remotecommand.NewWebSocketExecutor(config, "GET", request.URL().String())
	if err != nil {
		return "", err
	}
	spdy, err := remotecommand.NewSPDYExecutor(config, "POST", request.URL())
	if err != nil {
		return "", err
	}
	executor, err := remotecommand.NewFallbackExecutor(websocket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return "", err
	}
	var printed, complained bytes.Buffer
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &printed, Stderr: &complained}); err != nil {
		if said := strings.TrimSpace(complained.String()); said != "" {
			return "", fmt.Errorf("%w: %s", err, said)
		}
		return "", err
	}
	return printed.String(), nil
}

// Account is the ServiceAccount that [Manifests] gives the rights to.
const Account = "cnpg-backup-doctor"

// Manifests are the rights that the doctor needs, for kubectl apply: a Role in each
// namespace, one in the operator's, and a ClusterRole for what is in none. Those to
// prove are among them when asked for.
func Manifests(databases []cnpg.Layout, operator string, prove bool) string {
	byNamespace := map[string][]cnpg.Layout{}
	var namespaces []string
	for _, l := range databases {
		if byNamespace[l.Namespace] == nil {
			namespaces = append(namespaces, l.Namespace)
		}
		byNamespace[l.Namespace] = append(byNamespace[l.Namespace], l)
	}
	var documents []string
	for _, namespace := range namespaces {
		inNamespace := Rules(byNamespace[namespace])
		if prove {
			inNamespace = append(inNamespace, WriteRules()...)
		}
		// One account's rights outside its namespace do not take another's away.
		beyond := Account + "-" + namespace
		objects := slices.Concat(
			[]map[string]any{{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": Account, "namespace": namespace}}},
			grant("Role", Account, namespace, namespace, inNamespace),
			grant("Role", beyond, operator, namespace, OperatorRules()),
			grant("ClusterRole", beyond, "", namespace, RulesBeside(byNamespace[namespace])),
		)
		for _, object := range objects {
			content, err := yaml.Marshal(object)
			if err != nil {
				panic(err) // maps of strings can always be written
			}
			documents = append(documents, string(content))
		}
	}
	return strings.Join(documents, "---\n")
}

// grant gives rights to the account of a namespace.
func grant(kind, name, in, account string, rules []Rule) []map[string]any {
	if len(rules) == 0 {
		return nil
	}
	written := make([]map[string]any, 0, len(rules))
	for _, rule := range rules {
		one := map[string]any{"apiGroups": []string{rule.Group}, "resources": []string{rule.Resource}, "verbs": []string{rule.Verb}}
		if rule.Names != nil {
			one["resourceNames"] = rule.Names
		}
		written = append(written, one)
	}
	metadata := map[string]any{"name": name}
	if in != "" {
		metadata["namespace"] = in
	}
	const group = "rbac.authorization.k8s.io"
	return []map[string]any{
		{"apiVersion": group + "/v1", "kind": kind, "metadata": metadata, "rules": written},
		{
			"apiVersion": group + "/v1", "kind": kind + "Binding", "metadata": metadata,
			"roleRef":  map[string]any{"apiGroup": group, "kind": kind, "name": name},
			"subjects": []map[string]any{{"kind": "ServiceAccount", "name": Account, "namespace": account}},
		},
	}
}
