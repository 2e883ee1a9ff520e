package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// rendered is the first line of each file that Render writes.
const rendered = "# Rendered by make render. Changes made here are lost.\n"

// kustomization is the file that lists the manifests of an environment.
const kustomization = "kustomization.yaml"

// Rendered is what Render did.
type Rendered struct {
	// Manifests are the files with an object each.
	Manifests []string
	// LeftOut are the objects that only Pulumi can make, as "<kind>
	// <namespace>/<name>": Secrets with values that it alone has, and the
	// PushSecrets that would hand these on.
	LeftOut []string
}

// Render writes the Kubernetes objects of a stack as YAML to
// <folder>/<namespace>/<kind>-<name>.yaml, for tools that apply such files, and
// a kustomization.yaml that lists them unless there is one of the user's. It
// deploys the stack to a sandbox of its own, which needs neither credentials nor
// state. Files that it rendered before and that are no longer there are removed.
func Render(ctx context.Context, options Options, folder string) (result *Rendered, err error) {
	if options.Dir, err = os.MkdirTemp("", "render-"); err != nil {
		return nil, fmt.Errorf("folder to render in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(options.Dir)) }()
	box, err := Start(ctx, options)
	if err != nil {
		return nil, err
	}
	defer box.Close()
	box.Quiet() // Of the deployment only errors matter.
	if _, err := box.Up(ctx); err != nil {
		return nil, err
	}
	objects, err := box.Objects()
	if err != nil {
		return nil, err
	}
	protected, err := box.protectedNamespaces(ctx)
	if err != nil {
		return nil, err
	}
	if err := removeRendered(folder); err != nil {
		return nil, fmt.Errorf("old manifests in %s: %w", folder, err)
	}
	return writeRendered(folder, objects, protected)
}

// protectedNamespaces are those with a Cluster that Pulumi would not delete.
func (s *Sandbox) protectedNamespaces(ctx context.Context) ([]string, error) {
	state, err := s.Export(ctx)
	if err != nil {
		return nil, err
	}
	var namespaces []string
	for _, resource := range state.Resources {
		if resource.Protect && strings.HasSuffix(string(resource.Type), ":Cluster") {
			namespace, _, _ := strings.Cut(string(resource.ID), "/")
			namespaces = append(namespaces, namespace)
		}
	}
	return namespaces, nil
}

// removeRendered leaves files alone that were not rendered.
func removeRendered(folder string) error {
	files, err := filepath.Glob(filepath.Join(folder, "*", "*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range append(files, filepath.Join(folder, kustomization)) {
		ours, err := isRendered(file)
		if err != nil {
			return err
		}
		if !ours {
			continue
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}

func isRendered(file string) (bool, error) {
	content, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return bytes.HasPrefix(content, []byte(rendered)), err
}

func writeRendered(folder string, objects []map[string]any, protected []string) (*Rendered, error) {
	result := &Rendered{}
	var listed []any
	for _, fields := range objects {
		object := &unstructured.Unstructured{Object: fields}
		if onlyForPulumi(object) {
			result.LeftOut = append(result.LeftOut,
				fmt.Sprintf("%s %s/%s", object.GetKind(), object.GetNamespace(), object.GetName()))
			continue
		}
		forOthers(object, slices.Contains(protected, object.GetNamespace()))
		name := filepath.Join(object.GetNamespace(), strings.ToLower(object.GetKind())+"-"+object.GetName()+".yaml")
		if err := writeManifest(filepath.Join(folder, name), object.Object); err != nil {
			return nil, err
		}
		result.Manifests = append(result.Manifests, filepath.Join(folder, name))
		listed = append(listed, filepath.ToSlash(name))
	}
	file := filepath.Join(folder, kustomization)
	if _, err := os.Stat(file); err == nil || !errors.Is(err, os.ErrNotExist) {
		return result, err // the user's own
	}
	return result, writeManifest(file, map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": listed,
	})
}

// onlyForPulumi tells of objects whose values are not in the manifests. A Secret
// without them cannot be applied, and a PushSecret would overwrite what lies in
// Bitwarden.
func onlyForPulumi(object *unstructured.Unstructured) bool {
	return slices.Contains([]string{"Secret", "PushSecret"}, object.GetKind())
}

// forOthers makes an object fit for other tools: without what only Pulumi reads,
// and with Pulumi's protection in the words of Argo CD and Flux. They delete
// what is no longer in the files, and with a Cluster its volumes. What a running
// Cluster needs for its archive is kept with it.
//
// https://argo-cd.readthedocs.io/en/stable/user-guide/sync-options/
// https://fluxcd.io/flux/components/kustomize/kustomizations/#prune
func forOthers(object *unstructured.Unstructured, protected bool) {
	annotations := map[string]string{}
	if protected && slices.Contains([]string{"Cluster", "ObjectStore", "ExternalSecret"}, object.GetKind()) {
		annotations["argocd.argoproj.io/sync-options"] = "Prune=false,Delete=false"
		annotations["kustomize.toolkit.fluxcd.io/prune"] = "disabled"
	}
	for key, value := range object.GetAnnotations() {
		// The fingerprint is that of a key that the sandbox has made up.
		if !strings.HasPrefix(key, "pulumi.com/") && key != "cnpg-backup/key" {
			annotations[key] = value
		}
	}
	object.SetAnnotations(annotations)
	if len(annotations) == 0 {
		unstructured.RemoveNestedField(object.Object, "metadata", "annotations")
	}
	unstructured.RemoveNestedField(object.Object, "metadata", "labels", "app.kubernetes.io/managed-by")
}

func writeManifest(file string, fields map[string]any) error {
	content, err := yaml.Marshal(fields)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte(rendered), content...), 0o644)
}
