// Package s3server runs S3 servers in place of Backblaze B2 and of the NAS: MinIO,
// or versitygw.
package s3server

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/lifecycle"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/pki"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
)

// Store is an S3 server with one bucket.
type Store struct {
	// Endpoint is its URL, Bucket its bucket.
	Endpoint, Bucket string
	// KeyID and Key are what it lets in.
	KeyID, Key string
	// Authority is the certificate of the authority behind its own, in PEM; nil
	// without TLS.
	Authority []byte

	server    server
	options   Options
	dir       string
	address   string
	process   *process.Process
	transport *http.Transport
	client    *minio.Client
}

// Options says how a store differs from a plain one.
type Options struct {
	// Versioned keeps what is deleted or overwritten, as B2 does.
	Versioned bool
	// Locked keeps for a day, whoever deletes it but a key that may bypass that.
	Locked bool
	// Encrypting can encrypt, as B2 can.
	Encrypting bool
	// TLS gives it a certificate of an authority of its own, as a NAS may have.
	TLS bool
	// Data is the directory to keep objects in. Default: dir/data.
	Data string
	// Host is the address to listen on. Default: loopback.
	Host string
	// Region is the only one that requests may be signed for. Default: the
	// server's own, us-east-1 or any.
	Region string
	// Kind is the server that it is. Default: MinIO.
	Kind Kind
	// Program is the server's file. Required.
	Program string
}

// New starts an S3 server on a free port and makes its bucket. What it keeps is in
// dir.
func New(ctx context.Context, dir, bucket string, options Options) (*Store, error) {
	free, err := process.FreeAddress(ctx, cmp.Or(options.Host, "127.0.0.1"))
	if err != nil {
		return nil, err
	}
	address := free.String()
	options.Data = cmp.Or(options.Data, filepath.Join(dir, "data"))
	s := &Store{
		Endpoint: "http://" + address, Bucket: bucket,
		KeyID: "key" + randomHex(8), Key: randomHex(20),
		options: options, dir: dir, address: address,
	}
	if err := os.MkdirAll(options.Data, 0o700); err != nil {
		return nil, err
	}
	if s.server, err = newServer(options); err != nil {
		return nil, err
	}
	if s.transport, err = minio.DefaultTransport(options.TLS); err != nil {
		return nil, err
	}
	if options.TLS {
		if err := s.certify(); err != nil {
			return nil, err
		}
	}
	if s.client, err = s.newClient(s.KeyID, s.Key); err != nil {
		return nil, err
	}
	if err := s.Start(ctx); err != nil {
		return nil, err
	}
	if err := s.server.makeBucket(ctx, s); err != nil {
		return nil, fmt.Errorf("make bucket %s: %w", bucket, err)
	}
	if options.Locked {
		mode, days, unit := minio.Governance, uint(1), minio.Days
		if err := s.client.SetObjectLockConfig(ctx, bucket, &mode, &days, &unit); err != nil {
			return nil, fmt.Errorf("lock what is in bucket %s: %w", bucket, err)
		}
	}
	if options.Versioned {
		if err := s.client.EnableVersioning(ctx, bucket); err != nil {
			return nil, fmt.Errorf("switch on versions in bucket %s: %w", bucket, err)
		}
	}
	return s, nil
}

func (s *Store) newClient(keyID, key string) (*minio.Client, error) {
	return minio.New(s.address, &minio.Options{
		Creds: credentials.NewStaticV4(keyID, key, ""), Secure: s.Authority != nil, Transport: s.transport,
		Region: s.options.Region,
	})
}

// Administrator is a key that may do anything.
func (s *Store) Administrator() (keyID, key string) { return s.server.administrator(s) }

// Region is the only one that requests may be signed for, "" for the server's own.
func (s *Store) Region() string { return s.options.Region }

// Reader is the store with a new key that may only list and read its bucket.
func (s *Store) Reader(ctx context.Context) (*Store, error) {
	reader, err := s.as("reader" + randomHex(8))
	if err != nil {
		return nil, err
	}
	return reader, s.Admit(ctx, reader.KeyID, reader.Key, "s3:ListBucket", "s3:GetObject")
}

// as is the store with a new key, which is not let in yet.
func (s *Store) as(keyID string) (*Store, error) {
	other := *s
	other.KeyID, other.Key = keyID, randomHex(20)
	var err error
	other.client, err = s.newClient(other.KeyID, other.Key)
	return &other, err
}

