//go:build e2e

package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

// TestTheNASMoves takes two databases, one that has its mirror on the NAS and one
// that has its archive there, from one server to another of another kind, step by
// step as docs/move-nas.md says, while the second one is written to.
func TestTheNASMoves(t *testing.T) {
	w := newWorld(t)
	w.settings = entry{"cnpg-backup:drill": drills()}
	notes, photos := w.newDatabase("notes", "e2e-apps", 1), w.newDatabase("photos", "e2e-apps", 1)
	photos["archive"] = "minio"
	w.add(notes, photos)
	w.up(t)
	each := func(do func(db entry)) {
		for _, db := range w.databases {
			do(db)
		}
	}
	each(func(db entry) {
		w.restorable(t, db)
		w.copied(t, db, 500)
	})
	d := newDoctor(t, w)
	restarts := map[string]map[string]int32{}
	each(func(db entry) { restarts[db.name()] = w.restarts(t, db) })
	load := w.startWriter(t, photos)

	t.Log("step 1: a bucket and Secrets with its key and its authority")
	old, next := w.nas, newStore(t, w.host, w.nas.Bucket, s3server.Options{TLS: true, Kind: anotherKind(t)})
	w.putSecret(t, "e2e-apps", "new-nas-credentials", map[string][]byte{
		"AWS_ACCESS_KEY_ID": []byte(next.KeyID), "AWS_SECRET_ACCESS_KEY": []byte(next.Key),
	})
	// Under another name it would restart the instances.
	w.putSecret(t, "e2e-apps", "nas-ca", map[string][]byte{"ca.crt": slices.Concat(old.Authority, next.Authority)})
	t.Log("step 2: copy")
	copyNAS(t, old, next)
	t.Log("step 3: it restores before anything depends on it")
	d.requireRestoresAt(t, next)
	t.Log("step 4: run the mirrors, and copy once more")
	each(func(db entry) { w.mirror(t, db) })
	copyNAS(t, old, next)

	t.Log("step 5: deploy")
	moved := entry{
		"bucket": next.Bucket, "endpoint": next.Endpoint, "secret": "new-nas-credentials",
		"endpointCA": entry{"name": "nas-ca", "key": "ca.crt"},
	}
	w.settings["cnpg-backup:minio"] = moved
	require.NoError(t, w.box.Configure(t.Context(), w.configuration()))
	preview, err := w.box.Preview(t.Context())
	require.Error(t, err, "an archive would move without what is in it")
	require.Contains(t, preview.Output, "minio.formerEndpoint: "+old.Endpoint)
	moved["formerEndpoint"] = old.Endpoint
	w.up(t)
	w.nas = next
	t.Log("step 6: copy a third time")
	time.Sleep(30 * time.Second)
	require.Contains(t, copyNAS(t, old, next), " 0 of them missing")
	t.Log("step 7: run the mirrors")
	each(func(db entry) { w.copied(t, db, 500) })
	load.end()
	t.Log("step 8: the old one is switched off")
	old.Stop()
	delete(moved, "formerEndpoint")
	w.up(t)
	w.requireNoChanges(t)
	d.requireHealthy(t)

	each(func(db entry) {
		w.requireDrillsPass(t, db, w.copied(t, db, 500))
		w.archiving(t, db.namespace(), db.cluster())
		assert.Equal(t, restarts[db.name()], w.restarts(t, db), "nothing restarts")
	})
	assert.Zero(t, load.refused, "the database stays up")
	w.requireWritten(t, photos, load)
}

// anotherKind is a server that the NAS is not.
func anotherKind(t *testing.T) s3server.Kind {
	t.Helper()
	kind, err := s3server.NAS()
	require.NoError(t, err)
	if kind == s3server.MinIO {
		return s3server.VersityGW
	}
	return s3server.MinIO
}

// copyNAS runs the script of docs/move-nas.md, and returns what it says.
func copyNAS(t *testing.T, old, next *s3server.Store) string {
	t.Helper()
	rclone, err := tools.Rclone().Build(t.Context(), os.Stdout)
	require.NoError(t, err)
	programs, authorities := t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(rclone, filepath.Join(programs, "rclone")))
	for name, store := range map[string]*s3server.Store{"old.crt": old, "new.crt": next} {
		require.NoError(t, os.WriteFile(filepath.Join(authorities, name), store.Authority, 0o600))
	}
	script := exec.CommandContext(t.Context(), "sh", filepath.Join(project, "docs", "copy-nas.sh"), old.Endpoint, next.Endpoint, old.Bucket)
	script.Env = append(os.Environ(),
		"PATH="+programs+":"+os.Getenv("PATH"), "SSL_CERT_DIR="+authorities,
		"OLD_KEY_ID="+old.KeyID, "OLD_KEY="+old.Key, "NEW_KEY_ID="+next.KeyID, "NEW_KEY="+next.Key)
	said, err := script.CombinedOutput()
	t.Logf("%s", said)
	// What is archived meanwhile is for the next time.
	require.Contains(t, string(said), "objects at the old server", "%v", err)
	return string(said)
}

// requireRestoresAt asks about a server that the stack does not use yet, by a copy
// of the stack's file.
func (d *doctor) requireRestoresAt(t *testing.T, next *s3server.Store) {
	t.Helper()
	stacks := filepath.Join(d.box.ProjectFolder(), "stacks")
	content, err := os.ReadFile(filepath.Join(stacks, "Pulumi.e2e.yaml"))
	require.NoError(t, err)
	require.Contains(t, string(content), d.nas.Endpoint)
	changed := strings.ReplaceAll(string(content), d.nas.Endpoint, next.Endpoint)
	file := filepath.Join(stacks, "Pulumi.e2e-new.yaml")
	require.NoError(t, os.WriteFile(file, []byte(changed), 0o600))
	defer func() { require.NoError(t, os.Remove(file)) }()
	authority := filepath.Join(t.TempDir(), "new.crt")
	require.NoError(t, os.WriteFile(authority, next.Authority, 0o600))
	b2 := d.held(t, b2Item)
	t.Setenv("B2_APPLICATION_KEY_ID", b2["AWS_ACCESS_KEY_ID"])
	t.Setenv("B2_APPLICATION_KEY", b2["AWS_SECRET_ACCESS_KEY"])
	t.Setenv("MINIO_USER", next.KeyID)
	t.Setenv("MINIO_PASSWORD", next.Key)
	printed, _, err := d.run(t.Context(), "-stack", "e2e-new", "-from-store", "-ca", authority, "-o", "json")
	require.NoError(t, err)
	var report struct {
		Databases []struct {
			Name   string
			Copies []struct{ Role, Verdict, Reason string }
		}
	}
	require.NoError(t, json.Unmarshal(printed, &report), "%s", printed)
	require.Len(t, report.Databases, len(d.databases), "%s", printed)
	for _, database := range report.Databases {
		require.Len(t, database.Copies, 2)
		for _, one := range database.Copies {
			assert.Equal(t, "RESTORES", one.Verdict, "%s %s: %s", database.Name, one.Role, one.Reason)
		}
	}
}
