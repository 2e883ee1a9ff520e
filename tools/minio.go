package tools

// Minio is the S3 server that the tests run in place of B2 and, unless told otherwise,
// of the NAS.
func Minio() Tool {
	return Tool{Name: "minio", Module: "minio", Package: "github.com/minio/minio"}
}
