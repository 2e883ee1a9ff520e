//go:build acceptance

// Package acceptance runs what this project makes against a real API server
// with the real CloudNativePG operator and the real Barman Cloud plugin's
// operator. There is no node: nothing becomes a pod.
package acceptance

import (
	"bytes"
	"flag"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/provider"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/controlplane"
)

// plugins says which plugins are tried.
//
//nolint:gochecknoglobals // a flag has to be there before the tests begin
var plugins = flag.String("plugins", "stand-in", "the plugins for Kubernetes and MinIO: stand-in, or real as Pulumi finds them")

// suite is what the tests share.
type suite struct {
	plane *controlplane.ControlPlane
}

func TestAcceptance(t *testing.T) {
	require.Contains(t, []string{"stand-in", "real"}, *plugins, "-plugins")
	if *plugins == "real" {
		_, err := sandbox.RealPlugin(t.Context(), "kubernetes", provider.KubernetesVersion)
		require.NoError(t, err)
	}
	s := &suite{plane: startControlPlane(t)}
	s.sayReady(t)
	t.Run("contract", s.testContract)
	t.Run("seed", s.testSeed)
	t.Run("verdicts", s.testVerdicts)
	t.Run("jobs", s.testJobs)
	t.Run("programs", s.testPrograms)
	t.Run("day two", s.testDayTwo)
	t.Run("lives", s.testLives)
	t.Run("adopt", s.testAdopt)
	t.Run("gitops", s.testGitOps)
	t.Run("doctor", s.testDoctor)
	t.Run("doctor proves", s.testDoctorProves)
}

// describe names an object in messages.
func describe(kind, namespace, name string) string {
	return fmt.Sprintf("%s %s/%s", kind, namespace, name)
}

// startControlPlane starts one that ends with the test, and shows its logs when
// that fails.
func startControlPlane(t *testing.T) *controlplane.ControlPlane {
	t.Helper()
	plane, err := controlplane.Start(t.Context(), t.Output())
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			var tails bytes.Buffer
			plane.Tails(&tails, 25)
			t.Log(tails.String())
		}
		plane.Stop()
	})
	return plane
}
