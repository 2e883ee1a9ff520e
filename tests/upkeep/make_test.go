package upkeep

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMakeSaysWhatIsMissing runs make on a machine that has nothing but a shell.
func TestMakeSaysWhatIsMissing(t *testing.T) {
	bin := t.TempDir()
	for _, program := range []string{"make", "sh"} {
		path, err := exec.LookPath(program)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(bin, program)))
	}
	for _, test := range []struct{ name, argument, want string }{
		{"a variable in lower case", "stack=homelab", "there is no variable stack=homelab; did you mean STACK=homelab?"},
		{"an unknown environment", "STACK=homelb", `there is no environment "homelb"; these have a file in stacks/:`},
		{"no environment", "STACK=", `there is no environment ""; these have a file in stacks/:`},
		{"no Pulumi", "STACK=homelab", "error: homelab takes an installed Pulumi: see https://www.pulumi.com/docs/install/."},
	} {
		t.Run(test.name, func(t *testing.T) {
			preview := exec.CommandContext(t.Context(), filepath.Join(bin, "make"), "preview", test.argument)
			preview.Dir = root
			preview.Env = []string{"PATH=" + bin}

			printed, err := preview.CombinedOutput()

			require.Error(t, err)
			assert.Contains(t, string(printed), test.want)
		})
	}
}
