package cnpg

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/cloudnative-pg/machinery/pkg/image/reference"
	"github.com/cloudnative-pg/machinery/pkg/postgres/version"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// defaultWALVolume holds the WAL that waits for the archive. While the
	// archive cannot be reached WAL piles up, and PostgreSQL stops when its
	// volume is full; on a volume of its own it fills no data volume.
	defaultWALVolume = "10Gi"

	// defaultQueries is the ConfigMap that the operator puts first in a list of
	// custom metrics queries.
	defaultQueries    = "cnpg-default-monitoring"
	defaultQueriesKey = "queries"
)

// clusterFields are the fields of the Cluster: the completed spec, and in it the
// zeros that the user wrote.
func (p *plan) clusterFields() (kubernetes.UntypedArgs, error) {
	fields, err := specFields(p.clusterSpec())
	if err != nil {
		return nil, err
	}
	written, err := toMap(p.args.SpecAsWritten)
	if err != nil {
		return nil, err
	}
	if p.args.Recovery != nil {
		delete(written, "bootstrap") // the recovery has taken its place
	}
	carryInto(fields["spec"], written)
	return fields, nil
}

// clusterObject is the Cluster as it is registered.
func (p *plan) clusterObject() (object, error) {
	fields, err := p.clusterFields()
	if err != nil {
		return object{}, err
	}
	annotations := pulumi.ToStringMap(p.args.Annotations)
	if p.args.WaitUntilReady {
		annotations[waitFor] = pulumi.String(isReady)
	}
	if p.args.Recovery != nil {
		annotations[recoveredFrom] = pulumi.String(p.args.Recovery.withDefaults(p.names).folder())
	}
	return object{
		apiVersion: "postgresql.cnpg.io/v1", kind: "Cluster",
		namespace: p.namespace, name: p.cluster, component: "database", partOf: p.database,
		labels: pulumi.ToStringMap(p.args.Labels), annotations: annotations, fields: fields,
	}, nil
}

// clusterSpec completes the user's spec with what the backups need. Lists that
// the API server treats as one value are written with the defaults that it
// would fill in, so that a preview finds nothing to change.
func (p *plan) clusterSpec() cnpgv1.ClusterSpec {
	spec := *p.args.Spec.DeepCopy()
	if spec.Instances == 0 {
		spec.Instances = 1
	}
	if spec.WalStorage == nil && !p.args.WALOnDataVolume {
		spec.WalStorage = &cnpgv1.StorageConfiguration{
			Size:         defaultWALVolume,
			StorageClass: spec.StorageConfiguration.StorageClass,
		}
	}

	spec.Plugins = append(spec.Plugins, cnpgv1.PluginConfiguration{
		Name:          barmanPlugin,
		IsWALArchiver: new(true),
		Parameters:    pluginParameters(p.objectStore(p.args.Archive), p.serverName()),
	})
	for _, location := range []Location{B2, MinIO} {
		spec.ExternalClusters = append(spec.ExternalClusters,
			externalCluster(p.recoverySource(location), p.objectStore(location), p.serverName()))
	}
	if p.args.Recovery != nil {
		from := p.args.Recovery.withDefaults(p.names)
		store := p.recoveryStore()
		if from.sameCluster(p.names) {
			store = p.objectStore(from.Source)
		}
		spec.ExternalClusters = append(spec.ExternalClusters,
			externalCluster(p.recoveryCluster(), store, from.server()))
		spec.Bootstrap = bootstrapRecovery(p.recoveryCluster(), from.Target, initDB(p.args.Spec))
	}

	for i := range spec.Plugins {
		setPluginDefaults(&spec.Plugins[i])
	}
	for i := range spec.ExternalClusters {
		setPluginDefaults(spec.ExternalClusters[i].PluginConfiguration)
	}
	addDefaultQueries(spec.Monitoring)
	return spec
}

// externalCluster is a recovery source. Its server name has to be said: it would
// default to the name of the new cluster, whose folder is empty.
func externalCluster(name, store, serverName string) cnpgv1.ExternalCluster {
	return cnpgv1.ExternalCluster{
		Name: name,
		PluginConfiguration: &cnpgv1.PluginConfiguration{
			Name:       barmanPlugin,
			Parameters: pluginParameters(store, serverName),
		},
	}
}

func pluginParameters(store, serverName string) map[string]string {
	return map[string]string{"barmanObjectName": store, "serverName": serverName}
}

