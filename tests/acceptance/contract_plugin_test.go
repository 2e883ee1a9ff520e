//go:build acceptance

package acceptance

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
)

// connect talks to a provider as an engine does.
func connect(t *testing.T, address string) plugin.Provider {
	t.Helper()
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	return plugin.NewProviderWithClient(nil, pulumirpc.NewResourceProviderClient(connection), false)
}

// configure gives a provider a configuration that it has checked.
func configure(t *testing.T, p plugin.Provider, of string, checked plugin.CheckConfigResponse) {
	t.Helper()
	require.Empty(t, checked.Failures)
	provided := urn("pulumi:providers:"+of, "default")
	name, id, kind := provided.Name(), resource.ID("default"), provided.Type()
	_, err := p.Configure(t.Context(), plugin.ConfigureRequest{
		URN: &provided, Name: &name, Type: &kind, ID: &id, Inputs: checked.Properties,
	})
	require.NoError(t, err)
}

// lookUp looks a variable up in an environment.
func lookUp(environment []string) func(name string) string {
	return func(name string) string {
		for _, variable := range environment {
			if value, found := strings.CutPrefix(variable, name+"="); found {
				return value
			}
		}
		return ""
	}
}

// startPlugin starts a real plugin as an engine does: it gets an engine's
// address, and prints its port.
func startPlugin(t *testing.T, name, path string, environment []string) string {
	t.Helper()
	dir := t.TempDir()
	engine := serve(t, func(server *grpc.Server) { pulumirpc.RegisterEngineServer(server, deafEngine{}) })
	running, err := process.Start(process.Command{
		Name: name, Path: path, Dir: dir, Args: []string{engine},
		Env: append(environment, "HOME="+dir),
	})
	require.NoError(t, err)
	t.Cleanup(running.Stop)
	port := ""
	ready, cancel := context.WithTimeout(t.Context(), reconciled)
	defer cancel()
	require.NoError(t, running.WaitReady(ready, func(context.Context) error {
		said, err := running.Log()
		port, _, _ = strings.Cut(string(said), "\n")
		if _, notNumber := strconv.Atoi(port); err == nil {
			err = notNumber
		}
		return err
	}))
	return net.JoinHostPort("127.0.0.1", port)
}

// deafEngine is an engine whose display shows nothing.
type deafEngine struct {
	pulumirpc.UnimplementedEngineServer
}

// Log takes what a provider wants to be shown.
func (deafEngine) Log(context.Context, *pulumirpc.LogRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func serve(t *testing.T, register func(*grpc.Server)) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	register(server)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		assert.NoError(t, <-done)
	})
	return listener.Addr().String()
}

func urn(token, name string) resource.URN {
	return resource.NewURN("contract", "contract", "", tokens.Type(token), name)
}
