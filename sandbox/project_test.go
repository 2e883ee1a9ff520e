package sandbox

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

const (
	settings = "name: wiki\nruntime: go\nmain: stacks\nstackConfigDir: stacks\n"
	stack    = `encryptionsalt: v1:of:another
config:
  wiki:password:
    secure: v1:not:ours
  wiki:databases:
    - name: notes
      size: 5Gi
`
)

// newTestProject returns a project's folder and a copy of the project.
func newTestProject(t *testing.T) (source string, copied *project) {
	t.Helper()
	source = t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(source, "stacks"), 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(source, "Pulumi.yaml"), []byte(settings), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(source, "stacks", "Pulumi.homelab.yaml"), []byte(stack), 0o600))
	copied, err := newProject(source, t.TempDir(), "homelab", "passphrase")
	require.NoError(t, err)
	return source, copied
}

// written is the copy of the stack's configuration.
func written(t *testing.T, p *project) (salt string, values map[string]any) {
	t.Helper()
	content, err := os.ReadFile(p.copied)
	require.NoError(t, err)
	var file struct {
		Salt   string         `json:"encryptionsalt"`
		Config map[string]any `json:"config"`
	}
	require.NoError(t, yaml.Unmarshal(content, &file))
	return file.Salt, file.Config
}

func TestACopyHasOtherValuesForWhatIsEncrypted(t *testing.T) {
	source, project := newTestProject(t)

	require.NoError(t, project.configure(t.Context(), nil))

	_, values := written(t, project)
	password, _ := values["wiki:password"].(map[string]any)
	require.Contains(t, password, "secure")
	salt, _ := written(t, project)
	crypter, err := crypterOf("passphrase", salt)
	require.NoError(t, err)
	encrypted, _ := password["secure"].(string)
	decrypted, err := crypter.DecryptValue(t.Context(), encrypted)
	require.NoError(t, err)
	assert.Equal(t, "[secret]", decrypted)

	original, err := os.ReadFile(filepath.Join(source, "stacks", "Pulumi.homelab.yaml"))
	require.NoError(t, err)
	assert.Equal(t, stack, string(original), "the project itself is only read")
}

func TestACopyKeepsItsSalt(t *testing.T) {
	_, project := newTestProject(t)
	require.NoError(t, project.configure(t.Context(), nil))
	before, _ := written(t, project)
	require.NotEmpty(t, before)

	require.NoError(t, project.configure(t.Context(), nil))

	after, _ := written(t, project)
	assert.Equal(t, before, after)
}

func TestChangesOfAConfiguration(t *testing.T) {
	_, project := newTestProject(t)

	require.NoError(t, project.configure(t.Context(), map[string]any{"wiki:password": nil, "wiki:new": 7}))

	_, values := written(t, project)
	assert.Equal(t, map[string]any{
		"wiki:new":       "7", // to Pulumi a number outside of an object is text
		"wiki:databases": []any{map[string]any{"name": "notes", "size": "5Gi"}},
	}, values)
}

