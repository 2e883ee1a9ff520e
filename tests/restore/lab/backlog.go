package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	barmanapi "github.com/cloudnative-pg/barman-cloud/pkg/api"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Backlog is a data directory with WAL segments that wait for the archive.
type Backlog struct {
	sidecar *Sidecar
	names   []string
}

// NewBacklog has a database write WAL that nobody archives.
func NewBacklog(ctx context.Context, dir string, secrets client.Client, segments int) (*Backlog, error) {
	instance := instanceAt(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := instance.initialize(ctx); err != nil {
		return nil, err
	}
	settings := instance.baseSettings()
	settings["archive_mode"], settings["archive_command"] = "on", "false"
	if err := instance.start(ctx, settings); err != nil {
		return nil, err
	}
	defer instance.process.StopWith(syscall.SIGKILL)
	if err := instance.CreateTable(ctx); err != nil {
		return nil, err
	}
	backlog := &Backlog{sidecar: &Sidecar{instance: instance, secrets: secrets}}
	for len(backlog.names) < segments {
		if err := instance.Insert(ctx, 10_000); err != nil {
			return nil, err
		}
		ready, err := filepath.Glob(filepath.Join(instance.data(), "pg_wal", "archive_status", "*.ready"))
		if err != nil {
			return nil, err
		}
		backlog.names = backlog.names[:0]
		for _, name := range ready {
			backlog.names = append(backlog.names, filepath.Base(name[:len(name)-len(".ready")]))
		}
	}
	slices.Sort(backlog.names)
	for _, name := range backlog.names[segments:] {
		if err := os.Remove(backlog.status(name, ".ready")); err != nil {
			return nil, err
		}
	}
	backlog.names = backlog.names[:segments]
	return backlog, nil
}

func (b *Backlog) status(name, suffix string) string {
	return filepath.Join(b.sidecar.instance.data(), "pg_wal", "archive_status", name+suffix)
}

// Names are the segments, oldest first.
func (b *Backlog) Names() []string { return slices.Clone(b.names) }

// Archive archives all segments into a folder, one call after the other as
// PostgreSQL makes them, and tells how long it took.
func (b *Backlog) Archive(ctx context.Context, to Folder) (time.Duration, error) {
	b.sidecar.to = &to
	defer func() { _ = os.RemoveAll(b.sidecar.spool()) }()
	start := time.Now()
	for _, name := range b.names {
		if err := b.sidecar.archive(ctx, filepath.Join("pg_wal", name)); err != nil {
			return 0, fmt.Errorf("archive %s: %w", name, err)
		}
		if err := os.Rename(b.status(name, ".ready"), b.status(name, ".done")); err != nil {
			return 0, err
		}
	}
	took := time.Since(start)
	for _, name := range b.names {
		if err := os.Rename(b.status(name, ".done"), b.status(name, ".ready")); err != nil {
			return 0, err
		}
	}
	return took, nil
}

// Fetch fetches all segments from a folder, one call after the other as a
// recovering PostgreSQL makes them, and tells how long it took.
func (b *Backlog) Fetch(ctx context.Context, from Folder) (time.Duration, error) {
	b.sidecar.from = &from
	defer func() { _ = os.RemoveAll(b.sidecar.spool()) }()
	start := time.Now()
	for _, name := range b.names {
		if err := b.sidecar.restoreWAL(ctx, name, filepath.Join("pg_wal", "RECOVERYXLOG")); err != nil {
			return 0, fmt.Errorf("fetch %s: %w", name, err)
		}
	}
	return time.Since(start), nil
}

// WithWAL is the folder with another parallelism and compression of WAL, in a
// server name of its own.
func (f Folder) WithWAL(maxParallel int, compression barmanapi.CompressionType) Folder {
	f.Store = *f.Store.DeepCopy()
	f.Store.Spec.Configuration.Wal.MaxParallel, f.Store.Spec.Configuration.Wal.Compression = maxParallel, compression
	f.ServerName = fmt.Sprintf("%s-%d-%s", f.ServerName, maxParallel, compression)
	return f
}

// Fetching is the folder with another parallelism of a recovery, and arguments for
// each of its barman-cloud-wal-restore.
func (f Folder) Fetching(maxParallel int, arguments ...string) Folder {
	f.Store = *f.Store.DeepCopy()
	f.Store.Spec.Configuration.Wal.MaxParallel = maxParallel
	f.Store.Spec.Configuration.Wal.RestoreAdditionalCommandArgs = arguments
	return f
}

// WithData is the folder with another compression of base backups, which the
// plugin's schema need not know.
func (f Folder) WithData(compression barmanapi.CompressionType) Folder {
	f.Store = *f.Store.DeepCopy()
	data := f.Store.Spec.Configuration.Data
	data.Compression, data.AdditionalCommandArgs = compression, nil
	if compression == barmanapi.CompressionTypeZstd {
		data.Compression, data.AdditionalCommandArgs = "", []string{"--zstd"}
	}
	return f
}

// Trusting is the folder at a server whose certificate an authority signed that is
// in a file.
func (f Folder) Trusting(file string) Folder {
	f.Store = *f.Store.DeepCopy()
	sidecar := &f.Store.Spec.InstanceSidecarConfiguration
	sidecar.Env = append(sidecar.Env, corev1.EnvVar{Name: "AWS_CA_BUNDLE", Value: file})
	return f
}

// Behind is the folder as seen through another endpoint.
func (f Folder) Behind(endpoint string) Folder {
	f.Store = *f.Store.DeepCopy()
	f.Store.Spec.Configuration.EndpointURL = endpoint
	return f
}
