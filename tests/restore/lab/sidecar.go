package lab

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/cloudnative-pg/barman-cloud/pkg/archiver"
	"github.com/cloudnative-pg/barman-cloud/pkg/backup"
	"github.com/cloudnative-pg/barman-cloud/pkg/catalog"
	"github.com/cloudnative-pg/barman-cloud/pkg/command"
	"github.com/cloudnative-pg/barman-cloud/pkg/credentials"
	"github.com/cloudnative-pg/barman-cloud/pkg/restorer"
	barmanutils "github.com/cloudnative-pg/barman-cloud/pkg/utils"
	"github.com/cloudnative-pg/machinery/pkg/fileutils"
	"github.com/cloudnative-pg/machinery/pkg/fileutils/wals"
	pgtime "github.com/cloudnative-pg/machinery/pkg/postgres/time"
	barmanv1 "github.com/cloudnative-pg/plugin-barman-cloud/api/v1"
	"github.com/klauspost/compress/zstd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// Folder is one server name in one ObjectStore.
type Folder struct {
	Store      barmanv1.ObjectStore
	ServerName string
}

// Sidecar does for one instance what the plugin's sidecar does: archive WAL,
// take base backups, restore. The sequence of calls follows internal/cnpgi of
// github.com/cloudnative-pg/plugin-barman-cloud v0.14.0; the arguments of the
// programs come from the library that it uses.
type Sidecar struct {
	instance *Instance
	secrets  client.Client
	// to is where the instance writes to, from what it is restored from.
	to, from *Folder

	listener *http.Server
	served   chan struct{}

	// fetch brings a WAL file to a path. Default: with barman.
	fetch func(ctx context.Context, name, to string) error

	lock  sync.Mutex
	asked []Asked
	// put takes a WAL file to the archive. Default: with barman.
	put PutWAL
}

// PutWAL takes a file of WAL to an archive.
type PutWAL func(ctx context.Context, name string, content []byte) error

// ArchiveBy has WAL archived without barman, each of whose programs costs half a
// second to start.
func (s *Sidecar) ArchiveBy(put PutWAL) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.put = put
}

// archiveWAL answers a server that has a file to archive.
func (s *Sidecar) archiveWAL(ctx context.Context, name string) error {
	s.lock.Lock()
	put := s.put
	s.lock.Unlock()
	if put == nil {
		return s.archive(ctx, name)
	}
	content, err := os.ReadFile(filepath.Join(s.instance.data(), name))
	if err != nil {
		return err
	}
	return put(ctx, filepath.Base(name), content)
}

// Asked is a file that a recovery wanted from the store, and whether it got it.
type Asked struct {
	Name string
	Got  bool
}

// String is the name, in brackets when the store lacks the file.
func (a Asked) String() string {
	if a.Got {
		return a.Name
	}
	return "(" + a.Name + ")"
}

// Asked is what a recovery has wanted from the store so far, in order.
func (s *Sidecar) Asked() []Asked {
	s.lock.Lock()
	defer s.lock.Unlock()
	return slices.Clone(s.asked)
}

// emptyArchiveCheck is the file in PGDATA by which CloudNativePG asks that the
// archive is empty. The library removes it with the first archived WAL.
const emptyArchiveCheck = ".check-empty-wal-archive"

// environment is what the sidecar gives to barman: that of its container, and
// the credentials of the store.
func (s *Sidecar) environment(ctx context.Context, folder *Folder) ([]string, error) {
	environment := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.instance.dir, "PGHOST=" + s.instance.run(), "PGUSER=postgres",
	}
	for _, variable := range folder.Store.Spec.InstanceSidecarConfiguration.Env {
		environment = append(environment, variable.Name+"="+variable.Value)
	}
	authority, err := s.authority(ctx, folder)
	if err != nil {
		return nil, err
	}
	environment, err = credentials.EnvSetCloudCredentialsAndCertificates(ctx, s.secrets,
		folder.Store.Namespace, &folder.Store.Spec.Configuration, environment, authority)
	if err != nil {
		return nil, fmt.Errorf("credentials of %s: %w", folder.Store.Name, err)
	}
	return environment, nil
}

