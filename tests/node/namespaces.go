package node

import (
	"context"
	_ "embed" // for the first process's script
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/apiserver"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
)

const (
	// siteAddress is the stores' address, nodeAddress the node's.
	siteAddress = "10.98.0.1"
	nodeAddress = "10.98.0.2"
	podNetwork  = "10.99.0.0/16"

	// path is where the node's programs find others.
	path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

//go:embed init.sh
var initScript string

// SiteAddress is an address that the tests can listen on and pods can reach.
func SiteAddress() string { return siteAddress }

// startFirst makes the node's namespaces and starts their first process.
func (n *Node) startFirst(ctx context.Context) error {
	for _, folder := range []string{"var", "work", "settings"} {
		if err := os.MkdirAll(filepath.Join(n.dir, folder), 0o755); err != nil {
			return err
		}
	}
	args := []string{
		"--fork", "--kill-child=SIGKILL", "--pid", "--mount", "--net", "--ipc", "--uts",
		"--mount-proc", "--propagation", "private",
		"sh", "-c", initScript, "init", n.dir,
	}
	for path, value := range globalSettings() {
		args = append(args, path+"="+value)
	}
	var err error
	n.first, err = n.processes.Start(process.Command{
		Name: "first", Path: "/usr/bin/unshare", Args: args, Env: []string{path}, Dir: n.dir,
	})
	if err != nil {
		return err
	}
	return n.first.WaitReady(ctx, func(context.Context) error {
		_, err := os.Stat(filepath.Join(n.dir, "initialised"))
		return err
	})
}

// inside is a command that runs in the node's namespaces.
func (n *Node) inside(name, program string, args ...string) process.Command {
	proc := "/proc/" + strconv.Itoa(n.first.PID()) + "/ns/"
	enter := []string{
		"--mount=" + proc + "mnt", "--net=" + proc + "net", "--ipc=" + proc + "ipc", "--uts=" + proc + "uts",
		"--pid=" + proc + "pid_for_children", "--", program,
	}
	return process.Command{
		Name: name, Path: "/usr/bin/nsenter", Args: append(enter, args...),
		Env: []string{path, "HOME=" + n.dir, "TMPDIR=" + n.dir}, Dir: n.dir,
	}
}

// startNetwork connects the node with the site. Neither has a way out.
func (n *Node) startNetwork(ctx context.Context) error {
	for _, command := range []string{
		"ip link set lo up",
		"ip link add node type veth peer name eth0 netns " + strconv.Itoa(n.first.PID()),
		"ip addr add " + siteAddress + "/30 dev node",
		"ip link set node up",
		"ip route add " + podNetwork + " via " + nodeAddress,
		"ip route add " + apiserver.Services + " via " + nodeAddress,
	} {
		if err := run(ctx, strings.Fields(command)...); err != nil {
			return err
		}
	}
	for _, command := range []string{
		"ip addr add " + nodeAddress + "/30 dev eth0",
		"ip link set eth0 up",
		"ip route add default via " + siteAddress,
	} {
		inside := n.inside("ip", "ip", strings.Fields(command)[1:]...)
		if err := run(ctx, append([]string{inside.Path}, inside.Args...)...); err != nil {
			return err
		}
	}
	return n.write("cni/10-pods.conflist", `{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true,
      "ipam": {
        "type": "host-local", "dataDir": "`+filepath.Join(n.dir, "ipam")+`",
        "ranges": [[{"subnet": "`+podNetwork+`"}]], "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}`)
}

// run runs a short command.
func run(ctx context.Context, command ...string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", strings.Join(command, " "), err), errors.New(string(output)))
	}
	return nil
}

// write puts a file into the node's directory.
func (n *Node) write(name, content string) error {
	file := filepath.Join(n.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(content), 0o600)
}
