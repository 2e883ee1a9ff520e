package tools

import "strings"

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

func kubernetes(command string) Tool {
	return Tool{
		Name:    command,
		Module:  "kubernetes",
		Package: "k8s.io/kubernetes/cmd/" + command,
		LDFlags: kubernetesVersion,
	}
}

// kubernetesVersion has a program say its version; built without it, it calls
// itself v0.0.0.
func kubernetesVersion(version string) string {
	const set = "-X k8s.io/component-base/version."
	numbers := strings.Split(version, ".")
	return set + "gitVersion=v" + version + " " + set + "gitMajor=" + numbers[0] + " " + set + "gitMinor=" + numbers[1]
}
