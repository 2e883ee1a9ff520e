// Package provider has stand-ins for the Pulumi providers that the project
// uses: kubernetes, minio and b2. They are served to a Pulumi engine in place
// of the real plugins, accept no more than those would, and keep what they make
// as files. They know only what the project needs.
package provider

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
)

// Registrar adds a provider to a server.
func Registrar(p plugin.Provider) func(*grpc.Server) {
	return func(server *grpc.Server) {
		pulumirpc.RegisterResourceProviderServer(server, detailed{plugin.NewProviderServer(p)})
	}
}

// detailed tells the engine that differences have details, which the SDK's
// server does not say. An engine that is not told compares for itself.
type detailed struct {
	pulumirpc.ResourceProviderServer
}

// Diff compares.
func (d detailed) Diff(ctx context.Context, request *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	response, err := d.ResourceProviderServer.Diff(ctx, request)
	if err == nil {
		response.HasDetailedDiff = true
	}
	return response, err
}

// base answers what an engine asks every provider.
type base struct {
	plugin.UnimplementedProvider

	// version is that of the provider that is stood in for.
	version string
}

// Handshake says that secrets come as secrets, so that they can be told apart.
func (base) Handshake(
	context.Context, plugin.ProviderHandshakeRequest,
) (*plugin.ProviderHandshakeResponse, error) {
	return &plugin.ProviderHandshakeResponse{AcceptSecrets: true, AcceptOutputs: true}, nil
}

// Attach has nothing to do: the stand-ins do not call the engine.
func (base) Attach(string) error { return nil }

// Close has nothing to do.
func (base) Close() error { return nil }

// SignalCancellation has nothing to do: requests end with their contexts.
func (base) SignalCancellation(context.Context) error { return nil }

// GetPluginInfo tells the version.
func (b base) GetPluginInfo(context.Context) (plugin.PluginInfo, error) {
	version, err := semver.Parse(b.version)
	return plugin.PluginInfo{Version: &version}, err
}

// CheckConfig takes any configuration, as nothing is connected to.
func (base) CheckConfig(_ context.Context, request plugin.CheckConfigRequest) (plugin.CheckConfigResponse, error) {
	return plugin.CheckConfigResponse{Properties: request.News}, nil
}

// DiffConfig compares two configurations. No change of one needs new resources.
func (base) DiffConfig(_ context.Context, request plugin.DiffConfigRequest) (plugin.DiffConfigResponse, error) {
	return difference(request.OldInputs, request.NewInputs, func(resource.PropertyPath) bool { return false })
}

// difference compares two sets of properties, secrets by their values. replace
// tells which changes ask for a new resource.
func difference(old, updated resource.PropertyMap, replace func(resource.PropertyPath) bool,
) (plugin.DiffResult, error) {
	diff := withoutSecrets(old).Diff(withoutSecrets(updated))
	if diff == nil {
		return plugin.DiffResult{Changes: plugin.DiffNone}, nil
	}
	detailed := plugin.NewDetailedDiffFromObjectDiff(diff, true)
	for path, change := range detailed {
		parsed, err := resource.ParsePropertyPath(path)
		if err != nil {
			return plugin.DiffResult{}, fmt.Errorf("changed property %q: %w", path, err)
		}
		if replace(parsed) {
			change.Kind = change.Kind.AsReplace()
			detailed[path] = change
		}
	}
	return plugin.DiffResult{Changes: plugin.DiffSome, ChangedKeys: diff.ChangedKeys(), DetailedDiff: detailed}, nil
}

func withoutSecrets(properties resource.PropertyMap) resource.PropertyMap {
	return resource.NewPropertyMapFromMap(toPlain(properties).object)
}

// replaces tells whether a difference asks for a new resource.
func replaces(diff plugin.DiffResult) bool {
	for _, change := range diff.DetailedDiff {
		if change.Kind.IsReplace() {
			return true
		}
	}
	return false
}

// writeFile writes a file as a whole or not at all.
func writeFile(name string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		return err
	}
	partial := name + ".partial"
	if err := os.WriteFile(partial, content, 0o600); err != nil {
		return err
	}
	return os.Rename(partial, name)
}

// removeFile removes a file that may be gone already.
func removeFile(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
