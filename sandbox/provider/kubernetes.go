package provider

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kinds "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/crds"
)

// KubernetesVersion is that of the provider that Kubernetes stands in for. What
// it does as that one does is compared in tests/acceptance/contract_test.go.
const KubernetesVersion = "4.30.0"

// Target is where the Kubernetes provider keeps objects.
type Target interface {
	// Create makes an object and returns it as it is then.
	Create(ctx context.Context, object Object, mode Mode) (map[string]any, error)
	// Update changes an object and returns it as it is then.
	Update(ctx context.Context, object Object, mode Mode) (map[string]any, error)
	// Read returns an object as it is, nil when there is none. recorded is what
	// Pulumi knows of it, nil when it is to be imported.
	Read(ctx context.Context, object Object, recorded map[string]any) (map[string]any, error)
	// Await waits until an object that was made or changed is ready, but no
	// longer than the limit, and returns it as it is then.
	Await(ctx context.Context, object Object, limit time.Duration) (map[string]any, error)
	// Delete deletes an object and waits until it is gone.
	Delete(ctx context.Context, object Object, mode Deletion) error
}

// Deletion is how an object is deleted.
type Deletion struct {
	// Orphan leaves what the object owns.
	Orphan bool
	// Limit is how long the object may take to go.
	Limit time.Duration
}

