package s3server

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"
)

// Delayed is a proxy on loopback in front of a store that makes every packet
// wait, as a long line does. Its round trip is twice the delay.
type Delayed struct {
	// Endpoint is the URL of the store behind the line.
	Endpoint string

	listener net.Listener
	done     sync.WaitGroup
	cancel   context.CancelFunc
}

// Delay puts a line with a round trip in front of a store.
func (s *Store) Delay(ctx context.Context, roundTrip time.Duration) (*Delayed, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	d := &Delayed{Endpoint: "http://" + listener.Addr().String(), listener: listener, cancel: cancel}
	d.done.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			d.done.Go(func() { relay(ctx, client, strings.TrimPrefix(s.Endpoint, "http://"), roundTrip/2) })
		}
	})
	return d, nil
}

// Close ends all connections.
func (d *Delayed) Close() {
	d.cancel()
	_ = d.listener.Close()
	d.done.Wait()
}

// relay joins a client to the server until either hangs up or ctx ends. The
// server is connected to after one round trip, which TCP needs for its
// handshake.
func relay(ctx context.Context, client net.Conn, address string, delay time.Duration) {
	defer func() { _ = client.Close() }()
	time.Sleep(2 * delay)
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	defer context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = server.Close()
	})()
	var directions sync.WaitGroup
	directions.Go(func() { late(server, client, delay) })
	directions.Go(func() { late(client, server, delay) })
	directions.Wait()
}

// late copies from one connection to the other; each piece arrives when it is
// due and does not hold up those behind it.
func late(to, from net.Conn, delay time.Duration) {
	type piece struct {
		content []byte
		due     time.Time
	}
	pieces := make(chan piece, 1024)
	go func() {
		defer close(pieces)
		for {
			buffer := make([]byte, 64<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				pieces <- piece{buffer[:n], time.Now().Add(delay)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.content); err != nil {
			_ = from.Close()
			for range pieces { //nolint:revive // the reader must not wait for us
			}
			return
		}
	}
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}
