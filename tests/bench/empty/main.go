// Command empty is a Pulumi program that deploys nothing: what any program in Go
// costs to compile.
package main

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

func main() {
	pulumi.Run(func(*pulumi.Context) error { return nil })
}
