package environment

import (
	"os"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/encoding"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/homelab-iac/pulumi-cnpg-backup/internal/engine"
)

// mistake is a row of testdata/mistakes.yaml: what people do on their first day,
// and what they are told.
type mistake struct {
	Mistake string
	// Change is made to the good file, pairs of old and new text; File replaces it.
	Change [][2]string
	File   *string
	// YAML is what Pulumi says when it cannot read the file, and Schema what its
	// command says because of the types in Pulumi.yaml; a test of the sandbox
	// compares both with the command. Then the program does not run.
	YAML, Schema string
	// Said is what the program says, line by line.
	Said []string
	// Why says why a mistake is left to others.
	Why string
}

func (m mistake) file(good string) string {
	if m.File != nil {
		return *m.File
	}
	for _, change := range m.Change {
		good = strings.ReplaceAll(good, change[0], change[1])
	}
	return good
}

// said is what Pulumi and the program say about the configuration of a stack.
func said(t *testing.T, file string) (byPulumi string, byProgram []string) {
	t.Helper()
	project, err := workspace.LoadProject("../../Pulumi.yaml")
	require.NoError(t, err)
	marshaler, _ := encoding.Detect("Pulumi.local.yaml")
	stack, err := workspace.LoadProjectStackBytes(nil, project, []byte(file), "Pulumi.local.yaml", marshaler)
	if err != nil {
		return err.Error(), nil
	}
	values, err := stack.Config.Decrypt(config.NewBlindingDecrypter())
	require.NoError(t, err)
	settings := map[string]string{}
	for key, value := range values {
		settings[key.String()] = value
	}
	var secrets []string
	for _, key := range stack.Config.SecureKeys() {
		secrets = append(secrets, key.String())
	}
	_, problems := Load(settings, secrets, os.Getenv)
	fake := &engine.Fake{}
	err = Run(pulumi.WithMocks("cnpg-backup", "local", fake), func(info *pulumi.RunInfo) {
		info.Config, info.ConfigSecretKeys = settings, secrets
	})
	if len(problems) == 0 {
		require.NoError(t, err)
	} else {
		require.EqualError(t, err, strings.Join(problems, "\n"))
		require.Empty(t, fake.Names(), "nothing is registered, not even the stack")
	}
	return "", problems
}

func TestTheMistakesOfAFirstDay(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/mistakes.yaml")
	require.NoError(t, err)
	var table struct {
		Good     string
		Mistakes []mistake
	}
	require.NoError(t, yaml.UnmarshalStrict(text, &table))
	require.GreaterOrEqual(t, len(table.Mistakes), 99)
	for _, row := range table.Mistakes {
		t.Run(row.Mistake, func(t *testing.T) {
			t.Parallel()
			file := row.file(table.Good)
			require.NotEqual(t, table.Good, file)

			byPulumi, byProgram := said(t, file)

			assert.Equal(t, row.YAML, byPulumi)
			assert.Equal(t, row.Said, byProgram)
			accepted := byPulumi == "" && len(byProgram) == 0
			assert.Equal(t, accepted, row.Why != "", "what is accepted has a reason")
		})
	}
}
