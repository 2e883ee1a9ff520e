package upkeep

import (
	"os"
	"path"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// modules are the folders of the repository's modules, from its root.
func modules(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, file := range written(t) {
		if path.Base(file) == "go.mod" {
			found = append(found, path.Join("/", path.Dir(file)))
		}
	}
	require.Contains(t, found, "/")
	require.Contains(t, found, "/tools/cnpg")
	return found
}

func TestDependabotKnowsEveryModule(t *testing.T) {
	text, err := os.ReadFile("../../.github/dependabot.yml")
	require.NoError(t, err)
	var config struct {
		Updates []struct {
			Ecosystem   string   `json:"package-ecosystem"`
			Directory   string   `json:"directory"`
			Directories []string `json:"directories"`
		} `json:"updates"`
	}
	require.NoError(t, yaml.Unmarshal(text, &config))
	watched := map[string][]string{}
	for _, update := range config.Updates {
		folders := update.Directories
		if update.Directory != "" {
			folders = append(folders, update.Directory)
		}
		watched[update.Ecosystem] = append(watched[update.Ecosystem], folders...)
	}

	for _, module := range modules(t) {
		assert.True(t, slices.ContainsFunc(watched["gomod"], func(pattern string) bool {
			matches, err := path.Match(pattern, module)
			return err == nil && matches
		}), "nobody watches %s", module)
	}
	assert.Equal(t, []string{"/"}, watched["github-actions"])
}
