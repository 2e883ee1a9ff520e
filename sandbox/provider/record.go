package provider

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/contract"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// What the real provider keeps in the state beside the object.
const (
	recordedInputs     = "__inputs"
	recordedAPIVersion = "__initialApiVersion"
	recordedManager    = "__fieldManager"
)

// recorded is what the state has about an object.
type recorded struct {
	// live is the object as it was read last, inputs what the program wanted.
	live, inputs map[string]any
}

// record puts an object into the form of the state. Secret in it is what is
// secret in the inputs.
func record(live map[string]any, inputs resource.PropertyMap, manager string) resource.PropertyMap {
	properties := resource.NewPropertyMapFromMap(live)
	hide(properties, inputs)
	apiVersion, _ := live["apiVersion"].(string)
	properties[recordedInputs] = resource.NewProperty(inputs)
	properties[recordedAPIVersion] = resource.NewProperty(apiVersion)
	properties[recordedManager] = resource.NewProperty(manager)
	return properties
}

func toRecord(state resource.PropertyMap) recorded {
	var r recorded
	if inputs := state[recordedInputs]; inputs.IsObject() {
		r.inputs = toPlain(inputs.ObjectValue()).object
	}
	// A name that begins with __ is Pulumi's own, and left out.
	r.live = toPlain(state).object
	return r
}

// managerOf is the field manager of an object: the one that its annotation
// names, that of its state or a new one.
func managerOf(state resource.PropertyMap, object Object) string {
	if named := object.GetAnnotations()["pulumi.com/patchFieldManager"]; named != "" {
		return named
	}
	if manager := state[recordedManager]; manager.IsString() {
		return manager.StringValue()
	}
	return creator + "-" + random(4)
}

// identity is the ID that the real provider gives to an object.
func identity(object Object) resource.ID {
	if object.GetNamespace() == "" {
		return resource.ID(object.GetName())
	}
	return resource.ID(object.GetNamespace() + "/" + object.GetName())
}

// identityInputs is what an ID and a type say about an object.
func identityInputs(request plugin.ReadRequest) resource.PropertyMap {
	metadata := map[string]any{"name": string(request.ID)}
	if namespace, name, found := strings.Cut(string(request.ID), "/"); found {
		metadata = map[string]any{"namespace": namespace, "name": name}
	}
	// A type is "kubernetes:<apiVersion>:<kind>".
	apiVersion := strings.TrimPrefix(string(request.URN.Type().Module().Name()), "core/")
	return resource.NewPropertyMapFromMap(map[string]any{
		"apiVersion": apiVersion,
		"kind":       string(request.URN.Type().Name()),
		"metadata":   metadata,
	})
}

// hide makes secrets of the properties that are secret in the inputs, and of
// what a Secret holds.
func hide(properties, inputs resource.PropertyMap) {
	if kind := properties["kind"]; kind.IsString() && kind.StringValue() == "Secret" {
		for _, name := range []resource.PropertyKey{"data", "stringData"} {
			if value, has := properties[name]; has && !value.IsSecret() {
				properties[name] = resource.MakeSecret(value)
			}
		}
	}
	for key, input := range inputs {
		value, has := properties[key]
		switch {
		case !has || value.IsSecret():
		case input.IsObject() && value.IsObject():
			hide(value.ObjectValue(), input.ObjectValue())
		case input.ContainsSecrets():
			properties[key] = resource.MakeSecret(value)
		}
	}
}

// normalized are inputs in the form in which they are compared, secrets still
// secret. What is not known yet is left as it is.
func normalized(inputs resource.PropertyMap) resource.PropertyMap {
	result := inputs.Copy()
	if object, known := toObject(inputs); known {
		result = resource.NewPropertyMapFromMap(normalize(object.Object))
	}
	hide(result, inputs)
	return result
}

// normalize writes an object of a built-in kind as the API server would, so that
// two ways to say the same are the same, and drops what only a server may set.
func normalize(object map[string]any) map[string]any {
	result := jsonCopy(object)
	u := &unstructured.Unstructured{Object: result}
	if stringData, found, _ := unstructured.NestedStringMap(result, "stringData"); found && u.GetKind() == "Secret" {
		data, _, _ := unstructured.NestedStringMap(result, "data")
		encoded := map[string]any{}
		for key, value := range data {
			encoded[key] = value
		}
		for key, value := range stringData {
			encoded[key] = base64.StdEncoding.EncodeToString([]byte(value))
		}
		result["data"] = encoded
		delete(result, "stringData")
	} else if typed, err := scheme.Scheme.New(u.GroupVersionKind()); err == nil {
		if runtime.DefaultUnstructuredConverter.FromUnstructured(result, typed) == nil {
			if canonical, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed); err == nil {
				result = prune(jsonCopy(canonical), result)
			}
		}
	}
	for _, field := range []string{
		"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields",
		"resourceVersion", "uid",
	} {
		unstructured.RemoveNestedField(result, "metadata", field)
	}
	return result
}

// jsonCopy copies an object, with numbers as they are read from JSON.
func jsonCopy(object map[string]any) map[string]any {
	content, err := json.Marshal(object)
	contract.AssertNoErrorf(err, "an object of plain values")
	result := map[string]any{}
	contract.AssertNoErrorf(json.Unmarshal(content, &result), "an object of plain values")
	return result
}

// prune keeps of an object the fields that the inputs have, with the object's
// values.
func prune(live, inputs map[string]any) map[string]any {
	result := map[string]any{}
	for key, input := range inputs {
		if value, has := live[key]; has {
			result[key] = pruneValue(value, input)
		}
	}
	return result
}

func pruneValue(live, input any) any {
	switch input := input.(type) {
	case map[string]any:
		if live, ok := live.(map[string]any); ok {
			return prune(live, input)
		}
	case []any:
		if live, ok := live.([]any); ok {
			elements := []any{}
			for i := range min(len(live), len(input)) {
				elements = append(elements, pruneValue(live[i], input[i]))
			}
			return elements
		}
	}
	return live
}
