package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
)

// b2Keys is the configuration of a bucket with these settings of its keys.
func b2Keys(settings map[string]any) map[string]any {
	b2 := map[string]any{"bucket": "homelab-cnpg-b2", "region": "us-west-002"}
	for key, value := range settings {
		b2[key] = value
	}
	return map[string]any{"cnpg-backup:b2": b2}
}

// keySteps are what a run does to B2 keys.
func keySteps(result *sandbox.Result) []string {
	var steps []string
	for _, step := range result.Changes {
		if step.Type == "b2:index/applicationKey:ApplicationKey" {
			steps = append(steps, step.Op+" "+step.Name)
		}
	}
	return steps
}

const keyType = "storage-b2-key-"

func TestTheKeyInUseIsNeverDeletedByTheUpThatReplacesIt(t *testing.T) {
	box := start(t, root, "homelab", b2Keys(nil))
	_, err := box.Up(t.Context())
	require.NoError(t, err)

	for name, settings := range map[string]map[string]any{
		"another name alone":     {"keys": []any{"second"}},
		"the same key, adopted":  {"adoptKey": "homelab-cnpg-b2"},
		"two other names":        {"keys": []any{"second", "third"}},
		"two names and a prefix": {"keys": []any{"second", "third"}, "keyPrefix": "auth/"},
	} {
		require.NoError(t, box.Configure(t.Context(), b2Keys(settings)))
		preview, err := box.Preview(t.Context())
		require.Error(t, err, name)
		assert.Contains(t, preview.Output, `the databases use "homelab-cnpg-b2"`, name)
		// People also deploy without looking.
		up, err := box.Up(t.Context())
		require.Error(t, err, name)
		assert.NotContains(t, keySteps(up), "delete "+keyType+"homelab-cnpg-b2", name)
		assert.NotContains(t, kinds(up), "update kubernetes:core/v1:Secret", "%s: nothing is handed over", name)
	}
	// The way that the message tells.
	require.NoError(t, box.Configure(t.Context(), b2Keys(map[string]any{"keys": []any{"homelab-cnpg-b2", "second"}})))
	up, err := box.Up(t.Context())
	require.NoError(t, err)
	assert.NotContains(t, keySteps(up), "delete "+keyType+"homelab-cnpg-b2")
	require.NoError(t, box.Configure(t.Context(), b2Keys(map[string]any{"keys": []any{"second"}})))
	up, err = box.Up(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"delete " + keyType + "homelab-cnpg-b2"}, keySteps(up))
}

// From one key for all namespaces to one for each, and back: the list of keys says
// both, and the key in use is never deleted by the run that replaces it.
func TestEachNamespaceGetsAKeyOfItsOwn(t *testing.T) {
	box := start(t, root, "homelab", b2Keys(nil))
	_, err := box.Up(t.Context())
	require.NoError(t, err)

	const all, each = "homelab-cnpg-b2", "homelab-<namespace>"
	allKey, eachKey := keyType+all, "auth-b2-key-homelab-auth"
	for _, way := range []struct{ from, to, deleted string }{
		{all, each, allKey},
		{each, all, eachKey},
	} {
		require.NoError(t, box.Configure(t.Context(), b2Keys(map[string]any{"keys": []any{way.to}})))
		preview, err := box.Preview(t.Context())
		require.Error(t, err)
		assert.Contains(t, preview.Output, "set b2.keys to ["+way.from+", "+way.to+"] and deploy")
		up, err := box.Up(t.Context())
		require.Error(t, err)
		assert.NotContains(t, keySteps(up), "delete "+way.deleted)

		require.NoError(t, box.Configure(t.Context(), b2Keys(map[string]any{"keys": []any{way.from, way.to}})))
		up, err = box.Up(t.Context())
		require.NoError(t, err)
		assert.NotContains(t, keySteps(up), "delete "+way.deleted, "namespaces have it until this run ends")
		replaced := kinds(up)["replace kubernetes:external-secrets.io/v1:ExternalSecret"]
		assert.Equal(t, 1, replaced, "the namespace waits for the other key")

		require.NoError(t, box.Configure(t.Context(), b2Keys(map[string]any{"keys": []any{way.to}})))
		up, err = box.Up(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{"delete " + way.deleted}, keySteps(up))
		preview, err = box.Preview(t.Context())
		require.NoError(t, err)
		assert.Empty(t, preview.Changes)
	}
}

