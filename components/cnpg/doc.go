// Package cnpg gives a CloudNativePG database two copies of its backups, each
// of which restores by itself: one in a Backblaze B2 bucket, one in a MinIO
// bucket on the local NAS.
//
// Three components make it up, and a fourth rehearses it. [Storage] is an
// environment's two buckets and their keys. [Credentials] brings the B2 key from
// Bitwarden into a namespace. [Database] is one PostgreSQL cluster with
// everything that its backups need; it makes a Storage when it is given none, and
// the Storage hands out the credentials. [Drill] restores one copy of a database
// into a cluster that is thrown away.
//
// # Words
//
// The archive is the store that the cluster writes WAL and base backups to; the
// mirror is the other store. A generation numbers the lives of a cluster: each
// restore begins the next one, and each writes to a server name (barman's
// folder) of its own, so that no restore ever overwrites what it came from.
//
// # Arguments and outputs
//
// Arguments are plain Go values on purpose, not Pulumi inputs: only so can all of
// them be checked before anything is created, and names be derived from them. What
// the arguments name has to exist, or to be made in the same program before it
// is needed; for a namespace or a Secret that the program makes itself, say so:
//
//	namespace, err := corev1.NewNamespace(ctx, "auth", …)
//	storage, err := cnpg.NewStorage(ctx, "storage", …,
//		pulumi.DependsOn([]pulumi.Resource{namespace}))
//	database, err := cnpg.NewDatabase(ctx, "authentik", …,
//		pulumi.DependsOn([]pulumi.Resource{namespace, secret}))
//
// The storage needs it too, as it makes the namespace's credentials. Outputs
// derive from the resources: what uses one is made after the Cluster, and deleted
// before it.
//
// # Errors
//
// Every constructor validates its arguments before it registers anything and
// reports all problems at once, each with field, value and what was expected.
// What one program would make twice is such a problem: a bucket, an object, a
// folder that two databases would write to.
package cnpg
