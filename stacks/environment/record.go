package environment

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// record is a note in Pulumi's state: which databases the environment has, by
// the names that they were made with, which of them are protected, and the
// namespaces and names of their Clusters.
type record struct {
	pulumi.ResourceState
}

// recordDatabases notes the databases. It refuses when a protected one is no longer
// among them, or would have another Cluster. Pulumi would refuse, too, but says to
// lift the protection, which is the end of a database that only has another name or
// was to be moved.
func recordDatabases(ctx *pulumi.Context, databases []Database) error {
	listed, clusters := pulumi.BoolMap{}, pulumi.StringMap{}
	kept := map[string]string{}
	for i := range databases {
		database := &databases[i]
		name, cluster := database.MadeAs(database.Name), database.Namespace+"/"+database.ClusterName(database.Name)
		protect := database.Protect == nil || *database.Protect
		listed[name], clusters[name] = pulumi.Bool(protect), pulumi.String(cluster)
		if protect {
			kept[name] = cluster
		}
	}
	hook, err := ctx.RegisterResourceHook("databases", func(update *pulumi.ResourceHookArgs) error {
		return errors.Join(
			checkListed(update.OldInputs["databases"], slices.Collect(maps.Keys(listed))),
			checkMoved(update.OldInputs["clusters"], kept),
		)
	}, &pulumi.ResourceHookOptions{OnDryRun: true})
	if err != nil {
		return fmt.Errorf("databases: %w", err)
	}
	noted := &record{}
	err = ctx.RegisterComponentResourceV2("cnpg-backup:index:Environment", "environment",
		pulumi.Map{"databases": listed, "clusters": clusters}, noted,
		pulumi.ResourceHooks(&pulumi.ResourceHookBinding{BeforeUpdate: []*pulumi.ResourceHook{hook}}))
	if err != nil {
		return fmt.Errorf("databases: %w", err)
	}
	return ctx.RegisterResourceOutputs(noted, pulumi.Map{})
}

// checkMoved wants every protected database to have the Cluster of before, by its
// namespace and name. Kubernetes moves and renames nothing.
func checkMoved(before resource.PropertyValue, wanted map[string]string) error {
	if !before.IsObject() {
		return nil
	}
	var problems []string
	for name, former := range before.ObjectValue() {
		cluster, kept := wanted[string(name)]
		if !kept || !former.IsString() || former.StringValue() == cluster {
			continue
		}
		problems = append(problems, fmt.Sprintf("databases: %[1]q has the Cluster %[2]s, and its configuration now says %[3]s. "+
			"A Cluster cannot be moved or renamed: this one would be deleted, with its volumes, and an empty one created. "+
			"Undo the change. To move the data, restore it as a database with another name, with recovery: docs/operate.md. "+
			"If there is no such Cluster yet, or it may be deleted, set protect: false for it.", name, former.StringValue(), cluster))
	}
	if len(problems) == 0 {
		return nil
	}
	slices.Sort(problems)
	return errors.New(strings.Join(problems, "\n"))
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
				"If it has another name now, set formerName: %[1]s there. "+
				"If you want to remove it, put it back with protect: false, deploy, and then remove it.", name))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	slices.Sort(problems)
	return fmt.Errorf("%s", strings.Join(problems, "\n"))
}
