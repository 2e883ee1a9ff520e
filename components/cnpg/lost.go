package cnpg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"
)

// backedUp are the server names that have backups, as the plugin notes them in
// the status of an ObjectStore: ServerRecoveryWindow in
// https://github.com/cloudnative-pg/plugin-barman-cloud/blob/v0.14.0/api/v1/objectstore_types.go
//
// Pulumi knows the status since the last refresh, or since the last change of the
// ObjectStore. That is enough: a Cluster that is lost is made anew only after a
// refresh.
func backedUp(ctx context.Context, stores []*kubernetesObject) ([]string, error) {
	var servers []string
	for _, store := range stores {
		known, err := internals.UnsafeAwaitOutput(ctx, store.Status)
		if err != nil {
			return nil, fmt.Errorf("status of an ObjectStore: %w", err)
		}
		status, _ := known.Value.(map[string]any) // nil while it is not made yet
		windows, _ := status["serverRecoveryWindow"].(map[string]any)
		for server := range windows {
			servers = append(servers, server)
		}
	}
	return servers, nil
}

// judgeNew says why a Cluster is not made: its server name has backups, so that
// it is one that was lost. Made once more it would be empty, or as old as its
// recovery, and could not archive to that folder.
func (g guard) judgeNew(wanted life, backedUp []string) error {
	if !slices.Contains(backedUp, wanted.serverName) {
		return nil
	}
	next := g.generation + 1
	for slices.Contains(backedUp, serverName(g.firstServer, next)) {
		next++
	}
	restore := fmt.Sprintf("generation: %d and recovery: {source: b2}", next)
	if g.recovery != nil {
		restore = fmt.Sprintf("generation: %d, and recovery stays", next)
	}
	return errors.New(strings.Join([]string{
		fmt.Sprintf("database %q: refused, because Cluster %s/%s is lost, and its backups are not.",
			g.database, g.namespace, g.cluster),
		fmt.Sprintf("- Asked for: to begin %s, with the", wanted.began),
		fmt.Sprintf("  server name %q, which has backups. Nothing could be archived there.", wanted.serverName),
		"Two ways out:",
		"1. Restore it: " + restore + ".",
		fmt.Sprintf("2. Begin an empty one, and keep the backups: generation: %d without recovery.", next),
		"If it still runs and only Pulumi no longer knows it, import it: docs/adopt.md.",
	}, "\n"))
}
