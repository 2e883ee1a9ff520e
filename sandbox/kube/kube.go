// Package kube makes, reads and writes Kubernetes objects of any kind.
package kube

import (
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Object returns an object with the given fields beside its identity. A namespace
// of "" is for kinds that have none.
func Object(apiVersion, kind, namespace, name string, fields map[string]any) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{}}
	maps.Copy(object.Object, fields)
	object.SetAPIVersion(apiVersion)
	object.SetKind(kind)
	object.SetNamespace(namespace)
	object.SetName(name)
	return object
}

// Condition tells why an object's condition is not met, nil when it is.
func Condition(object *unstructured.Unstructured, name string) error {
	conditions, _, err := unstructured.NestedSlice(object.Object, "status", "conditions")
	if err != nil {
		return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
	}
	for _, each := range conditions {
		condition, ok := each.(map[string]any)
		if !ok || condition["type"] != name {
			continue
		}
		if condition["status"] == "True" {
			return nil
		}
		return fmt.Errorf("%s %s: %s is %v: %v", object.GetKind(), object.GetName(), name, condition["status"], condition["message"])
	}
	return fmt.Errorf("%s %s has no condition %s", object.GetKind(), object.GetName(), name)
}
