// Command stacks is the Pulumi program: it deploys the environment that the
// selected stack's configuration describes.
package main

import (
	"os"

	"github.com/pulumi/pulumi/sdk/v3/go/common/constant"

	"github.com/homelab-iac/pulumi-cnpg-backup/stacks/environment"
)

func main() {
	if err := environment.Run(); err != nil {
		os.Exit(constant.ExitStatusLoggedError)
	}
}
