// Package store reads a folder of an S3 server, within bounds.
package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/sync/errgroup"

	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/catalogue"
)

// Options say where a store is and who asks.
type Options struct {
	// Endpoint is its URL, Region the one that requests are signed for; "" for a
	// server that has none.
	Endpoint, Region string
	Bucket           string
	KeyID, Key       string
	// Authorities are certificates in PEM that are trusted beside the public ones.
	Authorities []byte
}

// Store is a bucket, as one key sees it.
type Store struct {
	client *minio.Client
	bucket string
	calls  Calls
}

// Calls counts requests as Backblaze bills them: class C are lists, class B reads
// (https://www.backblaze.com/cloud-storage/transaction-pricing).
type Calls struct{ b, c atomic.Int64 }

// Count returns the calls of each class until now.
func (s *Store) Count() (b, c int64) { return s.calls.b.Load(), s.calls.c.Load() }

// New connects to nothing yet.
func New(options Options) (*Store, error) {
	endpoint, err := url.Parse(options.Endpoint)
	if err != nil || endpoint.Host == "" {
		return nil, fmt.Errorf("the endpoint %q is no URL", options.Endpoint)
	}
	s := &Store{bucket: options.Bucket}
	transport, err := minio.DefaultTransport(endpoint.Scheme == "https")
	if err != nil {
		return nil, err
	}
	if len(options.Authorities) > 0 {
		trusted, err := x509.SystemCertPool()
		if err != nil {
			trusted = x509.NewCertPool()
		}
		if !trusted.AppendCertsFromPEM(options.Authorities) {
			return nil, errors.New("the authority's certificate is not PEM")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}
	}
	s.client, err = minio.New(endpoint.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(options.KeyID, options.Key, ""),
		Secure: endpoint.Scheme == "https", Region: options.Region,
		BucketLookup: minio.BucketLookupPath, Transport: counted{transport, &s.calls},
		// Once more, and not ten times: who asks is waiting.
		MaxRetries: 2,
	})
	return s, err
}

// counted counts what is sent.
type counted struct {
	http.RoundTripper
	calls *Calls
}

func (c counted) RoundTrip(request *http.Request) (*http.Response, error) {
	if query := request.URL.Query(); query.Has("list-type") || query.Has("location") {
		c.calls.c.Add(1)
	} else {
		c.calls.b.Add(1)
	}
	return c.RoundTripper.RoundTrip(request)
}

// Folder is a folder of the store.
func (s *Store) Folder(path string) catalogue.Source {
	path = strings.Trim(path, "/")
	if path != "" {
		path += "/"
	}
	return folder{s, path}
}

// Folders are the names of the folders in a folder.
func (s *Store) Folders(ctx context.Context, path string) ([]string, error) {
	prefix := s.Folder(path).(folder).prefix //nolint:forcetypeassert // it is what Folder returns
	var names []string
	for info := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: prefix}) {
		if info.Err != nil {
			return nil, info.Err
		}
		if name, found := strings.CutSuffix(strings.TrimPrefix(info.Key, prefix), "/"); found {
			names = append(names, name)
		}
	}
	return names, ctx.Err()
}

type folder struct {
	*Store
	prefix string
}

const (
	// together are folders that are listed one after the other: with a log of 256
	// segments in each, their list is a single answer of the server.
	together = 3
	// simultaneous is how many lists are asked for at once.
	simultaneous = 8
)

// most is how many objects are read before the way of many is taken. A server hands
// out 1,000 at a time, and the client asks for the next ones when all but one of
// them have been taken.
const most = 998

// List implements [catalogue.Source].
func (f folder) List(ctx context.Context, prefix string) ([]catalogue.Object, error) {
	limited, cancel := context.WithCancel(ctx)
	defer cancel() // ends a list that is not read to its end
	var objects []catalogue.Object
	for info := range f.client.ListObjects(limited, f.bucket, minio.ListObjectsOptions{Prefix: f.prefix + prefix, Recursive: true}) {
		if info.Err != nil {
			return nil, info.Err
		}
		if objects = append(objects, f.object(info)); len(objects) == most {
			cancel()
			return f.listWide(ctx, prefix, objects)
		}
	}
	return objects, ctx.Err() // a list that was cut short is none
}