func setPluginDefaults(plugin *cnpgv1.PluginConfiguration) {
	if plugin == nil {
		return
	}
	if plugin.Enabled == nil {
		plugin.Enabled = new(true)
	}
	if plugin.IsWALArchiver == nil {
		plugin.IsWALArchiver = new(false)
	}
}

// addDefaultQueries does what the operator's webhook would do to a list of
// custom queries.
func addDefaultQueries(monitoring *cnpgv1.MonitoringConfiguration) {
	if monitoring == nil || len(monitoring.CustomQueriesConfigMap) == 0 ||
		monitoring.DisableDefaultQueries != nil && *monitoring.DisableDefaultQueries {
		return
	}
	for _, queries := range monitoring.CustomQueriesConfigMap {
		if queries.Name == defaultQueries {
			return
		}
	}
	monitoring.CustomQueriesConfigMap = slices.Insert(monitoring.CustomQueriesConfigMap, 0, cnpgv1.ConfigMapKeySelector{
		LocalObjectReference: cnpgv1.LocalObjectReference{Name: defaultQueries},
		Key:                  defaultQueriesKey,
	})
}

// validateSpec refuses what the operator would refuse or misunderstand, and what
// the component sets itself.
func validateSpec(at *field.Path, n names, args *DatabaseArgs) field.ErrorList {
	spec := &args.Spec
	problems := checkImage(at, spec)
	if spec.Instances < 0 {
		problems = append(problems, field.Invalid(at.Child("instances"), spec.Instances, "expected 1 or more"))
	}
	problems = append(problems, checkWrittenZeros(at, args.SpecAsWritten)...)
	problems = append(problems, checkMemory(at.Child("resources"), spec.Resources)...)
	problems = append(problems, checkVolume(at.Child("storage"), &spec.StorageConfiguration)...)
	if spec.WalStorage != nil {
		problems = append(problems, checkVolume(at.Child("walStorage"), spec.WalStorage)...)
		if args.WALOnDataVolume {
			problems = append(problems, field.Forbidden(at.Child("walStorage"),
				"walOnDataVolume says that there is no WAL volume: give one of the two"))
		}
	}
	problems = append(problems, checkNeededSettings(at.Child("postgresql", "parameters"), spec.PostgresConfiguration.Parameters)...)
	problems = append(problems, checkOwnedBackup(at.Child("backup"), spec.Backup)...)
	problems = append(problems, checkOwnedPlugin(at.Child("plugins"), spec.Plugins)...)
	problems = append(problems, checkReplica(at.Child("replica"), n, spec.ReplicaCluster, args.Recovery != nil)...)
	problems = append(problems, checkOwnedExternalClusters(at.Child("externalClusters"), n, spec.ExternalClusters)...)
	return append(problems, checkOwnedBootstrap(at.Child("bootstrap"), spec.Bootstrap, args.Recovery != nil)...)
}

// checkWrittenZeros refuses the zeros that the operator refuses. Its Go type
// does not have them: there they are fields that nobody has set.
func checkWrittenZeros(at *field.Path, written map[string]any) field.ErrorList {
	var problems field.ErrorList
	for _, path := range [][]string{
		{"instances"},
		{"bootstrap", "initdb", "walSegmentSize"},
		{"primaryLease", "leaseDurationSeconds"},
		{"primaryLease", "releasedLeaseDurationSeconds"},
		{"primaryLease", "renewDeadlineSeconds"},
		{"primaryLease", "retryPeriodSeconds"},
		{"replicationSlots", "updateInterval"},
	} {
		value, given, err := unstructured.NestedFieldNoCopy(written, path...)
		if err == nil && given && fmt.Sprint(value) == "0" {
			problems = append(problems, field.Invalid(at.Child(path[0], path[1:]...), 0, "expected 1 or more"))
		}
	}
	return problems
}

// neededSettings have to be as high in a recovery as they were when WAL was written.
// The operator takes the higher ones of the base backup and the new Cluster:
// pgControldataSettingsToParamsMap in
// https://github.com/cloudnative-pg/cloudnative-pg/blob/v1.30.0/pkg/management/postgres/restore.go
const neededSettings = "max_connections max_wal_senders max_worker_processes max_prepared_transactions max_locks_per_transaction"

// checkNeededSettings refuses what PostgreSQL takes, and what the operator cannot
// read in a recovery (LoadEnforcedParametersFromCluster).
func checkNeededSettings(at *field.Path, parameters map[string]string) field.ErrorList {
	var problems field.ErrorList
	for name := range strings.FieldsSeq(neededSettings) {
		value, given := parameters[name]
		if _, err := strconv.Atoi(value); given && err != nil {
			problems = append(problems, field.Invalid(at.Key(name), value,
				`expected a whole number, for instance "200": with anything else the operator cannot restore the database`))
		}
	}
	return problems
}

