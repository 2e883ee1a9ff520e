package cnpg

import (
	"cmp"
	"math"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	barmanapi "github.com/cloudnative-pg/barman-cloud/pkg/api"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Backblaze's prices, in dollars: https://www.backblaze.com/cloud-storage/pricing.
const (
	dollarsPerGB = 0.006
	// freeDownloads is how often a month what is stored can be downloaded for
	// nothing. More costs a cent a GB.
	freeDownloads = 3
)

// Cost is the most that a database's copy at Backblaze B2 takes and costs a month, by
// its schedule, retention and undelete window. How large the database will be and how
// much it will write is not known when it is deployed. So there is a price per GB of
// either; Full is for one case, a full volume to which next to nothing is written.
// docs/operate.md has the formula.
type Cost struct {
	// BaseBackups is the most base backups that there are at any time, including those
	// that were deleted and can still be brought back.
	BaseBackups int `json:"baseBackups"`
	// WALDays is the most days for which there is WAL, counted in the same way.
	WALDays int `json:"walDays"`
	// AfterAYear says that backups are kept for ever, or for more than ten years. All
	// numbers are then for the end of the first year.
	AfterAYear bool `json:"afterAYear,omitempty"`
	// PerGB is in dollars a month, for each GB of the database.
	PerGB float64 `json:"dollarsPerGB"`
	// PerGBOfWAL is in dollars a month, for each GB of WAL that is archived a day,
	// after compression.
	PerGBOfWAL float64 `json:"dollarsPerGBOfWALADay"`
	// Full is what a full volume costs.
	Full FullCost `json:"full"`
}

// FullCost is the cost of a full volume to which next to nothing is written.
type FullCost struct {
	// StoredGB is what is stored.
	StoredGB float64 `json:"storedGB"`
	// Dollars is what that costs a month.
	Dollars float64 `json:"dollars"`
	// DownloadedGB is what is downloaded from B2 in a month, by the mirror's job and by
	// drills; FreeGB is how much can be downloaded for free.
	DownloadedGB float64 `json:"downloadedGB"`
	FreeGB       float64 `json:"freeDownloadGB"`
}

// Plus adds the cost of another database.
func (c FullCost) Plus(other FullCost) FullCost {
	return FullCost{
		StoredGB: rounded(c.StoredGB + other.StoredGB), Dollars: rounded(c.Dollars + other.Dollars),
		DownloadedGB: rounded(c.DownloadedGB + other.DownloadedGB), FreeGB: rounded(c.FreeGB + other.FreeGB),
	}
}

// Cost returns the cost of a database with this name. The arguments have to be valid.
func (a *DatabaseArgs) Cost(name string, storage *StorageArgs) Cost {
	return a.plan(name, *storage).cost()
}

func (p *plan) cost() Cost {
	const year, longest = 365, 3650
	// The mirror copies what the archive has, so that its codecs count.
	codecs, kept := p.store(p.args.Archive).options, p.store(B2).options.Retention
	retention := retentionDays(kept)
	forEver := retention == 0 || retention > longest
	if forEver {
		retention = year
	}
	undelete, schedule := p.storage.B2.UndeleteDays, p.args.Schedule
	c := Cost{
		// One that is older than the retention is needed for the days after it.
		BaseBackups: mostRuns(schedule, retention) + 1 + mostRuns(schedule, undelete),
		WALDays:     retention + longestGap(schedule) + undelete,
		AfterAYear:  forEver,
	}
	size := gigabytes(p.args.Spec)
	backup, wal := left(codecs.Data.Compression), idleWAL(p.args.Spec, codecs.WAL.Compression)
	stored := float64(c.BaseBackups)*backup*size + float64(c.WALDays)*wal
	c.PerGB = rounded(float64(c.BaseBackups) * backup * dollarsPerGB)
	c.PerGBOfWAL = rounded(float64(c.WALDays) * dollarsPerGB)
	c.Full = FullCost{
		StoredGB: rounded(stored), Dollars: rounded(stored * dollarsPerGB),
		DownloadedGB: rounded(p.downloads(backup*size, wal, retention)), FreeGB: rounded(stored * freeDownloads),
	}
	return c
}

// downloads is what is fetched from B2 in a month, by the size of a base backup and
// of the WAL of a day, and by the days for which backups are kept.
func (p *plan) downloads(backup, wal float64, retention int) float64 {
	const months, days = 12, 365
	year := 0.0
	if p.args.Archive == B2 && !p.args.Mirror.Disabled {
		year += float64(mostRuns(p.args.Schedule, days))*backup + days*wal
	}
	if drill := p.args.Drill; drill.on() && !drill.Suspend {
		since := float64(longestGap(p.args.Schedule))
		if !drill.NewestOnly {
			since += float64(retention) / 2 // every other time all that is kept
		}
		year += float64(mostRuns(withSeconds(drill.B2Schedule), days)) * (backup + since*wal)
	}
	return year / months
}

// left is the share of a database's size that a codec leaves in a base backup. zstd,
// gzip, lz4 and none were measured with a database of 879 MB; the others count as the
// codec that they resemble most.
func left(codec barmanapi.CompressionType) float64 {
	switch codec {
	case barmanapi.CompressionTypeZstd:
		return 0.31
	case barmanapi.CompressionTypeGzip, barmanapi.CompressionTypeBzip2:
		return 0.39
	case barmanapi.CompressionTypeLz4, barmanapi.CompressionTypeSnappy:
		return 0.64
	default:
		return 1.34
	}
}

// idleWAL is how many GB of WAL a database archives a day to which next to nothing
// is written: PostgreSQL ends a segment every archive_timeout.
func idleWAL(spec cnpgv1.ClusterSpec, codec barmanapi.CompressionType) float64 {
	const whole, compressed = 16 << 20, 20_000
	timeout := archiveTimeout(spec)
	if timeout <= 0 {
		return 0
	}
	segment := float64(compressed)
	if codec == barmanapi.CompressionTypeNone {
		segment = whole
	}
	return float64(24*time.Hour/timeout) * segment / 1e9
}

// gigabytes is the size of the volumes with the data.
func gigabytes(spec cnpgv1.ClusterSpec) float64 {
	size := dataVolumes(spec)
	return size.AsApproximateFloat64() / 1e9
}

// dataVolumes is how much the volumes with the data hold. The spec is valid.
func dataVolumes(spec cnpgv1.ClusterSpec) resource.Quantity {
	volumes := append(make([]cnpgv1.StorageConfiguration, 0, 1+len(spec.Tablespaces)), spec.StorageConfiguration)
	for _, tablespace := range spec.Tablespaces {
		volumes = append(volumes, tablespace.Storage)
	}
	var sum resource.Quantity
	for _, volume := range volumes {
		size := cmp.Or(volume.Size, "0")
		if template := volume.PersistentVolumeClaimTemplate; volume.Size == "" && template != nil {
			size = template.Resources.Requests.Storage().String()
		}
		quantity, _ := resource.ParseQuantity(size) // it is valid
		sum.Add(quantity)
	}
	return sum
}

// rounded keeps tenths of a cent, and of a GB more than anybody needs.
func rounded(number float64) float64 { return math.Round(number*1000) / 1000 }
