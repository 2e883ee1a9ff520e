//go:build restore

package restore_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/lifecycle"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/restore/lab"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// admitted are a namespace's two users of the NAS.
type admitted struct{ full, mirror *s3server.Store }

// admitNamespace gives the namespace the users with the policies that the
// component makes, in place of one key for all.
func (w *world) admitNamespace(t *testing.T) admitted {
	t.Helper()
	w.minioUser = "homelab-<namespace>"
	rendered := w.render(t, 1)
	require.Len(t, rendered.Policies, 2)
	user := func(name string) *s3server.Store {
		policy := rendered.Policies[name]
		user, err := w.nas.User(t.Context(), name, policy)
		require.NoError(t, err)
		kept, err := w.nas.Policy(t.Context(), name)
		require.NoError(t, err)
		assert.Equal(t, statements(t, policy), statements(t, kept), "else the plugin finds a change every time")
		return user
	}
	users := admitted{full: user("homelab-auth"), mirror: user("homelab-auth-mirror")}
	w.secrets = w.with(map[string]*s3server.Store{
		"b2-cnpg-credentials": w.b2, "minio-cnpg-credentials": users.full, "minio-cnpg-mirror-credentials": users.mirror,
	})
	return users
}

// statements are those of a policy. The plugin takes the order of actions for no
// change, and the server keeps none.
func statements(t *testing.T, policy string) []map[string]any {
	t.Helper()
	var parsed struct{ Statement []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(policy), &parsed))
	for _, statement := range parsed.Statement {
		slices.SortFunc(statement["Action"].([]any), func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	}
	return parsed.Statement
}

// TestANamespacesKeysReachItsOwnBackups does with them all that a database, its
// mirror and a recovery do, and tries what they must not.
func TestANamespacesKeysReachItsOwnBackups(t *testing.T) {
	needsMinIO(t, "users for each namespace")
	for name, test := range map[string]struct {
		archive cnpg.Location
		nas     s3server.Options
	}{
		"the NAS is the mirror":                    {cnpg.B2, s3server.Options{Versioned: true}},
		"the NAS is the mirror, with object lock":  {cnpg.B2, s3server.Options{Locked: true}},
		"the NAS is the archive, with object lock": {cnpg.MinIO, s3server.Options{Locked: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorldWith(t, test.archive, test.nas)
			users := w.admitNamespace(t)
			kept, last := w.liveWithRetention(t)
			w.requireCleaned(t)

			begun := time.Now().Truncate(time.Second).Add(time.Second)
			time.Sleep(time.Until(begun)) // versions have their times in seconds
			w.requireConfined(t, users)

			// Who has the namespace's keys empties what they reach, and spoils the rest.
			for _, object := range must(users.full.List(t.Context(), namespace+"/")) {
				require.NoError(t, users.mirror.Write(t.Context(), object.Key, []byte("pay up")))
			}
			removed, err := users.full.Remove(t.Context(), namespace+"/")
			require.NoError(t, err)
			require.Positive(t, removed)
			_, err = w.restore(t, w.folder(t, w.nas, 1), nil)
			require.Error(t, err, "nothing is there any more")

			require.NoError(t, w.nas.Restore(t.Context(), namespace+"/", begun))
			backups, err := catalogue.CheckData(t.Context(), w.nas, prefix(1), nil)
			require.NoError(t, err)
			assert.Equal(t, kept, ids(backups))
			w.requireRestores(t, w.folder(t, w.nas, 1), nil, last)
		})
	}
}

// TestANamespacesKeysReachNothingElse needs no database.
func TestANamespacesKeysReachNothingElse(t *testing.T) {
	needsMinIO(t, "users for each namespace")
	t.Parallel()
	w := newWorldWith(t, cnpg.B2, s3server.Options{Versioned: true})
	users := w.admitNamespace(t)
	require.NoError(t, users.mirror.Write(t.Context(), prefix(1)+"/wals/one", []byte("its own")))
	require.NoError(t, users.full.Write(t.Context(), prefix(1)+"/wals/two", []byte("its own")))
	require.NoError(t, users.full.Delete(t.Context(), prefix(1)+"/wals/two"))
	w.requireConfined(t, users)
}

// liveWithRetention archives, mirrors, prunes and restores with what the world's
// Secrets have. It returns the base backups that are left on the NAS, and the
// last moment.
func (w *world) liveWithRetention(t *testing.T) (kept []string, last moment) {
	t.Helper()
	w.args.B2.Retention, w.args.MinIO.Retention = "60d", "60d"
	life := w.begin(t)
	var backups []string
	for _, age := range []int{50, 40, 0} {
		id := backUp(t, life)
		backups = append(backups, id)
		last = insertAndArchive(t, life, 500)
		require.NoError(t, catalogue.MakeOlder(t.Context(), w.archive, prefix(1), id, age))
	}
	w.runMirror(t, 1)
	copied, err := catalogue.CheckData(t.Context(), w.mirror, prefix(1), w.archive)
	require.NoError(t, err)
	require.Equal(t, backups, ids(copied))

	w.args.MinIO.Retention = "30d"
	if w.archive == w.nas {
		require.NoError(t, life.WritingTo(w.written(t, 1)).EnforceRetention(t.Context()))
	} else {
		w.runMirror(t, 1)
	}
	left, err := catalogue.CheckData(t.Context(), w.nas, prefix(1), nil)
	require.NoError(t, err)
	require.Equal(t, backups[1:], ids(left), "what is obsolete is pruned, and nothing else")
	life.Stop()
	w.requireRestores(t, w.folder(t, w.nas, 1), nil, last)
	return backups[1:], last
}

