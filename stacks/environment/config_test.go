package environment

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/internal/engine"
)

const goodConfig = `{
	"b2": {"bucket": "homelab-cnpg-b2", "region": "us-west-002"},
	"minio": {"bucket": "homelab-postgres-backups", "endpoint": "https://nas.example.org:9000", "secret": "minio"},
	"bitwarden": {"store": "bitwarden-backend", "item": "b2"},
	"databases": [{
		"name": "authentik", "namespace": "auth", "schedule": "0 0 2 * * 0", "retention": "30d",
		"spec": {
			"instances": 2, "imageName": "ghcr.io/cloudnative-pg/postgresql:17.7", "storage": {"size": "20Gi"},
			"resources": {"requests": {"cpu": "1000m"}}
		}
	}]
}`

// with returns the good configuration with some values set, by their paths. A
// nil removes the value.
func with(t *testing.T, changes map[string]any) map[string]any {
	t.Helper()
	var config map[string]any
	require.NoError(t, json.Unmarshal([]byte(goodConfig), &config))
	for path, value := range changes {
		set(config, strings.Split(path, "."), value)
	}
	return config
}

func set(in map[string]any, path []string, value any) {
	if len(path) == 1 {
		in[path[0]] = value
		if value == nil {
			delete(in, path[0])
		}
		return
	}
	if list, ok := in[path[0]].([]any); ok {
		index, _ := strconv.Atoi(path[1])
		set(list[index].(map[string]any), path[2:], value)
		return
	}
	nested, ok := in[path[0]].(map[string]any)
	if !ok {
		nested = map[string]any{}
		in[path[0]] = nested
	}
	set(nested, path[1:], value)
}

// deploy runs the program in a preview or an update.
func deploy(t *testing.T, dryRun bool, config map[string]any) (*engine.Fake, error) {
	t.Helper()
	mocks := &engine.Fake{}
	err := Run(pulumi.WithMocks("cnpg-backup", "homelab", mocks), func(info *pulumi.RunInfo) {
		info.DryRun = dryRun
		info.Config = map[string]string{}
		for key, value := range config {
			encoded, marshalErr := json.Marshal(value)
			require.NoError(t, marshalErr)
			info.Config["cnpg-backup:"+key] = string(encoded)
		}
	})
	return mocks, err
}

