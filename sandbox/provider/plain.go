package provider

import (
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// unknownValue stands where a value is not known yet. It is valid base64, as
	// the values of a Secret have to be.
	unknownValue = "notknown"
	// secretValue stands where a value is not to be shown.
	secretValue = "(secret)"
)

// plain is a set of properties as plain values.
type plain struct {
	// object has all values, secrets included, and unknownValue in place of
	// those that are not known before their resource exists.
	object map[string]any
	// shown is object with secretValue in place of secrets.
	shown map[string]any
	// unknown are the paths of the values that are not known.
	unknown []string
	// secret are the paths of the secrets.
	secret []string
}

func toPlain(properties resource.PropertyMap) plain {
	var p plain
	p.object, p.shown = p.properties(properties, nil, false)
	return p
}

func (p *plain) properties(properties resource.PropertyMap, at *field.Path, hidden bool) (object, shown map[string]any) {
	object, shown = map[string]any{}, map[string]any{}
	for key, value := range properties {
		if !resource.IsInternalPropertyKey(key) {
			object[string(key)], shown[string(key)] = p.value(value, at.Child(string(key)), hidden)
		}
	}
	return object, shown
}

func (p *plain) value(value resource.PropertyValue, at *field.Path, hidden bool) (object, shown any) {
	switch {
	case value.IsSecret():
		p.secret = append(p.secret, at.String())
		return p.value(value.SecretValue().Element, at, true)
	case value.IsOutput() && value.OutputValue().Known:
		return p.value(value.OutputValue().Element, at, hidden || value.OutputValue().Secret)
	case value.IsOutput() || value.IsComputed():
		p.unknown = append(p.unknown, at.String())
		return unknownValue, unknownValue
	case value.IsObject():
		object, shown = p.properties(value.ObjectValue(), at, hidden)
		return object, shown
	case value.IsArray():
		objects, shows := make([]any, 0, len(value.ArrayValue())), make([]any, 0, len(value.ArrayValue()))
		for i, element := range value.ArrayValue() {
			o, s := p.value(element, at.Index(i), hidden)
			objects, shows = append(objects, o), append(shows, s)
		}
		return objects, shows
	case hidden:
		return value.Mappable(), secretValue
	default:
		return value.Mappable(), value.Mappable()
	}
}

// known leaves out the problems with values that are not known yet, and the
// values of secrets.
func (p *plain) known(problems field.ErrorList) field.ErrorList {
	var known field.ErrorList
	for _, problem := range problems {
		if under(problem.Field, p.unknown) {
			continue
		}
		if len(p.secret) > 0 {
			problem.BadValue = field.OmitValueType{}
		}
		known = append(known, problem)
	}
	return known
}

// under tells whether a path is one of the parents or lies below one.
func under(path string, parents []string) bool {
	for _, parent := range parents {
		rest, found := strings.CutPrefix(path, parent)
		if found && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}
