//go:build acceptance

package acceptance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

const (
	// reconciled is how long the operators may take with one cluster.
	reconciled = 90 * time.Second
	poll       = 200 * time.Millisecond
)

func clusterKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "postgresql.cnpg.io", Version: "v1", Kind: "Cluster"}
}

func coreKind(kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Version: "v1", Kind: kind}
}

// assertReconciled waits until both operators have done for a cluster what they
// can do without a node: its volumes are claimed, the job that begins its first
// instance is there, and its service account may read the stores that its spec
// names and their credentials.
func (s *suite) assertReconciled(t *testing.T, id string) {
	t.Helper()
	namespace, name, _ := strings.Cut(id, "/")
	cluster := s.waitForFirstPrimary(t, namespace, name)
	s.assertPluginLoaded(t, cluster)
	s.assertFirstJob(t, cluster)
	s.assertVolumes(t, cluster)
	s.assertRole(t, cluster)
	s.assertNoComplaints(t, cluster)
}

// waitForFirstPrimary waits until the operator waits for its first pod.
func (s *suite) waitForFirstPrimary(t *testing.T, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	var cluster *unstructured.Unstructured
	var phase, reason string
	require.Eventually(t, func() bool {
		var err error
		cluster, err = s.plane.Client().Get(t.Context(), clusterKind(), namespace, name)
		if err != nil {
			return false
		}
		phase, _, _ = unstructured.NestedString(cluster.Object, "status", "phase")
		reason, _, _ = unstructured.NestedString(cluster.Object, "status", "phaseReason")
		return phase == "Setting up primary"
	}, reconciled, poll, "%s/%s gets no first primary", namespace, name)
	t.Logf("%s/%s: %s (%s)", namespace, name, phase, reason)
	return cluster
}

// assertPluginLoaded wants the operator to have talked to the real plugin.
func (s *suite) assertPluginLoaded(t *testing.T, cluster *unstructured.Unstructured) {
	t.Helper()
	plugins, _, err := unstructured.NestedSlice(cluster.Object, "status", "pluginStatus")
	require.NoError(t, err)
	require.Len(t, plugins, 1)
	plugin := plugins[0].(map[string]any)
	assert.Equal(t, "barman-cloud.cloudnative-pg.io", plugin["name"])
	version, err := tools.BarmanCloudPlugin().Version()
	require.NoError(t, err)
	assert.Equal(t, version, plugin["version"])
}

// assertFirstJob wants the job that makes the first instance; a recovery has the
// plugin's container that fetches the backup, with the store's environment.
func (s *suite) assertFirstJob(t *testing.T, cluster *unstructured.Unstructured) {
	t.Helper()
	recovers := recoverySource(cluster) != ""
	job := cluster.GetName() + "-1-initdb"
	if recovers {
		job = cluster.GetName() + "-1-full-recovery"
	}
	var found *unstructured.Unstructured
	require.Eventually(t, func() bool {
		var err error
		found, err = s.plane.Client().Get(t.Context(),
			schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}, cluster.GetNamespace(), job)
		return err == nil
	}, reconciled, poll, "no job %s", job)
	containers, _, err := unstructured.NestedSlice(found.Object, "spec", "template", "spec", "initContainers")
	require.NoError(t, err)
	var sidecar map[string]any
	for _, container := range containers {
		if container := container.(map[string]any); container["name"] == "plugin-barman-cloud" {
			sidecar = container
		}
	}
	if !recovers {
		assert.Nil(t, sidecar, "initdb needs no store")
		return
	}
	require.NotNil(t, sidecar, "the recovery has the plugin's container")
	store := s.store(t, cluster.GetNamespace(), recoverySource(cluster))
	for _, variable := range store.env(t) {
		assert.Contains(t, sidecar["env"], variable)
	}
}

// assertVolumes wants claims for the data and, if the spec has one, the WAL
// volume, of the sizes that the spec says.
func (s *suite) assertVolumes(t *testing.T, cluster *unstructured.Unstructured) {
	t.Helper()
	for field, suffix := range map[string]string{"storage": "", "walStorage": "-wal"} {
		size, found, err := unstructured.NestedString(cluster.Object, "spec", field, "size")
		require.NoError(t, err)
		if !found {
			continue
		}
		claim, err := s.plane.Client().Get(t.Context(), coreKind("PersistentVolumeClaim"),
			cluster.GetNamespace(), cluster.GetName()+"-1"+suffix)
		require.NoError(t, err)
		requested, _, err := unstructured.NestedString(claim.Object, "spec", "resources", "requests", "storage")
		require.NoError(t, err)
		assert.Equal(t, size, requested)
	}
}

// assertRole wants the plugin to have let the cluster read the stores that it
// writes to and restores from, their Secrets, and nothing else.
func (s *suite) assertRole(t *testing.T, cluster *unstructured.Unstructured) {
	t.Helper()
	var stores, secrets []string
	for _, name := range []string{archive(cluster), recoverySource(cluster)} {
		if name == "" || len(stores) == 1 && stores[0] == name {
			continue
		}
		stores = append(stores, name)
		secrets = append(secrets, s.store(t, cluster.GetNamespace(), name).secret(t))
	}
	kind := schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		role, err := s.plane.Client().Get(t.Context(), kind, cluster.GetNamespace(), cluster.GetName()+"-barman-cloud")
		require.NoError(c, err)
		rules, _, err := unstructured.NestedSlice(role.Object, "rules")
		require.NoError(c, err)
		require.Len(c, rules, 3)
		for _, rule := range rules {
			rule := rule.(map[string]any)
			want := stores
			if fmt.Sprint(rule["resources"]) == "[secrets]" {
				want = unique(secrets)
			}
			assert.ElementsMatch(c, want, rule["resourceNames"], "%v", rule["resources"])
		}
	}, reconciled, poll)
}

