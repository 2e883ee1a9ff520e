//go:build e2e

// Package e2e lets databases live on a real node: deployed by the real Pulumi
// engine from stack configuration, run by the real operators, backed up, lost
// and restored.
//
// The key of the archive is made by the stand-in for the B2 provider, which tells
// the store that stands for B2, and comes to the databases through External
// Secrets and a stand-in for Bitwarden. The buckets are made by the tests; the
// Pulumi providers of MinIO and Kubernetes are the sandbox's stand-ins, too, of
// which the last one applies to the real API server.
package e2e_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/program"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/debian"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/monitoring"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/node"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

// project is the folder with Pulumi.yaml.
const project = "../.."

// kubeconfigVariable names the kubeconfig of a cluster to test on, with the
// operators of CloudNativePG, its Barman Cloud plugin and External Secrets
// installed, instead of a node of the tests' own.
const kubeconfigVariable = "E2E_KUBECONFIG"

func TestMain(m *testing.M) {
	if os.Getenv(kubeconfigVariable) != "" {
		os.Exit(m.Run())
	}
	os.Exit(node.Main(prepare, m.Run))
}

// prepare does what takes the network: within the site there is none.
func prepare(ctx context.Context, progress io.Writer) error {
	if _, err := s3server.NAS(); err != nil {
		return err
	}
	// The NAS moves from one server to the other.
	for _, tool := range []tools.Tool{s3server.MinIO.Tool(), s3server.VersityGW.Tool(), tools.Rclone(), tools.Pulumi()} {
		if _, err := tool.Build(ctx, progress); err != nil {
			return err
		}
	}
	if err := debian.Install(ctx, progress, monitoring.DebianPackages()); err != nil {
		return err
	}
	if err := monitoring.Prepare(ctx, progress); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := buildDoctor(ctx, filepath.Join(dir, "doctor")); err != nil {
		return err
	}
	for _, folder := range []string{filepath.Join(project, "stacks"), drillProject} {
		if err := program.Compile(ctx, progress, folder, filepath.Join(dir, "program")); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	return nil
}
