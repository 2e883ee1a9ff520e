package tools

// BarmanCloudPlugin is the Barman Cloud plugin's manager: with "operator" the
// plugin's operator, with "instance" and "restore" the sidecar.
func BarmanCloudPlugin() Tool {
	return Tool{
		Name:    "barman-cloud-manager",
		Module:  "barman-cloud-plugin",
		Package: "github.com/cloudnative-pg/plugin-barman-cloud/cmd/manager",
	}
}
