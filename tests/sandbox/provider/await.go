package provider

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil/rpcerror"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/codes"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/kube"
)

// waitFor is the annotation that names what the provider is to wait for. Of what
// the real provider understands there is condition=<type>.
const waitFor = "pulumi.com/waitFor"

// Await waits until an object that was made or changed is ready: for the
// condition that its annotation names, or until a Job is complete.
func (c *Cluster) Await(ctx context.Context, object Object, limit time.Duration) error {
	wanted := awaited(object.Unstructured)
	if c.patience == 0 || wanted == "" {
		return nil
	}
	if limit <= 0 || limit > c.patience {
		limit = c.patience
	}
	client, err := c.resource(object)
	if err != nil {
		return err
	}
	var last error
	err = wait.PollUntilContextTimeout(ctx, 500*time.Millisecond, limit, true, func(ctx context.Context) (bool, error) {
		live, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		if object.GetKind() == "Job" && kube.Condition(live, "Failed") == nil {
			return false, errors.New("the Job has failed")
		}
		last = kube.Condition(live, wanted)
		return last == nil, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("not ready after %s: %w", limit, last)
	}
	return err
}

// awaited is the condition that an object is to meet, "" for none.
func awaited(object *unstructured.Unstructured) string {
	if object.GetKind() == "Job" {
		return "Complete"
	}
	condition, _ := strings.CutPrefix(object.GetAnnotations()[waitFor], "condition=")
	return condition
}

// initFailed tells the engine that an object was made but is not ready. The
// engine then keeps it in the state.
func initFailed(id resource.ID, properties resource.PropertyMap, reason error) error {
	marshalled, err := plugin.MarshalProperties(properties, plugin.MarshalOptions{KeepSecrets: true})
	if err != nil {
		return err
	}
	return rpcerror.WithDetails(rpcerror.New(codes.Unknown, reason.Error()), &pulumirpc.ErrorResourceInitFailed{
		Id: string(id), Properties: marshalled, Reasons: []string{reason.Error()},
	})
}
