package environment

import (
	"fmt"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

// checkPlugins returns what keeps the plugins for B2 and MinIO from making the
// storage. Both find out only when they make something, B2's with a traceback:
// a preview without credentials goes well. Settings are the stack's, and variable
// looks an environment variable up.
func checkPlugins(settings map[string]string, variable func(string) string, storage *cnpg.StorageArgs) field.ErrorList {
	needed := []credential{
		{"the ID of the key with which Pulumi creates bucket and keys at B2", []setting{
			{"B2_APPLICATION_KEY_ID", "b2:applicationKeyId"},
		}},
		{"that key's secret half", []setting{{"B2_APPLICATION_KEY", "b2:applicationKey"}}},
	}
	if storage.MinIO.UsesPlugin() {
		needed = append(needed,
			credential{"the MinIO user with which Pulumi creates the bucket and users", []setting{
				{"MINIO_USER", "minio:minioUser"}, {"MINIO_ACCESS_KEY", "minio:minioAccessKey"},
			}},
			credential{"that user's password", []setting{
				{"MINIO_PASSWORD", "minio:minioPassword"}, {"MINIO_SECRET_KEY", "minio:minioSecretKey"},
			}},
		)
	}
	var problems field.ErrorList
	for _, credential := range needed {
		problems = append(problems, credential.check(settings, variable)...)
	}
	return append(problems, checkMinIOServer(settings["minio:minioServer"], settings["minio:minioSsl"], storage.MinIO.Endpoint)...)
}

// credential is something that a plugin cannot do without, and the places where
// it looks for it, the usual one first.
type credential struct {
	meaning string
	places  []setting
}

// setting is one setting of a plugin, which reads its stack configuration before
// the environment:
// https://github.com/Backblaze/terraform-provider-b2/blob/v0.13.0/b2/provider.go New
// https://github.com/aminueza/terraform-provider-minio/blob/v1.20.1/minio/provider.go Provider
type setting struct{ variable, key string }

func (c credential) check(settings map[string]string, variable func(string) string) field.ErrorList {
	for _, place := range c.places {
		if settings[place.key] != "" || variable(place.variable) != "" {
			return nil
		}
	}
	usual := c.places[0]
	return field.ErrorList{field.Required(field.NewPath(usual.variable), fmt.Sprintf(
		"%s: export the variable, or run: pulumi config set --secret %s", c.meaning, usual.key))}
}

// checkMinIOServer compares the MinIO plugin's own settings with the endpoint,
// which says where the bucket is made: one that says otherwise is a mistake.
func checkMinIOServer(server, ssl, endpoint string) field.ErrorList {
	wanted, err := url.Parse(endpoint)
	if err != nil || wanted.Host == "" {
		return nil // a problem of its own
	}
	var problems field.ErrorList
	refuse := func(key, value string) {
		problems = append(problems, field.Invalid(field.NewPath("minio:"+key), value,
			fmt.Sprintf("the bucket is created at minio.endpoint, %s: leave this out", endpoint)))
	}
	if server != "" && !strings.EqualFold(server, wanted.Host) {
		refuse("minioServer", server)
	}
	if ssl != "" && (ssl == "true") != (wanted.Scheme == "https") {
		refuse("minioSsl", ssl)
	}
	return problems
}
