package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/pulumi/pulumi/sdk/v3/go/common/constant"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Host is a Pulumi language host that runs one compiled program. It serves one
// engine at a time.
type Host struct {
	pulumirpc.UnimplementedLanguageRuntimeServer

	folder    string
	binary    string
	variables []string

	mu     sync.Mutex
	engine string
}

// NewHost returns a host that runs the binary in the program's folder, with
// variables over those of this process.
func NewHost(folder, binary string, variables ...string) *Host {
	return &Host{folder: folder, binary: binary, variables: variables}
}

// Register adds the host to a server.
func (h *Host) Register(server *grpc.Server) { pulumirpc.RegisterLanguageRuntimeServer(server, h) }

// Handshake learns where the engine is that attaches to the host.
func (h *Host) Handshake(
	_ context.Context, request *pulumirpc.LanguageHandshakeRequest,
) (*pulumirpc.LanguageHandshakeResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.engine = request.GetEngineAddress()
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

// GetPluginInfo names no version, as the host is no plugin that is installed.
func (h *Host) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{}, nil
}

// GetRequiredPackages names none: the providers are attached.
func (h *Host) GetRequiredPackages(
	context.Context, *pulumirpc.GetRequiredPackagesRequest,
) (*pulumirpc.GetRequiredPackagesResponse, error) {
	return &pulumirpc.GetRequiredPackagesResponse{}, nil
}

// Run runs the program and waits for its end.
func (h *Host) Run(ctx context.Context, request *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	h.mu.Lock()
	engine := h.engine
	h.mu.Unlock()
	environment, err := environment(request, engine)
	if err != nil {
		return nil, fmt.Errorf("environment of the program: %w", err)
	}
	connection, err := grpc.NewClient("passthrough:///"+engine,
		grpc.WithTransportCredentials(insecure.NewCredentials()), rpcutil.GrpcChannelOptions())
	if err != nil {
		return nil, fmt.Errorf("connect to the engine at %s: %w", engine, err)
	}
	defer func() { _ = connection.Close() }()
	printed := &engineLog{ctx: ctx, engine: pulumirpc.NewEngineClient(connection)}

	cmd := exec.CommandContext(ctx, h.binary)
	cmd.Dir = h.folder
	cmd.Env = slices.Concat(os.Environ(), h.variables, environment)
	cmd.Stdout, cmd.Stderr = printed, printed
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	printed.flush()

	var exit *exec.ExitError
	switch {
	case err == nil:
		return &pulumirpc.RunResponse{}, nil
	case errors.As(err, &exit) && exit.ExitCode() == constant.ExitStatusLoggedError:
		return &pulumirpc.RunResponse{Bail: true}, nil
	default:
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("the program stopped: %v", err)}, nil
	}
}

// environment is what the Pulumi SDK for Go reads when a program starts.
func environment(request *pulumirpc.RunRequest, engine string) ([]string, error) {
	config, err := json.Marshal(request.GetConfig())
	if err != nil {
		return nil, err
	}
	secretKeys, err := json.Marshal(request.GetConfigSecretKeys())
	if err != nil {
		return nil, err
	}
	variables := map[string]string{
		pulumi.EnvOrganization:        request.GetOrganization(),
		pulumi.EnvProject:             request.GetProject(),
		pulumi.EnvPulumiRootDirectory: request.GetInfo().GetRootDirectory(),
		pulumi.EnvStack:               request.GetStack(),
		pulumi.EnvConfig:              string(config),
		pulumi.EnvConfigSecretKeys:    string(secretKeys),
		pulumi.EnvDryRun:              strconv.FormatBool(request.GetDryRun()),
		pulumi.EnvParallel:            strconv.Itoa(int(request.GetParallel())),
		pulumi.EnvMonitor:             request.GetMonitorAddress(),
		pulumi.EnvEngine:              engine,
	}
	environment := make([]string, 0, len(variables))
	for name, value := range variables {
		environment = append(environment, name+"="+value)
	}
	return environment, nil
}