// Admit lets a key in, which may do these actions with the bucket and what is in
// it. They are called as in AWS's policies.
func (s *Store) Admit(ctx context.Context, keyID, key string, actions ...string) error {
	return s.server.admit(ctx, s, keyID, key, actions)
}

// certify makes an authority and the server's certificate.
func (s *Store) certify() error {
	authority, err := pki.NewAuthority("the authority of " + s.Bucket)
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(s.address)
	if err != nil {
		return err
	}
	pair, err := authority.Issue(pki.Subject{Name: s.Bucket, Hosts: []string{host}})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.certificates(), 0o700); err != nil {
		return err
	}
	for name, content := range map[string][]byte{certificateFile: pair.Cert, keyFile: pair.Key} {
		if err := os.WriteFile(filepath.Join(s.certificates(), name), content, 0o600); err != nil {
			return err
		}
	}
	s.Authority = authority.Cert()
	s.Endpoint = "https://" + s.address
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(s.Authority)
	s.transport.TLSClientConfig = &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}
	return nil
}

// certificates is where the server's own is, with TLS.
func (s *Store) certificates() string { return filepath.Join(s.dir, "certificates") }

// MinIO looks for files of these names.
const certificateFile, keyFile = "public.crt", "private.key"

func randomHex(size int) string {
	content := make([]byte, size)
	_, _ = rand.Read(content)
	return hex.EncodeToString(content)
}

// Start starts the server, or starts it again, and waits until it answers.
func (s *Store) Start(ctx context.Context) error {
	command := s.server.command(s)
	command.Path, command.Dir = s.options.Program, s.dir
	var err error
	if s.process, err = process.Start(command); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return s.process.WaitReady(ctx, s.answers)
}

func (s *Store) answers(ctx context.Context) error {
	return process.Call(ctx, &http.Client{Transport: s.transport}, http.MethodGet, s.Endpoint+s.server.health())
}

// Stop kills the server, as a power failure would.
func (s *Store) Stop() {
	s.process.StopWith(syscall.SIGKILL)
}

// Object is one object of the bucket.
type Object struct {
	Key  string
	Size int64
}

// List returns the objects below a prefix, in the order of their keys.
func (s *Store) List(ctx context.Context, prefix string) ([]Object, error) {
	var objects []Object
	for info := range s.client.ListObjects(ctx, s.Bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if info.Err != nil {
			return nil, fmt.Errorf("list %s/%s: %w", s.Bucket, prefix, info.Err)
		}
		objects = append(objects, Object{Key: info.Key, Size: info.Size})
	}
	return objects, nil
}

// Read returns the content of an object.
func (s *Store) Read(ctx context.Context, key string) ([]byte, error) {
	object, err := s.client.GetObject(ctx, s.Bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = object.Close() }()
	content, err := io.ReadAll(object)
	if err != nil {
		return nil, fmt.Errorf("read %s/%s: %w", s.Bucket, key, err)
	}
	return content, nil
}

// Write writes an object.
func (s *Store) Write(ctx context.Context, key string, content []byte) error {
	_, err := s.client.PutObject(ctx, s.Bucket, key, bytes.NewReader(content), int64(len(content)), minio.PutObjectOptions{})
	if err != nil {
		return fmt.Errorf("write %s/%s: %w", s.Bucket, key, err)
	}
	return nil
}

// Multiply puts a small object under other keys, too. For many of them the
// requests would take minutes, so most of it is done behind the server's back.
func (s *Store) Multiply(ctx context.Context, key string, others []string) error {
	content, err := s.Read(ctx, key)
	if err != nil {
		return err
	}
	const linked = 10_000 // a file may have 65,000 names on ext4
	for i, other := range others {
		if i%linked == 0 {
			if err := s.Write(ctx, other, content); err != nil {
				return err
			}
			continue
		}
		name := s.server.file(s, other)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		if err := os.Link(s.server.file(s, others[i-i%linked]), name); err != nil {
			return err
		}
	}
	return nil
}

