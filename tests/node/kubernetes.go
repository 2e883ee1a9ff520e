package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/pki"
)

// nodeName is the name of the only node.
const nodeName = "node"

// apiServer is the API server's address.
const apiServer = "https://" + nodeAddress + ":6443"

func (n *Node) startControlPlane(ctx context.Context) error {
	for _, start := range []func(context.Context) error{
		n.startEtcd, n.startAPIServer, n.startControllerManager, n.startScheduler,
	} {
		if err := start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) startEtcd(ctx context.Context) error {
	socket := n.file("etcd.sock")
	// The advertised addresses have to have a host; with one member nobody
	// uses them.
	const nobody = "http://localhost:1"
	return n.run(ctx, n.inside("etcd", n.programs.etcd,
		"--data-dir="+n.file("etcd"),
		"--listen-client-urls=unix://"+socket, "--advertise-client-urls="+nobody,
		"--listen-peer-urls=unix://"+n.file("peer.sock"), "--initial-advertise-peer-urls="+nobody,
		"--initial-cluster=default="+nobody,
		"--unsafe-no-fsync", "--log-level=warn",
	), func(ctx context.Context) error {
		connection, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err != nil {
			return err
		}
		return connection.Close()
	})
}

func (n *Node) startAPIServer(ctx context.Context) error {
	serverCert, serverKey, err := n.issue("apiserver", pki.Subject{Name: "kube-apiserver", Hosts: []string{
		nodeAddress, "10.96.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
	}})
	if err != nil {
		return err
	}
	clientCert, clientKey, err := n.issue("apiserver-to-kubelet", pki.Subject{
		Name: "apiserver", Groups: []string{"system:masters"},
	})
	if err != nil {
		return err
	}
	if err := n.write("ca.crt", string(n.authority.Cert())); err != nil {
		return err
	}
	_, accounts, err := pki.NewKey()
	if err != nil {
		return err
	}
	if err := n.write("accounts.key", string(accounts)); err != nil {
		return err
	}
	if n.admin, err = n.clientFor("admin", "system:masters"); err != nil {
		return err
	}
	if n.client, err = kube.NewClient(n.admin, "tests"); err != nil {
		return err
	}
	answers, err := kubernetes.NewForConfig(n.admin)
	if err != nil {
		return err
	}
	return n.run(ctx, n.inside("apiserver", n.programs.apiServer,
		"--etcd-servers=unix://"+n.file("etcd.sock"),
		"--bind-address="+nodeAddress, "--secure-port=6443", "--advertise-address="+nodeAddress,
		"--endpoint-reconciler-type=lease",
		"--tls-cert-file="+serverCert, "--tls-private-key-file="+serverKey, "--client-ca-file="+n.file("ca.crt"),
		"--authorization-mode=Node,RBAC", "--anonymous-auth=false", "--enable-admission-plugins=NodeRestriction",
		"--allow-privileged",
		"--kubelet-certificate-authority="+n.file("ca.crt"),
		"--kubelet-client-certificate="+clientCert, "--kubelet-client-key="+clientKey,
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer="+apiServer,
		"--service-account-key-file="+n.file("accounts.key"),
		"--service-account-signing-key-file="+n.file("accounts.key"),
		"--service-cluster-ip-range="+services,
	), func(ctx context.Context) error {
		return answers.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

func (n *Node) startControllerManager(context.Context) error {
	kubeconfig, err := n.kubeconfig("controller-manager", "system:kube-controller-manager", "system:masters")
	if err != nil {
		return err
	}
	return n.running(n.inside("controller-manager", n.programs.controllerManager,
		"--kubeconfig="+kubeconfig, "--leader-elect=false", "--bind-address=127.0.0.1",
		"--service-account-private-key-file="+n.file("accounts.key"), "--root-ca-file="+n.file("ca.crt"),
	))
}

func (n *Node) startScheduler(context.Context) error {
	kubeconfig, err := n.kubeconfig("scheduler", "system:kube-scheduler")
	if err != nil {
		return err
	}
	return n.running(n.inside("scheduler", n.programs.scheduler,
		"--kubeconfig="+kubeconfig, "--leader-elect=false", "--bind-address=127.0.0.1",
	))
}

func (n *Node) startKubelet(ctx context.Context) error {
	kubeconfig, err := n.kubeconfig("kubelet", "system:node:"+nodeName, "system:nodes")
	if err != nil {
		return err
	}
	cert, key, err := n.issue("kubelet-server", pki.Subject{Name: nodeName, Hosts: []string{nodeAddress}})
	if err != nil {
		return err
	}
	if err := n.write("resolv.conf", "nameserver "+nodeAddress+"\n"); err != nil {
		return err
	}
	if err := n.write("kubelet.yaml", n.kubeletConfig(cert, key)); err != nil {
		return err
	}
	command := n.inside("kubelet", n.programs.kubelet,
		"--config="+n.file("kubelet.yaml"), "--kubeconfig="+kubeconfig,
		"--root-dir="+n.file("kubelet"), "--hostname-override="+nodeName, "--node-ip="+nodeAddress,
	)
	return n.run(ctx, command, func(ctx context.Context) error {
		node, err := n.client.Get(ctx, schema.GroupVersionKind{Version: "v1", Kind: "Node"}, "", nodeName)
		if err != nil {
			return err
		}
		return kube.Condition(node, "Ready")
	})
}

func (n *Node) kubeletConfig(cert, key string) string {
	return `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: ` + nodeAddress + `
authentication: {anonymous: {enabled: false}, x509: {clientCAFile: ` + n.file("ca.crt") + `}}
tlsCertFile: ` + cert + `
tlsPrivateKeyFile: ` + key + `
cgroupDriver: cgroupfs
cgroupRoot: /` + cgroup + `
failCgroupV1: false
clusterDNS: [` + nodeAddress + `]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix://` + n.containerdSocket() + `
resolvConf: ` + n.file("resolv.conf") + `
podLogsDir: ` + n.file("logs") + `
volumePluginDir: ` + n.file("volume-plugins") + `
# The machine may be nearly full without being ours to clear up.
evictionHard: {memory.available: 100Mi, nodefs.available: 1Gi, imagefs.available: 1Gi}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
failSwapOn: false
oomScoreAdj: 0
maxOpenFiles: ` + strconv.Itoa(openFiles) + `
maxPods: 200
featureGates: {KubeletCrashLoopBackOffMax: true}
crashLoopBackOff: {maxContainerRestartPeriod: 5s}
# For tests that wait for what happens next.
nodeStatusUpdateFrequency: 5s
syncFrequency: 10s
configMapAndSecretChangeDetectionStrategy: Watch
`
}

// openFiles is what any machine lets a process open.
const openFiles = 4096

func (n *Node) startServices(ctx context.Context) error {
	kubeconfig, err := n.kubeconfig("proxy", "system:kube-proxy")
	if err != nil {
		return err
	}
	err = n.write("proxy.yaml", `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: `+kubeconfig+`}
hostnameOverride: `+nodeName+`
mode: iptables
clusterCIDR: `+podNetwork+`
bindAddress: `+nodeAddress+`
healthzBindAddress: 127.0.0.1:10256
oomScoreAdj: 0
# These have no namespaces.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`)
	if err != nil {
		return err
	}
	if err := n.running(n.inside("proxy", n.programs.proxy, "--config="+n.file("proxy.yaml"))); err != nil {
		return err
	}
	if kubeconfig, err = n.kubeconfig("dns", "dns", "system:masters"); err != nil {
		return err
	}
	err = n.write("Corefile", `.:53 {
	bind `+nodeAddress+`
	errors
	cache 5
	kubernetes cluster.local {
		kubeconfig `+kubeconfig+` dns
	}
}
`)
	if err != nil {
		return err
	}
	return n.run(ctx, n.inside("dns", n.programs.dns, "-conf="+n.file("Corefile")), func(ctx context.Context) error {
		resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, nodeAddress+":53")
		}}
		_, err := resolver.LookupHost(ctx, "kubernetes.default.svc.cluster.local.")
		return err
	})
}

// makeVolumes makes more volumes than the tests need. Their size is not
// enforced.
func (n *Node) makeVolumes(ctx context.Context) error {
	const volumes = 100
	objects := []*unstructured.Unstructured{{Object: map[string]any{
		"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
		"metadata": map[string]any{
			"name":        "volumes",
			"annotations": map[string]any{"storageclass.kubernetes.io/is-default-class": "true"},
		},
		"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
	}}}
	for i := range volumes {
		name := fmt.Sprintf("volume-%03d", i)
		folder := n.file("volumes", name)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
		// A hostPath takes no notice of fsGroup.
		if err := os.Chown(folder, 26, 26); err != nil {
			return err
		}
		objects = append(objects, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "PersistentVolume", "metadata": map[string]any{"name": name},
			"spec": map[string]any{
				"storageClassName": "volumes", "capacity": map[string]any{"storage": "1Ti"},
				"accessModes": []any{"ReadWriteOnce"}, "persistentVolumeReclaimPolicy": "Retain",
				"hostPath": map[string]any{"path": folder, "type": "Directory"},
			},
		}})
	}
	return n.client.Apply(ctx, objects...)
}

