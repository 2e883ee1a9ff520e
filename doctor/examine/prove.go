package examine

import (
	"context"
	"path"
	"time"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/diagnosis"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/prove"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/store"
)

// Proving is what to prove and how.
type Proving struct {
	// Mirror has the mirror proved, too.
	Mirror bool
	// Wait is how long each copy may take.
	Wait time.Duration
	// Tell says what goes on.
	Tell func(format string, arguments ...any)
}

// proveEvery is how often a store is asked: a call to B2 a time.
const proveEvery = 2 * time.Second

// Prove ends a WAL segment of a database and waits for it in its copies. A proof is
// nil for what was not come to.
func (a Access) Prove(ctx context.Context, l cnpg.Layout, proving Proving, calls *Calls) (archive, mirror *diagnosis.Proof) {
	if a.ClusterErr != nil {
		return &diagnosis.Proof{Untried: "the cluster: " + a.ClusterErr.Error()}, nil
	}
	p := &prove.Prover{Cluster: *a.Cluster, Layout: l, Wait: proving.Wait, Every: proveEvery, Tell: proving.Tell}
	var counted []func()
	unreadable := map[cnpg.Location]*diagnosis.Proof{}
	folder := func(at cnpg.StoreLayout) catalogue.Source {
		limited, cancel := context.WithTimeout(ctx, a.storeTime())
		defer cancel()
		opened, _, err := a.open(limited, l.Namespace, at)
		if err != nil {
			unreadable[at.Location] = &diagnosis.Proof{Untried: store.Said(err)}
			return nil
		}
		counted = append(counted, func() { calls.add(at.Location, opened) })
		return opened.Folder(path.Join(at.Folder, l.ServerName))
	}
	if p.Archive = folder(l.Archive); p.Archive == nil {
		return unreadable[l.Archive.Location], nil
	}
	if proving.Mirror {
		p.Mirror = folder(l.Mirror)
	}
	archive, mirror = p.Run(ctx)
	for _, count := range counted {
		count()
	}
	if mirror == nil {
		mirror = unreadable[l.Mirror.Location]
	}
	return archive, mirror
}
