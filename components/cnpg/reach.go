package cnpg

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// limited tells whether a namespace's key for a location reaches the namespace's
// own folder and nothing else.
func (a *StorageArgs) limited(at Location) bool {
	if at == MinIO {
		return a.MinIO.User != ""
	}
	return isForEach(a.B2.inUse())
}

// reaches tells whether a path in a bucket is in the folder of a namespace.
func reaches(namespace, path string) bool {
	return path == namespace || strings.HasPrefix(path, namespace+"/")
}

// checkReach wants all that a database reads and writes to be where the keys of
// its namespace reach.
func (a *DatabaseArgs) checkReach(at *field.Path, n names, storage *StorageArgs) field.ErrorList {
	if storage == nil {
		return nil
	}
	problems := checkKeyNames(at.Child("namespace"), n.namespace, storage)
	if (storage.limited(B2) || storage.limited(MinIO)) && !reaches(n.namespace, n.path) {
		problems = append(problems, field.Invalid(at.Child("path"), a.Path, fmt.Sprintf(
			"is not in %[1]q, and the keys of the namespace reach nothing else: "+
				"move the backups there, or use keys for the whole bucket", n.namespace+"/")))
	}
	if a.Recovery == nil {
		return problems
	}
	from := a.Recovery.withDefaults(n)
	switch secret := at.Child("recovery").Child("sourceSecret"); {
	case from.SourceSecret == "" && !from.sameCluster(n) && storage.limited(from.Source) && !reaches(n.namespace, from.Path):
		problems = append(problems, field.Required(secret, fmt.Sprintf(
			"the keys of namespace %q do not reach the backups in %q: "+
				"create a Secret with a key that may read them, and name it here", n.namespace, from.Path+"/")))
	case from.SourceSecret != "" && from.sameCluster(n):
		problems = append(problems, field.Forbidden(secret,
			"these are the cluster's own backups, which the key of its namespace reads: leave it out"))
	}
	return problems
}

// The longest names that are accepted, of a B2 key and, by the MinIO plugin, of a
// policy, which is called like its user:
// https://www.backblaze.com/apidocs/b2-create-key
// https://github.com/aminueza/terraform-provider-minio/blob/v1.20.1/minio/resource_minio_iam_policy.go
const longestB2Key, longestMinIOUser = 100, 96

// checkKeyNames wants names that are accepted for the keys of a namespace.
func checkKeyNames(at *field.Path, namespace string, storage *StorageArgs) field.ErrorList {
	var problems field.ErrorList
	check := func(pattern, name, what, configured string, longest int) {
		if isForEach(pattern) && len(name) > longest {
			problems = append(problems, field.Invalid(at, namespace, fmt.Sprintf(
				"makes the %s %q, with %d characters; %d are allowed: shorten %s", what, name, len(name), longest, configured)))
		}
	}
	for _, key := range storage.B2.Keys {
		name := forNamespace(key, namespace)
		if storage.Bitwarden.MirrorItem != "" {
			name += mirrorSuffix
		}
		check(key, name, "B2 key", "b2.keys", longestB2Key)
	}
	user := storage.MinIO.User
	check(user, forNamespace(user, namespace)+mirrorSuffix, "MinIO user", "minio.user", longestMinIOUser)
	return problems
}