// authority is a file with the certificate of the store's authority, which the
// plugin has mounted: common.BuildCertificateFilePath.
func (s *Sidecar) authority(ctx context.Context, folder *Folder) (string, error) {
	selected := folder.Store.Spec.Configuration.EndpointCA
	if selected == nil {
		return "", nil
	}
	certificate, err := secretValue(ctx, folder.Store.Namespace, selected.Name, selected.Key, s.secrets)
	if err != nil {
		return "", fmt.Errorf("certificate of %s: %w", folder.Store.Name, err)
	}
	name := filepath.Join(s.instance.dir, folder.Store.Name+".crt")
	// Others may be reading it.
	_, err = fileutils.WriteFileAtomic(name, []byte(certificate), 0o600)
	return name, err
}

func (s *Sidecar) spool() string { return filepath.Join(s.instance.dir, "spool") }

func (s *Sidecar) newArchiver(ctx context.Context) (*archiver.WALArchiver, error) {
	environment, err := s.environment(ctx, s.to)
	if err != nil {
		return nil, err
	}
	return archiver.New(ctx, environment, s.spool(), s.instance.data(), s.emptyArchiveCheck())
}

func (s *Sidecar) emptyArchiveCheck() string {
	return filepath.Join(s.instance.data(), emptyArchiveCheck)
}

// checkDestination refuses a server name that has WAL already.
func (s *Sidecar) checkDestination(ctx context.Context, archive *archiver.WALArchiver) error {
	options, err := archive.BarmanCloudCheckWalArchiveOptions(ctx, &s.to.Store.Spec.Configuration, s.to.ServerName)
	if err != nil {
		return err
	}
	return archive.CheckWalArchiveDestination(ctx, options)
}

// Redirect has the instance write elsewhere from now on, as when its ObjectStore is
// changed: the plugin reads that for each file.
func (s *Sidecar) Redirect(to Folder) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.to = &to
}

// now is the sidecar as it is for one file.
func (s *Sidecar) now() *Sidecar {
	s.lock.Lock()
	defer s.lock.Unlock()
	return &Sidecar{instance: s.instance, secrets: s.secrets, to: s.to}
}

// archive is WALServiceImplementation.Archive of the plugin.
func (s *Sidecar) archive(ctx context.Context, name string) error {
	s = s.now()
	configuration := &s.to.Store.Spec.Configuration
	archive, err := s.newArchiver(ctx)
	if err != nil {
		return err
	}
	if check, err := fileutils.FileExists(s.emptyArchiveCheck()); err != nil {
		return err
	} else if check {
		if err := s.checkDestination(ctx, archive); err != nil {
			return err
		}
	}
	if done, err := archive.DeleteFromSpool(filepath.Base(name)); err != nil || done {
		return err
	}
	options, err := archive.BarmanCloudWalArchiveOptions(ctx, configuration, s.to.ServerName)
	if err != nil {
		return err
	}
	list := wals.GatherReadyWALFiles(ctx, wals.GatherReadyWALFilesConfig{
		MaxResults: maxParallel(s.to) - 1,
		SkipWALs:   []string{filepath.Base(name)},
		PgDataPath: s.instance.data(),
	})
	files := append([]string{filepath.Join(s.instance.data(), name)}, list.ReadyItemsToSlice()...)
	for _, result := range archive.ArchiveList(ctx, files, options) {
		if result.Err != nil {
			return result.Err
		}
	}
	return nil
}

func maxParallel(folder *Folder) int {
	if wal := folder.Store.Spec.Configuration.Wal; wal != nil && wal.MaxParallel > 0 {
		return wal.MaxParallel
	}
	return 1
}

// restoreWAL answers a recovery and remembers the answer.
func (s *Sidecar) restoreWAL(ctx context.Context, name, to string) error {
	fetch := s.fetchWAL
	if s.fetch != nil {
		fetch = s.fetch
	}
	err := fetch(ctx, name, filepath.Join(s.instance.data(), to))
	s.lock.Lock()
	defer s.lock.Unlock()
	s.asked = append(s.asked, Asked{Name: name, Got: err == nil})
	return err
}