// listWide lists many objects, of which the first are known. The server tells where
// a page begins only when it has handed out the one before, so the folders below the
// prefix are listed first, and then a few of them at a time.
func (f folder) listWide(ctx context.Context, prefix string, objects []catalogue.Object) ([]catalogue.Object, error) {
	known := f.prefix + objects[len(objects)-1].Path
	var folders []string
	for info := range f.client.ListObjects(ctx, f.bucket, minio.ListObjectsOptions{Prefix: f.prefix + prefix}) {
		switch {
		case info.Err != nil:
			return nil, info.Err
		case strings.HasSuffix(info.Key, "/"):
			if info.Key > known || strings.HasPrefix(known, info.Key) {
				folders = append(folders, info.Key)
			}
		case info.Key > known:
			objects = append(objects, f.object(info))
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	chunks := slices.Collect(slices.Chunk(folders, together))
	listed := make([][]catalogue.Object, len(chunks))
	group, limited := errgroup.WithContext(ctx)
	group.SetLimit(simultaneous)
	for i, chunk := range chunks {
		group.Go(func() error {
			var err error
			listed[i], err = f.listFolders(limited, f.prefix+prefix, max(known, chunk[0]), chunk[len(chunk)-1])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return append(objects, slices.Concat(listed...)...), nil
}

// listFolders lists what is in folders after a key, up to the last of them.
func (f folder) listFolders(ctx context.Context, prefix, after, last string) ([]catalogue.Object, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var objects []catalogue.Object
	for info := range f.client.ListObjects(ctx, f.bucket, minio.ListObjectsOptions{
		Prefix: prefix, Recursive: true, StartAfter: after,
	}) {
		if info.Err != nil {
			return nil, info.Err
		}
		if info.Key > last && !strings.HasPrefix(info.Key, last) {
			return objects, nil
		}
		if strings.Contains(strings.TrimPrefix(info.Key, prefix), "/") {
			objects = append(objects, f.object(info))
		}
	}
	return objects, ctx.Err()
}

func (f folder) object(info minio.ObjectInfo) catalogue.Object {
	return catalogue.Object{Path: strings.TrimPrefix(info.Key, f.prefix), Size: info.Size, Arrived: info.LastModified.UTC()}
}

// Read implements [catalogue.Source].
func (f folder) Read(ctx context.Context, path string) ([]byte, error) {
	object, err := f.client.GetObject(ctx, f.bucket, f.prefix+path, minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = object.Close() }()
	const enough = 1 << 20
	return io.ReadAll(io.LimitReader(object, enough))
}

// Arrived implements [catalogue.Source]. rclone notes with what it copies when
// that was uploaded (https://rclone.org/s3/#modification-times-and-hashes).
func (f folder) Arrived(ctx context.Context, path string) (time.Time, error) {
	info, err := f.client.StatObject(ctx, f.bucket, f.prefix+path, minio.StatObjectOptions{})
	if err != nil {
		return time.Time{}, err
	}
	if noted := info.Metadata.Get("X-Amz-Meta-Mtime"); noted != "" {
		seconds, fraction, _ := strings.Cut(noted, ".")
		if at, err := parseUnix(seconds, fraction); err == nil {
			return at, nil
		}
	}
	return info.LastModified.UTC(), nil
}

func parseUnix(seconds, fraction string) (time.Time, error) {
	const digits = 9
	nanoseconds := (fraction + strings.Repeat("0", digits))[:digits]
	var whole, part int64
	if _, err := fmt.Sscanf(seconds+" "+nanoseconds, "%d %d", &whole, &part); err != nil {
		return time.Time{}, err
	}
	return time.Unix(whole, part).UTC(), nil
}
