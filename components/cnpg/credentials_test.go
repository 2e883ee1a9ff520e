package cnpg

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"text/template"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestCredentialsMakeOneExternalSecret(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		var outputs seen
		mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
			credentials, err := NewCredentials(ctx, "auth", &CredentialsArgs{
				Namespace: "auth",
				Bitwarden: BitwardenArgs{Store: "bitwarden-backend", Item: "b2"},
			})
			require.NoError(t, err)
			outputs.see("secretName", credentials.SecretName)
			return nil
		})
		externalSecret := mocks.only(t, "auth-b2-cnpg-credentials")
		assertParent(t, externalSecret, "Credentials")
		assert.Equal(t, "kubernetes:external-secrets.io/v1:ExternalSecret", externalSecret.TypeToken)
		of := metadata(externalSecret)
		assert.Equal(t, []any{"b2-cnpg-credentials", "auth"}, []any{of["name"], of["namespace"]})
		assert.Equal(t, map[string]any{"pulumi.com/deletionPropagationPolicy": "orphan"}, of["annotations"], "nothing tells when the key of somebody else is there")
		assert.Equal(t, "b2-cnpg-credentials", outputs.all(t)["secretName"])
	})
}

// The name of a storage and of credentials is a label of what they make, which
// Kubernetes would refuse half-way.
func TestNamesThatAreNoLabelsAreRefused(t *testing.T) {
	t.Parallel()
	bitwarden := BitwardenArgs{Store: "bitwarden-backend", Item: "b2"}
	for name, want := range map[string]string{
		"auth": "", "auth.b2_Key": "", strings.Repeat("a", 63): "",
		"auth/b2": "expected up to 63 letters", "the key": "expected up to 63 letters", strings.Repeat("a", 64): "expected up to 63 letters",
	} {
		run(t, true, func(ctx *pulumi.Context) error {
			_, err := NewCredentials(ctx, name, &CredentialsArgs{Namespace: "auth", Bitwarden: bitwarden})
			if want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, want)
			}
			return nil
		})
	}
	run(t, true, func(ctx *pulumi.Context) error {
		_, err := NewStorage(ctx, strings.Repeat("a", 64), storageArgs())
		assert.ErrorContains(t, err, "expected up to 63 letters")
		return nil
	})
}

func TestCredentialsWaitForTheKey(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
			storage, err := NewStorage(ctx, "homelab", storageArgs())
			require.NoError(t, err)
			_, err = storage.Credentials(ctx, "auth")
			return err
		})
		assert.Contains(t, dependencies(mocks.only(t, "auth-b2-cnpg-credentials")), "homelab-b2-key-push")
	})
}

