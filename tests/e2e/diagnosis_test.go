//go:build e2e

package e2e_test

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// diagnose logs what a person would look at when a test has failed.
func (c *cluster) diagnose(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pods, err := c.typed.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Log("no pods to look at:", err)
		return
	}
	for _, pod := range pods.Items {
		t.Logf("pod %s/%s is %s", pod.Namespace, pod.Name, pod.Status.Phase)
		for _, container := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
			if !container.Ready || container.RestartCount > 0 {
				t.Logf("  %s: ready %t, restarts %d, state %s\n%s", container.Name, container.Ready, container.RestartCount,
					container.State.String(), c.logs(ctx, pod.Namespace, pod.Name, container.Name, 12))
			}
		}
	}
	events, err := c.typed.CoreV1().Events("").List(ctx, metav1.ListOptions{FieldSelector: "type=Warning"})
	if err != nil {
		t.Log("no events to look at:", err)
		return
	}
	for _, event := range events.Items[max(0, len(events.Items)-25):] {
		t.Logf("event %s/%s %s: %s", event.Namespace, event.InvolvedObject.Name, event.Reason, event.Message)
	}
}
