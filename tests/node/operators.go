package node

import (
	"context"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/crds"
	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/await"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/pki"
)

// operatorNamespace is where the operators' own manifests put them.
const operatorNamespace = "cnpg-system"

// installOperators installs the operators of CloudNativePG and of the plugin from
// their own manifests and waits until they answer.
func (n *Node) installOperators(ctx context.Context) error {
	if err := n.installTypes(ctx); err != nil {
		return err
	}
	if err := n.installPluginCertificates(ctx); err != nil {
		return err
	}
	for _, manifest := range []string{
		filepath.Join(n.programs.operatorSource, "releases", "cnpg-"+n.programs.operatorVersion+".yaml"),
		filepath.Join(n.programs.pluginSource, "manifest.yaml"),
	} {
		objects, err := kube.ReadManifests(manifest)
		if err != nil {
			return err
		}
		for _, object := range objects {
			if object.GroupVersionKind().Group == "cert-manager.io" {
				continue
			}
			if err := n.programs.localise(object); err != nil {
				return err
			}
			if err := n.api.Client().Apply(ctx, object); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{"barman-cloud", "cnpg-controller-manager"} {
		if err := n.available(ctx, operatorNamespace, name); err != nil {
			return err
		}
	}
	return nil
}

// installTypes installs the types of all operators that the schemas are of.
func (n *Node) installTypes(ctx context.Context) error {
	files, err := crds.Files(ctx)
	if err != nil {
		return err
	}
	if _, err := n.Client().ApplyFiles(ctx, files...); err != nil {
		return err
	}
	return n.api.Client().Apply(ctx, kube.Object("v1", "Namespace", "", operatorNamespace, nil))
}

// installPluginCertificates does what cert-manager would do for the plugin. Each
// side trusts what is in the other's tls.crt, so the authority is in it too.
func (n *Node) installPluginCertificates(ctx context.Context) error {
	for secret, name := range map[string]string{
		"barman-cloud-client-tls": "barman-cloud-client",
		"barman-cloud-server-tls": "barman-cloud",
	} {
		pair, err := n.api.Authority.Issue(pki.Subject{Name: name, Hosts: []string{name}})
		if err != nil {
			return err
		}
		object := kube.Object("v1", "Secret", operatorNamespace, secret, map[string]any{
			"type": "kubernetes.io/tls",
			"data": map[string]any{
				"tls.crt": base64.StdEncoding.EncodeToString(append(pair.Cert, n.api.Authority.Cert()...)),
				"tls.key": base64.StdEncoding.EncodeToString(pair.Key),
			},
		})
		if err := n.api.Client().Apply(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// localise makes an object of an operator's manifest use the node's images. The
// operator's limit of a tenth of a CPU goes: here it shares few with everything.
func (p programs) localise(object *unstructured.Unstructured) error {
	switch {
	case object.GetKind() == "Secret" && strings.HasPrefix(object.GetName(), "plugin-barman-cloud-"):
		image := base64.StdEncoding.EncodeToString([]byte(p.sidecarImage()))
		return unstructured.SetNestedField(object.Object, image, "data", "SIDECAR_IMAGE")
	case object.GetKind() != "Deployment":
		return nil
	}
	containers, _, err := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) != 1 {
		return fmt.Errorf("the Deployment %s has %d containers, expected 1: %w", object.GetName(), len(containers), err)
	}
	container := containers[0].(map[string]any)
	delete(container, "resources")
	container["imagePullPolicy"] = "IfNotPresent"
	container["image"] = p.pluginImage()
	if object.GetName() == "cnpg-controller-manager" {
		container["image"] = p.operatorImage()
		for _, variable := range container["env"].([]any) {
			if variable := variable.(map[string]any); variable["name"] == "OPERATOR_IMAGE_NAME" {
				variable["value"] = p.operatorImage()
			}
		}
	}
	return unstructured.SetNestedSlice(object.Object, containers, "spec", "template", "spec", "containers")
}

// available waits until a Deployment's pods are ready.
func (n *Node) available(ctx context.Context, namespace, name string) error {
	kind := schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	return await.Condition(ctx, n.api.Client(), kind, namespace, name, "Available")
}
