package cnpg

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/internal/engine"
)

// holding is an engine that does not answer for the first component of a kind
// until a second one is asked for.
type holding struct {
	engine.Fake
	kind   string
	asked  atomic.Int32
	second chan struct{}
}

func (h *holding) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	if args.TypeToken == h.kind {
		if h.asked.Add(1) == 2 {
			close(h.second)
		}
		select {
		case <-h.second:
		case <-time.After(time.Minute):
			return "", nil, errors.New("the program waits for the first before it asks for the second")
		}
	}
	return h.Fake.NewResource(args)
}

func TestComponentsDoNotWaitForOneAnother(t *testing.T) {
	t.Parallel()
	args := databaseArgs()
	args.Spec.ImageName = "ghcr.io/cloudnative-pg/postgresql:17" // it is warned about
	for kind, program := range map[string]func(*pulumi.Context, *Storage, string) error{
		"Database": func(ctx *pulumi.Context, storage *Storage, name string) error {
			wanted := *args
			wanted.Cluster, wanted.Storage = name+"-postgresql", storage
			_, err := NewDatabase(ctx, name, &wanted)
			return err
		},
		"Credentials": func(ctx *pulumi.Context, storage *Storage, name string) error {
			_, err := storage.Credentials(ctx, name)
			return err
		},
		"Drill": func(ctx *pulumi.Context, _ *Storage, name string) error {
			_, err := NewDrill(ctx, name, &DrillArgs{Namespace: "auth", Database: "authentik", Source: B2, Spec: args.Spec})
			return err
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			mocks := &holding{kind: "cnpg-backup:index:" + kind, second: make(chan struct{})}
			require.NoError(t, pulumi.RunErr(func(ctx *pulumi.Context) error {
				storage, err := NewStorage(ctx, "homelab", storageArgs())
				require.NoError(t, err)
				return errors.Join(program(ctx, storage, "one"), program(ctx, storage, "two"))
			}, pulumi.WithMocks("cnpg-backup", "test", mocks)))
		})
	}
}
