//go:build restore

package restore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	machineryapi "github.com/cloudnative-pg/machinery/pkg/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/mirror"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }

const (
	namespace = "auth"
	cluster   = "authentik-postgresql"
)

// world is one environment: two stores, and what the component renders for them.
type world struct {
	dir     string
	b2, nas *s3server.Store
	// archive is the store that the database writes to, mirror the other one.
	archive, mirror *s3server.Store
	secrets         client.Client
	args            cnpg.DatabaseArgs
	// minioUser is the setting minio.user, "" for one key to all of the NAS.
	minioUser string
	// nasName begins the names of the Secrets with the NAS's key and authority.
	nasName string
	// former is the setting minio.formerEndpoint, "" for none.
	former string
	// regionKey has barman told the NAS's region.
	regionKey bool
	// judged are the base backups of the mirror that PostgreSQL has restored.
	judged map[string]bool
}

// newWorld starts two stores: one like B2, with versions and encryption, and a
// plain one like a NAS, with a certificate of its owner's authority.
func newWorld(t *testing.T, archive cnpg.Location, nasData string) *world {
	t.Helper()
	return newWorldWith(t, archive, s3server.Options{Data: nasData})
}

// newWorldWith does so for a NAS with other options.
func newWorldWith(t *testing.T, archive cnpg.Location, ofNAS s3server.Options) *world {
	t.Helper()
	dir, err := os.MkdirTemp(lab.Directory(), "world-")
	require.NoError(t, err)
	b2, err := lab.NewStore(t.Context(), mkdir(t, dir, "b2"), "homelab-cnpg-b2", s3server.Options{Versioned: true, Encrypting: true})
	require.NoError(t, err)
	t.Cleanup(b2.Stop)
	ofNAS.TLS, ofNAS.Kind = true, nasKind(t)
	nas, err := lab.NewStore(t.Context(), mkdir(t, dir, "nas"), "homelab-postgres-backups", ofNAS)
	require.NoError(t, err)
	t.Cleanup(nas.Stop)
	w := &world{
		dir: dir, b2: b2, nas: nas, archive: b2, mirror: nas, nasName: "nas", judged: map[string]bool{},
		args: cnpg.DatabaseArgs{
			Namespace: namespace,
			Cluster:   cluster,
			Spec: cnpgv1.ClusterSpec{
				ImageName:            "ghcr.io/cloudnative-pg/postgresql:17.7",
				StorageConfiguration: cnpgv1.StorageConfiguration{Size: "1Gi"},
			},
			Backup: cnpg.Backup{Archive: archive, Retention: "30d"},
		},
	}
	w.secrets = w.with(map[string]*s3server.Store{"b2-cnpg-credentials": b2, "nas-credentials": nas})
	// There is little WAL: to fetch files ahead would find none.
	w.args.B2.WAL.MaxParallel = 2
	w.args.MinIO.WAL.MaxParallel = 2
	// A checkpoint that spares the disk would take minutes.
	w.args.B2.Data.ImmediateCheckpoint = true
	w.args.MinIO.Data.ImmediateCheckpoint = true
	if archive == cnpg.MinIO {
		w.archive, w.mirror = nas, b2
	}
	return w
}

func nasKind(t *testing.T) s3server.Kind {
	t.Helper()
	kind, err := s3server.NAS()
	require.NoError(t, err)
	return kind
}

// needsMinIO skips a test of what only MinIO has.
func needsMinIO(t *testing.T, what string) {
	t.Helper()
	if kind := nasKind(t); kind != s3server.MinIO {
		t.Skipf("%s: %s has none that the component makes", what, kind)
	}
}

// with are the namespace's Secrets with these keys.
func (w *world) with(keys map[string]*s3server.Store) client.Client {
	return lab.Secrets(namespace, keys, map[string][]byte{"nas-ca": w.nas.Authority})
}

func mkdir(t *testing.T, parts ...string) string {
	t.Helper()
	dir := filepath.Join(parts...)
	require.NoError(t, os.MkdirAll(dir, 0o700))
	return dir
}

