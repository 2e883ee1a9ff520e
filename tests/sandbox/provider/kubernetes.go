package provider

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/crds"
)

// Target is where the Kubernetes provider keeps objects.
type Target interface {
	// Create makes an object and returns it as it is then.
	Create(ctx context.Context, object Object, mode Mode) (map[string]any, error)
	// Update changes an object and returns it as it is then.
	Update(ctx context.Context, object Object, mode Mode) (map[string]any, error)
	// Read returns an object as it is, nil when there is none. recorded is what
	// Pulumi knows of it, nil when it is to be imported.
	Read(ctx context.Context, object Object, recorded map[string]any) (map[string]any, error)
	// Await waits until an object that was made is ready, but no longer than a
	// limit, which is the target's own when it is 0.
	Await(ctx context.Context, object Object, limit time.Duration) error
	// Delete deletes an object and waits until it is gone.
	Delete(ctx context.Context, object Object) error
}

// Mode is how an object is made or changed.
type Mode struct {
	// DryRun only tells what would come of it.
	DryRun bool
	// Upsert makes the object even if it exists already.
	Upsert bool
	// Force takes fields over that others manage.
	Force bool
}

// Object is a Kubernetes object on its way to a Target.
type Object struct {
	*unstructured.Unstructured
	// Shown is the object with placeholders in place of secrets.
	Shown map[string]any
}

// Kubernetes stands in for the kubernetes provider. As that does in its default
// mode, it compares the objects that were read last with the program's, and
// only in the fields that the program sets.
type Kubernetes struct {
	base

	catalog *crds.Catalog
	target  Target

	mu sync.Mutex
	// refused are the objects whose next creation is to fail.
	refused map[string]bool
	// upsert and force are the provider's settings upsertExistingObjects and
	// enablePatchForce.
	upsert, force bool
}

// NewKubernetes returns a provider that keeps objects in a target. Objects that
// the catalog knows to be wrong are refused; without one that is left to the
// target.
func NewKubernetes(catalog *crds.Catalog, target Target) *Kubernetes {
	return &Kubernetes{base: base{version: "4.30.0"}, catalog: catalog, target: target, refused: map[string]bool{}}
}

// Pkg is the name of the package.
func (k *Kubernetes) Pkg() string { return "kubernetes" }

// Configure reads the two settings that the stand-in has.
func (k *Kubernetes) Configure(
	_ context.Context, request plugin.ConfigureRequest,
) (plugin.ConfigureResponse, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.upsert = isTrue(request.Inputs["upsertExistingObjects"])
	k.force = isTrue(request.Inputs["enablePatchForce"])
	return plugin.ConfigureResponse{}, nil
}

// isTrue reads a setting, which stack configuration has as a string.
func isTrue(setting resource.PropertyValue) bool {
	return setting.IsBool() && setting.BoolValue() || setting.IsString() && setting.StringValue() == "true"
}

// RefuseOnce makes the next creation of an object fail, as when an operator's
// webhook is not there yet.
func (k *Kubernetes) RefuseOnce(kind, namespace, name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refused[key(kind, namespace, name)] = true
}

func (k *Kubernetes) mode(dryRun bool) Mode {
	k.mu.Lock()
	defer k.mu.Unlock()
	return Mode{DryRun: dryRun, Upsert: k.upsert, Force: k.force}
}

func (k *Kubernetes) isRefused(object Object) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	name := key(object.GetKind(), object.GetNamespace(), object.GetName())
	refused := k.refused[name]
	delete(k.refused, name)
	return refused
}

func key(kind, namespace, name string) string { return kind + " " + namespace + "/" + name }

