package cnpg

import (
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
		assert.Equal(t, map[string]any{"name": "b2-cnpg-credentials", "namespace": "auth"},
			externalSecret.Inputs.Mappable()["metadata"])
		assert.Equal(t, "b2-cnpg-credentials", outputs.all(t)["secretName"])
	})
}

func TestCredentialsWaitForTheKey(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
			storage, err := NewStorage(ctx, "homelab", storageArgs())
			require.NoError(t, err)
			_, err = NewCredentials(ctx, "auth", &CredentialsArgs{Namespace: "auth", Storage: storage})
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
			args: BitwardenArgs{Layout: TwoItems, KeyIDItem: "id", SecretKeyItem: "secret"},
			data: []any{
				map[string]any{"secretKey": "AWS_ACCESS_KEY_ID", "remoteRef": ref("id", "")},
				map[string]any{"secretKey": "AWS_SECRET_ACCESS_KEY", "remoteRef": ref("secret", "")},
			},
			pushedTo:     []any{map[string]any{"remoteKey": "id"}, map[string]any{"remoteKey": "secret"}},
			pushedFields: []any{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
		},
		"property": {
			args: BitwardenArgs{Layout: Property, Provider: Webhook, Item: "b2"},
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

func TestOnlySecretsManagerIsWrittenToUnasked(t *testing.T) {
	t.Parallel()
	assert.True(t, *BitwardenArgs{}.withDefaults(true).HandOver)
	assert.False(t, *BitwardenArgs{Provider: Webhook}.withDefaults(true).HandOver)
	assert.False(t, *BitwardenArgs{}.withDefaults(false).HandOver, "an adopted key's secret half is not known")
}
