package crds

import (
	"encoding/json"
	"errors"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
)

// builtIn has the kinds of Kubernetes itself that the project may emit. They
// are decoded strictly into Kubernetes' own types; the API server's validation
// of their values is part of no library.
func builtIn() map[schema.GroupVersionKind]native {
	return map[schema.GroupVersionKind]native{
		corev1.SchemeGroupVersion.WithKind("Namespace"): {false, func() any { return &corev1.Namespace{} }},
		corev1.SchemeGroupVersion.WithKind("Secret"):    {true, func() any { return &corev1.Secret{} }},
		corev1.SchemeGroupVersion.WithKind("ConfigMap"): {true, func() any { return &corev1.ConfigMap{} }},
		batchv1.SchemeGroupVersion.WithKind("Job"):      {true, func() any { return &batchv1.Job{} }},
		batchv1.SchemeGroupVersion.WithKind("CronJob"):  {true, func() any { return &batchv1.CronJob{} }},
	}
}

// native checks objects of a kind that has a Go type.
type native struct {
	namespaced bool
	into       func() any
}

func (n native) check(object *unstructured.Unstructured) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaAccessor(
		object, n.namespaced, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	encoded, err := json.Marshal(object.Object)
	if err != nil {
		return append(errs, field.InternalError(nil, err))
	}
	unknown, err := kjson.UnmarshalStrict(encoded, n.into())
	if err != nil {
		return append(errs, wrongType(err))
	}
	for _, err := range unknown {
		errs = append(errs, strict(err))
	}
	return errs
}

// wrongType names the field whose value does not fit the Go type.
func wrongType(err error) *field.Error {
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		return field.TypeInvalid(field.NewPath(mismatch.Field), mismatch.Value, "expected "+mismatch.Type.String())
	}
	return &field.Error{Type: field.ErrorTypeInvalid, Field: "", Detail: err.Error()}
}

// strict names the field that the Go type does not have.
func strict(err error) *field.Error {
	var unknown kjson.FieldError
	if errors.As(err, &unknown) {
		return unknownField(unknown.FieldPath())
	}
	return &field.Error{Type: field.ErrorTypeInvalid, Detail: err.Error()}
}
