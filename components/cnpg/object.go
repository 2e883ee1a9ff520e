package cnpg

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Annotations that the kubernetes plugin reads:
// https://www.pulumi.com/registry/packages/kubernetes/installation-configuration/#annotations
const (
	// waitFor is what Pulumi waits for, and isReady most often the value.
	waitFor = "pulumi.com/waitFor"
	isReady = "condition=Ready"
	// deletionPropagation is what becomes of the objects that an object owns.
	deletionPropagation = "pulumi.com/deletionPropagationPolicy"
)

// object is a Kubernetes object that is about to be registered.
//
// Objects of core kinds pass through here too: the typed packages of
// pulumi-kubernetes would add more than a minute and 2 GB to the compilation of
// every program that imports this one.
type object struct {
	apiVersion, kind string
	namespace, name  string
	// component says what the object is for, and partOf whose it is: a database,
	// or what shares it. They are standard labels.
	component, partOf string
	// labels and annotations are more of them.
	labels, annotations pulumi.StringMap
	// fields are the object's fields beside metadata, most often its spec.
	fields kubernetes.UntypedArgs
}

// kubernetesObject is an object that is registered, of whatever kind. The package
// that pulumi-kubernetes has for this, apiextensions, brings the typed metadata of
// all kinds, which takes longer to compile than this package.
type kubernetesObject struct {
	pulumi.CustomResourceState

	// Metadata is the object's, and Status what its operator wrote last.
	Metadata pulumi.MapOutput `pulumi:"metadata"`
	Status   pulumi.MapOutput `pulumi:"status"`
}

// registerObject is the one place where a Kubernetes object becomes a resource.
func registerObject(ctx *pulumi.Context, name string, o object, opts ...pulumi.ResourceOption,
) (*kubernetesObject, error) {
	metadata := pulumi.Map{
		"name":      pulumi.String(o.name),
		"namespace": pulumi.String(o.namespace),
		"labels":    o.allLabels(),
	}
	if len(o.annotations) > 0 {
		metadata["annotations"] = o.annotations
	}
	inputs := kubernetes.UntypedArgs{
		"apiVersion": pulumi.String(o.apiVersion),
		"kind":       pulumi.String(o.kind),
		"metadata":   metadata,
	}
	maps.Copy(inputs, o.fields)
	resource := &kubernetesObject{}
	if err := ctx.RegisterResource(o.typeToken(), name, inputs, resource, opts...); err != nil {
		return nil, fmt.Errorf("%s %s/%s: %w", o.kind, o.namespace, o.name, err)
	}
	return resource, nil
}

// The standard labels of
// https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
//
// app.kubernetes.io/instance is not one of them: by that label Argo CD can take
// an object for a part of its own application of that name, and delete what is
// not in its files.
// https://argo-cd.readthedocs.io/en/stable/user-guide/resource_tracking/
const (
	labelName      = "app.kubernetes.io/name"
	labelComponent = "app.kubernetes.io/component"
	labelPartOf    = "app.kubernetes.io/part-of"
	labelManagedBy = "app.kubernetes.io/managed-by"
)

// allLabels are the user's and the standard ones. The operator gives none of them
// to what it makes unless it is told to, so that they restart nothing.
func (o object) allLabels() pulumi.StringMap {
	labels := maps.Clone(o.labels)
	if labels == nil {
		labels = pulumi.StringMap{}
	}
	labels[labelName] = pulumi.String("cnpg-backup")
	labels[labelComponent] = pulumi.String(o.component)
	labels[labelPartOf] = pulumi.String(o.partOf)
	labels[labelManagedBy] = pulumi.String("pulumi")
	return labels
}

// output is a value that is known when the object is there. What uses it is made
// after the object and deleted before it.
func (o *kubernetesObject) output(value string) pulumi.StringOutput {
	return o.Metadata.ApplyT(func(map[string]any) string {
		return value
	}).(pulumi.StringOutput) // the function returns a string
}

// registerOutputs registers a component's outputs: its fields with a pulumi tag.
func registerOutputs(ctx *pulumi.Context, component pulumi.ComponentResource) {
	registerOutputsOf(ctx, component, component)
}

