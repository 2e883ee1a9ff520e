package cnpg

import (
	"maps"
	"slices"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Monitoring has Prometheus watch a database, with a PodMonitor for its pods and a
// PrometheusRule with its alerts. The Prometheus operator has to be in the cluster.
// docs/operate.md lists the alerts and what they need; their bounds follow from the
// database's schedules and retention.
type Monitoring struct {
	// Enabled creates the two objects. Default false.
	Enabled *bool `json:"enabled,omitempty"`
	// Labels are added to the two objects, for a Prometheus that selects by label, for
	// instance release: kube-prometheus-stack. Default: none.
	Labels map[string]string `json:"labels,omitempty"`
	// AlertLabels are added to each alert, for its routing. Default: none.
	AlertLabels map[string]string `json:"alertLabels,omitempty"`
	// Severities are the values of the alerts' label severity.
	Severities Severities `json:"severities,omitempty"`
}

// Severities are the values of the alerts' label severity.
type Severities struct {
	// Critical is for alerts about what cannot be restored now, or soon. Default
	// critical.
	Critical string `json:"critical,omitempty"`
	// Warning is for all others. Default warning.
	Warning string `json:"warning,omitempty"`
}

func (m Monitoring) withDefaults() Monitoring {
	if m.Enabled == nil {
		m.Enabled = new(false)
	}
	if m.Severities.Critical == "" {
		m.Severities.Critical = "critical"
	}
	if m.Severities.Warning == "" {
		m.Severities.Warning = "warning"
	}
	return m
}

// Validate returns every problem. The problems name the fields below the path at.
func (m Monitoring) Validate(at *field.Path) field.ErrorList {
	problems := checkLabels(at.Child("labels"), m.Labels)
	problems = append(problems, checkAlertLabels(at.Child("alertLabels"), m.AlertLabels)...)
	problems = append(problems, checkNoTemplate(at.Child("severities", "critical"), m.Severities.Critical)...)
	return append(problems, checkNoTemplate(at.Child("severities", "warning"), m.Severities.Warning)...)
}

// checkNoTemplate wants a value that Prometheus takes as it is. It takes none of
// the rules of a database when one has a template that it cannot read.
func checkNoTemplate(at *field.Path, value string) field.ErrorList {
	if !strings.Contains(value, "{{") {
		return nil
	}
	return field.ErrorList{field.Invalid(at, value, "Prometheus would read it as a template; expected plain text, without {{")}
}

// checkAlertLabels wants names that Prometheus accepts and that no alert has.
func checkAlertLabels(at *field.Path, labels map[string]string) field.ErrorList {
	var problems field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		problems = append(problems, checkNoTemplate(at.Key(name), labels[name])...)
		switch {
		case name == "severity":
			problems = append(problems, field.Forbidden(at.Key(name), "set it with severities"))
		case name == "alertname" || name == labelNamespace || name == labelCluster || name == labelCode || name == labelCopy:
			problems = append(problems, field.Forbidden(at.Key(name), "it is set for you"))
		case len(validation.IsCIdentifier(name)) > 0 || len(name) > 1 && name[:2] == "__":
			problems = append(problems, field.Invalid(at.Key(name), name,
				`is not a label name in Prometheus; expected letters, digits and underscores, for instance "team"`))
		}
	}
	return problems
}

// warnMonitoring is about pods that are scraped twice.
func (a *DatabaseArgs) warnMonitoring() []string {
	own := a.Spec.Monitoring
	//nolint:staticcheck // it is deprecated, and that is a part of what is said
	if own == nil || !own.EnablePodMonitor || !*a.Monitoring.withDefaults().Enabled {
		return nil
	}
	return []string{"spec.monitoring.enablePodMonitor: the operator also creates a PodMonitor, so each pod is scraped twice. " +
		"Leave it out: CloudNativePG has deprecated it, and monitoring creates one."}
}

