package tools

// KubeStateMetrics tells Prometheus of Kubernetes objects; here of CronJobs, pods
// and the operators' objects.
func KubeStateMetrics() Tool {
	return Tool{
		Name:    "kube-state-metrics",
		Module:  "kube-state-metrics",
		Package: "k8s.io/kube-state-metrics/v2",
	}
}
