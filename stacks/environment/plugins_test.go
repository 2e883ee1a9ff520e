package environment

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

// credentials are those that the plugins want of an environment.
func credentials() map[string]string {
	return map[string]string{
		"B2_APPLICATION_KEY_ID": "id", "B2_APPLICATION_KEY": "key", "MINIO_USER": "user", "MINIO_PASSWORD": "password",
	}
}

// TestMain has credentials in the environment, as every deployment has.
func TestMain(m *testing.M) {
	for name, value := range credentials() {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func TestCredentialsThatAreMissing(t *testing.T) {
	t.Parallel()
	const (
		keyID = "B2_APPLICATION_KEY_ID: Required value: the ID of the key with which Pulumi creates bucket and keys at B2: " +
			"export the variable, or run: pulumi config set --secret b2:applicationKeyId"
		key = "B2_APPLICATION_KEY: Required value: that key's secret half: " +
			"export the variable, or run: pulumi config set --secret b2:applicationKey"
		user = "MINIO_USER: Required value: the MinIO user with which Pulumi creates the bucket and users: " +
			"export the variable, or run: pulumi config set --secret minio:minioUser"
		password = "MINIO_PASSWORD: Required value: that user's password: " +
			"export the variable, or run: pulumi config set --secret minio:minioPassword"
	)
	for name, test := range map[string]struct {
		variables, settings map[string]string
		minio               cnpg.MinIOArgs
		want                []string
	}{
		"all":                     {want: []string{keyID, key, user, password}},
		"none":                    {variables: credentials()},
		"one half":                {variables: map[string]string{"B2_APPLICATION_KEY_ID": "id", "MINIO_USER": "user"}, want: []string{key, password}},
		"those of B2":             {variables: map[string]string{"MINIO_USER": "user", "MINIO_PASSWORD": "password"}, want: []string{keyID, key}},
		"MinIO's, bucket adopted": {variables: map[string]string{"B2_APPLICATION_KEY_ID": "id", "B2_APPLICATION_KEY": "key"}, minio: cnpg.MinIOArgs{AdoptBucket: true}},
		"MinIO's, users are made": {
			variables: map[string]string{"B2_APPLICATION_KEY_ID": "id", "B2_APPLICATION_KEY": "key"},
			minio:     cnpg.MinIOArgs{AdoptBucket: true, User: "<namespace>"}, want: []string{user, password},
		},
		"none, by MinIO's old names": {variables: map[string]string{
			"B2_APPLICATION_KEY_ID": "id", "B2_APPLICATION_KEY": "key", "MINIO_ACCESS_KEY": "user", "MINIO_SECRET_KEY": "password",
		}},
		"none, by stack configuration": {settings: map[string]string{
			"b2:applicationKeyId": "id", "b2:applicationKey": "key", "minio:minioUser": "user", "minio:minioPassword": "password",
		}},
		"none, by old configuration": {settings: map[string]string{
			"b2:applicationKeyId": "id", "b2:applicationKey": "key", "minio:minioAccessKey": "user", "minio:minioSecretKey": "password",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storage := &cnpg.StorageArgs{MinIO: test.minio}

			problems := checkPlugins(test.settings, func(name string) string { return test.variables[name] }, storage)

			assert.Equal(t, test.want, describe(problems, nil))
		})
	}
}

func TestCredentialsAreToldWithEverythingElse(t *testing.T) {
	t.Parallel()
	_, problems := Load(map[string]string{"cnpg-backup:b2": `{"bucket": "b"}`}, nil, func(string) string { return "" })

	for _, problem := range []string{"b2.region", "B2_APPLICATION_KEY_ID", "MINIO_PASSWORD"} {
		assert.Contains(t, strings.Join(problems, "\n"), problem)
	}
}