// Check checks an object against its kind's schema.
func (k *Kubernetes) Check(ctx context.Context, request plugin.CheckRequest) (plugin.CheckResponse, error) {
	if err := checkType(request.URN.Type()); err != nil {
		return plugin.CheckResponse{}, err
	}
	response := plugin.CheckResponse{Properties: withSecrets(request.News)}
	if k.catalog == nil {
		return response, nil
	}
	updated := toPlain(request.News)
	var old map[string]any
	if before := toPlain(request.Olds).object; sameIdentity(before, updated.object) {
		old = before
	}
	problems := updated.known(k.catalog.ValidateUpdate(ctx, updated.object, old))
	for _, problem := range problems {
		response.Failures = append(response.Failures, plugin.CheckFailure{Reason: describe(updated.object, problem)})
	}
	return response, nil
}

// checkType wants group and version in a type token, as gvkFromURN of the real
// provider does, with its words:
// https://github.com/pulumi/pulumi-kubernetes/blob/v4.30.0/provider/pkg/provider/provider.go
func checkType(token tokens.Type) error {
	if groupVersion := token.Module().Name(); strings.Count(string(groupVersion), "/") != 1 {
		return fmt.Errorf("apiVersion does not have both a group and a version: %q", groupVersion)
	}
	return nil
}

// describe names the object, as a resource's name need not.
func describe(object map[string]any, problem *field.Error) string {
	named := unstructured.Unstructured{Object: object}
	return fmt.Sprintf("%s: %s", key(named.GetKind(), named.GetNamespace(), named.GetName()), problem)
}

// withSecrets makes a secret of what a Secret holds, if it is none yet.
func withSecrets(inputs resource.PropertyMap) resource.PropertyMap {
	if kind := inputs["kind"]; !kind.IsString() || kind.StringValue() != "Secret" {
		return inputs
	}
	protected := inputs.Copy()
	for _, name := range []resource.PropertyKey{"data", "stringData"} {
		if value, has := protected[name]; has && !value.IsSecret() {
			protected[name] = resource.MakeSecret(value)
		}
	}
	return protected
}

func sameIdentity(a, b map[string]any) bool {
	one, other := unstructured.Unstructured{Object: a}, unstructured.Unstructured{Object: b}
	return len(a) > 0 && one.GetKind() == other.GetKind() && one.GetAPIVersion() == other.GetAPIVersion() &&
		one.GetNamespace() == other.GetNamespace() && one.GetName() == other.GetName()
}

// Diff compares the object as it was read last with the program's. An object
// whose name stays is deleted before it is replaced.
func (k *Kubernetes) Diff(_ context.Context, request plugin.DiffRequest) (plugin.DiffResult, error) {
	old := liveInputs(request.OldOutputs, request.OldInputs)
	fixed := fixedFields(request.NewInputs)
	diff, err := difference(old, request.NewInputs, func(path resource.PropertyPath) bool {
		for _, field := range fixed {
			if field.Contains(path) || path.Contains(field) {
				return true
			}
		}
		return false
	})
	if err != nil {
		return plugin.DiffResult{}, err
	}
	diff.DeleteBeforeReplace = replaces(diff) &&
		sameIdentity(toPlain(old).object, toPlain(request.NewInputs).object)
	return diff, nil
}

// fixedFields are the fields whose change needs a new object. As in the real
// provider's defaults they include what a Secret or a ConfigMap holds, so that
// nothing goes on with what it held before.
func fixedFields(inputs resource.PropertyMap) []resource.PropertyPath {
	fixed := []resource.PropertyPath{{"apiVersion"}, {"kind"}, {"metadata", "name"}, {"metadata", "namespace"}}
	kind := inputs["kind"]
	switch {
	case kind.IsString() && kind.StringValue() == "Secret":
		fixed = append(fixed, resource.PropertyPath{"type"}, resource.PropertyPath{"stringData"}, resource.PropertyPath{"data"})
	case kind.IsString() && kind.StringValue() == "ConfigMap":
		fixed = append(fixed, resource.PropertyPath{"binaryData"}, resource.PropertyPath{"data"})
	}
	return fixed
}

