package upkeep

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"

	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

// pin is a version and the one file that decides on it.
type pin struct{ name, version, from string }

// of is the pin of a tool.
func of(t *testing.T, tool tools.Tool) pin {
	t.Helper()
	version, err := tool.Version()
	require.NoError(t, err)
	return pin{tool.Name, version, "tools/" + tool.Module + "/go.mod"}
}

// goMod is the root's, which importers inherit.
func goMod(t *testing.T) *modfile.File {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	file, err := modfile.ParseLax("go.mod", content, nil)
	require.NoError(t, err)
	return file
}

// imported is the pin of a module that the component imports.
func imported(t *testing.T, module string) pin {
	t.Helper()
	for _, one := range goMod(t).Require {
		if one.Mod.Path == module {
			return pin{module, strings.TrimPrefix(one.Mod.Version, "v"), "go.mod"}
		}
	}
	require.Fail(t, "go.mod does not require it", module)
	return pin{}
}

// decided is a version that a file of our own decides on.
func decided(t *testing.T, file, as string) pin {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, file))
	require.NoError(t, err)
	found := regexp.MustCompile(as).FindSubmatch(content)
	require.NotNil(t, found, "%s in %s", as, file)
	return pin{as, string(found[1]), file}
}

// b2 are the pins of the provider of B2, and of the one that runs it.
func b2(t *testing.T) (provider, base pin) {
	t.Helper()
	const file = "components/b2/schema.json"
	content, err := os.ReadFile(filepath.Join(root, file))
	require.NoError(t, err)
	var schema struct {
		Version          string
		Parameterization struct{ BaseProvider struct{ Version string } }
	}
	require.NoError(t, json.Unmarshal(content, &schema))
	return pin{"backblaze/b2", schema.Version, file},
		pin{"terraform-provider", schema.Parameterization.BaseProvider.Version, file}
}

// mention is a place that names a version beside the file that decides on it.
type mention struct {
	pin pin
	// in is a pattern of files, from the root.
	in string
	// as finds the version there, without a v.
	as string
}

