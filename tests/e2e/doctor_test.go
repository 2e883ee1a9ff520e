//go:build e2e

package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// TestDoctor breaks an environment in the ways that people have had it broken,
// one after the other, and wants the doctor to name each and nothing else. Each
// part puts right what it has broken.
func TestDoctor(t *testing.T) {
	if kind, err := s3server.NAS(); err == nil && kind != s3server.MinIO {
		t.Skip("what goes wrong here, goes wrong at MinIO")
	}
	w := newWorld(t)
	b2 := newGate(t, w.host, w.b2)
	w.b2Config["endpoint"] = b2.Endpoint
	// One of each kind: its archive at B2, and at a NAS that has an authority of
	// its own and cannot encrypt.
	shop, till := w.newDatabase("shop", "e2e-apps", 1), w.newDatabase("till", "e2e-office", 1)
	till["archive"] = "minio"
	if w.node != nil {
		require.NoError(t, w.node.MakeVolume(t.Context(), smallVolume, 256))
		till.spec()["walStorage"] = entry{"size": "256Mi", "storageClass": smallVolume}
		maps.Copy(till.spec()["postgresql"].(entry)["parameters"].(entry), entry{
			"wal_keep_size": "0", "min_wal_size": "32MB", "max_wal_size": "64MB",
		})
	}
	w.add(shop, till)
	d := newDoctor(t, w)

	part := func(name string, run func(t *testing.T)) bool {
		t.Helper()
		return t.Run(name, func(t *testing.T) {
			run(t)
			d.requireHealthy(t)
		})
	}
	require.True(t, part("healthy", func(t *testing.T) {
		w.up(t)
		for _, db := range w.databases {
			w.restorable(t, db)
			w.copied(t, db, 100)
		}
	}), "what follows needs this")
	part("the key is revoked", func(t *testing.T) { d.testRevokedKey(t, shop) })
	part("a line break got into the key", func(t *testing.T) { d.testLineBreak(t, till) })
	part("the authority is another one", func(t *testing.T) { d.testUntrusted(t, till) })
	part("the store cannot encrypt", func(t *testing.T) { d.testNoKMS(t, till) })
	part("a Backup without the plugin", func(t *testing.T) { d.testWrongMethod(t, shop) })
	part("a schedule of five fields", func(t *testing.T) { d.testFiveFields(t, shop) })
	part("the schedule is suspended", func(t *testing.T) { d.testSuspended(t, till) })
	part("the mirror is suspended", func(t *testing.T) { d.testMirrorSuspended(t, shop) })
	part("the mirror may not write", func(t *testing.T) { d.testMirrorFails(t, shop) })
	part("Bitwarden is away", func(t *testing.T) { d.testBitwardenAway(t, shop) })
	part("checksums are refused", func(t *testing.T) { d.testChecksums(t, shop, b2) })
	part("the plugin is away", d.testNoPlugin)
	part("out of memory", func(t *testing.T) { d.testOutOfMemory(t, shop) })
	part("a base backup does not end", func(t *testing.T) { d.testStuck(t, shop, b2) })
	part("the upload of a base backup fails", func(t *testing.T) { d.testFailedUpload(t, shop, b2) })
	part("nothing to recover from", func(t *testing.T) { d.testNothingToRecover(t, shop) })
	part("a target that is too late", func(t *testing.T) { d.testTargetTooLate(t, shop) })
	part("a recovery without its first WAL", func(t *testing.T) { d.testRecoveryWithoutFirstWAL(t, shop) })
	if w.node != nil {
		part("a full volume", func(t *testing.T) { d.testFullVolume(t, till) })
	}
	part("a used server name", func(t *testing.T) { d.testUsedServerName(t, shop) })
	part("proof", d.testProve)
	part("no base backup", func(t *testing.T) { d.testNoBackup(t, till) })
	part("no first WAL", func(t *testing.T) { d.testNoFirstWAL(t, till) })
	part("a hole", func(t *testing.T) { d.testHole(t, till) })
}