// Create makes the object. A preview of it shows the target's objections.
func (k *Kubernetes) Create(ctx context.Context, request plugin.CreateRequest) (plugin.CreateResponse, error) {
	object, known := toObject(request.Properties)
	if request.Preview && !known {
		return plugin.CreateResponse{Properties: request.Properties}, nil
	}
	name := key(object.GetKind(), object.GetNamespace(), object.GetName())
	if !request.Preview && k.isRefused(object) {
		return plugin.CreateResponse{Status: resource.StatusUnknown}, fmt.Errorf("%s: refused by the test", name)
	}
	live, err := k.target.Create(ctx, object, k.mode(request.Preview))
	if err != nil {
		return plugin.CreateResponse{Status: resource.StatusUnknown}, fmt.Errorf("create %s: %w", name, err)
	}
	response := plugin.CreateResponse{Properties: outputs(live, request.Properties)}
	if request.Preview {
		return response, nil
	}
	response.ID = identity(object)
	if err := k.await(ctx, object, request.Timeout); err != nil {
		return response, initFailed(response.ID, response.Properties, err)
	}
	return response, nil
}

// await waits for an object, for no more than so many seconds unless they are 0.
func (k *Kubernetes) await(ctx context.Context, object Object, seconds float64) error {
	if err := k.target.Await(ctx, object, time.Duration(seconds*float64(time.Second))); err != nil {
		return fmt.Errorf("%s: %w", key(object.GetKind(), object.GetNamespace(), object.GetName()), err)
	}
	return nil
}

// Update changes the object. A preview of it shows the target's objections.
func (k *Kubernetes) Update(ctx context.Context, request plugin.UpdateRequest) (plugin.UpdateResponse, error) {
	object, known := toObject(request.NewInputs)
	if request.Preview && !known {
		return plugin.UpdateResponse{Properties: request.NewInputs}, nil
	}
	live, err := k.target.Update(ctx, object, k.mode(request.Preview))
	if err != nil {
		name := key(object.GetKind(), object.GetNamespace(), object.GetName())
		return plugin.UpdateResponse{Status: resource.StatusUnknown}, fmt.Errorf("update %s: %w", name, err)
	}
	response := plugin.UpdateResponse{Properties: outputs(live, request.NewInputs)}
	if request.Preview {
		return response, nil
	}
	if err := k.await(ctx, object, request.Timeout); err != nil {
		return response, initFailed(request.ID, response.Properties, err)
	}
	return response, nil
}

// Read reads the object. Of an object that is imported only its identity is
// known to be the program's.
func (k *Kubernetes) Read(ctx context.Context, request plugin.ReadRequest) (plugin.ReadResponse, error) {
	inputs, recorded := request.Inputs, toPlain(request.State).object
	if len(inputs) == 0 {
		inputs, recorded = identityInputs(request), nil
	}
	object, _ := toObject(inputs)
	live, err := k.target.Read(ctx, object, recorded)
	if err != nil {
		return plugin.ReadResponse{}, fmt.Errorf("read %s %s: %w", object.GetKind(), request.ID, err)
	}
	if live == nil {
		return plugin.ReadResponse{}, nil
	}
	state := outputs(live, inputs)
	return plugin.ReadResponse{ReadResult: plugin.ReadResult{
		ID: request.ID, Inputs: liveInputs(state, inputs), Outputs: state,
	}}, nil
}

// Delete deletes the object.
func (k *Kubernetes) Delete(ctx context.Context, request plugin.DeleteRequest) (plugin.DeleteResponse, error) {
	object, _ := toObject(request.Outputs)
	if err := k.target.Delete(ctx, object); err != nil {
		return plugin.DeleteResponse{Status: resource.StatusUnknown},
			fmt.Errorf("delete %s %s: %w", object.GetKind(), request.ID, err)
	}
	return plugin.DeleteResponse{}, nil
}

// toObject also tells whether all of the object is known.
func toObject(properties resource.PropertyMap) (object Object, known bool) {
	p := toPlain(properties)
	return Object{&unstructured.Unstructured{Object: p.object}, p.shown}, len(p.unknown) == 0
}
