package cnpg

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	machineryapi "github.com/cloudnative-pg/machinery/pkg/api"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// refuse makes one error of all problems, each on a line of its own, or nil when
// there is none. The subject says what was being checked, for instance
// `database "authentik"`.
func refuse(subject string, problems field.ErrorList) error {
	if len(problems) == 0 {
		return nil
	}
	counted := "1 problem"
	if len(problems) > 1 {
		counted = fmt.Sprintf("%d problems", len(problems))
	}
	lines := make([]error, 0, len(problems)+1)
	lines = append(lines, fmt.Errorf("%s has %s, and nothing was created", subject, counted))
	for _, problem := range problems {
		lines = append(lines, fmt.Errorf("  - %w", problem))
	}
	return errors.Join(lines...)
}

// checkLabel wants what a namespace can be called, and one part of other names.
func checkLabel(at *field.Path, name, meaning string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, meaning)}
	}
	return checkName(at, name, validation.IsDNS1123Label,
		"expected lower-case letters, digits and hyphens, at most 63, with a letter or digit at both ends")
}

// checkNamespace wants a namespace that Kubernetes accepts.
func checkNamespace(at *field.Path, namespace string) field.ErrorList {
	return checkLabel(at, namespace, "the namespace of the database")
}

// checkCluster wants a name that the operator accepts. It builds service names
// from it, hence DNS-1035 and 50 characters.
func checkCluster(at *field.Path, cluster string) field.ErrorList {
	if len(cluster) > 50 {
		return field.ErrorList{field.Invalid(at, cluster,
			fmt.Sprintf("has %d characters; CloudNativePG allows 50", len(cluster)))}
	}
	return checkName(at, cluster, validation.IsDNS1035Label,
		"expected lower-case letters, digits and hyphens, with a letter at its beginning and a letter or digit at its end")
}

// checkObjectName wants a name that a Kubernetes object can have.
func checkObjectName(at *field.Path, name, meaning string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, meaning)}
	}
	return checkName(at, name, validation.IsDNS1123Subdomain,
		"expected lower-case letters, digits, hyphens and dots, at most 253, with a letter or digit at both ends")
}

// checkName asks one of Kubernetes' own rules, and says in plain words what it
// expects.
func checkName(at *field.Path, name string, complaints func(string) []string, expected string) field.ErrorList {
	if len(complaints(name)) == 0 {
		return nil
	}
	meant := strings.NewReplacer("_", "-", " ", "-").Replace(strings.ToLower(name))
	if len(complaints(meant)) == 0 {
		expected += fmt.Sprintf("; did you mean %q?", meant)
	}
	return field.ErrorList{field.Invalid(at, name, expected)}
}

// checkOneOf wants one of the listed words, or none where that means a default.
func checkOneOf[T ~string](at *field.Path, value T, words ...T) field.ErrorList {
	if value == "" || slices.Contains(words, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(at, value, words)}
}

var exactImage = regexp.MustCompile(
	`^[^\s@]+(@sha256:[0-9a-f]{64}|:v?[0-9]+\.[0-9]+\.[0-9]+[A-Za-z0-9._-]*(@sha256:[0-9a-f]{64})?)$`)

// checkExactImage wants an image that stays the same when it is pulled again.
func checkExactImage(at *field.Path, image string) field.ErrorList {
	if image == "" || exactImage.MatchString(image) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, image,
		`expected a tag with three numbers or a digest, for instance "`+defaultCopyImage+`"`)}
}

// mostUnits is the longest time in days, weeks or months. barman counts back from
// today, and before the year 1 its calendar ends.
const mostUnits = 9999

var (
	retentionPolicy  = regexp.MustCompile(`^[1-9][0-9]{0,3}[dwm]$`)
	tooLongRetention = regexp.MustCompile(`^[1-9][0-9]*[dwm]$`)
)

// checkRetention wants what the plugin accepts for ObjectStore.spec.retentionPolicy,
// and what barman can then count, or none.
func checkRetention(at *field.Path, retention string) field.ErrorList {
	if retention == "" || retention == none || retentionPolicy.MatchString(retention) {
		return nil
	}
	if tooLongRetention.MatchString(retention) {
		return field.ErrorList{field.Invalid(at, retention, fmt.Sprintf("expected at most %d", mostUnits))}
	}
	return field.ErrorList{field.Invalid(at, retention,
		`expected a number above 0 and d, w or m for days, weeks or months, for instance "30d", or none`)}
}

// checkQuantity wants a size that Kubernetes can parse and that is above zero.
func checkQuantity(at *field.Path, size string) field.ErrorList {
	parsed, err := resource.ParseQuantity(size)
	if err != nil {
		return field.ErrorList{field.Invalid(at, size, `is not a size; expected for instance "20Gi"`)}
	}
	switch {
	case parsed.Sign() <= 0:
		return field.ErrorList{field.Invalid(at, size, `expected a size above zero, for instance "20Gi"`)}
	case parsed.Cmp(smallestSize()) < 0:
		return field.ErrorList{tooSmall(at, size)}
	case parsed.Value() == math.MaxInt64: // what larger ones are cut to
		return field.ErrorList{field.Invalid(at, size, "is larger than Kubernetes can count")}
	}
	return nil
}

