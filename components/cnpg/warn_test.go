package cnpg

import (
	"strings"
	"testing"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnImageIsRefusedAsByTheOperatorAndWarnedAboutWhenItFloats(t *testing.T) {
	t.Parallel()
	const digest = "@sha256:4c7f3dd3bc7a45f2a1f0f9d4c2b9f2a6f1f4e8d0a5c3b7e9d1f2a3b4c5d6e7f8"
	for image, test := range map[string]struct{ refused, warned string }{
		"ghcr.io/cloudnative-pg/postgresql:17.7":                        {},
		"ghcr.io/cloudnative-pg/postgresql:17.7-standard-trixie":        {},
		"registry.example.org:5000/postgresql:18.1-1":                   {},
		"ghcr.io/cloudnative-pg/postgresql:18beta1":                     {},
		"ghcr.io/cloudnative-pg/postgresql:18-standard-trixie" + digest: {},
		"ghcr.io/tensorchord/cloudnative-vectorchord:17-0.4.3" + digest: {},
		"ghcr.io/cloudnative-pg/postgresql:18":                          {warned: "a restore gets another release"},
		"ghcr.io/cloudnative-pg/postgresql:17-bookworm":                 {warned: "Give a tag with the minor release"},
		"ghcr.io/tensorchord/cloudnative-vectorchord:17-0.4.3":          {warned: "other versions of extensions"},
		"ghcr.io/cloudnative-pg/postgis:17-3.5":                         {warned: `spec.imageName: "ghcr.io/cloudnative-pg/postgis:17-3.5"`},
		"ghcr.io/cloudnative-pg/postgresql" + digest:                    {refused: "a digest does not say the release"},
		"ghcr.io/cloudnative-pg/postgresql":                             {refused: "expected a tag"},
		"ghcr.io/cloudnative-pg/postgresql:latest":                      {refused: "expected a tag"},
		"ghcr.io/cloudnative-pg/postgresql:stable":                      {refused: "expected a tag"},
		"": {refused: "the operator's default changes from release to release"},
	} {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			args := databaseArgs()
			args.Spec.ImageName = image
			err := refuse("database", args.Validate(nil, "authentik", storageArgs()))
			if test.refused != "" {
				require.ErrorContains(t, err, test.refused)
				return
			}
			require.NoError(t, err)
			warnings := args.warnings()
			if test.warned == "" {
				assert.Empty(t, warnings)
				return
			}
			require.Len(t, warnings, 1)
			assert.Contains(t, warnings[0], test.warned)
		})
	}
}

func TestAWarningStopsNothing(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		args := databaseArgs()
		args.Spec.ImageName = "ghcr.io/cloudnative-pg/postgresql:17"
		deploy(t, dryRun, args, nil).only(t, "authentik-cluster")

		run(t, dryRun, func(ctx *pulumi.Context) error {
			_, err := NewDrill(ctx, "drill", &DrillArgs{
				Namespace: "auth", Database: "authentik", Source: B2, Spec: args.Spec,
			})
			return err
		})
	})
}

func TestARetentionShorterThanTheScheduleIsAWarning(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		backup Backup
		want   []string
	}{
		"the defaults":          {Backup{}, nil},
		"a week, every week":    {Backup{Schedule: "0 0 2 * * 0", Retention: "1w"}, nil},
		"a day, every hour":     {Backup{Schedule: "0 0 * * * *", Retention: "1d"}, nil},
		"a day, on Mondays":     {Backup{Schedule: "* * * * * 1", Retention: "6d"}, []string{`"6d" of b2`, "7 days", `"6d" of minio`}},
		"a month of 31 days":    {Backup{Schedule: "0 0 2 1 * *", Retention: "30d"}, []string{"31 days"}},
		"a month of barman's":   {Backup{Schedule: "0 0 2 1 * *", Retention: "1m"}, nil},
		"workdays":              {Backup{Schedule: "0 0 2 * * 1-5", Retention: "2d"}, []string{"3 days"}},
		"leap days":             {Backup{Schedule: "0 0 2 29 2 *", Retention: "36m"}, []string{"1461 days"}},
		"one store's own":       {Backup{Schedule: "0 0 2 * * 0", Retention: "30d", MinIO: StoreOptions{Retention: "2d"}}, []string{`"2d" of minio`}},
		"no base backups":       {Backup{Schedule: "0 0 2 * * 0", Retention: "1d", Suspend: true}, nil},
		"twice on the same day": {Backup{Schedule: "0 0 2,14 * * 0", Retention: "6d"}, []string{"7 days"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			warnings := strings.Join(test.backup.withDefaults("").warnRetention(), "\n")
			if test.want == nil {
				assert.Empty(t, warnings)
			}
			for _, part := range test.want {
				assert.Contains(t, warnings, part)
			}
			if name == "one store's own" {
				assert.NotContains(t, warnings, "of b2")
			}
		})
	}
}

func TestADistributedTopologyIsAWarning(t *testing.T) {
	t.Parallel()
	args := databaseArgs()
	args.Recovery = &Recovery{Source: B2, Cluster: "main"}
	args.Spec.ReplicaCluster = &cnpgv1.ReplicaClusterConfiguration{Enabled: new(true), Source: "authentik-recovery"}
	require.Empty(t, args.Validate(nil, "authentik", storageArgs()))
	assert.Empty(t, args.warnings(), "a replica alone is supported")

	args.Spec.ReplicaCluster = &cnpgv1.ReplicaClusterConfiguration{Primary: "main", Source: "authentik-recovery"}
	require.Len(t, args.warnings(), 1)
	assert.Contains(t, args.warnings()[0], "spec.replica: a distributed topology")
}
