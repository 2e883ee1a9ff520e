package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	"google.golang.org/grpc"
)

// maxMessage is what the engine accepts, too.
const maxMessage = 400 << 20

// services are servers on the loopback interface.
type services struct {
	servers []*grpc.Server
	running sync.WaitGroup
	// err is what went wrong in any call of serve.
	err error
}

// serve starts a server and returns its name and port as Pulumi wants them.
func (s *services) serve(ctx context.Context, name string, register func(*grpc.Server)) string {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		s.err = errors.Join(s.err, fmt.Errorf("serve %s: %w", name, err))
		return ""
	}
	server := grpc.NewServer(append(rpcutil.OTelServerInterceptorOptions(), grpc.MaxRecvMsgSize(maxMessage))...)
	register(server)
	s.servers = append(s.servers, server)
	s.running.Go(func() { _ = server.Serve(listener) })
	return fmt.Sprintf("%s:%d", name, listener.Addr().(*net.TCPAddr).Port)
}

// stop ends the servers and what they are doing.
func (s *services) stop() {
	for _, server := range s.servers {
		server.Stop()
	}
	s.running.Wait()
}
