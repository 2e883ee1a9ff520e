package provider

import (
	"context"
	"encoding/json"
	stderrors "errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
)

const (
	// creator is the field manager of an object that Pulumi creates. What
	// applies has a name of its own that begins with it.
	creator = "pulumi-kubernetes"
	// kubectl is what the field managers of kubectl begin with.
	kubectl = "kubectl"
)

// Cluster keeps Kubernetes objects in a real API server.
type Cluster struct {
	client   *kube.Client
	patience time.Duration
}

// NewCluster returns a target for an API server. The server's warnings are told
// to warn, which may be nil. It waits for what it makes as the real provider
// does, but no longer than with patience for one object, unless that is 0.
func NewCluster(server *rest.Config, warn func(warning string), patience time.Duration) (*Cluster, error) {
	config := rest.CopyConfig(server)
	config.QPS = -1 // The server's own flow control is enough.
	config.WarningHandler = warnings(warn)
	client, err := kube.NewClient(config, creator)
	if err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	return &Cluster{client: client, patience: patience}, nil
}

type warnings func(warning string)

// HandleWarningHeader is called for each warning of each answer.
func (w warnings) HandleWarningHeader(_ int, _, text string) {
	if w != nil {
		w(text)
	}
}

// Create creates an object, or applies it when it may exist already. A dry run
// passes over what an earlier step of the same run may put right: that the
// object exists, as it may be there to be replaced, and that its namespace, its
// kind or the right to make it does not.
func (c *Cluster) Create(ctx context.Context, object Object, mode Mode) (map[string]any, error) {
	client, err := c.resource(object)
	if mode.DryRun && meta.IsNoMatchError(err) {
		return object.Object, nil
	}
	if err != nil {
		return nil, err
	}
	var created *unstructured.Unstructured
	if mode.Upsert {
		created, err = apply(ctx, client, object, mode, mode.Force || mode.DryRun)
	} else {
		created, err = client.Create(ctx, object.Unstructured, metav1.CreateOptions{
			FieldManager: creator, DryRun: dryRun(mode.DryRun),
		})
	}
	if mode.DryRun && (errors.IsAlreadyExists(err) || errors.IsForbidden(err) || isNamespaceMissing(err)) {
		return object.Object, nil
	}
	if err != nil {
		return nil, err
	}
	return withoutServerFields(created.Object), nil
}

func isNamespaceMissing(err error) bool {
	var status *errors.StatusError
	return stderrors.As(err, &status) && errors.IsNotFound(err) && status.ErrStatus.Details.Kind == "namespaces"
}

// Update applies an object. What other managers own it takes only by force.
func (c *Cluster) Update(ctx context.Context, object Object, mode Mode) (map[string]any, error) {
	client, err := c.resource(object)
	if mode.DryRun && meta.IsNoMatchError(err) {
		return object.Object, nil
	}
	if err != nil {
		return nil, err
	}
	var applied *unstructured.Unstructured
	// A controller may write to the object's status meanwhile.
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		live, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
		if err != nil || mode.DryRun {
			applied = live
			return err
		}
		applied, err = handOver(ctx, client, live, mode.Manager)
		return err
	})
	if err != nil {
		return nil, err
	}
	applied, err = apply(ctx, client, object, mode, forces(object, applied, mode))
	if mode.DryRun && errors.IsForbidden(err) {
		return object.Object, nil
	}
	if err != nil {
		return nil, err
	}
	return withoutServerFields(applied.Object), nil
}

// forces tells whether an update takes over what others manage. A dry run does
// when what is still the creator's would be handed over before.
func forces(object Object, live *unstructured.Unstructured, mode Mode) bool {
	if mode.Force || object.GetAnnotations()["pulumi.com/patchForce"] == "true" || len(live.GetManagedFields()) == 0 {
		return true
	}
	return mode.DryRun && slices.ContainsFunc(live.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == creator && entry.Operation == metav1.ManagedFieldsOperationUpdate
	})
}

