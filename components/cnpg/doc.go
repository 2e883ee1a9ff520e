// Package cnpg gives a CloudNativePG database two copies of its backups, each
// of which restores by itself: one in a Backblaze B2 bucket, one in a MinIO
// bucket on the local NAS.
//
// Three components make it up, and a fourth rehearses it. [Storage] is an
// environment's two buckets and their keys. [Credentials] brings the B2 key from
// Bitwarden into a namespace. [Database] is one PostgreSQL cluster with
// everything that its backups need; it makes the other two when it is given
// none. [Drill] restores one copy of a database into a cluster that is thrown
// away.
//
// # Words
//
// The archive is the store that the cluster writes WAL and base backups to; the
// mirror is the other store. A generation numbers the lives of a cluster: each
// restore begins the next one, and each writes to a server name (barman's
// folder) of its own, so that no restore ever overwrites what it came from.
//
// # Errors
//
// Every constructor validates its arguments before it registers anything and
// reports all problems at once, each with field, value and what was expected.
package cnpg