// Hide takes objects away behind the server's back, so that they come back as they
// were, with the times of their uploads. The function that it returns brings them
// back, in place of what was written under their keys since.
func (s *Store) Hide(keys ...string) (func() error, error) {
	hidden, err := os.MkdirTemp(s.dir, "hidden-")
	if err != nil {
		return nil, err
	}
	place := func(i int) string { return filepath.Join(hidden, strconv.Itoa(i)) }
	for i, key := range keys {
		if err := os.Rename(s.object(key), place(i)); err != nil {
			return nil, err
		}
	}
	return func() error {
		for i, key := range keys {
			object := s.object(key)
			if err := errors.Join(os.RemoveAll(object), os.MkdirAll(filepath.Dir(object), 0o700), os.Rename(place(i), object)); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// Requests counts what the server was asked.
func (s *Store) Requests(ctx context.Context) (int, error) { return s.server.requests(ctx, s) }

// Delete deletes an object by its name.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.client.RemoveObject(ctx, s.Bucket, key, minio.RemoveObjectOptions{}); err != nil {
		return fmt.Errorf("delete %s/%s: %w", s.Bucket, key, err)
	}
	return nil
}

// SuspendVersions stops the bucket from keeping any more versions.
func (s *Store) SuspendVersions(ctx context.Context) error {
	return s.client.SuspendVersioning(ctx, s.Bucket)
}

// Remove removes all objects below a prefix and returns how many there were.
func (s *Store) Remove(ctx context.Context, prefix string) (int, error) {
	objects, err := s.List(ctx, prefix)
	if err != nil {
		return 0, err
	}
	for _, object := range objects {
		if err := s.Delete(ctx, object.Key); err != nil {
			return 0, err
		}
	}
	return len(objects), nil
}

// Versions counts all versions below a prefix, deleted ones included.
func (s *Store) Versions(ctx context.Context, prefix string) (int, error) {
	versions, err := s.versions(ctx, prefix)
	versions = slices.DeleteFunc(versions, func(version minio.ObjectInfo) bool { return version.IsDeleteMarker })
	return len(versions), err
}

// RemoveVersions removes all versions below a prefix for good, one by one and in
// one request, and returns why not.
func (s *Store) RemoveVersions(ctx context.Context, prefix string) (one, many error) {
	versions, err := s.versions(ctx, prefix)
	if err != nil {
		return err, err
	}
	for _, version := range versions {
		err := s.client.RemoveObject(ctx, s.Bucket, version.Key, minio.RemoveObjectOptions{VersionID: version.VersionID})
		one = errors.Join(one, err)
	}
	list := make(chan minio.ObjectInfo, len(versions))
	for _, version := range versions {
		list <- version
	}
	close(list)
	for failed := range s.client.RemoveObjects(ctx, s.Bucket, list, minio.RemoveObjectsOptions{}) {
		many = errors.Join(many, failed.Err)
	}
	return one, many
}

// Restore makes all objects below a prefix what they were at a time, by removing
// the versions since.
func (s *Store) Restore(ctx context.Context, prefix string, at time.Time) error {
	versions, err := s.versions(ctx, prefix)
	if err != nil {
		return err
	}
	for _, version := range versions {
		if version.LastModified.Before(at) {
			continue
		}
		err := s.client.RemoveObject(ctx, s.Bucket, version.Key, minio.RemoveObjectOptions{
			VersionID: version.VersionID, GovernanceBypass: true,
		})
		if err != nil {
			return fmt.Errorf("remove a version of %s: %w", version.Key, err)
		}
	}
	return nil
}

// versions are all below a prefix, deletions included.
func (s *Store) versions(ctx context.Context, prefix string) ([]minio.ObjectInfo, error) {
	var versions []minio.ObjectInfo
	for info := range s.client.ListObjects(ctx, s.Bucket, minio.ListObjectsOptions{
		Prefix: prefix, Recursive: true, WithVersions: true,
	}) {
		if info.Err != nil {
			return nil, fmt.Errorf("list the versions of %s/%s: %w", s.Bucket, prefix, info.Err)
		}
		versions = append(versions, info)
	}
	return versions, nil
}

// SetLifecycle sets the bucket's lifecycle, and returns what the server has of it.
func (s *Store) SetLifecycle(ctx context.Context, rules ...lifecycle.Rule) ([]lifecycle.Rule, error) {
	if err := s.client.SetBucketLifecycle(ctx, s.Bucket, &lifecycle.Configuration{Rules: rules}); err != nil {
		return nil, fmt.Errorf("set the lifecycle of %s: %w", s.Bucket, err)
	}
	kept, err := s.client.GetBucketLifecycle(ctx, s.Bucket)
	if err != nil {
		return nil, fmt.Errorf("read the lifecycle of %s: %w", s.Bucket, err)
	}
	return kept.Rules, nil
}

// String names the store in messages.
func (s *Store) String() string { return s.address + "/" + s.Bucket }
