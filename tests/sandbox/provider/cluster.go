package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/util/csaupgrade"
	"k8s.io/client-go/util/retry"
)

const (
	// creator is the field manager of an object that Pulumi creates, applier the
	// one of an object that it applies. The real provider has the same two.
	creator = "pulumi-kubernetes"
	applier = "pulumi-kubernetes-sandbox"
	// deletionPropagation is the annotation that says what becomes of the objects
	// that an object owns. Of the real provider's values there is orphan.
	deletionPropagation = "pulumi.com/deletionPropagationPolicy"
	// deletion is how long an object may take to go.
	deletion = time.Minute
)

// Cluster keeps Kubernetes objects in a real API server.
type Cluster struct {
	client   dynamic.Interface
	mapper   *restmapper.DeferredDiscoveryRESTMapper
	patience time.Duration
}

// NewCluster returns a target for an API server. The server's warnings are told
// to warn, which may be nil. With patience it waits for what it makes, as the
// real provider does, but no longer than that for one object.
func NewCluster(server *rest.Config, warn func(warning string), patience time.Duration) (*Cluster, error) {
	config := rest.CopyConfig(server)
	config.QPS = -1 // The server's own flow control is enough.
	config.WarningHandler = warnings(warn)
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	kinds, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("discovery of the API server: %w", err)
	}
	return &Cluster{
		client:   client,
		mapper:   restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kinds)),
		patience: patience,
	}, nil
}

type warnings func(warning string)

// HandleWarningHeader is called for each warning of each answer.
func (w warnings) HandleWarningHeader(_ int, _, text string) {
	if w != nil {
		w(text)
	}
}

// Create creates an object, or applies it when it may exist already. That one
// exists is no objection in a dry run, as it may be there to be replaced.
func (c *Cluster) Create(ctx context.Context, object Object, mode Mode) (map[string]any, error) {
	if mode.Upsert {
		return c.apply(ctx, object, mode.DryRun, true)
	}
	client, err := c.resource(object)
	if err != nil {
		return nil, err
	}
	created, err := client.Create(ctx, object.Unstructured, metav1.CreateOptions{
		FieldManager: creator, DryRun: dryRun(mode.DryRun),
	})
	if mode.DryRun && errors.IsAlreadyExists(err) {
		return object.Object, nil
	}
	if err != nil {
		return nil, err
	}
	return withoutServerFields(created.Object), nil
}

// Update applies an object. What other managers own it takes only by force.
func (c *Cluster) Update(ctx context.Context, object Object, mode Mode) (map[string]any, error) {
	if mode.DryRun {
		// The creator's fields are only handed over for good.
		return c.apply(ctx, object, true, true)
	}
	// A controller may write to the object's status meanwhile.
	handOver := func() error { return c.handOver(ctx, object) }
	if err := retry.RetryOnConflict(retry.DefaultBackoff, handOver); err != nil {
		return nil, fmt.Errorf("field manager: %w", err)
	}
	return c.apply(ctx, object, false, mode.Force)
}

// handOver makes the applier the manager of the fields that an object was
// created with. Else it could change, but not remove them.
func (c *Cluster) handOver(ctx context.Context, object Object) error {
	client, err := c.resource(object)
	if err != nil {
		return err
	}
	live, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
	if err != nil {
		return err
	}
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(live, sets.New(
		creator, "kubectl", "kubectl-client-side-apply", "before-first-apply"), applier)
	if err != nil || len(patch) == 0 {
		return err
	}
	_, err = client.Patch(ctx, object.GetName(), types.JSONPatchType, patch, metav1.PatchOptions{})
	return err
}

func (c *Cluster) apply(ctx context.Context, object Object, dry, force bool) (map[string]any, error) {
	client, err := c.resource(object)
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(object.Object)
	if err != nil {
		return nil, err
	}
	applied, err := client.Patch(ctx, object.GetName(), types.ApplyPatchType, content, metav1.PatchOptions{
		FieldManager: applier, DryRun: dryRun(dry), Force: &force,
	})
	if err != nil {
		return nil, err
	}
	return withoutServerFields(applied.Object), nil
}

// Read reads an object.
func (c *Cluster) Read(ctx context.Context, object Object, _ map[string]any) (map[string]any, error) {
	client, err := c.resource(object)
	if err != nil {
		return nil, err
	}
	live, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
	if errors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return withoutServerFields(live.Object), nil
}

// Delete deletes an object and waits until it is gone. Unlike the real provider
// it does not wait for the objects that this one owns: that takes a garbage
// collector.
func (c *Cluster) Delete(ctx context.Context, object Object) error {
	client, err := c.resource(object)
	if err != nil {
		return err
	}
	propagation := metav1.DeletePropagationBackground
	if object.GetAnnotations()[deletionPropagation] == "orphan" {
		propagation = metav1.DeletePropagationOrphan
	}
	err = client.Delete(ctx, object.GetName(), metav1.DeleteOptions{PropagationPolicy: &propagation})
	if errors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	gone := func(ctx context.Context) (bool, error) {
		_, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
		if errors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	}
	if err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, deletion, true, gone); err != nil {
		return fmt.Errorf("wait until it is gone: %w", err)
	}
	return nil
}

func (c *Cluster) resource(object Object) (dynamic.ResourceInterface, error) {
	kind := object.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, fmt.Errorf("the API server has no kind %s of %s: %w", kind.Kind, kind.GroupVersion(), err)
	}
	return c.client.Resource(mapping.Resource).Namespace(object.GetNamespace()), nil
}

func dryRun(dry bool) []string {
	if dry {
		return []string{metav1.DryRunAll}
	}
	return nil
}
