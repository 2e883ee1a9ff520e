package tools

// PrometheusOperator is the operator whose PodMonitor and PrometheusRule the
// component may emit. Only its definitions are used.
func PrometheusOperator() Tool {
	return Tool{
		Name:    "prometheus-operator",
		Module:  "prometheus-operator",
		Package: "github.com/prometheus-operator/prometheus-operator/cmd/operator",
	}
}
