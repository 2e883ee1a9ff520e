package s3server

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/minio/madmin-go/v3"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
)

// minioServer is MinIO.
type minioServer struct {
	// settings are variables that say how this one differs from a plain one.
	settings []string
}

func newMinIO(options Options) *minioServer {
	m := &minioServer{}
	if options.Region != "" {
		m.settings = append(m.settings, "MINIO_SITE_REGION="+options.Region)
	}
	if options.Encrypting {
		key := make([]byte, 32)
		_, _ = rand.Read(key)
		m.settings = append(m.settings, "MINIO_KMS_SECRET_KEY=lab:"+base64.StdEncoding.EncodeToString(key))
	}
	return m
}

func (m *minioServer) command(s *Store) process.Command {
	return process.Command{
		Name: "minio",
		Args: []string{"server", "--quiet", "--certs-dir", s.certificates(), "--address", s.address, s.options.Data},
		Env: append(append(os.Environ(), "MINIO_ROOT_USER="+s.KeyID, "MINIO_ROOT_PASSWORD="+s.Key,
			"MINIO_BROWSER=off", "MINIO_PROMETHEUS_AUTH_TYPE=public"), m.settings...),
	}
}

func (m *minioServer) makeBucket(ctx context.Context, s *Store) error {
	return s.client.MakeBucket(ctx, s.Bucket, minio.MakeBucketOptions{ObjectLocking: s.options.Locked})
}

func (m *minioServer) administrator(s *Store) (keyID, key string) { return s.KeyID, s.Key }

func (m *minioServer) health() string { return "/minio/health/ready" }

// file is xl.meta, in which MinIO keeps a small object. It does not say what the
// object is called (docs/xl-meta in github.com/minio/minio), and MinIO never writes
// to it again.
func (m *minioServer) file(s *Store, key string) string {
	return filepath.Join(s.object(key), "xl.meta")
}

func (m *minioServer) admit(ctx context.Context, s *Store, keyID, key string, actions []string) error {
	policy, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
		"Effect": "Allow", "Action": actions,
		"Resource": []string{"arn:aws:s3:::" + s.Bucket, "arn:aws:s3:::" + s.Bucket + "/*"},
	}}})
	if err != nil {
		return err
	}
	return s.AdmitBy(ctx, keyID, key, policy)
}

// requestsTotal is a metric of MinIO's, which counts since the start.
var requestsTotal = regexp.MustCompile(`(?m)^minio_s3_requests_total\{.*\} ([0-9]+)$`)

func (m *minioServer) requests(ctx context.Context, s *Store) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint+"/minio/v2/metrics/cluster", nil)
	if err != nil {
		return 0, err
	}
	response, err := (&http.Client{Transport: s.transport}).Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	total := 0
	for _, found := range requestsTotal.FindAllSubmatch(content, -1) {
		count, err := strconv.Atoi(string(found[1]))
		if err != nil {
			return 0, err
		}
		total += count
	}
	return total, nil
}

// User is the store with a new key of a name, that may do what a policy of MinIO's
// says. The server keeps the policy as it is.
func (s *Store) User(ctx context.Context, name, policy string) (*Store, error) {
	user, err := s.as(name)
	if err != nil {
		return nil, err
	}
	return user, s.AdmitBy(ctx, user.KeyID, user.Key, []byte(policy))
}

// Policy is what MinIO has of a policy.
func (s *Store) Policy(ctx context.Context, name string) (string, error) {
	admin, err := s.admin()
	if err != nil {
		return "", err
	}
	info, err := admin.InfoCannedPolicyV2(ctx, name)
	if err != nil {
		return "", fmt.Errorf("read the policy %s: %w", name, err)
	}
	return string(info.Policy), nil
}

// AdmitBy lets a key in, which may do what a policy of MinIO's says.
func (s *Store) AdmitBy(ctx context.Context, keyID, key string, policy []byte) error {
	admin, err := s.admin()
	if err != nil {
		return err
	}
	if err := admin.AddCannedPolicy(ctx, keyID, policy); err != nil {
		return fmt.Errorf("make a policy for key %s: %w", keyID, err)
	}
	if err := admin.AddUser(ctx, keyID, key); err != nil {
		return fmt.Errorf("make key %s: %w", keyID, err)
	}
	_, err = admin.AttachPolicy(ctx, madmin.PolicyAssociationReq{Policies: []string{keyID}, User: keyID})
	if err != nil {
		return fmt.Errorf("attach the policy of key %s: %w", keyID, err)
	}
	return nil
}

// Expel lets a key of MinIO's in no more.
func (s *Store) Expel(ctx context.Context, keyID string) error {
	admin, err := s.admin()
	if err != nil {
		return err
	}
	if err := admin.RemoveUser(ctx, keyID); err != nil {
		return fmt.Errorf("remove key %s: %w", keyID, err)
	}
	return nil
}

// Admitted are the IDs of the keys that MinIO lets in.
func (s *Store) Admitted(ctx context.Context) ([]string, error) {
	admin, err := s.admin()
	if err != nil {
		return nil, err
	}
	users, err := admin.ListUsers(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the keys of %s: %w", s, err)
	}
	return slices.Sorted(maps.Keys(users)), nil
}

func (s *Store) admin() (*madmin.AdminClient, error) {
	return madmin.NewWithOptions(s.address, &madmin.Options{
		Creds: credentials.NewStaticV4(s.KeyID, s.Key, ""), Secure: s.Authority != nil, Transport: s.transport,
	})
}
