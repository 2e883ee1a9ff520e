// Package crds checks Kubernetes objects as an API server would that has the
// operators' CustomResourceDefinitions: CloudNativePG's, the Barman Cloud
// plugin's, External Secrets' and the Prometheus operator's. It uses the API
// server's own library for it. What the operators' admission webhooks refuse
// beyond the schemas it does not see.
package crds

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// Catalog has the kinds of objects that the project may emit.
type Catalog struct {
	natives map[schema.GroupVersionKind]native
	customs map[schema.GroupVersionKind]func() (*custom, error)
}

// Load reads the operators' CustomResourceDefinitions.
func Load(ctx context.Context) (*Catalog, error) {
	files, err := Files(ctx)
	if err != nil {
		return nil, err
	}
	catalog := &Catalog{natives: builtIn(), customs: map[schema.GroupVersionKind]func() (*custom, error){}}
	for _, file := range files {
		if err := catalog.add(file); err != nil {
			return nil, fmt.Errorf("definition %s: %w", file, err)
		}
	}
	return catalog, nil
}

// add takes every served version of a definition. Schemas are prepared when
// their kind is first used: that takes a while for large ones.
func (c *Catalog) add(file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var external apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(content, &external); err != nil {
		return err
	}
	var definition apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(
		&external, &definition, nil); err != nil {
		return err
	}
	for _, version := range definition.Spec.Versions {
		if !version.Served {
			continue
		}
		kind := schema.GroupVersionKind{
			Group: definition.Spec.Group, Version: version.Name, Kind: definition.Spec.Names.Kind,
		}
		c.customs[kind] = sync.OnceValues(func() (*custom, error) { return newCustom(&definition, version.Name) })
	}
	return nil
}

// Validate returns everything that an API server would refuse about a new
// object, unknown fields included.
func (c *Catalog) Validate(ctx context.Context, object map[string]any) field.ErrorList {
	return c.ValidateUpdate(ctx, object, nil)
}

// ValidateUpdate is Validate for an object that replaces an old one.
func (c *Catalog) ValidateUpdate(ctx context.Context, object, old map[string]any) field.ErrorList {
	updated, err := normalize(object)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	kind := updated.GroupVersionKind()
	if native, known := c.natives[kind]; known {
		return native.check(updated)
	}
	prepare, known := c.customs[kind]
	if !known {
		return field.ErrorList{field.NotSupported(field.NewPath("kind"),
			fmt.Sprintf("%s of %s", kind.Kind, kind.GroupVersion()), c.names())}
	}
	custom, err := prepare()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, fmt.Errorf("schema of %s: %w", kind, err))}
	}
	var previous *unstructured.Unstructured
	if old != nil {
		if previous, err = normalize(old); err != nil {
			return field.ErrorList{field.InternalError(nil, err)}
		}
	}
	return custom.check(ctx, updated, previous)
}

// names lists the known kinds for messages.
func (c *Catalog) names() []string {
	names := make([]string, 0, len(c.natives)+len(c.customs))
	for kind := range c.natives {
		names = append(names, fmt.Sprintf("%s of %s", kind.Kind, kind.GroupVersion()))
	}
	for kind := range c.customs {
		names = append(names, fmt.Sprintf("%s of %s", kind.Kind, kind.GroupVersion()))
	}
	return names
}

// normalize copies an object and gives its values the types that the API
// server's library expects, which tells integers from other numbers.
func normalize(object map[string]any) (*unstructured.Unstructured, error) {
	encoded, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	var normal unstructured.Unstructured
	if err := normal.UnmarshalJSON(encoded); err != nil {
		return nil, err
	}
	return &normal, nil
}
