package tools

// Kubectl is the command that guides tell people to use.
func Kubectl() Tool {
	return Tool{
		Name:    "kubectl",
		Module:  "kubectl",
		Package: "github.com/homelab-iac/pulumi-cnpg-backup/tools/kubectl",
	}
}
