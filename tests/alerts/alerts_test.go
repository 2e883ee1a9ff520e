//go:build restore

package alerts

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/internal/engine"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/debian"
)

// promtool installs Debian's Prometheus where there is none.
func promtool(t *testing.T) string {
	t.Helper()
	if found, err := exec.LookPath("promtool"); err == nil {
		return found
	}
	const file = "/usr/bin/promtool"
	require.NoError(t, debian.Install(t.Context(), t.Output(), map[string]string{"prometheus": file}))
	return file
}

// arguments are those of the database that the scenarios are about. Its times are
// short, so that little has to be evaluated.
func arguments() *cnpg.DatabaseArgs {
	return &cnpg.DatabaseArgs{
		Namespace: "auth", Cluster: "authentik-postgresql",
		Spec: cnpgv1.ClusterSpec{
			Instances: 2, ImageName: "ghcr.io/cloudnative-pg/postgresql:17.7",
			StorageConfiguration: cnpgv1.StorageConfiguration{Size: "20Gi"},
		},
		Backup: cnpg.Backup{Schedule: "0 0 * * * *", Retention: "1d"},
		Mirror: cnpg.Mirror{Schedule: "0 * * * *", Deadline: "2h"},
		Drill: cnpg.DrillOptions{
			Enabled: new(true), B2Schedule: "0 */6 * * *", MinIOSchedule: "0 */6 * * *", Deadline: "1h",
		},
		Monitoring: cnpg.Monitoring{Enabled: new(true)},
		NewStorage: &cnpg.StorageArgs{
			B2:        cnpg.B2Args{Bucket: "homelab-cnpg-b2", Region: "us-west-002"},
			MinIO:     cnpg.MinIOArgs{Bucket: "homelab-postgres-backups", Endpoint: "https://nas.example.org:9000", Secret: "minio"},
			Bitwarden: cnpg.BitwardenArgs{Store: "bitwarden-backend", Item: "b2"},
		},
	}
}

// rules are what the component registers for the arguments.
func rules(t *testing.T, change func(*cnpg.DatabaseArgs)) monitoringv1.PrometheusRuleSpec {
	t.Helper()
	args := arguments()
	if change != nil {
		change(args)
	}
	mocks := &engine.Fake{}
	require.NoError(t, pulumi.RunErr(func(ctx *pulumi.Context) error {
		_, err := cnpg.NewDatabase(ctx, "authentik", args)
		return err
	}, pulumi.WithMocks("cnpg-backup", "test", mocks)))
	for _, one := range mocks.Resources() {
		if one.TypeToken != "kubernetes:monitoring.coreos.com/v1:PrometheusRule" {
			continue
		}
		content, err := json.Marshal(one.Inputs.Mappable())
		require.NoError(t, err)
		var rule monitoringv1.PrometheusRule
		require.NoError(t, json.Unmarshal(content, &rule))
		rule.Spec.Groups = rule.Spec.Groups[:1] // the second one is the dashboard's
		return rule.Spec
	}
	require.Fail(t, "no PrometheusRule is registered")
	return monitoringv1.PrometheusRuleSpec{}
}

// alerting are the rules of a group that are alerts.
func alerting(spec monitoringv1.PrometheusRuleSpec) []monitoringv1.Rule {
	var alerts []monitoringv1.Rule
	for _, group := range spec.Groups {
		for _, rule := range group.Rules {
			if rule.Alert != "" {
				alerts = append(alerts, rule)
			}
		}
	}
	return alerts
}

// file writes what promtool reads.
func file(t *testing.T, dir, name string, content any) {
	t.Helper()
	text, err := yaml.Marshal(content)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
}

// unitTest is a scenario as promtool reads it: at each of its times these alerts
// fire, and no other.
func (s scenario) unitTest(t *testing.T, spec monitoringv1.PrometheusRuleSpec) map[string]any {
	t.Helper()
	copies := map[string][]string{}
	for _, rule := range alerting(spec) {
		copies[rule.Alert] = append(copies[rule.Alert], rule.Labels["copy"])
	}
	w := healthy()
	if s.change != nil {
		s.change(w)
	}
	var questions []any
	end := begin
	for _, step := range s.steps {
		end = max(end, step.at)
		samples := []any{}
		for _, alert := range step.fire {
			alert, at, said := strings.Cut("CNPG"+alert, "/")
			require.Contains(t, copies, alert)
			if !said {
				at = copies[alert][0]
			}
			require.Contains(t, copies[alert], at)
			labels := []string{fmt.Sprintf("alertname=%q", alert)}
			if at != "" {
				labels = append(labels, fmt.Sprintf("copy=%q", at))
			}
			samples = append(samples, map[string]any{"labels": "{" + strings.Join(labels, ",") + "}", "value": 1})
		}
		questions = append(questions, map[string]any{
			"expr":      `count by (alertname, copy) (ALERTS{alertstate="firing"})`,
			"eval_time": step.at.String(), "exp_samples": samples,
		})
	}
	return map[string]any{
		"rule_files": []string{"rules.yaml"}, "evaluation_interval": tick.String(),
		"tests": []any{map[string]any{
			"name": s.name, "interval": tick.String(), "input_series": w.input(end), "promql_expr_test": questions,
		}},
	}
}

// judge has promtool evaluate the rules, and returns what it complains about.
func judge(t *testing.T, promtool string, spec monitoringv1.PrometheusRuleSpec, tests map[string]any) string {
	t.Helper()
	dir := t.TempDir()
	file(t, dir, "rules.yaml", spec)
	file(t, dir, "tests.yaml", tests)
	cmd := exec.CommandContext(t.Context(), promtool, "test", "rules", "tests.yaml")
	cmd.Dir = dir
	output, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	return string(output)
}

