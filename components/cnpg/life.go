package cnpg

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/cloudnative-pg/machinery/pkg/image/reference"
	"github.com/cloudnative-pg/machinery/pkg/postgres/version"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// recoveredFrom is the annotation that tells which folder a Cluster was restored
// from: the ObjectStore that its spec names can be changed behind its back.
const recoveredFrom = "cnpg-backup/recovered-from"

// life is what cannot be changed of a Cluster while it lives: what it began
// with, and the folder that it archives to.
type life struct {
	// store is the ObjectStore that is archived to, "" when there is none.
	store string
	// serverName is barman's folder in it.
	serverName string
	// major is PostgreSQL's major release, 0 when nothing tells it.
	major int
	began beginning
}

// beginning is what a Cluster was made of. The operator reads it only when it
// creates the Cluster.
type beginning struct {
	// method is the bootstrap method: initdb, recovery or pg_basebackup.
	method string
	// source is what was read, "" for initdb: an ObjectStore and a server name,
	// or the name of an external cluster.
	source string
	// from is the folder that source stands for, "" where nobody recorded it.
	from string
	// target is where a recovery stopped.
	target cnpgv1.RecoveryTarget
}

func (b beginning) String() string {
	switch b.method {
	case "initdb":
		return "as an empty database (initdb)"
	case "pg_basebackup":
		return "as a copy of " + b.source + " (pg_basebackup)"
	}
	from := b.from
	if from == "" {
		from = b.source
	}
	stop := ""
	if b.target != (cnpgv1.RecoveryTarget{}) {
		// Cannot fail: it was decoded from JSON, or will be encoded to it.
		target, _ := json.Marshal(b.target)
		stop = ", target " + string(target)
	}
	return "by a recovery from " + from + stop
}

// same compares the folders where both are known, and what the specs name
// otherwise.
func (b beginning) same(other beginning) bool {
	if b.method != other.method || !reflect.DeepEqual(b.target, other.target) {
		return false
	}
	if b.from != "" && other.from != "" {
		return b.from == other.from
	}
	return b.source == other.source
}

