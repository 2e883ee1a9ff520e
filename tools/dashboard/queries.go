package main

// The states of a copy that the rules record. The numbers order them: one that is
// worse outweighs any number of better ones.
const (
	nothingWrong = "0"
	lookAtIt     = "1"
	unknown      = "10"
	actNow       = "100"
)

// Values that stand for words where there is no number to show. Ages are never
// negative.
const (
	never    = "-1"
	noMirror = "-2"
)

// archive and mirror are the roles of the two copies.
const archive, mirror = "archive", "mirror"

// A database is known by the state of its archive, which its rules record with the
// labels namespace, cnpg_cluster and database.
const (
	byCluster  = `by (namespace, cnpg_cluster)`
	byDatabase = `by (namespace, cnpg_cluster, database)`
	inventory  = `group ` + byDatabase + ` (cnpg_backup_state{role="archive"})`
	ofDatabase = ` * on (namespace, cnpg_cluster) group_left (database) ` + inventory
)

// named gives what is known by cluster the database's name.
func named(expr string) string { return "(" + expr + ")" + ofDatabase }

// state is what the firing alerts about a copy come to. A database may have no
// mirror.
func state(of string) string {
	recorded := "max " + byDatabase + ` (cnpg_backup_state{role="` + of + `"})`
	if of == mirror {
		recorded += " or " + inventory + " * " + noMirror
	}
	return recorded
}

// order is the worst first.
func order() string {
	return "sum " + byDatabase + " (cnpg_backup_state)"
}

// sinceBackup is the age of the newest base backup. The plugin says 0 when there
// is none, and nothing when it does not answer.
func sinceBackup() string {
	const newest = `max ` + byCluster + ` (barman_cloud_cloudnative_pg_io_last_available_backup_timestamp)`
	return named("time() - (" + newest + " > 0) or (" + newest + " == 0) + " + never)
}

// window is for how long back the archive restores.
func window() string {
	return `time() - (max by (namespace, cnpg_cluster) (barman_cloud_cloudnative_pg_io_first_recoverability_point) > 0)`
}

// since is how long ago a recorded time is, of which 0 is never.
func since(recorded string) string {
	last := "max " + byDatabase + " (" + recorded + ")"
	return "time() - (" + last + " > 0) or (" + last + " == 0) + " + never
}

// sinceMirror is how old the mirror is.
func sinceMirror() string { return since("cnpg_backup_mirrored_timestamp_seconds") }

// sinceDrill is how long ago a drill from a store has ended well.
func sinceDrill(store string) string {
	return since(`cnpg_backup_drilled_timestamp_seconds{copy="` + store + `"}`)
}

// walWaiting are the segments that are not archived yet.
func walWaiting() string {
	return named(`max ` + byCluster + ` (cnpg_collector_pg_wal_archive_status{value="ready"})`)
}

// walVolume is how full the volumes with WAL are. The operator counts by what
// was asked for; without a volume of its own it says NaN.
func walVolume() string {
	return named(`max ` + byCluster + ` (
  cnpg_collector_pg_wal{value="size"} / ignoring (value) (cnpg_collector_pg_wal{value="volume_size"} > 0)
)`)
}

// size is what the databases hold, before compression.
func size() string {
	return `sum ` + byCluster + ` (max by (namespace, cnpg_cluster, datname) (cnpg_pg_database_size_bytes))`
}

// windowKept is how much of the retention can be restored; a new database grows
// into it.
func windowKept() string {
	return named("(" + window() + ") / max " + byCluster + ` (cnpg_backup_retention_seconds{role="archive"})`)
}

// cost is what the copy at B2 comes to in a month: schedule, retention, undelete
// window and codec by the configuration, the size of the database and the WAL of the
// last day as they are. WAL counts as if it were not compressed.
func cost() string {
	price := func(what string) string { return "max " + byCluster + " (cnpg_backup_dollars_per_gb" + what + ")" }
	return named(price("") + " * " + size() + " / 1e9 + " +
		price("_of_wal_a_day") + " * max " + byCluster + " (increase(cnpg_collector_wal_bytes[1d])) / 1e9")
}
