package environment

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// record is a note in Pulumi's state: which databases the environment has, by
// the names that they were made with, and which of them are protected.
type record struct {
	pulumi.ResourceState
}

// recordDatabases notes the databases, and refuses when a protected one is no
// longer among them. Pulumi would refuse, too, but says to lift the protection,
// which is the end of a database that only has another name now.
func recordDatabases(ctx *pulumi.Context, databases []Database) error {
	listed := pulumi.BoolMap{}
	for i := range databases {
		protect := databases[i].Protect == nil || *databases[i].Protect
		listed[databases[i].MadeAs(databases[i].Name)] = pulumi.Bool(protect)
	}
	hook, err := ctx.RegisterResourceHook("databases", func(update *pulumi.ResourceHookArgs) error {
		return checkListed(update.OldInputs["databases"], slices.Collect(maps.Keys(listed)))
	}, &pulumi.ResourceHookOptions{OnDryRun: true})
	if err != nil {
		return fmt.Errorf("databases: %w", err)
	}
	noted := &record{}
	err = ctx.RegisterComponentResourceV2("cnpg-backup:index:Environment", "environment",
		pulumi.Map{"databases": listed}, noted,
		pulumi.ResourceHooks(&pulumi.ResourceHookBinding{BeforeUpdate: []*pulumi.ResourceHook{hook}}))
	if err != nil {
		return fmt.Errorf("databases: %w", err)
	}
	return ctx.RegisterResourceOutputs(noted, pulumi.Map{})
}

// checkListed wants every protected database of before to be listed.
func checkListed(before resource.PropertyValue, listed []string) error {
	if !before.IsObject() {
		return nil
	}
	var problems []string
	for name, protected := range before.ObjectValue() {
		if protected.IsBool() && protected.BoolValue() && !slices.Contains(listed, string(name)) {
			problems = append(problems, fmt.Sprintf("databases: %[1]q is no longer listed, and it is protected. "+
				"If it has another name now, say formerName: %[1]s there. "+
				"If it is to go, put it back with protect: false, deploy, and remove it then.", name))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	slices.Sort(problems)
	return fmt.Errorf("%s", strings.Join(problems, "\n"))
}
