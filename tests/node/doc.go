// Package node runs a real Kubernetes node on one machine: etcd, the control
// plane, containerd, the kubelet, a CNI network and DNS, each built from its Go
// module or taken from Debian, with the operators of CloudNativePG, of the
// Barman Cloud plugin and of External Secrets in pods. No image is pulled.
//
// It leaves the machine alone. All processes are in a PID, a mount and a
// network namespace of the node's own, so that ending its first process ends
// everything, and interfaces, rules, routes and mounts vanish with it. Around
// it lies the site: another network namespace without a way out, in which the
// tests and their stores live, so that the loss of the node is not that of the
// stores. What is left then is a temporary directory and cgroups, which [Main]
// removes; it also checks that nothing remains.
package node
