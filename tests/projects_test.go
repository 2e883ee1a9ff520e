package tests

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/crds"
)

// root is the project of the environments.
const root = ".."

// start starts a sandbox in a new folder, with environment variables over its
// own. The repository's own programs are compiled to one place for all tests, so
// that each is linked once.
func start(t *testing.T, project, stack string, config map[string]any, environment ...string) *sandbox.Sandbox {
	t.Helper()
	binary := ""
	if name, err := filepath.Rel(root, project); err == nil && filepath.IsLocal(name) {
		binary = filepath.Join(root, ".sandbox", "programs", name, "program")
	}
	box, err := sandbox.Start(t.Context(), sandbox.Options{
		Project:     project,
		Stack:       stack,
		Config:      config,
		Environment: environment,
		Dir:         t.TempDir(),
		Binary:      binary,
	})
	require.NoError(t, err)
	t.Cleanup(box.Close)
	return box
}

// run is a method of Sandbox.
type run func(context.Context, ...string) (*sandbox.Result, error)

// must wants a run to end well.
func must(t *testing.T, run run, args ...string) *sandbox.Result {
	t.Helper()
	result, err := run(t.Context(), args...)
	require.NoError(t, err)
	return result
}

// refused wants a run to fail, and its output to say something.
func refused(t *testing.T, run run, says ...string) *sandbox.Result {
	t.Helper()
	result, err := run(t.Context())
	require.Error(t, err)
	for _, text := range says {
		assert.Contains(t, result.Output, text)
	}
	return result
}

// configure gives the stack another configuration.
func configure(t *testing.T, box *sandbox.Sandbox, config map[string]any) {
	t.Helper()
	require.NoError(t, box.Configure(t.Context(), config))
}

// deploy gives the stack another configuration and deploys it.
func deploy(t *testing.T, box *sandbox.Sandbox, config map[string]any) *sandbox.Result {
	t.Helper()
	configure(t, box, config)
	return must(t, box.Up)
}

// deployments are the two ways to begin: people also deploy without a preview.
func deployments(box *sandbox.Sandbox) map[string]run {
	return map[string]run{"preview": box.Preview, "up": box.Up}
}

func assertNoChanges(t *testing.T, run run) {
	t.Helper()
	assert.Empty(t, must(t, run).Changes)
}

// steps are what a run did to resources of a type, or to all for "", in its order.
func steps(result *sandbox.Result, of string) []string {
	var done []string
	for _, change := range result.Changes {
		if of == "" || change.Type == of {
			done = append(done, change.Op+" "+change.Name)
		}
	}
	return done
}

// editState changes the one resource of the state that is meant, as if it had been
// recorded so.
func editState(t *testing.T, box *sandbox.Sandbox, edit func(resource map[string]any) (meant bool)) {
	t.Helper()
	state, err := box.Run(t.Context(), "stack", "export")
	require.NoError(t, err)
	importState(t, box, state, edit)
}

// importState is editState of a state that was exported before.
func importState(t *testing.T, box *sandbox.Sandbox, state string, edit func(resource map[string]any) (meant bool)) {
	t.Helper()
	var exported map[string]any
	require.NoError(t, json.Unmarshal([]byte(state), &exported))
	found := 0
	for _, resource := range exported["deployment"].(map[string]any)["resources"].([]any) {
		if edit(resource.(map[string]any)) {
			found++
		}
	}
	require.Equal(t, 1, found)
	changed, err := json.Marshal(exported)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "state.json")
	require.NoError(t, os.WriteFile(file, changed, 0o600))
	_, err = box.Run(t.Context(), "stack", "import", "--file", file)
	require.NoError(t, err)
}

