package tools

// Pulumi is the Pulumi CLI with its engine, of the same release as the SDK that
// the programs use.
func Pulumi() Tool {
	return Tool{
		Name:    "pulumi",
		Module:  "pulumi",
		Package: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
		LDFlags: func(version string) string {
			return "-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=" + version
		},
	}
}