// exampleImage pins a release of PostgreSQL.
const exampleImage = `for instance "ghcr.io/cloudnative-pg/postgresql:17.7"`

// checkImage refuses what the operator refuses: it reads the release from the
// tag. See validateImageName in
// https://github.com/cloudnative-pg/cloudnative-pg/blob/v1.30.0/internal/webhook/v1/cluster_webhook.go
//
// No image is refused too. The operator would fill in a default of its own,
// which is of another major release after an update of the operator: the next
// update of the Cluster would upgrade the database, and a restore would begin
// with a release that cannot read the backup.
func checkImage(at *field.Path, spec *cnpgv1.ClusterSpec) field.ErrorList {
	at = at.Child("imageName")
	if spec.ImageName == "" {
		if spec.ImageCatalogRef != nil {
			return nil
		}
		return field.ErrorList{field.Required(at, "the image of PostgreSQL, "+exampleImage+
			"; the operator's default changes from release to release, even to another major release, and a backup only restores into its own")}
	}
	image := reference.New(spec.ImageName)
	if image.Tag == "" {
		return field.ErrorList{field.Invalid(at, spec.ImageName,
			"a digest does not say the release: expected a tag before it that begins with a PostgreSQL release")}
	}
	if _, err := version.FromTag(image.Tag); err != nil || image.Tag == "latest" {
		return field.ErrorList{field.Invalid(at, spec.ImageName,
			"expected a tag that begins with a PostgreSQL release, "+exampleImage)}
	}
	return nil
}

// pinned begins with a release of PostgreSQL, minor included, or with a test
// release.
var pinned = regexp.MustCompile(`^[0-9]+(\.|beta|rc)[0-9]+`)

// warnImage is about images whose release changes under their name.
func warnImage(at *field.Path, spec *cnpgv1.ClusterSpec) []string {
	image := reference.New(spec.ImageName)
	if spec.ImageName == "" || image.Digest != "" || pinned.MatchString(image.Tag) {
		return nil
	}
	return []string{fmt.Sprintf("%s: %q does not say which minor release it is. Tomorrow it can be another one: "+
		"instances then run different releases, and a restore gets another release, or other versions of extensions, "+
		"than those that wrote the backup. Give a tag with the minor release, like 17.7, or add the digest, @sha256:...",
		at.Child("imageName"), spec.ImageName)}
}

func checkVolume(at *field.Path, volume *cnpgv1.StorageConfiguration) field.ErrorList {
	if volume.Size != "" {
		return checkQuantity(at.Child("size"), volume.Size)
	}
	if template := volume.PersistentVolumeClaimTemplate; template != nil && !template.Resources.Requests.Storage().IsZero() {
		return nil
	}
	return field.ErrorList{field.Required(at.Child("size"), `the size of the volume, for instance "20Gi"`)}
}

func checkOwnedBackup(at *field.Path, backup *cnpgv1.BackupConfiguration) field.ErrorList {
	if backup == nil {
		return nil
	}
	var problems field.ErrorList
	if backup.BarmanObjectStore != nil {
		problems = append(problems, field.Forbidden(at.Child("barmanObjectStore"),
			"the operator refuses it beside the Barman Cloud plugin and drops it in 1.31; "+
				"the stores are set up for you, see b2 and minio"))
	}
	if backup.RetentionPolicy != "" {
		problems = append(problems, field.Forbidden(at.Child("retentionPolicy"),
			"the plugin does not read it; use retention"))
	}
	return problems
}

func checkOwnedPlugin(at *field.Path, plugins []cnpgv1.PluginConfiguration) field.ErrorList {
	var problems field.ErrorList
	seen := map[string]bool{}
	for i, plugin := range plugins {
		entry := at.Index(i)
		enabled := plugin.Enabled == nil || *plugin.Enabled
		switch {
		case plugin.Name == "":
			problems = append(problems, field.Required(entry.Child("name"), "the name of the plugin"))
		case plugin.Name == barmanPlugin:
			problems = append(problems, field.Forbidden(entry, "the Barman Cloud plugin is set up for you; remove the entry"))
		case enabled && plugin.IsWALArchiver != nil && *plugin.IsWALArchiver:
			problems = append(problems, field.Forbidden(entry.Child("isWALArchiver"),
				"a cluster has one WAL archiver, and it is the Barman Cloud plugin"))
		case seen[plugin.Name]:
			problems = append(problems, field.Duplicate(entry.Child("name"), plugin.Name))
		}
		seen[plugin.Name] = true
	}
	return problems
}