// deploysCleanly is what every shipped program has to do. It returns the
// secrets that the program has made.
func deploysCleanly(t *testing.T, box *sandbox.Sandbox) []string {
	t.Helper()

	preview := must(t, box.Preview)
	assert.Empty(t, preview.Diagnostics, "of a preview")
	assert.NoDirExists(t, box.Manifests(), "a preview makes nothing")

	first := must(t, box.Up)
	assert.Empty(t, first.Diagnostics)
	assert.Equal(t, kinds(preview), kinds(first), "the preview told what up did")
	assertAcceptable(t, box)

	printed := preview.Output + first.Output
	for name, run := range map[string]run{"up": box.Up, "refresh": box.Refresh, "preview": box.Preview} {
		again := must(t, run)
		assert.Empty(t, again.Changes, "a second %s changes nothing", name)
		printed += again.Output
	}
	secrets := secrets(t, box)
	assertNowhere(t, box, printed, secrets)
	return secrets
}

// kinds counts steps by what they do to which type.
func kinds(result *sandbox.Result) map[string]int {
	count := map[string]int{}
	for _, step := range result.Changes {
		count[step.Op+" "+step.Type]++
	}
	return count
}

// assertAcceptable checks the written objects once more against the schemas,
// but for Secrets, whose values are not written.
func assertAcceptable(t *testing.T, box *sandbox.Sandbox) {
	t.Helper()
	catalog, err := crds.Load(t.Context())
	require.NoError(t, err)
	objects, err := box.Objects()
	require.NoError(t, err)
	require.NotEmpty(t, objects)
	for _, object := range objects {
		if object["kind"] != "Secret" {
			assert.Empty(t, catalog.Validate(t.Context(), object), "%v", object)
		}
	}
}

// assertNowhere looks for secrets in the sandbox's files and in what was printed.
func assertNowhere(t *testing.T, box *sandbox.Sandbox, printed string, secrets []string) {
	t.Helper()
	folders := []string{box.Manifests(), filepath.Join(filepath.Dir(box.Manifests()), "b2"), stateFolder(box)}
	for _, secret := range secrets {
		assert.NotContains(t, printed, secret)
		for _, folder := range folders {
			assert.Empty(t, filesWith(t, folder, secret), "files with a secret")
		}
	}
}

// filesWith returns the files below a folder that contain a text.
func filesWith(t *testing.T, folder, text string) []string {
	t.Helper()
	var found []string
	files := os.DirFS(folder)
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, path)
		if strings.Contains(string(content), text) {
			found = append(found, path)
		}
		return err
	})
	require.NoError(t, err)
	return found
}

// stateFolder has the state with its history and backups.
func stateFolder(box *sandbox.Sandbox) string {
	return filepath.Join(filepath.Dir(box.StateFile()), "..", "..")
}

// secrets are the secret halves of the keys that a program has made.
func secrets(t *testing.T, box *sandbox.Sandbox) []string {
	t.Helper()
	printed, err := box.Run(t.Context(), "stack", "export", "--show-secrets")
	require.NoError(t, err)
	var exported struct {
		Deployment struct {
			Resources []struct {
				ID      string
				Type    string
				Outputs map[string]any
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(printed), &exported))
	var found []string
	for _, resource := range exported.Deployment.Resources {
		if resource.Type != "b2:index/applicationKey:ApplicationKey" {
			continue
		}
		key := plaintext(resource.Outputs["applicationKey"])
		assert.Equal(t, resource.ID, plaintext(resource.Outputs["applicationKeyId"]), "SECURITY.md says what is in clear text")
		require.Greater(t, len(key), 20, "a secret that can be looked for")
		found = append(found, key, base64.StdEncoding.EncodeToString([]byte(key)))
	}
	return found
}

// plaintext is what a secret of a state holds.
func plaintext(secret any) string {
	shown, _ := secret.(map[string]any)
	plain, _ := shown["plaintext"].(string)
	return strings.Trim(plain, `"`)
}

func contents(t *testing.T, files []string) map[string][]byte {
	t.Helper()
	read := map[string][]byte{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		read[file] = content
	}
	return read
}

// names are the objects' kinds and names.
func names(t *testing.T, box *sandbox.Sandbox) []string {
	t.Helper()
	objects, err := box.Objects()
	require.NoError(t, err)
	names := make([]string, 0, len(objects))
	for _, object := range objects {
		named := unstructured.Unstructured{Object: object}
		names = append(names, named.GetKind()+" "+named.GetName())
	}
	return names
}

func write(t *testing.T, file, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
}
