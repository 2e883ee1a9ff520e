package sandbox

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/provider"
)

// RealPlugin finds a real plugin as Pulumi does: on the PATH, or as it was
// installed.
func RealPlugin(ctx context.Context, name, wanted string) (string, error) {
	version, err := semver.Parse(wanted)
	if err != nil {
		return "", fmt.Errorf("version of the plugin %s: %w", name, err)
	}
	quiet := diag.DefaultSink(io.Discard, io.Discard, diag.FormatOptions{Color: colors.Never})
	path, err := workspace.GetPluginPath(ctx, quiet, workspace.PluginDescriptor{
		Name: name, Kind: apitype.ResourcePlugin, Version: &version,
	}, nil)
	if err != nil {
		return "", fmt.Errorf("the real plugin %[1]s is not installed: "+
			"run `pulumi plugin install resource %[1]s v%[2]s`, or put it on the PATH (%[3]w)", name, version, err)
	}
	return path, nil
}

// useReal lets the engine find the real kubernetes plugin, and that the API
// server. It returns the variables that it takes.
func (s *Sandbox) useReal(ctx context.Context) ([]string, error) {
	if _, err := RealPlugin(ctx, "kubernetes", provider.KubernetesVersion); err != nil {
		return nil, err
	}
	installed, err := workspace.GetPluginDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.path("home"), 0o700); err != nil {
		return nil, err
	}
	// The sandbox has a home of its own, but no plugins.
	link := filepath.Join(s.path("home"), workspace.PluginDir)
	if err := os.Symlink(installed, link); err != nil && !os.IsExist(err) {
		return nil, err
	}
	content, err := kube.Kubeconfig("sandbox", s.options.Cluster)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig of the sandbox: %w", err)
	}
	kubeconfig := s.path("kubeconfig")
	return []string{"KUBECONFIG=" + kubeconfig}, os.WriteFile(kubeconfig, content, 0o600)
}
