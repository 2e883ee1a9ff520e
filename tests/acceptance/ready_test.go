//go:build acceptance

package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// sayReady says of what Pulumi waits for that it is ready, as long as the test
// runs: a Cluster takes a node for that, what External Secrets makes its
// operator, and a Job both. It says so once for each state of an object.
func (s *suite) sayReady(t *testing.T) {
	t.Helper()
	ready := fmt.Appendf(nil, `{"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Test",
		"message": "said by the test", "lastTransitionTime": %q}]}}`, time.Now().UTC().Format(time.RFC3339))
	complete := []byte(`{"status": ` + string(completeStatus(t)) + `}`)
	awaited := func(object unstructured.Unstructured) bool {
		return object.GetAnnotations()["pulumi.com/waitFor"] != ""
	}
	kinds := []struct {
		kind   schema.GroupVersionKind
		status []byte
		meant  func(unstructured.Unstructured) bool
	}{
		{schema.GroupVersionKind{Group: "postgresql.cnpg.io", Version: "v1", Kind: "Cluster"}, ready, awaited},
		{schema.GroupVersionKind{Group: "external-secrets.io", Version: "v1", Kind: "ExternalSecret"}, ready, awaited},
		{schema.GroupVersionKind{Group: "external-secrets.io", Version: "v1alpha1", Kind: "PushSecret"}, ready, awaited},
		{schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}, complete, func(object unstructured.Unstructured) bool {
			// The operator's Jobs are finished where a test wants it.
			return len(object.GetOwnerReferences()) == 0 && object.GetNamespace() != "contract"
		}},
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		said := map[string]bool{}
		for ctx.Err() == nil {
			for _, each := range kinds {
				// What goes wrong here shows as a wait without an end.
				objects, _ := s.plane.Client().List(ctx, each.kind, "")
				for _, object := range objects {
					annotations, _ := json.Marshal(object.GetAnnotations())
					state := fmt.Sprint(object.GetUID(), object.GetGeneration(), string(annotations))
					if each.meant(object) && !said[state] {
						err := s.plane.Client().PatchStatus(ctx, each.kind, object.GetNamespace(), object.GetName(), each.status)
						said[state] = err == nil
					}
				}
			}
			time.Sleep(poll)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// completeStatus is the status of a Job that is done.
func completeStatus(t *testing.T) []byte {
	t.Helper()
	now := time.Now().UTC().Format(time.RFC3339)
	condition := func(kind string) map[string]any {
		return map[string]any{
			"type": kind, "status": "True", "reason": "CompletionsReached", "message": "done by the test",
			"lastTransitionTime": now, "lastProbeTime": now,
		}
	}
	status, err := json.Marshal(map[string]any{
		"succeeded": 1, "startTime": now, "completionTime": now,
		"conditions": []any{condition("SuccessCriteriaMet"), condition("Complete")},
	})
	require.NoError(t, err)
	return status
}
