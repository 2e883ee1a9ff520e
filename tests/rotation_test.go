package tests

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
)

// b2Keys is the configuration of a bucket with these settings of its keys.
func b2Keys(settings map[string]any) map[string]any {
	b2 := map[string]any{"bucket": "homelab-cnpg-b2", "region": "us-west-002"}
	maps.Copy(b2, settings)
	return map[string]any{"cnpg-backup:b2": b2}
}

// keySteps are what a run does to B2 keys.
func keySteps(result *sandbox.Result) []string {
	return steps(result, "b2:index/applicationKey:ApplicationKey")
}

// refusesKeys wants keys to be refused by a preview, which says so, and by an up
// without one, which deletes no key and hands none over.
func refusesKeys(t *testing.T, box *sandbox.Sandbox, settings map[string]any, inUse, says string) {
	t.Helper()
	configure(t, box, b2Keys(settings))
	refused(t, box.Preview, says)
	up := refused(t, box.Up)
	assert.NotContains(t, keySteps(up), "delete "+inUse)
	assert.NotContains(t, kinds(up), "update kubernetes:core/v1:Secret", "nothing is handed over")
}

const (
	keyType = "storage-b2-key-"
	cluster = "kubernetes:postgresql.cnpg.io/v1:Cluster"
)

func TestTheKeyInUseIsNeverDeletedByTheUpThatReplacesIt(t *testing.T) {
	box := start(t, root, "homelab", b2Keys(nil))
	must(t, box.Up)

	for name, settings := range map[string]map[string]any{
		"another name alone":     {"keys": []any{"second"}},
		"the same key, adopted":  {"adoptKey": "homelab-cnpg-b2"},
		"two other names":        {"keys": []any{"second", "third"}},
		"two names and a prefix": {"keys": []any{"second", "third"}, "keyPrefix": "auth/"},
	} {
		t.Run(name, func(t *testing.T) {
			refusesKeys(t, box, settings, keyType+"homelab-cnpg-b2", `the databases use "homelab-cnpg-b2"`)
		})
	}
	// The way that the message tells.
	up := deploy(t, box, b2Keys(map[string]any{"keys": []any{"homelab-cnpg-b2", "second"}}))
	assert.NotContains(t, keySteps(up), "delete "+keyType+"homelab-cnpg-b2")
	assert.Empty(t, steps(up, cluster), "the Cluster is not touched")
	up = deploy(t, box, b2Keys(map[string]any{"keys": []any{"second"}}))
	assert.Equal(t, []string{"delete " + keyType + "homelab-cnpg-b2"}, keySteps(up))
	assert.Empty(t, steps(up, cluster))
}

// From one key for all namespaces to one for each, and back: the list of keys says
// both, and the key in use is never deleted by the run that replaces it.
func TestEachNamespaceGetsAKeyOfItsOwn(t *testing.T) {
	box := start(t, root, "homelab", b2Keys(nil))
	must(t, box.Up)

	const all, each = "homelab-cnpg-b2", "homelab-<namespace>"
	allKey, eachKey := keyType+all, "auth-b2-key-homelab-auth"
	for _, way := range []struct{ from, to, deleted string }{
		{all, each, allKey},
		{each, all, eachKey},
	} {
		refusesKeys(t, box, map[string]any{"keys": []any{way.to}}, way.deleted,
			"set b2.keys to ["+way.from+", "+way.to+"] and deploy")

		up := deploy(t, box, b2Keys(map[string]any{"keys": []any{way.from, way.to}}))
		assert.NotContains(t, keySteps(up), "delete "+way.deleted, "namespaces have it until this run ends")
		replaced := kinds(up)["replace kubernetes:external-secrets.io/v1:ExternalSecret"]
		assert.Equal(t, 1, replaced, "the namespace waits for the other key")

		up = deploy(t, box, b2Keys(map[string]any{"keys": []any{way.to}}))
		assert.Equal(t, []string{"delete " + way.deleted}, keySteps(up))
		assertNoChanges(t, box.Preview)
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
	must(t, box.Preview)
	must(t, box.Up)
	assertNoChanges(t, box.Preview)
	assertNoSecretIn(t, box, "minio:index/iamUser:IamUser", "secret")

	up := deploy(t, box, users("homelab-2027-<namespace>"))
	assert.Greater(t, step(t, up, "delete-replaced auth-minio-user"), step(t, up, "create-replacement auth-minio-user-key"),
		"a user goes when the namespace has the next one's key")
}

// assertNoSecretIn wants that an output of all resources of a type is encrypted in
// the state.
func assertNoSecretIn(t *testing.T, box *sandbox.Sandbox, of, output string) {
	t.Helper()
	state, err := box.Export(t.Context())
	require.NoError(t, err)
	found := 0
	for _, resource := range state.Resources {
		if string(resource.Type) == of {
			found++
			require.IsType(t, map[string]any{}, resource.Outputs[output])
			assert.Contains(t, resource.Outputs[output], "ciphertext")
		}
	}
	assert.Positive(t, found)
}

func TestAKeyIsNotMadeAnewForWhatItMayDo(t *testing.T) {
	box := start(t, root, "homelab", b2Keys(nil))
	must(t, box.Up)

	// A key of an earlier release that had other capabilities.
	configure(t, box, b2Keys(map[string]any{"keyPrefix": "auth/"}))
	editState(t, box, func(resource map[string]any) bool {
		if resource["type"] != "b2:index/applicationKey:ApplicationKey" {
			return false
		}
		for _, properties := range []string{"inputs", "outputs"} {
			resource[properties].(map[string]any)["capabilities"] = []any{"listFiles", "readFiles", "writeFiles"}
		}
		return true
	})

	up := must(t, box.Up)
	assert.Empty(t, keySteps(up))

	// They count for a key that is made now.
	up = deploy(t, box, b2Keys(map[string]any{"keyPrefix": "auth/", "keys": []any{"homelab-cnpg-b2", "second"}}))
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
