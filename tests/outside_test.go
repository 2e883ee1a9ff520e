package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/zip"
)

const modulePath = "github.com/homelab-iac/pulumi-cnpg-backup"

// TestAStrangersModuleImportsTheComponent builds and deploys the example without
// its replace, from the module as a module proxy would deliver it: a file that
// the module needs and does not carry, or a replace that it relies on, would
// show here.
func TestAStrangersModuleImportsTheComponent(t *testing.T) {
	proxy := t.TempDir()
	version := publish(t, proxy)
	program := t.TempDir()
	require.NoError(t, os.CopyFS(program, os.DirFS(filepath.Join(root, "examples", "outside"))))
	upstream := strings.TrimSpace(command(t, program, "go", "env", "GOPROXY"))
	t.Setenv("GOPROXY", "file://"+proxy+","+upstream)
	t.Setenv("GONOSUMDB", modulePath)
	t.Setenv("GOFLAGS", "-mod=mod")
	command(t, program, "go", "mod", "edit", "-dropreplace="+modulePath, "-require="+modulePath+"@"+version)

	deploysCleanly(t, start(t, program, "test", nil))
}

// publish puts the module into a folder that is a module proxy and returns its
// version, which is another one whenever the content is.
func publish(t *testing.T, proxy string) string {
	t.Helper()
	tracked := trackedFiles(t)
	packed := filepath.Join(proxy, "module.zip")
	pack(t, tracked, packed, "v0.0.1-unnamed")
	sum, err := dirhash.HashZip(packed, dirhash.Hash1)
	require.NoError(t, err)
	version := fmt.Sprintf("v0.0.1-x%x", sum[3:11])

	folder := filepath.Join(proxy, filepath.FromSlash(modulePath), "@v")
	require.NoError(t, os.MkdirAll(folder, 0o755))
	pack(t, tracked, filepath.Join(folder, version+".zip"), version)
	require.NoError(t, os.Remove(packed))
	manifest, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	write(t, filepath.Join(folder, version+".mod"), string(manifest))
	write(t, filepath.Join(folder, version+".info"), fmt.Sprintf(`{"Version":%q}`, version))
	return version
}

// trackedFiles copies what git knows of the repository to a new folder: what a
// tag of it would contain.
func trackedFiles(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range strings.Split(strings.Trim(command(t, root, "git", "ls-files", "-z"), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Join(folder, filepath.Dir(name)), 0o755))
		write(t, filepath.Join(folder, name), string(content))
	}
	return folder
}

// pack writes the zip file of the module as the Go command would: without the
// modules in folders of their own.
func pack(t *testing.T, folder, file, version string) {
	t.Helper()
	out, err := os.Create(file)
	require.NoError(t, err)
	defer func() { require.NoError(t, out.Close()) }()
	require.NoError(t, zip.CreateFromDir(out, module.Version{Path: modulePath, Version: version}, folder))
}

func command(t *testing.T, folder, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = folder
	output, err := cmd.Output()
	require.NoError(t, err, "%s %v", name, args)
	return string(output)
}
