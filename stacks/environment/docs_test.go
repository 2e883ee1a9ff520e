package environment

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
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

// documents are the README and every file in docs/, by their paths.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"README.md", "docs/*.md", "docs/*/*.md"} {
		root := os.DirFS("../..")
		files, err := fs.Glob(root, pattern)
		require.NoError(t, err)
		for _, file := range files {
			text, err := fs.ReadFile(root, file)
			require.NoError(t, err)
			texts[file] = string(text)
		}
	}
	require.Contains(t, texts, "README.md")
	return texts
}

// fenced finds blocks that are fenced, also in a list: the indentation, the
// language, the block.
var fenced = regexp.MustCompile("(?ms)^( *)```([a-z]*)\n(.*?\n) *```$")

// blocks are the documents' fenced blocks of a language.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	var found []string
	for _, text := range documents(t) {
		for _, match := range fenced.FindAllStringSubmatch(text, -1) {
			if match[2] == language {
				found = append(found, strings.ReplaceAll("\n"+match[3], "\n"+match[1], "\n"))
			}
		}
	}
	require.NotEmpty(t, found)
	return found
}

// TestTheConfigurationInTheDocsDeploys deploys every YAML block that is not a
// Kubernetes object, which tests/upkeep/docs_test.go checks, over the good
// configuration.
func TestTheConfigurationInTheDocsDeploys(t *testing.T) {
	t.Parallel()
	for _, block := range blocks(t, "yaml") {
		var values map[string]any
		require.NoError(t, yaml.Unmarshal([]byte(block), &values), block)
		if _, object := values["apiVersion"]; object {
			continue
		}
		config := with(t, nil)
		for key, value := range values {
			name, ours := strings.CutPrefix(key, "cnpg-backup:")
			require.True(t, ours, "%s in\n%s", key, block)
			config[name] = value
		}
		_, err := deploy(t, true, config)
		require.NoError(t, err, block)
	}
}

func TestTheGoInTheDocsStandsInAnExample(t *testing.T) {
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

func TestTheGoInTheReadmeCompilesAsPasted(t *testing.T) {
	t.Parallel()
	for _, block := range blocks(t, "go") {
		file := filepath.Join(t.TempDir(), "main.go")
		require.NoError(t, os.WriteFile(file, []byte(block), 0o600))
		vet := exec.CommandContext(t.Context(), "go", "vet", file)
		vet.Dir = filepath.Join("..", "..")
		complaints, err := vet.CombinedOutput()
		require.NoError(t, err, "%s", complaints)
	}
}

// flat makes texts comparable that differ in indentation only.
func flat(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestEveryConfigurationKeyIsInTheDocs(t *testing.T) {
	t.Parallel()
	sections := map[string]any{
		"## `monitoring`\n": cnpg.Monitoring{}, "## `b2`\n": cnpg.B2Args{}, "## `minio`\n": cnpg.MinIOArgs{}, "## `bitwarden`\n": cnpg.BitwardenArgs{},
		"## `databases`": Database{}, "## `b2` and `minio` of a database": cnpg.StoreOptions{},
		"## `mirror` of a database": cnpg.Mirror{}, "## `recovery` of a database": cnpg.Recovery{},
		"## `drill`, of the environment": cnpg.DrillOptions{}, "## `dashboard`\n": cnpg.DashboardArgs{},
	}
	text := documents(t)["docs/configuration.md"]
	for title, args := range sections {
		_, section, found := strings.Cut(text, title)
		require.True(t, found, title)
		section, _, _ = strings.Cut(section, "\n## ")
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
