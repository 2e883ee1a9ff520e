package cnpg

import (
	"strings"
	"time"

	barmanv1 "github.com/cloudnative-pg/plugin-barman-cloud/api/v1"
)

// Layout tells from a database's arguments where its two copies are and what writes
// them. It is for programs that look at them from outside, as the doctor does.
type Layout struct {
	// Database is the prefix of what belongs to the database.
	Database string
	// Namespace and Cluster are where the Cluster lives and what it is called.
	Namespace, Cluster string
	// Generation is the present life, ServerName its folder, and FirstServer that
	// of the first.
	Generation              int
	ServerName, FirstServer string
	// Archive is the store that the cluster writes to, Mirror the other one.
	Archive, Mirror StoreLayout
	// ScheduledBackup takes base backups by Schedule, unless it is Suspended.
	ScheduledBackup, Schedule string
	Suspended                 bool
	// MirrorJob is the CronJob that copies, "" without one; MirrorSchedule is when,
	// and MirrorPeriod the longest time from one run to the next.
	MirrorJob, MirrorSchedule string
	MirrorPeriod              time.Duration
	MirrorSuspended           bool
	// MirrorSecret is the Secret with which it reads the archive.
	MirrorSecret string
	// Drills are the CronJobs that restore the copies, by their locations; none when
	// the drill is switched off. DrillPeriods are the longest times from one run to
	// the next.
	Drills         map[Location]string
	DrillPeriods   map[Location]time.Duration
	DrillSuspended bool
	// MaxBackupAge and MaxWALAge are how old the newest base backup and the newest
	// WAL may be; 0 for any age. WALDelay is for how long a finished base backup
	// may wait for its last WAL.
	MaxBackupAge, MaxWALAge, WALDelay time.Duration
	// Codec is what base backups are compressed with, "" for nothing, and CodecPlugin
	// the first release of the Barman Cloud plugin that can, "" when any can.
	Codec, CodecPlugin string
	// SecretStore is the ClusterSecretStore that the B2 keys come through.
	SecretStore string
	// Recovery is what the present life began with, with its defaults; nil when it
	// began empty.
	Recovery *Recovery
	// RecoveryStore is the ObjectStore that it reads, when that is another than
	// the two, and RecoveryServer the folder.
	RecoveryStore, RecoveryServer string
}

// StoreLayout describes one of the two stores.
type StoreLayout struct {
	Location Location
	// Name and Spec are those of the ObjectStore.
	Name string
	Spec barmanv1.ObjectStoreSpec
	// Region is the server's, "" where it takes any, and FormerEndpoint where the
	// bucket was before, "" when it was not moved.
	Region, FormerEndpoint string
	// Bucket is the bucket, and Folder the one in it with the folders of all lives.
	Bucket, Folder string
	// RetentionDays is for how many days base backups are kept, 0 for ever.
	RetentionDays int
}

// Layout returns the layout of a database with this name. The arguments have to be
// valid.
func (a *DatabaseArgs) Layout(name string, storage *StorageArgs) Layout {
	p := a.plan(name, *storage)
	bounds := p.bounds()
	l := Layout{
		Database: p.database, Namespace: p.namespace, Cluster: p.cluster,
		Generation: p.generation, ServerName: p.serverName(), FirstServer: p.firstServer,
		Archive: p.storeLayout(p.args.Archive), Mirror: p.storeLayout(p.args.Archive.other()),
		ScheduledBackup: p.scheduledBackup(), Schedule: p.args.Schedule, Suspended: p.args.Suspend,
		Codec:       string(p.store(p.args.Archive).options.Data.Compression),
		CodecPlugin: dataPlugin(p.store(p.args.Archive).options.Data.Compression), SecretStore: p.storage.Bitwarden.Store,
		MaxBackupAge: bounds.backupAge, MaxWALAge: bounds.walAge, WALDelay: bounds.walDelay,
	}
	if mirror := p.args.Mirror; !mirror.Disabled {
		l.MirrorJob, l.MirrorSchedule, l.MirrorSuspended = mirrorName(p.cluster), mirror.Schedule, mirror.Suspend
		l.MirrorPeriod, l.MirrorSecret = longestPause(withSeconds(mirror.Schedule)), mirror.SourceSecret
	}
	if drill := p.args.Drill; drill.on() {
		l.Drills, l.DrillPeriods, l.DrillSuspended = map[Location]string{}, map[Location]time.Duration{}, drill.Suspend
		for _, at := range p.copies() {
			l.Drills[at], l.DrillPeriods[at] = p.drill(at), longestPause(withSeconds(drill.schedule(at)))
		}
	}
	if p.args.Recovery != nil {
		from := p.args.Recovery.withDefaults(p.names)
		l.Recovery, l.RecoveryServer = &from, from.server()
		if !from.sameCluster(p.names) {
			l.RecoveryStore = p.recoveryStore()
		}
	}
	return l
}

func (p *plan) storeLayout(at Location) StoreLayout {
	store := p.store(at)
	l := StoreLayout{
		Location: at, Name: p.objectStore(at), Spec: store.spec(), Region: store.region,
		RetentionDays: retentionDays(store.options.Retention),
	}
	if at == MinIO {
		l.FormerEndpoint = p.storage.MinIO.FormerEndpoint
	}
	l.Bucket, l.Folder, _ = strings.Cut(strings.TrimPrefix(l.Spec.Configuration.DestinationPath, "s3://"), "/")
	return l
}
