package cnpg

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// warn shows warnings beside a component, in a preview and in an update. They
// are about what works today and may fail the day it is needed.
func warn(ctx *pulumi.Context, component pulumi.Resource, warnings []string) error {
	for _, warning := range warnings {
		if err := ctx.Log.Warn(warning, &pulumi.LogArgs{Resource: component}); err != nil {
			return fmt.Errorf("show a warning: %w", err)
		}
	}
	return nil
}
