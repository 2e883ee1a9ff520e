//go:build acceptance

package acceptance

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/provider"
)

// contract is a kubernetes provider under test, as an engine talks to it.
type contract struct {
	plugin.Provider
	suite *suite
}

// newContract serves the stand-in, or starts the real plugin, with a
// configuration and environment variables.
func (s *suite) newContract(t *testing.T, config map[string]any, environment ...string) *contract {
	t.Helper()
	address := ""
	if *plugins == "real" {
		address = s.startReal(t, environment)
	} else {
		address = s.serveStandIn(t, environment)
	}
	c := &contract{suite: s, Provider: connect(t, address)}
	checked, err := c.CheckConfig(t.Context(), plugin.CheckConfigRequest{
		URN: urn("pulumi:providers:kubernetes", "default"), News: resource.NewPropertyMapFromMap(config),
	})
	require.NoError(t, err)
	configure(t, c.Provider, "kubernetes", checked)
	return c
}

func (s *suite) serveStandIn(t *testing.T, environment []string) string {
	t.Helper()
	target, err := provider.NewCluster(s.plane.Admin(), nil, 0)
	require.NoError(t, err)
	standIn := provider.NewKubernetes(nil, target)
	standIn.Environment = lookUp(environment)
	return serve(t, provider.Registrar(standIn))
}

// startReal starts the real plugin.
func (s *suite) startReal(t *testing.T, environment []string) string {
	t.Helper()
	path, err := sandbox.RealPlugin(t.Context(), "kubernetes", provider.KubernetesVersion)
	require.NoError(t, err)
	content, err := kube.Kubeconfig("contract", s.plane.Admin())
	require.NoError(t, err)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(kubeconfig, content, 0o600))
	return startPlugin(t, "kubernetes", path, append(environment, "KUBECONFIG="+kubeconfig))
}

// newThings makes a kind that nobody reconciles: its spec has a default and may
// not shrink, its status takes anything.
func (s *suite) newThings(t *testing.T) {
	t.Helper()
	var kind unstructured.Unstructured
	require.NoError(t, yaml.Unmarshal([]byte(thingKind), &kind.Object))
	require.NoError(t, s.plane.Client().Apply(t.Context(), &kind))
	require.Eventually(t, func() bool {
		_, err := s.plane.Client().List(t.Context(), schema.GroupVersionKind{
			Group: "contract.example.org", Version: "v2", Kind: "Thing",
		}, "contract")
		return err == nil
	}, reconciled, poll, "the kind of the contract is not served")
}

const thingKind = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.contract.example.org}
spec:
  group: contract.example.org
  scope: Namespaced
  names: {kind: Thing, plural: things}
  versions:
    - &v1
      name: v1
      served: true
      storage: true
      subresources: {status: {}}
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              default: {}
              properties:
                note: {type: string}
                given: {type: string, default: by the server}
                size:
                  type: integer
                  x-kubernetes-validations:
                    - {rule: "self > 0", message: too small}
                    - {rule: "self >= oldSelf", message: cannot shrink}
            status: {type: object, x-kubernetes-preserve-unknown-fields: true}
    - {<<: *v1, name: v2, storage: false}
