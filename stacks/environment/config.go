package environment

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

// Config is a stack's configuration. Its keys are the JSON names below, in the
// namespace of the project: cnpg-backup:b2 and so on.
type Config struct {
	// StorageArgs are the keys b2, minio, bitwarden, pluginVersion and protect.
	cnpg.StorageArgs
	// Drill is the key drill: what each database's own has not got.
	Drill cnpg.DrillOptions `json:"drill,omitempty"`
	// Monitoring is the key monitoring: what each database's own has not got.
	Monitoring cnpg.Monitoring `json:"monitoring,omitempty"`
	// Dashboard is the key dashboard: where it is put, if a database has monitoring.
	Dashboard cnpg.DashboardArgs `json:"dashboard,omitempty"`
	// Databases is the key databases.
	Databases []Database `json:"databases"`
}

// Database is one entry of the key databases.
type Database struct {
	// Name is the prefix of what belongs to the database, unique in the
	// environment. Required.
	Name string `json:"name"`
	cnpg.DatabaseArgs
}

// Load reads the configuration of the stack and checks all of it: settings are
// its values as Pulumi hands them to a program, secrets the keys of those that
// are encrypted, and variable looks an environment variable up, for the plugins'
// credentials. It returns every problem there is, a line for each.
func Load(settings map[string]string, secrets []string, variable func(string) string) (*Config, []string) {
	written := map[string]any{}
	for key, value := range settings {
		if name, ours := strings.CutPrefix(key, namespace); ours {
			written[name] = parse(value)
		}
	}
	read := &reading{}
	for _, key := range secrets {
		if name, ours := strings.CutPrefix(key, namespace); ours {
			read.encrypted(field.NewPath(name))
			delete(written, name)
		}
	}
	fits, _ := read.value(nil, written, reflect.TypeFor[Config]()).(map[string]any)
	loaded := &Config{}
	if err := loaded.decode(fits); err != nil {
		read.problems = append(read.problems, field.InternalError(field.NewPath(strings.TrimSuffix(namespace, ":")), err))
	}
	problems := slices.Concat(loaded.validate(), checkPlugins(settings, variable, &loaded.StorageArgs))
	return loaded, describe(read.with(problems), written)
}

// namespace is the project's, in front of the names of its keys.
const namespace = "cnpg-backup:"

// parse reads a value of Pulumi's configuration, which is JSON or plain text.
// Numbers stay as they are written.
func parse(value string) any {
	var parsed any
	decoder := json.NewDecoder(strings.NewReader(value))
	decoder.UseNumber()
	if err := decoder.Decode(&parsed); err != nil || decoder.More() {
		return value
	}
	return parsed
}

// decode takes values that fit.
func (c *Config) decode(fits map[string]any) error {
	handDown(fits, "drill")
	handDown(fits, "monitoring")
	encoded, err := json.Marshal(fits)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(encoded, c); err != nil {
		return err
	}
	databases, _ := fits["databases"].([]any)
	for i, database := range databases {
		entry, _ := database.(map[string]any)
		c.Databases[i].SpecAsWritten, _ = entry["spec"].(map[string]any)
	}
	all := make([]*cnpg.DatabaseArgs, len(c.Databases))
	for i := range c.Databases {
		all[i] = &c.Databases[i].DatabaseArgs
	}
	cnpg.SpreadDrills(all)
	return nil
}

// handDown gives what a key of the environment says to each database that does not
// say otherwise.
func handDown(fits map[string]any, key string) {
	common, _ := fits[key].(map[string]any)
	databases, _ := fits["databases"].([]any)
	for _, database := range databases {
		entry, ok := database.(map[string]any)
		if !ok || len(common) == 0 {
			continue
		}
		own, _ := entry[key].(map[string]any)
		both := maps.Clone(common)
		maps.Copy(both, own)
		entry[key] = both
	}
}

// describe makes a line of each problem: its path, the database, what is wrong.
func describe(problems field.ErrorList, written map[string]any) []string {
	databases, _ := written["databases"].([]any)
	if len(problems) == 0 {
		return nil
	}
	lines := make([]string, 0, len(problems))
	for _, problem := range problems {
		path := problem.Field
		var index int
		if n, _ := fmt.Sscanf(path, "databases[%d]", &index); n == 1 {
			entry, _ := databases[index].(map[string]any)
			if name, ok := entry["name"]; ok && name != "" {
				path += fmt.Sprintf(" of %q", fmt.Sprint(name))
			}
		}
		lines = append(lines, path+": "+strings.TrimPrefix(problem.ErrorBody(), "Forbidden: "))
	}
	return lines
}

// dashboard is where the dashboard is put, nil for nowhere.
func (c *Config) dashboard() *cnpg.DashboardArgs {
	if c.Dashboard.Disabled {
		return nil
	}
	args := c.Dashboard
	for i := range c.Databases {
		if enabled := c.Databases[i].Monitoring.Enabled; enabled != nil && *enabled {
			args.Namespace = cmp.Or(args.Namespace, c.Databases[i].Namespace)
			return &args
		}
	}
	return nil
}

func (c *Config) validate() field.ErrorList {
	problems := append(c.StorageArgs.Validate(nil), c.Drill.Validate(field.NewPath("drill"))...)
	problems = append(problems, c.Monitoring.Validate(field.NewPath("monitoring"))...)
	if dashboard := c.dashboard(); dashboard != nil {
		problems = append(problems, dashboard.Validate(field.NewPath("dashboard"))...)
	}
	databases := field.NewPath("databases")
	if len(c.Databases) == 0 {
		problems = append(problems, field.Required(databases, "at least one database"))
	}
	names, claims := map[string]bool{}, &cnpg.Claims{}
	for i := range c.Databases {
		database := &c.Databases[i]
		at := databases.Index(i)
		problems = append(problems, database.Validate(at, database.Name, &c.StorageArgs)...)
		if names[database.Name] {
			problems = append(problems, field.Duplicate(at.Child("name"), database.Name))
		}
		names[database.Name] = true
		if made := database.MadeAs(database.Name); made != database.Name && names[made] {
			problems = append(problems, field.Duplicate(at.Child("formerName"), made))
		}
		names[database.MadeAs(database.Name)] = true
		problems = append(problems, claims.Database(at, database.Name, &database.DatabaseArgs, &c.StorageArgs)...)
	}
	return problems
}
