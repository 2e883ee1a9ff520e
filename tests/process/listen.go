package process

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
)

// FreeAddress is an address of a host that nobody listened on a moment ago. The
// kernel does not hand it out again soon; should another process take it, the one
// that was to have it says so.
func FreeAddress(ctx context.Context, host string) (netip.AddrPort, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).AddrPort(), nil
}

// Call wants a request to be answered with 200.
func Call(ctx context.Context, client *http.Client, method, url string) error {
	request, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s %s: %s: %s", method, url, response.Status, why)
	}
	return nil
}
