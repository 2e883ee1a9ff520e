// Package controlplane runs a Kubernetes control plane without nodes: etcd, the
// API server, and the operators of CloudNativePG and of its Barman Cloud plugin,
// each the real program and a child process on loopback. Nothing that it is
// asked for ever becomes a pod. Of Kubernetes' own controllers there is the
// garbage collector, for which a foreground deletion waits.
package controlplane

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"k8s.io/client-go/rest"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/apiserver"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/pki"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
)

// readyWithin is how long one process may take until it answers.
const readyWithin = 2 * time.Minute

// ControlPlane is a running control plane.
type ControlPlane struct {
	programs  programs
	dir       string
	api       *apiserver.Server
	processes process.Group
}

// Start builds the programs that are not built yet, starts them and returns
// when the operators answer. The caller stops what it returns. On an error
// nothing is left running.
func Start(ctx context.Context, progress io.Writer) (*ControlPlane, error) {
	programs, err := build(ctx, progress)
	if err != nil {
		return nil, err
	}
	// Short: a socket's path has at most 107 characters.
	dir, err := os.MkdirTemp("", "controlplane-")
	if err != nil {
		return nil, fmt.Errorf("start the control plane: %w", err)
	}
	c := &ControlPlane{dir: dir, programs: programs}
	if err := c.start(ctx, progress); err != nil {
		c.Stop()
		return nil, fmt.Errorf("start the control plane: %w", err)
	}
	return c, nil
}

func (c *ControlPlane) start(ctx context.Context, progress io.Writer) error {
	authority, err := pki.NewAuthority("control plane")
	if err != nil {
		return err
	}
	address, err := process.FreeAddress(ctx, loopback)
	if err != nil {
		return err
	}
	c.api = &apiserver.Server{
		Etcd: c.programs.etcd, Program: c.programs.apiServer, Dir: c.dir, Authority: authority,
		Address: loopback, Port: int(address.Port()), Hosts: []string{"localhost"}, Timeout: time.Minute,
		Run: func(ctx context.Context, name, program string, args []string, ready func(context.Context) error) error {
			return c.run(ctx, process.Command{Name: name, Path: program, Args: args}, ready)
		},
	}
	begin := time.Now()
	steps := []struct {
		what string
		run  func(context.Context) error
	}{
		{"etcd", c.api.StartEtcd},
		{"the API server", c.startAPIServer},
		{"the garbage collector", c.startGarbageCollector},
		{"the operators' types", c.installTypes},
		{"the Barman Cloud plugin's operator", c.startPlugin},
		{"the CloudNativePG operator", c.startOperator},
	}
	for _, step := range steps {
		if err := step.run(ctx); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(progress, "%s: up after %.1f s\n", step.what, time.Since(begin).Seconds())
	}
	return nil
}

// Admin returns a copy of the configuration of a client that may do everything.
func (c *ControlPlane) Admin() *rest.Config { return c.api.Admin() }

// Client reads and writes objects as the administrator.
func (c *ControlPlane) Client() *kube.Client { return c.api.Client() }

// Tails writes the end of every process's log.
func (c *ControlPlane) Tails(w io.Writer, lines int) { c.processes.Tails(w, lines) }

// Stop ends the processes, the youngest first, and removes their files.
func (c *ControlPlane) Stop() {
	c.processes.Stop()
	_ = os.RemoveAll(c.dir)
}

// run starts a process and waits until it is ready.
func (c *ControlPlane) run(ctx context.Context, command process.Command, ready func(context.Context) error) error {
	command.Dir = c.dir
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	return c.processes.Run(ctx, command, ready)
}
