// Command bench measures what the backups cost: WAL archived and fetched a
// second by parallelism and compression, and a run of the mirror, on loopback and
// over a line with a round trip of 40 ms; the recovery of an idle database, by
// parallelism; and base backups, restores and WAL by compression, beside pgBackRest
// and tar. Like the restore tests it installs what is missing and needs root for
// that.
//
//	bench [wal|mirror|idle|beside ...]   these parts, or all of them
package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	barmanapi "github.com/cloudnative-pg/barman-cloud/pkg/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

const (
	namespace = "bench"
	// segments is how much WAL is archived and fetched for each figure.
	segments = 16
	// roundTrip is that of the long line.
	roundTrip = 40 * time.Millisecond
)

func main() {
	os.Exit(lab.Main(func() int {
		if err := run(context.Background()); err != nil {
			fmt.Fprintf(os.Stderr, "error: %v\n%s", err, lab.Log())
			return 1
		}
		return 0
	}))
}

func run(ctx context.Context) error {
	fmt.Printf("%d cores, %s\n", runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly))
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	for _, part := range []struct {
		name  string
		print func(context.Context) error
	}{
		{"wal", w.walFigures}, {"mirror", w.mirrorFigures}, {"idle", w.idleFigures}, {"beside", w.besideFigures},
	} {
		if len(os.Args) > 1 && !slices.Contains(os.Args[1:], part.name) {
			continue
		}
		if err := part.print(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// progress says on standard error what takes a while.
func progress(what string) { fmt.Fprintln(os.Stderr, "... "+what) }

// cost is what something took.
type cost struct {
	wall, cpu time.Duration
}

// String is the time and, in brackets, the CPU's, in seconds.
func (c cost) String() string { return fmt.Sprintf("%.1f (%.1f)", c.wall.Seconds(), c.cpu.Seconds()) }

// measure is what the programs that work starts and sees the end of cost.
func measure(work func() error) (cost, error) {
	before, start := childrenCPU(), time.Now()
	err := work()
	return cost{wall: time.Since(start), cpu: childrenCPU() - before}, err
}

// childrenCPU is what the ended children of this process, and theirs, have used.
func childrenCPU() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_CHILDREN, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// world is the two stores and the lines to them.
type world struct {
	dir           string
	b2, nas       *s3server.Store
	farB2, farNAS *s3server.Delayed
}

func newWorld(ctx context.Context) (*world, error) {
	w := &world{dir: lab.Directory()}
	var err error
	if w.b2, err = w.store(ctx, "homelab-cnpg-b2", s3server.Options{Versioned: true, Encrypting: true}); err != nil {
		return nil, err
	}
	if w.nas, err = w.store(ctx, "homelab-postgres-backups", s3server.Options{}); err != nil {
		return nil, err
	}
	if w.farB2, err = w.b2.Delay(ctx, roundTrip); err != nil {
		return nil, err
	}
	w.farNAS, err = w.nas.Delay(ctx, roundTrip)
	return w, err
}

func (w *world) store(ctx context.Context, bucket string, options s3server.Options) (*s3server.Store, error) {
	dir := filepath.Join(w.dir, bucket)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return lab.NewStore(ctx, dir, bucket, options)
}

func (w *world) close() {
	w.farB2.Close()
	w.farNAS.Close()
	w.b2.Stop()
	w.nas.Stop()
}

// render has the component describe a database whose archive is at an endpoint. Each
// part has a database of its own: an archive that is not empty takes no other's WAL.
func (w *world) render(cluster, b2Endpoint string) (*lab.Rendered, error) {
	return lab.Render("bench", &cnpg.StorageArgs{
		B2:        cnpg.B2Args{Bucket: w.b2.Bucket, Region: "us-west-002", Endpoint: b2Endpoint},
		MinIO:     cnpg.MinIOArgs{Bucket: w.nas.Bucket, Endpoint: w.nas.Endpoint, Secret: "nas-credentials"},
		Bitwarden: cnpg.BitwardenArgs{Store: "bitwarden-backend", Item: "backblaze-b2-cnpg-offsite"},
		// Base backups are compressed as its barman can.
		PluginVersion: lab.Plugin(),
	}, &cnpg.DatabaseArgs{
		Namespace: namespace, Cluster: cluster,
		Spec: cnpgv1.ClusterSpec{
			ImageName:            "ghcr.io/cloudnative-pg/postgresql:17.7",
			StorageConfiguration: cnpgv1.StorageConfiguration{Size: "1Gi"},
		},
		Backup: cnpg.Backup{B2: cnpg.StoreOptions{
			Data: barmanapi.DataBackupConfiguration{ImmediateCheckpoint: true},
		}},
	})
}

// secrets are those of the database's namespace.
func (w *world) secrets() client.Client {
	return lab.Secrets(namespace, map[string]*s3server.Store{"b2-cnpg-credentials": w.b2, "nas-credentials": w.nas}, nil)
}

// archive is the folder that a database writes to at an endpoint.
func (w *world) archive(cluster, b2Endpoint string) (lab.Folder, error) {
	rendered, err := w.render(cluster, b2Endpoint)
	if err != nil {
		return lab.Folder{}, err
	}
	return rendered.Archive()
}

// lines are the two distances of the archive.
func (w *world) lines() []struct{ name, endpoint string } {
	return []struct{ name, endpoint string }{
		{"loopback", w.b2.Endpoint},
		{roundTrip.String(), w.farB2.Endpoint},
	}
}

// stored is how many MiB lie below a folder's server name.
func (w *world) stored(ctx context.Context, folder lab.Folder, below string) (float64, error) {
	path := strings.TrimPrefix(folder.Store.Spec.Configuration.DestinationPath, "s3://"+w.b2.Bucket+"/")
	objects, err := w.b2.List(ctx, path+"/"+folder.ServerName+below)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, object := range objects {
		sum += object.Size
	}
	return float64(sum) / (1 << 20), nil
}

func nameOf(compression barmanapi.CompressionType) string {
	return cmp.Or(string(compression), "none")
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
