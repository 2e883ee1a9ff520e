package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/rest"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/apiserver"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
)

// readyWithin is how long one of the node's parts may take until it answers.
const readyWithin = 3 * time.Minute

// Node is a running node.
type Node struct {
	programs  programs
	progress  io.Writer
	dir       string
	api       *apiserver.Server
	first     *process.Process
	processes process.Group
}

// Start starts a node in the site and returns when its operators answer. The
// caller stops it; on an error nothing is left running.
func Start(ctx context.Context, progress io.Writer) (*Node, error) {
	if Directory() == "" {
		return nil, errors.New("a node starts in a site: call node.Main in TestMain")
	}
	programs, err := build(ctx, progress)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(Directory(), "node-")
	if err != nil {
		return nil, err
	}
	n := &Node{programs: programs, progress: progress, dir: dir}
	if err := n.start(ctx); err != nil {
		var tails bytes.Buffer
		n.Tails(&tails, 15)
		n.Stop()
		return nil, fmt.Errorf("start the node: %w\n%s", err, &tails)
	}
	return n, nil
}

func (n *Node) start(ctx context.Context) error {
	begin := time.Now()
	for _, step := range []struct {
		what string
		run  func(context.Context) error
	}{
		{"namespaces", n.startFirst},
		{"network", n.startNetwork},
		{"containerd", n.startContainerd},
		{"images", n.importImages},
		{"control plane", n.startControlPlane},
		{"kubelet", n.startKubelet},
		{"services and DNS", n.startServices},
		{"volumes", n.makeVolumes},
		{"operators", n.installOperators},
		{"External Secrets", n.installExternalSecrets},
	} {
		limited, cancel := context.WithTimeout(ctx, readyWithin)
		err := step.run(limited)
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		fmt.Fprintf(n.progress, "node: %s up after %.0f s\n", step.what, time.Since(begin).Seconds())
	}
	return nil
}

// Admin returns the configuration of a client that may do everything.
func (n *Node) Admin() *rest.Config { return n.api.Admin() }

// Client reads and writes objects as the administrator.
func (n *Node) Client() *kube.Client { return n.api.Client() }

// PostgresImage is the image of PostgreSQL that the node has.
func (n *Node) PostgresImage() string { return "localhost/postgresql:" + n.programs.root.postgres }

// CopyImage and PruneImage are for the mirror's job.
func (n *Node) CopyImage() string { return rcloneImage }

// PruneImage has barman's tools.
func (n *Node) PruneImage() string { return n.programs.sidecarImage() }

// PluginVersion is the release of the plugin that the node has, or an older one
// if that is what the barman in its images belongs to.
func (n *Node) PluginVersion() string {
	own, barman := version.MustParseSemantic(n.programs.pluginVersion), version.MustParseSemantic(n.programs.root.Plugin)
	if own.LessThan(barman) {
		return own.String()
	}
	return barman.String()
}

// Tails writes the end of every process's log.
func (n *Node) Tails(w io.Writer, lines int) { n.processes.Tails(w, lines) }

// Stop ends the node as a power failure would and removes all that it had on
// its disks.
func (n *Node) Stop() {
	// The first process takes the others with it.
	n.first.Stop()
	n.processes.Stop()
	_ = os.RemoveAll(n.dir)
}

// run starts a process inside the node and waits until it is ready.
func (n *Node) run(ctx context.Context, command process.Command, ready func(context.Context) error) error {
	return n.processes.Run(ctx, command, ready)
}

// running starts a process inside the node that has no way to say that it is
// ready.
func (n *Node) running(command process.Command) error {
	_, err := n.processes.Start(command)
	return err
}

func (n *Node) file(parts ...string) string {
	return filepath.Join(append([]string{n.dir}, parts...)...)
}
