package environment

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agext/levenshtein"
	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// reading compares what a user wrote with the Go types that it is meant for. A
// decoder stops at the first value of a wrong type and knows neither the entry
// of a list nor the value.
type reading struct {
	problems field.ErrorList
	// explained are paths about which enough is said: a problem at them or below
	// is a consequence.
	explained []string
	// zeros are zeros that would be taken for fields that are not given.
	zeros field.ErrorList
	// around are the structs around the value that is being read, and the one
	// that it belongs to.
	around []place
}

// place is a struct and the path of it.
type place struct {
	at    *field.Path
	names fields
}

// fields are those of a struct in their order, by their names in JSON.
type fields []struct {
	name string
	of   reflect.Type
}

func (f fields) find(name string) (reflect.Type, bool) {
	for _, field := range f {
		if field.name == name {
			return field.of, true
		}
	}
	return nil, false
}

// String names a few, for an example.
func (f fields) String() string {
	const enough = 3
	var names []string
	for i, field := range f {
		if i == enough {
			return strings.Join(names, ", ") + " …"
		}
		names = append(names, field.name)
	}
	return strings.Join(names, ", ")
}

// value returns what fits the type, for the decoder, and notes the rest. A
// quoted number and the like are noted and taken for what they look like, so
// that nothing else appears to be wrong.
func (r *reading) value(at *field.Path, written any, of reflect.Type) any {
	if written == nil {
		return nil
	}
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if reflect.PointerTo(of).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return r.special(at, written, of)
	}
	switch of.Kind() {
	case reflect.Struct:
		return r.object(at, written, of)
	case reflect.Map:
		return r.mapping(at, written, of)
	case reflect.Slice:
		return r.list(at, written, of)
	case reflect.String:
		return r.text(at, written)
	case reflect.Bool:
		return r.boolean(at, written)
	default:
		return r.number(at, written, of)
	}
}

// wrong notes a value of a wrong kind.
func (r *reading) wrong(at *field.Path, written any, expected string) {
	r.problems = append(r.problems, field.Invalid(at, shown(written), expected))
	r.explained = append(r.explained, at.String())
}

// encrypted notes a value that is a secret. None belongs here: all that is
// configured stands in the clear in manifests and in the state.
func (r *reading) encrypted(at *field.Path) {
	r.problems = append(r.problems, field.Forbidden(at, `has an encrypted value ("secure:"), but what is configured here `+
		"is not a secret, and appears in clear text in manifests: write it without encryption"))
	r.explained = append(r.explained, at.String())
}

// with adds the problems that are no consequences of those that are known.
func (r *reading) with(found field.ErrorList) field.ErrorList {
	problems, explained := r.problems, r.explained
	for _, problem := range found {
		if !covers(r.explained, problem.Field) {
			problems = append(problems, problem)
		}
		explained = append(explained, problem.Field)
	}
	for _, zero := range r.zeros {
		if !covers(explained, zero.Field) {
			problems = append(problems, zero)
		}
	}
	return problems
}

