package bitwarden

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/pki"
)

// Service is a Server that listens, with TLS.
type Service struct {
	*Server

	url       string
	authority []byte
	http      *http.Server
}

// Serve makes the server listen on a free port of a host, with a certificate of
// an authority of its own. The caller closes what it returns.
func (s *Server) Serve(ctx context.Context, host string) (*Service, error) {
	authority, err := pki.NewAuthority("Bitwarden")
	if err != nil {
		return nil, err
	}
	pair, err := authority.Issue(pki.Subject{Name: "bitwarden-sdk-server", Hosts: []string{host}})
	if err != nil {
		return nil, err
	}
	certificate, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, fmt.Errorf("serve Bitwarden: %w", err)
	}
	service := &Service{
		Server: s, url: "https://" + listener.Addr().String(), authority: authority.Cert(),
		http: &http.Server{
			Handler: s, ReadHeaderTimeout: time.Minute,
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		},
	}
	go func() { _ = service.http.ServeTLS(listener, "", "") }() // until it is closed
	return service, nil
}

// Close ends the service. What Bitwarden holds stays.
func (s *Service) Close() { _ = s.http.Close() }

// Store is the ClusterSecretStore of a project, as a user has it, and the Secret
// with the token.
func (s *Service) Store(name, project, namespace string) []*unstructured.Unstructured {
	const secret, key = "bitwarden-token", "token"
	encode := base64.StdEncoding.EncodeToString
	return []*unstructured.Unstructured{
		kube.Object("v1", "Secret", namespace, secret, map[string]any{
			"data": map[string]any{key: encode([]byte(s.token))},
		}),
		kube.Object("external-secrets.io/v1", "ClusterSecretStore", "", name, map[string]any{
			"spec": map[string]any{"provider": map[string]any{"bitwardensecretsmanager": map[string]any{
				"bitwardenServerSDKURL": s.url,
				"caBundle":              encode(s.authority),
				"organizationID":        s.organization, "projectID": project,
				"auth": map[string]any{"secretRef": map[string]any{"credentials": map[string]any{
					"name": secret, "namespace": namespace, "key": key,
				}}},
			}}},
		}),
	}
}
