package environment

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	return string(text)
}

// blocks are the fenced blocks of a language in the README.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	var found []string
	for _, match := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(readme(t), -1) {
		found = append(found, match[1])
	}
	require.NotEmpty(t, found)
	return found
}

func TestTheConfigurationInTheReadmeDeploys(t *testing.T) {
	t.Parallel()
	for _, block := range blocks(t, "yaml") {
		var values map[string]any
		require.NoError(t, yaml.Unmarshal([]byte(block), &values), block)
		config := with(t, nil)
		for key, value := range values {
			config[strings.TrimPrefix(key, "cnpg-backup:")] = value
		}
		_, err := deploy(t, true, config)
		require.NoError(t, err, block)
	}
}

func TestTheGoInTheReadmeStandsInAnExample(t *testing.T) {
	t.Parallel()
	var programs string
	files, err := filepath.Glob("../../examples/*/main.go")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		programs += flat(string(text))
	}
	for _, block := range blocks(t, "go") {
		assert.Contains(t, programs, flat(block), "the examples are compiled and run by the tests")
	}
}

// flat makes texts comparable that differ in indentation only.
func flat(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestEveryConfigurationKeyIsInTheReadme(t *testing.T) {
	t.Parallel()
	sections := map[string]any{
		"### `b2`\n": cnpg.B2Args{}, "### `minio`\n": cnpg.MinIOArgs{}, "### `bitwarden`\n": cnpg.BitwardenArgs{},
		"### `databases`": Database{}, "### `b2` and `minio` of a database": cnpg.StoreOptions{},
		"### `mirror` of a database": cnpg.Mirror{}, "### `recovery` of a database": cnpg.Recovery{},
	}
	text := readme(t)
	for title, args := range sections {
		_, section, found := strings.Cut(text, title)
		require.True(t, found, title)
		section, _, _ = strings.Cut(section, "\n### ")
		for _, key := range keys(reflect.TypeOf(args)) {
			assert.Regexp(t, "`"+key+"[`.]", section, "%s in the section %s", key, title)
		}
	}
}

// keys are the JSON names of a struct, of embedded ones too.
func keys(of reflect.Type) []string {
	var names []string
	for i := range of.NumField() {
		field := of.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-" || !field.IsExported():
		case name == "" && field.Anonymous:
			names = append(names, keys(field.Type)...)
		default:
			names = append(names, name)
		}
	}
	return names
}

func TestEveryShippedEnvironmentDeploys(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../Pulumi.*.yaml")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 3)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var stack struct {
			Config map[string]json.RawMessage `json:"config"`
		}
		require.NoError(t, yaml.Unmarshal(text, &stack))
		config := map[string]any{}
		for key, value := range stack.Config {
			if name, ours := strings.CutPrefix(key, "cnpg-backup:"); ours {
				config[name] = value
			}
		}
		for _, dryRun := range []bool{true, false} {
			_, err := deploy(t, dryRun, config)
			assert.NoError(t, err, file)
		}
	}
}
