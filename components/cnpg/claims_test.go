package cnpg

import (
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// otherStorage shares nothing with storageArgs.
func otherStorage() *StorageArgs {
	args := storageArgs()
	args.B2.Bucket, args.MinIO.Bucket = "cabin-cnpg-b2", "cabin-postgres-backups"
	return args
}

// second is a database that shares nothing with databaseArgs but its namespace.
func second(change func(*DatabaseArgs)) *DatabaseArgs {
	args := databaseArgs()
	args.Cluster, args.NewStorage = "second-postgresql", nil
	change(args)
	return args
}

// TestClashesAreFoundBeforeTheSecondIsMade makes Authentik's database with a
// storage, and then something that wants the same.
func TestClashesAreFoundBeforeTheSecondIsMade(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		first func(*DatabaseArgs)
		then  func(ctx *pulumi.Context, storage *Storage) error
		want  []string
	}{
		"one Cluster": {
			nil, func(ctx *pulumi.Context, storage *Storage) error {
				_, err := NewDatabase(ctx, "second", second(func(a *DatabaseArgs) {
					a.Storage, a.Cluster = storage, "authentik-postgresql"
				}))
				return err
			},
			[]string{"cluster", `the Cluster auth/authentik-postgresql belongs to database "authentik"`, "another cluster or namespace"},
		},
		"one ScheduledBackup": {
			func(a *DatabaseArgs) { a.Generation = 2 }, func(ctx *pulumi.Context, storage *Storage) error {
				_, err := NewDatabase(ctx, "second", second(func(a *DatabaseArgs) {
					a.Storage, a.Cluster = storage, "authentik-postgresql-2"
				}))
				return err
			},
			[]string{`the ScheduledBackup auth/authentik-postgresql-2-backup belongs to database "authentik"`},
		},
		"one name": {
			nil, func(ctx *pulumi.Context, storage *Storage) error {
				_, err := NewDatabase(ctx, "authentik", second(func(a *DatabaseArgs) { a.Storage = storage }))
				return err
			},
			[]string{"name", `"authentik"`, "another name or namespace"},
		},
		"one folder from two Kubernetes clusters": {
			nil, func(ctx *pulumi.Context, storage *Storage) error {
				args := databaseArgs()
				args.Storage, args.NewStorage = storage, nil
				_, err := NewDatabase(ctx, "second", args, elsewhere(t, ctx, "elsewhere"))
				return err
			},
			[]string{"path", `database "authentik" writes to "auth/authentik-postgresql/authentik-postgresql"`, "another path or serverName"},
		},
		"a folder that a later life of the first would have": {
			func(a *DatabaseArgs) { a.Path = "shared" }, func(ctx *pulumi.Context, storage *Storage) error {
				_, err := NewDatabase(ctx, "second", second(func(a *DatabaseArgs) {
					a.Storage, a.Path, a.Cluster = storage, "shared", "authentik-postgresql-3"
				}))
				return err
			},
			[]string{
				"path", "shared/authentik-postgresql-3", `those of database "authentik"`,
				`"authentik-postgresql", "authentik-postgresql-2" and so on`, "another path or serverName",
			},
		},
		"a folder of which the first is a later life": {
			func(a *DatabaseArgs) { a.Path, a.ServerName = "shared", "db-2" }, func(ctx *pulumi.Context, storage *Storage) error {
				_, err := NewDatabase(ctx, "second", second(func(a *DatabaseArgs) {
					a.Storage, a.Path, a.ServerName = storage, "shared", "db"
				}))
				return err
			},
			[]string{"path", "shared/db", `"db", "db-2" and so on`},
		},
		"two lives of one cluster": {
			func(a *DatabaseArgs) { a.Path, a.ServerName = "shared", "db" }, func(ctx *pulumi.Context, storage *Storage) error {
				_, err := NewDatabase(ctx, "second", second(func(a *DatabaseArgs) {
					a.Storage, a.Path, a.ServerName, a.Generation = storage, "shared", "db", 2
				}))
				return err
			},
			[]string{"path", "shared/db-2", `"db", "db-2" and so on`},
		},
		"two storages in one namespace": {
			nil, func(ctx *pulumi.Context, _ *Storage) error {
				_, err := NewDatabase(ctx, "second", second(func(a *DatabaseArgs) { a.NewStorage = otherStorage() }))
				return err
			},
			[]string{"namespace", "the ExternalSecret auth/b2-cnpg-credentials belongs to", "one storage"},
		},
		"two storages with namespaces of one name": {
			nil, func(ctx *pulumi.Context, _ *Storage) error {
				elsewhere := elsewhere(t, ctx, "elsewhere")
				cabin, err := NewStorage(ctx, "cabin", otherStorage(), elsewhere)
				require.NoError(t, err)
				_, err = NewDatabase(ctx, "second", second(func(a *DatabaseArgs) { a.Storage = cabin }), elsewhere)
				return err
			},
			[]string{
				`namespace: Invalid value: "auth"`, `the Pulumi name "auth" of the credentials belongs to storage "homelab"`,
				`give storage "cabin" other namespaces, or a Pulumi stack of its own`,
			},
		},
		"two storages of databases with namespaces of one name": {
			nil, func(ctx *pulumi.Context, _ *Storage) error {
				args := second(func(a *DatabaseArgs) { a.Namespace, a.NewStorage = "media", otherStorage() })
				_, err := NewDatabase(ctx, "cabin", args, elsewhere(t, ctx, "elsewhere"))
				require.NoError(t, err)
				another := otherStorage()
				another.B2.Bucket, another.MinIO.Bucket = "boat-cnpg-b2", "boat-postgres-backups"
				args.NewStorage = another
				_, err = NewDatabase(ctx, "second", args, elsewhere(t, ctx, "afloat"))
				return err
			},
			[]string{`the Pulumi name "media" of the credentials belongs to the storage of database "cabin"`},
		},
		"credentials of their own in the namespace": {
			nil, func(ctx *pulumi.Context, _ *Storage) error {
				_, err := NewCredentials(ctx, "second", &CredentialsArgs{
					Namespace: "auth", Bitwarden: BitwardenArgs{Store: "bitwarden-backend", Item: "b2"},
				})
				return err
			},
			[]string{"the ExternalSecret auth/b2-cnpg-credentials belongs to"},
		},
		"two storages with one bucket at B2": {
			nil, func(ctx *pulumi.Context, _ *Storage) error {
				args := otherStorage()
				args.B2.Bucket = "homelab-cnpg-b2"
				_, err := NewStorage(ctx, "second", args)
				return err
			},
			[]string{"b2.bucket", "the B2 bucket homelab-cnpg-b2 belongs to", "make one storage and give it to all databases"},
		},
		"two databases that each make their storage": {
			nil, func(ctx *pulumi.Context, _ *Storage) error {
				_, err := NewDatabase(ctx, "second", second(func(a *DatabaseArgs) {
					a.Namespace, a.NewStorage = "media", storageArgs()
				}))
				return err
			},
			[]string{
				"newStorage.b2.bucket", "newStorage.minio.bucket",
				"the MinIO bucket homelab-postgres-backups at https://nas.example.org:9000 belongs to",
			},
		},
		"two dashboards in one namespace": {
			nil, func(ctx *pulumi.Context, _ *Storage) error {
				_, err := NewDashboard(ctx, "dashboard", &DashboardArgs{Namespace: "monitoring"})
				require.NoError(t, err)
				_, err = NewDashboard(ctx, "second", &DashboardArgs{Namespace: "monitoring"})
				return err
			},
			[]string{
				`dashboard "second"`, "namespace", `the ConfigMap monitoring/cnpg-backup-dashboard belongs to dashboard "dashboard"`,
				"one shows all databases",
			},
		},
		"a storage given and made": {
			nil, func(ctx *pulumi.Context, storage *Storage) error {
				_, err := NewDatabase(ctx, "second", second(func(a *DatabaseArgs) {
					a.Storage, a.NewStorage = storage, otherStorage()
				}))
				return err
			},
			[]string{"newStorage: Forbidden"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inUpAndPreview(t, func(t *testing.T, dryRun bool) {
				mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
					storage, err := NewStorage(ctx, "homelab", storageArgs())
					require.NoError(t, err)
					args := databaseArgs()
					args.Storage, args.NewStorage = storage, nil
					if test.first != nil {
						test.first(args)
					}
					_, err = NewDatabase(ctx, "authentik", args)
					require.NoError(t, err)
					err = test.then(ctx, storage)
					require.Error(t, err)
					for _, part := range test.want {
						require.ErrorContains(t, err, part)
					}
					return nil
				})
				made := map[string]bool{}
				for _, resource := range mocks.Resources() {
					name := resource.TypeToken + " " + resource.Name
					assert.NotContains(t, resource.Name, "second", "nothing of the second is made")
					assert.False(t, made[name], "%s is made twice", name)
					made[name] = true
				}
			})
		})
	}
}

