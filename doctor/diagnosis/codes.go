package diagnosis

import "slices"

// Code is what is wrong. It is stable: scripts, alerts and the guide use it.
type Code string

// The codes, in the order in which causes are looked for: what stands earlier
// explains what stands later.
const (
	StoreUnreachable  Code = "CB01"
	StoreUntrusted    Code = "CB02"
	StoreDenied       Code = "CB03"
	StoreRegion       Code = "CB04"
	StoreNoBucket     Code = "CB05"
	StoreCapped       Code = "CB06"
	ChecksumRefused   Code = "CB07"
	NoKMS             Code = "CB08"
	StoreOther        Code = "CB09"
	SecretStoreBad    Code = "CB10"
	SecretMissing     Code = "CB11"
	SecretNotSynced   Code = "CB12"
	CertificateOld    Code = "CB20"
	PluginMissing     Code = "CB21"
	PluginCertificate Code = "CB22"
	SidecarMemory     Code = "CB23"
	SidecarOutdated   Code = "CB24"
	PluginOld         Code = "CB25"
	NotEmpty          Code = "CB31"
	NotArchived       Code = "CB32"
	VolumeFull        Code = "CB33"
	WALOld            Code = "CB34"
	NotProved         Code = "CB35"
	VolumeFilling     Code = "CB36"
	BackupStuck       Code = "CB41"
	WrongMethod       Code = "CB42"
	FiveFields        Code = "CB43"
	Suspended         Code = "CB44"
	BackupFailed      Code = "CB45"
	NoBackup          Code = "CB46"
	BackupOld         Code = "CB47"
	FailedCounts      Code = "CB48"
	BackupIncomplete  Code = "CB49"
	Hole              Code = "CB50"
	NotPruned         Code = "CB51"
	InfoUnreadable    Code = "CB52"
	BaseDamaged       Code = "CB53"
	WALDamaged        Code = "CB54"
	PageDamaged       Code = "CB55"
	Unsound           Code = "CB56"
	BackupsGone       Code = "CB57"
	MirrorFails       Code = "CB61"
	MirrorIdle        Code = "CB62"
	MirrorBehind      Code = "CB63"
	MirrorNotProved   Code = "CB64"
	NothingToRecover  Code = "CB71"
	RecoveryStoreGone Code = "CB72"
	TargetTooLate     Code = "CB73"
	DownloadBroken    Code = "CB74"
	DrillNoSpace      Code = "CB75"
	LibraryMissing    Code = "CB76"
	NotStarting       Code = "CB77"
	RestoredOld       Code = "CB78"
	QueryWrong        Code = "CB79"
	DrillTooLong      Code = "CB80"
	LaterLife         Code = "CB81"
	TwoDatabases      Code = "CB82"
	DrillFails        Code = "CB83"
	DrillIdle         Code = "CB84"
	NoCluster         Code = "CB91"
	NotMonitored      Code = "CB92"
)

// entry is what is said of a code in any case.
type entry struct {
	code Code
	// title is the heading in the guide and the first line of a finding.
	title string
	// why is what leads to it.
	why string
}

