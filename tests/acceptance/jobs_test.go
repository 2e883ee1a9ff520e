//go:build acceptance

package acceptance

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
)

// testJobs shows that the API server takes the CronJobs, Jobs made of them and
// their pods, in a namespace that takes none but restricted ones. Of a CronJob and a
// Job it only warns; the pod is what it refuses.
func (s *suite) testJobs(t *testing.T) {
	const where, enforce = "restricted", "pod-security.kubernetes.io/"
	namespace := kube.Object("v1", "Namespace", "", where, nil)
	namespace.SetLabels(map[string]string{enforce + "enforce": "restricted", enforce + "warn": "restricted"})
	_, err := s.plane.Client().Create(t.Context(), namespace, false)
	require.NoError(t, err)
	rendered, err := render(t, merge(t, fromYAML(t, baseDatabase), fromYAML(t, `
namespace: restricted
drill: {enabled: true, query: "select count(*) > 0 from users", bandwidthLimit: 4M}
spec:
  walStorage: {size: 10Gi}
  tablespaces: [{name: old, storage: {size: 5Gi}}]
`)))
	require.NoError(t, err)

	var jobs []string
	for _, cron := range rendered {
		if cron.GetKind() != "CronJob" {
			continue
		}
		jobs = append(jobs, cron.GetName())
		job, pod := part(t, cron, "Job", "spec", "jobTemplate", "spec"), part(t, cron, "Pod", "spec", "jobTemplate", "spec", "template", "spec")
		for _, object := range []*unstructured.Unstructured{cron, job, pod} {
			warnings, err := s.tryCreate(t, object)
			require.NoError(t, err, describe(object.GetKind(), where, object.GetName()))
			assert.Empty(t, warnings, describe(object.GetKind(), where, object.GetName()))
		}
		require.NoError(t, unstructured.SetNestedField(pod.Object, false, "spec", "securityContext", "runAsNonRoot"))
		_, err := s.tryCreate(t, pod)
		require.ErrorContains(t, err, "violates PodSecurity", "the namespace takes any pod")
	}
	assert.ElementsMatch(t, []string{"db-mirror", "db-drill-b2", "db-drill-minio"}, jobs)
}

// part is an object whose spec is a part of a CronJob.
func part(t *testing.T, cron *unstructured.Unstructured, kind string, path ...string) *unstructured.Unstructured {
	t.Helper()
	spec, found, err := unstructured.NestedMap(cron.Object, path...)
	require.NoError(t, err)
	require.True(t, found)
	version := map[string]string{"Job": "batch/v1", "Pod": "v1"}[kind]
	return kube.Object(version, kind, cron.GetNamespace(), cron.GetName(), map[string]any{"spec": spec})
}