// requireCleaned wants that what the job lists as dead is deleted by the key that
// may, when the NAS is the mirror.
func (w *world) requireCleaned(t *testing.T) {
	t.Helper()
	if w.mirror != w.nas {
		return
	}
	const dead = "20200101T000000/data.tar"
	require.NoError(t, w.nas.Write(t.Context(), prefix(1)+"/base/"+dead, []byte("left over")))
	job := w.render(t, 1).Mirror
	copying := &job.Spec.JobTemplate.Spec.Template.Spec.InitContainers[2]
	copying.Command = []string{"sh", "-c", `echo ` + dead + ` >"$TMPDIR/$DEAD_LIST"`}
	run, err := lab.RunJob(t.Context(), job, w.secrets)
	require.NoError(t, err)
	require.Empty(t, run.Failed, run.Output)
	assert.Empty(t, must(w.nas.List(t.Context(), prefix(1)+"/base/"+dead)))
}

// requireConfined wants that the users neither reach another namespace nor delete
// a version, and that what copies deletes nothing.
func (w *world) requireConfined(t *testing.T, users admitted) {
	t.Helper()
	const denied = "Access Denied"
	// One has a name that begins with the namespace's.
	others := []string{"media/jellyfin-postgresql/backup.info", "authelia/authelia-postgresql/backup.info"}
	for _, other := range others {
		require.NoError(t, w.nas.Write(t.Context(), other, []byte("another's")))
	}
	own := must(w.nas.List(t.Context(), namespace+"/"))
	require.NotEmpty(t, own)
	for _, user := range []*s3server.Store{users.full, users.mirror} {
		for _, prefix := range []string{"", "a", "auth", "authelia/", "media/"} {
			_, err := user.List(t.Context(), prefix)
			require.ErrorContains(t, err, denied, "%s lists %q", user.KeyID, prefix)
		}
		for _, other := range others {
			_, err := user.Read(t.Context(), other)
			require.ErrorContains(t, err, denied, "%s reads %s", user.KeyID, other)
			require.ErrorContains(t, user.Write(t.Context(), other, []byte("pay up")), denied, "%s writes %s", user.KeyID, other)
			require.ErrorContains(t, user.Delete(t.Context(), other), denied, "%s deletes %s", user.KeyID, other)
		}
		one, many := user.RemoveVersions(t.Context(), namespace+"/")
		require.ErrorContains(t, one, denied, "%s deletes a version", user.KeyID)
		require.ErrorContains(t, many, denied, "%s deletes versions", user.KeyID)
		_, err := user.SetLifecycle(t.Context(), lifecycle.Rule{
			ID: "all", Status: "Enabled", Expiration: lifecycle.Expiration{Days: 1},
		})
		require.ErrorContains(t, err, denied, "%s has everything expire", user.KeyID)
		require.ErrorContains(t, user.SuspendVersions(t.Context()), denied, "%s switches versions off", user.KeyID)
	}
	require.ErrorContains(t, users.mirror.Delete(t.Context(), own[0].Key), denied)
	assert.Equal(t, own, must(w.nas.List(t.Context(), namespace+"/")))
	for _, other := range others {
		content, err := w.nas.Read(t.Context(), other)
		require.NoError(t, err)
		assert.Equal(t, "another's", string(content))
	}
}

// TestTheLifecycleIsMinIOs has the server take the rules as the MinIO plugin
// writes them: parseILMExpiration and minioCreateILMPolicy in
// https://github.com/aminueza/terraform-provider-minio/blob/v1.20.1/minio/resource_minio_ilm_policy.go
func TestTheLifecycleIsMinIOs(t *testing.T) {
	needsMinIO(t, "a lifecycle")
	t.Parallel()
	w := newWorldWith(t, cnpg.B2, s3server.Options{Versioned: true})
	w.minioUser = "homelab-<namespace>"
	rendered := w.render(t, 1).Lifecycle
	require.Len(t, rendered, 1)
	require.Equal(t, "DeleteMarker", rendered[0].Expiration)
	rule := lifecycle.Rule{
		ID: rendered[0].ID, Status: "Enabled", Expiration: lifecycle.Expiration{DeleteMarker: true},
		NoncurrentVersionExpiration: lifecycle.NoncurrentVersionExpiration{
			NoncurrentDays: lifecycle.ExpirationDays(rendered[0].NoncurrentVersionExpirationDays),
		},
	}
	kept, err := w.nas.SetLifecycle(t.Context(), rule)
	require.NoError(t, err)
	require.Len(t, kept, 1)
	assert.Equal(t, rule.ID, kept[0].ID)
	assert.Equal(t, rule.Status, kept[0].Status)
	assert.EqualValues(t, 14, kept[0].NoncurrentVersionExpiration.NoncurrentDays)
	assert.True(t, bool(kept[0].Expiration.DeleteMarker))
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
