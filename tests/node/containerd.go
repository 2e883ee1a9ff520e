package node

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"time"
)

const cniPlugins = "/usr/lib/cni"

func (n *Node) containerdSocket() string { return n.file("containerd.sock") }

func (n *Node) startContainerd(ctx context.Context) error {
	err := n.write("containerd.toml", `version = 2
root = "`+n.file("containerd")+`"
state = "`+n.file("containerd-state")+`"
[grpc]
  address = "`+n.containerdSocket()+`"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "`+pauseImage+`"
  # Root may lack CAP_SYS_RESOURCE, and runc dies when it may not lower a score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "`+cniPlugins+`"
    conf_dir = "`+n.file("cni")+`"
`)
	if err != nil {
		return err
	}
	return n.run(ctx, n.inside("containerd", "/usr/bin/containerd", "--config", n.file("containerd.toml")),
		func(ctx context.Context) error { return n.ctr(ctx, "version").Run() })
}

// ctr is a command of containerd's client. Without a server it would wait long.
func (n *Node) ctr(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"--connect-timeout=2s", "--address", n.containerdSocket(), "--namespace", "k8s.io"}, args...)
	cmd := exec.CommandContext(ctx, "/usr/bin/ctr", args...)
	cmd.WaitDelay = time.Second
	return cmd
}

// importImages gives containerd the images; nothing is pulled.
func (n *Node) importImages(ctx context.Context) error {
	reader, writer := io.Pipe()
	defer func() { _ = reader.Close() }()
	go func() { _ = writer.CloseWithError(writeImages(writer, n.programs.root.archive, n.programs.images())) }()
	cmd := n.ctr(ctx, "images", "import", "-")
	cmd.Stdin = reader
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ctr images import: %w\n%s", err, output)
	}
	return nil
}
