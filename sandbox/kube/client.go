package kube

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// Client reads and writes objects of any type.
type Client struct {
	// manager is whom the API server sees as the owner of what is written.
	manager string
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

// NewClient returns a client for the API server, which knows what it writes as
// the field manager's.
func NewClient(config *rest.Config, manager string) (*Client, error) {
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	types, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Client{
		manager: manager,
		dynamic: objects,
		mapper:  restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(types)),
	}, nil
}

// Resource returns the access to the objects of a type, in a namespace if the
// type has namespaces.
func (c *Client) Resource(kind schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset()
		mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.dynamic.Resource(mapping.Resource).Namespace(namespace), nil
	}
	return c.dynamic.Resource(mapping.Resource), nil
}

// Apply creates or changes objects by server-side apply.
func (c *Client) Apply(ctx context.Context, objects ...*unstructured.Unstructured) error {
	for _, object := range objects {
		resource, err := c.Resource(object.GroupVersionKind(), object.GetNamespace())
		if err == nil {
			_, err = resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: c.manager, Force: true})
		}
		if err != nil {
			return fmt.Errorf("apply %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

// ApplyFiles applies the objects of YAML files and returns them.
func (c *Client) ApplyFiles(ctx context.Context, files ...string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for _, file := range files {
		read, err := ReadManifests(file)
		if err != nil {
			return nil, err
		}
		objects = append(objects, read...)
	}
	return objects, c.Apply(ctx, objects...)
}

// Create creates an object, or with dryRun only asks whether it could.
func (c *Client) Create(ctx context.Context, object *unstructured.Unstructured, dryRun bool) (*unstructured.Unstructured, error) {
	resource, err := c.Resource(object.GroupVersionKind(), object.GetNamespace())
	if err != nil {
		return nil, err
	}
	options := metav1.CreateOptions{FieldManager: c.manager, FieldValidation: metav1.FieldValidationStrict}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	return resource.Create(ctx, object, options)
}

// Get reads an object.
func (c *Client) Get(ctx context.Context, kind schema.GroupVersionKind, namespace, name string) (*unstructured.Unstructured, error) {
	resource, err := c.Resource(kind, namespace)
	if err != nil {
		return nil, err
	}
	return resource.Get(ctx, name, metav1.GetOptions{})
}

// List reads the objects of a type in a namespace, or in all for "".
func (c *Client) List(ctx context.Context, kind schema.GroupVersionKind, namespace string) ([]unstructured.Unstructured, error) {
	resource, err := c.Resource(kind, namespace)
	if err != nil {
		return nil, err
	}
	list, err := resource.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// Patch changes an object by a JSON merge patch.
func (c *Client) Patch(ctx context.Context, kind schema.GroupVersionKind, namespace, name string, patch []byte) error {
	return c.patch(ctx, kind, namespace, name, patch)
}

// PatchStatus changes an object's status by a JSON merge patch, as a controller
// would.
func (c *Client) PatchStatus(ctx context.Context, kind schema.GroupVersionKind, namespace, name string, patch []byte) error {
	return c.patch(ctx, kind, namespace, name, patch, "status")
}

func (c *Client) patch(ctx context.Context, kind schema.GroupVersionKind, namespace, name string, patch []byte, part ...string) error {
	resource, err := c.Resource(kind, namespace)
	if err != nil {
		return err
	}
	_, err = resource.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: c.manager}, part...)
	return err
}

// Release deletes an object at once: it takes away what the object waits for
// and gives a pod no time to end.
func (c *Client) Release(ctx context.Context, kind schema.GroupVersionKind, namespace, name string) error {
	if err := c.Patch(ctx, kind, namespace, name, []byte(`{"metadata":{"finalizers":null}}`)); err != nil {
		return err
	}
	resource, err := c.Resource(kind, namespace)
	if err != nil {
		return err
	}
	now := int64(0)
	policy := metav1.DeletePropagationBackground
	err = resource.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &now, PropagationPolicy: &policy})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