// The users of MinIO that a namespace has, as the documentation recommends them.
func TestEachNamespaceGetsUsersOfItsOwn(t *testing.T) {
	users := func(name string) map[string]any {
		return map[string]any{"cnpg-backup:minio": map[string]any{
			"bucket": "homelab-postgres-backups", "endpoint": "https://truenas.peekoff.com:9000",
			"user": name, "undeleteDays": 14,
		}}
	}
	box := start(t, root, "homelab", users("homelab-<namespace>"))
	_, err := box.Preview(t.Context())
	require.NoError(t, err)
	_, err = box.Up(t.Context())
	require.NoError(t, err)
	preview, err := box.Preview(t.Context())
	require.NoError(t, err)
	assert.Empty(t, preview.Changes)
	assertNoSecretIn(t, box, "minio:index/iamUser:IamUser", "secret")

	require.NoError(t, box.Configure(t.Context(), users("homelab-2027-<namespace>")))
	up, err := box.Up(t.Context())
	require.NoError(t, err)
	handedOver, deleted := -1, -1
	for i, step := range up.Changes {
		switch step.Op + " " + step.Name {
		case "create-replacement auth-minio-user-key":
			handedOver = i
		case "delete-replaced auth-minio-user":
			deleted = i
		}
	}
	require.GreaterOrEqual(t, handedOver, 0)
	assert.Greater(t, deleted, handedOver, "a user goes when the namespace has the next one's key")
}

// assertNoSecretIn wants that an output of all resources of a type is encrypted in
// the state.
func assertNoSecretIn(t *testing.T, box *sandbox.Sandbox, of, output string) {
	t.Helper()
	state, err := box.Run(t.Context(), "stack", "export")
	require.NoError(t, err)
	var exported struct {
		Deployment struct {
			Resources []struct {
				Type    string
				Outputs map[string]any
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(state), &exported))
	found := 0
	for _, resource := range exported.Deployment.Resources {
		if resource.Type == of {
			found++
			require.IsType(t, map[string]any{}, resource.Outputs[output])
			assert.Contains(t, resource.Outputs[output], "ciphertext")
		}
	}
	assert.Positive(t, found)
}

func TestAKeyIsNotMadeAnewForWhatItMayDo(t *testing.T) {
	box := start(t, root, "homelab", b2Keys(nil))
	_, err := box.Up(t.Context())
	require.NoError(t, err)

	// A key of an earlier release that had other capabilities.
	state, err := box.Run(t.Context(), "stack", "export")
	require.NoError(t, err)
	require.NoError(t, box.Configure(t.Context(), b2Keys(map[string]any{"keyPrefix": "auth/"})))
	file := filepath.Join(t.TempDir(), "state.json")
	require.NoError(t, os.WriteFile(file, withoutCapability(t, state), 0o600))
	_, err = box.Run(t.Context(), "stack", "import", "--file", file)
	require.NoError(t, err)

	up, err := box.Up(t.Context())
	require.NoError(t, err)
	assert.Empty(t, keySteps(up))

	// They count for a key that is made now.
	require.NoError(t, box.Configure(t.Context(),
		b2Keys(map[string]any{"keyPrefix": "auth/", "keys": []any{"homelab-cnpg-b2", "second"}})))
	up, err = box.Up(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"create " + keyType + "second"}, keySteps(up))
	exported, err := box.Export(t.Context())
	require.NoError(t, err)
	prefixes := map[string]any{}
	for _, resource := range exported.Resources {
		if resource.Type == "b2:index/applicationKey:ApplicationKey" {
			prefixes[resource.URN.Name()] = resource.Inputs["namePrefix"]
		}
	}
	assert.Equal(t, map[string]any{keyType + "homelab-cnpg-b2": nil, keyType + "second": "auth/"}, prefixes)
}

// withoutCapability takes one capability from every key in a state.
func withoutCapability(t *testing.T, state string) []byte {
	t.Helper()
	var exported map[string]any
	require.NoError(t, json.Unmarshal([]byte(state), &exported))
	found := 0
	for _, entry := range exported["deployment"].(map[string]any)["resources"].([]any) {
		resource := entry.(map[string]any)
		if resource["type"] != "b2:index/applicationKey:ApplicationKey" {
			continue
		}
		found++
		for _, properties := range []string{"inputs", "outputs"} {
			resource[properties].(map[string]any)["capabilities"] = []any{"listFiles", "readFiles", "writeFiles"}
		}
	}
	require.Equal(t, 1, found)
	changed, err := json.Marshal(exported)
	require.NoError(t, err)
	return changed
}
