package tools

// ExternalSecrets is the External Secrets operator with all of its providers:
// without a command its controllers, with "webhook" its admission webhooks.
func ExternalSecrets() Tool {
	return Tool{
		Name:    "external-secrets",
		Module:  "external-secrets",
		Package: "github.com/external-secrets/external-secrets",
	}
}
