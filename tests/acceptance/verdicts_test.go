//go:build acceptance

package acceptance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
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
	// Database is a merge patch on baseDatabase.
	Database map[string]any `json:"database"`
	// Object is the same change as a merge patch on the Cluster, for the API
	// server's verdict on what we refuse. Default: what onObject makes of it.
	Object map[string]any `json:"object"`
	// Ours and Theirs are part of the refusal, and "" means accepted.
	Ours   string `json:"ours"`
	Theirs string `json:"theirs"`
	// Warns is part of the operator's warning, "" means none.
	Warns string `json:"warns"`
	// Why tells the reason if the verdicts differ or a warning is accepted.
	Why string `json:"why"`
}

// readVerdicts reads all of them, by the names of their databases.
func readVerdicts(t *testing.T) map[string]verdict {
	t.Helper()
	content, err := os.ReadFile("testdata/verdicts.yaml")
	require.NoError(t, err)
	var table struct {
		Reasons  []string                  `json:"reasons"`
		Accepted map[string]map[string]any `json:"accepted"`
		Others   map[string]verdict        `json:"others"`
	}
	require.NoError(t, yaml.UnmarshalStrict(content, &table))
	for name, database := range table.Accepted {
		require.NotContains(t, table.Others, name)
		table.Others[name] = verdict{Database: database}
	}
	return table.Others
}

// testVerdicts shows that what we refuse in the operator's name is refused by
// the operator, and that we refuse nothing else without a reason.
func (s *suite) testVerdicts(t *testing.T) {
	s.newNamespace(t, "verdicts")
	base := fromYAML(t, baseDatabase)
	rendered, err := render(t, base)
	require.NoError(t, err)

	cases := readVerdicts(t)
	require.GreaterOrEqual(t, len(cases), 130)
	for name, v := range cases {
		t.Run(name, func(t *testing.T) {
			ours, ourErr := render(t, merge(t, base, v.Database))
			object := s.proposed(t, v, ours, rendered, ourErr == nil)
			warnings, theirErr := s.tryCreate(t, object)

			assertVerdict(t, "we", ourErr, v.Ours)
			assertVerdict(t, "the API server", theirErr, v.Theirs)
			if v.Warns == "" {
				assert.Empty(t, warnings)
			} else {
				assert.Contains(t, strings.Join(warnings, "\n"), v.Warns)
			}
			differs := (v.Ours == "") != (v.Theirs == "") || v.Warns != "" && v.Ours == ""
			if differs {
				t.Logf("differs: %s", v.Why)
			}
			assert.Equal(t, differs, v.Why != "", "a reason is given where the verdicts differ, and only there: %q", v.Why)
		})
	}
}

// proposed is the object for the API server to judge: the Cluster that we render,
// or, of what we refuse, what we would have rendered.
func (s *suite) proposed(t *testing.T, v verdict, ours, base []*unstructured.Unstructured, accepted bool) *unstructured.Unstructured {
	t.Helper()
	if accepted {
		return find(t, ours, "Cluster", clusterName(ours))
	}
	kind, name, patch := onObject(v.Database)
	if v.Object != nil {
		patch = v.Object
	}
	object := find(t, base, kind, name)
	changed := merge(t, object.Object, patch)
	appendOwned(changed, object.Object, "plugins")
	appendOwned(changed, object.Object, "externalClusters")
	return &unstructured.Unstructured{Object: changed}
}

// onObject is a change of the database as one of the object that it ends up in.
func onObject(database map[string]any) (kind, name string, patch map[string]any) {
	spec := func(fields map[string]any) map[string]any { return map[string]any{"spec": fields} }
	switch {
	case database["schedule"] != nil, database["target"] != nil:
		return "ScheduledBackup", "db-backup", spec(database)
	case database["retention"] != nil:
		return "ObjectStore", "db-b2-store", spec(map[string]any{"retentionPolicy": database["retention"]})
	case database["b2"] != nil:
		return "ObjectStore", "db-b2-store", spec(map[string]any{"configuration": database["b2"]})
	case database["cluster"] != nil:
		return "Cluster", "db", map[string]any{"metadata": map[string]any{"name": database["cluster"]}}
	case database["recovery"] != nil:
		recovery := maps.Clone(database["recovery"].(map[string]any))
		recovery["source"] = fmt.Sprintf("db-%s-backup", recovery["source"])
		if target, given := recovery["target"]; given {
			recovery["recoveryTarget"] = target
			delete(recovery, "target")
		}
		return "Cluster", "db", spec(map[string]any{"bootstrap": map[string]any{"recovery": recovery}})
	default:
		return "Cluster", "db", map[string]any{"spec": database["spec"]}
	}
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
