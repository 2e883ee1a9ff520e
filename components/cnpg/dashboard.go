package cnpg

import (
	_ "embed" // for the dashboard
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// dashboard is the dashboard as Grafana reads it. The libraries that it is made
// with are not compiled here.
//
//go:generate go -C ../../tools/dashboard run .
//go:embed dashboard.json
var dashboard string

// DashboardArgs says where the dashboard is put. The JSON names are those of
// stack configuration.
type DashboardArgs struct {
	// Disabled leaves the dashboard out of an environment; NewDashboard ignores it.
	// Default false.
	Disabled bool `json:"disabled,omitempty"`
	// Namespace is where its ConfigMap is created: one that Grafana's sidecar reads. It
	// has to exist. Required; in stack configuration it defaults to that of the first
	// database with monitoring.
	Namespace string `json:"namespace,omitempty"`
	// Labels are those by which the sidecar finds it. Default grafana_dashboard: "1", as
	// Grafana's chart and kube-prometheus-stack expect it.
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations are added to the ConfigMap, for instance grafana_folder. Default: none.
	Annotations map[string]string `json:"annotations,omitempty"`
}

func (a DashboardArgs) withDefaults() DashboardArgs {
	if a.Labels == nil {
		a.Labels = map[string]string{"grafana_dashboard": "1"}
	}
	return a
}

// Validate returns every problem. The problems name the fields below the path at.
func (a *DashboardArgs) Validate(at *field.Path) field.ErrorList {
	const meaning = "the namespace for the dashboard's ConfigMap"
	if a == nil {
		return field.ErrorList{field.Required(at.Child("namespace"), meaning)}
	}
	problems := checkLabel(at.Child("namespace"), a.Namespace, meaning)
	problems = append(problems, checkLabels(at.Child("labels"), a.Labels)...)
	return append(problems, checkAnnotations(at.Child("annotations"), a.Annotations)...)
}

// claims are what a dashboard wants for itself.
func (a *DashboardArgs) claims(owner string, cluster any) []claim {
	if a == nil {
		return nil
	}
	return []claim{{
		thing: thing{cluster, fmt.Sprintf("ConfigMap %s/%s", a.Namespace, dashboardName)},
		owner: owner, at: field.NewPath("namespace"), value: a.Namespace, hint: "one shows all databases: leave this one out",
	}}
}

// Dashboard is a dashboard for Grafana, in a ConfigMap that its sidecar finds. It
// shows all databases with monitoring that one Prometheus watches, so that one is
// enough for all of them.
type Dashboard struct {
	pulumi.ResourceState

	// ConfigMap is the name of the ConfigMap.
	ConfigMap pulumi.StringOutput `pulumi:"configMap"`
}

// dashboardName is the name of the ConfigMap, and of the file in it, which the
// sidecars of a Grafana put into one folder.
const dashboardName = "cnpg-backup-dashboard"

// NewDashboard creates the ConfigMap. An environment of stack configuration has one as
// soon as a database has monitoring. If an argument is wrong, it fails before it
// registers anything, with all problems in one error.
func NewDashboard(ctx *pulumi.Context, name string, args *DashboardArgs, opts ...pulumi.ResourceOption) (*Dashboard, error) {
	at, err := siteOf(opts)
	if err != nil {
		return nil, fmt.Errorf("dashboard %q: %w", name, err)
	}
	label := fmt.Sprintf("dashboard %q", name)
	if err := refuse(label, claimsOf(ctx).take(args.claims(label, at.cluster), args.Validate(nil))); err != nil {
		return nil, err
	}
	full := args.withDefaults()

	made := &Dashboard{}
	err = ctx.RegisterComponentResourceV2("cnpg-backup:index:Dashboard", name, pulumi.Map{
		"namespace": pulumi.String(full.Namespace),
	}, made, opts...)
	if err != nil {
		return nil, fmt.Errorf("dashboard %q: %w", name, err)
	}

	configMap, err := registerObject(ctx, name, object{
		apiVersion: "v1", kind: "ConfigMap", namespace: full.Namespace, name: dashboardName,
		component: "dashboard", partOf: "cnpg-backup",
		labels: pulumi.ToStringMap(full.Labels), annotations: pulumi.ToStringMap(full.Annotations),
		fields: kubernetes.UntypedArgs{"data": pulumi.StringMap{dashboardName + ".json": pulumi.String(dashboard)}},
	}, pulumi.Parent(made))
	if err != nil {
		return nil, err
	}

	made.ConfigMap = configMap.output(dashboardName)
	registerOutputs(ctx, made)
	return made, nil
}