// Mode is how an object is made or changed.
type Mode struct {
	// Manager is whom the API server is to see as the owner of what is applied.
	Manager string
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

// Kubernetes stands in for the kubernetes provider in its default mode, which
// is server-side apply. It compares the objects that were read last with the
// program's, and only in the fields that the program sets.
type Kubernetes struct {
	base

	// Environment is where settings are looked for that the configuration does
	// not have. Default: nowhere.
	Environment func(name string) string

	catalog *crds.Catalog
	target  Target

	mu sync.Mutex
	// refused are the objects whose next creation is to fail.
	refused  map[string]bool
	settings settings
}

// NewKubernetes returns a provider that keeps objects in a target. Objects that
// the catalog knows to be wrong are refused; without one that is left to the
// target.
func NewKubernetes(catalog *crds.Catalog, target Target) *Kubernetes {
	return &Kubernetes{base: base{version: KubernetesVersion}, catalog: catalog, target: target, refused: map[string]bool{}}
}

// Pkg is the name of the package.
func (k *Kubernetes) Pkg() string { return "kubernetes" }

// settings are those of the provider's settings that the stand-in has.
type settings struct{ upsert, force, secretMutable, configMapMutable bool }

// Configure reads the settings. What the configuration does not say the
// environment may.
func (k *Kubernetes) Configure(
	_ context.Context, request plugin.ConfigureRequest,
) (plugin.ConfigureResponse, error) {
	enabled := func(name resource.PropertyKey, variable string) bool {
		setting, given := request.Inputs[name]
		if !given {
			return k.Environment != nil && k.Environment(variable) == "true"
		}
		return setting.IsBool() && setting.BoolValue() || setting.IsString() && setting.StringValue() == "true"
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.settings = settings{
		upsert:           enabled("upsertExistingObjects", "PULUMI_K8S_UPSERT_EXISTING_OBJECTS"),
		force:            enabled("enablePatchForce", "PULUMI_K8S_ENABLE_PATCH_FORCE"),
		secretMutable:    enabled("enableSecretMutable", "PULUMI_K8S_ENABLE_SECRET_MUTABLE"),
		configMapMutable: enabled("enableConfigMapMutable", "PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE"),
	}
	return plugin.ConfigureResponse{}, nil
}

// RefuseOnce makes the next creation of an object fail, as when an operator's
// webhook is not there yet.
func (k *Kubernetes) RefuseOnce(kind, namespace, name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refused[key(kind, namespace, name)] = true
}

func (k *Kubernetes) configured() settings {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.settings
}

func (k *Kubernetes) mode(manager string, dryRun bool) Mode {
	configured := k.configured()
	return Mode{Manager: manager, DryRun: dryRun, Upsert: configured.upsert, Force: configured.force}
}

func (k *Kubernetes) isRefused(object Object) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	name := nameOf(object)
	refused := k.refused[name]
	delete(k.refused, name)
	return refused
}

func key(kind, namespace, name string) string { return kind + " " + namespace + "/" + name }

func nameOf(object Object) string {
	return key(object.GetKind(), object.GetNamespace(), object.GetName())
}

// Check checks an object against its kind's schema.
func (k *Kubernetes) Check(ctx context.Context, request plugin.CheckRequest) (plugin.CheckResponse, error) {
	if err := checkType(request.URN.Type()); err != nil {
		return plugin.CheckResponse{}, err
	}
	if err := checkKnown(request.News); err != nil {
		return plugin.CheckResponse{}, err
	}
	response := plugin.CheckResponse{Properties: normalized(request.News)}
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
// provider does, with its words.
func checkType(token tokens.Type) error {
	if groupVersion := token.Module().Name(); strings.Count(string(groupVersion), "/") != 1 {
		return fmt.Errorf("apiVersion does not have both a group and a version: %q", groupVersion)
	}
	return nil
}

// checkKnown refuses what the real provider treats in a way of its own that the
// stand-in does not have: names that are made up, and most built-in kinds.
func checkKnown(inputs resource.PropertyMap) error {
	object, _ := toObject(inputs)
	if object.GetName() == "" {
		return fmt.Errorf("%s: the sandbox makes up no names: set metadata.name", nameOf(object))
	}
	builtIn := scheme.Scheme.Recognizes(object.GroupVersionKind())
	if _, known := fixedFields[object.GroupVersionKind().GroupKind()]; builtIn && !known {
		return fmt.Errorf("%s: the sandbox does not know how the real provider treats this kind", nameOf(object))
	}
	return nil
}

// fixedFields are the built-in kinds that the stand-in knows, and their fields
// whose change needs a new object, beside name and namespace.
//
//nolint:gochecknoglobals // a table that nobody changes
var fixedFields = map[kinds.GroupKind][]resource.PropertyPath{
	{Kind: "Secret"}:    {{"type"}, {"stringData"}, {"data"}},
	{Kind: "ConfigMap"}: {{"binaryData"}, {"data"}},
	{Group: "batch", Kind: "Job"}: {
		{"spec", "completions"}, {"spec", "parallelism"}, {"spec", "selector"}, {"spec", "template"},
	},
	{Group: "batch", Kind: "CronJob"}: nil,
}

// describe names the object, as a resource's name need not.
func describe(object map[string]any, problem *field.Error) string {
	return fmt.Sprintf("%s: %s", nameOf(Object{Unstructured: &unstructured.Unstructured{Object: object}}), problem)
}

func sameIdentity(a, b map[string]any) bool {
	one, other := unstructured.Unstructured{Object: a}, unstructured.Unstructured{Object: b}
	return len(a) > 0 && one.GetKind() == other.GetKind() &&
		one.GetNamespace() == other.GetNamespace() && one.GetName() == other.GetName()
}

// Diff compares the object as it was read last with the program's. An object
// whose name stays is deleted before it is replaced.
func (k *Kubernetes) Diff(_ context.Context, request plugin.DiffRequest) (plugin.DiffResult, error) {
	recorded := toRecord(request.OldOutputs)
	old := resource.NewPropertyMapFromMap(prune(recorded.live, normalize(recorded.inputs)))
	updated := normalized(request.NewInputs)
	object, _ := toObject(updated)
	fixed := k.fixed(object)
	diff, err := difference(old, updated, func(path resource.PropertyPath) bool {
		return slices.ContainsFunc(fixed, func(field resource.PropertyPath) bool {
			return field.Contains(path) || path.Contains(field)
		})
	})
	if err != nil {
		return plugin.DiffResult{}, err
	}
	diff.DeleteBeforeReplace = replaces(diff) && sameIdentity(recorded.live, object.Object)
	return diff, nil
}

// fixed are the fields whose change needs a new object.
func (k *Kubernetes) fixed(object Object) []resource.PropertyPath {
	identity := []resource.PropertyPath{{"metadata", "name"}, {"metadata", "namespace"}}
	kind := object.GroupVersionKind().GroupKind()
	configured, immutable := k.configured(), object.Object["immutable"] == true
	switch {
	case kind == kinds.GroupKind{Kind: "Secret"} && configured.secretMutable && !immutable:
		return append(identity, resource.PropertyPath{"type"})
	case kind == kinds.GroupKind{Kind: "ConfigMap"} && configured.configMapMutable && !immutable:
		return identity
	}
	return append(identity, fixedFields[kind]...)
}

// Create makes the object. A preview of it shows the target's objections.
func (k *Kubernetes) Create(ctx context.Context, request plugin.CreateRequest) (plugin.CreateResponse, error) {
	object, known := toObject(request.Properties)
	if request.Preview && !known {
		return plugin.CreateResponse{Properties: request.Properties}, nil
	}
	if !request.Preview && k.isRefused(object) {
		return plugin.CreateResponse{Status: resource.StatusUnknown}, fmt.Errorf("%s: refused by the test", nameOf(object))
	}
	manager := managerOf(nil, object)
	live, err := k.target.Create(ctx, object, k.mode(manager, request.Preview))
	if err != nil {
		return plugin.CreateResponse{Status: resource.StatusUnknown}, fmt.Errorf("create %s: %w", nameOf(object), err)
	}
	response := plugin.CreateResponse{Properties: record(live, request.Properties, manager)}
	if request.Preview {
		return response, nil
	}
	response.ID = identity(object)
	awaited, err := k.target.Await(ctx, object, limit(request.Timeout, object))
	if err != nil {
		return response, initFailed(response.ID, response.Properties, fmt.Errorf("%s: %w", nameOf(object), err))
	}
	response.Properties = record(awaited, request.Properties, manager)
	return response, nil
}

// Update changes the object. A preview of it shows the target's objections. When
// it fails, the object is recorded as it is, with the program's new inputs.
func (k *Kubernetes) Update(ctx context.Context, request plugin.UpdateRequest) (plugin.UpdateResponse, error) {
	inputs := normalized(request.NewInputs)
	object, known := toObject(inputs)
	if request.Preview && !known {
		return plugin.UpdateResponse{Properties: request.NewInputs}, nil
	}
	manager := managerOf(request.OldOutputs, object)
	live, err := k.target.Update(ctx, object, k.mode(manager, request.Preview))
	if err == nil && !request.Preview {
		live, err = k.target.Await(ctx, object, limit(request.Timeout, object))
	}
	if err == nil {
		return plugin.UpdateResponse{Properties: record(live, inputs, manager)}, nil
	}
	err = fmt.Errorf("update %s: %w", nameOf(object), err)
	live, readErr := k.target.Read(ctx, object, toRecord(request.OldOutputs).live)
	if readErr != nil || live == nil {
		return plugin.UpdateResponse{Status: resource.StatusUnknown}, err
	}
	return plugin.UpdateResponse{}, initFailed(identity(object), record(live, inputs, manager), err)
}

// Read reads the object. Of an object that is imported only its identity is
// known to be the program's.
func (k *Kubernetes) Read(ctx context.Context, request plugin.ReadRequest) (plugin.ReadResponse, error) {
	inputs, recorded := request.Inputs, toRecord(request.State).live
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
	same := resource.NewPropertyMapFromMap(prune(live, normalize(object.Object)))
	hide(same, inputs)
	return plugin.ReadResponse{ReadResult: plugin.ReadResult{
		ID: request.ID, Inputs: same, Outputs: record(live, same, managerOf(request.State, object)),
	}}, nil
}

// Delete deletes the object of the resource's name, whoever made it.
func (k *Kubernetes) Delete(ctx context.Context, request plugin.DeleteRequest) (plugin.DeleteResponse, error) {
	recorded := toRecord(request.Outputs)
	object := Object{Unstructured: &unstructured.Unstructured{Object: recorded.live}}
	inputs := Object{Unstructured: &unstructured.Unstructured{Object: recorded.inputs}}
	mode := Deletion{
		Orphan: inputs.GetAnnotations()[propagation] == "orphan", Limit: limit(request.Timeout, inputs),
	}
	if err := k.target.Delete(ctx, object, mode); err != nil {
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