// storage are both stores as the component is told of them.
func (w *world) storage() *cnpg.StorageArgs {
	nas := cnpg.MinIOArgs{
		Bucket: w.nas.Bucket, Endpoint: w.nas.Endpoint, Secret: w.nasName + "-credentials",
		EndpointCA: &machineryapi.SecretKeySelector{
			LocalObjectReference: machineryapi.LocalObjectReference{Name: w.nasName + "-ca"}, Key: "ca.crt",
		},
		Region: w.nas.Region(),
	}
	nas.FormerEndpoint = w.former
	if w.regionKey {
		nas.RegionKey = "AWS_REGION"
	}
	if w.minioUser != "" {
		nas.Secret, nas.User, nas.UndeleteDays = "", w.minioUser, 14
	}
	return &cnpg.StorageArgs{
		B2:        cnpg.B2Args{Bucket: w.b2.Bucket, Region: "us-west-002", Endpoint: w.b2.Endpoint},
		MinIO:     nas,
		Bitwarden: cnpg.BitwardenArgs{Store: "bitwarden-backend", Item: "backblaze-b2-cnpg-offsite"},
		// Base backups are compressed as its barman can.
		PluginVersion: lab.Plugin(),
	}
}

// render lets the component make the objects of a generation.
func (w *world) render(t *testing.T, generation int) *lab.Rendered {
	t.Helper()
	args := w.args
	args.Generation = generation
	rendered, err := lab.Render("authentik", w.storage(), &args)
	require.NoError(t, err)
	return rendered
}

// folder is where a generation lies in one of the stores, as the Cluster's
// recovery sources have it.
func (w *world) folder(t *testing.T, at *s3server.Store, generation int) lab.Folder {
	t.Helper()
	source := "authentik-minio-backup"
	if at == w.b2 {
		source = "authentik-b2-backup"
	}
	folder, err := w.render(t, generation).Source(source)
	require.NoError(t, err)
	return folder
}

// written is the folder that a generation writes to.
func (w *world) written(t *testing.T, generation int) lab.Folder {
	t.Helper()
	folder, err := w.render(t, generation).Archive()
	require.NoError(t, err)
	return folder
}

// writtenSlowly is that folder of the first generation with base backups that wait
// for a checkpoint: without an immediate one that is for minutes.
func (w *world) writtenSlowly(t *testing.T) lab.Folder {
	t.Helper()
	w.args.B2.Data.ImmediateCheckpoint = false
	defer func() { w.args.B2.Data.ImmediateCheckpoint = true }()
	return w.written(t, 1)
}

// beginBackup begins such a base backup, and returns how it will end.
func beginBackup(t *testing.T, life *lab.Life, to lab.Folder) <-chan error {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		_, err := life.WritingTo(to).Backup(t.Context())
		ended <- err
	}()
	require.Eventually(t, func() bool {
		var running int
		err := life.Query(t.Context(), &running,
			"select count(*) from pg_stat_activity where query ilike '%pg_backup_start%' and pid <> pg_backend_pid() and state = 'active'")
		return err == nil && running == 1
	}, time.Minute, 50*time.Millisecond)
	return ended
}

// prefix is where a generation's objects begin in a bucket.
func prefix(generation int) string {
	name := namespace + "/" + cluster + "/" + cluster
	if generation > 1 {
		name += fmt.Sprintf("-%d", generation)
	}
	return name
}

// begin starts an empty first generation with the table in it.
func (w *world) begin(t *testing.T, initdb ...string) *lab.Life {
	t.Helper()
	life, err := lab.Begin(t.Context(), mkdir(t, w.dir, "first"), w.secrets, w.written(t, 1), initdb...)
	require.NoError(t, err)
	t.Cleanup(life.Stop)
	require.NoError(t, life.CreateTable(t.Context()))
	return life
}