// fetchWAL is WALServiceImplementation.restoreFromBarmanObjectStore.
func (s *Sidecar) fetchWAL(ctx context.Context, name, to string) error {
	configuration := &s.from.Store.Spec.Configuration
	environment, err := s.environment(ctx, s.from)
	if err != nil {
		return err
	}
	options, err := command.CloudWalRestoreOptions(ctx, configuration, s.from.ServerName)
	if err != nil {
		return err
	}
	restore, err := restorer.New(ctx, environment, s.spool())
	if err != nil {
		return err
	}
	if found, err := restore.RestoreFromSpool(name, to); err != nil || found {
		return err
	}
	return restore.RestoreList(ctx, segmentsFrom(name, maxParallel(s.from)), to, options)[0].Err
}

// segmentsFrom is the WAL segment asked for and those after it, to prefetch. It
// is just the name for anything but a segment. Segments are taken for 16 MB, as
// in the plugin.
func segmentsFrom(name string, count int) []string {
	var timeline, log, segment uint32
	if n, err := fmt.Sscanf(name, "%08X%08X%08X", &timeline, &log, &segment); n != 3 || err != nil || len(name) != 24 {
		return []string{name}
	}
	names := make([]string, 0, count)
	for range count {
		names = append(names, fmt.Sprintf("%08X%08X%08X", timeline, log, segment))
		if segment++; segment == 0x100 {
			log, segment = log+1, 0
		}
	}
	return names
}

// Backup takes a base backup as BackupServiceImplementation.Backup does, and
// returns what barman lists of it.
func (s *Sidecar) Backup(ctx context.Context) (*catalog.BarmanBackup, error) {
	// barman listens on sockets below it, whose paths must be short.
	temporary, err := os.MkdirTemp(Directory(), "b")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	environment, err := s.environment(ctx, s.to)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("backup-%v", pgtime.ToCompactISO8601(time.Now()))
	take := backup.NewBackupCommand(&s.to.Store.Spec.Configuration)
	if err := take.Take(ctx, name, s.to.ServerName, environment, temporary); err != nil {
		return nil, fmt.Errorf("base backup of %s: %w", s.to.ServerName, err)
	}
	return take.GetExecutedBackupInfo(ctx, name, s.to.ServerName, environment)
}

// WritingTo is a sidecar of the same instance that takes base backups to
// another folder.
func (s *Sidecar) WritingTo(folder Folder) *Sidecar {
	return &Sidecar{instance: s.instance, secrets: s.secrets, to: &folder}
}

// EnforceRetention is CatalogMaintenanceRunnable.maintenance on the archive.
func (s *Sidecar) EnforceRetention(ctx context.Context) error {
	environment, err := s.environment(ctx, s.to)
	if err != nil {
		return err
	}
	return command.DeleteBackupsByPolicy(ctx, &s.to.Store.Spec.Configuration,
		s.to.ServerName, environment, s.to.Store.Spec.RetentionPolicy)
}

// restore is JobHookImpl.Restore: it checks where the new life will write to,
// finds the base backup and unpacks it.
func (s *Sidecar) restore(ctx context.Context, target *cnpgv1.RecoveryTarget) error {
	if s.to != nil {
		archive, err := s.newArchiver(ctx)
		if err != nil {
			return err
		}
		if err := s.checkDestination(ctx, archive); err != nil {
			return fmt.Errorf("the archive %s is not empty: %w", s.to.ServerName, err)
		}
	}
	configuration := &s.from.Store.Spec.Configuration
	environment, err := s.environment(ctx, s.from)
	if err != nil {
		return err
	}
	found, err := s.findBackup(ctx, environment, target)
	if err != nil {
		return err
	}
	if err := s.checkFirstWAL(ctx, environment, found); err != nil {
		return err
	}
	options, err := command.AppendCloudProviderOptionsFromConfiguration(ctx, nil, configuration)
	if err != nil {
		return err
	}
	options = append(options, "--endpoint-url", configuration.EndpointURL)
	options = configuration.Data.AppendRestoreAdditionalCommandArgs(options)
	options = append(options, configuration.DestinationPath, s.from.ServerName, found.ID, s.instance.data())
	unpack := exec.CommandContext(ctx, barmanutils.BarmanCloudRestore, options...)
	unpack.Env = environment
	if output, err := unpack.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", barmanutils.BarmanCloudRestore, err, output)
	}
	return nil
}