// smallestSize is a mebibyte: below it somebody has mistaken the unit.
func smallestSize() resource.Quantity { return resource.MustParse("1Mi") }

func tooSmall(at *field.Path, size string) *field.Error {
	number := strings.TrimRight(size, "mnu")
	if number == size {
		return field.Invalid(at, size, `is less than a mebibyte: a number without a unit counts bytes; did you mean "`+size+`Gi"?`)
	}
	return field.Invalid(at, size, `is in thousandths of a byte or less, which is what m means; did you mean "`+number+`Mi" or "`+number+`Gi"?`)
}

// checkMemory finds memory that is given in the unit of CPUs: 512m is half a byte,
// and nothing starts in that.
func checkMemory(at *field.Path, resources corev1.ResourceRequirements) field.ErrorList {
	var problems field.ErrorList
	for _, list := range []struct {
		name   string
		values corev1.ResourceList
	}{{"requests", resources.Requests}, {"limits", resources.Limits}} {
		memory, given := list.values[corev1.ResourceMemory]
		if given && memory.Sign() > 0 && memory.Cmp(smallestSize()) < 0 {
			problems = append(problems, tooSmall(at.Child(list.name, "memory"), memory.String()))
		}
	}
	return problems
}

// checkEndpoint wants scheme, host and perhaps a port. A path would be taken for
// the bucket.
func checkEndpoint(at *field.Path, endpoint string) field.ErrorList {
	parsed, err := url.Parse(endpoint)
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Hostname() == "" {
		return field.ErrorList{field.Invalid(at, endpoint,
			`expected scheme and host, for instance "https://nas.example.org:9000"`)}
	}
	if bare := parsed.Scheme + "://" + parsed.Host; bare != endpoint {
		return field.ErrorList{field.Invalid(at, endpoint,
			fmt.Sprintf("expected nothing but scheme, host and port: %q", bare))}
	}
	return nil
}

// checkCA wants a key in a Secret, for an endpoint with TLS.
func checkCA(at *field.Path, ca *machineryapi.SecretKeySelector, endpoint string) field.ErrorList {
	if ca == nil {
		return nil
	}
	if strings.HasPrefix(endpoint, "http://") {
		return field.ErrorList{field.Forbidden(at,
			"the endpoint is http://, which has no certificate: make it https://, or leave endpointCA out")}
	}
	problems := checkObjectName(at.Child("name"), ca.Name, "the Secret with the CA certificate")
	if ca.Key == "" {
		problems = append(problems, field.Required(at.Child("key"), `the key in the Secret, for instance "ca.crt"`))
	}
	return problems
}

var (
	bucketFolder = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
	bucketPath   = regexp.MustCompile(`^/?[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*/?$`)
)

// checkPath wants a folder in a bucket that S3, barman and rclone all spell in
// the same way.
func checkPath(at *field.Path, path string) field.ErrorList {
	if path == "" || path == "/" || bucketPath.MatchString(path) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, path,
		`expected folders without the bucket, of letters, digits, dots, hyphens and underscores, `+
			`for instance "auth/authentik-postgresql", or "/" for the bucket's root`)}
}

// checkServerName wants the name of one folder.
func checkServerName(at *field.Path, server string) field.ErrorList {
	if server == "" || bucketFolder.MatchString(server) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, server,
		`expected the name of one folder, of letters, digits, dots, hyphens and underscores`)}
}

func checkHistory(at *field.Path, limit *int32) field.ErrorList {
	if limit == nil || *limit >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, *limit, "expected 0 or more")}
}

// checkMinutes wants a duration that a job can be held to.
func checkMinutes(at *field.Path, given string) field.ErrorList {
	if given == "" {
		return nil
	}
	// Kubernetes counts seconds in 32 bits.
	const most = math.MaxInt32 / 3600
	switch parsed, err := time.ParseDuration(given); {
	case err != nil || parsed < time.Minute:
		return field.ErrorList{field.Invalid(at, given, `expected a duration of a minute or more, for instance "24h"`)}
	case parsed > most*time.Hour:
		return field.ErrorList{field.Invalid(at, given, fmt.Sprintf("expected at most %dh", most))}
	}
	return nil
}

var bandwidth = regexp.MustCompile(`^[1-9][0-9]{0,5}(\.[0-9]{1,3})?[KMG]$`)

// checkBandwidth wants what rclone takes for a limit, or none.
func checkBandwidth(at *field.Path, limit string) field.ErrorList {
	if limit == "" || bandwidth.MatchString(limit) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, limit, `expected bytes a second with K, M or G, for instance "4M"`)}
}

// sameServer compares two endpoints by host and port.
func sameServer(one, other string) bool {
	host := func(endpoint string) string {
		parsed, err := url.Parse(endpoint)
		if err != nil || parsed.Hostname() == "" {
			return ""
		}
		port := parsed.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[parsed.Scheme]
		}
		return strings.ToLower(parsed.Hostname()) + ":" + port
	}
	return host(one) != "" && host(one) == host(other)
}