// mirrorReadsOnly gives the job a key of the archive that may only read.
func (w *world) mirrorReadsOnly(t *testing.T) {
	t.Helper()
	reader, err := w.archive.Reader(t.Context())
	require.NoError(t, err)
	require.ErrorContains(t, reader.Write(t.Context(), prefix(1)+"/intruder", nil), "Access Denied")
	w.secrets = w.with(map[string]*s3server.Store{
		"b2-cnpg-credentials": w.b2, "nas-credentials": w.nas, "read-only": reader,
	})
	w.args.Mirror.SourceSecret = "read-only"
}

// runMirror runs the job and wants it to end well.
func (w *world) runMirror(t *testing.T, generation int) lab.Run {
	t.Helper()
	run := w.tryMirror(t.Context(), t, generation)
	require.Empty(t, run.Failed, "the mirror's job failed:\n%s", run.Output)
	return run
}

// tryMirror runs the job, which may fail, until ctx ends.
func (w *world) tryMirror(ctx context.Context, t *testing.T, generation int) lab.Run {
	t.Helper()
	run, err := lab.RunJob(ctx, w.render(t, generation).Mirror, w.secrets)
	require.NoError(t, err)
	return run
}

// startMirror starts the job for the first generation. The function that it
// returns waits for the end.
func (w *world) startMirror(t *testing.T) func() lab.Run {
	t.Helper()
	type result struct {
		run lab.Run
		err error
	}
	job, done := w.render(t, 1).Mirror, make(chan result, 1)
	go func() {
		run, err := lab.RunJob(t.Context(), job, w.secrets)
		done <- result{run, err}
	}()
	return func() lab.Run {
		t.Helper()
		ended := <-done
		require.NoError(t, ended.err)
		return ended.run
	}
}

// said is what the job said of the first generation in a store.
func (w *world) said(t *testing.T, run lab.Run, at *s3server.Store) mirror.Copy {
	t.Helper()
	message, err := mirror.Parse(run.Message)
	require.NoError(t, err, run.Output)
	folder, found := message.Folder(cluster)
	require.True(t, found, run.Output)
	if at == w.archive {
		return folder.Archive
	}
	return folder.Mirror
}

// moment is what a database held at a time.
type moment struct {
	time     string
	contents lab.Contents
	// since is the segment, without its timeline, before which nothing of what
	// was written last can be; "" when that is not known.
	since string
	// behind is whether WAL was waiting to be archived then.
	behind bool
}

func remember(t *testing.T, life *lab.Life) moment {
	t.Helper()
	contents := contentsOf(t, life)
	now, err := life.Now(t.Context())
	require.NoError(t, err)
	return moment{time: now, contents: contents}
}

// insertAndArchive adds rows in a transaction and waits until all is archived.
func insertAndArchive(t *testing.T, life *lab.Life, rows int) moment {
	t.Helper()
	require.NoError(t, life.Insert(t.Context(), rows))
	m := remember(t, life)
	require.NoError(t, life.Archived(t.Context()))
	return m
}

// backUp takes a base backup and returns its ID.
func backUp(t *testing.T, life *lab.Life) string {
	t.Helper()
	backup, err := life.Backup(t.Context())
	require.NoError(t, err)
	return backup.ID
}

// backupsIn are the base backups of the first generation in a store.
func backupsIn(t *testing.T, store *s3server.Store) []catalogue.Backup {
	t.Helper()
	backups, err := catalogue.Backups(t.Context(), store, prefix(1))
	require.NoError(t, err)
	return backups
}

// contentsOf is what a database holds.
func contentsOf(t *testing.T, life *lab.Life) lab.Contents {
	t.Helper()
	contents, err := life.Contents(t.Context())
	require.NoError(t, err)
	return contents
}

// restore makes a throw-away database from a folder, without an archiver.
func (w *world) restore(t *testing.T, from lab.Folder, target *cnpgv1.RecoveryTarget) (*lab.Life, error) {
	t.Helper()
	life, _, err := w.restoreForNow(t, from, target)
	return life, err
}

