package crds

import (
	"context"
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// custom checks objects of a kind that a CustomResourceDefinition defines.
type custom struct {
	namespaced bool
	structural *structural.Structural
	schema     validation.SchemaValidator
	rules      *cel.Validator
}

func newCustom(definition *apiextensions.CustomResourceDefinition, version string) (*custom, error) {
	found, err := apiextensions.GetSchemaForVersion(definition, version)
	if err != nil {
		return nil, err
	}
	if found == nil || found.OpenAPIV3Schema == nil {
		return nil, fmt.Errorf("version %s has no schema", version)
	}
	structure, err := structural.NewStructural(found.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	if errs := structural.ValidateStructural(nil, structure); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	validator, _, err := validation.NewSchemaValidator(found.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	return &custom{
		namespaced: definition.Spec.Scope == apiextensions.NamespaceScoped,
		structural: structure,
		schema:     validator,
		rules:      cel.NewValidator(structure, true, celconfig.PerCallLimit),
	}, nil
}

// check checks a new object, or one that replaces an old one. It takes the steps
// of the API server in their order: unknown fields, defaults, then every kind of
// validation. Rules run only on objects that have the right types, as they could
// not be evaluated otherwise.
func (c *custom) check(ctx context.Context, object, old *unstructured.Unstructured) field.ErrorList {
	errs := c.unknownFields(object)
	defaulting.PruneNonNullableNullsWithoutDefaults(object.Object, c.structural)
	defaulting.Default(object.Object, c.structural)

	metadata := field.NewPath("metadata")
	errs = append(errs, apivalidation.ValidateObjectMetaAccessor(
		object, c.namespaced, apivalidation.NameIsDNSSubdomain, metadata)...)
	var previous any
	if old == nil {
		errs = append(errs, validation.ValidateCustomResource(nil, object.Object, c.schema)...)
	} else {
		previous = old.Object
		errs = append(errs, validation.ValidateCustomResourceUpdate(nil, object.Object, old.Object, c.schema)...)
	}
	errs = append(errs, objectmeta.Validate(nil, object.Object, c.structural, false)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, c.structural, object.Object)...)
	if c.rules == nil || hasWrongType(errs) {
		return errs
	}
	broken, _ := c.rules.Validate(ctx, nil, c.structural, object.Object, previous, celconfig.RuntimeCELCostBudget)
	return append(errs, broken...)
}

// unknownFields takes the fields out that the schema does not have. An API
// server does so silently, or refuses them when asked to be strict.
func (c *custom) unknownFields(object *unstructured.Unstructured) field.ErrorList {
	unknown := pruning.PruneWithOptions(object.Object, c.structural, true,
		structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	errs := make(field.ErrorList, 0, len(unknown))
	for _, path := range unknown {
		errs = append(errs, unknownField(path))
	}
	return errs
}

func unknownField(path string) *field.Error {
	return &field.Error{Type: field.ErrorTypeForbidden, Field: path, Detail: "the schema has no such field"}
}

func hasWrongType(errs field.ErrorList) bool {
	for _, err := range errs {
		switch err.Type {
		case field.ErrorTypeTypeInvalid, field.ErrorTypeRequired, field.ErrorTypeTooLong,
			field.ErrorTypeTooMany, field.ErrorTypeNotSupported:
			return true
		}
	}
	return false
}