// TestTheAlertsThatFire is every scenario: what is wrong is told, by one alert, and
// what is well is not.
func TestTheAlertsThatFire(t *testing.T) {
	promtool := promtool(t)
	fired := map[string]bool{}
	for _, s := range scenarios() {
		for _, step := range s.steps {
			for _, alert := range step.fire {
				alert, _, _ = strings.Cut(alert, "/")
				fired["CNPG"+alert] = true
			}
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			spec := rules(t, s.args)
			assert.Empty(t, judge(t, promtool, spec, s.unitTest(t, spec)))
		})
	}
	for _, rule := range alerting(rules(t, nil)) {
		assert.True(t, fired[rule.Alert], "no scenario has %s fire", rule.Alert)
	}
}

func TestPromtoolAcceptsTheRules(t *testing.T) {
	promtool := promtool(t)
	for name, args := range map[string]func(*cnpg.DatabaseArgs){
		"as it is": nil,
		"the other way round": func(args *cnpg.DatabaseArgs) {
			args.Archive = cnpg.MinIO
			args.MinIO.Retention = "none"
			args.Mirror.Disabled = true
		},
	} {
		dir := t.TempDir()
		file(t, dir, "rules.yaml", rules(t, args))
		output, err := exec.CommandContext(t.Context(), promtool, "check", "rules", "--lint-fatal", filepath.Join(dir, "rules.yaml")).CombinedOutput()
		assert.NoError(t, err, "%s: %s", name, output)
	}
}

// TestEachPartOfARuleIsNeeded breaks the rules one by one, and wants a scenario to
// notice.
func TestEachPartOfARuleIsNeeded(t *testing.T) {
	if os.Getenv("CNPG_BACKUP_BREAK_RULES") == "" {
		t.Skip("takes an hour; set CNPG_BACKUP_BREAK_RULES=1")
	}
	promtool := promtool(t)
	for i, rule := range alerting(rules(t, nil)) {
		for _, broken := range breakings(rule) {
			t.Run(rule.Alert+"/"+rule.Labels["copy"]+" "+broken.what, func(t *testing.T) {
				t.Parallel()
				all := scenarios()
				slices.SortStableFunc(all, func(one, other scenario) int { // the likeliest first
					return strings.Compare(fmt.Sprint(!one.about(rule.Alert)), fmt.Sprint(!other.about(rule.Alert)))
				})
				noticed := slices.ContainsFunc(all, func(s scenario) bool {
					spec := rules(t, s.args)
					alerts := spec.Groups[0].Rules
					at := slices.IndexFunc(alerts, func(one monitoringv1.Rule) bool {
						return one.Alert == rule.Alert && one.Labels["copy"] == rule.Labels["copy"]
					})
					if at < 0 {
						return false
					}
					test := s.unitTest(t, spec)
					broken.apply(&alerts[at])
					return judge(t, promtool, spec, test) != ""
				})
				assert.True(t, noticed, "no scenario notices: rule %d", i)
			})
		}
	}
}

// breaking is one thing that is wrong with a rule.
type breaking struct {
	what  string
	apply func(*monitoringv1.Rule)
}

// breakings are those that a rule can have.
func breakings(rule monitoringv1.Rule) []breaking {
	inExpr := func(what, old, other string) breaking {
		return breaking{what, func(rule *monitoringv1.Rule) {
			rule.Expr.StrVal = strings.Replace(rule.Expr.StrVal, old, other, 1)
		}}
	}
	all := []breaking{
		{"never", func(rule *monitoringv1.Rule) { rule.Expr.StrVal = "vector(1) > 2" }},
		{"always", func(rule *monitoringv1.Rule) { rule.Expr.StrVal = "vector(1)" }},
		{"at once", func(rule *monitoringv1.Rule) { rule.For = new(monitoringv1.Duration("0s")) }},
		{"late", func(rule *monitoringv1.Rule) { rule.For = new(monitoringv1.Duration("30d")) }},
	}
	expr := rule.Expr.StrVal
	own, suppressed, found := strings.Cut(expr, "\nunless on() ALERTS")
	if found {
		all = append(all, breaking{"beside its cause", func(rule *monitoringv1.Rule) {
			rule.Expr.StrVal, _, _ = strings.Cut(rule.Expr.StrVal, "\nunless on() ALERTS")
		}})
		_, names, _ := strings.Cut(suppressed, `alertname=~"`)
		names, _, _ = strings.Cut(names, `"`)
		for _, name := range strings.Split(names, "|") {
			all = append(all, inExpr("beside "+name, name, "X"))
		}
	}
	for _, one := range [][2]string{{" > ", " < "}, {" == ", " != "}, {"absent(", "max("}, {"\nor ", "\nunless "}, {" or ", " unless "}, {"\n  or ", "\n  unless "}, {"\nunless on() ", "\nand on() "}, {"[2d]", "[10m]"}} {
		if strings.Contains(own, one[0]) {
			all = append(all, inExpr(fmt.Sprintf("%q for %q", one[1], one[0]), one[0], one[1]))
		}
	}
	return all
}

// about tells whether an alert fires in a scenario.
func (s scenario) about(alert string) bool {
	return slices.ContainsFunc(s.steps, func(step step) bool {
		return slices.ContainsFunc(step.fire, func(one string) bool {
			name, _, _ := strings.Cut(one, "/")
			return "CNPG"+name == alert
		})
	})
}
