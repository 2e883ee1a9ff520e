package cnpg

import (
	"encoding/json"
	"testing"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// monitored is a database with monitoring.
func monitored() *DatabaseArgs {
	args := databaseArgs()
	args.Monitoring = Monitoring{
		Enabled: new(true), Labels: map[string]string{"release": "prometheus"}, AlertLabels: map[string]string{"team": "home"},
	}
	return args
}

// registeredAs decodes what is registered as the operator's own type.
func registeredAs[T any](t *testing.T, mocks *recorder, name string) (object T) {
	t.Helper()
	registered := mocks.only(t, name)
	assertParent(t, registered, "Database")
	assert.Contains(t, dependencies(registered), "authentik-cluster", "what is scraped is named after the life of the Cluster")
	content, err := json.Marshal(registered.Inputs.Mappable())
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, &object))
	return object
}

func TestMonitoringIsOffUnlessAskedFor(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		for _, name := range deploy(t, dryRun, databaseArgs(), nil).names() {
			assert.NotContains(t, name, "monitoring.coreos.com")
		}
	})
}

func TestMonitoringHandsThePodsToPrometheus(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		args := monitored()
		args.Generation = 2
		monitor := registeredAs[monitoringv1.PodMonitor](t, deploy(t, dryRun, args, nil), "authentik-pods")
		assert.Equal(t, "auth/authentik-postgresql-monitoring", monitor.Namespace+"/"+monitor.Name)
		assert.Equal(t, "prometheus", monitor.Labels["release"])
		assert.Equal(t, map[string]string{"cnpg.io/cluster": "authentik-postgresql", "cnpg.io/podRole": "instance"},
			monitor.Spec.Selector.MatchLabels, "no Poolers")
		require.Len(t, monitor.Spec.PodMetricsEndpoints, 1)
		endpoint := monitor.Spec.PodMetricsEndpoints[0]
		assert.Equal(t, "metrics", *endpoint.Port)
		assert.Nil(t, endpoint.Scheme)
		labels := map[string]string{}
		for _, one := range endpoint.RelabelConfigs {
			labels[one.TargetLabel] = *one.Replacement
		}
		assert.Equal(t, map[string]string{
			"cnpg_cluster": "authentik-postgresql", "cnpg_server": "authentik-postgresql-2", "cnpg_retention": "30d",
		}, labels)
	})
}

func TestMonitoringWithTLS(t *testing.T) {
	t.Parallel()
	args := monitored()
	args.Spec.Monitoring = &cnpgv1.MonitoringConfiguration{TLSConfig: &cnpgv1.ClusterMonitoringTLSConfiguration{Enabled: true}}
	endpoint := func() monitoringv1.PodMetricsEndpoint {
		return registeredAs[monitoringv1.PodMonitor](t, deploy(t, false, args, nil), "authentik-pods").Spec.PodMetricsEndpoints[0]
	}
	assert.EqualValues(t, "https", *endpoint().Scheme)
	assert.Equal(t, "authentik-postgresql-rw", *endpoint().TLSConfig.ServerName)
	assert.Equal(t, "authentik-postgresql-ca", endpoint().TLSConfig.CA.Secret.Name)
	args.Spec.Certificates = &cnpgv1.CertificatesConfiguration{ServerCASecret: "own"}
	assert.Equal(t, "own", endpoint().TLSConfig.CA.Secret.Name)
}

func TestAlertsAreRoutedByTheirLabels(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		args := monitored()
		args.Monitoring.Severities = Severities{Critical: "page"}
		rule := registeredAs[monitoringv1.PrometheusRule](t, deploy(t, dryRun, args, nil), "authentik-alerts")
		assert.Equal(t, "auth/authentik-postgresql-monitoring", rule.Namespace+"/"+rule.Name)
		assert.Equal(t, "prometheus", rule.Labels["release"])
		require.Len(t, rule.Spec.Groups, 2, "another one is for the dashboard")
		severities := map[string]int{}
		for _, one := range rule.Spec.Groups[0].Rules {
			severities[one.Labels["severity"]]++
			assert.Equal(t, []string{"home", "auth"}, []string{one.Labels["team"], one.Labels["namespace"]}, one.Alert)
			assert.Regexp(t, `^CB\d\d$`, one.Labels["code"], one.Alert)
			assert.NotContains(t, one.Expr.StrVal+one.Annotations["summary"]+one.Annotations["description"], "%", one.Alert)
		}
		assert.Len(t, severities, 2)
		assert.Positive(t, severities["page"])
		assert.Positive(t, severities["warning"])
	})
}

