// Package monitoring runs what a homelab watches its databases with: Prometheus,
// the Prometheus operator and kube-state-metrics, as processes beside a cluster.
//
// The operator is the real one: it chooses the PodMonitors and PrometheusRules,
// checks them and writes Prometheus's configuration. Its Prometheus would be a
// pod with an image that nobody has here, so that one from Debian reads the
// configuration instead.
package monitoring
