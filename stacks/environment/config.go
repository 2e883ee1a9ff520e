package environment

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/json"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

// Config is a stack's configuration. Its keys are the JSON names below, in the
// namespace of the project: cnpg-backup:b2 and so on.
type Config struct {
	// StorageArgs are the keys b2, minio, bitwarden and protect.
	cnpg.StorageArgs
	// Databases is the key databases.
	Databases []Database
}

// Database is one entry of the key databases.
type Database struct {
	// Name is the prefix of what belongs to the database, unique in the
	// environment. Required.
	Name string `json:"name"`
	cnpg.DatabaseArgs
}

// Load reads the configuration of the stack and checks all of it. The error
// names every problem there is.
func Load(ctx *pulumi.Context) (*Config, error) {
	stack := config.New(ctx, "cnpg-backup")
	loaded := &Config{}
	problems := slices.Concat(
		decode("b2", stack.Get("b2"), &loaded.B2),
		decode("minio", stack.Get("minio"), &loaded.MinIO),
		decode("bitwarden", stack.Get("bitwarden"), &loaded.Bitwarden),
		decode("protect", stack.Get("protect"), &loaded.Protect),
		decode("databases", stack.Get("databases"), &loaded.Databases),
		loaded.validate(),
	)
	return loaded, cnpg.Join(fmt.Sprintf("environment %q", ctx.Stack()), problems)
}

// decode reads one key strictly: a field that does not exist is a problem that
// names it.
func decode(key, value string, target any) field.ErrorList {
	if value == "" {
		return nil
	}
	unknown, err := json.UnmarshalStrict([]byte(value), target)
	problems := make(field.ErrorList, 0, len(unknown)+1)
	for _, problem := range unknown {
		problems = append(problems, decodeProblem(key, problem))
	}
	if err != nil {
		problems = append(problems, decodeProblem(key, err))
	}
	return problems
}

// decodeProblem puts the path of the field in front, as all problems have it.
func decodeProblem(key string, problem error) *field.Error {
	var strict json.FieldError
	if errors.As(problem, &strict) {
		path := field.NewPath(key + separator(strict.FieldPath()) + strict.FieldPath())
		return field.Forbidden(path, "there is no such field; see the CloudNativePG documentation for fields of spec, "+
			"and docs/configuration.md for all others")
	}
	var mismatch *stdjson.UnmarshalTypeError
	if errors.As(problem, &mismatch) {
		path := field.NewPath(key + separator(mismatch.Field) + mismatch.Field)
		return field.TypeInvalid(path, mismatch.Value, "expected a "+mismatch.Type.String())
	}
	return field.Invalid(field.NewPath(key), "(not shown)", problem.Error())
}

// separator stands between a key and the path of a field in its value.
func separator(path string) string {
	if path == "" || strings.HasPrefix(path, "[") {
		return ""
	}
	return "."
}

func (c *Config) validate() field.ErrorList {
	problems := c.StorageArgs.Validate(nil)
	databases := field.NewPath("databases")
	if len(c.Databases) == 0 {
		problems = append(problems, field.Required(databases, "at least one database"))
	}
	names, clusters := map[string]bool{}, map[string]string{}
	for i := range c.Databases {
		database := &c.Databases[i]
		at := databases.Index(i)
		problems = append(problems, database.Validate(at, database.Name, &c.StorageArgs)...)
		if names[database.Name] {
			problems = append(problems, field.Duplicate(at.Child("name"), database.Name))
		}
		names[database.Name] = true
		cluster := database.Namespace + "/" + database.ClusterName(database.Name)
		if other, taken := clusters[cluster]; taken {
			problems = append(problems, field.Invalid(at.Child("cluster"), cluster, fmt.Sprintf(
				"database %q has this cluster and writes to its path; give one of them another cluster or namespace", other)))
		}
		clusters[cluster] = database.Name
	}
	return problems
}