// TestBadInputIsReportedBeforeAnythingExists is about what is wrong beyond a first
// day's mistakes, in previews and in updates.
func TestBadInputIsReportedBeforeAnythingExists(t *testing.T) {
	t.Parallel()
	const database = "databases.0."
	recovery := func(target map[string]any) map[string]any {
		return map[string]any{
			database + "generation": 2,
			database + "recovery":   map[string]any{"source": "b2", "target": target},
		}
	}
	second := func(changes map[string]any) map[string]any {
		var config map[string]any
		require.NoError(t, json.Unmarshal([]byte(goodConfig), &config))
		other := config["databases"].([]any)[0].(map[string]any)
		for key, value := range changes {
			other[key] = value
		}
		return map[string]any{"databases": append(with(t, nil)["databases"].([]any), other)}
	}
	for name, test := range map[string]struct {
		changes map[string]any
		// want are parts of the message: the field, the value, what was expected.
		want []string
	}{
		"cron of seven fields": {
			map[string]any{database + "schedule": "0 0 3 * * * 2026"},
			[]string{"databases[0].schedule", "has 7 fields"},
		},
		"cron that never happens": {
			map[string]any{database + "schedule": "0 0 3 31 2 *"},
			[]string{"databases[0].schedule", "never happens"},
		},
		"cron out of range": {
			map[string]any{database + "schedule": "0 0 25 * * *"},
			[]string{"databases[0].schedule", `"0 0 25 * * *"`, "not a cron schedule"},
		},
		"retention without a unit": {
			map[string]any{database + "retention": "30"},
			[]string{"databases[0].retention", `"30"`, `"30d"`},
		},
		"retention of nothing": {
			map[string]any{database + "retention": "0d"},
			[]string{"databases[0].retention", `"0d"`},
		},
		"retention of one store": {
			map[string]any{database + "minio": map[string]any{"retention": "2 weeks"}},
			[]string{"databases[0].minio.retention", `"2 weeks"`},
		},
		"image latest": {
			map[string]any{database + "spec.imageName": "postgres:latest"},
			[]string{"databases[0].spec.imageName", "expected a tag that begins with a PostgreSQL release"},
		},
		"misspelt nested spec field": {
			map[string]any{database + "spec.storage.sizze": "1Gi"},
			[]string{"databases[0].spec.storage.sizze", "there is no such field"},
		},
		"misspelt storage field": {
			map[string]any{"b2.buckett": "x"},
			[]string{"b2.buckett", "there is no such field"},
		},
		"a quantity that is none": {
			map[string]any{database + "spec.resources.requests.memory": "lots"},
			[]string{"databases[0].spec.resources.requests.memory", `"lots": expected an amount`},
		},
		"in-tree barman": {
			map[string]any{database + "spec.backup": map[string]any{
				"barmanObjectStore": map[string]any{"destinationPath": "s3://x"},
			}},
			[]string{"databases[0].spec.backup.barmanObjectStore", "set up for you"},
		},
		"in-tree retention": {
			map[string]any{database + "spec.backup": map[string]any{"retentionPolicy": "30d"}},
			[]string{"databases[0].spec.backup.retentionPolicy", "use retention"},
		},
		"in-tree barman in an external cluster": {
			map[string]any{database + "spec.externalClusters": []any{map[string]any{
				"name": "old", "barmanObjectStore": map[string]any{"destinationPath": "s3://x"},
			}}},
			[]string{"databases[0].spec.externalClusters[0].barmanObjectStore", "use plugin with an ObjectStore"},
		},
		"the barman plugin given by the user": {
			map[string]any{database + "spec.plugins": []any{map[string]any{"name": "barman-cloud.cloudnative-pg.io"}}},
			[]string{"databases[0].spec.plugins[0]", "set up for you"},
		},
		"a second archiver": {
			map[string]any{database + "spec.plugins": []any{map[string]any{"name": "other", "isWALArchiver": true}}},
			[]string{"databases[0].spec.plugins[0].isWALArchiver", "one WAL archiver"},
		},
		"a plugin given twice": {
			map[string]any{database + "spec.plugins": []any{map[string]any{"name": "other"}, map[string]any{"name": "other"}}},
			[]string{"databases[0].spec.plugins[1].name", "Duplicate", `"other"`},
		},
		"our external cluster given by the user": {
			map[string]any{database + "spec.externalClusters": []any{map[string]any{"name": "authentik-b2-backup"}}},
			[]string{"databases[0].spec.externalClusters[0].name", `"authentik-b2-backup" is set up for you`},
		},
		"an old external cluster of the same store": {
			map[string]any{database + "spec.externalClusters": []any{map[string]any{
				"name": "authentik-postgresql-b2-backup", "plugin": map[string]any{
					"name": "barman-cloud.cloudnative-pg.io", "parameters": map[string]any{"barmanObjectName": "authentik-b2-store"},
				},
			}}},
			[]string{"databases[0].spec.externalClusters[0]", `ObjectStore "authentik-b2-store" is this database's`, "remove the entry"},
		},
		"a recovery from volume snapshots": {
			map[string]any{database + "spec.bootstrap": map[string]any{"recovery": map[string]any{
				"volumeSnapshots": map[string]any{"storage": map[string]any{"kind": "VolumeSnapshot", "name": "x"}},
			}}},
			[]string{"databases[0].spec.bootstrap.recovery", "volume snapshots is not supported", "pg_basebackup", "leave it out"},
		},
		"a recovery from a Backup": {
			map[string]any{database + "spec.bootstrap": map[string]any{"recovery": map[string]any{"backup": map[string]any{"name": "x"}}}},
			[]string{"databases[0].spec.bootstrap.recovery", "target.backupID"},
		},
		"a replica of our recovery without one": {
			map[string]any{database + "spec.replica": map[string]any{"enabled": true, "source": "authentik-recovery"}},
			[]string{"databases[0].spec.replica.source", "give recovery, beside spec"},
		},
		"our recovery given by the user": {
			map[string]any{database + "spec.bootstrap": map[string]any{"recovery": map[string]any{"source": "x"}}},
			[]string{"databases[0].spec.bootstrap.recovery", "use recovery beside spec"},
		},
		"two databases of one name": {
			second(map[string]any{"cluster": "other"}),
			[]string{"databases[1].name", "Duplicate", `"authentik"`},
		},
		"two databases writing to one path": {
			second(map[string]any{"name": "copy", "cluster": "authentik-postgresql"}),
			[]string{"databases[1].cluster", "auth/authentik-postgresql", `belongs to database "authentik"`},
		},
		"a generation and a cluster with one ScheduledBackup": {
			func() map[string]any {
				changed := second(map[string]any{"name": "copy", "cluster": "authentik-postgresql-2"})
				changed["databases"].([]any)[0].(map[string]any)["generation"] = 2
				return changed
			}(),
			[]string{"databases[1].cluster", "the ScheduledBackup auth/authentik-postgresql-2-backup", `belongs to database "authentik"`},
		},
		"two targets": {
			recovery(map[string]any{"targetTime": "2026-01-15T12:00:00Z", "targetLSN": "0/3000060"}),
			[]string{"databases[0].recovery.target", "targetTime, targetLSN", "one target at most"},
		},
		"target time without offset": {
			recovery(map[string]any{"targetTime": "2026-01-15 12:00:00"}),
			[]string{"databases[0].recovery.target.targetTime", "has no offset"},
		},
		"target day without offset": {
			recovery(map[string]any{"targetTime": "2026-01-15"}),
			[]string{"databases[0].recovery.target.targetTime", "offset"},
		},
		"target time with a Z that PostgreSQL refuses": {
			recovery(map[string]any{"targetTime": "2026-01-15 12:00:00Z"}),
			[]string{"databases[0].recovery.target.targetTime", "PostgreSQL would refuse"},
		},
		"target LSN that is none": {
			recovery(map[string]any{"targetLSN": "12"}),
			[]string{"databases[0].recovery.target.targetLSN", `"0/3000060"`},
		},
		"target XID that is none": {
			recovery(map[string]any{"targetXID": "-1", "backupID": "20260101T000000"}),
			[]string{"databases[0].recovery.target.targetXID", "transaction number"},
		},
		"target XID without backup": {
			recovery(map[string]any{"targetXID": "1234"}),
			[]string{"databases[0].recovery.target.backupID", "which base backup"},
		},
		"target name without backup": {
			recovery(map[string]any{"targetName": "before-upgrade"}),
			[]string{"databases[0].recovery.target.backupID", "Required"},
		},
		"target immediate without backup": {
			recovery(map[string]any{"targetImmediate": true}),
			[]string{"databases[0].recovery.target.backupID", "Required"},
		},
		"target timeline that is none": {
			recovery(map[string]any{"targetTLI": "newest"}),
			[]string{"databases[0].recovery.target.targetTLI", `"newest"`},
		},
		"recovery without a source": {
			map[string]any{database + "generation": 2, database + "recovery": map[string]any{}},
			[]string{"databases[0].recovery.source", "b2 or minio"},
		},
		"recovery from the generation that is written to": {
			map[string]any{database + "generation": 2, database + "recovery": map[string]any{"source": "b2", "generation": 2}},
			[]string{"databases[0].recovery.generation", "restore from an earlier one"},
		},
		"recovery from a generation to come": {
			map[string]any{database + "generation": 2, database + "recovery": map[string]any{"source": "b2", "generation": 3}},
			[]string{"databases[0].recovery.generation", "later than the cluster's own"},
		},
		"generation below one": {
			map[string]any{database + "generation": -1},
			[]string{"databases[0].generation", "-1", "1 or more"},
		},
		"unknown backup target": {
			map[string]any{database + "target": "standby"},
			[]string{"databases[0].target", `"standby"`, "prefer-standby"},
		},
		"a former endpoint with a path": {
			map[string]any{"minio.formerEndpoint": "https://old.example.org:9000/backups"},
			[]string{"minio.formerEndpoint", `"https://old.example.org:9000"`, "nothing but scheme, host and port"},
		},
		"a former endpoint that is the endpoint": {
			map[string]any{"minio.formerEndpoint": "https://NAS.example.org:9000"},
			[]string{"minio.formerEndpoint", `"https://NAS.example.org:9000"`, "is the same server as endpoint"},
		},
		"B2 bucket with B2's prefix": {
			map[string]any{"b2.bucket": "b2-homelab"},
			[]string{"b2.bucket", `"b2-"`},
		},
		"B2 bucket too short": {
			map[string]any{"b2.bucket": "cnpg"},
			[]string{"b2.bucket", `"cnpg"`},
		},
		"MinIO bucket that looks like an address": {
			map[string]any{"minio.bucket": "192.168.1.10"},
			[]string{"minio.bucket", "IP address"},
		},
		"MinIO bucket with two dots": {
			map[string]any{"minio.bucket": "homelab..backups"},
			[]string{"minio.bucket", `"homelab..backups"`},
		},
		"AES256 at MinIO without KMS": {
			map[string]any{database + "minio": map[string]any{"wal": map[string]any{"encryption": "AES256"}}},
			[]string{"databases[0].minio.wal.encryption", "kms: true"},
		},
		"aws:kms at B2": {
			map[string]any{database + "b2": map[string]any{"data": map[string]any{"encryption": "aws:kms"}}},
			[]string{"databases[0].b2.data.encryption", `"aws:kms"`, "AES256"},
		},
		"unknown compression": {
			map[string]any{database + "b2": map[string]any{"wal": map[string]any{"compression": "rar"}}},
			[]string{"databases[0].b2.wal.compression", `"rar"`},
		},
		"a compression that base backups do not have": {
			map[string]any{database + "b2": map[string]any{"data": map[string]any{"compression": "xz"}}},
			[]string{"databases[0].b2.data.compression", `"xz"`},
		},
		"a compression that the plugin may lack": {
			map[string]any{database + "b2": map[string]any{"data": map[string]any{"compression": "zstd"}}},
			[]string{"databases[0].b2.data.compression", `"zstd"`, "pluginVersion: 0.15.0"},
		},
		"a plugin without its last number": {
			map[string]any{"pluginVersion": "0.15"}, []string{"pluginVersion", "0.15"},
		},
		"no jobs": {
			map[string]any{database + "b2": map[string]any{"data": map[string]any{"jobs": 0}}},
			[]string{"databases[0].b2.data.jobs", "1 or more"},
		},
		"both copies at one server": {
			map[string]any{"minio.endpoint": "https://S3.us-west-002.backblazeb2.com:443"},
			[]string{"minio.endpoint", "whatever takes one copy would take both"},
		},
		"both copies at one server of one's own": {
			map[string]any{"b2.endpoint": "https://nas.example.org:9000"},
			[]string{"minio.endpoint", "whatever takes one copy would take both"},
		},
		"a CA for an endpoint without TLS": {
			map[string]any{"minio.endpoint": "http://nas.example.org:9000", "minio.endpointCA": map[string]any{"name": "nas", "key": "ca.crt"}},
			[]string{"minio.endpointCA", "the endpoint is http://"},
		},
		"more retention than there is time": {
			map[string]any{database + "retention": "99999999999999999999d"},
			[]string{"databases[0].retention", "at most 9999"},
		},
		"more undelete days than there is time": {
			map[string]any{"b2.undeleteDays": 99999999999},
			[]string{"b2.undeleteDays", "1 to 9999 days"},
		},
		"more bandwidth than there is": {
			map[string]any{database + "mirror": map[string]any{"bandwidthLimit": "99999999999999999999G"}},
			[]string{"databases[0].mirror.bandwidthLimit"},
		},
		"size in bytes": {
			map[string]any{database + "spec.walStorage": map[string]any{"size": "20"}},
			[]string{"databases[0].spec.walStorage.size", "less than a mebibyte", `did you mean "20Gi"?`},
		},
		"more size than there is": {
			map[string]any{database + "spec.storage": map[string]any{"size": "99999999999999999999Gi"}},
			[]string{"databases[0].spec.storage.size", "larger than Kubernetes can count"},
		},
		"memory in milli-bytes": {
			map[string]any{database + "spec.resources": map[string]any{"limits": map[string]any{"memory": "512m"}}},
			[]string{"databases[0].spec.resources.limits.memory", `did you mean "512Mi" or "512Gi"?`},
		},
		"memory of the mirror in milli-bytes": {
			map[string]any{database + "mirror": map[string]any{"resources": map[string]any{"requests": map[string]any{"memory": "128m"}}}},
			[]string{"databases[0].mirror.resources.requests.memory"},
		},
		"memory of the sidecar in milli-bytes": {
			map[string]any{database + "b2": map[string]any{"sidecar": map[string]any{"resources": map[string]any{"requests": map[string]any{"memory": "128m"}}}}},
			[]string{"databases[0].b2.sidecar.resources.requests.memory"},
		},
		"property layout on Secrets Manager": {
			map[string]any{"bitwarden.layout": "property"},
			[]string{"bitwarden.layout", `"property"`, "the same value"},
		},
		"two items without their names": {
			map[string]any{"bitwarden.layout": "two-items"},
			[]string{"bitwarden.keyIdItem", "bitwarden.secretKeyItem", "bitwarden.item", "does not read"},
		},
		"an item to write given by its UUID": {
			map[string]any{"bitwarden.item": "339062b8-a5a1-4303-bf1d-b1920146a622"},
			[]string{"bitwarden.item", "by its name"},
		},
		"an adopted key handed over": {
			map[string]any{"b2.adoptKey": "old", "bitwarden.handOver": true},
			[]string{"bitwarden.handOver", "adopted key"},
		},
		"a key given twice": {
			map[string]any{"b2.keys": []any{"new", "new"}},
			[]string{"b2.keys[1]", "Duplicate"},
		},
		"WAL volume of a size that does not parse": {
			map[string]any{database + "spec.walStorage": map[string]any{"size": "10 gigs"}},
			[]string{"databases[0].spec.walStorage.size", `"10 gigs"`, `"20Gi"`},
		},
		"volume of no size": {
			map[string]any{database + "spec.storage": map[string]any{"size": "0"}},
			[]string{"databases[0].spec.storage.size", "above zero"},
		},
		"a CA without its key": {
			map[string]any{"minio.endpointCA": map[string]any{"name": "nas-ca"}},
			[]string{"minio.endpointCA.key", "Required"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, dryRun := range []bool{true, false} {
				mocks, err := deploy(t, dryRun, with(t, test.changes))
				require.Error(t, err)
				for _, part := range test.want {
					require.ErrorContains(t, err, part)
				}
				assert.Equal(t, []string{"pulumi:pulumi:Stack cnpg-backup-homelab"}, withStack(mocks), "nothing is registered")
			}
		})
	}
}