// issue makes a certificate and returns the files of it and its key.
func (n *Node) issue(name string, subject pki.Subject) (cert, key string, err error) {
	pair, err := n.authority.Issue(subject)
	if err != nil {
		return "", "", err
	}
	cert, key = n.file(name+".crt"), n.file(name+".key")
	return cert, key, errors.Join(
		os.WriteFile(cert, pair.Cert, 0o600), os.WriteFile(key, pair.Key, 0o600),
	)
}

// clientFor returns the configuration of a client whose certificate names the
// user and its groups.
func (n *Node) clientFor(user string, groups ...string) (*rest.Config, error) {
	pair, err := n.authority.Issue(pki.Subject{Name: user, Groups: groups})
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host:            apiServer,
		TLSClientConfig: rest.TLSClientConfig{CAData: n.authority.Cert(), CertData: pair.Cert, KeyData: pair.Key},
		// The client's own limit is made for a shared server.
		QPS: 200, Burst: 400,
	}, nil
}

// kubeconfig writes a client's configuration for a process to read.
func (n *Node) kubeconfig(name, user string, groups ...string) (string, error) {
	client, err := n.clientFor(user, groups...)
	if err != nil {
		return "", err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: client.Host, CertificateAuthorityData: client.CAData}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: client.CertData, ClientKeyData: client.KeyData}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	file := n.file(name + ".kubeconfig")
	return file, clientcmd.WriteToFile(*config, file)
}
