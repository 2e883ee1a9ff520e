//go:build acceptance

package acceptance

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// baseDatabase is what every verdict changes something of.
const baseDatabase = `
name: db
namespace: verdicts
cluster: db
spec:
  imageName: ghcr.io/cloudnative-pg/postgresql:17.7
  storage: {size: 20Gi}
`

// verdict compares what we and what the API server with the operator's webhooks
// say of the same database.
type verdict struct {
	name string
	// database is a merge patch on baseDatabase, in YAML.
	database string
	// object is the same change as a merge patch on the rendered object of that
	// kind, for the API server's verdict on what we refuse. Without one it is
	// the change of spec, on the Cluster.
	kind, object string
	// ours and theirs are part of the refusal, and "" means accepted.
	ours, theirs string
	// warns is part of the operator's warning, "" means none.
	warns string
	// why tells the reason if the verdicts differ or a warning is accepted.
	why string
}

const (
	whyPostgres = "a rule about PostgreSQL or Kubernetes, not about backups: left to the operator, whose webhook answers at preview"
	whyWarning  = "works; the operator's warning reaches the user at preview"
)

// testVerdicts shows that what we refuse in the operator's name is refused by
// the operator, and that we refuse nothing else without a reason.
func (s *suite) testVerdicts(t *testing.T) {
	s.newNamespace(t, "verdicts")
	base := fromYAML(t, baseDatabase)
	rendered, err := render(t, base)
	require.NoError(t, err)

	cases := verdicts()
	require.GreaterOrEqual(t, len(cases), 60)
	for _, v := range cases {
		t.Run(v.name, func(t *testing.T) {
			ours, ourErr := render(t, merge(t, base, fromYAML(t, v.database)))
			object := s.proposed(t, v, ours, rendered, ourErr == nil)
			warnings, theirErr := s.tryCreate(t, object)

			assertVerdict(t, "we", ourErr, v.ours)
			assertVerdict(t, "the API server", theirErr, v.theirs)
			if v.warns == "" {
				assert.Empty(t, warnings)
			} else {
				assert.Contains(t, strings.Join(warnings, "\n"), v.warns)
			}
			differs := (v.ours == "") != (v.theirs == "") || v.warns != "" && v.ours == ""
			if differs {
				t.Logf("differs: %s", v.why)
			}
			assert.Equal(t, differs, v.why != "", "a reason is given where the verdicts differ, and only there: %q", v.why)
		})
	}
}

// proposed is the object for the API server to judge: what we render, or, of
// what we refuse, what we would have rendered.
func (s *suite) proposed(t *testing.T, v verdict, ours, base []*unstructured.Unstructured, accepted bool) *unstructured.Unstructured {
	t.Helper()
	kind, name := v.kind, "db"
	switch kind {
	case "":
		kind = "Cluster"
	case "ScheduledBackup":
		name = "db-backup"
	case "ObjectStore":
		name = "db-b2-store"
	}
	if accepted {
		if v.kind == "" {
			name = clusterName(ours)
		}
		return find(t, ours, kind, name)
	}
	patch := fromYAML(t, v.object)
	if v.object == "" {
		patch = map[string]any{"spec": fromYAML(t, v.database)["spec"]}
	}
	object := find(t, base, kind, name)
	changed := merge(t, object.Object, patch)
	appendOwned(changed, object.Object, "plugins")
	appendOwned(changed, object.Object, "externalClusters")
	return &unstructured.Unstructured{Object: changed}
}

// appendOwned puts our entries behind the user's in a list that a merge patch
// has replaced.
func appendOwned(changed, base map[string]any, list string) {
	theirs, _, _ := unstructured.NestedSlice(changed, "spec", list)
	ours, _, _ := unstructured.NestedSlice(base, "spec", list)
	if len(ours) == 0 || len(theirs) == 0 || jsonEqual(theirs, ours) {
		return
	}
	_ = unstructured.SetNestedSlice(changed, append(theirs, ours...), "spec", list)
}

func jsonEqual(a, b any) bool {
	left, leftErr := json.Marshal(a)
	right, rightErr := json.Marshal(b)
	return leftErr == nil && rightErr == nil && bytes.Equal(left, right)
}

func clusterName(objects []*unstructured.Unstructured) string {
	for _, object := range objects {
		if object.GetKind() == "Cluster" {
			return object.GetName()
		}
	}
	return ""
}

func assertVerdict(t *testing.T, who string, err error, want string) {
	t.Helper()
	if want == "" {
		assert.NoErrorf(t, err, "%s should accept", who)
		return
	}
	assert.ErrorContainsf(t, err, want, "%s should refuse", who)
}

func fromYAML(t *testing.T, text string) map[string]any {
	t.Helper()
	value := map[string]any{}
	require.NoError(t, yaml.Unmarshal([]byte(text), &value))
	return value
}

// merge returns the JSON merge patch of an object.
func merge(t *testing.T, object, patch map[string]any) map[string]any {
	t.Helper()
	left, err := json.Marshal(object)
	require.NoError(t, err)
	right, err := json.Marshal(patch)
	require.NoError(t, err)
	patched, err := jsonpatch.MergePatch(left, right)
	require.NoError(t, err)
	// As the API server's own decoder: integers stay integers.
	result := &unstructured.Unstructured{}
	require.NoError(t, json.Unmarshal(patched, &result.Object))
	return result.Object
}
