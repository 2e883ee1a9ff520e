package cnpg

import (
	"encoding/json"
	"testing"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// built is the Cluster spec of the arguments as it would be applied.
func built(t *testing.T, args *DatabaseArgs) map[string]any {
	t.Helper()
	fields, err := args.plan("authentik", *storageArgs()).clusterFields()
	require.NoError(t, err)
	spec, ok := fields["spec"].(map[string]any)
	require.True(t, ok)
	return spec
}

func plugin(store, serverName string, archiver bool) map[string]any {
	return map[string]any{
		"name": "barman-cloud.cloudnative-pg.io", "enabled": true, "isWALArchiver": archiver,
		"parameters": map[string]any{"barmanObjectName": store, "serverName": serverName},
	}
}

func TestClusterSpecOfTheSeed(t *testing.T) {
	t.Parallel()
	assert.Equal(t, map[string]any{
		"instances":  2.0,
		"imageName":  "ghcr.io/cloudnative-pg/postgresql:17.7",
		"storage":    map[string]any{"size": "20Gi", "storageClass": "longhorn"},
		"walStorage": map[string]any{"size": "10Gi", "storageClass": "longhorn"},
		"plugins":    []any{plugin("authentik-b2-store", "authentik-postgresql", true)},
		"externalClusters": []any{
			map[string]any{"name": "authentik-b2-backup", "plugin": plugin("authentik-b2-store", "authentik-postgresql", false)},
			map[string]any{"name": "authentik-minio-backup", "plugin": plugin("authentik-minio-store", "authentik-postgresql", false)},
		},
	}, built(t, databaseArgs()))
}

func TestASettingThatNoRestoreCouldReadIsRefused(t *testing.T) {
	t.Parallel()
	args := databaseArgs()
	args.Spec.PostgresConfiguration.Parameters = map[string]string{
		"max_connections": "2e2", "max_wal_senders": "", "max_worker_processes": "32", "shared_buffers": "1e6",
	}
	problems := args.Validate(nil, "authentik", storageArgs()).ToAggregate()
	require.Error(t, problems)
	require.Len(t, problems.Errors(), 2)
	require.ErrorContains(t, problems, `spec.postgresql.parameters[max_connections]: Invalid value: "2e2": expected a whole number, for instance "200"`)
	require.ErrorContains(t, problems, `spec.postgresql.parameters[max_wal_senders]: Invalid value: ""`)
}

func TestZerosOfTheUserArrive(t *testing.T) {
	t.Parallel()
	args := databaseArgs()
	args.Spec.Managed = &cnpgv1.ManagedConfiguration{Roles: []cnpgv1.RoleConfiguration{{Name: "app"}, {Name: "locked"}}}
	assert.Equal(t, map[string]any{"roles": []any{map[string]any{"name": "app"}, map[string]any{"name": "locked"}}},
		built(t, args)["managed"], "Go's encoding drops them")

	args.SpecAsWritten = map[string]any{
		"instances":  2,
		"resources":  map[string]any{"requests": map[string]any{"cpu": "1000m"}},
		"startDelay": 0, "logLevel": nil, "affinity": map[string]any{"topologyKey": nil},
		"managed": map[string]any{"roles": []any{
			map[string]any{"name": "app"}, map[string]any{"name": "locked", "connectionLimit": 0, "superuser": false},
		}},
		"bootstrap": map[string]any{"initdb": map[string]any{"walSegmentSize": 64}},
	}
	args.Spec.Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("1000m")}
	spec := built(t, args)

	assert.Equal(t, map[string]any{"roles": []any{
		map[string]any{"name": "app"}, map[string]any{"name": "locked", "connectionLimit": 0.0, "superuser": false},
	}}, spec["managed"])
	assert.Equal(t, 0.0, spec["startDelay"]) //nolint:testifylint // a zero is exact
	assert.NotContains(t, spec, "logLevel", "nothing was written")
	assert.Empty(t, spec["affinity"])
	assert.Equal(t, map[string]any{"requests": map[string]any{"cpu": "1"}}, spec["resources"], "as the API server stores it")
	assert.Contains(t, spec, "bootstrap")

	args.Recovery, args.Generation = &Recovery{Source: MinIO}, 2
	assert.Equal(t, map[string]any{"recovery": map[string]any{"source": "authentik-recovery"}},
		built(t, args)["bootstrap"], "a recovery takes the place of initdb")
}

