// Package await waits until something is so.
package await

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
)

// Until asks every now and then until the answer is no error. When the context
// ends first, its error says so and what was missing last.
func Until(ctx context.Context, pause time.Duration, ask func(context.Context) error) error {
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(pause):
		}
	}
}

// Established waits until an API server serves the kinds that were defined.
func Established(ctx context.Context, client *kube.Client, definitions []*unstructured.Unstructured) error {
	for _, definition := range definitions {
		err := Condition(ctx, client, definition.GroupVersionKind(), "", definition.GetName(), "Established")
		if err != nil {
			return err
		}
	}
	return nil
}

// Condition waits until a condition of an object is met.
func Condition(ctx context.Context, client *kube.Client, kind schema.GroupVersionKind, namespace, name, condition string) error {
	return Until(ctx, 100*time.Millisecond, func(ctx context.Context) error {
		object, err := client.Get(ctx, kind, namespace, name)
		if err != nil {
			return err
		}
		return kube.Condition(object, condition)
	})
}
