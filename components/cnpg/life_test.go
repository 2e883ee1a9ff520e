package cnpg

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// livesFrom is the life of the Cluster that the arguments make.
func livesFrom(t *testing.T, args *DatabaseArgs) life {
	t.Helper()
	object, err := args.plan("authentik", *storageArgs()).clusterObject()
	require.NoError(t, err)
	inputs := map[string]any{
		"metadata": map[string]any{"name": object.name, "annotations": object.annotations},
		"spec":     object.fields["spec"],
	}
	lives, err := lifeOf(inputs)
	require.NoError(t, err)
	return lives
}

// restoredArgs are those of a second life, restored from the first.
func restoredArgs() *DatabaseArgs {
	args := databaseArgs()
	args.Generation = 2
	args.Recovery = &Recovery{Source: MinIO}
	return args
}

func TestAClusterThatLivesKeepsItsLife(t *testing.T) {
	t.Parallel()
	first, second := databaseArgs, restoredArgs
	beside := func() *DatabaseArgs {
		args := databaseArgs()
		args.Cluster = "authentik-restored"
		args.Recovery = &Recovery{Source: MinIO, Cluster: "authentik-postgresql"}
		return args
	}
	pinned := func() *DatabaseArgs {
		args := restoredArgs()
		args.Generation, args.Recovery.Generation = 3, 1
		return args
	}
	copied := func() *DatabaseArgs {
		args := databaseArgs()
		args.Spec.Bootstrap = &cnpgv1.BootstrapConfiguration{PgBaseBackup: &cnpgv1.BootstrapPgBaseBackup{Source: "old"}}
		return args
	}
	ofCatalog := func() *DatabaseArgs {
		args := databaseArgs()
		args.Spec.ImageName = ""
		args.Spec.ImageCatalogRef = &cnpgv1.ImageCatalogRef{
			TypedLocalObjectReference: corev1.TypedLocalObjectReference{Kind: "ClusterImageCatalog", Name: "postgresql"}, Major: 17,
		}
		return args
	}
	for name, test := range map[string]struct {
		lives  func() *DatabaseArgs
		change func(*DatabaseArgs)
		// want are parts of the refusal; none means that the change is accepted.
		want []string
	}{
		"nothing":                   {first, func(*DatabaseArgs) {}, nil},
		"what has nothing to do":    {second, func(a *DatabaseArgs) { a.Spec.Instances = 3; a.Retention = "7d" }, nil},
		"the details of initdb":     {first, func(a *DatabaseArgs) { a.Spec.Bootstrap = initDBNamed("shop") }, nil},
		"the owner after a restore": {second, func(a *DatabaseArgs) { a.Spec.Bootstrap = initDBNamed("shop") }, nil},
		"a recovery is added": {
			first, func(a *DatabaseArgs) { a.Generation = 2; a.Recovery = &Recovery{Source: B2} },
			[]string{
				`database "authentik": refused, because Cluster auth/authentik-postgresql exists.`,
				`It began as an empty database (initdb); server name "authentik-postgresql".`,
				"Asked for: to begin by a recovery from b2:auth/authentik-postgresql/authentik-postgresql.",
				"only when it creates a Cluster", "pulumi refresh --stack homelab", "recovery.cluster: authentik-postgresql",
			},
		},
		"the recovery is removed": {
			second, func(a *DatabaseArgs) { a.Recovery = nil },
			[]string{"It began by a recovery from minio:", "Asked for: to begin as an empty database"},
		},
		"recovery and generation are removed": {
			second, func(a *DatabaseArgs) { a.Recovery, a.Generation = nil, 0 },
			[]string{"to begin as an empty database", "go back from generation 2 to 1", "Keep generation: 2"},
		},
		"another source": {
			second, func(a *DatabaseArgs) { a.Recovery.Source = B2 },
			[]string{"from b2:auth/authentik-postgresql/authentik-postgresql"},
		},
		"a target": {
			second, func(a *DatabaseArgs) {
				a.Recovery.Target = &cnpgv1.RecoveryTarget{TargetTime: "2026-01-15T12:00:00Z"}
			},
			[]string{`target {"targetTime":"2026-01-15T12:00:00Z"}`},
		},
		"a later generation with the recovery in place": {
			second, func(a *DatabaseArgs) { a.Generation = 3 },
			[]string{"from minio:auth/authentik-postgresql/authentik-postgresql-2", "set recovery.generation: 1"},
		},
		"a later generation that says what it began with": {
			second, func(a *DatabaseArgs) { a.Generation, a.Recovery.Generation = 3, 1 }, nil,
		},
		"and says it no longer":              {pinned, func(a *DatabaseArgs) { a.Recovery.Generation = 0 }, nil},
		"another archive after a restore":    {second, func(a *DatabaseArgs) { a.Generation, a.Archive = 3, MinIO }, nil},
		"another archive and another source": {second, func(a *DatabaseArgs) { a.Generation, a.Archive, a.Recovery.Source = 3, MinIO, B2 }, []string{"from b2:"}},
		"another archive and a target": {
			second, func(a *DatabaseArgs) {
				a.Generation, a.Archive = 3, MinIO
				a.Recovery.Target = &cnpgv1.RecoveryTarget{TargetTime: "2026-01-15T12:00:00Z"}
			}, []string{"target"},
		},
		"another archive without a generation": {
			first, func(a *DatabaseArgs) { a.Archive = MinIO },
			[]string{"from ObjectStore authentik-b2-store to authentik-minio-store within one life", "generation: 2"},
		},
		"another server name":               {first, func(a *DatabaseArgs) { a.ServerName = "other" }, []string{"Only generation changes it"}},
		"another archive with a generation": {first, func(a *DatabaseArgs) { a.Archive, a.Generation = MinIO, 2 }, nil},
		"a later generation":                {first, func(a *DatabaseArgs) { a.Generation = 2 }, nil},
		"a generation is left out":          {first, func(a *DatabaseArgs) { a.Generation = 7 }, nil},
		"another major release": {
			first, func(a *DatabaseArgs) { a.Spec.ImageName = "ghcr.io/cloudnative-pg/postgresql:18.1" },
			[]string{"PostgreSQL would go from 17 to 18 within one life", "generation: 2", "docs/operate.md"},
		},
		"another major release of a catalog": {
			ofCatalog, func(a *DatabaseArgs) { a.Spec.ImageCatalogRef.Major = 18 }, []string{"from 17 to 18", "generation: 2"},
		},
		"the same one of a catalog": {
			first, func(a *DatabaseArgs) { a.Spec.ImageName, a.Spec.ImageCatalogRef = "", ofCatalog().Spec.ImageCatalogRef }, nil,
		},
		"another major release with a generation": {
			first, func(a *DatabaseArgs) {
				a.Spec.ImageName, a.Generation = "ghcr.io/cloudnative-pg/postgresql:18.1", 2
			}, nil,
		},
		"another minor release":            {first, func(a *DatabaseArgs) { a.Spec.ImageName = "ghcr.io/cloudnative-pg/postgresql:17.9" }, nil},
		"back after an upgrade has failed": {first, func(a *DatabaseArgs) { a.Spec.ImageName = "ghcr.io/cloudnative-pg/postgresql:16.11" }, nil},
		"an earlier generation": {
			second, func(a *DatabaseArgs) { a.Recovery.Cluster = "other"; a.Generation = 1 },
			[]string{"go back from generation 2 to 1"},
		},
		"a copy becomes a restore": {
			copied, func(a *DatabaseArgs) {
				a.Spec.Bootstrap = nil
				a.Recovery = &Recovery{Source: B2, Cluster: "other"}
			},
			[]string{"It began as a copy of old (pg_basebackup)"},
		},
		"a copy of another": {
			copied, func(a *DatabaseArgs) { a.Spec.Bootstrap.PgBaseBackup.Source = "older" },
			[]string{"as a copy of older"},
		},
		"beside: another source": {
			beside, func(a *DatabaseArgs) { a.Recovery.Source = B2 }, []string{"from b2:auth/authentik-postgresql"},
		},
		"beside: another path": {
			beside, func(a *DatabaseArgs) { a.Recovery.Path = "elsewhere" }, []string{"from minio:elsewhere/"},
		},
		"beside: another namespace": {
			beside, func(a *DatabaseArgs) { a.Recovery.Namespace = "old" }, []string{"from minio:old/"},
		},
		"beside: another cluster": {
			beside, func(a *DatabaseArgs) { a.Recovery.Cluster = "other" }, []string{"from minio:auth/other/other"},
		},
		"beside: a later generation of its own": {beside, func(a *DatabaseArgs) { a.Generation = 2 }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lives := livesFrom(t, test.lives())
			args := test.lives()
			test.change(args)
			require.Empty(t, args.Validate(nil, "authentik", storageArgs()), "the change is valid in itself")

			err := guard{names: args.names("authentik"), recovery: args.Recovery, stack: "homelab"}.
				judge(lives, livesFrom(t, args))

			if len(test.want) == 0 {
				require.NoError(t, err)
				return
			}
			for _, part := range test.want {
				require.ErrorContains(t, err, part)
			}
			for line := range strings.SplitSeq(err.Error(), "\n") {
				assert.NotContains(t, line, "cnpgv1")
			}
		})
	}
}

