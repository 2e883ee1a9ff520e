// Package cnpg gives a CloudNativePG database two copies of its backups, each of
// which restores by itself: one in a Backblaze B2 bucket, one in a bucket on the
// local NAS, at MinIO or another S3 server.
//
// [NewDatabase] creates everything for one PostgreSQL cluster. For several databases,
// create one storage with [NewStorage] and pass it to each of them.
//
// # Components
//
//   - [Database] is one PostgreSQL cluster with everything that its backups need. It
//     makes a Storage of its own when it is given none.
//   - [Storage] is an environment's two buckets and their keys. It hands out the
//     credentials of a namespace.
//   - [Credentials] brings the B2 key from Bitwarden into a namespace.
//   - [Drill] restores one copy of a database into a Cluster that is thrown away, with
//     the operator. [DrillOptions] has the cluster rehearse restores by itself.
//   - [Dashboard] shows all databases that have [Monitoring] in Grafana.
//
// # Words
//
// The archive is the store that the cluster writes WAL and base backups to; the
// mirror is the other store, a verified copy. A generation numbers the lives of a
// cluster: each restore begins the next life, and each life writes to a server name
// (barman's folder) of its own, so that no restore ever overwrites what it came from.
//
// # Arguments and outputs
//
// Arguments are plain Go values, not Pulumi inputs. Only then can all of them be
// checked, and names be derived from them, before anything is created. A duration is
// written as Go writes it, for instance "90m" or "24h", and a size as Kubernetes writes
// it, for instance "20Gi".
//
// Whatever the arguments name has to exist, or to be created in the same program before
// it is needed. If the program creates a namespace or a Secret itself, depend on it:
//
//	namespace, err := corev1.NewNamespace(ctx, "auth", …)
//	storage, err := cnpg.NewStorage(ctx, "storage", …,
//		pulumi.DependsOn([]pulumi.Resource{namespace}))
//	database, err := cnpg.NewDatabase(ctx, "authentik", …,
//		pulumi.DependsOn([]pulumi.Resource{namespace, secret}))
//
// The storage depends on the namespace as well, because it creates the credentials
// there. Outputs come from the resources: what uses one is created after the Cluster,
// and deleted before it.
//
// # Errors
//
// Every constructor checks its arguments before it registers anything, and reports
// all problems at once, each with the field, the value and what was expected. It is
// also a problem if one program would create the same thing twice: a bucket, an object,
// or a folder that two databases would write to.
//
// Some changes can only be checked against what is deployed, for instance a recovery
// for a Cluster that already runs. Pulumi refuses those, in the preview as in an
// update; docs/restore.md lists them.
package cnpg
