package cnpg

import (
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func metadata(args pulumi.MockResourceArgs) map[string]any {
	value, _ := args.Inputs.Mappable()["metadata"].(map[string]any)
	return value
}

func TestEveryObjectHasTheStandardLabels(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		mocks := run(t, dryRun, func(ctx *pulumi.Context) error {
			args := databaseArgs()
			args.NewStorage = storageArgs()
			args.NewStorage.Bitwarden.MirrorItem = "b2-mirror"
			args.Recovery = &Recovery{Source: B2, Cluster: "other"}
			if _, err := NewDatabase(ctx, "authentik", args); err != nil {
				return err
			}
			_, err := NewDrill(ctx, "drill", &DrillArgs{
				Namespace: "auth", Database: "authentik", Source: B2, Spec: databaseArgs().Spec,
			})
			return err
		})
		components := map[string]bool{}
		for _, object := range mocks.Resources() {
			if !strings.HasPrefix(object.TypeToken, "kubernetes:") || object.ReadRPC != nil {
				continue
			}
			labels, _ := metadata(object)["labels"].(map[string]any)
			assert.Equal(t, "cnpg-backup", labels["app.kubernetes.io/name"], object.Name)
			assert.Equal(t, "pulumi", labels["app.kubernetes.io/managed-by"], object.Name)
			partOf := "authentik"
			if strings.HasSuffix(object.TypeToken, ":ExternalSecret") {
				partOf = "auth" // it is the namespace's, for all of its databases
			}
			assert.Equal(t, partOf, labels["app.kubernetes.io/part-of"], object.Name)
			assert.NotContains(t, labels, "app.kubernetes.io/instance", "Argo CD would delete what another application owns")
			component, _ := labels["app.kubernetes.io/component"].(string)
			components[component] = true
		}
		assert.Equal(t, map[string]bool{
			"database": true, "object-store": true, "base-backups": true, "mirror": true, "credentials": true, "drill": true,
		}, components)
	})
}

func TestLabelsAndAnnotationsOfTheCluster(t *testing.T) {
	t.Parallel()
	inUpAndPreview(t, func(t *testing.T, dryRun bool) {
		args := databaseArgs()
		args.Labels = map[string]string{"recurring-job.longhorn.io/source": "enabled"}
		args.Annotations = map[string]string{"cnpg.io/hibernation": "on", "argocd.argoproj.io/sync-wave": "-5"}
		args.WaitUntilReady = true
		require.Empty(t, args.Validate(nil, "authentik", storageArgs()))
		mocks := deploy(t, dryRun, args, nil)

		of := metadata(mocks.only(t, "authentik-cluster"))
		assert.Equal(t, map[string]any{
			"recurring-job.longhorn.io/source": "enabled",
			"app.kubernetes.io/name":           "cnpg-backup", "app.kubernetes.io/component": "database",
			"app.kubernetes.io/part-of": "authentik", "app.kubernetes.io/managed-by": "pulumi",
		}, of["labels"])
		assert.Equal(t, map[string]any{
			"cnpg.io/hibernation": "on", "argocd.argoproj.io/sync-wave": "-5", "pulumi.com/waitFor": "condition=Ready",
		}, of["annotations"])
		assert.NotContains(t, metadata(mocks.only(t, "authentik-b2-store"))["labels"], "recurring-job.longhorn.io/source")
		assert.Len(t, args.Annotations, 2, "the user's map is not changed")
	})
}

func TestKeysThatOthersOwnAreRefused(t *testing.T) {
	t.Parallel()
	for key, reason := range map[string]string{
		"app.kubernetes.io/name":                           "it is set for you",
		"cnpg-backup/recovered-from":                       "keys with this prefix are set for you",
		"cnpg.io/skipWalArchiving":                         "it switches the archive off",
		"cnpg.io/skipEmptyWalArchiveCheck":                 "raise generation instead",
		"kubectl.kubernetes.io/last-applied-configuration": "leave it out",
		"pulumi.com/waitFor":                               "use waitUntilReady",
		"no key":                                           "is not a valid key",
		"a/b/c":                                            "is not a valid key",
	} {
		args := databaseArgs()
		args.Annotations = map[string]string{key: "enabled"}
		err := refuse("", args.Validate(nil, "authentik", storageArgs()))
		require.ErrorContains(t, err, "annotations["+key+"]: ")
		require.ErrorContains(t, err, reason)
	}
	args := databaseArgs()
	args.Labels = map[string]string{"cnpg.io/cluster": "x", "team": "data and more", "app.kubernetes.io/managed-by": "argo"}
	err := refuse("", args.Validate(nil, "authentik", storageArgs()))
	require.ErrorContains(t, err, "labels[cnpg.io/cluster]: ")
	require.ErrorContains(t, err, "the operator writes these labels")
	require.ErrorContains(t, err, "labels[team]: ")
	require.ErrorContains(t, err, `"data and more"`)
	require.ErrorContains(t, err, "labels[app.kubernetes.io/managed-by]: ")

	args = databaseArgs()
	args.Annotations = map[string]string{"long": strings.Repeat("x", 256<<10)}
	require.ErrorContains(t, refuse("", args.Validate(nil, "authentik", storageArgs())), "annotations: ")
}
