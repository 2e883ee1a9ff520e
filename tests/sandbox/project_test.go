package sandbox

import (
	"os"
	"path/filepath"
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

func TestACopyHasPlaceholdersForWhatIsEncrypted(t *testing.T) {
	source, project := newTestProject(t)

	require.NoError(t, project.configure(t.Context(), nil))

	_, values := written(t, project)
	password, _ := values["wiki:password"].(map[string]any)
	require.Contains(t, password, "secure")
	crypter := &placeholders{passphrase: "passphrase"}
	crypter.salt, _ = written(t, project)
	require.NoError(t, crypter.prepare(t.Context()))
	encrypted, _ := password["secure"].(string)
	decrypted, err := crypter.crypter.DecryptValue(t.Context(), encrypted)
	require.NoError(t, err)
	assert.Equal(t, "placeholder", decrypted)

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
		"wiki:new":       float64(7),
		"wiki:databases": []any{map[string]any{"name": "notes", "size": "5Gi"}},
	}, values)
}

func TestOnlyPulumisOwnVariablesAreLeftOut(t *testing.T) {
	assert.Equal(t, []string{"HOME=/h", "MYPULUMI_X=1"},
		withoutPulumi([]string{"HOME=/h", "PULUMI_ACCESS_TOKEN=x", "MYPULUMI_X=1"}))
}
