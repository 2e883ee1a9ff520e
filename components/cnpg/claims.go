package cnpg

import (
	"fmt"
	"runtime"
	"sync"
	"weak"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Claims knows which names the components of a program have taken, so that two that
// want the same one are reported before anything is created. Pulumi would find out
// half-way, or not at all. The zero value is ready to use.
type Claims struct {
	mu     sync.Mutex
	owners map[thing]string
	// writers are the owners of the folders in the buckets of each storage.
	writers map[folderIn]string
}

// folderIn is a folder in either bucket of a storage, which its B2 bucket tells
// from others: the archive of one database may be the mirror of another. Its path
// and the server name of the first life tell the folders of the other lives.
type folderIn struct{ storage, folder, path, first string }

// thing is what only one component may have.
type thing struct {
	// in tells Kubernetes clusters apart, or the families of Pulumi names; nil for
	// what is in neither.
	in any
	// name is, for instance, "Cluster auth/authentik-postgresql".
	name string
}

// claim is a thing that a component wants.
type claim struct {
	thing
	// owner wants it, for instance `database "authentik"`.
	owner string
	// at is the field that names it, and value what that field says.
	at    *field.Path
	value string
	// hint is how to put it right.
	hint string
	// shared says that the owner may want it again.
	shared bool
	// writesTo is the folder that a database writes to, and nothing else is
	// claimed then. Two writers would overwrite each other's WAL.
	writesTo folderIn
}

// Database returns a problem for each object, folder or bucket that a database of an
// environment would share with those that were asked about before it. The problems
// name the fields below the path at; storage is the environment's.
func (c *Claims) Database(at *field.Path, name string, args *DatabaseArgs, storage *StorageArgs) field.ErrorList {
	return c.take(args.claims(at, name, storage, nil), nil)
}

// take notes the claims, and returns a problem for each that another owner has.
// Nothing is noted when there is a problem; those found before count as well.
func (c *Claims) take(claims []claim, problems field.ErrorList) field.ErrorList {
	c.mu.Lock()
	defer c.mu.Unlock()
	reported := map[string]bool{} // one problem of a field is enough
	for _, wanted := range claims {
		owner, taken := c.owners[wanted.thing]
		if wanted.writesTo.folder != "" {
			if problem := c.checkFolder(wanted); problem != nil && len(reported) == 0 {
				problems = append(problems, problem)
			}
			continue
		}
		if !taken || wanted.shared && owner == wanted.owner || reported[wanted.at.String()] {
			continue
		}
		reported[wanted.at.String()] = true
		problems = append(problems, field.Invalid(wanted.at, wanted.value,
			fmt.Sprintf("the %s belongs to %s; %s", wanted.name, owner, wanted.hint)))
	}
	if len(problems) > 0 {
		return problems
	}
	if c.owners == nil {
		c.owners, c.writers = map[thing]string{}, map[folderIn]string{}
	}
	for _, wanted := range claims {
		if wanted.writesTo.folder != "" {
			c.writers[wanted.writesTo] = wanted.owner
		} else {
			c.owners[wanted.thing] = wanted.owner
		}
	}
	return nil
}

func (c *Claims) checkFolder(wanted claim) *field.Error {
	for taken, writer := range c.writers {
		switch {
		case taken.storage != wanted.writesTo.storage:
		case foldersMeet(taken.folder, wanted.writesTo.folder):
			return field.Invalid(wanted.at, wanted.value, fmt.Sprintf(
				"%s writes to %q; give one of them another path or serverName", writer, taken.folder))
		case taken.path == wanted.writesTo.path && livesMeet(taken.first, wanted.writesTo.first):
			first := min(taken.first, wanted.writesTo.first)
			return field.Invalid(wanted.at, wanted.value, fmt.Sprintf(
				"the folders of its lives could be those of %s, which are %q, %q and so on; give one of them another path or serverName",
				writer, first, serverName(first, 2)))
		}
	}
	return nil
}

// claims are what a database wants for itself in a Kubernetes cluster and in the
// archive.
func (a *DatabaseArgs) claims(at *field.Path, name string, storage *StorageArgs, cluster any) []claim {
	if a == nil || storage == nil {
		return nil
	}
	n, owner := a.names(name), fmt.Sprintf("database %q", name)
	object := func(kind, object, fieldName, value, hint string) claim {
		return claim{
			thing: thing{cluster, fmt.Sprintf("%s %s/%s", kind, n.namespace, object)},
			owner: owner, at: at.Child(fieldName), value: value, hint: hint,
		}
	}
	const another = "give one of them another cluster or namespace"
	return []claim{
		object("Cluster", n.cluster, "cluster", n.cluster, another),
		object("ScheduledBackup", n.scheduledBackup(), "cluster", n.cluster, another),
		object("ObjectStore", n.objectStore(B2), "name", name, "give one of them another name or namespace"),
		{
			owner: owner, at: at.Child("path"), value: n.folder(), writesTo: folderIn{storage.B2.Bucket, n.folder(), n.path, n.firstServer},
		},
	}
}

// claims are what a storage wants for itself.
func (a *StorageArgs) claims(at *field.Path, owner string) []claim {
	if a == nil {
		return nil
	}
	const shared = "make one storage and give it to all databases"
	return []claim{
		{
			thing: thing{name: "B2 bucket " + a.B2.Bucket}, owner: owner,
			at: at.Child("b2").Child("bucket"), value: a.B2.Bucket, hint: shared,
		},
		{
			thing: thing{name: fmt.Sprintf("MinIO bucket %s at %s", a.MinIO.Bucket, a.MinIO.Endpoint)}, owner: owner,
			at: at.Child("minio").Child("bucket"), value: a.MinIO.Bucket, hint: shared,
		},
	}
}

// credentialsClaims are the Secrets with keys in a namespace. Those of one
// storage are shared.
func credentialsClaims(namespace string, bitwarden BitwardenArgs, owner string, cluster any) []claim {
	secrets := []string{B2Secret}
	if bitwarden.MirrorItem != "" {
		secrets = append(secrets, B2MirrorSecret)
	}
	claims := make([]claim, 0, len(secrets))
	for _, secret := range secrets {
		claims = append(claims, claim{
			thing: thing{cluster, fmt.Sprintf("ExternalSecret %s/%s", namespace, secret)},
			owner: owner, at: field.NewPath("namespace"), value: namespace,
			hint: "a namespace has one key: give its databases one storage", shared: true,
		})
	}
	return claims
}

// identity tells a storage from others of its program.
type identity struct {
	// label names the storage in messages, and cluster is where its objects are.
	label   string
	cluster any
	family  family
}

// family are the storages whose parts Pulumi cannot tell apart if they have one
// name: it adds the types of a part's parents to the name, but not the parents' names.
type family struct {
	parent any
	// ofDatabase is whether a Database below the parent makes the storage.
	ofDatabase bool
}

// credentialsClaims are what the storage's credentials in a namespace want. Pulumi
// knows them by the namespace: by another name it would make other keys, and delete
// these.
func (i identity) credentialsClaims(namespace string, bitwarden BitwardenArgs) []claim {
	return append(credentialsClaims(namespace, bitwarden, i.label, i.cluster), claim{
		thing: thing{i.family, fmt.Sprintf("Pulumi name %q of the credentials", namespace)},
		owner: i.label, at: field.NewPath("namespace"), value: namespace,
		hint:   fmt.Sprintf("give %s other namespaces, or a Pulumi stack of its own", i.label),
		shared: true,
	})
}

// site is where a component is.
type site struct {
	// cluster tells Kubernetes clusters apart.
	cluster any
	// parent is the component's, nil for none.
	parent any
}

// siteOf is where a component is by what it is given. Its Kubernetes cluster is told
// by its provider, or else by its parent, which may have one.
func siteOf(opts []pulumi.ResourceOption) (site, error) {
	options, err := pulumi.NewResourceOptions(opts...)
	if err != nil {
		return site{}, fmt.Errorf("options: %w", err)
	}
	at := site{cluster: "default"}
	if options.Parent != nil {
		at = site{cluster: options.Parent, parent: options.Parent}
	}
	for _, provider := range append(options.Providers, options.Provider) {
		if cluster, ok := provider.(*kubernetes.Provider); ok {
			at.cluster = cluster
			break
		}
	}
	return at, nil
}

// programs has the claims of each program that runs. A program ends with its
// context, and takes them along.
var programs = struct { //nolint:gochecknoglobals // the SDK has no place for what belongs to one program
	sync.Mutex
	claims map[weak.Pointer[pulumi.Context]]*Claims
}{claims: map[weak.Pointer[pulumi.Context]]*Claims{}}

// claimsOf are the claims of the program that runs in a context.
func claimsOf(ctx *pulumi.Context) *Claims {
	programs.Lock()
	defer programs.Unlock()
	program := weak.Make(ctx)
	claims, known := programs.claims[program]
	if !known {
		claims = &Claims{}
		programs.claims[program] = claims
		runtime.AddCleanup(ctx, func(program weak.Pointer[pulumi.Context]) {
			programs.Lock()
			defer programs.Unlock()
			delete(programs.claims, program)
		}, program)
	}
	return claims
}