func initDBNamed(database string) *cnpgv1.BootstrapConfiguration {
	return &cnpgv1.BootstrapConfiguration{InitDB: &cnpgv1.BootstrapInitDB{Database: database, Owner: database}}
}

// storeAt is an ObjectStore, which is an archive's if it has a server name.
func storeAt(path, server string) map[string]any {
	annotations := map[string]any{}
	if server != "" {
		annotations[archivedBy] = server
	}
	return map[string]any{
		"metadata": map[string]any{"name": "authentik-b2-store", "annotations": annotations},
		"spec":     map[string]any{"configuration": map[string]any{"destinationPath": path}},
	}
}

func TestAnArchiveStaysWhereItIs(t *testing.T) {
	t.Parallel()
	const here, elsewhere = "s3://b2/auth/authentik-postgresql", "s3://other/auth/authentik-postgresql"
	for name, test := range map[string]struct {
		there      map[string]any
		wanted     string
		generation int
		refused    bool
	}{
		"the same folder":                  {storeAt(here, "authentik-postgresql"), here, 1, false},
		"spelt with a slash":               {storeAt(here+"/", "authentik-postgresql"), here, 1, false},
		"another folder":                   {storeAt(here, "authentik-postgresql"), elsewhere, 1, true},
		"another folder, adopted":          {storeAt(here, ""), elsewhere, 1, true},
		"another folder, in a second life": {storeAt(here, "authentik-postgresql-2"), elsewhere, 2, true},
		"the bucket's root":                {storeAt("s3://b2/", ""), "s3://b2", 1, false},
		"with a new generation":            {storeAt(here, "authentik-postgresql"), elsewhere, 2, false},
		"nothing is known":                 {map[string]any{}, elsewhere, 1, false},
		"an ObjectStore elsewhere":         {storeAt("", ""), elsewhere, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := databaseArgs()
			args.Generation = test.generation
			err := storeGuard{names: args.names("authentik")}.
				judge(test.there, storeAt(test.wanted, args.names("authentik").serverName()))
			if !test.refused {
				require.NoError(t, err)
				return
			}
			for _, part := range []string{
				`database "authentik": refused`, "ObjectStore auth/authentik-b2-store is at " + here, elsewhere,
				fmt.Sprintf("generation: %d.", test.generation+1),
			} {
				require.ErrorContains(t, err, part)
			}
		})
	}
}

