package provider

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// schema is the part of a Pulumi package schema that the stand-ins use.
type schema struct {
	Parameterization struct {
		BaseProvider struct {
			Version string `json:"version"`
		} `json:"baseProvider"`
	} `json:"parameterization"`
	Types     map[string]objectSchema   `json:"types"`
	Resources map[string]resourceSchema `json:"resources"`
	Functions map[string]struct {
		Inputs  objectSchema `json:"inputs"`
		Outputs objectSchema `json:"outputs"`
	} `json:"functions"`
}

type objectSchema struct {
	Properties map[string]propertySchema `json:"properties"`
	Required   []string                  `json:"required"`
}

type resourceSchema struct {
	objectSchema
	InputProperties map[string]propertySchema `json:"inputProperties"`
	RequiredInputs  []string                  `json:"requiredInputs"`
}

type propertySchema struct {
	Type   string          `json:"type"`
	Ref    string          `json:"$ref"`
	Items  *propertySchema `json:"items"`
	Values *propertySchema `json:"additionalProperties"`
	Secret bool            `json:"secret"`
}

// check returns everything that is wrong about an object's properties.
func (s schema) check(properties resource.PropertyMap, want objectSchema, at *field.Path) field.ErrorList {
	var problems field.ErrorList
	for _, name := range want.Required {
		if value, given := properties[resource.PropertyKey(name)]; !given || value.IsNull() {
			problems = append(problems, field.Required(at.Child(name), ""))
		}
	}
	for key, value := range properties {
		if resource.IsInternalPropertyKey(key) {
			continue
		}
		property, known := want.Properties[string(key)]
		if !known {
			problems = append(problems, field.Forbidden(at.Child(string(key)), "the schema has no such property"))
			continue
		}
		problems = append(problems, s.checkValue(value, property, at.Child(string(key)))...)
	}
	return problems
}

func (s schema) checkValue(value resource.PropertyValue, want propertySchema, at *field.Path) field.ErrorList {
	switch {
	case value.IsSecret():
		return s.checkValue(value.SecretValue().Element, want, at)
	case value.IsOutput() && value.OutputValue().Known:
		return s.checkValue(value.OutputValue().Element, want, at)
	case value.IsNull() || value.IsComputed() || value.IsOutput():
		return nil
	case want.Ref != "" && value.IsObject():
		return s.check(value.ObjectValue(), s.Types[strings.TrimPrefix(want.Ref, "#/types/")], at)
	case want.Type == "object" && value.IsObject():
		return s.checkValues(value.ObjectValue(), want, at)
	case want.Type == "array" && value.IsArray():
		return s.checkElements(value.ArrayValue(), want, at)
	case want.Type == "string" && value.IsString(), want.Type == "boolean" && value.IsBool(),
		(want.Type == "number" || want.Type == "integer") && value.IsNumber():
		return nil
	default:
		return field.ErrorList{field.TypeInvalid(at, value.TypeString(), "expected "+want.Type+want.Ref)}
	}
}

func (s schema) checkValues(values resource.PropertyMap, want propertySchema, at *field.Path) field.ErrorList {
	var problems field.ErrorList
	for key, value := range values {
		if want.Values != nil {
			problems = append(problems, s.checkValue(value, *want.Values, at.Child(string(key)))...)
		}
	}
	return problems
}

func (s schema) checkElements(elements []resource.PropertyValue, want propertySchema, at *field.Path) field.ErrorList {
	var problems field.ErrorList
	for i, element := range elements {
		if want.Items != nil {
			problems = append(problems, s.checkValue(element, *want.Items, at.Index(i))...)
		}
	}
	return problems
}

// zero is a value of the property's type.
func (p propertySchema) zero() resource.PropertyValue {
	switch p.Type {
	case "array":
		return resource.NewProperty([]resource.PropertyValue{})
	case "boolean":
		return resource.NewProperty(false)
	case "number", "integer":
		return resource.NewProperty(0.0)
	case "object":
		return resource.NewProperty(resource.PropertyMap{})
	default:
		return resource.NewProperty("")
	}
}

// resourceOf reads a resource's schema off the types that an SDK has for its
// arguments and its state.
func resourceOf(args, state reflect.Type) resourceSchema {
	var inputs resourceSchema
	inputs.InputProperties, inputs.RequiredInputs = propertiesOf(args)
	inputs.Properties, _ = propertiesOf(state)
	return inputs
}

// propertiesOf takes a struct's fields; those that are no pointers, slices or
// maps are required.
func propertiesOf(of reflect.Type) (properties map[string]propertySchema, required []string) {
	properties = map[string]propertySchema{}
	for i := range of.NumField() {
		name, has := of.Field(i).Tag.Lookup("pulumi")
		if !has {
			continue
		}
		property, optional := propertyOf(of.Field(i).Type)
		properties[name] = property
		if !optional {
			required = append(required, name)
		}
	}
	return properties, required
}

func propertyOf(of reflect.Type) (property propertySchema, optional bool) {
	switch of.Kind() {
	case reflect.Pointer:
		property, _ = propertyOf(of.Elem())
		return property, true
	case reflect.Slice:
		items, _ := propertyOf(of.Elem())
		return propertySchema{Type: "array", Items: &items}, true
	case reflect.Map:
		values, _ := propertyOf(of.Elem())
		return propertySchema{Type: "object", Values: &values}, true
	case reflect.Bool:
		return propertySchema{Type: "boolean"}, false
	case reflect.Int, reflect.Float64:
		return propertySchema{Type: "number"}, false
	case reflect.Struct:
		return propertySchema{Type: "object"}, false
	default:
		return propertySchema{Type: "string"}, false
	}
}

// failures are problems as an engine takes them.
func failures(problems field.ErrorList) []plugin.CheckFailure {
	failed := make([]plugin.CheckFailure, 0, len(problems))
	for _, problem := range problems {
		failed = append(failed, plugin.CheckFailure{Reason: fmt.Sprint(problem)})
	}
	return failed
}