// registerOutputsOf takes the outputs from another value of the component's type.
func registerOutputsOf[C pulumi.ComponentResource](ctx *pulumi.Context, component, described C) {
	outputs, fields := pulumi.Map{}, reflect.ValueOf(described).Elem()
	for i := range fields.NumField() {
		if name := fields.Type().Field(i).Tag.Get("pulumi"); name != "" {
			outputs[name] = fields.Field(i).Interface().(pulumi.Output) // only outputs have the tag
		}
	}
	onceRegistered(ctx, component, func() error { return ctx.RegisterResourceOutputs(component, outputs) })
}

// onceRegistered does something that waits for a component to be registered, and
// has the program go on meanwhile. Pulumi's own functions wait where they are
// called, so that each database would be begun after the one before:
// https://github.com/pulumi/pulumi/blob/sdk/v3.256.0/sdk/go/pulumi/context.go
// (RegisterResourceOutputs). The program does not end before it is done.
func onceRegistered(ctx *pulumi.Context, component pulumi.Resource, do func() error) {
	component.URN().ApplyT(func(urn pulumi.URN) (pulumi.URN, error) {
		err := do()
		if err != nil {
			// Nobody reads the output that this is, so the error has to be told here.
			err = errors.Join(err, ctx.Log.Error(err.Error(), nil))
		}
		return urn, err
	})
}

// dependsOn is pulumi.DependsOn for objects.
func dependsOn(objects []*kubernetesObject) pulumi.ResourceOption {
	resources := make([]pulumi.Resource, 0, len(objects))
	for _, object := range objects {
		resources = append(resources, object)
	}
	return pulumi.DependsOn(resources)
}

// typeToken is the object's type as the kubernetes plugin reads it. The plugin
// takes group and version from the token, and the core group, which has no name
// in an apiVersion, has one there: gvkFromURN in
// https://github.com/pulumi/pulumi-kubernetes/blob/v4.30.0/provider/pkg/provider/provider.go
func (o object) typeToken() string {
	groupVersion := o.apiVersion
	if !strings.Contains(groupVersion, "/") {
		groupVersion = "core/" + groupVersion
	}
	return "kubernetes:" + groupVersion + ":" + o.kind
}

// specFields turns an operator's spec into the fields of an object. Quantities
// come out in their canonical form, as the API server stores them, so that a
// preview finds nothing to change.
func specFields[T any](spec T) (kubernetes.UntypedArgs, error) {
	fields, err := toMap(spec)
	if err != nil {
		return nil, err
	}
	// The operators' Go types write some fields that nobody has set; those of an
	// untouched spec tell which.
	var untouched T
	unset, err := toMap(untouched)
	if err != nil {
		return nil, err
	}
	subtract(fields, unset)
	return kubernetes.UntypedArgs{"spec": fields}, nil
}

// carry adds to fields what their author wrote and Go's encoding left out: the
// operators' types cannot tell a zero from a field that nobody has set, and
// where the operator has a default of its own the two differ.
func carry(fields, written map[string]any) {
	for key, value := range written {
		there, ok := fields[key]
		nested, isMap := value.(map[string]any)
		switch {
		case ok:
			carryInto(there, value)
		case isMap:
			added := map[string]any{}
			carry(added, nested)
			fields[key] = added
		case value != nil:
			fields[key] = value
		}
	}
}

// carryInto does so in what both have. The entries of a list are told by their
// places.
func carryInto(there, written any) {
	switch written := written.(type) {
	case map[string]any:
		if fields, ok := there.(map[string]any); ok {
			carry(fields, written)
		}
	case []any:
		entries, _ := there.([]any)
		for i := range min(len(entries), len(written)) {
			carryInto(entries[i], written[i])
		}
	}
}

func toMap(spec any) (map[string]any, error) {
	encoded, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("encode spec: %w", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(encoded, &fields); err != nil {
		return nil, fmt.Errorf("decode spec: %w", err)
	}
	return fields, nil
}

// subtract removes from fields what has the same value in unset.
func subtract(fields, unset map[string]any) {
	for key, value := range unset {
		nestedFields, ok := fields[key].(map[string]any)
		if nestedUnset, both := value.(map[string]any); ok && both {
			subtract(nestedFields, nestedUnset)
			if len(nestedFields) == 0 {
				delete(fields, key)
			}
		} else if reflect.DeepEqual(fields[key], value) {
			delete(fields, key)
		}
	}
}
