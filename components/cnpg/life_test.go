package cnpg

import (
	"strings"
	"testing"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// livesFrom is the life of the Cluster that the arguments make.
func livesFrom(t *testing.T, args *DatabaseArgs) life {
	t.Helper()
	object, err := clusterObject(args.names("authentik"), args.withDefaults())
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
			[]string{"from minio:auth/authentik-postgresql/authentik-postgresql-2", "say recovery.generation: 1"},
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
		"another archive with a generation": {first, func(a *DatabaseArgs) { a.Archive, a.Generation = MinIO, 2 }, nil},
		"a later generation":                {first, func(a *DatabaseArgs) { a.Generation = 2 }, nil},
		"a generation is left out":          {first, func(a *DatabaseArgs) { a.Generation = 7 }, nil},
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
