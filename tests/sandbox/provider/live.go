package provider

import (
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

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
	apiVersion := strings.TrimPrefix(string(request.Type.Module()), "kubernetes:")
	return resource.NewPropertyMapFromMap(map[string]any{
		"apiVersion": strings.TrimPrefix(apiVersion, "core/"),
		"kind":       string(request.Type.Name()),
		"metadata":   metadata,
	})
}

// outputs are an object's properties, in which secret is what was secret in the
// inputs.
func outputs(live map[string]any, inputs resource.PropertyMap) resource.PropertyMap {
	properties := resource.NewPropertyMapFromMap(live)
	hide(properties, inputs)
	return withSecrets(properties)
}

func hide(properties, inputs resource.PropertyMap) {
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

// liveInputs are the properties of an object that the inputs set, with the
// object's values. A secret cannot be compared in parts; it is taken as it was.
func liveInputs(live, inputs resource.PropertyMap) resource.PropertyMap {
	common := resource.PropertyMap{}
	for key, input := range inputs {
		if resource.IsInternalPropertyKey(key) {
			continue
		}
		if value, has := live[key]; has {
			common[key] = liveInput(value, input)
		}
	}
	return common
}

func liveInput(live, input resource.PropertyValue) resource.PropertyValue {
	switch {
	case live.IsObject() && input.IsObject():
		return resource.NewProperty(liveInputs(live.ObjectValue(), input.ObjectValue()))
	case live.IsArray() && input.IsArray():
		elements := []resource.PropertyValue{}
		for i, element := range live.ArrayValue() {
			if i < len(input.ArrayValue()) {
				elements = append(elements, liveInput(element, input.ArrayValue()[i]))
			}
		}
		return resource.NewProperty(elements)
	default:
		return live
	}
}

// withoutServerFields takes out what the API server keeps for itself.
func withoutServerFields(object map[string]any) map[string]any {
	unstructured.RemoveNestedField(object, "metadata", "managedFields")
	return object
}