// The alert of a drill has one code, whatever its cause.
func TestTheAlertOfADrillSaysWhereItsCauseIs(t *testing.T) {
	t.Parallel()
	args := monitored()
	args.Drill.Enabled, args.Drill.Keep = new(true), "36h"
	told := 0
	for _, one := range args.plan("authentik", *storageArgs()).alerts() {
		if one.name != drillFailed {
			continue
		}
		told++
		name := "authentik-drill-" + string(one.copy)
		assert.Contains(t, one.description, "kubectl logs -n auth -l app.kubernetes.io/instance=authentik-postgresql,"+
			"app.kubernetes.io/component=drill-"+string(one.copy)+" -c restore --tail 1")
		assert.Contains(t, one.description, "for 1 day 12 hours")
		assert.Contains(t, one.description, "start the CronJob "+name)
	}
	assert.Equal(t, 2, told)
}

func TestBadMonitoringIsRefused(t *testing.T) {
	t.Parallel()
	for label, want := range map[string]string{
		"team": "", "severity": "set it with severities", "namespace": "it is set for you",
		"code": "it is set for you", "my-team": "expected letters, digits and underscores", "__name": "expected letters",
	} {
		problems := Monitoring{AlertLabels: map[string]string{label: "x"}}.Validate(field.NewPath("monitoring"))
		if want == "" {
			assert.Empty(t, problems)
			continue
		}
		require.Len(t, problems, 1, label)
		assert.ErrorContains(t, problems[0], "monitoring.alertLabels["+label+"]")
		assert.ErrorContains(t, problems[0], want)
	}
	// Prometheus reads the values as templates, and takes none of the rules when it
	// cannot: testTemplateParsing in
	// https://github.com/prometheus/prometheus/blob/v0.312.0/model/rulefmt/rulefmt.go
	for value, refused := range map[string]bool{"home": false, "{home}": false, "{{ .x": true, "{{ $labels.pod }}": true} {
		problems := Monitoring{
			AlertLabels: map[string]string{"team": value}, Severities: Severities{Critical: value, Warning: value},
		}.Validate(field.NewPath("monitoring"))
		if !refused {
			assert.Empty(t, problems, value)
			continue
		}
		require.Len(t, problems, 3, value)
		for i, at := range []string{"alertLabels[team]", "severities.critical", "severities.warning"} {
			assert.Equal(t, "monitoring."+at, problems[i].Field)
		}
	}
	problems := Monitoring{Labels: map[string]string{"release": "no blanks"}}.Validate(field.NewPath("monitoring"))
	require.Len(t, problems, 1)
	assert.ErrorContains(t, problems[0], "monitoring.labels[release]")
}

func TestPodsAreNotScrapedTwice(t *testing.T) {
	t.Parallel()
	args := monitored()
	args.Spec.Monitoring = &cnpgv1.MonitoringConfiguration{EnablePodMonitor: true}
	assert.Contains(t, args.warnings()[0], "enablePodMonitor")
	args.Monitoring.Enabled = nil
	assert.Empty(t, args.warnings())
}

func TestStaleIsWhenOneWasMissed(t *testing.T) {
	t.Parallel()
	for schedule, want := range map[string]time.Duration{
		"0 0 * * * *": 3 * time.Hour, "0 0 2 * * *": 49 * time.Hour, "0 0 2 * * 0": 8*day + time.Hour, "0 0 2 1 * *": 32*day + time.Hour,
	} {
		args := databaseArgs()
		args.Schedule = schedule
		p := args.plan("authentik", *storageArgs())
		bounds := p.bounds()
		assert.Equal(t, want, p.staleAge(bounds), schedule)
		assert.LessOrEqual(t, p.staleAge(bounds), bounds.backupAge, "before the mirror's job fails for it")
	}
	args := databaseArgs()
	args.Mirror.MaxBackupAge = "400h"
	p := args.plan("authentik", *storageArgs())
	assert.Equal(t, 400*time.Hour, p.staleAge(p.bounds()), "unless it was said")
}