// findBackup chooses the base backup to begin with.
func (s *Sidecar) findBackup(ctx context.Context, environment []string, target *cnpgv1.RecoveryTarget,
) (*catalog.BarmanBackup, error) {
	list, err := command.GetBackupList(ctx, &s.from.Store.Spec.Configuration, s.from.ServerName, environment)
	if err != nil {
		return nil, fmt.Errorf("list the base backups of %s: %w", s.from.ServerName, err)
	}
	found := list.LatestBackupInfo()
	if target != nil {
		if found, err = list.FindBackupInfo(recoveryTarget{target}); err != nil {
			return nil, err
		}
	}
	if found == nil {
		return nil, errors.New("no target backup found")
	}
	return found, nil
}

// recoveryTarget gives the operator's type the methods that the library wants.
type recoveryTarget struct{ *cnpgv1.RecoveryTarget }

func (t recoveryTarget) GetBackupID() string   { return t.BackupID }
func (t recoveryTarget) GetTargetTime() string { return t.TargetTime }
func (t recoveryTarget) GetTargetLSN() string  { return t.TargetLSN }
func (t recoveryTarget) GetTargetTLI() string  { return t.TargetTLI }

// checkFirstWAL is ensureArchiveContainsLastCheckpointRedoWAL.
func (s *Sidecar) checkFirstWAL(ctx context.Context, environment []string, found *catalog.BarmanBackup) error {
	restore, err := restorer.New(ctx, environment, s.spool())
	if err != nil {
		return err
	}
	options, err := command.CloudWalRestoreOptions(ctx, &s.from.Store.Spec.Configuration, s.from.ServerName)
	if err != nil {
		return err
	}
	file := filepath.Join(s.instance.dir, "test.wal")
	defer func() { _ = os.Remove(file) }()
	if err := restore.Restore(found.BeginWal, file, options); err != nil {
		return fmt.Errorf("the first needed WAL %s: %w", found.BeginWal, err)
	}
	return nil
}

// Life is an instance with its sidecar.
type Life struct {
	*Instance
	*Sidecar
}