// TestAnArchiveStaysUnderAnotherServerName is about what the Cluster is refused for,
// too: without a preview that is after the ObjectStore.
func TestAnArchiveStaysUnderAnotherServerName(t *testing.T) {
	t.Parallel()
	const here, elsewhere = "s3://b2/auth/authentik-postgresql", "s3://b2/auth/login"
	for name, test := range map[string]struct {
		server     string
		generation int
		wanted     string
		protected  bool
		refused    bool
	}{
		"another name":                       {"login", 1, elsewhere, true, true},
		"another name, in the same folder":   {"login", 1, here, true, false},
		"another name, and it may go":        {"login", 1, elsewhere, false, false},
		"a later life":                       {"authentik-postgresql", 2, elsewhere, true, false},
		"back from a life that did not come": {"authentik-postgresql-2", 1, elsewhere, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := databaseArgs()
			args.Generation = test.generation
			g := storeGuard{names: args.names("authentik"), protected: test.protected}
			err := g.judge(storeAt(here, test.server), storeAt(test.wanted, g.serverName()))
			if !test.refused {
				require.NoError(t, err)
				return
			}
			for _, part := range []string{`database "authentik": refused`, here, `"login"`, elsewhere, `"authentik-postgresql"`, "protect: false"} {
				require.ErrorContains(t, err, part)
			}
		})
	}
}

