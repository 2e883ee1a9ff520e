package tools

// GolangciLint is the linter of "make check".
func GolangciLint() Tool {
	return Tool{
		Name:    "golangci-lint",
		Module:  "golangci-lint",
		Package: "github.com/golangci/golangci-lint/v2/cmd/golangci-lint",
		LDFlags: func(version string) string { return "-X main.version=" + version },
	}
}
