package store

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"
)

// Fault is what kind of thing keeps a store from being read.
type Fault string

// The faults.
const (
	// Unreachable is a server that does not answer, or not in time.
	Unreachable Fault = "unreachable"
	// Untrusted is a certificate of an authority that is not known.
	Untrusted Fault = "untrusted"
	// Denied is a key that is wrong or may not do it.
	Denied Fault = "denied"
	// Region is a request that was signed for another region.
	Region Fault = "region"
	// NoBucket is a bucket that does not exist.
	NoBucket Fault = "no bucket"
	// Capped is an account that has reached a limit.
	Capped Fault = "capped"
	// Other is what the server said beside these.
	Other Fault = "other"
)

// FaultOf tells what an error of a store is.
func FaultOf(err error) Fault {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	if errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid) {
		return Untrusted
	}
	var response minio.ErrorResponse
	if !errors.As(err, &response) || response.StatusCode == 0 {
		return Unreachable
	}
	text := strings.ToLower(response.Message)
	switch {
	case strings.Contains(text, "cap exceeded"):
		return Capped
	case response.Code == "NoSuchBucket":
		return NoBucket
	case response.Code == "AuthorizationHeaderMalformed", strings.Contains(text, "region"),
		response.StatusCode == http.StatusMovedPermanently:
		return Region
	case response.StatusCode == http.StatusForbidden, response.StatusCode == http.StatusUnauthorized:
		return Denied
	default:
		return Other
	}
}

// Said is what the server or the network said, in a line.
func Said(err error) string {
	var response minio.ErrorResponse
	if errors.As(err, &response) && response.StatusCode != 0 {
		return strings.TrimSpace(http.StatusText(response.StatusCode) + " " + response.Code + ": " + response.Message)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	var request *url.Error
	if errors.As(err, &request) {
		return request.Err.Error()
	}
	return err.Error()
}
