package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/apiserver"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/pki"
)

// nodeName is the name of the only node.
const nodeName = "node"

func (n *Node) startControlPlane(ctx context.Context) error {
	authority, err := pki.NewAuthority("node")
	if err != nil {
		return err
	}
	n.api = &apiserver.Server{
		Etcd: n.programs.etcd, Program: n.programs.apiServer, Dir: n.dir, Authority: authority,
		Address: nodeAddress, Port: 6443,
		Hosts: []string{"10.96.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		Run: func(ctx context.Context, name, program string, args []string, ready func(context.Context) error) error {
			return n.run(ctx, n.inside(name, program, args...), ready)
		},
	}
	for _, start := range []func(context.Context) error{
		n.api.StartEtcd, n.startAPIServer, n.startControllerManager, n.startScheduler,
	} {
		if err := start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) startAPIServer(ctx context.Context) error {
	cert, key, err := n.api.Issue("apiserver-to-kubelet", pki.Subject{
		Name: "apiserver", Groups: []string{"system:masters"},
	})
	if err != nil {
		return err
	}
	return n.api.Start(ctx,
		"--endpoint-reconciler-type=lease",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--allow-privileged",
		"--kubelet-certificate-authority="+n.api.CAFile(),
		"--kubelet-client-certificate="+cert, "--kubelet-client-key="+key,
		"--kubelet-preferred-address-types=InternalIP")
}

func (n *Node) startControllerManager(context.Context) error {
	kubeconfig, err := n.api.Kubeconfig("controller-manager", "system:kube-controller-manager", "system:masters")
	if err != nil {
		return err
	}
	return n.running(n.inside("controller-manager", n.programs.controllerManager,
		"--kubeconfig="+kubeconfig, "--leader-elect=false", "--bind-address=127.0.0.1",
		"--service-account-private-key-file="+n.api.AccountKeyFile(), "--root-ca-file="+n.api.CAFile(),
	))
}

func (n *Node) startScheduler(context.Context) error {
	kubeconfig, err := n.api.Kubeconfig("scheduler", "system:kube-scheduler")
	if err != nil {
		return err
	}
	return n.running(n.inside("scheduler", n.programs.scheduler,
		"--kubeconfig="+kubeconfig, "--leader-elect=false", "--bind-address=127.0.0.1",
	))
}

func (n *Node) startKubelet(ctx context.Context) error {
	kubeconfig, err := n.api.Kubeconfig("kubelet", "system:node:"+nodeName, "system:nodes")
	if err != nil {
		return err
	}
	cert, key, err := n.api.Issue("kubelet-server", pki.Subject{Name: nodeName, Hosts: []string{nodeAddress}})
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
		node, err := n.api.Client().Get(ctx, schema.GroupVersionKind{Version: "v1", Kind: "Node"}, "", nodeName)
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
authentication: {anonymous: {enabled: false}, x509: {clientCAFile: ` + n.api.CAFile() + `}}
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
	kubeconfig, err := n.api.Kubeconfig("proxy", "system:kube-proxy")
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
	if kubeconfig, err = n.api.Kubeconfig("dns", "dns", "system:masters"); err != nil {
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
	objects := []*unstructured.Unstructured{
		storageClass("volumes", map[string]any{"storageclass.kubernetes.io/is-default-class": "true"}),
	}
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
		objects = append(objects, volume(name, "volumes", folder))
	}
	return n.api.Client().Apply(ctx, objects...)
}

// MakeVolume makes a volume of a size in mebibytes that is enforced, and a
// StorageClass that has no other.
func (n *Node) MakeVolume(ctx context.Context, class string, size int) error {
	folder := n.file("volumes", class)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	mount := n.inside("mount", "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm,uid=26,gid=26,mode=0700", size), class, folder)
	if err := run(ctx, append([]string{mount.Path}, mount.Args...)...); err != nil {
		return err
	}
	return n.api.Client().Apply(ctx, storageClass(class, nil), volume(class, class, folder))
}

// ResizeVolume changes the size of such a volume.
func (n *Node) ResizeVolume(ctx context.Context, class string, size int) error {
	mount := n.inside("mount", "mount", "-o", fmt.Sprintf("remount,size=%dm", size), n.file("volumes", class))
	return run(ctx, append([]string{mount.Path}, mount.Args...)...)
}

// storageClass has volumes that are there already.
func storageClass(name string, annotations map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
		"metadata":    map[string]any{"name": name, "annotations": annotations},
		"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
	}}
}

// volume is one in a folder, large enough for anybody.
func volume(name, class, folder string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "PersistentVolume", "metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"storageClassName": class, "capacity": map[string]any{"storage": "1Ti"},
			"accessModes": []any{"ReadWriteOnce"}, "persistentVolumeReclaimPolicy": "Retain",
			"hostPath": map[string]any{"path": folder, "type": "Directory"},
		},
	}}
}