func TestAnArchiveStaysAtItsServer(t *testing.T) {
	t.Parallel()
	const here, elsewhere = "https://nas.example.org:9000", "https://new.example.org:7070"
	store := func(endpoint, server string) map[string]any {
		return map[string]any{
			"metadata": map[string]any{"name": "authentik-minio-store", "annotations": map[string]any{archivedBy: server}},
			"spec": map[string]any{"configuration": map[string]any{
				"destinationPath": "s3://backups/auth/authentik-postgresql", "endpointURL": endpoint,
			}},
		}
	}
	for name, test := range map[string]struct {
		there    map[string]any
		wanted   string
		moved    string
		anywhere bool
		refused  bool
	}{
		"the same server":         {store(here, "authentik-postgresql"), here, "", false, false},
		"with a slash":            {store(here, "authentik-postgresql"), here + "/", "", false, false},
		"another server":          {store(here, "authentik-postgresql"), elsewhere, "", false, true},
		"copied from there":       {store(here, "authentik-postgresql"), elsewhere, here, false, false},
		"copied from a third":     {store(here, "authentik-postgresql"), elsewhere, "https://third.example.org", false, true},
		"said before it is moved": {store(here, "authentik-postgresql"), elsewhere, elsewhere, false, true},
		"with a later generation": {store(here, "authentik-postgresql-0"), elsewhere, "", false, false},
		"at B2":                   {store(here, "authentik-postgresql"), elsewhere, "", true, false},
		"nothing is known":        {store("", "authentik-postgresql"), elsewhere, "", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := storeGuard{names: databaseArgs().names("authentik"), moved: test.moved, anywhere: test.anywhere}.
				judge(test.there, store(test.wanted, "authentik-postgresql"))
			if !test.refused {
				require.NoError(t, err)
				return
			}
			for _, part := range []string{`database "authentik": refused`, here, elsewhere, "minio.formerEndpoint: " + here, "docs/move-nas.md"} {
				require.ErrorContains(t, err, part)
			}
		})
	}
}

// TestAnArchiveStaysWhenItIsToBeTheMirror is about the other store, too: what a
// database does not archive to may move.
func TestAnArchiveStaysWhenItIsToBeTheMirror(t *testing.T) {
	t.Parallel()
	const here, elsewhere = "s3://b2/auth/authentik-postgresql", "s3://b2/auth/login"
	for name, test := range map[string]struct {
		server     string
		generation int
		wanted     string
		refused    bool
	}{
		"the mirror":                       {"", 1, elsewhere, false},
		"an archive":                       {"authentik-postgresql", 1, elsewhere, true},
		"an archive, in the same folder":   {"authentik-postgresql", 1, here, false},
		"an archive until the next life":   {"authentik-postgresql", 2, elsewhere, false},
		"that of a later life of before":   {"authentik-postgresql-2", 2, elsewhere, true},
		"that of a life that did not come": {"authentik-postgresql-2", 1, elsewhere, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := databaseArgs()
			args.Generation = test.generation
			g := storeGuard{names: args.names("authentik"), mirror: true, protected: true}
			err := g.judge(storeAt(here, test.server), storeAt(test.wanted, ""))
			if !test.refused {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "ObjectStore auth/authentik-b2-store is at "+here)
		})
	}
}

func TestTheArchivesStoreSaysWhatIsWrittenThere(t *testing.T) {
	t.Parallel()
	for archive, stores := range map[Location][2]string{
		B2:    {"authentik-b2-store", "authentik-minio-store"},
		MinIO: {"authentik-minio-store", "authentik-b2-store"},
	} {
		t.Run(string(archive), func(t *testing.T) {
			t.Parallel()
			args := databaseArgs()
			args.Archive, args.Generation = archive, 2
			mocks := deploy(t, false, args, nil)

			written, other := mocks.only(t, stores[0]), mocks.only(t, stores[1])
			assert.Equal(t, map[string]any{"cnpg-backup/server-name": "authentik-postgresql-2"}, metadata(written)["annotations"])
			assert.NotContains(t, metadata(other), "annotations")
			for _, store := range stores {
				assert.NotEmpty(t, mocks.only(t, store).RegisterRPC.GetHooks().GetBeforeUpdate(), store)
			}
		})
	}
}