func TestLayoutsReadAndWriteTheSameItems(t *testing.T) {
	t.Parallel()
	ref := func(key, property string) map[string]any {
		entry := map[string]any{"key": key}
		if property != "" {
			entry["property"] = property
		}
		return entry
	}
	for name, test := range map[string]struct {
		args         BitwardenArgs
		data         any
		dataFrom     any
		pushedTo     []any
		pushedFields []any
	}{
		"one JSON item": {
			args:         BitwardenArgs{Item: "b2"},
			dataFrom:     []any{map[string]any{"extract": ref("b2", "")}},
			pushedTo:     []any{map[string]any{"remoteKey": "b2"}},
			pushedFields: []any{nil},
		},
		"two items": {
			args: BitwardenArgs{Layout: BitwardenLayoutTwoItems, KeyIDItem: "id", SecretKeyItem: "secret"},
			data: []any{
				map[string]any{"secretKey": "AWS_ACCESS_KEY_ID", "remoteRef": ref("id", "")},
				map[string]any{"secretKey": "AWS_SECRET_ACCESS_KEY", "remoteRef": ref("secret", "")},
			},
			pushedTo:     []any{map[string]any{"remoteKey": "id"}, map[string]any{"remoteKey": "secret"}},
			pushedFields: []any{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
		},
		"property": {
			args: BitwardenArgs{Layout: BitwardenLayoutProperty, Provider: BitwardenProviderWebhook, Item: "b2"},
			data: []any{
				map[string]any{"secretKey": "AWS_ACCESS_KEY_ID", "remoteRef": ref("b2", "AWS_ACCESS_KEY_ID")},
				map[string]any{"secretKey": "AWS_SECRET_ACCESS_KEY", "remoteRef": ref("b2", "AWS_SECRET_ACCESS_KEY")},
			},
			pushedTo: []any{
				map[string]any{"remoteKey": "b2", "property": "AWS_ACCESS_KEY_ID"},
				map[string]any{"remoteKey": "b2", "property": "AWS_SECRET_ACCESS_KEY"},
			},
			pushedFields: []any{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := test.args.withDefaults(true)
			read := args.externalSecretSpec(B2Secret)
			assert.Equal(t, test.data, read["data"])
			assert.Equal(t, test.dataFrom, read["dataFrom"])

			var to, fields []any
			for _, entry := range args.pushSecretSpec("key")["data"].([]any) {
				match := entry.(map[string]any)["match"].(map[string]any)
				to, fields = append(to, match["remoteRef"]), append(fields, match["secretKey"])
			}
			assert.Equal(t, test.pushedTo, to)
			assert.Equal(t, test.pushedFields, fields)
		})
	}
}

func TestTheSecretTakesNothingButTwoHalvesOfAKey(t *testing.T) {
	t.Parallel()
	target := BitwardenArgs{Item: "b2"}.withDefaults(true).externalSecretSpec(B2Secret)["target"].(map[string]any)
	halves := target["template"].(map[string]any)["data"].(map[string]any)
	require.Len(t, halves, 2)
	for name, test := range map[string]struct {
		id, secret string
		taken      bool
	}{
		"a key of B2":          {"0021234567890ab0000000001", "K002abc/DEF+ghi=", true},
		"a number":             {"2.1234567890120e+22", "K002abc", false},
		"the whole item twice": {`{"AWS_ACCESS_KEY_ID":"002"}`, `{"AWS_ACCESS_KEY_ID":"002"}`, false},
		"an empty half":        {"", "K002abc", false},
		"a line break":         {"0021234567890ab0000000001", "K002abc\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			values := map[string]string{"AWS_ACCESS_KEY_ID": test.id, "AWS_SECRET_ACCESS_KEY": test.secret}
			var err error
			for half, value := range values {
				var given string
				var failed error
				if given, failed = render(halves[half].(string), values); failed == nil {
					assert.Equal(t, value, given)
				}
				err = errors.Join(err, failed)
			}
			if test.taken {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "is not a half of a B2 key")
			assert.NotContains(t, err.Error(), "K002", "an error does not say the key")
		})
	}
	_, err := render(halves["AWS_ACCESS_KEY_ID"].(string), map[string]string{"keyID": "002"})
	require.ErrorContains(t, err, "no entry for key")
}

// render executes a template with the two functions and the option of External
// Secrets' engine that the templates use:
// https://github.com/external-secrets/external-secrets/blob/v0.20.4/pkg/template/v2/template.go
func render(text string, values map[string]string) (string, error) {
	parsed, err := template.New("half").Option("missingkey=error").Funcs(template.FuncMap{
		"regexMatch": regexp.MatchString,
		"fail":       func(message string) (string, error) { return "", errors.New(message) },
	}).Parse(text)
	if err != nil {
		return "", err
	}
	var given strings.Builder
	err = parsed.Execute(&given, values)
	return given.String(), err
}

func TestRefreshIntervalsAreCanonical(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{"": "1h0m0s", "1h": "1h0m0s", "90m": "1h30m0s", "20s": "20s"} {
		args := BitwardenArgs{RefreshInterval: given}.withDefaults(true)
		assert.Equal(t, want, args.externalSecretSpec(B2Secret)["refreshInterval"])
		assert.Equal(t, want, args.pushSecretSpec("key")["refreshInterval"])
	}
	for _, wrong := range []string{"1", "1d", "0", "-1h", "10ms"} {
		args := BitwardenArgs{Store: "bitwarden-backend", Item: "b2", RefreshInterval: wrong}
		require.Len(t, args.validate(field.NewPath("bitwarden")), 1, wrong)
	}
}

