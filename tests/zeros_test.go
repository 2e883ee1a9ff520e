package tests

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/homelab-iac/pulumi-cnpg-backup/internal/engine"
	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/crds"
	"github.com/homelab-iac/pulumi-cnpg-backup/stacks/environment"
)

// zero is a field of a spec that means one thing when it is zero and another
// when it is not there, by its path. A list is entered by "[]".
type zero struct {
	path     []string
	value    any
	required []map[string]any // what the entries of the lists on the way have to have
	refused  bool
}

// zerosOf are those of a kind's spec: they have another default, or a minimum.
func zerosOf(t *testing.T, kind string) []zero {
	t.Helper()
	files, err := crds.Files(t.Context())
	require.NoError(t, err)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		var definition apiextensionsv1.CustomResourceDefinition
		require.NoError(t, yaml.Unmarshal(content, &definition))
		if definition.Spec.Names.Kind == kind {
			schema := definition.Spec.Versions[0].Schema.OpenAPIV3Schema
			return zerosBelow(schema.Properties["spec"], zero{})
		}
	}
	require.Fail(t, "there is no definition of "+kind)
	return nil
}

func zerosBelow(schema apiextensionsv1.JSONSchemaProps, at zero) []zero {
	var found []zero
	nothing, scalar := map[string]any{"string": "", "integer": 0, "number": 0, "boolean": false}[schema.Type]
	encoded, _ := json.Marshal(nothing)
	at.refused = schema.Minimum != nil && *schema.Minimum > 0
	if scalar && (at.refused || schema.Default != nil && !bytes.Equal(schema.Default.Raw, encoded)) {
		at.value = nothing
		found = append(found, at)
	}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		below := at
		below.path = append(slices.Clone(at.path), name)
		found = append(found, zerosBelow(schema.Properties[name], below)...)
	}
	if schema.Items != nil {
		below := at
		below.path = append(slices.Clone(at.path), "[]")
		entry := map[string]any{}
		for _, name := range schema.Items.Schema.Required {
			if schema.Items.Schema.Properties[name].Type == "string" {
				entry[name] = "x"
			}
		}
		below.required = append(slices.Clone(at.required), entry)
		found = append(found, zerosBelow(*schema.Items.Schema, below)...)
	}
	return found
}

func (z zero) String() string { return strings.ReplaceAll(strings.Join(z.path, "."), ".[]", "[]") }

// in is the zero in all that is around it.
func (z zero) in() map[string]any {
	required := slices.Clone(z.required)
	value := z.value
	for _, name := range slices.Backward(z.path) {
		if name == "[]" {
			entry := maps.Clone(required[len(required)-1])
			required = required[:len(required)-1]
			if fields, ok := value.(map[string]any); ok {
				maps.Copy(entry, fields)
				value = entry
			}
			value = []any{value}
			continue
		}
		value = map[string]any{name: value}
	}
	spec, _ := value.(map[string]any)
	return spec
}

// of is what a spec has in the place of the zero, from the first entry of lists.
func (z zero) of(spec any) any {
	for _, name := range z.path {
		if name == "[]" {
			entries, _ := spec.([]any)
			if len(entries) == 0 {
				return nil
			}
			spec = entries[0]
			continue
		}
		fields, _ := spec.(map[string]any)
		spec = fields[name]
	}
	return spec
}

// specOf is the spec of the Cluster that a database's configuration makes.
func specOf(t *testing.T, database map[string]any) (any, error) {
	t.Helper()
	settings := engine.Credentials()
	for key, value := range map[string]any{
		"b2":        map[string]any{"bucket": "example-cnpg-b2", "region": "us-west-002"},
		"minio":     map[string]any{"bucket": "backups", "endpoint": "https://nas.example.org", "secret": "minio"},
		"bitwarden": map[string]any{"store": "bitwarden", "item": "b2"},
		"databases": []any{database},
	} {
		encoded, err := json.Marshal(value)
		require.NoError(t, err)
		settings["cnpg-backup:"+key] = string(encoded)
	}
	fake := &engine.Fake{}
	err := environment.Run(pulumi.WithMocks("cnpg-backup", "zeros", fake),
		func(info *pulumi.RunInfo) { info.Config = settings })
	for _, made := range fake.Resources() {
		if strings.HasSuffix(made.TypeToken, ":Cluster") {
			return made.Inputs.Mappable()["spec"], err
		}
	}
	return nil, err
}

func TestEveryZeroOfASpecArrivesOrIsRefused(t *testing.T) {
	// These are refused whole, as the component sets them up.
	owned := []string{"backup.barmanObjectStore.", "externalClusters[].barmanObjectStore."}
	zeros := zerosOf(t, "Cluster")
	require.Greater(t, len(zeros), 30)
	for _, zero := range zeros {
		if slices.ContainsFunc(owned, func(prefix string) bool { return strings.HasPrefix(zero.String(), prefix) }) {
			continue
		}
		t.Run(zero.String(), func(t *testing.T) {
			spec := map[string]any{
				"imageName": "ghcr.io/cloudnative-pg/postgresql:17.7", "storage": map[string]any{"size": "5Gi"},
			}
			for name, value := range zero.in() {
				if below, ok := value.(map[string]any); ok && (name == "storage" || name == "walStorage") {
					below["size"] = "5Gi"
				}
				spec[name] = value
			}

			made, err := specOf(t, map[string]any{"name": "notes", "namespace": "apps", "spec": spec})

			if zero.refused {
				require.ErrorContains(t, err, "databases[0].spec."+zero.String())
				require.ErrorContains(t, err, "expected 1 or more")
				return
			}
			require.NoError(t, err)
			assert.EqualValues(t, zero.value, zero.of(made), "%v", made)
		})
	}
}

func TestEveryZeroOfAStoreIsRefused(t *testing.T) {
	places := map[string]string{
		"configuration.wal.": "wal.", "configuration.data.": "data.", "instanceSidecarConfiguration.": "sidecar.",
	}
	tried := 0
	for _, zero := range zerosOf(t, "ObjectStore") {
		for prefix, place := range places {
			name, ok := strings.CutPrefix(zero.String(), prefix)
			if !ok {
				continue
			}
			tried++
			section := strings.TrimSuffix(place, ".")
			_, err := specOf(t, database("notes", map[string]any{"b2": map[string]any{section: map[string]any{name: zero.value}}}))
			require.ErrorContains(t, err, "databases[0].b2."+place+name)
		}
	}
	assert.GreaterOrEqual(t, tried, 4)
}