// readFrom is the ObjectStore that an external cluster reads, if it is one of the
// Barman Cloud plugin.
func readFrom(cluster cnpgv1.ExternalCluster) string {
	if plugin := cluster.PluginConfiguration; plugin != nil && plugin.Name == barmanPlugin {
		return plugin.Parameters["barmanObjectName"]
	}
	return ""
}

// checkReplica wants the recovery that a replica of our backups follows.
func checkReplica(at *field.Path, n names, replica *cnpgv1.ReplicaClusterConfiguration, recovering bool) field.ErrorList {
	if replica == nil || recovering || replica.Source != n.recoveryCluster() {
		return nil
	}
	return field.ErrorList{field.Invalid(at.Child("source"), replica.Source,
		"is the external cluster of recovery: give recovery, beside spec, with the cluster whose backups the replica follows")}
}

// warnReplica is about what nobody has tried here.
func warnReplica(at *field.Path, replica *cnpgv1.ReplicaClusterConfiguration) []string {
	if replica == nil || replica.Primary == "" && replica.Self == "" && replica.PromotionToken == "" {
		return nil
	}
	return []string{at.Child("replica").String() + ": a distributed topology is passed on to CloudNativePG as it is. It was never tried with " +
		"this project, nor which copy restores after a switchover between sites. Rehearse that before you rely on it."}
}

func checkOwnedExternalClusters(at *field.Path, n names, clusters []cnpgv1.ExternalCluster) field.ErrorList {
	var problems field.ErrorList
	owned := []string{n.recoverySource(B2), n.recoverySource(MinIO), n.recoveryCluster()}
	stores := []string{n.objectStore(B2), n.objectStore(MinIO), n.recoveryStore()}
	seen := map[string]bool{}
	for i, cluster := range clusters {
		entry := at.Index(i)
		switch {
		case cluster.Name == "":
			problems = append(problems, field.Required(entry.Child("name"), "the name of the external cluster"))
		case slices.Contains(owned, cluster.Name):
			problems = append(problems, field.Forbidden(entry.Child("name"),
				fmt.Sprintf("%q is set up for you; give yours another name", cluster.Name)))
		case slices.Contains(stores, readFrom(cluster)):
			problems = append(problems, field.Forbidden(entry, fmt.Sprintf(
				"ObjectStore %q is this database's, and the external clusters of its backups are set up for you, as %s; remove the entry",
				readFrom(cluster), strings.Join(owned, ", "))))
		case seen[cluster.Name]:
			problems = append(problems, field.Duplicate(entry.Child("name"), cluster.Name))
		}
		seen[cluster.Name] = true
		if cluster.BarmanObjectStore != nil {
			problems = append(problems, field.Forbidden(entry.Child("barmanObjectStore"),
				"the operator drops it in 1.31; use plugin with an ObjectStore"))
		}
	}
	return problems
}

// insteadOf tells what to do in the place of the operator's own recovery.
func insteadOf(recovery *cnpgv1.BootstrapRecovery) string {
	const running = "; for a Cluster that already runs, leave it out: it is only read when a Cluster is created"
	switch {
	case recovery.VolumeSnapshots != nil:
		return "a recovery from volume snapshots is not supported: they are not a copy outside the cluster, and were never tried. " +
			"Use recovery beside spec; or restore them into a Cluster that this project does not manage, " +
			"and begin with a copy of that one, with bootstrap.pg_basebackup" + running
	case recovery.Backup != nil:
		return "the recovery is set up for you; use recovery beside spec, with the backup's ID as target.backupID" + running
	default:
		return "the recovery is set up for you; use recovery beside spec" + running
	}
}

func checkOwnedBootstrap(at *field.Path, bootstrap *cnpgv1.BootstrapConfiguration, recovering bool) field.ErrorList {
	if bootstrap == nil {
		return nil
	}
	var problems field.ErrorList
	if bootstrap.Recovery != nil {
		problems = append(problems, field.Forbidden(at.Child("recovery"), insteadOf(bootstrap.Recovery)))
	}
	if bootstrap.PgBaseBackup != nil && recovering {
		problems = append(problems, field.Forbidden(at.Child("pg_basebackup"),
			"a cluster begins in one way: remove it or recovery"))
	}
	if bootstrap.PgBaseBackup != nil && bootstrap.InitDB != nil {
		problems = append(problems, field.Forbidden(at, "a cluster begins in one way: initdb or pg_basebackup"))
	}
	return problems
}