// Begin makes an empty database that writes to a folder.
func Begin(ctx context.Context, dir string, secrets client.Client, to Folder, initdb ...string) (*Life, error) {
	instance := instanceAt(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := instance.initialize(ctx, initdb...); err != nil {
		return nil, err
	}
	life := &Life{instance, &Sidecar{instance: instance, secrets: secrets, to: &to}}
	return life, life.start(ctx, nil)
}

// Restore makes a database from a folder. When to is given it writes there
// afterwards; without one it has no archiver, as in a drill.
func Restore(ctx context.Context, dir string, secrets client.Client, from Folder, to *Folder, target *cnpgv1.RecoveryTarget,
) (*Life, error) {
	instance := instanceAt(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	life := &Life{instance, &Sidecar{instance: instance, secrets: secrets, to: to, from: &from}}
	if err := life.restore(ctx, target); err != nil {
		return nil, err
	}
	return life, life.recover(ctx, target)
}

// RestoreByHand makes a database of one base backup of a server name as
// PostgreSQL's documentation has it, without barman, each of whose programs costs
// half a second to start. The base backup must not be compressed.
func RestoreByHand(ctx context.Context, dir string, store *s3server.Store, server string, target *cnpgv1.RecoveryTarget,
) (*Life, error) {
	instance := instanceAt(dir)
	if err := os.MkdirAll(instance.data(), 0o700); err != nil {
		return nil, err
	}
	archive, err := store.Read(ctx, server+"/base/"+target.BackupID+"/data.tar")
	if err != nil {
		return nil, err
	}
	unpack := exec.CommandContext(ctx, "tar", "--extract", "--directory", instance.data())
	unpack.Stdin = bytes.NewReader(archive)
	if output, err := unpack.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("unpack base backup %s: %w\n%s", target.BackupID, err, output)
	}
	life := &Life{instance, &Sidecar{instance: instance, fetch: func(ctx context.Context, name, to string) error {
		key := name
		if !strings.HasSuffix(name, ".history") {
			key = name[:16] + "/" + name
		}
		content, err := readWAL(ctx, store, server+"/wals/"+key)
		if err != nil {
			return err
		}
		return os.WriteFile(to, content, 0o600)
	}}}
	return life, life.recover(ctx, target)
}

// readWAL reads a file of WAL, whatever it is compressed with.
func readWAL(ctx context.Context, store *s3server.Store, key string) ([]byte, error) {
	var missing error
	for _, codec := range []struct {
		end   string
		plain func(io.Reader) (io.Reader, error)
	}{
		{"", func(r io.Reader) (io.Reader, error) { return r, nil }},
		{".gz", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
		{".zst", func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) }},
	} {
		content, err := store.Read(ctx, key+codec.end)
		if err != nil {
			missing = err
			continue
		}
		plain, err := codec.plain(bytes.NewReader(content))
		if err != nil {
			return nil, fmt.Errorf("read %s%s: %w", key, codec.end, err)
		}
		return io.ReadAll(plain)
	}
	return nil, missing
}

// recover starts a server on an unpacked base backup, which fetches WAL until its
// target, and waits until it takes connections for writing.
func (l *Life) recover(ctx context.Context, target *cnpgv1.RecoveryTarget) error {
	if err := os.WriteFile(filepath.Join(l.data(), "recovery.signal"), nil, 0o600); err != nil {
		return err
	}
	settings := recoverySettings(target)
	settings["restore_command"] = l.command(restoreCommand, "%f %p")
	if err := l.start(ctx, settings); err != nil {
		l.Stop()
		return err
	}
	return nil
}

// recoverySettings are what CloudNativePG writes for a recovery target, and
// "promote" of the plugin.
func recoverySettings(target *cnpgv1.RecoveryTarget) map[string]string {
	settings := map[string]string{"recovery_target_action": "promote"}
	if target == nil {
		return settings
	}
	for name, value := range map[string]string{
		"recovery_target_time":     pgtime.ConvertToPostgresFormat(target.TargetTime),
		"recovery_target_lsn":      target.TargetLSN,
		"recovery_target_xid":      target.TargetXID,
		"recovery_target_name":     target.TargetName,
		"recovery_target_timeline": target.TargetTLI,
	} {
		if value != "" {
			settings[name] = value
		}
	}
	if target.TargetImmediate != nil && *target.TargetImmediate {
		settings["recovery_target"] = "immediate"
	}
	return settings
}

// start starts sidecar and server, and asks for an empty archive.
func (l *Life) start(ctx context.Context, settings map[string]string) error {
	if l.to != nil {
		if err := os.WriteFile(l.Sidecar.emptyArchiveCheck(), nil, 0o600); err != nil {
			return err
		}
	}
	return l.proceed(ctx, settings)
}

// Continue stops the database and starts it again, to write to the same folder in
// another way.
func (l *Life) Continue(ctx context.Context, to Folder) error {
	l.Stop()
	l.to = &to
	return l.proceed(ctx, nil)
}

// proceed starts sidecar and server.
func (l *Life) proceed(ctx context.Context, settings map[string]string) error {
	if err := l.serve(ctx); err != nil {
		return err
	}
	all := l.baseSettings()
	if l.to != nil {
		all["archive_mode"] = "on"
		all["archive_command"] = l.command(archiveCommand, "%p")
	}
	maps.Copy(all, settings)
	return l.Instance.start(ctx, all)
}

// Stop ends server and sidecar; their files stay.
func (l *Life) Stop() {
	l.Instance.Stop()
	l.stopServing()
}