// mentions are all of them. To raise a version: "go get" in the module that
// decides on it, and this test says what else to change.
func mentions(t *testing.T) []mention {
	t.Helper()
	const (
		release   = `v?(\d+\.\d+\.\d+)`
		proof     = "docs/proof.md"
		workflows = ".github/workflows/*.yaml"
		provider  = "sandbox/provider/"
	)
	var (
		operator = of(t, tools.CloudNativePG())
		plugin   = of(t, tools.BarmanCloudPlugin())
		pulumi   = of(t, tools.Pulumi())
		// The tool of that name is a main package of our own around it.
		rclone     = of(t, tools.Tool{Name: "rclone", Module: "rclone", Package: "github.com/rclone/rclone"})
		kubernetes = imported(t, "github.com/pulumi/pulumi-kubernetes/sdk/v4")
		minio      = imported(t, "github.com/pulumi/pulumi-minio/sdk")
		b2, b2Base = b2(t)
		language   = pin{"go", goMod(t).Go.Version, "go.mod"}
	)
	zstd := decided(t, "components/cnpg/codecs.go", `zstdDataPlugin = "`+release)
	all := []mention{
		// The first with zstd for base backups, which the plugin here may be older than.
		{zstd, "components/cnpg/mirror.go", `sidecarImage \+ ":` + release},
		{rclone, "components/cnpg/mirror.go", `rclone/rclone:` + release},
		{operator, "components/cnpg/*.go", `cloudnative-pg/cloudnative-pg/blob/` + release},
		{kubernetes, "components/cnpg/*.go", `pulumi/pulumi-kubernetes/blob/` + release},
		{kubernetes, provider + "kubernetes*.go", `(?:base\{version: |KubernetesVersion = |pulumi-kubernetes/blob/)"?` + release},
		{minio, provider + "minio.go", `MinIOVersion = "` + release},
		{b2, "components/b2/doc.go", `SDK of version ` + release},
		{b2Base, "components/b2/doc.go", `terraform-provider plugin,\s+// version ` + release},
		{plugin, "tests/restore/lab/sidecar.go", `cloudnative-pg/plugin-barman-cloud ` + release},
		{pulumi, workflows, `pulumi-version: ` + release},
		{operator, proof, `CloudNativePG\s+` + release},
		{plugin, proof, `plugin\s+` + release},
		{of(t, tools.KubeAPIServer()), proof, `(?:API server|Kubernetes)\s+` + release},
		{of(t, tools.ExternalSecrets()), proof, `External Secrets\s+` + release},
		{pulumi, "tools/b2sdk/go.mod", `github.com/pulumi/pulumi/pkg/v3 ` + release},
	}
	for _, module := range []string{"go.mod", "tests/go.mod", "examples/outside/go.mod"} {
		all = append(all,
			mention{operator, module, `github.com/cloudnative-pg/api ` + release},
			mention{plugin, module, `github.com/cloudnative-pg/plugin-barman-cloud ` + release},
			mention{pulumi, module, `github.com/pulumi/pulumi/sdk/v3 ` + release},
			mention{kubernetes, module, kubernetes.name + " " + release},
			mention{minio, module, minio.name + " " + release},
			mention{language, module, `(?m)^go ` + release},
		)
	}
	all = append(all,
		mention{pulumi, "doctor/go.mod", `github.com/pulumi/pulumi/sdk/v3 ` + release},
		mention{language, "doctor/go.mod", `(?m)^go ` + release},
		mention{pulumi, "sandbox/go.mod", `github.com/pulumi/pulumi/sdk/v3 ` + release},
		mention{minio, "sandbox/go.mod", minio.name + " " + release},
		mention{language, "sandbox/go.mod", `(?m)^go ` + release},
		mention{language, "tools/*go.mod", `(?m)^go ` + release})
	language.version = language.version[:strings.LastIndex(language.version, ".")]
	return append(all,
		mention{language, "README.md", `Go (\d+\.\d+)`},
		mention{language, "CONTRIBUTING.md", `Go (\d+\.\d+)`},
		mention{language, workflows, `golang:(\d+\.\d+)`})
}

// outdated are the places of a mention that name another version.
func (m mention) outdated(t *testing.T, root fs.FS) []string {
	t.Helper()
	files, err := fs.Glob(root, m.in)
	require.NoError(t, err)
	found := 0
	var outdated []string
	for _, file := range files {
		text, err := fs.ReadFile(root, file)
		require.NoError(t, err)
		for _, at := range regexp.MustCompile(m.as).FindAllSubmatchIndex(text, -1) {
			found++
			if named := string(text[at[2]:at[3]]); named != m.pin.version {
				outdated = append(outdated, fmt.Sprintf("%s:%d: %s %s, but %s has %s",
					file, 1+strings.Count(string(text[:at[0]]), "\n"), m.pin.name, named, m.pin.from, m.pin.version))
			}
		}
	}
	assert.NotZero(t, found, "%s in %s: nothing is compared", m.as, m.in)
	return outdated
}

func TestEveryVersionIsTheOneThatItsModulePins(t *testing.T) {
	for _, m := range mentions(t) {
		assert.Empty(t, m.outdated(t, os.DirFS(root)))
	}
}

func TestAnOutdatedVersionIsFound(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "page.md"), []byte("With\nCloudNativePG 1.2.3.\n"), 0o600))

	outdated := mention{pin{"cnpg", "1.30.0", "cnpg/go.mod"}, "page.md", `CloudNativePG (\d+\.\d+\.\d+)`}.
		outdated(t, os.DirFS(dir))

	assert.Equal(t, []string{"page.md:2: cnpg 1.2.3, but cnpg/go.mod has 1.30.0"}, outdated)
}
