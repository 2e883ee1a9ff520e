package cnpg

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// archivedBy is the annotation of an archive's ObjectStore with the server name
// that is written there.
const archivedBy = "cnpg-backup/server-name"

// storeGuard refuses to move an archive within one life.
type storeGuard struct {
	names
	// mirror is whether the ObjectStore is to be the mirror's, and is only guarded
	// if it is an archive's now.
	mirror bool
	// moved is the endpoint from which the archive may be moved, "" for none.
	moved string
	// anywhere is whether the bucket's name tells where it is, whatever the
	// endpoint, as at B2.
	anywhere bool
	// protected is whether the Cluster has to stay.
	protected bool
}

// judge compares the ObjectStore that is there with the one that is wanted.
func (g storeGuard) judge(there, wanted map[string]any) error {
	before, server := archiveOf(there)
	after, _ := archiveOf(wanted)
	_, ours := g.generationOf(server)
	foreign := server != "" && !ours
	switch {
	case before == "", g.mirror && server == "", foreign && !g.protected, ours && server != g.serverName():
		return nil // nothing is archived there, the Cluster may go, or another life begins
	case before == after:
		return g.judgeEndpoint(there, endpointOf(there), endpointOf(wanted))
	case foreign:
		return g.refuseName(there, before, server, after)
	}
	return g.refuse(there, before,
		"- Asked for: "+after+". The archive would go on in a folder",
		"  without a base backup, and no restore gets across the gap.",
		"Two ways out:",
		"1. The backups stay where they are: put bucket and path back.",
		fmt.Sprintf("2. They begin anew in the other folder: generation: %d.", g.generation+1))
}

// judgeEndpoint wants the bucket to be at the server where it was, or to have been
// copied from there.
func (g storeGuard) judgeEndpoint(there map[string]any, before, after string) error {
	if g.anywhere || before == "" || sameServer(before, after) || sameServer(before, g.moved) {
		return nil
	}
	return g.refuse(there, before,
		"- Asked for: "+after+". What is not copied there is missing in the",
		"  archive, and no restore gets across the gap.",
		"Two ways out:",
		"1. It is the same server under another name, or its bucket is being copied to",
		"   the other one as docs/move-nas.md says: minio.formerEndpoint: "+before,
		"2. Neither: undo this change.")
}

// refuse is about an ObjectStore that is at a path or an endpoint.
func (g storeGuard) refuse(there map[string]any, at string, rest ...string) error {
	return errors.New(strings.Join(append([]string{
		fmt.Sprintf("database %q: refused, because Cluster %s/%s may archive there.", g.database, g.namespace, g.cluster),
		"ObjectStore " + g.namespace + "/" + nameOf(there) + " is at " + at + ".",
	}, rest...), "\n"))
}

// refuseName is about a server name that is of no life of the Cluster. The Cluster is
// refused as well, but without a preview only after the ObjectStore has moved.
func (g storeGuard) refuseName(there map[string]any, at, server, after string) error {
	return errors.New(strings.Join([]string{
		fmt.Sprintf("database %q: refused, because a Cluster may archive there.", g.database),
		"ObjectStore " + g.namespace + "/" + nameOf(there) + " is at " + at + ",",
		fmt.Sprintf("with the server name %q.", server),
		fmt.Sprintf("- Asked for: %s, with %q.", after, g.serverName()),
		"  The archive would go on in a folder without a base backup, and no restore",
		"  gets across the gap.",
		"Two ways out:",
		"1. The Cluster exists: undo the change of cluster, path or serverName.",
		"2. There is none yet, or it may be deleted: set protect: false.",
	}, "\n"))
}

func endpointOf(object map[string]any) string {
	endpoint, _, _ := unstructured.NestedString(object, "spec", "configuration", "endpointURL")
	return endpoint
}

// archiveOf is an ObjectStore's path, and the server name that is written there
// if it is known.
func archiveOf(object map[string]any) (path, server string) {
	store := unstructured.Unstructured{Object: object}
	path, _, _ = unstructured.NestedString(object, "spec", "configuration", "destinationPath")
	return strings.TrimRight(path, "/"), store.GetAnnotations()[archivedBy]
}

func (g storeGuard) hook(ctx *pulumi.Context, store string) (pulumi.ResourceOption, error) {
	change, err := inPreviewToo(ctx, fmt.Sprintf("archive of %s: ObjectStore %s/%s", g.database, g.namespace, store),
		func(args *pulumi.ResourceHookArgs) error {
			there := args.OldInputs
			if _, described := there["spec"]; !described {
				there = args.OldOutputs // it was imported
			}
			return g.judge(plain(there), plain(args.NewInputs))
		})
	if err != nil {
		return nil, err
	}
	return pulumi.ResourceHooks(&pulumi.ResourceHookBinding{BeforeUpdate: []*pulumi.ResourceHook{change}}), nil
}

func nameOf(object map[string]any) string {
	name, _, _ := unstructured.NestedString(object, "metadata", "name")
	return name
}
