package crds_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/crds"
)

func TestValidateFindsWhatAnAPIServerRefuses(t *testing.T) {
	catalog, err := crds.Load(t.Context())
	require.NoError(t, err)

	for _, test := range []struct {
		name   string
		object string
		want   []string
	}{
		{
			name: "an ObjectStore as the operator wants it",
			object: `
apiVersion: barmancloud.cnpg.io/v1
kind: ObjectStore
metadata: {name: store, namespace: auth}
spec:
  retentionPolicy: 30d
  configuration: {destinationPath: "s3://bucket/auth/db", wal: {maxParallel: 4}}`,
		},
		{
			name: "a misspelt field",
			object: `
apiVersion: barmancloud.cnpg.io/v1
kind: ObjectStore
metadata: {name: store, namespace: auth}
spec: {configuration: {destinationPaht: "s3://bucket/auth/db"}}`,
			want: []string{"spec.configuration.destinationPaht: Forbidden", "spec.configuration.destinationPath: Required value"},
		},
		{
			name: "a value of the wrong type and one that no pattern matches",
			object: `
apiVersion: barmancloud.cnpg.io/v1
kind: ObjectStore
metadata: {name: store, namespace: auth}
spec:
  retentionPolicy: 0d
  configuration: {destinationPath: "s3://bucket/auth/db", wal: {maxParallel: many}}`,
			want: []string{"spec.retentionPolicy: Invalid value", "spec.configuration.wal.maxParallel: Invalid value"},
		},
		{
			name: "a field that a rule forbids",
			object: `
apiVersion: barmancloud.cnpg.io/v1
kind: ObjectStore
metadata: {name: store, namespace: auth}
spec: {configuration: {destinationPath: "s3://bucket/auth/db", serverName: db}}`,
			want: []string{"use the 'serverName' plugin parameter in the Cluster resource"},
		},
		{
			name: "an object without a namespace",
			object: `
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: db}
spec: {instances: 1}`,
			want: []string{"metadata.namespace: Required value"},
		},
		{
			name: "a value of the wrong type deep in a list",
			object: `
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: db, namespace: auth}
spec: {instances: 1, topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: 7}]}`,
			want: []string{"spec.topologySpreadConstraints[0].whenUnsatisfiable: Invalid value"},
		},
		{
			name: "a Secret of Kubernetes' own with a field that it does not have",
			object: `
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: auth}
stringdata: {A: b}`,
			want: []string{"stringdata: Forbidden"},
		},
		{
			name: "a CronJob with a field of the wrong type",
			object: `
apiVersion: batch/v1
kind: CronJob
metadata: {name: mirror, namespace: auth}
spec: {schedule: "0 4 * * *", jobTemplate: {spec: {backoffLimit: twice}}}`,
			want: []string{"spec.jobTemplate.spec.backoffLimit: Invalid value"},
		},
		{
			name: "a PodMonitor",
			object: `
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {name: db, namespace: auth}
spec: {selector: {matchLabels: {cnpg.io/cluster: db}}, podMetricsEndpoints: [{port: metrics}]}`,
		},
		{
			name: "a kind that is not known",
			object: `
apiVersion: postgresql.cnpg.io/v1
kind: Clutser
metadata: {name: db, namespace: auth}`,
			want: []string{`kind: Unsupported value: "Clutser of postgresql.cnpg.io/v1"`},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var object map[string]any
			require.NoError(t, yaml.Unmarshal([]byte(test.object), &object))

			problems := catalog.Validate(t.Context(), object)

			if len(test.want) == 0 {
				assert.Empty(t, problems)
				return
			}
			for _, want := range test.want {
				require.ErrorContains(t, problems.ToAggregate(), want)
			}
			assert.Len(t, problems, len(test.want), "%v", problems)
		})
	}
}