func TestWhatExistsKeepsItsFolders(t *testing.T) {
	t.Parallel()
	args := databaseArgs()
	args.Path, args.ServerName, args.ScheduledBackup = "/", "authentik-2026", "nightly"
	mocks := deploy(t, false, args, nil)

	store := spec(mocks.only(t, "authentik-b2-store"))["configuration"].(map[string]any)
	assert.Equal(t, "s3://homelab-cnpg-b2/", store["destinationPath"])
	assert.Equal(t, []any{plugin("authentik-b2-store", "authentik-2026", true)},
		spec(mocks.only(t, "authentik-cluster"))["plugins"])
	metadata := mocks.only(t, "authentik-backup").Inputs.Mappable()["metadata"].(map[string]any)
	assert.Equal(t, "nightly", metadata["name"])
	content, err := json.Marshal(spec(mocks.only(t, "authentik-mirror")))
	require.NoError(t, err)
	assert.Contains(t, string(content), `"value":"archive:homelab-cnpg-b2"`, "rclone's root has no slash")
	assert.Contains(t, string(content), `"value":"authentik-2026"`)

	args = databaseArgs()
	args.Path, args.ServerName, args.ScheduledBackup, args.Generation = "/old/", "authentik-2026", "nightly", 2
	mocks = deploy(t, false, args, nil)
	store = spec(mocks.only(t, "authentik-b2-store"))["configuration"].(map[string]any)
	assert.Equal(t, "s3://homelab-cnpg-b2/old", store["destinationPath"])
	assert.Equal(t, []any{plugin("authentik-b2-store", "authentik-2026-2", true)},
		spec(mocks.only(t, "authentik-cluster"))["plugins"])
	metadata = mocks.only(t, "authentik-backup").Inputs.Mappable()["metadata"].(map[string]any)
	assert.Equal(t, "nightly-2", metadata["name"])
}

func TestARecoveryReadsTheFoldersThatWereSaid(t *testing.T) {
	t.Parallel()
	args := databaseArgs()
	args.Cluster = "authentik-restored"
	args.Recovery = &Recovery{Source: B2, Path: "litellm/db", ServerName: "litellm-2026-02", Generation: 2}
	mocks := deploy(t, false, args, nil)

	store := spec(mocks.only(t, "authentik-recovery-store"))["configuration"].(map[string]any)
	assert.Equal(t, "s3://homelab-cnpg-b2/litellm/db", store["destinationPath"])
	assert.Contains(t, spec(mocks.only(t, "authentik-cluster"))["externalClusters"], map[string]any{
		"name": "authentik-recovery", "plugin": plugin("authentik-recovery-store", "litellm-2026-02-2", false),
	})
}

func TestWritersDoNotMeet(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		one, other *DatabaseArgs
		meet       bool
	}{
		"defaults":               {named("one", nil), named("two", nil), false},
		"one path":               {named("one", func(a *DatabaseArgs) { a.Path = "/" }), named("two", func(a *DatabaseArgs) { a.Path = "/" }), false},
		"one folder":             {named("one", func(a *DatabaseArgs) { a.Path, a.ServerName = "/", "db" }), named("two", func(a *DatabaseArgs) { a.Path, a.ServerName = "/", "db" }), true},
		"one folder, two stores": {named("one", func(a *DatabaseArgs) { a.Path = "auth/two"; a.ServerName = "two" }), named("two", func(a *DatabaseArgs) { a.Archive = MinIO }), true},
		"one in the other":       {named("one", func(a *DatabaseArgs) { a.Path, a.ServerName = "/", "auth" }), named("two", nil), true},
		"a generation and a name": {
			named("one", func(a *DatabaseArgs) { a.Path, a.Generation = "p", 2 }),
			named("two", func(a *DatabaseArgs) { a.Path, a.ServerName = "p", "one-2" }), true,
		},
		"names that only begin alike": {named("one", func(a *DatabaseArgs) { a.Path, a.ServerName = "/", "au" }), named("two", nil), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, false, func(ctx *pulumi.Context) error {
				storage, err := NewStorage(ctx, "homelab", storageArgs())
				require.NoError(t, err)
				test.one.Storage, test.other.Storage = storage, storage
				_, err = NewDatabase(ctx, "one", test.one)
				require.NoError(t, err)
				_, err = NewDatabase(ctx, "two", test.other)
				if test.meet {
					require.ErrorContains(t, err, `"one" writes to`)
				} else {
					require.NoError(t, err)
				}
				return nil
			})
		})
	}
}

func named(cluster string, change func(*DatabaseArgs)) *DatabaseArgs {
	args := databaseArgs()
	args.Cluster = cluster
	if change != nil {
		change(args)
	}
	return args
}

func TestPathsThatServersSpellDifferentlyAreRefused(t *testing.T) {
	t.Parallel()
	for path, good := range map[string]bool{
		"": true, "/": true, "auth": true, "/auth/db/": true, "litellm/litellm-postgresql-2026-02": true,
		"//": false, "a//b": false, "..": false, "a/../b": false, "s3://bucket/a": false, "a b": false, "ü": false,
	} {
		assert.Equal(t, good, len(checkPath(nil, path)) == 0, "%q", path)
	}
	for server, good := range map[string]bool{"": true, "db-2": true, "a/b": false, "..": false, "/": false} {
		assert.Equal(t, good, len(checkServerName(nil, server)) == 0, "%q", server)
	}
}
