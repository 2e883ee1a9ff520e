// Package examine looks at databases: at the cluster and at both stores, side by
// side and within bounds.
package examine

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"golang.org/x/sync/errgroup"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/cluster"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/diagnosis"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/store"
)

// StoreTime is how long a store may take over each of its two questions, unless
// [Access] says otherwise.
const StoreTime = 10 * time.Second

const clusterTime = 10 * time.Second

// Access is how the cluster and the stores are reached.
type Access struct {
	// Cluster is nil when only the stores are asked; ClusterErr says why it cannot
	// be reached.
	Cluster    *cluster.Client
	ClusterErr error
	// Key returns the key of a store and certificates to trust.
	Key KeySource
	// Authorities are more of those, in PEM.
	Authorities []byte
	// StoreTime is how long a store may take over each of its two questions.
	// Default [StoreTime].
	StoreTime time.Duration
}

// Key is what opens a store.
type Key struct {
	ID, Secret  string
	Authorities []byte
}

// KeySource finds the key of a store of a database.
type KeySource func(ctx context.Context, namespace string, at cnpg.StoreLayout) (Key, error)

// ClusterKeys reads keys where the operator finds them: in the Secrets that the
// ObjectStores name.
func ClusterKeys(c cluster.Client) KeySource {
	return func(ctx context.Context, namespace string, at cnpg.StoreLayout) (Key, error) {
		configuration := at.Spec.Configuration
		var key Key
		for _, part := range []struct {
			secret, key string
			into        *string
		}{
			{configuration.AWS.AccessKeyIDReference.Name, configuration.AWS.AccessKeyIDReference.Key, &key.ID},
			{configuration.AWS.SecretAccessKeyReference.Name, configuration.AWS.SecretAccessKeyReference.Key, &key.Secret},
		} {
			value, err := c.Secret(ctx, namespace, part.secret, part.key)
			if err != nil {
				return Key{}, err
			}
			if *part.into = string(value); strings.TrimSpace(*part.into) != *part.into {
				return Key{}, &cluster.SecretError{Secret: part.secret, Problem: "has a blank or a line break around " + part.key}
			}
		}
		if ca := configuration.EndpointCA; ca != nil {
			value, err := c.Secret(ctx, namespace, ca.Name, ca.Key)
			if err != nil {
				return Key{}, err
			}
			key.Authorities = value
		}
		return key, nil
	}
}

// Variables are the environment variables with the key of each location, those of
// a deployment.
func Variables(at cnpg.Location) (id, secret string) {
	if at == cnpg.B2 {
		return "B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY"
	}
	return "MINIO_USER", "MINIO_PASSWORD"
}

// EnvironmentKeys takes keys from environment variables, for when the cluster is
// gone.
func EnvironmentKeys(_ context.Context, _ string, at cnpg.StoreLayout) (Key, error) {
	id, secret := Variables(at.Location)
	key := Key{ID: os.Getenv(id), Secret: os.Getenv(secret)}
	if key.ID == "" || key.Secret == "" {
		return Key{}, fmt.Errorf("%w: %s and %s are not both set", diagnosis.ErrNoKey, id, secret)
	}
	return key, nil
}

// Calls counts requests to the two stores.
type Calls struct {
	mu    sync.Mutex
	count map[cnpg.Location]Count
}

// Count are requests of one location by Backblaze's classes.
type Count struct {
	B int64 `json:"classB"`
	C int64 `json:"classC"`
}

func (c *Calls) add(at cnpg.Location, s *store.Store) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count == nil {
		c.count = map[cnpg.Location]Count{}
	}
	b, lists := s.Count()
	sum := c.count[at]
	c.count[at] = Count{sum.B + b, sum.C + lists}
}

// All returns the sums until now.
func (c *Calls) All() map[cnpg.Location]Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

