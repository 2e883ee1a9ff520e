package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLintScripts(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]string{
		"if true; then\n  echo \"$1\"\nfi\n": "",
		"if true; then\necho \"$1\"\nfi\n":   "script.sh:2: is not formatted",
		"if true; then\n  echo\n":            "must end with `fi`",
		"names=(a b)\n":                      "arrays are a bash",
	} {
		folder := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(folder, "script.sh"), []byte(script), 0o600))
		if err := lintScripts(folder); want == "" {
			assert.NoError(t, err)
		} else {
			assert.ErrorContains(t, err, want)
		}
	}
}