// covers tells whether a path is one of those or below one.
func covers(paths []string, path string) bool {
	return slices.ContainsFunc(paths, func(one string) bool {
		rest, same := strings.CutPrefix(path, one)
		return same && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// shown leaves long values out of messages.
func shown(written any) any {
	const enough = 60
	if encoded, err := json.Marshal(written); err != nil || len(encoded) > enough {
		return field.OmitValueType{}
	}
	return written
}

// special asks a type that decodes itself.
func (r *reading) special(at *field.Path, written any, of reflect.Type) any {
	encoded, err := json.Marshal(written)
	if err == nil {
		err = json.Unmarshal(encoded, reflect.New(of).Interface())
	}
	if err == nil {
		return written
	}
	expected, known := map[reflect.Type]string{
		reflect.TypeFor[resource.Quantity]():  `expected an amount, for instance "500m", 2 or "1Gi"`,
		reflect.TypeFor[metav1.Duration]():    `expected a duration, for instance "90s" or "1h30m"`,
		reflect.TypeFor[metav1.Time]():        `expected a time, for instance "2026-01-15T12:00:00Z"`,
		reflect.TypeFor[intstr.IntOrString](): "expected a number or a name",
	}[of]
	if !known {
		expected = "expected what the documentation of CloudNativePG shows"
	}
	r.wrong(at, written, expected)
	return nil
}

func (r *reading) object(at *field.Path, written any, of reflect.Type) any {
	known := fieldsOf(of)
	given, ok := written.(map[string]any)
	if !ok {
		r.wrong(at, written, "expected fields below it: "+known.String())
		return nil
	}
	if of == reflect.TypeFor[cnpgv1.ClusterSpec]() && given["kind"] != nil && given["spec"] != nil {
		r.wrong(at, given["kind"], `expected only what is below "spec:" in the Cluster`)
		return nil
	}
	r.around = append(r.around, place{at, known})
	defer func() { r.around = r.around[:len(r.around)-1] }()
	fits := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		field, ok := known.find(name)
		if !ok {
			r.unknown(at, name, of)
			continue
		}
		path := at.Child(name)
		if isZero(given[name], field) && ours(of) {
			r.zeros = append(r.zeros, nothing(path, given[name]))
		}
		if value := r.value(path, given[name], field); value != nil {
			fits[name] = value
		}
	}
	return fits
}

// isZero tells whether a value is lost in a field of the type, which cannot tell
// it from no value.
func isZero(written any, of reflect.Type) bool {
	return of.Kind() == reflect.String && written == "" || of.Kind() != reflect.Pointer && written == json.Number("0")
}

func nothing(at *field.Path, zero any) *field.Error {
	return field.Invalid(at, shown(zero), "has no effect; leave the field out for its default, or give a value")
}

// ours tells the project's own types, and those of the plugin in them, from the
// spec, whose zeros arrive as they are.
func ours(of reflect.Type) bool {
	return slices.ContainsFunc([]string{
		"github.com/homelab-iac/pulumi-cnpg-backup/",
		"github.com/cloudnative-pg/barman-cloud/",
		"github.com/cloudnative-pg/plugin-barman-cloud/",
	}, func(module string) bool { return strings.HasPrefix(of.PkgPath(), module) })
}

// unknown notes a field that is not there, and what may have been meant.
func (r *reading) unknown(at *field.Path, name string, of reflect.Type) {
	path := at.Child(name)
	var meant []string
	for _, near := range fieldsOf(of).nearest(name) {
		meant = append(meant, at.Child(near).String())
	}
	if len(meant) == 0 {
		meant = r.elsewhere(at, name)
	}
	hint := "docs/configuration.md lists all fields"
	if !ours(of) {
		hint = "see the documentation of CloudNativePG"
	}
	if len(meant) > 0 {
		hint = "did you mean " + strings.Join(meant, " or ") + "?"
	}
	r.problems = append(r.problems, field.Forbidden(path, "there is no such field; "+hint))
	r.explained = append(append(r.explained, path.String()), meant...)
}

// nearest are the names that differ from a misspelt one by a slip or two.
func (f fields) nearest(misspelt string) []string {
	best := 2
	if len(misspelt) < 4 {
		best = 1
	}
	var names []string
	for _, field := range f {
		distance := levenshtein.Distance(strings.ToLower(misspelt), strings.ToLower(field.name), nil)
		if distance < best {
			best, names = distance, nil
		}
		if distance == best {
			names = append(names, field.name)
		}
	}
	return names
}

// elsewhere are the places close by that have a field of the name: what stands
// too far to the left or to the right in YAML.
func (r *reading) elsewhere(at *field.Path, name string) []string {
	var places []string
	here := r.around[len(r.around)-1]
	for _, sibling := range here.names {
		if of := sibling.of; of.Kind() == reflect.Pointer {
			sibling.of = of.Elem()
		}
		if sibling.of.Kind() != reflect.Struct {
			continue
		}
		if _, ok := fieldsOf(sibling.of).find(name); ok {
			places = append(places, at.Child(sibling.name, name).String())
		}
	}
	const helpful = 2
	if len(places) > 0 && len(places) <= helpful {
		return places
	}
	for _, outer := range slices.Backward(r.around[:len(r.around)-1]) {
		if _, ok := outer.names.find(name); ok {
			return []string{outer.at.Child(name).String()}
		}
	}
	return nil
}

func (r *reading) mapping(at *field.Path, written any, of reflect.Type) any {
	given, ok := written.(map[string]any)
	if !ok {
		r.wrong(at, written, "expected names and values below it")
		return nil
	}
	fits := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		path := at.Child(name)
		if strings.ContainsAny(name, "./") {
			path = at.Key(name)
		}
		if value := r.value(path, given[name], of.Elem()); value != nil {
			fits[name] = value
		}
	}
	return fits
}

func (r *reading) list(at *field.Path, written any, of reflect.Type) any {
	if of.Elem().Kind() == reflect.Uint8 {
		return r.text(at, written)
	}
	given, ok := written.([]any)
	if !ok {
		expected := `expected a list: begin each entry with "- "`
		if element := of.Elem(); element.Kind() == reflect.Struct {
			expected += ", and give it " + fieldsOf(element).String()
		}
		r.wrong(at, written, expected)
		return nil
	}
	fits := make([]any, 0, len(given))
	for i := range given {
		fits = append(fits, r.value(at.Index(i), given[i], of.Elem()))
	}
	return fits
}

func (r *reading) text(at *field.Path, written any) any {
	if text, ok := written.(string); ok {
		if _, err := time.Parse("2006-01-02 15:04:05.999999999 -0700 MST", text); err == nil {
			r.wrong(at, written, "was a time without quotes, which Pulumi rewrites: put it into quotes")
			return nil
		}
		return written
	}
	plain := fmt.Sprint(written)
	switch written.(type) {
	case json.Number, bool:
		r.wrong(at, written, quoting(at, plain))
		return plain
	default:
		r.wrong(at, written, "expected text")
		return nil
	}
}

// quoting says how to write a number or a word like true as text. Some lack more
// than quotes.
func quoting(at *field.Path, plain string) string {
	path := at.String()
	switch path[strings.LastIndex(path, ".")+1:] {
	case "size":
		return fmt.Sprintf("expected a number with its unit, for instance %q", plain+"Gi")
	case "retention":
		return fmt.Sprintf("expected a number and d, w or m for days, weeks or months, for instance %q", plain+"d")
	default:
		return fmt.Sprintf("expected text; put it into quotes: %q", plain)
	}
}

func (r *reading) boolean(at *field.Path, written any) any {
	if _, ok := written.(bool); ok {
		return written
	}
	r.wrong(at, written, "expected true or false, without quotes")
	switch word, _ := written.(string); strings.ToLower(word) {
	case "true", "yes", "on", "y":
		return true
	case "false", "no", "off", "n":
		return false
	default:
		return nil
	}
}

func (r *reading) number(at *field.Path, written any, of reflect.Type) any {
	digits, quoted := written.(string)
	if number, ok := written.(json.Number); ok {
		digits = number.String()
	}
	_, err := strconv.ParseInt(digits, 10, of.Bits())
	switch {
	case err == nil && !quoted:
		return written
	case err == nil:
		r.wrong(at, written, "expected a number, without quotes: "+digits)
		return json.Number(digits)
	case errors.Is(err, strconv.ErrRange):
		largest := int64(math.MaxInt64) >> (64 - of.Bits())
		r.wrong(at, written, fmt.Sprintf("expected a number up to %d", largest))
		return nil
	default:
		r.wrong(at, written, "expected a whole number")
		return nil
	}
}

func fieldsOf(of reflect.Type) fields {
	var known fields
	for i := range of.NumField() {
		field := of.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-" || !field.IsExported():
		case name == "" && field.Anonymous:
			known = append(known, fieldsOf(field.Type)...)
		case name != "":
			known = append(known, fields{{name, field.Type}}...)
		}
	}
	return known
}