`

// made is an object that the provider has made or read, as a state has it.
type made struct {
	ID         resource.ID
	URN        resource.URN
	Properties resource.PropertyMap
	inputs     resource.PropertyMap
}

// object is one object for each test, described by the fields beside its
// identity.
func (c *contract) object(t *testing.T, apiVersion, kind, fields string) resource.PropertyMap {
	t.Helper()
	object := map[string]any{}
	require.NoError(t, yaml.Unmarshal([]byte(fields), &object))
	name := strings.Trim(regexp.MustCompile("[^a-z0-9]+").ReplaceAllString(strings.ToLower(t.Name()), "-"), "-")
	if len(name) > 50 {
		name = strings.Trim(name[len(name)-50:], "-")
	}
	maps.Copy(object, map[string]any{
		"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"namespace": "contract", "name": name},
	})
	return resource.NewPropertyMapFromMap(object)
}

func (c *contract) thing(t *testing.T, spec string) resource.PropertyMap {
	t.Helper()
	if !strings.HasPrefix(spec, "{") {
		spec = "{" + spec + "}"
	}
	return c.object(t, "contract.example.org/v1", "Thing", "spec: "+spec)
}

func (c *contract) secret(t *testing.T, fields string) resource.PropertyMap {
	t.Helper()
	return c.object(t, "v1", "Secret", fields)
}

func (c *contract) cronJob(t *testing.T, image string) resource.PropertyMap {
	t.Helper()
	return c.object(t, "batch/v1", "CronJob",
		"spec: {schedule: '0 0 1 1 *', suspend: true, jobTemplate: {spec: {template: "+strings.ReplaceAll(podOf, "%s", image)+"}}}")
}

// named has a suffix to the name.
func (c *contract) named(t *testing.T, suffix string, object resource.PropertyMap) resource.PropertyMap {
	t.Helper()
	return withMetadata(object, "name", resource.NewProperty(nameOf(object)+suffix))
}

func (c *contract) annotated(t *testing.T, object resource.PropertyMap, name, value string) resource.PropertyMap {
	t.Helper()
	annotations := resource.PropertyMap{}
	if given := object["metadata"].ObjectValue()["annotations"]; given.IsObject() {
		annotations = given.ObjectValue().Copy()
	}
	annotations[resource.PropertyKey(name)] = resource.NewProperty(value)
	return withMetadata(object, "annotations", resource.NewProperty(annotations))
}

func withMetadata(object resource.PropertyMap, key resource.PropertyKey, value resource.PropertyValue) resource.PropertyMap {
	changed, metadata := object.Copy(), object["metadata"].ObjectValue().Copy()
	metadata[key] = value
	changed["metadata"] = resource.NewProperty(metadata)
	return changed
}

func urnOf(object resource.PropertyMap) resource.URN {
	apiVersion := object["apiVersion"].StringValue()
	if !strings.Contains(apiVersion, "/") {
		apiVersion = "core/" + apiVersion
	}
	return urn("kubernetes:"+apiVersion+":"+object["kind"].StringValue(), "object")
}

func nameOf(object resource.PropertyMap) string {
	return object["metadata"].ObjectValue()["name"].StringValue()
}

func (c *contract) check(t *testing.T, object resource.PropertyMap) resource.PropertyMap {
	t.Helper()
	checked, err := c.Check(t.Context(), plugin.CheckRequest{URN: urnOf(object), News: object, AllowUnknowns: true})
	require.NoError(t, err)
	require.Empty(t, checked.Failures)
	return checked.Properties
}

func (c *contract) tryCreate(t *testing.T, object resource.PropertyMap) (made, error) {
	t.Helper()
	inputs := c.check(t, object)
	response, err := c.Create(t.Context(), plugin.CreateRequest{URN: urnOf(object), Properties: inputs})
	return made{ID: response.ID, URN: urnOf(object), Properties: response.Properties, inputs: inputs}, err
}

func (c *contract) create(t *testing.T, object resource.PropertyMap) made {
	t.Helper()
	created, err := c.tryCreate(t, object)
	require.NoError(t, err)
	return created
}

func (c *contract) preview(t *testing.T, object resource.PropertyMap) error {
	t.Helper()
	_, err := c.Create(t.Context(), plugin.CreateRequest{
		URN: urnOf(object), Properties: c.check(t, object), Preview: true,
	})
	return err
}

func (c *contract) update(t *testing.T, old made, object resource.PropertyMap) (made, error) {
	t.Helper()
	return c.change(t, old, object, false)
}

func (c *contract) previewUpdate(t *testing.T, old made, object resource.PropertyMap) (made, error) {
	t.Helper()
	return c.change(t, old, object, true)
}

func (c *contract) change(t *testing.T, old made, object resource.PropertyMap, preview bool) (made, error) {
	t.Helper()
	inputs := c.check(t, object)
	response, err := c.Update(t.Context(), plugin.UpdateRequest{
		URN: old.URN, ID: old.ID, OldInputs: old.inputs, OldOutputs: old.Properties, NewInputs: inputs, Preview: preview,
	})
	return made{ID: old.ID, URN: old.URN, Properties: response.Properties, inputs: inputs}, err
}

// difference is what a provider finds, by the kinds of change.
type difference struct {
	plugin.DiffResult
	kinds map[string]plugin.DiffKind
}

func (c *contract) diff(t *testing.T, old made, object resource.PropertyMap) difference {
	t.Helper()
	result, err := c.Diff(t.Context(), plugin.DiffRequest{
		URN: old.URN, ID: old.ID, OldInputs: old.inputs, OldOutputs: old.Properties, NewInputs: c.check(t, object),
	})
	require.NoError(t, err)
	kinds := map[string]plugin.DiffKind{}
	for path, change := range result.DetailedDiff {
		kinds[path] = change.Kind
	}
	return difference{result, kinds}
}

func (c *contract) read(t *testing.T, old made) made {
	t.Helper()
	response, err := c.Read(t.Context(), plugin.ReadRequest{
		URN: old.URN, ID: old.ID, Inputs: old.inputs, State: old.Properties,
	})
	require.NoError(t, err)
	return made{ID: response.ID, URN: old.URN, Properties: response.Outputs, inputs: response.Inputs}
}

// importOf reads an object that the provider did not make.
func (c *contract) importOf(t *testing.T, object resource.PropertyMap) made {
	t.Helper()
	imported := c.read(t, made{ID: resource.ID("contract/" + nameOf(object)), URN: urnOf(object)})
	require.NotEmpty(t, imported.ID)
	return imported
}

func (c *contract) delete(t *testing.T, old made, seconds float64) error {
	t.Helper()
	_, err := c.Delete(t.Context(), plugin.DeleteRequest{
		URN: old.URN, ID: old.ID, Inputs: old.inputs, Outputs: old.Properties, Timeout: seconds,
	})
	return err
}

// resource is the access to the objects of an object's kind.
func (c *contract) resource(t *testing.T, object *unstructured.Unstructured) dynamic.ResourceInterface {
	t.Helper()
	client, err := c.suite.plane.Client().Resource(object.GroupVersionKind(), object.GetNamespace())
	require.NoError(t, err)
	return client
}

func plainOf(object resource.PropertyMap) *unstructured.Unstructured {
	content, err := json.Marshal(object.Mappable())
	if err != nil {
		panic(err) // plain values
	}
	plain := &unstructured.Unstructured{}
	if err := plain.UnmarshalJSON(content); err != nil {
		panic(err)
	}
	return plain
}

func (c *contract) find(t *testing.T, object resource.PropertyMap) *unstructured.Unstructured {
	t.Helper()
	plain := plainOf(object)
	live, err := c.resource(t, plain).Get(t.Context(), plain.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	require.NoError(t, err)
	return live
}

// live is an object as it is now, nil when there is none.
func (c *contract) live(t *testing.T, object made) *unstructured.Unstructured {
	t.Helper()
	return c.find(t, object.Properties)
}

func (c *contract) liveSpec(t *testing.T, object made) map[string]any {
	t.Helper()
	spec, _, err := unstructured.NestedMap(c.live(t, object).Object, "spec")
	require.NoError(t, err)
	return spec
}

// managers are who manages an object, and how.
func (c *contract) managers(t *testing.T, object made) []string {
	t.Helper()
	var found []string
	for _, entry := range c.live(t, object).GetManagedFields() {
		if entry.Subresource == "" {
			found = append(found, entry.Manager+" "+string(entry.Operation))
		}
	}
	return found
}

// createdWith makes an object as a client does that does not apply.
func (c *contract) createdWith(t *testing.T, manager string, object resource.PropertyMap) {
	t.Helper()
	plain := plainOf(object)
	_, err := c.resource(t, plain).Create(t.Context(), plain, metav1.CreateOptions{FieldManager: manager})
	require.NoError(t, err)
}

// applied makes an object by server-side apply, as Argo CD does.
func (c *contract) applied(t *testing.T, object resource.PropertyMap) {
	t.Helper()
	plain := plainOf(object)
	_, err := c.resource(t, plain).Apply(t.Context(), plain.GetName(), plain, metav1.ApplyOptions{
		FieldManager: "argocd-controller",
	})
	require.NoError(t, err)
}

// as changes an object as another manager would, by apply or by an update.
func (c *contract) as(t *testing.T, manager string, object made, fields string, apply bool) {
	t.Helper()
	live := c.live(t, object)
	content, err := yaml.YAMLToJSON([]byte(fields))
	require.NoError(t, err)
	client := c.resource(t, live)
	if !apply {
		_, err = client.Patch(t.Context(), live.GetName(), "application/merge-patch+json", content, metav1.PatchOptions{FieldManager: manager})
		require.NoError(t, err)
		return
	}
	change := &unstructured.Unstructured{}
	require.NoError(t, json.Unmarshal(content, &change.Object))
	change.SetGroupVersionKind(live.GroupVersionKind())
	change.SetNamespace(live.GetNamespace())
	change.SetName(live.GetName())
	_, err = client.Apply(t.Context(), live.GetName(), change, metav1.ApplyOptions{FieldManager: manager, Force: true})
	require.NoError(t, err)
}

// statusAfter writes an object's status once the object is there.
func (c *contract) statusAfter(t *testing.T, object resource.PropertyMap, status string) {
	t.Helper()
	plain := plainOf(object)
	content, err := yaml.YAMLToJSON([]byte("status: " + status))
	require.NoError(t, err)
	client := c.resource(t, plain)
	done := make(chan error, 1)
	// Not the test's context: that ends before the cleanup, maybe in the middle.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), reconciled)
	go func() {
		for {
			_, err := client.Patch(ctx, plain.GetName(), "application/merge-patch+json", content, metav1.PatchOptions{}, "status")
			if !apierrors.IsNotFound(err) {
				done <- err
				return
			}
			time.Sleep(poll)
		}
	}()
	t.Cleanup(func() {
		assert.NoError(t, <-done, "the status")
		cancel()
	})
}

func (c *contract) deleteBehindItsBack(t *testing.T, object made) {
	t.Helper()
	live := c.live(t, object)
	require.NotNil(t, live)
	require.NoError(t, c.suite.plane.Client().Release(t.Context(), live.GroupVersionKind(), live.GetNamespace(), live.GetName()))
	require.Eventually(t, func() bool { return c.live(t, object) == nil }, reconciled, poll)
}
