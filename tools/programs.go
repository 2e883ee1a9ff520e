package tools

import "strings"

// ours is where the programs that are main packages of our own lie.
const ours = "github.com/homelab-iac/pulumi-cnpg-backup/tools/"

// Etcd is the store behind the API server.
func Etcd() Tool { return Tool{Name: "etcd", Module: "etcd", Package: "go.etcd.io/etcd/server/v3"} }

// KubeAPIServer is Kubernetes' API server.
func KubeAPIServer() Tool { return kubernetes("kube-apiserver") }

// KubeControllerManager runs Kubernetes' own controllers.
func KubeControllerManager() Tool { return kubernetes("kube-controller-manager") }

// KubeScheduler places pods on nodes.
func KubeScheduler() Tool { return kubernetes("kube-scheduler") }

// Kubelet runs a node's pods.
func Kubelet() Tool { return kubernetes("kubelet") }

// KubeProxy makes a node's services reachable.
func KubeProxy() Tool { return kubernetes("kube-proxy") }

// CoreDNS answers for the names of a cluster's services.
func CoreDNS() Tool { return Tool{Name: "coredns", Module: "coredns", Package: ours + "coredns"} }

// Kubectl is the command that guides tell people to use.
func Kubectl() Tool { return Tool{Name: "kubectl", Module: "kubectl", Package: ours + "kubectl"} }

// CloudNativePG is the operator's manager: with "controller" the operator and
// its webhooks, with "instance" what runs in a database's pod.
func CloudNativePG() Tool {
	return Tool{Name: "cnpg-manager", Module: "cnpg", Package: "github.com/cloudnative-pg/cloudnative-pg/cmd/manager"}
}

// BarmanCloudPlugin is the Barman Cloud plugin's manager: with "operator" the
// plugin's operator, with "instance" and "restore" the sidecar.
func BarmanCloudPlugin() Tool {
	return Tool{
		Name: "barman-cloud-manager", Module: "barman-cloud-plugin",
		Package: "github.com/cloudnative-pg/plugin-barman-cloud/cmd/manager",
	}
}

// ExternalSecrets is the External Secrets operator with all of its providers:
// without a command its controllers, with "webhook" its admission webhooks.
func ExternalSecrets() Tool {
	return Tool{Name: "external-secrets", Module: "external-secrets", Package: "github.com/external-secrets/external-secrets"}
}

// PrometheusOperator chooses the PodMonitors and PrometheusRules that the
// component may emit, and has their definitions.
func PrometheusOperator() Tool {
	return Tool{
		Name: "prometheus-operator", Module: "prometheus-operator",
		Package: "github.com/prometheus-operator/prometheus-operator/cmd/operator",
	}
}

// KubeStateMetrics tells Prometheus of Kubernetes objects; here of CronJobs, pods
// and the operators' objects.
func KubeStateMetrics() Tool {
	return Tool{Name: "kube-state-metrics", Module: "kube-state-metrics", Package: "k8s.io/kube-state-metrics/v2"}
}

// Minio is the S3 server that the tests run in place of B2 and, unless told otherwise,
// of the NAS.
func Minio() Tool { return Tool{Name: "minio", Module: "minio", Package: "github.com/minio/minio"} }

// VersityGW is the S3 server that the tests can run in place of the NAS's MinIO.
func VersityGW() Tool {
	return Tool{Name: "versitygw", Module: "versitygw", Package: "github.com/versity/versitygw/cmd/versitygw"}
}

// Rclone copies from store to store in the mirror's job. It is of the release
// that the job uses by default.
func Rclone() Tool { return Tool{Name: "rclone", Module: "rclone", Package: ours + "rclone"} }

// Pulumi is the Pulumi CLI with its engine, of the same release as the SDK that
// the programs use.
func Pulumi() Tool {
	return Tool{
		Name: "pulumi", Module: "pulumi", Package: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
		LDFlags: func(version string) string {
			return "-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=" + version
		},
	}
}

// GolangciLint is the linter of "make check".
func GolangciLint() Tool {
	return Tool{
		Name: "golangci-lint", Module: "golangci-lint", Package: "github.com/golangci/golangci-lint/v2/cmd/golangci-lint",
		LDFlags: func(version string) string { return "-X main.version=" + version },
	}
}

func kubernetes(command string) Tool {
	return Tool{Name: command, Module: "kubernetes", Package: "k8s.io/kubernetes/cmd/" + command, LDFlags: kubernetesVersion}
}

// kubernetesVersion has a program say its version; built without it, it calls
// itself v0.0.0.
func kubernetesVersion(version string) string {
	const set = "-X k8s.io/component-base/version."
	numbers := strings.Split(version, ".")
	return set + "gitVersion=v" + version + " " + set + "gitMajor=" + numbers[0] + " " + set + "gitMinor=" + numbers[1]
}
