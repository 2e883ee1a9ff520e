package cnpg

import (
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestALostClusterIsNotMadeOnceMore(t *testing.T) {
	t.Parallel()
	const first, second, third = "authentik-postgresql", "authentik-postgresql-2", "authentik-postgresql-3"
	for name, test := range map[string]struct {
		wanted  *DatabaseArgs
		backups []string
		// want are parts of the refusal; none means that it is made.
		want []string
	}{
		"no backups":           {databaseArgs(), nil, nil},
		"another name":         {databaseArgs(), []string{"authentik-2026"}, nil},
		"restored":             {restoredArgs(), []string{first}, nil},
		"a new folder, empty":  {named(first, func(a *DatabaseArgs) { a.Generation = 2 }), []string{first}, nil},
		"as it was, so empty":  {databaseArgs(), []string{first}, []string{`"authentik": refused, because Cluster auth/authentik-postgresql is lost`, "begin as an empty database (initdb)", "generation: 2 and recovery: {source: b2}", "generation: 2 without recovery", "import it"}},
		"an earlier life":      {databaseArgs(), []string{first, second}, []string{"generation: 3 and recovery"}},
		"the recovery again":   {restoredArgs(), []string{first, second}, []string{"by a recovery from minio:auth/authentik-postgresql/authentik-postgresql", "generation: 3, and recovery stays"}},
		"a life that was left": {restoredArgs(), []string{first, second, third}, []string{"generation: 4, and recovery stays"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := test.wanted.plan("authentik", *storageArgs())
			g := guard{names: p.names, recovery: p.args.Recovery, stack: "homelab"}

			err := g.judgeNew(livesFrom(t, test.wanted), test.backups)

			if len(test.want) == 0 {
				require.NoError(t, err)
			}
			for _, part := range test.want {
				assert.ErrorContains(t, err, part)
			}
		})
	}
}

func TestTheClusterIsJudgedBeforeItIsMadeAndChanged(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		mocks := deploy(t, dryRun, databaseArgs(), nil)

		cluster := mocks.only(t, "authentik-cluster")
		assert.NotEmpty(t, cluster.RegisterRPC.GetHooks().GetBeforeCreate())
		assert.NotEmpty(t, cluster.RegisterRPC.GetHooks().GetBeforeUpdate())
		// Otherwise a judge would wait for what the engine has not come to yet.
		assert.Subset(t, dependencies(cluster), []string{"authentik-b2-store", "authentik-minio-store"})
	})
}

func TestTheServersThatHaveBackups(t *testing.T) {
	t.Parallel()
	store := func(status pulumi.Map) *kubernetesObject {
		return &kubernetesObject{Status: status.ToMapOutput()}
	}
	servers, err := backedUp(t.Context(), []*kubernetesObject{
		store(nil),
		store(pulumi.Map{"serverRecoveryWindow": pulumi.Map{
			"db": pulumi.Map{"firstRecoverabilityPoint": pulumi.String("2026-01-01T00:00:00Z")}, "db-2": pulumi.Map{},
		}}),
		store(pulumi.Map{}),
	})
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"db", "db-2"}, servers)
}
