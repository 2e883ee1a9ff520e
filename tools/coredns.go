package tools

// CoreDNS answers for the names of a cluster's services.
func CoreDNS() Tool {
	return Tool{
		Name:    "coredns",
		Module:  "coredns",
		Package: "github.com/homelab-iac/pulumi-cnpg-backup/tools/coredns",
	}
}
