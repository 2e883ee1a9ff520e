//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// gate is a proxy in front of a store. It lets everything through until it is told
// what to answer in the store's place.
type gate struct {
	// Endpoint is the URL of the store behind it.
	Endpoint string

	answer atomic.Pointer[answer]
}

// answer answers a request, or leaves it to the store and returns false.
type answer func(http.ResponseWriter, *http.Request) bool

// newGate serves one on a host.
func newGate(t *testing.T, host string, store *s3server.Store) *gate {
	t.Helper()
	target, err := url.Parse(store.Endpoint)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(request *httputil.ProxyRequest) {
			request.SetURL(target)
			// The host is a part of what is signed.
			request.Out.Host = request.In.Host
		},
		Transport: &http.Transport{DisableCompression: true},
	}
	g := &gate{}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if answers := g.answer.Load(); answers == nil || !(*answers)(w, r) {
				proxy.ServeHTTP(w, r)
			}
		}),
		ReadHeaderTimeout: time.Minute,
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(host, "0"))
	require.NoError(t, err)
	g.Endpoint = "http://" + listener.Addr().String()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return g
}

// answers has the gate answer while something runs.
func (g *gate) answers(with answer, during func()) {
	g.answer.Store(&with)
	defer g.answer.Store(nil)
	during()
}

// refuse answers as S3 refuses
// (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).
func refuse(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	// Who still sends may not hear what is answered.
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
	}
}

// refuseChecksums is what Backblaze B2 says to a client that does not know it, in
// https://github.com/cloudnative-pg/plugin-barman-cloud/issues/393.
func refuseChecksums(w http.ResponseWriter, r *http.Request) bool {
	const header = "x-amz-sdk-checksum-algorithm"
	if r.Header.Get(header) == "" {
		return false
	}
	refuse(w, r, http.StatusBadRequest, "InvalidArgument", "Unsupported header '"+header+"' received for this API call.")
	return true
}

// hold keeps the uploads to a folder waiting until ctx ends.
func hold(ctx context.Context, folder string) answer {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, folder) {
			select {
			case <-ctx.Done():
			case <-r.Context().Done():
			}
		}
		return false
	}
}
