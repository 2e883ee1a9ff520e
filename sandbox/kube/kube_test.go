package kube_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
)

func TestConditionTellsWhyItIsNotMet(t *testing.T) {
	for _, test := range []struct{ name, status, want string }{
		{"met", "True", ""},
		{"not met", "False", "Cluster db: Ready is False: one instance is missing"},
		{"not known", "Unknown", "Cluster db: Ready is Unknown: one instance is missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cluster := kube.Object("postgresql.cnpg.io/v1", "Cluster", "apps", "db", map[string]any{
				"status": map[string]any{"conditions": []any{
					map[string]any{"type": "Archiving", "status": "True"},
					map[string]any{"type": "Ready", "status": test.status, "message": "one instance is missing"},
				}},
			})
			err := kube.Condition(cluster, "Ready")
			if test.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, test.want)
		})
	}
	assert.EqualError(t, kube.Condition(kube.Object("v1", "Node", "", "one", nil), "Ready"), "Node one has no condition Ready")
}
