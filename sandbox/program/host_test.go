package program_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/program"
)

// engine records what it is told to show.
type engine struct {
	pulumirpc.UnimplementedEngineServer

	mu    sync.Mutex
	shown []string
}

func (e *engine) Log(_ context.Context, request *pulumirpc.LogRequest) (*emptypb.Empty, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shown = append(e.shown, request.GetMessage())
	return &emptypb.Empty{}, nil
}

// run runs a shell script as the program and returns what the engine was shown.
func run(ctx context.Context, t *testing.T, script string) (*pulumirpc.RunResponse, []string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server, recorded := grpc.NewServer(), &engine{}
	pulumirpc.RegisterEngineServer(server, recorded)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { server.Stop(); serving.Wait() })

	folder := t.TempDir()
	binary := filepath.Join(folder, "program")
	require.NoError(t, os.WriteFile(binary, []byte("#!/bin/sh\n"+script), 0o700))
	host := program.NewHost(folder, binary)
	_, err = host.Handshake(ctx, &pulumirpc.LanguageHandshakeRequest{EngineAddress: listener.Addr().String()})
	require.NoError(t, err)
	response, err := host.Run(ctx, &pulumirpc.RunRequest{
		Project: "wiki", Stack: "homelab", DryRun: true, Config: map[string]string{"wiki:size": "5Gi"},
	})
	require.NoError(t, err)
	return response, recorded.shown
}

func TestAProgramGetsItsSettingsAndIsShown(t *testing.T) {
	response, shown := run(t.Context(), t,
		`echo "$PULUMI_PROJECT $PULUMI_STACK $PULUMI_DRY_RUN $PULUMI_CONFIG"; echo trouble >&2; printf "no end"`)

	assert.Empty(t, response.GetError())
	assert.False(t, response.GetBail())
	assert.ElementsMatch(t, []string{`wiki homelab true {"wiki:size":"5Gi"}`, "trouble", "no end"}, shown)
}

func TestAProgramThatFails(t *testing.T) {
	for _, test := range []struct {
		name, script, want string
		bail               bool
	}{
		{"has told why", "exit 32", "", true},
		{"has not told why", "exit 3", "the program stopped: exit status 3", false},
		{"is killed", "kill -9 $$", "the program stopped: signal: killed", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			response, _ := run(t.Context(), t, test.script)

			assert.Equal(t, test.want, response.GetError())
			assert.Equal(t, test.bail, response.GetBail())
		})
	}
}

func TestAProgramEndsWithItsRequest(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()

	response, _ := run(ctx, t, "exec sleep 60")

	assert.NotEmpty(t, response.GetError())
}