// entries are all codes, in their order.
func entries() []entry {
	return []entry{
		{StoreUnreachable, "The store does not answer", "the endpoint is wrong, the server is down, or there is no way to it from here"},
		{StoreUntrusted, "The store's certificate is not trusted", "its certificate authority is not public, and endpointCA lacks it or a part of the chain"},
		{StoreDenied, "The store refuses the key", "the key is wrong, revoked, for another bucket, or may not do this; or the account has reached a limit"},
		{StoreRegion, "The store wants another region", "requests are signed for a region, and this server has another one"},
		{StoreNoBucket, "There is no such bucket", "it was deleted, or the endpoint or the name is wrong"},
		{StoreCapped, "The Backblaze account has reached a limit", `a cap under "Caps & Alerts" stops uploads, or reads`},
		{ChecksumRefused, "The store refuses the checksum headers", "the two AWS_*_CHECKSUM_* variables did not reach the pod"},
		{NoKMS, "The store cannot encrypt", "encryption is configured, and MinIO has no key service"},
		{StoreOther, "The store refuses to be read", "see what it said"},
		{SecretStoreBad, "The ClusterSecretStore is not ready", "External Secrets does not reach Bitwarden through it; the Secrets keep the keys that they have"},
		{SecretMissing, "The Secret with the key cannot be used", "it does not exist, lacks one of its two keys, or a space or line break got into it"},
		{SecretNotSynced, "The key does not arrive from Bitwarden", "the Secret keeps the key that it has, so backups go on until that is revoked"},
		{CertificateOld, "A certificate between operator and plugin is overdue", "cert-manager has not issued or renewed it; once it has expired, nothing is archived"},
		{PluginMissing, "The operator does not find the plugin", "the plugin's pod is down or in another namespace than the operator, or the database's pod is older than its entry in spec.plugins"},
		{PluginCertificate, "Operator and plugin do not trust each other", "a certificate between them has expired, or was renewed but not reloaded"},
		{SidecarMemory, "The sidecar runs out of memory", "a base backup takes more than the limit, while WAL is still archived"},
		{SidecarOutdated, "The sidecar is older than its settings", "they are part of the pod, which was not restarted"},
		{PluginOld, "The plugin is too old for the codec of base backups", "the stack's pluginVersion says a later release than the one that runs, so each base backup fails"},
		{NotEmpty, "The folder holds the WAL of another life", "the cluster was created again or restored without a new generation, so barman refuses to write there"},
		{NotArchived, "WAL is not archived", "the sidecar's log has the reason"},
		{VolumeFull, "The volume is full", "archiving has failed for a long time, and WAL is kept until it is archived"},
		{WALOld, "No WAL has arrived for too long", "archiving fails, or nobody writes to the database"},
		{NotProved, "A WAL segment did not reach the archive", "archiving fails, or is behind"},
		{VolumeFilling, "The WAL volume is filling up", "WAL is written faster than it is archived, or a replication slot holds it"},
		{BackupStuck, "A base backup does not end", "its pod was killed; the schedule waits for it and takes no other"},
		{WrongMethod, "A base backup is requested without the plugin", "the method defaults to the operator's own barman, which is not set up"},
		{FiveFields, "A schedule has five fields", "the first one is read as seconds, so it runs every hour or at the wrong time"},
		{Suspended, "The schedule is suspended", "no base backups are taken"},
		{BackupFailed, "The last base backup failed", "the sidecar's log has the reason"},
		{NoBackup, "There is no base backup", "none has ended well in the folder in use, and WAL alone restores nothing"},
		{BackupOld, "The newest base backup is too old", "the schedule's last ones were not taken or failed"},
		{FailedCounts, "A failed base backup counts as a good one", "it has an end time, and the plugin does not check whether it ended well"},
		{BackupIncomplete, "A base backup is incomplete", "a part of it was deleted, or never arrived"},
		{Hole, "A WAL segment is missing", "it was deleted, or never arrived; a recovery ends before it"},
		{NotPruned, "Nothing is pruned", "the key may not delete, or enforcing the retention fails"},
		{InfoUnreadable, "A file in the catalogue makes no sense", "it was damaged, or not written by barman"},
		{BaseDamaged, "A base backup is damaged", "what is stored is not what was written: it cannot be unpacked"},
		{WALDamaged, "A WAL segment is damaged", "what is stored is not what was written; a recovery ends in it"},
		{PageDamaged, "A page has a wrong checksum", "it was damaged in the store, or in the database before the base backup"},
		{Unsound, "A table or an index is broken", "it was already broken in the database, or the image sorts text differently"},
		{BackupsGone, "Base backups are gone before their time", "somebody deleted them, or a lifecycle rule of the bucket did"},
		{MirrorFails, "The mirror's job fails", "its log has a line with PROBLEM for each reason"},
		{MirrorIdle, "The mirror's job does not run", "it is suspended, or not there"},
		{MirrorBehind, "The mirror is behind", "no run has ended well for too long"},
		{MirrorNotProved, "A WAL segment did not reach the mirror", "its run failed, or takes longer"},
		{NothingToRecover, "There is nothing to recover from", "the folder that the recovery names has no finished base backup"},
		{RecoveryStoreGone, "The store to recover from is not there", "the operator waits for the ObjectStore, and does not say so"},
		{TargetTooLate, "The recovery's target is not reached", "there is no transaction after it, or WAL before it is missing"},
		{DownloadBroken, "The download of a base backup broke off", "a long download over this line does not get to its end"},
		{DrillNoSpace, "The drill has no space", "its volume is smaller than what is restored"},
		{LibraryMissing, "The image lacks a library", "the database loads it, and the image that it is restored with does not have it"},
		{NotStarting, "The restored database does not start", "PostgreSQL's own message says why"},
		{RestoredOld, "What is restored is too old", "the copy is behind, or nobody writes to the database"},
		{QueryWrong, "The query returns something else", "the data that it asks for is not there, or the query is wrong"},
		{DrillTooLong, "The drill takes too long", "its deadline came first"},
		{LaterLife, "There is a later life", "a folder of a later generation exists: the generation was lowered, or two clusters live"},
		{TwoDatabases, "Two databases share a folder", "its base backups are of two databases, by their system identifiers"},
		{DrillFails, "The drill fails", "a run did not end well, and no code says why"},
		{DrillIdle, "The drill does not run", "no run has ended well for two of its periods, or it is suspended"},
		{NoCluster, "There is no Cluster", "it was deleted, or this is another site"},
		{NotMonitored, "Prometheus does not see it", "the metrics that an alert is made of are not there"},
	}
}

