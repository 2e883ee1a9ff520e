package tools

// VersityGW is the S3 server that the tests can run in place of the NAS's MinIO.
func VersityGW() Tool {
	return Tool{Name: "versitygw", Module: "versitygw", Package: "github.com/versity/versitygw/cmd/versitygw"}
}
