// Package b2 creates and looks up Backblaze B2 buckets and application keys.
//
// It is the Pulumi SDK of version 0.13.0 of Backblaze's Terraform provider
// (backblaze/b2), which Pulumi runs through its terraform-provider plugin,
// version 1.1.3. Only this file is written by hand. The others are generated
// from schema.json, the provider's complete package schema, by
//
//	go generate ./components/b2/doc.go
//
// No such SDK is published. It lies in this module, and not in one of its own,
// so that importers of the module get it without a replace directive.
package b2

//go:generate go -C ../../tools/b2sdk run .
