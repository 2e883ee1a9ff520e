package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil/rpcerror"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/theory/jsonpath"
	"google.golang.org/grpc/codes"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
)

// What the real provider reads in an object's annotations.
const (
	waitFor        = "pulumi.com/waitFor"
	skipAwait      = "pulumi.com/skipAwait"
	timeoutSeconds = "pulumi.com/timeoutSeconds"
	// propagation is what becomes of the objects that an object owns. Of the
	// real provider's values there is orphan, in lower case.
	propagation = "pulumi.com/deletionPropagationPolicy"
	// patience is how long it waits when it is not told.
	patience = 10 * time.Minute
)

// limit is how long an object may take to be ready or to be gone.
func limit(seconds float64, object Object) time.Duration {
	if seconds != 0 {
		return time.Duration(seconds) * time.Second
	}
	if given, err := strconv.Atoi(object.GetAnnotations()[timeoutSeconds]); err == nil {
		return time.Duration(given) * time.Second
	}
	return patience
}

// Await waits until an object is ready: for what its annotation says, or until a
// Job is complete.
func (c *Cluster) Await(ctx context.Context, object Object, limit time.Duration) (map[string]any, error) {
	if c.patience > 0 {
		limit = min(limit, c.patience)
	}
	client, err := c.resource(object)
	if err != nil {
		return nil, err
	}
	conditions, err := conditionsOf(object.Unstructured)
	if err != nil {
		return nil, err
	}
	var live *unstructured.Unstructured
	var last error
	err = wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, limit, true, func(ctx context.Context) (bool, error) {
		var err error
		if live, err = client.Get(ctx, object.GetName(), metav1.GetOptions{}); err != nil {
			return false, err
		}
		for _, met := range conditions {
			if last, err = met(live); last != nil || err != nil {
				return false, err
			}
		}
		return true, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("not ready after %s: %w", limit, last)
	}
	if err != nil {
		return nil, err
	}
	return withoutServerFields(live.Object), nil
}

// condition tells why an object is not ready yet. It fails when the object
// never will be.
type condition func(live *unstructured.Unstructured) (unmet, failed error)

// conditionsOf are all conditions that an object is to meet.
func conditionsOf(object *unstructured.Unstructured) ([]condition, error) {
	annotations := object.GetAnnotations()
	value := annotations[waitFor]
	switch {
	case annotations[skipAwait] == "true":
		return nil, nil
	case value == "" && object.GetKind() == "Job":
		return []condition{jobComplete}, nil
	case value == "":
		return nil, nil
	}
	var expressions []string
	if json.Unmarshal([]byte(value), &expressions) != nil {
		expressions = []string{value}
	}
	if len(expressions) == 0 {
		return nil, errors.New("at least one condition must be specified")
	}
	conditions := make([]condition, 0, len(expressions))
	for _, expression := range expressions {
		parsed, err := parseCondition(expression)
		if err != nil {
			return nil, err
		}
		conditions = append(conditions, parsed)
	}
	return conditions, nil
}

func jobComplete(live *unstructured.Unstructured) (unmet, failed error) {
	if kube.Condition(live, "Failed") == nil {
		return nil, errors.New("the Job has failed")
	}
	return kube.Condition(live, "Complete"), nil
}

// parseCondition reads "condition=<type>[=<status>]" or "jsonpath={<path>}[=<value>]".
func parseCondition(expression string) (condition, error) {
	if named, found := strings.CutPrefix(expression, "condition="); found {
		kind, status, given := strings.Cut(named, "=")
		if !given {
			status = "True"
		}
		return func(live *unstructured.Unstructured) (unmet, failed error) {
			return Meets(live, kind, status), nil
		}, nil
	}
	if path, found := strings.CutPrefix(expression, "jsonpath="); found {
		return parsePath(path)
	}
	return nil, fmt.Errorf(`expected a "jsonpath=" or "condition=" prefix, got %q`, expression)
}

// Meets tells why an object's condition has not the status, nil when it has. One that
// was written for an older generation of the object says nothing yet.
func Meets(live *unstructured.Unstructured, kind, status string) error {
	conditions, _, err := unstructured.NestedSlice(live.Object, "status", "conditions")
	if err != nil {
		return err
	}
	index := slices.IndexFunc(conditions, func(each any) bool {
		condition, _ := each.(map[string]any)
		name, _ := condition["type"].(string)
		return strings.EqualFold(name, kind)
	})
	if index < 0 {
		return fmt.Errorf("no condition %s", kind)
	}
	condition := conditions[index].(map[string]any)
	observed, known, _ := unstructured.NestedInt64(condition, "observedGeneration")
	if !known {
		observed, known, _ = unstructured.NestedInt64(live.Object, "status", "observedGeneration")
	}
	if known && observed < live.GetGeneration() {
		return fmt.Errorf("condition %s is of generation %d, not %d", kind, observed, live.GetGeneration())
	}
	if found, _ := condition["status"].(string); !strings.EqualFold(found, status) {
		return fmt.Errorf("condition %s is %s, not %s: %v", kind, found, status, condition["message"])
	}
	return nil
}

func parsePath(expression string) (condition, error) {
	path, value, hasValue := strings.Cut(expression, "}=")
	path = strings.TrimSuffix(path, "}")
	inner, opened := strings.CutPrefix(path, "{")
	if !opened || !hasValue && !strings.HasSuffix(expression, "}") {
		return nil, fmt.Errorf("%s should be wrapped in brackets { ... }", expression)
	}
	if hasValue && value == "" {
		return nil, fmt.Errorf("%s requires a value", expression)
	}
	parsed, err := jsonpath.NewParser().Parse("$" + strings.TrimPrefix(strings.TrimSpace(inner), "$"))
	if err != nil {
		return nil, fmt.Errorf("parsing %q: %w", expression, err)
	}
	return func(live *unstructured.Unstructured) (unmet, failed error) {
		selected := slices.Collect(parsed.Select(live.Object).All())
		switch {
		case len(selected) == 0:
			return fmt.Errorf("%s selects nothing", expression), nil
		case hasValue && fmt.Sprint(selected[0]) != value:
			return fmt.Errorf("%s is %v", expression, selected[0]), nil
		}
		return nil, nil
	}, nil
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