// handOver makes a manager the one who applied the fields that an object was
// created with, by Pulumi or by kubectl. Else it could change, but not remove
// them.
func handOver(
	ctx context.Context, client dynamic.ResourceInterface, live *unstructured.Unstructured, manager string,
) (*unstructured.Unstructured, error) {
	own := metav1.ManagedFieldsEntry{
		Manager: manager, Operation: metav1.ManagedFieldsOperationApply,
		APIVersion: live.GetAPIVersion(), FieldsType: "FieldsV1",
	}
	fields, found := &fieldpath.Set{}, false
	var entries []metav1.ManagedFieldsEntry
	for _, entry := range live.GetManagedFields() {
		former := isFormer(entry)
		if !former && (entry.Manager != manager || entry.Operation != metav1.ManagedFieldsOperationApply) {
			entries = append(entries, entry)
			continue
		}
		var set fieldpath.Set
		if err := set.FromJSON(entry.FieldsV1.GetRawReader()); err != nil {
			return nil, fmt.Errorf("fields of %s: %w", entry.Manager, err)
		}
		fields, found = fields.Union(&set), found || former
	}
	if !found {
		return live, nil
	}
	raw, err := fields.ToJSON()
	if err != nil {
		return nil, err
	}
	own.FieldsV1 = &metav1.FieldsV1{Raw: raw}
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/managedFields", "value": append(entries, own)},
		// Nobody else is to have written meanwhile.
		{"op": "replace", "path": "/metadata/resourceVersion", "value": live.GetResourceVersion()},
	})
	if err != nil {
		return nil, err
	}
	return client.Patch(ctx, live.GetName(), types.JSONPatchType, patch, metav1.PatchOptions{})
}

// isFormer tells whether what a manager has is handed over.
func isFormer(entry metav1.ManagedFieldsEntry) bool {
	if entry.Subresource != "" {
		return false
	}
	former := []string{kubectl}
	if entry.Operation == metav1.ManagedFieldsOperationUpdate {
		former = append(former, creator, "before-first-apply")
	}
	return slices.ContainsFunc(former, func(prefix string) bool { return strings.HasPrefix(entry.Manager, prefix) })
}

func apply(
	ctx context.Context, client dynamic.ResourceInterface, object Object, mode Mode, force bool,
) (*unstructured.Unstructured, error) {
	content, err := json.Marshal(object.Object)
	if err != nil {
		return nil, err
	}
	return client.Patch(ctx, object.GetName(), types.ApplyPatchType, content, metav1.PatchOptions{
		FieldManager: mode.Manager, DryRun: dryRun(mode.DryRun), Force: &force,
	})
}

// Read reads an object.
func (c *Cluster) Read(ctx context.Context, object Object, _ map[string]any) (map[string]any, error) {
	client, err := c.resource(object)
	if meta.IsNoMatchError(err) {
		return nil, nil
	}
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

// Delete deletes an object and waits until it is gone. What it owns goes before
// it, or stays when the program says so.
func (c *Cluster) Delete(ctx context.Context, object Object, mode Deletion) error {
	client, err := c.resource(object)
	if meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return err
	}
	propagation := metav1.DeletePropagationForeground
	if mode.Orphan {
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
	if err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, mode.Limit, true, gone); err != nil {
		return fmt.Errorf("wait until it is gone: %w", err)
	}
	return nil
}

func (c *Cluster) resource(object Object) (dynamic.ResourceInterface, error) {
	kind := object.GroupVersionKind()
	client, err := c.client.Resource(kind, object.GetNamespace())
	if err != nil {
		return nil, fmt.Errorf("the API server has no kind %s of %s: %w", kind.Kind, kind.GroupVersion(), err)
	}
	return client, nil
}

func dryRun(dry bool) []string {
	if dry {
		return []string{metav1.DryRunAll}
	}
	return nil
}

// withoutServerFields takes out what the API server keeps for itself.
func withoutServerFields(object map[string]any) map[string]any {
	unstructured.RemoveNestedField(object, "metadata", "managedFields")
	return object
}
