//go:build e2e

package e2e_test

import (
	"cmp"
	"context"
	"encoding/base64"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/bitwarden"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// world is a homelab: a cluster, a NAS, stand-ins for Backblaze B2 and Bitwarden,
// and a stack configuration.
type world struct {
	*cluster

	b2, nas   *s3server.Store
	bitwarden *bitwarden.Service
	box       *sandbox.Sandbox
	// b2Config is the key "b2" of the stack.
	b2Config entry
	// settings are more keys of the stack.
	settings entry
	// databases is what a user edits: the key "databases" of the stack.
	databases []entry
}

// entry is one database of the stack configuration.
type entry map[string]any

func (e entry) name() string      { return e["name"].(string) }
func (e entry) namespace() string { return e["namespace"].(string) }
func (e entry) cluster() string   { return e.name() + "-postgresql" }
func (e entry) spec() entry       { return e["spec"].(entry) }

// newWorld makes both stores, Bitwarden and a cluster.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{cluster: newCluster(t)}
	w.b2 = newStore(t, w.host, "e2e-offsite", s3server.Options{Versioned: true, Encrypting: true})
	w.nas = newNAS(t, w.host)
	w.bitwarden = newBitwarden(t, w.host)
	w.b2Config = entry{
		"bucket": w.b2.Bucket, "region": "us-west-002", "endpoint": w.b2.Endpoint, "keys": []string{"e2e-first"},
	}
	w.useCluster(t)
	return w
}

// newStore starts an S3 server that outlives nodes.
func newStore(t *testing.T, host, bucket string, options s3server.Options) *s3server.Store {
	t.Helper()
	var err error
	options.Host, options.Kind = host, cmp.Or(options.Kind, s3server.MinIO)
	options.Program, err = options.Kind.Tool().Build(t.Context(), os.Stdout)
	require.NoError(t, err)
	store, err := s3server.New(t.Context(), t.TempDir(), bucket, options)
	require.NoError(t, err)
	t.Cleanup(store.Stop)
	return store
}

// newNAS starts one that has a certificate of its owner's authority.
func newNAS(t *testing.T, host string) *s3server.Store {
	t.Helper()
	kind, err := s3server.NAS()
	require.NoError(t, err)
	return newStore(t, host, "e2e-nas", s3server.Options{TLS: true, Kind: kind})
}

// namespaces are those of the tests.
func namespaces() []string { return []string{"e2e-apps", "e2e-office", bitwardenNamespace} }

// deleteNamespaces leaves a cluster as the tests found it.
func (w *world) deleteNamespaces(t *testing.T) {
	t.Helper()
	for _, namespace := range namespaces() {
		w.delete(t, schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, "", namespace)
	}
	w.delete(t, schema.GroupVersionKind{Group: "external-secrets.io", Version: "v1", Kind: "ClusterSecretStore"}, "", bitwardenStore)
}

// useCluster makes what a stack wants to find in the cluster, and begins a stack
// without any state.
func (w *world) useCluster(t *testing.T) {
	t.Helper()
	for _, namespace := range namespaces() {
		require.NoError(t, w.client.Apply(t.Context(), kube.Object("v1", "Namespace", "", namespace, nil)))
		w.putNASKey(t, namespace, w.nas)
		w.putSecret(t, namespace, "nas-ca", map[string][]byte{"ca.crt": w.nas.Authority})
	}
	require.NoError(t, w.client.Apply(t.Context(), w.bitwarden.Store(bitwardenStore, bitwardenProject, bitwardenNamespace)...))
	var err error
	w.box, err = sandbox.Start(t.Context(), sandbox.Options{
		Project: project, Stack: "e2e", Dir: t.TempDir(), Cluster: w.config, Await: 10 * time.Minute,
		Binary: filepath.Join(os.TempDir(), "e2e-program"), B2Keys: account{w.b2},
		Warn:     func(warning string) { t.Errorf("the API server warns: %s", warning) },
		Progress: testLog{t},
	})
	require.NoError(t, err)
	t.Cleanup(w.box.Close)
}

// testLog writes to a test's log.
type testLog struct{ t *testing.T }

func (l testLog) Write(content []byte) (int, error) {
	l.t.Logf("%s", content)
	return len(content), nil
}

// putNASKey makes the Secret with a key of the NAS.
func (w *world) putNASKey(t *testing.T, namespace string, store *s3server.Store) {
	t.Helper()
	w.putSecret(t, namespace, "nas-credentials", map[string][]byte{
		"AWS_ACCESS_KEY_ID": []byte(store.KeyID), "AWS_SECRET_ACCESS_KEY": []byte(store.Key),
	})
}

func (w *world) putSecret(t *testing.T, namespace, name string, content map[string][]byte) {
	t.Helper()
	data := map[string]any{}
	for key, value := range content {
		data[key] = base64.StdEncoding.EncodeToString(value)
	}
	require.NoError(t, w.client.Apply(t.Context(), kube.Object("v1", "Secret", namespace, name, map[string]any{"data": data})))
}

// newDatabase is an entry as small as the tests' images allow.
func (w *world) newDatabase(name, namespace string, instances int) entry {
	// The tests run the job and take base backups when they want to.
	mirror := entry{"schedule": "0 0 1 1 *"}
	if w.copyImage != "" {
		mirror["copyImage"], mirror["pruneImage"] = w.copyImage, w.pruneImage
	}
	return entry{
		"name": name, "namespace": namespace, "protect": false,
		"schedule": "0 0 0 1 1 *", "mirror": mirror,
		"spec": entry{
			"instances": instances, "imageName": w.postgresImage,
			"storage":    entry{"size": "1Gi"},
			"postgresql": entry{"parameters": entry{"shared_buffers": "32MB", "checkpoint_timeout": "30s"}},
			"bootstrap":  entry{"initdb": entry{"database": name, "owner": name}},
		},
	}
}

// edit changes one database's entry.
func (w *world) edit(name string, change func(entry)) {
	for _, each := range w.databases {
		if each.name() == name {
			change(each)
		}
	}
}

func (w *world) add(databases ...entry) { w.databases = append(w.databases, databases...) }

func (w *world) remove(name string) {
	w.databases = slices.DeleteFunc(w.databases, func(each entry) bool { return each.name() == name })
}

// configuration is the stack's.
func (w *world) configuration() map[string]any {
	configuration := map[string]any{
		"cnpg-backup:b2": w.b2Config,
		"cnpg-backup:minio": entry{
			"bucket": w.nas.Bucket, "endpoint": w.nas.Endpoint, "secret": "nas-credentials",
			"endpointCA": entry{"name": "nas-ca", "key": "ca.crt"},
		},
		"cnpg-backup:pluginVersion": w.pluginVersion,
		"cnpg-backup:bitwarden": entry{
			"store": bitwardenStore, "item": b2Item, "mirrorItem": b2MirrorItem, "namespace": bitwardenNamespace,
		},
		"cnpg-backup:protect":   false,
		"cnpg-backup:databases": w.databases,
	}
	maps.Copy(configuration, w.settings)
	return configuration
}

// up deploys the stack configuration as it is now.
func (w *world) up(t *testing.T, args ...string) *sandbox.Result {
	t.Helper()
	require.NoError(t, w.box.Configure(t.Context(), w.configuration()))
	result, err := w.box.Up(t.Context(), args...)
	require.NoError(t, err)
	return result
}

// stopped runs something while a store is down.
func stopped(t *testing.T, store *s3server.Store, during func()) {
	t.Helper()
	store.Stop()
	defer func() { require.NoError(t, store.Start(context.WithoutCancel(t.Context()))) }()
	during()
}