// lifeOf reads the life of a Cluster from its object.
func lifeOf(object map[string]any) (life, error) {
	content, err := json.Marshal(object)
	if err != nil {
		return life{}, fmt.Errorf("encode the Cluster: %w", err)
	}
	var cluster struct {
		Metadata struct {
			Name        string            `json:"name"`
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
		Spec struct {
			ImageName        string                         `json:"imageName"`
			ImageCatalogRef  *cnpgv1.ImageCatalogRef        `json:"imageCatalogRef"`
			Bootstrap        *cnpgv1.BootstrapConfiguration `json:"bootstrap"`
			Plugins          []cnpgv1.PluginConfiguration   `json:"plugins"`
			ExternalClusters []cnpgv1.ExternalCluster       `json:"externalClusters"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(content, &cluster); err != nil {
		return life{}, fmt.Errorf("read the Cluster: %w", err)
	}
	read := life{major: majorOf(cluster.Spec.ImageName, cluster.Spec.ImageCatalogRef)}
	for _, plugin := range cluster.Spec.Plugins {
		if plugin.Name == barmanPlugin {
			read.store, read.serverName = storeAndServer(plugin.Parameters, cluster.Metadata.Name)
		}
	}
	read.began = beginningOf(cluster.Spec.Bootstrap, cluster.Spec.ExternalClusters)
	if read.began.method == "recovery" {
		read.began.from = cluster.Metadata.Annotations[recoveredFrom]
	}
	return read, nil
}

// majorOf is the major release of PostgreSQL in an image, 0 when nothing tells it.
func majorOf(image string, catalog *cnpgv1.ImageCatalogRef) int {
	if catalog != nil {
		return catalog.Major
	}
	release, err := version.FromTag(reference.New(image).Tag)
	if err != nil {
		return 0
	}
	return int(release.Major()) //nolint:gosec // a release of PostgreSQL
}

func beginningOf(bootstrap *cnpgv1.BootstrapConfiguration, sources []cnpgv1.ExternalCluster) beginning {
	switch {
	case bootstrap != nil && bootstrap.Recovery != nil:
		began := beginning{method: "recovery", source: bootstrap.Recovery.Source}
		if bootstrap.Recovery.RecoveryTarget != nil {
			began.target = *bootstrap.Recovery.RecoveryTarget
		}
		for _, source := range sources {
			if source.Name == bootstrap.Recovery.Source && source.PluginConfiguration != nil {
				store, server := storeAndServer(source.PluginConfiguration.Parameters, source.Name)
				began.source = fmt.Sprintf("%s in ObjectStore %s", server, store)
			}
		}
		return began
	case bootstrap != nil && bootstrap.PgBaseBackup != nil:
		return beginning{method: "pg_basebackup", source: bootstrap.PgBaseBackup.Source}
	default:
		return beginning{method: "initdb"}
	}
}

func storeAndServer(parameters map[string]string, otherwise string) (store, server string) {
	store, server = parameters["barmanObjectName"], parameters["serverName"]
	if server == "" {
		server = otherwise
	}
	return store, server
}

// guard refuses changes of a Cluster's life.
type guard struct {
	names
	// recovery is what the program asks for, nil for none.
	recovery *Recovery
	// stack is the name of the Pulumi stack.
	stack string
}

// judge compares what lives with what the program wants, and says why that is
// refused; nil when it is not.
func (g guard) judge(lives, wanted life) error {
	complaints := slices.Concat(g.judgeArchive(lives, wanted), g.judgeRelease(lives, wanted), g.judgeBeginning(lives, wanted))
	if len(complaints) == 0 {
		return nil
	}
	lines := []string{
		fmt.Sprintf("database %q: refused, because Cluster %s/%s exists.", g.database, g.namespace, g.cluster),
		"It began " + lives.began.String() + "; server name " + quoted(lives.serverName) + ".",
	}
	for _, complaint := range complaints {
		lines = append(lines, "- "+complaint)
	}
	lines = append(lines,
		"Two ways out:",
		"1. The Cluster is lost: tell Pulumi, and deploy again:",
		"     pulumi refresh --stack "+g.stack,
		"2. It still runs: undo this change. To see older data, restore beside it,",
		"   as a database of another name with recovery.cluster: "+g.cluster+".")
	return errors.New(strings.Join(lines, "\n"))
}

func (g guard) judgeArchive(lives, wanted life) []string {
	switch {
	case lives.store == "":
		return nil // it has archived nothing that barman's plugin knows of
	case lives.serverName == wanted.serverName && lives.store == wanted.store:
		return nil
	case lives.serverName == wanted.serverName:
		return []string{fmt.Sprintf(
			"The archive would move from ObjectStore %s to %s within one life,\n"+
				"  and no restore gets across the gap. Begin a new one there: generation: %d.",
			lives.store, wanted.store, g.generation+1)}
	}
	before, known := g.generationOf(lives.serverName)
	switch {
	case !known:
		return []string{fmt.Sprintf("The server name would change to %q. Only generation changes it.", wanted.serverName)}
	case g.generation < before:
		return []string{fmt.Sprintf(
			"It would go back from generation %d to %d and write into the folder of\n"+
				"  an earlier life, over WAL that a restore needs. Keep generation: %d.",
			before, g.generation, before)}
	}
	return nil
}

// judgeRelease wants a new life for another major release, as CloudNativePG's guide
// does: pg_upgrade begins a new database system on timeline 1. A recovery from its
// base backups would follow the histories that failovers have left in the folder
// before, and the next failover would write over one of them. Back to the former
// release the operator lets nobody go but after an upgrade that failed.
// https://github.com/cloudnative-pg/cloudnative-pg/blob/v1.30.0/docs/src/postgres_upgrades.md
func (g guard) judgeRelease(lives, wanted life) []string {
	if lives.store == "" || lives.serverName != wanted.serverName || lives.major == 0 || lives.major >= wanted.major {
		return nil
	}
	return []string{fmt.Sprintf(
		"PostgreSQL would go from %d to %d within one life, and a restore would take\n"+
			"  the WAL of the one for that of the other. Begin a new life with the image:\n"+
			"  generation: %d. docs/operate.md says how.",
		lives.major, wanted.major, g.generation+1)}
}

func (g guard) judgeBeginning(lives, wanted life) []string {
	if lives.began.same(wanted.began) {
		return nil
	}
	complaint := "Asked for: to begin " + wanted.began.String() + ".\n" +
		"  The operator reads that only when it creates a Cluster: nothing would be\n" +
		"  restored now, and the next loss would bring back something else."
	began, moved := g.movedByDefault(lives)
	switch {
	case !moved:
		return []string{complaint}
	case lives.serverName == wanted.serverName || lives.store != wanted.store:
		// The archive moves and takes a new generation with it, or the number
		// that was said for a new generation is no longer said.
		return nil
	}
	return []string{complaint + fmt.Sprintf("\n  If all you want is a new folder, set recovery.generation: %d, deploy,\n"+
		"  and take it out again.", began)}
}

// movedByDefault tells whether nothing of the recovery has changed but what
// generation makes of recovery.generation, and what that was.
func (g guard) movedByDefault(lives life) (began int, moved bool) {
	if g.recovery == nil || g.recovery.Generation != 0 || !g.recovery.withDefaults(g.names).sameCluster(g.names) {
		return 0, false
	}
	said := *g.recovery
	for said.Generation = 1; said.Generation < g.generation; said.Generation++ {
		began := beginning{method: "recovery", from: said.withDefaults(g.names).folder(), target: lives.began.target}
		if began.same(lives.began) {
			return said.Generation, reflect.DeepEqual(said.target(), lives.began.target)
		}
	}
	return 0, false
}

func quoted(name string) string {
	if name == "" {
		return "unknown"
	}
	return fmt.Sprintf("%q", name)
}

// hook has Pulumi ask judgeNew before it makes the Cluster, and judge before it
// updates it, in a preview too. Pulumi must not replace the Cluster instead: that
// deletes the volumes.
func (g guard) hook(ctx *pulumi.Context, stores []*kubernetesObject) (pulumi.ResourceOption, error) {
	name := fmt.Sprintf("life of %s: Cluster %s/%s", g.database, g.namespace, g.cluster)
	creation, err := inPreviewToo(ctx, "new "+name, func(args *pulumi.ResourceHookArgs) error {
		wanted, err := lifeOf(plain(args.NewInputs))
		if err != nil {
			return err
		}
		servers, err := backedUp(ctx.Context(), stores)
		if err != nil {
			return err
		}
		return g.judgeNew(wanted, servers)
	})
	if err != nil {
		return nil, err
	}
	change, err := inPreviewToo(ctx, name,
		func(args *pulumi.ResourceHookArgs) error {
			known := args.OldInputs
			_, described := known["spec"]
			if !described {
				// It was imported: only the object that was read then is known.
				known = args.OldOutputs
			}
			lives, err := lifeOf(plain(known))
			if err != nil {
				return err
			}
			wanted, err := lifeOf(plain(args.NewInputs))
			if err != nil {
				return err
			}
			if !described {
				// With what it began was never said to this program.
				lives.began = wanted.began
			}
			return g.judge(lives, wanted)
		})
	if err != nil {
		return nil, err
	}
	return pulumi.ResourceHooks(&pulumi.ResourceHookBinding{
		BeforeCreate: []*pulumi.ResourceHook{creation}, BeforeUpdate: []*pulumi.ResourceHook{change},
	}), nil
}

// inPreviewToo has Pulumi ask in deployments and in previews.
func inPreviewToo(ctx *pulumi.Context, name string, ask pulumi.ResourceHookFunction) (*pulumi.ResourceHook, error) {
	hook, err := ctx.RegisterResourceHook(name, ask, &pulumi.ResourceHookOptions{OnDryRun: true})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return hook, nil
}

// plain are properties without secrets' wrapping and without what is not known.
func plain(properties resource.PropertyMap) map[string]any {
	var unwrap func(resource.PropertyValue) (any, bool)
	unwrap = func(value resource.PropertyValue) (any, bool) {
		switch {
		case value.IsSecret():
			return value.SecretValue().Element.MapRepl(nil, unwrap), true
		case value.IsOutput():
			return value.OutputValue().Element.MapRepl(nil, unwrap), true
		case value.IsComputed():
			return nil, true
		}
		return nil, false
	}
	return properties.MapRepl(nil, unwrap)
}