// withStack lists what was registered; the stack itself always is.
func withStack(mocks *engine.Fake) []string {
	stack := "pulumi:pulumi:Stack cnpg-backup-homelab"
	for _, name := range mocks.Names() {
		if name == stack {
			return mocks.Names()
		}
	}
	return append([]string{stack}, mocks.Names()...)
}

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := deploy(t, true, with(t, map[string]any{
		"minio.bucket": "X", "b2.region": "", "databases.0.schedule": "* *", "databases.0.spec.imageName": "",
		"databases.0.spec.nonsense": 1, "databases.0.recovery": map[string]any{"source": "tape"},
	}))
	require.Error(t, err)
	for _, field := range []string{
		"minio.bucket", "b2.region", "databases[0].schedule", "databases[0].spec.imageName",
		"databases[0].spec.nonsense", "databases[0].recovery.source",
	} {
		require.ErrorContains(t, err, field)
	}
}

func TestAGoodEnvironmentDeploys(t *testing.T) {
	t.Parallel()
	for _, dryRun := range []bool{true, false} {
		mocks, err := deploy(t, dryRun, with(t, nil))
		require.NoError(t, err)
		assert.Contains(t, mocks.Names(), "kubernetes:postgresql.cnpg.io/v1:Cluster authentik-cluster")
		assert.Contains(t, mocks.Names(), "kubernetes:external-secrets.io/v1:ExternalSecret auth-b2-cnpg-credentials")
	}
}

