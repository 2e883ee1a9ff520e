package cnpg

import (
	"errors"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// warn shows warnings beside a component, in a preview and in an update. They
// are about what works today and may fail the day it is needed.
func warn(ctx *pulumi.Context, component pulumi.Resource, warnings []string) {
	onceRegistered(ctx, component, func() error {
		var err error
		for _, warning := range warnings {
			err = errors.Join(err, ctx.Log.Warn(warning, &pulumi.LogArgs{Resource: component}))
		}
		return err
	})
}
