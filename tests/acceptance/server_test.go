//go:build acceptance

package acceptance

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
)

// warnings collects the texts that the API server sends beside its answers.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (w *warnings) HandleWarningHeader(_ int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, text)
}

// tryCreate asks the API server and its webhooks whether they would take an
// object, and returns what they warn about.
func (s *suite) tryCreate(t *testing.T, object *unstructured.Unstructured) ([]string, error) {
	t.Helper()
	heard := &warnings{}
	config := s.plane.Admin()
	config.WarningHandler = heard
	client, err := kube.NewClient(config, "tests")
	require.NoError(t, err)
	_, err = client.Create(t.Context(), object, true)
	return heard.texts, err
}

// newNamespace makes a namespace that is there until the control plane stops.
func (s *suite) newNamespace(t *testing.T, name string) {
	t.Helper()
	_, err := s.plane.Client().Create(t.Context(), kube.Object("v1", "Namespace", "", name, nil), false)
	if !apierrors.IsAlreadyExists(err) {
		require.NoError(t, err)
	}
}
