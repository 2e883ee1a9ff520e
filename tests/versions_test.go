package tests

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/tools"
)

// mention is a place that names the version of a tool beside the one go.mod in
// tests/tools that decides on it.
type mention struct {
	tool tools.Tool
	// in is a pattern of files, from the root.
	in string
	// as finds the version there, without a v.
	as string
}

// mentions are all of them. To raise a version: "go get" in the tool's module,
// and this test says what else to change.
func mentions() []mention {
	const release = `v?(\d+\.\d+\.\d+)`
	var (
		operator  = tools.CloudNativePG()
		plugin    = tools.BarmanCloudPlugin()
		pulumi    = tools.Pulumi()
		proof     = "docs/proof.md"
		workflows = ".github/workflows/*.yaml"
		// The tool of that name is a main package of our own around it.
		rclone = tools.Tool{Name: "rclone", Module: "rclone", Package: "github.com/rclone/rclone"}
	)
	all := []mention{
		{plugin, "components/cnpg/mirror.go", `plugin-barman-cloud-sidecar:` + release},
		{plugin, "tests/restore/lab/sidecar.go", `cloudnative-pg/plugin-barman-cloud ` + release},
		{rclone, "components/cnpg/mirror.go", `rclone/rclone:` + release},
		{operator, "components/cnpg/*.go", `cloudnative-pg/cloudnative-pg/blob/` + release},
		{pulumi, workflows, `pulumi-version: ` + release},
		{operator, proof, `CloudNativePG\s+` + release},
		{plugin, proof, `plugin\s+` + release},
		{tools.KubeAPIServer(), proof, `(?:API server|Kubernetes)\s+` + release},
		{tools.ExternalSecrets(), proof, `External Secrets\s+` + release},
	}
	for _, module := range []string{"go.mod", "tests/go.mod", "examples/outside/go.mod"} {
		all = append(all,
			mention{operator, module, `github.com/cloudnative-pg/api ` + release},
			mention{plugin, module, `github.com/cloudnative-pg/plugin-barman-cloud ` + release},
			mention{pulumi, module, `github.com/pulumi/pulumi/sdk/v3 ` + release},
		)
	}
	return append(all, mention{pulumi, "tests/tools/b2sdk/go.mod", `github.com/pulumi/pulumi/pkg/v3 ` + release})
}

// outdated are the places of a mention that name another version.
func (m mention) outdated(t *testing.T, root fs.FS) []string {
	t.Helper()
	version, err := m.tool.Version()
	require.NoError(t, err)
	files, err := fs.Glob(root, m.in)
	require.NoError(t, err)
	found := 0
	var outdated []string
	for _, file := range files {
		text, err := fs.ReadFile(root, file)
		require.NoError(t, err)
		for _, at := range regexp.MustCompile(m.as).FindAllSubmatchIndex(text, -1) {
			found++
			if named := string(text[at[2]:at[3]]); named != version {
				outdated = append(outdated, fmt.Sprintf("%s:%d: %s %s, but tests/tools/%s/go.mod has %s",
					file, 1+strings.Count(string(text[:at[0]]), "\n"), m.tool.Name, named, m.tool.Module, version))
			}
		}
	}
	assert.NotZero(t, found, "%s in %s: nothing is compared", m.as, m.in)
	return outdated
}

func TestEveryVersionIsTheOneThatATestRuns(t *testing.T) {
	for _, m := range mentions() {
		assert.Empty(t, m.outdated(t, os.DirFS(root)))
	}
}

func TestAnOutdatedVersionIsFound(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "page.md"), []byte("With\nCloudNativePG 1.2.3.\n"), 0o600))

	outdated := mention{tools.CloudNativePG(), "page.md", `CloudNativePG (\d+\.\d+\.\d+)`}.outdated(t, os.DirFS(dir))

	require.Len(t, outdated, 1)
	assert.Regexp(t, `^page.md:2: cnpg-manager 1.2.3, but tests/tools/cnpg/go.mod has \d`, outdated[0])
}
