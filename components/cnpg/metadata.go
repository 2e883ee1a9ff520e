package cnpg

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// notYours are keys that others write, or that take from the backups what they
// are for, and why. CloudNativePG's are described in
// https://github.com/cloudnative-pg/cloudnative-pg/blob/v1.30.0/docs/src/labels_annotations.md
var notYours = map[string]string{ //nolint:gochecknoglobals // a table that nobody changes
	labelName:      "it is set for you",
	labelComponent: "it is set for you",
	labelPartOf:    "it is set for you",
	labelManagedBy: "it is set for you",

	"cnpg.io/skipWalArchiving":         "it switches the archive off: nothing new could be restored",
	"cnpg.io/skipEmptyWalArchiveCheck": "it lets a cluster write over the backups of an earlier life; raise generation instead",
	"cnpg.io/reloadedAt":               "kubectl cnpg reload writes it",

	"kubectl.kubernetes.io/restartedAt":                "kubectl cnpg restart writes it",
	"kubectl.kubernetes.io/last-applied-configuration": "kubectl apply writes it; leave it out",
}

// checkPartOf wants a component's name to be the value of a label of what it makes.
func checkPartOf(name string) field.ErrorList {
	if len(validation.IsValidLabelValue(name)) == 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("name"), name, labelValue+"; it becomes the value of a label")}
}

// labelValue is what Kubernetes takes for the value of a label.
const labelValue = `expected up to 63 letters, digits, "-", "_" and ".", and a letter or digit first and last`

func checkLabels(at *field.Path, labels map[string]string) field.ErrorList {
	var problems field.ErrorList
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		problems = append(problems, checkKey(at.Key(key), key)...)
		if strings.HasPrefix(key, "cnpg.io/") {
			problems = append(problems, field.Forbidden(at.Key(key), "the operator writes these labels"))
		}
		if len(validation.IsValidLabelValue(labels[key])) > 0 {
			problems = append(problems, field.Invalid(at.Key(key), labels[key], labelValue+"; an annotation takes any text"))
		}
	}
	return problems
}

// mostAnnotations is TotalAnnotationSizeLimitB of
// https://github.com/kubernetes/apimachinery/blob/v0.34.4/pkg/api/validation/objectmeta.go
const mostAnnotations = 256 << 10

func checkAnnotations(at *field.Path, annotations map[string]string) field.ErrorList {
	var problems field.ErrorList
	size := 0
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		problems = append(problems, checkKey(at.Key(key), key)...)
		if strings.HasPrefix(key, "pulumi.com/") {
			problems = append(problems, field.Forbidden(at.Key(key),
				"Pulumi's own are set for you; to have it wait for the Cluster use waitUntilReady"))
		}
		size += len(key) + len(annotations[key])
	}
	if size > mostAnnotations {
		problems = append(problems, field.TooLong(at, nil, mostAnnotations))
	}
	return problems
}

// checkKey wants a key that Kubernetes takes and that is the user's to set.
func checkKey(at *field.Path, key string) field.ErrorList {
	if reason, theirs := notYours[key]; theirs {
		return field.ErrorList{field.Forbidden(at, reason)}
	}
	if strings.HasPrefix(key, "cnpg-backup/") {
		return field.ErrorList{field.Forbidden(at, "keys with this prefix are set for you")}
	}
	// In lower case, as Kubernetes looks at annotations.
	if len(validation.IsQualifiedName(strings.ToLower(key))) > 0 {
		return field.ErrorList{field.Invalid(at, key, `is not a valid key; expected for instance "example.org/team"`)}
	}
	return nil
}
