package cnpg

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Labels of what the rules record, beside namespace, cnpg_cluster and copy: the
// name of the database, and whether the copy is its archive or its mirror.
const (
	labelDatabase = "database"
	labelRole     = "role"
)

// records are series for the dashboard. It is one for all environments, so that
// names, bounds and prices of a database are recorded here.
//
// The times are 0 for never, and are not there when nobody knows, as the plugin's
// own. docs/operate.md says what each means.
func (p *plan) records() []monitoringv1.Rule {
	archive := map[string]string{labelRole: "archive", labelCopy: string(p.args.Archive)}
	mirror := map[string]string{labelRole: "mirror", labelCopy: string(p.args.Archive.other())}
	rules := []monitoringv1.Rule{p.record("cnpg_backup_state", p.state(p.args.Archive), archive)}
	if retention := retentionTime(p.args.options(p.args.Archive).Retention); retention > 0 {
		rules = append(rules, p.record("cnpg_backup_retention_seconds", number(retention.Seconds()), archive))
	}
	if !p.args.Mirror.Disabled {
		rules = append(rules, p.record("cnpg_backup_state", p.state(p.args.Archive.other()), mirror),
			p.record("cnpg_backup_mirrored_timestamp_seconds", p.lastRun(mirrorName(p.cluster)), mirror))
	}
	if p.args.Drill.on() {
		labels := map[Location]map[string]string{p.args.Archive: archive, p.args.Archive.other(): mirror}
		for _, at := range p.copies() {
			rules = append(rules, p.record("cnpg_backup_drilled_timestamp_seconds", p.lastRun(p.drill(at)), labels[at]))
		}
	}
	cost, b2 := p.cost(), map[string]string{labelCopy: string(B2)}
	return append(rules,
		p.record("cnpg_backup_dollars_per_gb", number(cost.PerGB), b2),
		p.record("cnpg_backup_dollars_per_gb_of_wal_a_day", number(cost.PerGBOfWAL), b2))
}

func (p *plan) record(name, expr string, more map[string]string) monitoringv1.Rule {
	labels := map[string]string{labelNamespace: p.namespace, labelCluster: p.cluster, labelDatabase: p.database}
	maps.Copy(labels, more)
	return monitoringv1.Rule{Record: name, Expr: intstr.FromString(expr), Labels: labels}
}

// number is a constant, which does not begin like an integer for the API server.
func number(value float64) string {
	return "vector(" + strconv.FormatFloat(value, 'f', -1, 64) + ")"
}

// state is what the firing alerts about a copy come to: 0 is nothing wrong, 1 a
// warning, 10 that nothing is known, 100 that something has to be done now. Those
// that name no copy are about both.
func (p *plan) state(of Location) string {
	firing := func(more string) string {
		return fmt.Sprintf(`max(ALERTS{alertstate="firing",code!="",namespace=%q,cnpg_cluster=~"%s|",copy=~"%s|"%s})`,
			p.namespace, p.cluster, of, more)
	}
	return strings.Join([]string{
		firing(`,alertname=~".+NotMonitored"`) + " * 10",
		firing(fmt.Sprintf(",severity=%q", p.args.Monitoring.Severities.Critical)) + " * 100",
		firing(""),
		"vector(0)",
	}, "\nor ")
}

// lastRun is when a CronJob's last run ended that ended well.
func (p *plan) lastRun(job string) string {
	metric := func(name string) string { return p.ofObject("kube_cronjob_"+name, "cronjob=", job) }
	return fmt.Sprintf("max(%s)\nor max(%s) * 0", metric("status_last_successful_time"), metric("created"))
}
