package cnpg

import (
	"fmt"
	"strconv"
	"strings"
)

// Location is where a copy of the backups lies.
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

	// B2MirrorSecret holds the B2 key that may only read, if there is one.
	B2MirrorSecret = "b2-cnpg-mirror-credentials"

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
	// generation counts the lives of the cluster, from 1.
	generation int
}

// store is the Kubernetes name of an ObjectStore, and its Pulumi name.
func (n names) store(l Location) string { return fmt.Sprintf("%s-%s-store", n.database, l) }

// recoveryStore is the ObjectStore of another cluster's backups.
func (n names) recoveryStore() string { return n.database + "-recovery-store" }

// externalCluster is the recovery source that the Cluster lists for a location.
func (n names) externalCluster(l Location) string { return fmt.Sprintf("%s-%s-backup", n.database, l) }

// recoveryCluster is the recovery source for another cluster's backups.
func (n names) recoveryCluster() string { return n.database + "-recovery" }

// serverName is barman's folder for this generation.
func (n names) serverName() string { return serverName(n.cluster, n.generation) }

// generationOf is the generation that has a server name, if one of the cluster's
// has it.
func (n names) generationOf(server string) (generation int, known bool) {
	if server == n.cluster {
		return 1, true
	}
	suffix, found := strings.CutPrefix(server, n.cluster+"-")
	generation, err := strconv.Atoi(suffix)
	known = found && err == nil && serverName(n.cluster, generation) == server
	return generation, known
}

// scheduledBackup changes with the generation: a new object takes its immediate
// first backup, which a new generation needs before it can be restored.
func (n names) scheduledBackup() string { return n.serverName() + "-backup" }

// readWriteHost is the service of the primary.
func (n names) readWriteHost() string { return fmt.Sprintf("%s-rw.%s.svc", n.cluster, n.namespace) }

// readOnlyHost is the service of the standbys.
func (n names) readOnlyHost() string { return fmt.Sprintf("%s-ro.%s.svc", n.cluster, n.namespace) }

// serverName is barman's folder for the n-th generation of a cluster.
func serverName(cluster string, generation int) string {
	if generation <= 1 {
		return cluster
	}
	return cluster + "-" + strconv.Itoa(generation)
}

// destinationPath is the folder in a bucket for all generations of a cluster.
func destinationPath(bucket, namespace, cluster string) string {
	return fmt.Sprintf("s3://%s/%s/%s", bucket, namespace, cluster)
}