func TestConfigurationIsReadAsPulumiReadsIt(t *testing.T) {
	for name, text := range map[string]string{
		"as it should be":         stackConfig("wiki:size: 5\n  wiki:databases: [{name: notes}]"),
		"a key given twice":       stackConfig("wiki:databases: [{name: a}]\n  wiki:databases: [{name: b}]"),
		"a nested key twice":      stackConfig("wiki:databases:\n    - {name: a, instances: 1, instances: 2}"),
		"words for yes and no":    stackConfig("wiki:protect: no\n  wiki:databases: [{protect: yes, suspend: on, mirror: off}]"),
		"a time without quotes":   stackConfig("wiki:recovery: {time: 2026-01-15 12:00:00, day: 2026-01-15}"),
		"numbers of all kinds":    stackConfig("wiki:numbers: [0, 010, 0x1F, 1_000, 1.5, 1e3, 12345678901234567890, -1]\n  wiki:mode: 010"),
		"nothing in places":       stackConfig("wiki:nothing:\n  wiki:list: [~, null, '']\n  wiki:map: {}"),
		"an anchor and a merge":   stackConfig("wiki:a: &a {size: 5Gi}\n  wiki:b: {<<: *a, name: notes}"),
		"no project before a key": stackConfig("size: 5Gi"),
		"a mark at the beginning": "\xef\xbb\xbf" + stackConfig("wiki:size: 5Gi"),
		"line ends of Windows":    strings.ReplaceAll(stackConfig("wiki:size: 5Gi\n  wiki:b: {c: d}"), "\n", "\r\n"),
		"an empty file":           "",
		"comments only":           "# nothing\n",
		"nothing below config":    "config:\n",
		"no config":               "wiki:size: 5Gi\n",
		"a list":                  "- config\n",
		"a quote without its end": stackConfig("wiki:size: \"5Gi"),
		"a colon too few":         stackConfig("wiki:size 5Gi"),
		"a tab":                   stackConfig("wiki:databases:\n\t- name: notes"),
	} {
		t.Run(name, func(t *testing.T) {
			source, project := newTestProject(t)
			pulumi := newCLI(t, "homelab")
			write := func(text string) { require.NoError(t, os.WriteFile(project.source, []byte(text), 0o600)) }
			write("")
			_, refusal := pulumi(source, "stack", "init")
			require.Empty(t, refusal)
			write(text)

			before, refusal := pulumi(source, "config", "--json")
			err := project.configure(t.Context(), nil)

			if refusal != "" {
				require.Error(t, err)
				reason := err.Error()[strings.LastIndex(err.Error(), ".yaml: ")+len(".yaml: "):]
				assert.Contains(t, refusal, reason, "Pulumi's own words")
				return
			}
			require.NoError(t, err)
			after, refusal := pulumi(project.folder, "config", "--json")
			assert.Empty(t, refusal)
			assert.JSONEq(t, before, after)
		})
	}
}

// TestPulumiSaysAboutMistakesWhatTheTableSays compares the table of mistakes with
// the command.
func TestPulumiSaysAboutMistakesWhatTheTableSays(t *testing.T) {
	text, err := os.ReadFile("../stacks/environment/testdata/mistakes.yaml")
	require.NoError(t, err)
	var table struct {
		Good     string
		Mistakes []struct {
			Mistake      string
			Change       [][2]string
			File         *string
			YAML, Schema string
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &table))
	settings, err := os.ReadFile("../Pulumi.yaml")
	require.NoError(t, err)
	project := t.TempDir()
	file := filepath.Join(project, "stacks", "Pulumi.local.yaml")
	require.NoError(t, os.Mkdir(filepath.Dir(file), 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(project, "Pulumi.yaml"), settings, 0o600))
	pulumi := newCLI(t, "local")
	_, refusal := pulumi(project, "stack", "init")
	require.Empty(t, refusal)
	compared := 0
	for _, row := range table.Mistakes {
		if row.YAML == "" && row.Schema == "" {
			continue
		}
		compared++
		text := table.Good
		for _, change := range row.Change {
			text = strings.ReplaceAll(text, change[0], change[1])
		}
		if row.File != nil {
			text = *row.File
		}
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))

		_, refusal := pulumi(project, "preview")

		want := "error: validating stack config: " + row.Schema + "\n"
		if row.YAML != "" {
			want = "error: getting stack configuration: " + row.YAML + "\n"
		}
		assert.Contains(t, refusal, want, row.Mistake)
	}
	assert.Greater(t, compared, 10)
}

func stackConfig(values string) string { return "config:\n  " + values + "\n" }

// newCLI returns the real command of Pulumi with a state of its own. It tells
// what was printed, or why not.
func newCLI(t *testing.T, stack string) func(folder string, args ...string) (printed, refusal string) {
	t.Helper()
	binary, err := findPulumi(t.Context(), os.Stderr)
	require.NoError(t, err)
	state := t.TempDir()
	return func(folder string, args ...string) (string, string) {
		cmd := exec.CommandContext(t.Context(), binary, append(args, "--stack", stack, "--non-interactive")...)
		cmd.Dir = folder
		cmd.Env = append(withoutPulumi(os.Environ()), "PULUMI_HOME="+state, "PULUMI_BACKEND_URL=file://"+state,
			"PULUMI_CONFIG_PASSPHRASE=passphrase", "PULUMI_SKIP_UPDATE_CHECK=true")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			return "", err.Error() + ": " + stderr.String()
		}
		return stdout.String(), ""
	}
}

func TestOnlyPulumisOwnVariablesAreLeftOut(t *testing.T) {
	assert.Equal(t, []string{"HOME=/h", "MYPULUMI_X=1"},
		withoutPulumi([]string{"HOME=/h", "PULUMI_ACCESS_TOKEN=x", "MYPULUMI_X=1"}))
}
