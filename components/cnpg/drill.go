package cnpg

import (
	"fmt"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// DrillArgs describes a rehearsal: a database's backups are restored into a
// cluster that is thrown away again.
type DrillArgs struct {
	// Namespace is the database's own: its ObjectStores and their credentials
	// are used. Required.
	Namespace string `json:"namespace"`
	// Database is the name that the database has in Pulumi. Required.
	Database string `json:"database"`
	// Cluster is the name of the database's Cluster. Default
	// <database>-postgresql.
	Cluster string `json:"cluster,omitempty"`
	// Source is the copy to restore from: b2 or minio. Required.
	Source Location `json:"source"`
	// Generation is the life to restore. Default 1.
	Generation int `json:"generation,omitempty"`
	// Target is where to stop, as in Recovery. Default: the end of the WAL.
	Target *cnpgv1.RecoveryTarget `json:"target,omitempty"`
	// Spec is the throw-away Cluster's: image and storage as the database has
	// them, and bootstrap.initdb when its application's database or owner is not
	// called app.
	Spec cnpgv1.ClusterSpec `json:"spec"`
	// Query is SQL that the application's user runs in the restored database,
	// best one that shows how recent its data is. The drill fails when it does.
	// Default: none; that the database answers is always checked.
	Query string `json:"query,omitempty"`
	// Timeout is for how long to wait until the database is restored. Default 2h.
	Timeout string `json:"timeout,omitempty"`
}

func (a DrillArgs) withDefaults() DrillArgs {
	if a.Cluster == "" {
		a.Cluster = a.Database + "-postgresql"
	}
	if a.Generation == 0 {
		a.Generation = 1
	}
	if a.Timeout == "" {
		a.Timeout = "2h"
	}
	return a
}

// names are the drill's own: its Cluster has the drill's name.
func (a DrillArgs) names(name string) names {
	return names{database: name, namespace: a.Namespace, cluster: name, generation: 1}
}

func (a *DrillArgs) validate(name string) field.ErrorList {
	if a == nil {
		return field.ErrorList{field.Required(field.NewPath("namespace"), "the namespace of the database")}
	}
	full := a.withDefaults()
	problems := checkNamespace(field.NewPath("namespace"), a.Namespace)
	problems = append(problems, checkCluster(field.NewPath("name"), name)...)
	if a.Database == "" {
		problems = append(problems, field.Required(field.NewPath("database"), "the database to rehearse with"))
	}
	if name == full.Cluster {
		problems = append(problems, field.Invalid(field.NewPath("name"), name,
			"is the name of the database's own Cluster; give the drill another one"))
	} else {
		recovery := &Recovery{Source: a.Source, Cluster: full.Cluster, Generation: a.Generation, Target: a.Target}
		problems = append(problems, recovery.validate(nil, a.names(name))...)
	}
	if timeout, err := time.ParseDuration(full.Timeout); err != nil || timeout <= 0 {
		problems = append(problems, field.Invalid(field.NewPath("timeout"), a.Timeout,
			`expected a duration above zero, for instance "2h"`))
	}
	if a.Spec.ImageCatalogRef != nil {
		problems = append(problems, field.Forbidden(field.NewPath("spec", "imageCatalogRef"),
			"the check runs in the database's image: give imageName"))
	}
	return append(problems, validateSpec(field.NewPath("spec"), a.names(name), &DatabaseArgs{
		Spec: a.Spec, Recovery: &Recovery{},
	})...)
}

// Drill is a Cluster restored from one copy of a database's backups, without an
// archiver, and a Job that asks it what came back. Nothing of it is protected.
type Drill struct {
	pulumi.ResourceState

	// ClusterName is the throw-away Cluster.
	ClusterName pulumi.StringOutput `pulumi:"clusterName"`
	// Source and ServerName say which backups were restored.
	Source     pulumi.StringOutput `pulumi:"source"`
	ServerName pulumi.StringOutput `pulumi:"serverName"`
	// CheckJob is the Job whose log reports the point that was restored.
	CheckJob pulumi.StringOutput `pulumi:"checkJob"`
}

// NewDrill restores and checks. It is done when the database has answered.
func NewDrill(ctx *pulumi.Context, name string, args *DrillArgs, opts ...pulumi.ResourceOption) (*Drill, error) {
	if err := Join(fmt.Sprintf("drill %q", name), args.validate(name)); err != nil {
		return nil, err
	}
	full := args.withDefaults()
	restored := serverName(full.Cluster, full.Generation)

	drill := &Drill{}
	err := ctx.RegisterComponentResourceV2("cnpg-backup:index:Drill", name, pulumi.Map{
		"namespace":  pulumi.String(full.Namespace),
		"source":     pulumi.String(full.Source),
		"serverName": pulumi.String(restored),
	}, drill, opts...)
	if err != nil {
		return nil, fmt.Errorf("drill %q: %w", name, err)
	}
	if err := warn(ctx, drill, warnImage(field.NewPath("spec"), &full.Spec)); err != nil {
		return nil, err
	}

	cluster, err := drill.register(ctx, object{
		apiVersion: "postgresql.cnpg.io/v1", kind: "Cluster",
		namespace: full.Namespace, name: name, component: "drill", partOf: full.Database,
		annotations: pulumi.StringMap{waitFor: pulumi.String(isReady)},
	}, drillSpec(full), pulumi.Timeouts(&pulumi.CustomTimeouts{Create: full.Timeout}))
	if err != nil {
		return nil, err
	}
	_, err = drill.register(ctx, object{
		apiVersion: "batch/v1", kind: "Job",
		namespace: full.Namespace, name: name + "-check", component: "drill", partOf: full.Database,
	}, drillCheck(name, full), pulumi.DependsOn([]pulumi.Resource{cluster}))
	if err != nil {
		return nil, err
	}

	drill.ClusterName = pulumi.String(name).ToStringOutput()
	drill.Source = pulumi.String(full.Source).ToStringOutput()
	drill.ServerName = pulumi.String(restored).ToStringOutput()
	drill.CheckJob = pulumi.String(name + "-check").ToStringOutput()
	return drill, ctx.RegisterResourceOutputs(drill, pulumi.Map{
		"clusterName": drill.ClusterName,
		"source":      drill.Source,
		"serverName":  drill.ServerName,
		"checkJob":    drill.CheckJob,
	})
}

func (d *Drill) register(ctx *pulumi.Context, o object, spec any, opts ...pulumi.ResourceOption) (pulumi.Resource, error) {
	fields, err := specFields(spec)
	if err != nil {
		return nil, err
	}
	o.fields = fields
	return registerObject(ctx, o.name, o, append(opts, pulumi.Parent(d))...)
}

// drillSpec is a Cluster that is restored and archives nothing.
func drillSpec(args DrillArgs) cnpgv1.ClusterSpec {
	source := names{database: args.Database}
	spec := *args.Spec.DeepCopy()
	spec.Instances = max(spec.Instances, 1)
	spec.ExternalClusters = append(spec.ExternalClusters, externalCluster(
		source.externalCluster(args.Source), source.store(args.Source), serverName(args.Cluster, args.Generation)))
	for i := range spec.Plugins {
		setPluginDefaults(&spec.Plugins[i])
	}
	for i := range spec.ExternalClusters {
		setPluginDefaults(spec.ExternalClusters[i].PluginConfiguration)
	}
	spec.Bootstrap = bootstrapRecovery(source.externalCluster(args.Source), args.Target, initDB(args.Spec))
	addDefaultQueries(spec.Monitoring)
	return spec
}

// restoredPoint is what every drill reports: how far the WAL was replayed.
const restoredPoint = `select current_database() as "database", timeline_id as "timeline",
	redo_lsn as "restored to", pg_size_pretty(pg_database_size(current_database())) as "size"
	from pg_control_checkpoint()`

// postgresUser is the user of CloudNativePG's PostgreSQL images.
const postgresUser = 26

// drillCheck asks the restored database as its application would.
func drillCheck(name string, args DrillArgs) batchv1.JobSpec {
	secret := name + "-app"
	if db := initDB(args.Spec); db != nil && db.Secret != nil {
		secret = db.Secret.Name
	}
	check := jobContainer("check", args.Spec.ImageName, corev1.ResourceRequirements{})
	check.Command = []string{"psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--command", restoredPoint}
	if args.Query != "" {
		check.Command = append(check.Command, "--command", args.Query)
	}
	check.Env = []corev1.EnvVar{
		{Name: "HOME", Value: "/tmp"},
		{Name: "PGHOST", Value: name + "-rw"},
		{Name: "PGDATABASE", Value: applicationDatabase(args.Spec)},
		envFromSecret("PGUSER", secretKey(secret, corev1.BasicAuthUsernameKey)),
		envFromSecret("PGPASSWORD", secretKey(secret, corev1.BasicAuthPasswordKey)),
	}
	pod := jobPod(postgresUser)
	pod.Containers = []corev1.Container{check}
	return batchv1.JobSpec{
		BackoffLimit: pointer(int32(5)),
		Template:     corev1.PodTemplateSpec{Spec: pod},
	}
}

// applicationDatabase is the database that initdb made, as the operator
// defaults it.
func applicationDatabase(spec cnpgv1.ClusterSpec) string {
	if db := initDB(spec); db != nil && db.Database != "" {
		return db.Database
	}
	return "app"
}
