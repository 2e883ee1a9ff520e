package tools

// kubernetesVersion is what the programs say they are. It is the version that
// kubernetes/go.mod pins; a program built without it calls itself v0.0.0.
const kubernetesVersion = "1.34.4"

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
	const version = "-X k8s.io/component-base/version."
	return Tool{
		Name:    command,
		Module:  "kubernetes",
		Package: "k8s.io/kubernetes/cmd/" + command,
		LDFlags: version + "gitVersion=v" + kubernetesVersion + " " +
			version + "gitMajor=1 " + version + "gitMinor=34",
	}
}