func TestMonitoringOfAnEnvironmentAndOfADatabase(t *testing.T) {
	t.Parallel()
	monitored := func(changes map[string]any) []string {
		mocks, err := deploy(t, false, with(t, changes))
		require.NoError(t, err)
		var names []string
		for _, one := range mocks.Resources() {
			if strings.HasPrefix(one.TypeToken, "kubernetes:monitoring.coreos.com/v1:") {
				labels := one.Inputs["metadata"].ObjectValue()["labels"].ObjectValue()
				names = append(names, one.Name+" "+labels["release"].StringValue())
			}
		}
		return names
	}
	all := map[string]any{"enabled": true, "labels": map[string]any{"release": "prometheus"}}
	assert.Empty(t, monitored(nil))
	assert.ElementsMatch(t, []string{"authentik-pods prometheus", "authentik-alerts prometheus"}, monitored(map[string]any{"monitoring": all}))
	assert.Empty(t, monitored(map[string]any{"monitoring": all, "databases.0.monitoring": map[string]any{"enabled": false}}))

	_, err := deploy(t, true, with(t, map[string]any{"monitoring.alertLabels": map[string]any{"severity": "page"}}))
	assert.ErrorContains(t, err, "monitoring.alertLabels[severity]: set it with severities")
}

func TestDrillsOfAnEnvironmentHaveAnHourEach(t *testing.T) {
	t.Parallel()
	config := with(t, map[string]any{"drill": map[string]any{"enabled": true}})
	const count = 20
	databases := config["databases"].([]any)
	for i := range count - 1 {
		another := with(t, nil)["databases"].([]any)[0].(map[string]any)
		another["name"] = fmt.Sprintf("another-%d", i)
		another["cluster"] = another["name"]
		databases = append(databases, another)
	}
	config["databases"] = databases
	mocks, err := deploy(t, false, config)
	require.NoError(t, err)
	hours := map[string]bool{}
	for _, one := range mocks.Resources() {
		if one.TypeToken == "kubernetes:batch/v1:CronJob" && strings.Contains(one.Name, "-drill-") {
			schedule := one.Inputs["spec"].ObjectValue()["schedule"].StringValue()
			_, hour, _ := strings.Cut(schedule, " ")
			hours[hour] = true
		}
	}
	assert.Len(t, hours, 2*count)
}

