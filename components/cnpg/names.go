package cnpg

import (
	"fmt"
	"strconv"
	"strings"
)

// Location is where a copy of the backups is kept.
type Location string

// The two locations.
const (
	// B2 is the Backblaze B2 bucket, off-site.
	B2 Location = "b2"
	// MinIO is the MinIO bucket on the local NAS.
	MinIO Location = "minio"
)

// other returns the location that is not this one.
func (l Location) other() Location {
	if l == MinIO {
		return B2
	}
	return MinIO
}

const (
	// barmanPlugin is the name under which the Barman Cloud plugin registers
	// with the operator.
	barmanPlugin = "barman-cloud.cloudnative-pg.io"

	// B2Secret is the Kubernetes Secret, one in each namespace with databases,
	// that holds the B2 key.
	B2Secret = "b2-cnpg-credentials"

	// B2MirrorSecret holds the read-only B2 key, if there is one.
	B2MirrorSecret = "b2-cnpg-mirror-credentials"

	// MinIOSecret holds the key of a namespace's own MinIO user, if it has one:
	// archiving to MinIO and pruning the mirror use it.
	MinIOSecret = "minio-cnpg-credentials"

	// MinIOMirrorSecret holds the key of a second user, which may add to the mirror but
	// delete nothing.
	MinIOMirrorSecret = "minio-cnpg-mirror-credentials"

	// accessKeyID and secretAccessKey are the keys of every credentials Secret.
	accessKeyID     = "AWS_ACCESS_KEY_ID"
	secretAccessKey = "AWS_SECRET_ACCESS_KEY"
)

// names derives every name that belongs to one database.
type names struct {
	// database is the Pulumi name, the prefix of everything.
	database string
	// namespace and cluster are where the Cluster lives and what it is called.
	namespace, cluster string
	// path is the folder in both buckets for all lives of the cluster, without
	// slashes around it; "" is the bucket's root.
	path string
	// firstServer is the server name of the first life.
	firstServer string
	// firstBackup is the name of the first life's ScheduledBackup.
	firstBackup string
	// generation counts the lives of the cluster, from 1.
	generation int
}

// objectStore is the Kubernetes name of an ObjectStore, and its Pulumi name.
func (n names) objectStore(l Location) string { return fmt.Sprintf("%s-%s-store", n.database, l) }

// recoveryStore is the ObjectStore of another cluster's backups.
func (n names) recoveryStore() string { return n.database + "-recovery-store" }

// recoverySource is the external cluster that the Cluster lists for a location.
func (n names) recoverySource(l Location) string { return fmt.Sprintf("%s-%s-backup", n.database, l) }

// recoveryCluster is the external cluster that a recovery reads.
func (n names) recoveryCluster() string { return n.database + "-recovery" }

// serverName is barman's folder for this generation.
func (n names) serverName() string { return serverName(n.firstServer, n.generation) }

// generationOf is the generation that has a server name, if one of the cluster's
// has it.
func (n names) generationOf(server string) (generation int, known bool) {
	if server == n.firstServer {
		return 1, true
	}
	suffix, found := strings.CutPrefix(server, n.firstServer+"-")
	generation, err := strconv.Atoi(suffix)
	known = found && err == nil && serverName(n.firstServer, generation) == server
	return generation, known
}

// scheduledBackup changes with the generation: a new object takes its immediate
// first backup, which a new generation needs before it can be restored.
func (n names) scheduledBackup() string {
	if n.firstBackup != "" {
		return serverName(n.firstBackup, n.generation)
	}
	return serverName(n.cluster, n.generation) + "-backup"
}

// folder is where the cluster writes, in either bucket.
func (n names) folder() string { return folder(n.path, n.serverName()) }

// drill is the CronJob that restores the copy at a location.
func (n names) drill(l Location) string { return jobName(n.database, "-drill-"+string(l)) }

// readWriteHost is the service of the primary.
func (n names) readWriteHost() string { return fmt.Sprintf("%s-rw.%s.svc", n.cluster, n.namespace) }

// readOnlyHost is the service of the standbys.
func (n names) readOnlyHost() string { return fmt.Sprintf("%s-ro.%s.svc", n.cluster, n.namespace) }

// serverName is barman's folder for the n-th generation of a cluster, by that
// of the first.
func serverName(first string, generation int) string {
	if generation <= 1 {
		return first
	}
	return first + "-" + strconv.Itoa(generation)
}

// pathOr is the folder in a bucket that was said, without slashes around it, or
// the default for a cluster.
func pathOr(said, namespace, cluster string) string {
	if said == "" {
		return namespace + "/" + cluster
	}
	return strings.Trim(said, "/")
}

// folder is where barman keeps one server name, below a path.
func folder(path, server string) string {
	if path == "" {
		return server
	}
	return path + "/" + server
}

// foldersMeet tells whether one folder is the other or lies in it, where its
// files would be taken for those of a backup.
func foldersMeet(a, b string) bool {
	return strings.HasPrefix(a+"/", b+"/") || strings.HasPrefix(b+"/", a+"/")
}

// livesMeet tells whether lives of two clusters, by the server names of their
// first, would have one folder in a path that they share.
func livesMeet(a, b string) bool {
	_, later := names{firstServer: a}.generationOf(b)
	_, earlier := names{firstServer: b}.generationOf(a)
	return later || earlier
}

// destinationPath is the folder in a bucket for all generations of a cluster.
func destinationPath(bucket, path string) string {
	if path == "" {
		return "s3://" + bucket + "/"
	}
	return "s3://" + bucket + "/" + path
}