// doctor is the program that a user runs, with the user's files.
type doctor struct {
	*world

	program, kubeconfig string
}

// buildDoctor builds the program.
func buildDoctor(ctx context.Context, program string) error {
	build := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	build.Dir = filepath.Join(project, "doctor")
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the doctor: %w\n%s", err, output)
	}
	return nil
}

func newDoctor(t *testing.T, w *world) *doctor {
	t.Helper()
	dir := t.TempDir()
	d := &doctor{world: w, program: filepath.Join(dir, "doctor"), kubeconfig: filepath.Join(dir, "kubeconfig")}
	require.NoError(t, buildDoctor(t.Context(), d.program))
	config, err := kube.Kubeconfig("e2e", w.config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(d.kubeconfig, config, 0o600))
	return d
}

// run runs it and returns what it prints, and its exit code.
func (d *doctor) run(ctx context.Context, arguments ...string) ([]byte, int, error) {
	arguments = append([]string{"-project", d.box.ProjectFolder(), "-stack", "e2e"}, arguments...)
	cmd := exec.CommandContext(ctx, d.program, arguments...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+d.kubeconfig)
	printed, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return printed, exit.ExitCode(), nil
	}
	return printed, 0, err
}

// said is what it says: the exit code, and of each copy the verdict and the codes.
type said map[string]string

// look runs it.
func (d *doctor) look(ctx context.Context) (said, error) {
	printed, code, err := d.run(ctx, "-o", "json")
	if err != nil {
		return nil, err
	}
	var report struct {
		Databases []struct {
			Name   string
			Unread []string
			Copies []struct {
				Role, Verdict string
				Findings      []struct{ Code string }
			}
		}
	}
	if err := json.Unmarshal(printed, &report); err != nil {
		return nil, fmt.Errorf("%w: %s", err, printed)
	}
	s := said{"exit": fmt.Sprint(code)}
	for _, database := range report.Databases {
		for _, one := range database.Copies {
			words := []string{one.Verdict}
			for _, finding := range one.Findings {
				words = append(words, finding.Code)
			}
			s[database.Name+" "+one.Role] = strings.Join(words, " ")
		}
		if len(database.Unread) > 0 {
			s[database.Name+" unread"] = strings.Join(database.Unread, ", ")
		}
	}
	return s, nil
}

// healthy is what it says when there is nothing to say.
func (d *doctor) healthy() said {
	s := said{"exit": "0"}
	for _, db := range d.databases {
		s[db.name()+" archive"], s[db.name()+" mirror"] = "RESTORES", "RESTORES"
	}
	return s
}

// requireSaid wants the doctor to come to say this, and what it says of healthy
// copies beside it, and to stay with it.
func (d *doctor) requireSaid(t *testing.T, differs said) {
	t.Helper()
	want := d.healthy()
	maps.Copy(want, differs)
	agrees := func(ctx context.Context) error {
		got, err := d.look(ctx)
		if err == nil && !reflect.DeepEqual(want, got) {
			err = fmt.Errorf("it says: %s", got.beside(want))
		}
		return err
	}
	eventually(t, 4*time.Minute, "the doctor says: "+want.beside(d.healthy()), agrees)
	// What has just happened may have more to show.
	time.Sleep(5 * time.Second)
	err := agrees(t.Context())
	text, _, _ := d.run(t.Context())
	t.Logf("%s", text)
	require.NoError(t, err, "a while later")
}

func (d *doctor) requireHealthy(t *testing.T) {
	t.Helper()
	d.requireSaid(t, nil)
}

// beside is what is not said by the other.
func (s said) beside(other said) string {
	var differs []string
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if s[key] != other[key] {
			differs = append(differs, key+" "+s[key])
		}
	}
	return strings.Join(differs, ", ")
}