func TestThereIsOneDashboardOnceADatabaseHasMonitoring(t *testing.T) {
	t.Parallel()
	namespaces := func(changes map[string]any) []string {
		mocks, err := deploy(t, false, with(t, changes))
		require.NoError(t, err)
		var found []string
		for _, one := range mocks.Resources() {
			if one.TypeToken == "kubernetes:core/v1:ConfigMap" && one.Name == "dashboard" {
				found = append(found, one.Inputs["metadata"].ObjectValue()["namespace"].StringValue())
			}
		}
		return found
	}
	on := map[string]any{"enabled": true}
	assert.Empty(t, namespaces(nil))
	assert.Equal(t, []string{"auth"}, namespaces(map[string]any{"monitoring": on}))
	assert.Equal(t, []string{"auth"}, namespaces(map[string]any{"databases.0.monitoring": on}))
	assert.Equal(t, []string{"grafana"}, namespaces(map[string]any{"monitoring": on, "dashboard": map[string]any{"namespace": "grafana"}}))
	assert.Empty(t, namespaces(map[string]any{"monitoring": on, "dashboard": map[string]any{"disabled": true}}))

	_, err := deploy(t, true, with(t, map[string]any{"monitoring": on, "dashboard.namespace": "Grafana"}))
	assert.ErrorContains(t, err, "dashboard.namespace")
}