// elsewhere is another Kubernetes cluster.
func elsewhere(t *testing.T, ctx *pulumi.Context, name string) pulumi.ResourceOption {
	t.Helper()
	provider, err := kubernetes.NewProvider(ctx, name, nil)
	require.NoError(t, err)
	return pulumi.Provider(provider)
}

func TestWhatDoesNotClashIsMade(t *testing.T) {
	t.Parallel()
	run(t, false, func(ctx *pulumi.Context) error {
		homelab, err := NewStorage(ctx, "homelab", storageArgs())
		require.NoError(t, err)
		args := databaseArgs()
		args.Storage, args.NewStorage = homelab, nil
		_, err = NewDatabase(ctx, "authentik", args)
		require.NoError(t, err)
		_, err = NewDatabase(ctx, "second", second(func(a *DatabaseArgs) { a.Storage = homelab }))
		require.NoError(t, err)

		args.Storage, args.NewStorage = nil, otherStorage()
		_, err = NewDatabase(ctx, "cabin", args, elsewhere(t, ctx, "elsewhere"))
		require.NoError(t, err, "the same names in another cluster and another bucket")

		for name, args := range map[string]*DashboardArgs{"here": {Namespace: "monitoring"}, "there": {Namespace: "grafana"}} {
			_, err = NewDashboard(ctx, name, args)
			require.NoError(t, err)
		}
		_, err = NewDashboard(ctx, "cabin", &DashboardArgs{Namespace: "monitoring"}, elsewhere(t, ctx, "board"))
		require.NoError(t, err)

		boat := &pulumi.ResourceState{}
		require.NoError(t, ctx.RegisterComponentResource("example:index:Boat", "boat", boat))
		afloat := otherStorage()
		afloat.B2.Bucket, afloat.MinIO.Bucket = "boat-cnpg-b2", "boat-postgres-backups"
		args.Storage, err = NewStorage(ctx, "boat", afloat, pulumi.Parent(boat))
		args.NewStorage = nil
		require.NoError(t, err)
		_, err = NewDatabase(ctx, "boat", args, pulumi.Parent(boat))
		require.NoError(t, err, "the same names in a component of another type")
		return nil
	})
}

func TestARefusedComponentTakesNothing(t *testing.T) {
	t.Parallel()
	run(t, false, func(ctx *pulumi.Context) error {
		wrong := storageArgs()
		wrong.B2.Region = "mars"
		_, err := NewStorage(ctx, "homelab", wrong)
		require.Error(t, err)
		_, err = NewStorage(ctx, "homelab", storageArgs())
		return err
	})
}

func TestProgramsShareNoClaims(t *testing.T) {
	t.Parallel()
	var ended []weak.Pointer[pulumi.Context]
	for range 2 {
		run(t, false, func(ctx *pulumi.Context) error {
			ended = append(ended, weak.Make(ctx))
			return refuse("program", claimsOf(ctx).take(storageArgs().claims(nil, `storage "homelab"`), nil))
		})
	}
	require.Eventually(t, func() bool {
		runtime.GC()
		programs.Lock()
		defer programs.Unlock()
		return programs.claims[ended[0]] == nil && programs.claims[ended[1]] == nil
	}, time.Minute, 10*time.Millisecond, "the claims of a program that ended are forgotten")
}