func TestClusterSpec(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*DatabaseArgs)
		check  func(*testing.T, map[string]any)
	}{
		"the archive in MinIO": {
			change: func(a *DatabaseArgs) { a.Archive = MinIO },
			check: func(t *testing.T, spec map[string]any) {
				assert.Equal(t, []any{plugin("authentik-minio-store", "authentik-postgresql", true)}, spec["plugins"])
			},
		},
		"a later generation writes to a folder of its own": {
			change: func(a *DatabaseArgs) { a.Generation = 3 },
			check: func(t *testing.T, spec map[string]any) {
				assert.Equal(t, []any{plugin("authentik-b2-store", "authentik-postgresql-3", true)}, spec["plugins"])
			},
		},
		"the user's WAL volume wins": {
			change: func(a *DatabaseArgs) { a.Spec.WalStorage = &cnpgv1.StorageConfiguration{Size: "1Gi"} },
			check: func(t *testing.T, spec map[string]any) {
				assert.Equal(t, map[string]any{"size": "1Gi"}, spec["walStorage"])
			},
		},
		"no WAL volume when asked": {
			change: func(a *DatabaseArgs) { a.WALOnDataVolume = true },
			check:  func(t *testing.T, spec map[string]any) { assert.NotContains(t, spec, "walStorage") },
		},
		"one instance by default": {
			change: func(a *DatabaseArgs) { a.Spec.Instances = 0 },
			check:  func(t *testing.T, spec map[string]any) { assert.InDelta(t, 1, spec["instances"], 0) },
		},
		"the user's plugins and external clusters stay, with the defaults of atomic lists": {
			change: func(a *DatabaseArgs) {
				a.Spec.Plugins = []cnpgv1.PluginConfiguration{{Name: "other"}}
				a.Spec.ExternalClusters = []cnpgv1.ExternalCluster{{
					Name: "legacy", ConnectionParameters: map[string]string{"host": "old"},
				}}
			},
			check: func(t *testing.T, spec map[string]any) {
				assert.Equal(t, map[string]any{"name": "other", "enabled": true, "isWALArchiver": false},
					spec["plugins"].([]any)[0])
				assert.Len(t, spec["plugins"], 2)
				assert.Equal(t, map[string]any{"name": "legacy", "connectionParameters": map[string]any{"host": "old"}},
					spec["externalClusters"].([]any)[0])
				assert.Len(t, spec["externalClusters"], 3)
			},
		},
		"the operator's queries come first": {
			change: func(a *DatabaseArgs) {
				a.Spec.Monitoring = &cnpgv1.MonitoringConfiguration{CustomQueriesConfigMap: []cnpgv1.ConfigMapKeySelector{
					{LocalObjectReference: cnpgv1.LocalObjectReference{Name: "mine"}, Key: "queries"},
				}}
			},
			check: func(t *testing.T, spec map[string]any) {
				assert.Equal(t, []any{
					map[string]any{"name": "cnpg-default-monitoring", "key": "queries"},
					map[string]any{"name": "mine", "key": "queries"},
				}, spec["monitoring"].(map[string]any)["customQueriesConfigMap"])
			},
		},
		"unless they are switched off": {
			change: func(a *DatabaseArgs) {
				a.Spec.Monitoring = &cnpgv1.MonitoringConfiguration{
					DisableDefaultQueries: new(true),
					CustomQueriesConfigMap: []cnpgv1.ConfigMapKeySelector{
						{LocalObjectReference: cnpgv1.LocalObjectReference{Name: "mine"}, Key: "queries"},
					},
				}
			},
			check: func(t *testing.T, spec map[string]any) {
				assert.Len(t, spec["monitoring"].(map[string]any)["customQueriesConfigMap"], 1)
			},
		},
		"a recovery carries database, owner and secret": {
			change: func(a *DatabaseArgs) {
				a.Generation = 2
				a.Recovery = &Recovery{Source: MinIO, Target: &cnpgv1.RecoveryTarget{TargetTime: "2026-01-15T12:00:00Z"}}
				a.Spec.Bootstrap = &cnpgv1.BootstrapConfiguration{InitDB: &cnpgv1.BootstrapInitDB{
					Database: "authentik", Owner: "boss", Secret: &cnpgv1.LocalObjectReference{Name: "boss-user"},
				}}
			},
			check: func(t *testing.T, spec map[string]any) {
				assert.Equal(t, map[string]any{"recovery": map[string]any{
					"source": "authentik-recovery", "database": "authentik", "owner": "boss",
					"secret":         map[string]any{"name": "boss-user"},
					"recoveryTarget": map[string]any{"targetTime": "2026-01-15T12:00:00Z"},
				}}, spec["bootstrap"])
				assert.Equal(t, []any{plugin("authentik-b2-store", "authentik-postgresql-2", true)}, spec["plugins"],
					"the new life writes to a new generation")
				assert.Contains(t, spec["externalClusters"], map[string]any{
					"name": "authentik-recovery", "plugin": plugin("authentik-minio-store", "authentik-postgresql", false),
				}, "the source keeps the old one")
			},
		},
		"a recovery of a later generation": {
			change: func(a *DatabaseArgs) {
				a.Generation = 5
				a.Recovery = &Recovery{Source: B2, Generation: 3}
			},
			check: func(t *testing.T, spec map[string]any) {
				assert.Contains(t, spec["externalClusters"], map[string]any{
					"name": "authentik-recovery", "plugin": plugin("authentik-b2-store", "authentik-postgresql-3", false),
				})
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := databaseArgs()
			test.change(args)
			test.check(t, built(t, args))
		})
	}
}

func TestQuantitiesAreCanonical(t *testing.T) {
	t.Parallel()
	args := databaseArgs()
	require.NoError(t, json.Unmarshal(
		[]byte(`{"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": {"memory": "2048Mi"}}`), &args.Spec.Resources))
	assert.Equal(t, map[string]any{
		"requests": map[string]any{"cpu": "1", "memory": "1Gi"},
		"limits":   map[string]any{"memory": "2Gi"},
	}, built(t, args)["resources"])
}

func TestTheUsersSpecIsNotChanged(t *testing.T) {
	t.Parallel()
	args := databaseArgs()
	before := args.Spec.DeepCopy()
	built(t, args)
	assert.Equal(t, before, &args.Spec)
}