// assertNoComplaints wants no condition of the cluster that is an error, beside
// those that say that its first instance is not there yet, and no warning among
// its events.
func (s *suite) assertNoComplaints(t *testing.T, cluster *unstructured.Unstructured) {
	t.Helper()
	waiting := []string{"Ready ClusterIsNotReady", "Initialized BootstrapPending", "ConsistentSystemID NotFound"}
	conditions, _, err := unstructured.NestedSlice(cluster.Object, "status", "conditions")
	require.NoError(t, err)
	for _, condition := range conditions {
		condition := condition.(map[string]any)
		if condition["status"] == "False" {
			reason := fmt.Sprint(condition["type"], " ", condition["reason"])
			assert.Contains(t, waiting, reason, "%v", condition)
		}
	}
	events, err := s.plane.Client().List(t.Context(), coreKind("Event"), cluster.GetNamespace())
	require.NoError(t, err)
	for _, event := range events {
		uid, _, _ := unstructured.NestedString(event.Object, "involvedObject", "uid")
		if uid == string(cluster.GetUID()) {
			assert.NotEqual(t, "Warning", event.Object["type"], "%v: %v", event.Object["reason"], event.Object["message"])
		}
	}
}

// assertGone wants an object of the program to have been deleted.
func (s *suite) assertGone(t *testing.T, id string) {
	t.Helper()
	namespace, name, _ := strings.Cut(id, "/")
	_, err := s.plane.Client().Get(t.Context(), clusterKind(), namespace, name)
	assert.True(t, apierrors.IsNotFound(err), "%s is still there", id)
	s.collectGarbage(t, namespace)
}

// archive is the store that the cluster writes to.
func archive(cluster *unstructured.Unstructured) string {
	plugins, _, _ := unstructured.NestedSlice(cluster.Object, "spec", "plugins")
	for _, plugin := range plugins {
		if plugin := plugin.(map[string]any); plugin["name"] == "barman-cloud.cloudnative-pg.io" {
			return storeOf(plugin)
		}
	}
	return ""
}

// recoverySource is the store that the cluster is restored from, "" for none.
func recoverySource(cluster *unstructured.Unstructured) string {
	source, _, _ := unstructured.NestedString(cluster.Object, "spec", "bootstrap", "recovery", "source")
	sources, _, _ := unstructured.NestedSlice(cluster.Object, "spec", "externalClusters")
	for _, external := range sources {
		external := external.(map[string]any)
		if plugin, ok := external["plugin"].(map[string]any); ok && external["name"] == source {
			return storeOf(plugin)
		}
	}
	return ""
}

func storeOf(plugin map[string]any) string {
	store, _, _ := unstructured.NestedString(plugin, "parameters", "barmanObjectName")
	return store
}

// store is an ObjectStore.
type store struct{ *unstructured.Unstructured }

func (s *suite) store(t *testing.T, namespace, name string) store {
	t.Helper()
	kind := schema.GroupVersionKind{Group: "barmancloud.cnpg.io", Version: "v1", Kind: "ObjectStore"}
	object, err := s.plane.Client().Get(t.Context(), kind, namespace, name)
	require.NoError(t, err)
	return store{object}
}

func (s store) secret(t *testing.T) string {
	t.Helper()
	name, found, err := unstructured.NestedString(s.Object, "spec", "configuration", "s3Credentials", "accessKeyId", "name")
	require.NoError(t, err)
	require.True(t, found)
	return name
}

func (s store) env(t *testing.T) []any {
	t.Helper()
	env, _, err := unstructured.NestedSlice(s.Object, "spec", "instanceSidecarConfiguration", "env")
	require.NoError(t, err)
	return env
}

func unique(names []string) []string {
	seen := map[string]bool{}
	var kept []string
	for _, name := range names {
		if !seen[name] {
			kept = append(kept, name)
		}
		seen[name] = true
	}
	return kept
}

// collectGarbage deletes what the operators made for objects that are gone.
// There is no controller manager here, which would do it.
func (s *suite) collectGarbage(t *testing.T, namespace string) {
	t.Helper()
	for _, kind := range []schema.GroupVersionKind{
		{Group: "postgresql.cnpg.io", Version: "v1", Kind: "Backup"},
		{Group: "batch", Version: "v1", Kind: "Job"},
		coreKind("Pod"), coreKind("PersistentVolumeClaim"), coreKind("Secret"), coreKind("Service"), coreKind("ServiceAccount"),
		{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding"},
	} {
		objects, err := s.plane.Client().List(t.Context(), kind, namespace)
		require.NoError(t, err)
		for _, object := range objects {
			if s.isOrphan(t, &object) {
				require.NoError(t, s.plane.Client().Release(t.Context(), kind, namespace, object.GetName()))
			}
		}
	}
}

// isOrphan tells whether an object's owner is gone.
func (s *suite) isOrphan(t *testing.T, object *unstructured.Unstructured) bool {
	t.Helper()
	for _, owner := range object.GetOwnerReferences() {
		kind := schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind)
		live, err := s.plane.Client().Get(t.Context(), kind, object.GetNamespace(), owner.Name)
		if apierrors.IsNotFound(err) || err == nil && live.GetUID() != owner.UID {
			return true
		}
	}
	return false
}
