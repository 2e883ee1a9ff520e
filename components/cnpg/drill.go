package cnpg

import (
	"fmt"
	"strings"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// DrillArgs describes a rehearsal: a database's backups are restored into a throw-away
// Cluster.
type DrillArgs struct {
	// Namespace is the database's own: its ObjectStores and their credentials
	// are used. Required.
	Namespace string `json:"namespace"`
	// Database is the name that the database was created with: its FormerName, or its
	// name. Required.
	Database string `json:"database"`
	// Cluster is the name of the database's Cluster. Default
	// <database>-postgresql.
	Cluster string `json:"cluster,omitempty"`
	// Source is the copy to restore from: b2 or minio. Required.
	Source Location `json:"source"`
	// Generation is the life to restore. Default: the one in use, which is read from
	// the Cluster; so without it the Cluster has to exist.
	Generation int `json:"generation,omitempty"`
	// ServerName is the server name of the first life, as in Backup; it is only used
	// together with Generation. Default: the Cluster's name.
	ServerName string `json:"serverName,omitempty"`
	// Target is where to stop, as in Recovery. Default: the end of the WAL.
	Target *cnpgv1.RecoveryTarget `json:"target,omitempty"`
	// Spec is the throw-away Cluster's: image and storage as the database has them, and
	// bootstrap.initdb if the application's database or its owner is not called app.
	// Required.
	Spec cnpgv1.ClusterSpec `json:"spec"`
	// Query is SQL that the application's user runs in the restored database, best one
	// that shows how recent its data is. If it fails, so does the drill. Default: none;
	// that the database answers is always checked.
	Query string `json:"query,omitempty"`
	// MaxAge is how old the data may be, as a duration. Query then has to select one
	// time, that of the newest data; the drill fails if it is older or missing. Take the
	// time between two runs of the mirror, or some minutes for the archive, and add how
	// long the application may go without writing. Default: the age is not checked.
	MaxAge string `json:"maxAge,omitempty"`
	// Run names this rehearsal. With a new name everything is restored again, even if
	// an interrupted run has left its Cluster behind. Default: none; a second "up"
	// without a "destroy" then restores nothing.
	Run string `json:"run,omitempty"`
	// Timeout is how long to wait until the database is restored. Default 2h.
	Timeout string `json:"timeout,omitempty"`
}

func (a DrillArgs) withDefaults() DrillArgs {
	if a.Cluster == "" {
		a.Cluster = a.Database + "-postgresql"
	}
	if a.ServerName == "" {
		a.ServerName = a.Cluster
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
		recovery := &Recovery{
			Source: a.Source, Cluster: full.Cluster, ServerName: a.ServerName, Generation: a.Generation, Target: a.Target,
		}
		problems = append(problems, recovery.validate(nil, a.names(name))...)
	}
	if timeout, err := time.ParseDuration(full.Timeout); err != nil || timeout <= 0 {
		problems = append(problems, field.Invalid(field.NewPath("timeout"), a.Timeout,
			`expected a duration above zero, for instance "2h"`))
	}
	problems = append(problems, a.validateMaxAge(field.NewPath("maxAge"))...)
	if a.Spec.ImageCatalogRef != nil {
		problems = append(problems, field.Forbidden(field.NewPath("spec", "imageCatalogRef"),
			"the check runs in the database's image: give imageName"))
	}
	return append(problems, validateSpec(field.NewPath("spec"), a.names(name), &DatabaseArgs{
		Spec: a.Spec, Recovery: &Recovery{},
	})...)
}

func (a *DrillArgs) validateMaxAge(at *field.Path) field.ErrorList {
	if a.MaxAge == "" {
		return nil
	}
	if age, err := time.ParseDuration(a.MaxAge); err != nil || age < time.Second {
		return field.ErrorList{field.Invalid(at, a.MaxAge, `expected a duration of a second or more, for instance "26h"`)}
	}
	if a.Query == "" {
		return field.ErrorList{field.Forbidden(at, "there is no query that tells how recent the data is: give query")}
	}
	return nil
}

// Drill is a Cluster restored from one copy of a database's backups, without an
// archiver, and a Job that checks what came back. None of it is protected.
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

// NewDrill restores a copy and checks it. The deployment succeeds once the database has
// answered, and fails if it cannot be restored within Timeout or a check fails. If an
// argument is wrong, NewDrill fails before it registers anything, with all problems in
// one error. The name is that of the throw-away Cluster.
func NewDrill(ctx *pulumi.Context, name string, args *DrillArgs, opts ...pulumi.ResourceOption) (*Drill, error) {
	if err := refuse(fmt.Sprintf("drill %q", name), args.validate(name)); err != nil {
		return nil, err
	}
	full := args.withDefaults()

	drill := &Drill{}
	err := ctx.RegisterComponentResourceV2("cnpg-backup:index:Drill", name, pulumi.Map{
		"namespace": pulumi.String(full.Namespace),
		"cluster":   pulumi.String(full.Cluster),
		"source":    pulumi.String(full.Source),
	}, drill, opts...)
	if err != nil {
		return nil, fmt.Errorf("drill %q: %w", name, err)
	}
	if drill.ServerName, err = drill.serverName(ctx, full); err != nil {
		return nil, err
	}
	warn(ctx, drill, warnImage(field.NewPath("spec"), &full.Spec))

	spec, err := drillSpec(full, drill.ServerName)
	if err != nil {
		return nil, err
	}
	cluster, err := drill.register(ctx, full, object{
		apiVersion: "postgresql.cnpg.io/v1", kind: "Cluster",
		namespace: full.Namespace, name: name, component: "drill", partOf: full.Database,
		annotations: pulumi.StringMap{waitFor: pulumi.String(isReady)}, fields: spec,
	}, pulumi.Timeouts(&pulumi.CustomTimeouts{Create: full.Timeout}))
	if err != nil {
		return nil, err
	}
	check, err := specFields(drillCheck(name, full))
	if err != nil {
		return nil, err
	}
	checkJob, err := drill.register(ctx, full, object{
		apiVersion: "batch/v1", kind: "Job",
		namespace: full.Namespace, name: name + "-check", component: "drill", partOf: full.Database, fields: check,
	}, pulumi.DependsOn([]pulumi.Resource{cluster}))
	if err != nil {
		return nil, err
	}

	drill.ClusterName = cluster.output(name)
	drill.Source = cluster.output(string(full.Source))
	drill.CheckJob = checkJob.output(name + "-check")
	registerOutputs(ctx, drill)
	return drill, nil
}

// register makes an object of the drill, anew for each run: what is left of one
// that was cut off would answer without having been restored.
func (d *Drill) register(ctx *pulumi.Context, args DrillArgs, o object, opts ...pulumi.ResourceOption,
) (*kubernetesObject, error) {
	if args.Run != "" {
		if o.annotations == nil {
			o.annotations = pulumi.StringMap{}
		}
		o.annotations[drillRun] = pulumi.String(args.Run)
	}
	return registerObject(ctx, o.name, o, append(opts, pulumi.Parent(d),
		pulumi.ReplaceOnChanges([]string{"metadata.annotations", "spec"}), pulumi.DeleteBeforeReplace(true))...)
}

// drillRun is the annotation with the name of the run.
const drillRun = "cnpg-backup/run"

// liveCluster is the Cluster of a database, as it is.
type liveCluster struct {
	pulumi.CustomResourceState
	Spec pulumi.MapOutput `pulumi:"spec"`
}

// serverName is that of the life to restore. The one in use is read from the
// Cluster itself: any other place to look it up may be out of date.
func (d *Drill) serverName(ctx *pulumi.Context, args DrillArgs) (pulumi.StringOutput, error) {
	if args.Generation > 0 {
		return pulumi.String(serverName(args.ServerName, args.Generation)).ToStringOutput(), nil
	}
	live := &liveCluster{}
	token := object{apiVersion: "postgresql.cnpg.io/v1", kind: "Cluster"}.typeToken()
	id := pulumi.ID(args.Namespace + "/" + args.Cluster)
	if err := ctx.ReadResource(token, args.Database+"-in-use", id, nil, live, pulumi.Parent(d)); err != nil {
		return pulumi.StringOutput{}, fmt.Errorf("read Cluster %s/%s: %w", args.Namespace, args.Cluster, err)
	}
	return live.Spec.ApplyT(func(spec map[string]any) (string, error) {
		read, err := lifeOf(map[string]any{"metadata": map[string]any{"name": args.Cluster}, "spec": spec})
		if err == nil && read.serverName == "" {
			err = fmt.Errorf("the Cluster %s/%s does not archive with the Barman Cloud plugin: there is nothing to rehearse",
				args.Namespace, args.Cluster)
		}
		return read.serverName, err
	}).(pulumi.StringOutput), nil // the function returns a string
}

// drillSpec is a Cluster that is restored and archives nothing.
func drillSpec(args DrillArgs, server pulumi.StringOutput) (kubernetes.UntypedArgs, error) {
	source := names{database: args.Database}
	spec := *args.Spec.DeepCopy()
	spec.Instances = max(spec.Instances, 1)
	spec.ExternalClusters = append(spec.ExternalClusters, externalCluster(
		source.recoverySource(args.Source), source.objectStore(args.Source), ""))
	for i := range spec.Plugins {
		setPluginDefaults(&spec.Plugins[i])
	}
	for i := range spec.ExternalClusters {
		setPluginDefaults(spec.ExternalClusters[i].PluginConfiguration)
	}
	spec.Bootstrap = bootstrapRecovery(source.recoverySource(args.Source), args.Target, initDB(args.Spec))
	addDefaultQueries(spec.Monitoring)
	fields, err := specFields(spec)
	if err != nil {
		return nil, err
	}
	written := fields["spec"].(map[string]any) // specFields returns a map
	sources := written["externalClusters"].([]any)
	plugin := sources[len(sources)-1].(map[string]any)["plugin"].(map[string]any)
	plugin["parameters"] = pulumi.StringMap{
		"barmanObjectName": pulumi.String(source.objectStore(args.Source)), "serverName": server,
	}
	return fields, nil
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
		check.Command = append(check.Command, "--command", literally(args.Query))
	}
	if args.MaxAge != "" {
		check.Command = append(check.Command, "--command", literally(judgeAge(args)))
	}
	check.Env = []corev1.EnvVar{
		{Name: "HOME", Value: "/tmp"},
		{Name: "PGHOST", Value: name + "-rw"},
		{Name: "PGDATABASE", Value: literally(applicationDatabase(args.Spec))},
		envFromSecret("PGUSER", secretKey(secret, corev1.BasicAuthUsernameKey)),
		envFromSecret("PGPASSWORD", secretKey(secret, corev1.BasicAuthPasswordKey)),
	}
	pod := jobPod(postgresUser)
	pod.Containers = []corev1.Container{check}
	return batchv1.JobSpec{
		BackoffLimit: new(int32(5)),
		Template:     corev1.PodTemplateSpec{Spec: pod},
	}
}

// judgeAge is SQL that fails when the query's time is too long ago.
func judgeAge(args DrillArgs) string {
	age, _ := time.ParseDuration(args.MaxAge) // it is valid
	return fmt.Sprintf(`do $age$
declare newest timestamptz := (%s);
begin
	if newest is null then
		raise exception 'the query found no data';
	elsif newest < now() - interval '%d seconds' then
		raise exception 'the newest data is of %%, and may be no older than %s', newest;
	end if;
end $age$`, strings.TrimRight(args.Query, "; \n\t"), int(age.Seconds()), args.MaxAge)
}

// applicationDatabase is the database that initdb made, as the operator
// defaults it.
func applicationDatabase(spec cnpgv1.ClusterSpec) string {
	if db := initDB(spec); db != nil && db.Database != "" {
		return db.Database
	}
	return "app"
}