// Database looks at one database and returns what it found.
func (a Access) Database(ctx context.Context, name string, l cnpg.Layout, calls *Calls) *diagnosis.Subject {
	s := &diagnosis.Subject{Name: name, Layout: l, ClusterErr: a.ClusterErr}
	archive, mirror := &look{at: l.Archive, server: l.ServerName}, &look{at: l.Mirror, server: l.ServerName}
	var group sync.WaitGroup
	if a.Cluster != nil && a.ClusterErr == nil {
		group.Go(func() {
			limited, cancel := context.WithTimeout(ctx, clusterTime)
			defer cancel()
			s.Cluster, s.ClusterErr = a.Cluster.Read(limited, l)
		})
	}
	for _, one := range []*look{archive, mirror} {
		group.Go(func() { one.list(ctx, a, l.Namespace) })
	}
	group.Wait()
	s.Now = time.Now().UTC()
	for _, one := range []*look{archive, mirror} {
		other := archive
		if one == archive {
			other = mirror
		}
		one.judge(ctx, a, catalogue.Options{
			Now: s.Now, WALDelay: l.WALDelay, Other: other.read.Folder, Copied: one == mirror,
		})
	}
	s.Archive, s.Mirror = archive.read, mirror.read
	if s.Cluster != nil && s.Cluster.Cluster != nil && s.Cluster.Cluster.Status.Phase == cnpgv1.PhaseFirstPrimary && l.Recovery != nil {
		recovered := &look{at: l.Archive, server: l.RecoveryServer}
		if l.Recovery.Source != l.Archive.Location {
			recovered.at = l.Mirror
		}
		recovered.at.Folder = l.Recovery.Path
		recovered.list(ctx, a, l.Namespace)
		recovered.judge(ctx, a, catalogue.Options{Now: s.Now, WALDelay: l.WALDelay})
		recovered.count(calls)
		s.Recovered = &recovered.read
	}
	archive.count(calls)
	mirror.count(calls)
	return s
}

func (a Access) storeTime() time.Duration {
	if a.StoreTime == 0 {
		return StoreTime
	}
	return a.StoreTime
}

// look is one folder of one store that is being read.
type look struct {
	at     cnpg.StoreLayout
	server string
	store  *store.Store
	source catalogue.Source
	read   diagnosis.Read
}

// open finds the key of a store, and returns its last characters.
func (a Access) open(ctx context.Context, namespace string, at cnpg.StoreLayout) (opened *store.Store, keyID string, err error) {
	if a.Key == nil {
		return nil, "", fmt.Errorf("%w: the cluster has it", diagnosis.ErrNoKey)
	}
	key, err := a.Key(ctx, namespace, at)
	if err != nil {
		return nil, "", err
	}
	region := at.Region
	if region == "" {
		region = "us-east-1" // what the sidecar's boto3 signs for
	}
	opened, err = store.New(store.Options{
		Endpoint: at.Spec.Configuration.EndpointURL, Region: region, Bucket: at.Bucket,
		KeyID: key.ID, Key: key.Secret, Authorities: append(key.Authorities, a.Authorities...),
	})
	return opened, lastFour(key.ID), err
}

func (o *look) list(ctx context.Context, a Access, namespace string) {
	ctx, cancel := context.WithTimeout(ctx, a.storeTime())
	defer cancel()
	if o.store, o.read.KeyID, o.read.Err = a.open(ctx, namespace, o.at); o.read.Err != nil {
		return
	}
	o.source = o.store.Folder(path.Join(o.at.Folder, o.server))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		o.read.Folders, err = o.store.Folders(ctx, o.at.Folder)
		return err
	})
	group.Go(func() (err error) {
		o.read.Folder, err = catalogue.Read(ctx, o.source)
		return err
	})
	o.read.Err = group.Wait()
}

func (o *look) judge(ctx context.Context, a Access, options catalogue.Options) {
	if o.read.Err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, a.storeTime())
	defer cancel()
	o.read.Restorable, o.read.Err = catalogue.Judge(ctx, o.source, o.read.Folder, options)
}

func (o *look) count(calls *Calls) {
	if o.store != nil {
		calls.add(o.at.Location, o.store)
	}
}

// lastFour is enough to tell keys apart.
func lastFour(id string) string {
	const enough = 4
	if len(id) <= enough {
		return "…"
	}
	return "…" + id[len(id)-enough:]
}