// monitoringName is the name of the PodMonitor and of the PrometheusRule. The
// operator's own PodMonitor is called like the Cluster.
func (n names) monitoringName() string { return n.cluster + "-monitoring" }

// newMonitoring makes the PodMonitor and the PrometheusRule.
func (d *Database) newMonitoring(ctx *pulumi.Context, p *plan, cluster pulumi.Resource) error {
	if !*p.args.Monitoring.Enabled {
		return nil
	}
	pods, err := specFields(p.podMonitorSpec())
	if err != nil {
		return err
	}
	rules, err := specFields(p.prometheusRuleSpec())
	if err != nil {
		return err
	}
	o := object{
		apiVersion: "monitoring.coreos.com/v1", namespace: p.namespace, name: p.monitoringName(),
		component: "monitoring", partOf: p.database,
	}
	for _, one := range []struct {
		suffix, kind string
		fields       kubernetes.UntypedArgs
	}{
		{"-pods", "PodMonitor", pods},
		{"-alerts", "PrometheusRule", rules},
	} {
		o.kind, o.fields, o.labels = one.kind, one.fields, pulumi.ToStringMap(p.args.Monitoring.Labels)
		// After the Cluster, whose life their labels name.
		_, err = registerObject(ctx, p.database+one.suffix, o, pulumi.Parent(d), pulumi.DependsOn([]pulumi.Resource{cluster}))
		if err != nil {
			return err
		}
	}
	return nil
}

// Labels of what is scraped, and of the alerts. The server name and the retention
// tell apart what cannot be compared: the window that can be restored begins anew
// with each life, and is as long as the retention was.
const (
	labelNamespace = "namespace"
	labelCluster   = "cnpg_cluster"
	labelServer    = "cnpg_server"
	labelRetention = "cnpg_retention"
	labelCode      = "code"
	labelCopy      = "copy"
)

// podMonitorSpec has the instances scraped, as
// https://github.com/cloudnative-pg/cloudnative-pg/blob/v1.30.0/docs/src/monitoring.md
// shows under "Creating a PodMonitor". The label of the role leaves out Poolers.
func (p *plan) podMonitorSpec() monitoringv1.PodMonitorSpec {
	endpoint := monitoringv1.PodMetricsEndpoint{Port: new("metrics")}
	for _, label := range [][2]string{
		{labelCluster, p.cluster}, {labelServer, p.serverName()}, {labelRetention, p.args.options(p.args.Archive).Retention},
	} {
		endpoint.RelabelConfigs = append(endpoint.RelabelConfigs, monitoringv1.RelabelConfig{
			TargetLabel: label[0], Replacement: &label[1],
			Action: "replace", // the API server would fill it in
		})
	}
	if own := p.args.Spec.Monitoring; own != nil && own.TLSConfig != nil && own.TLSConfig.Enabled {
		endpoint.Scheme = new(monitoringv1.Scheme("https")) // older releases know no capitals
		endpoint.TLSConfig = &monitoringv1.SafeTLSConfig{
			CA: monitoringv1.SecretOrConfigMap{Secret: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: p.serverCASecret()},
				Key:                  "ca.crt",
			}},
			ServerName: new(p.cluster + "-rw"),
		}
	}
	return monitoringv1.PodMonitorSpec{
		Selector: metav1.LabelSelector{MatchLabels: map[string]string{
			"cnpg.io/cluster": p.cluster, "cnpg.io/podRole": "instance",
		}},
		PodMetricsEndpoints: []monitoringv1.PodMetricsEndpoint{endpoint},
	}
}

// serverCASecret has the authority that signed the servers' certificate:
// GetServerCASecretName in
// https://github.com/cloudnative-pg/cloudnative-pg/blob/v1.30.0/api/v1/cluster_funcs.go
func (p *plan) serverCASecret() string {
	if certificates := p.args.Spec.Certificates; certificates != nil && certificates.ServerCASecret != "" {
		return certificates.ServerCASecret
	}
	return p.cluster + "-ca"
}
