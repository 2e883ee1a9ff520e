// Command stacks is the Pulumi program: it deploys the environment that the
// selected stack's configuration describes.
package main

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/homelab-iac/pulumi-cnpg-backup/stacks/environment"
)

func main() {
	pulumi.Run(environment.Deploy)
}