// restoreForNow does so for a test that has too many of them to keep each until it
// ends: throw them away, also what failed.
func (w *world) restoreForNow(t *testing.T, from lab.Folder, target *cnpgv1.RecoveryTarget) (life *lab.Life, throwAway func(), err error) {
	t.Helper()
	return w.forNow(t, func(dir string) (*lab.Life, error) {
		return lab.Restore(t.Context(), dir, w.secrets, from, nil, target)
	})
}

// restoreByHand makes a throw-away database of a base backup of a generation, as
// restoreForNow does.
func (w *world) restoreByHand(t *testing.T, at *s3server.Store, generation int, target *cnpgv1.RecoveryTarget,
) (life *lab.Life, throwAway func(), err error) {
	t.Helper()
	return w.forNow(t, func(dir string) (*lab.Life, error) {
		return lab.RestoreByHand(t.Context(), dir, at, prefix(generation), target)
	})
}

// forNow makes a database in a folder that is thrown away.
func (w *world) forNow(t *testing.T, restore func(dir string) (*lab.Life, error)) (life *lab.Life, throwAway func(), err error) {
	t.Helper()
	dir, err := os.MkdirTemp(w.dir, "restored-")
	require.NoError(t, err)
	life, err = restore(dir)
	throwAway = sync.OnceFunc(func() {
		if life != nil {
			life.Stop()
		}
		_ = os.RemoveAll(dir)
	})
	t.Cleanup(throwAway)
	return life, throwAway, err
}

// storesAsItIs switches compression off, which a restore by hand needs.
func (w *world) storesAsItIs() {
	for _, options := range []*cnpg.StoreOptions{&w.args.B2, &w.args.MinIO} {
		options.Data.Compression, options.WAL.Compression = "none", "none"
	}
}

// requireRestores wants that a folder restores to what was true at a moment.
func (w *world) requireRestores(t *testing.T, from lab.Folder, target *cnpgv1.RecoveryTarget, want moment) {
	t.Helper()
	start := time.Now()
	life, err := w.restore(t, from, target)
	require.NoError(t, err)
	got := contentsOf(t, life)
	assert.Equal(t, want.contents, got)
	t.Logf("restored %d rows of %s from %s in %.1f s",
		got.Rows, from.ServerName, from.Store.Name, time.Since(start).Seconds())
	life.Stop()
}

// requireInvariant wants that every base backup in the mirror restores by
// itself, up to where it is consistent: it has all of its data and WAL. The
// judge is PostgreSQL.
func (w *world) requireInvariant(t *testing.T, generation int) []catalogue.Backup {
	t.Helper()
	backups, err := catalogue.CheckData(t.Context(), w.mirror, prefix(generation), w.archive)
	require.NoError(t, err, "the mirror's data")
	immediate := true
	for _, backup := range backups {
		key := prefix(generation) + "/" + backup.ID
		if w.judged[key] {
			continue
		}
		life, err := w.restore(t, w.folder(t, w.mirror, generation),
			&cnpgv1.RecoveryTarget{BackupID: backup.ID, TargetImmediate: &immediate})
		require.NoError(t, err, "base backup %s of the mirror", backup.ID)
		life.Stop()
		w.judged[key] = true
	}
	return backups
}

// timeline is what a database held at several moments, each of which ends a WAL
// segment, so that a restore without a target ends at one of them.
type timeline []moment

// indexOf is the last moment with these contents.
func (l timeline) indexOf(contents lab.Contents) int {
	for i, m := range slices.Backward(l) {
		if m.contents == contents {
			return i
		}
	}
	return -1
}

// requireNothingLost wants that the mirror holds its invariant and restores to
// a moment that is not earlier than the one it restored to before. It returns
// the moment.
func (w *world) requireNothingLost(t *testing.T, moments timeline, before int) int {
	t.Helper()
	w.requireInvariant(t, 1)
	life, err := w.restore(t, w.folder(t, w.mirror, 1), nil)
	require.NoError(t, err)
	contents := contentsOf(t, life)
	life.Stop()
	restored := moments.indexOf(contents)
	require.GreaterOrEqual(t, restored, before, "restored %+v, which is none of the moments since", contents)
	return restored
}
