package cnpg

import (
	"cmp"
	"fmt"
	"slices"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// DatabaseArgs describes one PostgreSQL database. The JSON names are those of
// stack configuration.
type DatabaseArgs struct {
	// Namespace is where everything lives. It has to exist. Required.
	Namespace string `json:"namespace"`
	// Cluster is the name of the CloudNativePG Cluster, at most 50 characters.
	// Default <name>-postgresql.
	Cluster string `json:"cluster,omitempty"`
	// FormerName is the name that the database was created with, if it has another one
	// now. What belongs to it in Kubernetes and in the buckets keeps its name, and
	// nothing is created anew. Leave it in place. Default: none.
	FormerName string `json:"formerName,omitempty"`
	// Spec is the Cluster's spec in the operator's own type, so whatever CloudNativePG
	// documents can be set here:
	// https://cloudnative-pg.io/documentation/current/cloudnative-pg.v1/#clusterspec.
	// The image and the storage size are required. An image whose minor release is not
	// pinned, by its tag or by a digest, causes a warning. Two defaults are ours: one
	// instance, and a WAL volume of 10Gi.
	//
	// What the backups need is added, and it is an error to set it here as well: the
	// barman plugin, external clusters for the database's own stores,
	// bootstrap.recovery and backup.barmanObjectStore.
	//
	// Go leaves out a zero where the operator's type has omitempty, and the operator
	// then applies its own default: connectionLimit 0 becomes -1, no limit. Put such a
	// zero into SpecAsWritten.
	Spec cnpgv1.ClusterSpec `json:"spec"`
	// SpecAsWritten is the same spec, or a part of it, as its author wrote it, under the
	// names that CloudNativePG documents; entries of a list are matched by position.
	// What it has and Spec's encoding lacks, which can only be zeros, is added to the
	// Cluster. Stack configuration sets it. Default: none.
	SpecAsWritten map[string]any `json:"-"`
	// WALOnDataVolume leaves out the separate WAL volume, for instance for a running
	// cluster that has none. Default false.
	WALOnDataVolume bool `json:"walOnDataVolume,omitempty"`

	// Labels and Annotations are those of the Cluster, for instance for Longhorn's
	// recurring jobs, for Argo CD's sync waves or for cnpg.io/hibernation. The standard
	// app.kubernetes.io labels are set as well. CloudNativePG passes them on to pods and
	// volumes only if its own settings or Spec.InheritedMetadata say so. Keys that
	// somebody else writes are refused, and so are those that switch archiving or its
	// check off. Default: none.
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`

	// Backup says when base backups are taken, where they go and how long they are kept.
	Backup
	// Mirror says when and how the archive is copied to the other store.
	Mirror Mirror `json:"mirror,omitempty"`
	// Drill has each copy restored on its own, on a schedule. Default: off.
	Drill DrillOptions `json:"drill,omitempty"`
	// Monitoring has Prometheus watch the database, with alerts. Default: off.
	Monitoring Monitoring `json:"monitoring,omitempty"`
	// Recovery restores the database when its Cluster is created. Default: the database
	// begins empty, or as Spec.Bootstrap says.
	Recovery *Recovery `json:"recovery,omitempty"`

	// Protect keeps Pulumi from deleting the Cluster, and with it its volumes.
	// Default true.
	Protect *bool `json:"protect,omitempty"`
	// WaitUntilReady makes Pulumi wait until the Cluster is ready. Default false,
	// because a Cluster may have to wait for its credentials or its volumes.
	WaitUntilReady bool `json:"waitUntilReady,omitempty"`

	// Storage is the environment's storage, created for the same Kubernetes cluster.
	// The databases of a namespace share the credentials that it hands out there.
	// Default: the database creates a storage of its own, from NewStorage.
	Storage *Storage `json:"-"`
	// NewStorage describes a storage for this database alone. Required when Storage is
	// nil, and not allowed otherwise.
	NewStorage *StorageArgs `json:"-"`
}

// ClusterName is the name of the Cluster, which defaults to <name>-postgresql.
func (a *DatabaseArgs) ClusterName(name string) string {
	if a.Cluster == "" {
		return a.MadeAs(name) + "-postgresql"
	}
	return a.Cluster
}

// MadeAs is the name that the database was created with: FormerName, or its name.
func (a *DatabaseArgs) MadeAs(name string) string {
	if a.FormerName == "" {
		return name
	}
	return a.FormerName
}

func (a *DatabaseArgs) names(name string) names {
	return names{
		database: a.MadeAs(name), namespace: a.Namespace, cluster: a.ClusterName(name), generation: max(a.Generation, 1),
		path:        pathOr(a.Path, a.Namespace, a.ClusterName(name)),
		firstServer: cmp.Or(a.ServerName, a.ClusterName(name)),
		firstBackup: a.ScheduledBackup,
	}
}

func (a DatabaseArgs) withDefaults(name string, storage StorageArgs) DatabaseArgs {
	a.Backup = a.Backup.withDefaults(storage.PluginVersion)
	a.Mirror = a.Mirror.withDefaults(a.Archive, storage)
	a.Drill = a.Drill.withDefaults(a.names(name), a.Spec)
	a.Monitoring = a.Monitoring.withDefaults()
	if a.Protect == nil {
		a.Protect = new(true)
	}
	return a
}

// plan is a database as it is going to be: its names, and its arguments and its
// storage's with all defaults. Nothing in it changes any more.
type plan struct {
	names
	args    DatabaseArgs
	storage StorageArgs
}

// plan completes arguments that are valid.
func (a DatabaseArgs) plan(name string, storage StorageArgs) *plan {
	storage = storage.withDefaults()
	return &plan{names: a.names(name), args: a.withDefaults(name, storage), storage: storage}
}

// copies are the locations of the copies that the database has.
func (p *plan) copies() []Location {
	if p.args.Mirror.Disabled {
		return []Location{p.args.Archive}
	}
	return []Location{B2, MinIO}
}

// Validate returns every problem of the arguments. The problems name the fields below
// the path at; nil is the root. Storage is where the database's copies will be.
func (a *DatabaseArgs) Validate(at *field.Path, name string, storage *StorageArgs) field.ErrorList {
	if a == nil {
		return field.ErrorList{field.Required(at.Child("namespace"), "the namespace of the database")}
	}
	n := a.names(name)
	problems := checkLabel(at.Child("name"), name, "the name of the database, a prefix of what belongs to it")
	if a.Cluster != "" || len(problems) == 0 {
		problems = append(problems, checkCluster(at.Child("cluster"), n.cluster)...)
	}
	if a.FormerName != "" {
		problems = append(problems, checkLabel(at.Child("formerName"), a.FormerName, "the name that the database had")...)
	}
	if a.FormerName == name && name != "" {
		problems = append(problems, field.Invalid(at.Child("formerName"), name, "is the name that it has: leave it out"))
	}
	problems = append(problems, checkNamespace(at.Child("namespace"), a.Namespace)...)
	problems = append(problems, checkLabels(at.Child("labels"), a.Labels)...)
	problems = append(problems, checkAnnotations(at.Child("annotations"), a.Annotations)...)
	problems = append(problems, validateSpec(at.Child("spec"), n, a)...)
	problems = append(problems, a.Backup.validate(at, storage)...)
	problems = append(problems, a.Mirror.validate(at.Child("mirror"))...)
	problems = append(problems, a.Drill.validate(at.Child("drill"), a.Spec)...)
	problems = append(problems, a.Monitoring.Validate(at.Child("monitoring"))...)
	if storage != nil {
		full := a.Backup.withDefaults(storage.withDefaults().PluginVersion)
		problems = append(problems, checkPruneImage(at.Child("mirror", "pruneImage"), a.Mirror.PruneImage, full)...)
	}
	problems = append(problems, a.Recovery.validate(at.Child("recovery"), n)...)
	return append(problems, a.checkReach(at, n, storage)...)
}

// warnings are about arguments that are valid and may yet be regretted.
func (a *DatabaseArgs) warnings() []string {
	spec := field.NewPath("spec")
	return slices.Concat(warnImage(spec, &a.Spec), warnReplica(spec, a.Spec.ReplicaCluster),
		a.Backup.withDefaults("").warnRetention(), a.warnMonitoring())
}

// storageArgs are those of the storage that is used, and what is wrong with the
// choice.
func (a *DatabaseArgs) storageArgs() (*StorageArgs, field.ErrorList) {
	at := field.NewPath("newStorage")
	switch {
	case a == nil:
		return nil, nil
	case a.Storage != nil && a.NewStorage != nil:
		return &a.Storage.args, field.ErrorList{field.Forbidden(at, "storage is given too: give one of the two")}
	case a.Storage != nil:
		return &a.Storage.args, nil
	default:
		return a.NewStorage, a.NewStorage.Validate(at)
	}
}

// storageIdentity is that of the storage that is used.
func (a *DatabaseArgs) storageIdentity(name string, at site) identity {
	if a.Storage != nil {
		return a.Storage.identity
	}
	return identity{fmt.Sprintf("the storage of database %q", name), at.cluster, family{at.parent, true}}
}

// allClaims are what a database and all that it makes want for themselves.
func (a *DatabaseArgs) allClaims(name string, storage *StorageArgs, at site) []claim {
	if a == nil || storage == nil {
		return nil
	}
	id := a.storageIdentity(name, at)
	claims := a.claims(nil, name, storage, at.cluster)
	if a.Storage == nil {
		claims = append(claims, storage.claims(field.NewPath("newStorage"), id.label)...)
	}
	return append(claims, id.credentialsClaims(a.Namespace, storage.Bitwarden)...)
}

// Database is one PostgreSQL cluster with two copies of its backups.
type Database struct {
	pulumi.ResourceState

	// Namespace and ClusterName are where the Cluster lives and what it is called.
	Namespace   pulumi.StringOutput `pulumi:"namespace"`
	ClusterName pulumi.StringOutput `pulumi:"clusterName"`
	// ReadWriteHost and ReadOnlyHost are the host names of the services to connect to.
	ReadWriteHost pulumi.StringOutput `pulumi:"readWriteHost"`
	ReadOnlyHost  pulumi.StringOutput `pulumi:"readOnlyHost"`
	// AppSecret is the name of the Secret with the application's user and password.
	AppSecret pulumi.StringOutput `pulumi:"appSecret"`
	// Archive is the location of the archive: b2 or minio.
	Archive pulumi.StringOutput `pulumi:"archive"`
	// ServerName is barman's folder for this generation.
	ServerName pulumi.StringOutput `pulumi:"serverName"`
	// B2Store and MinIOStore are the names of the two ObjectStores.
	B2Store    pulumi.StringOutput `pulumi:"b2Store"`
	MinIOStore pulumi.StringOutput `pulumi:"minioStore"`
	// B2Path and MinIOPath are where the two copies are: s3://<bucket>/<path>.
	B2Path    pulumi.StringOutput `pulumi:"b2Path"`
	MinIOPath pulumi.StringOutput `pulumi:"minioPath"`
	// RecoverySources are the external clusters to restore from, by location.
	RecoverySources pulumi.StringMapOutput `pulumi:"recoverySources"`
}

// NewDatabase creates a PostgreSQL cluster and everything that its two copies need. If
// an argument is wrong, it fails before it registers anything, with all problems in one
// error. The name is the prefix of what belongs to the database, for instance of its
// ObjectStores.
func NewDatabase(ctx *pulumi.Context, name string, args *DatabaseArgs, opts ...pulumi.ResourceOption) (*Database, error) {
	at, err := siteOf(opts)
	if err != nil {
		return nil, fmt.Errorf("database %q: %w", name, err)
	}
	storageArgs, problems := args.storageArgs()
	problems = append(problems, args.Validate(nil, name, storageArgs)...)
	claims := args.allClaims(name, storageArgs, at)
	if err := refuse(fmt.Sprintf("database %q", name), claimsOf(ctx).take(claims, problems)); err != nil {
		return nil, err
	}
	p := args.plan(name, *storageArgs)

	if p.database != name {
		opts = append(opts, pulumi.Aliases([]pulumi.Alias{{Name: pulumi.String(p.database)}}))
	}
	database := &Database{}
	err = ctx.RegisterComponentResourceV2("cnpg-backup:index:Database", name, pulumi.Map{
		"namespace":  pulumi.String(p.namespace),
		"cluster":    pulumi.String(p.cluster),
		"archive":    pulumi.String(p.args.Archive),
		"generation": pulumi.Int(p.generation),
	}, database, opts...)
	if err != nil {
		return nil, fmt.Errorf("database %q: %w", name, err)
	}
	warn(ctx, database, args.warnings())
	// Pulumi writes the whole state for them, which is small now. With the objects
	// of many databases in it that would take a sixth of the time of all.
	described := &Database{}
	described.setOutputs(p, known, known, known)
	registerOutputsOf(ctx, database, described)

	storage := p.args.Storage
	if storage == nil {
		id := args.storageIdentity(name, at)
		if storage, err = newStorage(ctx, p.database, *p.args.NewStorage, id, pulumi.Parent(database)); err != nil {
			return nil, err
		}
	}
	credentials, err := storage.Credentials(ctx, p.namespace)
	if err != nil {
		return nil, err
	}
	objectStores, err := database.newObjectStores(ctx, p, credentials.ready)
	if err != nil {
		return nil, err
	}
	postgres, err := database.newCluster(ctx, p, objectStores)
	if err != nil {
		return nil, err
	}
	if err := database.newScheduledBackup(ctx, p, postgres); err != nil {
		return nil, err
	}
	if err := database.newMirror(ctx, p, postgres); err != nil {
		return nil, err
	}
	if err := database.newDrills(ctx, p, postgres); err != nil {
		return nil, err
	}
	if err := database.newMonitoring(ctx, p, postgres); err != nil {
		return nil, err
	}

	// What uses an output is made after the objects, and deleted before them.
	database.setOutputs(p, postgres.output, objectStores[0].output, objectStores[1].output)
	return database, nil
}

// newObjectStores makes both ObjectStores, and one for the backups of another
// cluster when the database is restored from those.
func (d *Database) newObjectStores(ctx *pulumi.Context, p *plan, after []pulumi.Resource,
) ([]*kubernetesObject, error) {
	var stores []*kubernetesObject
	register := func(name string, store store, opts ...pulumi.ResourceOption) error {
		fields, err := specFields(store.spec())
		if err != nil {
			return err
		}
		annotations := pulumi.StringMap{}
		if name == p.objectStore(p.args.Archive) {
			annotations[archivedBy] = pulumi.String(p.serverName())
		}
		registered, err := registerObject(ctx, name, object{
			apiVersion: "barmancloud.cnpg.io/v1", kind: "ObjectStore",
			namespace: p.namespace, name: name, component: "object-store", partOf: p.database,
			annotations: annotations, fields: fields,
		}, append(opts, pulumi.Parent(d), pulumi.DependsOn(after))...)
		stores = append(stores, registered)
		return err
	}
	for _, at := range []Location{B2, MinIO} {
		guarded, err := storeGuard{
			names: p.names, mirror: at != p.args.Archive, moved: p.storage.MinIO.FormerEndpoint, anywhere: at == B2,
			protected: *p.args.Protect,
		}.hook(ctx, p.objectStore(at))
		if err != nil {
			return nil, err
		}
		if err := register(p.objectStore(at), p.store(at), guarded); err != nil {
			return nil, err
		}
	}
	if p.args.Recovery == nil {
		return stores, nil
	}
	if from := p.args.Recovery.withDefaults(p.names); !from.sameCluster(p.names) {
		source := p.store(from.Source)
		source.path = from.Path
		source.options.Retention = "" // these backups are not this database's to delete
		source.secret = cmp.Or(from.SourceSecret, source.secret)
		if err := register(p.recoveryStore(), source); err != nil {
			return nil, err
		}
	}
	return stores, nil
}

func (d *Database) newCluster(ctx *pulumi.Context, p *plan, after []*kubernetesObject,
) (*kubernetesObject, error) {
	cluster, err := p.clusterObject()
	if err != nil {
		return nil, err
	}
	guarded, err := guard{names: p.names, recovery: p.args.Recovery, stack: ctx.Stack()}.hook(ctx, after)
	if err != nil {
		return nil, err
	}
	return registerObject(ctx, p.database+"-cluster", cluster, pulumi.Parent(d), guarded,
		dependsOn(after), pulumi.Protect(*p.args.Protect),
		// Should a user have Pulumi replace it by hand, the old one has to go
		// first: the new one has its name.
		pulumi.DeleteBeforeReplace(true))
}

func (d *Database) newScheduledBackup(ctx *pulumi.Context, p *plan, cluster pulumi.Resource) error {
	fields, err := specFields(p.scheduledBackupSpec())
	if err != nil {
		return err
	}
	_, err = registerObject(ctx, p.database+"-backup", object{
		apiVersion: "postgresql.cnpg.io/v1", kind: "ScheduledBackup",
		namespace: p.namespace, name: p.scheduledBackup(), component: "base-backups", partOf: p.database, fields: fields,
	}, pulumi.Parent(d), pulumi.DependsOn([]pulumi.Resource{cluster}))
	return err
}

// newMirror makes the CronJob.
func (d *Database) newMirror(ctx *pulumi.Context, p *plan, cluster pulumi.Resource) error {
	if p.args.Mirror.Disabled {
		return nil
	}
	spec, err := p.mirrorJob().spec()
	if err != nil {
		return err
	}
	fields, err := specFields(spec)
	if err != nil {
		return err
	}
	_, err = registerObject(ctx, p.database+"-mirror", object{
		apiVersion: "batch/v1", kind: "CronJob",
		namespace: p.namespace, name: mirrorName(p.cluster), component: "mirror", partOf: p.database, fields: fields,
	}, pulumi.Parent(d), pulumi.DependsOn([]pulumi.Resource{cluster}))
	return err
}

// known is an output of which nothing has to be there first.
func known(value string) pulumi.StringOutput { return pulumi.String(value).ToStringOutput() }

// setOutputs says the outputs, each as soon as the object that it is about is
// there.
func (d *Database) setOutputs(p *plan, cluster, b2, minio func(string) pulumi.StringOutput) {
	appSecret := p.cluster + "-app"
	if initDB := initDB(p.args.Spec); initDB != nil && initDB.Secret != nil {
		appSecret = initDB.Secret.Name
	}
	d.Namespace, d.ClusterName = cluster(p.namespace), cluster(p.cluster)
	d.ReadWriteHost, d.ReadOnlyHost = cluster(p.readWriteHost()), cluster(p.readOnlyHost())
	d.AppSecret = cluster(appSecret)
	d.Archive, d.ServerName = cluster(string(p.args.Archive)), cluster(p.serverName())
	d.B2Store, d.MinIOStore = b2(p.objectStore(B2)), minio(p.objectStore(MinIO))
	d.B2Path = b2(destinationPath(p.storage.B2.Bucket, p.path))
	d.MinIOPath = minio(destinationPath(p.storage.MinIO.Bucket, p.path))
	d.RecoverySources = pulumi.StringMap{
		string(B2):    cluster(p.recoverySource(B2)),
		string(MinIO): cluster(p.recoverySource(MinIO)),
	}.ToStringMapOutput()
}