func TestOnlySecretsManagerIsWrittenToUnasked(t *testing.T) {
	t.Parallel()
	assert.True(t, *BitwardenArgs{}.withDefaults(true).HandOver)
	assert.False(t, *BitwardenArgs{Provider: BitwardenProviderWebhook}.withDefaults(true).HandOver)
	assert.False(t, *BitwardenArgs{}.withDefaults(false).HandOver, "an adopted key's secret half is not known")
}

// A key is awaited on its way into Bitwarden and on its way out again, and each
// new one anew.
func TestAKeyIsAwaitedOnItsWay(t *testing.T) {
	t.Parallel()
	mocks := run(t, false, func(ctx *pulumi.Context) error {
		args := storageArgs()
		args.Bitwarden.MirrorItem = "b2-mirror"
		storage, err := NewStorage(ctx, "homelab", args)
		require.NoError(t, err)
		_, err = storage.Credentials(ctx, "auth")
		return err
	})
	fingerprints := map[string][]string{}
	for name, key := range map[string]string{
		"homelab-b2-key-push":             "homelab-cnpg-b2",
		"homelab-b2-mirror-key-push":      "homelab-cnpg-b2-mirror",
		"auth-b2-cnpg-credentials":        "homelab-cnpg-b2",
		"auth-b2-cnpg-mirror-credentials": "homelab-cnpg-b2-mirror",
	} {
		object := mocks.only(t, name)
		annotations := object.Inputs["metadata"].ObjectValue()["annotations"]
		assert.False(t, annotations.ContainsSecrets(), "%s: a preview shows what changes", name)
		fingerprints[key] = append(fingerprints[key], annotations.ObjectValue()["cnpg-backup/key"].StringValue())
		assert.Equal(t, "condition=Ready", annotations.ObjectValue()["pulumi.com/waitFor"].StringValue(), name)
		options := object.RegisterRPC
		assert.Equal(t, []string{`metadata.annotations["cnpg-backup/key"]`}, options.GetReplaceOnChanges(), name)
		assert.True(t, options.GetDeleteBeforeReplace(), name)
		assert.Equal(t, "8m", options.GetCustomTimeouts().GetCreate(), name)
		assert.Equal(t, "8m", options.GetCustomTimeouts().GetUpdate(), name)
		assert.Equal(t, []string{name}, options.GetHooks().GetOnError(), name)
	}
	one, other := fingerprints["homelab-cnpg-b2"], fingerprints["homelab-cnpg-b2-mirror"]
	require.Len(t, one, 2)
	require.Len(t, other, 2)
	assert.Equal(t, one[0], one[1], "what is written is read")
	assert.Equal(t, other[0], other[1], "what is written is read")
	assert.NotEqual(t, one, other)
}

func TestAFingerprintIsThatOfOneKeyInOnePlace(t *testing.T) {
	t.Parallel()
	var outputs seen
	run(t, false, func(*pulumi.Context) error {
		for name, args := range map[string]BitwardenArgs{
			"one": {Item: "b2"}, "the same": {Item: "b2"}, "another item": {Item: "b3"},
			"another store": {Item: "b2", Store: "other"}, "two items": {KeyIDItem: "b2"},
		} {
			outputs.see(name, args.fingerprint(pulumi.String("id").ToStringOutput()))
		}
		outputs.see("another key", BitwardenArgs{Item: "b2"}.fingerprint(pulumi.String("di").ToStringOutput()))
		return nil
	})
	values := outputs.all(t)
	assert.Equal(t, values["one"], values["the same"])
	for _, other := range []string{"another item", "another store", "two items", "another key"} {
		assert.NotEqual(t, values["one"], values[other], other)
	}
}

// The way out for a cluster without External Secrets.
func TestNothingIsAwaitedWithoutTheHandOver(t *testing.T) {
	t.Parallel()
	mocks := run(t, false, func(ctx *pulumi.Context) error {
		args := storageArgs()
		args.Bitwarden.HandOver = new(false)
		storage, err := NewStorage(ctx, "homelab", args)
		require.NoError(t, err)
		_, err = storage.Credentials(ctx, "auth")
		return err
	})
	for _, object := range mocks.Resources() {
		assert.NotContains(t, fmt.Sprint(object.Inputs.Mappable()), "waitFor", object.Name)
		assert.Empty(t, object.RegisterRPC.GetHooks().GetOnError(), object.Name)
	}
}
