package tools

// CloudNativePG is the operator's manager: with "controller" the operator and
// its webhooks, with "instance" what runs in a database's pod.
func CloudNativePG() Tool {
	return Tool{
		Name:    "cnpg-manager",
		Module:  "cnpg",
		Package: "github.com/cloudnative-pg/cloudnative-pg/cmd/manager",
	}
}
