//go:build acceptance

package acceptance

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	barmanv1 "github.com/cloudnative-pg/plugin-barman-cloud/api/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
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

// into is an object in the Go type that its operator has for it.
func into[T any](object *unstructured.Unstructured, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	typed := new(T)
	return typed, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, typed)
}

func (s *suite) cluster(ctx context.Context, namespace, name string) (*cnpgv1.Cluster, error) {
	return into[cnpgv1.Cluster](s.plane.Client().Get(ctx, clusterKind(), namespace, name))
}

// waitForFirstPrimary waits until the operator waits for its first pod.
func (s *suite) waitForFirstPrimary(t *testing.T, namespace, name string) *cnpgv1.Cluster {
	t.Helper()
	var cluster *cnpgv1.Cluster
	require.Eventually(t, func() bool {
		var err error
		cluster, err = s.cluster(t.Context(), namespace, name)
		return err == nil && cluster.Status.Phase == cnpgv1.PhaseFirstPrimary
	}, reconciled, poll, "%s/%s gets no first primary", namespace, name)
	t.Logf("%s/%s: %s (%s)", namespace, name, cluster.Status.Phase, cluster.Status.PhaseReason)
	return cluster
}

// assertPluginLoaded wants the operator to have talked to the real plugin.
func (s *suite) assertPluginLoaded(t *testing.T, cluster *cnpgv1.Cluster) {
	t.Helper()
	version, err := tools.BarmanCloudPlugin().Version()
	require.NoError(t, err)
	require.Len(t, cluster.Status.PluginStatus, 1)
	assert.Equal(t, barmanPlugin, cluster.Status.PluginStatus[0].Name)
	assert.Equal(t, version, cluster.Status.PluginStatus[0].Version)
}

// assertFirstJob wants the job that makes the first instance; a recovery has the
// plugin's container that fetches the backup, with the store's environment.
func (s *suite) assertFirstJob(t *testing.T, cluster *cnpgv1.Cluster) {
	t.Helper()
	from := recoverySource(cluster)
	name := cluster.Name + "-1-initdb"
	if from != "" {
		name = cluster.Name + "-1-full-recovery"
	}
	var job *batchv1.Job
	require.Eventually(t, func() bool {
		var err error
		job, err = into[batchv1.Job](s.plane.Client().Get(t.Context(),
			schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}, cluster.Namespace, name))
		return err == nil
	}, reconciled, poll, "no job %s", name)
	containers := job.Spec.Template.Spec.InitContainers
	sidecar := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == "plugin-barman-cloud" })
	if from == "" {
		assert.Negative(t, sidecar, "initdb needs no store")
		return
	}
	require.GreaterOrEqual(t, sidecar, 0, "the recovery has the plugin's container")
	assert.Subset(t, containers[sidecar].Env, s.store(t, cluster.Namespace, from).Spec.InstanceSidecarConfiguration.Env)
}

// assertVolumes wants claims for the data and, if the spec has one, the WAL
// volume, of the sizes that the spec says.
func (s *suite) assertVolumes(t *testing.T, cluster *cnpgv1.Cluster) {
	t.Helper()
	volumes := map[string]string{"": cluster.Spec.StorageConfiguration.Size}
	if wal := cluster.Spec.WalStorage; wal != nil {
		volumes["-wal"] = wal.Size
	}
	for suffix, size := range volumes {
		claim, err := into[corev1.PersistentVolumeClaim](s.plane.Client().Get(t.Context(),
			coreKind("PersistentVolumeClaim"), cluster.Namespace, cluster.Name+"-1"+suffix))
		require.NoError(t, err)
		assert.Equal(t, size, claim.Spec.Resources.Requests.Storage().String())
	}
}

// assertRole wants the plugin to have let the cluster read the stores that it
// writes to and restores from, their Secrets, and nothing else.
func (s *suite) assertRole(t *testing.T, cluster *cnpgv1.Cluster) {
	t.Helper()
	var stores, secrets []string
	for _, name := range []string{archive(cluster), recoverySource(cluster)} {
		if name != "" {
			stores = append(stores, name)
			secrets = append(secrets, s.store(t, cluster.Namespace, name).Spec.Configuration.AWS.AccessKeyIDReference.Name)
		}
	}
	kind := schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		role, err := into[rbacv1.Role](s.plane.Client().Get(t.Context(), kind, cluster.Namespace, cluster.Name+"-barman-cloud"))
		require.NoError(c, err)
		require.Len(c, role.Rules, 3)
		for _, rule := range role.Rules {
			want := stores
			if slices.Equal(rule.Resources, []string{"secrets"}) {
				want = secrets
			}
			assert.ElementsMatch(c, slices.Compact(slices.Sorted(slices.Values(want))), rule.ResourceNames, "%v", rule.Resources)
		}
	}, reconciled, poll)
}

// assertNoComplaints wants no condition of the cluster that is an error, beside
// those that say that its first instance is not there yet, and no warning among
// its events.
func (s *suite) assertNoComplaints(t *testing.T, cluster *cnpgv1.Cluster) {
	t.Helper()
	waiting := []string{"Ready ClusterIsNotReady", "Initialized BootstrapPending", "ConsistentSystemID NotFound"}
	for _, condition := range cluster.Status.Conditions {
		if condition.Status == metav1.ConditionFalse {
			assert.Contains(t, waiting, condition.Type+" "+condition.Reason, "%v", condition)
		}
	}
	events, err := s.plane.Client().List(t.Context(), coreKind("Event"), cluster.Namespace)
	require.NoError(t, err)
	for i := range events {
		event, err := into[corev1.Event](&events[i], nil)
		require.NoError(t, err)
		if event.InvolvedObject.UID == cluster.UID {
			assert.NotEqual(t, corev1.EventTypeWarning, event.Type, "%v: %v", event.Reason, event.Message)
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

const barmanPlugin = "barman-cloud.cloudnative-pg.io"

// archive is the store that the cluster writes to.
func archive(cluster *cnpgv1.Cluster) string {
	for _, plugin := range cluster.Spec.Plugins {
		if plugin.Name == barmanPlugin {
			return plugin.Parameters["barmanObjectName"]
		}
	}
	return ""
}

// recoverySource is the store that the cluster is restored from, "" for none.
func recoverySource(cluster *cnpgv1.Cluster) string {
	if cluster.Spec.Bootstrap == nil || cluster.Spec.Bootstrap.Recovery == nil {
		return ""
	}
	for _, external := range cluster.Spec.ExternalClusters {
		if external.Name == cluster.Spec.Bootstrap.Recovery.Source && external.PluginConfiguration != nil {
			return external.PluginConfiguration.Parameters["barmanObjectName"]
		}
	}
	return ""
}

func (s *suite) store(t *testing.T, namespace, name string) *barmanv1.ObjectStore {
	t.Helper()
	kind := schema.GroupVersionKind{Group: "barmancloud.cnpg.io", Version: "v1", Kind: "ObjectStore"}
	store, err := into[barmanv1.ObjectStore](s.plane.Client().Get(t.Context(), kind, namespace, name))
	require.NoError(t, err)
	return store
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
