package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/diagnosis"
	"github.com/homelab-iac/pulumi-cnpg-backup/internal/engine"
)

// ruleOfAnAlert is what is read of one.
type ruleOfAnAlert struct {
	Alert               string
	Labels, Annotations map[string]string
}

// alerts are those of a database, as they are registered.
func alerts(t *testing.T) []ruleOfAnAlert {
	t.Helper()
	args, where := cnpg.DatabaseArgs{
		Namespace: "auth",
		Spec: cnpgv1.ClusterSpec{
			ImageName:            "ghcr.io/cloudnative-pg/postgresql:17.7",
			StorageConfiguration: cnpgv1.StorageConfiguration{Size: "20Gi"},
		},
		Monitoring: cnpg.Monitoring{Enabled: new(true)}, Drill: cnpg.DrillOptions{Enabled: new(true)},
	}, storage()
	args.NewStorage = &where
	mocks := &engine.Fake{}
	require.NoError(t, pulumi.RunErr(func(ctx *pulumi.Context) error {
		_, err := cnpg.NewDatabase(ctx, "authentik", &args)
		return err
	}, pulumi.WithMocks("cnpg-backup", "test", mocks)))
	var found []ruleOfAnAlert
	for _, one := range mocks.Resources() {
		if !strings.HasSuffix(one.TypeToken, ":PrometheusRule") {
			continue
		}
		content, err := json.Marshal(one.Inputs.Mappable())
		require.NoError(t, err)
		var object struct {
			Spec struct {
				Groups []struct{ Rules []ruleOfAnAlert }
			}
		}
		require.NoError(t, json.Unmarshal(content, &object))
		for _, rule := range object.Spec.Groups[0].Rules {
			if rule.Alert != "" {
				found = append(found, rule)
			}
		}
	}
	require.NotEmpty(t, found)
	return found
}

// TestEachAlertHasACodeAndAPlaceInTheDocs holds the alerts to the codes, to the
// headings of the guide, which TestTheGuideHasEveryCode holds to the codes, and to
// the table of docs/operate.md.
func TestEachAlertHasACodeAndAPlaceInTheDocs(t *testing.T) {
	codes, _ := diagnosis.Codes()
	operate, err := os.ReadFile("../docs/operate.md")
	require.NoError(t, err)
	named, rows := map[string]bool{}, 0
	for _, rule := range alerts(t) {
		code := rule.Labels["code"]
		assert.True(t, slices.Contains(codes, diagnosis.Code(code)), "%s: %s is no code", rule.Alert, code)
		const guide = "https://github.com/homelab-iac/pulumi-cnpg-backup/blob/main/docs/troubleshooting.md#"
		assert.Equal(t, guide+strings.ToLower(code), rule.Annotations["runbook_url"], rule.Alert)
		assert.Contains(t, string(operate), fmt.Sprintf("| `%s` | %s | [%s](troubleshooting.md#%s) |",
			rule.Alert, rule.Labels["severity"], code, strings.ToLower(code)))
		summary := rule.Annotations["summary"]
		assert.True(t, strings.HasSuffix(summary, ".") && !strings.Contains(strings.TrimSuffix(summary, "."), ". "),
			"%s: %q is one sentence", rule.Alert, summary)
		assert.NotEmpty(t, rule.Annotations["description"], rule.Alert)
		if !named[rule.Alert] {
			rows++
		}
		named[rule.Alert], named[code] = true, true
	}
	assert.Equal(t, rows, strings.Count(string(operate), "\n| `CNPG"), "the table has no other alert")
	for _, code := range diagnosis.FromAlerts() {
		assert.True(t, named[string(code)], "no alert has %s", code)
	}
}