// explains are the codes that are consequences of one at the same copy, and are
// left out beside it.
func explains(code Code) []Code {
	switch code {
	case ChecksumRefused:
		return append(explains(NoKMS), SidecarOutdated)
	case StoreUnreachable, StoreUntrusted, StoreDenied, StoreRegion, StoreNoBucket, StoreCapped, StoreOther, SecretMissing,
		NoKMS, PluginMissing, PluginCertificate, NotEmpty, VolumeFull, NoCluster:
		return []Code{NotArchived, WALOld, NotProved, BackupFailed, NoBackup, BackupOld, NotPruned, MirrorFails, MirrorBehind, MirrorNotProved, RestoredOld}
	case SecretStoreBad:
		return []Code{SecretNotSynced}
	case CertificateOld:
		return []Code{PluginCertificate}
	case NothingToRecover, RecoveryStoreGone, TargetTooLate, DownloadBroken:
		return []Code{NotArchived, WALOld, NotProved, NoBackup, BackupOld}
	case NotArchived:
		return []Code{WALOld, NotProved, BackupFailed, NoBackup, BackupOld, RestoredOld}
	case WALOld:
		return []Code{NotProved, RestoredOld}
	case NoBackup, BackupIncomplete, Hole:
		return []Code{NotStarting, RestoredOld, DrillFails}
	case FailedCounts:
		return append(explains(NoBackup), BackupFailed)
	case SidecarMemory, PluginOld, BackupStuck, WrongMethod, FiveFields, Suspended:
		return []Code{BackupFailed, NoBackup, BackupOld}
	case BackupFailed:
		return []Code{NoBackup, BackupOld}
	case MirrorFails, MirrorIdle, MirrorBehind:
		return []Code{MirrorBehind, MirrorNotProved, NoBackup, BackupIncomplete, Hole, RestoredOld}
	default:
		return nil
	}
}

// explainsMirror are the codes of the mirror that are consequences of one of the
// archive: what is not there cannot be copied.
func explainsMirror(code Code) []Code {
	switch code {
	case SecretStoreBad:
		return []Code{SecretStoreBad, SecretNotSynced}
	case SecretNotSynced, SidecarOutdated, CertificateOld, TwoDatabases, NotPruned:
		return nil
	case BackupIncomplete, Hole:
		return []Code{MirrorFails, MirrorBehind, BackupIncomplete, Hole}
	default:
		return []Code{MirrorFails, MirrorBehind, NoBackup}
	}
}

// FromDrills are the codes that only the report of a drill names, or the lack of
// one.
func FromDrills() []Code {
	return []Code{
		BaseDamaged, WALDamaged, PageDamaged, Unsound, DrillNoSpace, LibraryMissing, NotStarting, RestoredOld, QueryWrong,
		DrillTooLong, DrillFails, DrillIdle,
	}
}

// FromAlerts are the codes that only alerts name: they are about what was before,
// or about what Prometheus knows.
func FromAlerts() []Code { return []Code{VolumeFilling, BackupsGone, NotMonitored} }

// Codes are all codes and their titles, in their order.
func Codes() (codes []Code, titles map[Code]string) {
	titles = map[Code]string{}
	for _, one := range entries() {
		codes = append(codes, one.code)
		titles[one.code] = one.title
	}
	return codes, titles
}

func entryOf(code Code) entry {
	all := entries()
	return all[slices.IndexFunc(all, func(one entry) bool { return one.code == code })]
}

// wording is how a cause looks in a log or in a status.
type wording struct {
	words string
	code  Code
}

// wordings are what barman, the plugin and the operator say, as in the threads
// that docs/troubleshooting.md links to.
func wordings() []wording {
	return []wording{
		{"Expected empty archive", NotEmpty},
		{"x-amz-sdk-checksum-algorithm", ChecksumRefused},
		{"x-amz-content-sha256 must be", ChecksumRefused},
		{"Checksum Type mismatch", ChecksumRefused},
		{"KMS is not configured", NoKMS},
		{"cap exceeded", StoreCapped},
		{"CERTIFICATE_VERIFY_FAILED", StoreUntrusted},
		{"(400) when calling the HeadBucket", StoreRegion},
		{"(404) when calling the HeadBucket", StoreNoBucket},
		{"NoSuchBucket", StoreNoBucket},
		{"(403) when calling", StoreDenied},
		{"SignatureDoesNotMatch", StoreDenied},
		{"InvalidAccessKeyId", StoreDenied},
		{"AccessDenied", StoreDenied},
		{"environment variable contains NUL", SecretMissing},
		{"Could not connect to the endpoint", StoreUnreachable},
		{"plugin is not available", PluginMissing},
		{"unknown plugin being required", PluginMissing},
		{"x509: certificate", PluginCertificate},
		// With cgroups of version 1 the kernel ends barman, and the sidecar lives on.
		{"signal: killed", SidecarMemory},
		{"no backup section", WrongMethod},
		{"no barmanObjectStore section", WrongMethod},
		{"no target backup found", NothingToRecover},
		{"recovery ended before configured recovery target was reached", TargetTooLate},
		{"first needed WAL", TargetTooLate},
		{"IncompleteRead", DownloadBroken},
	}
}
