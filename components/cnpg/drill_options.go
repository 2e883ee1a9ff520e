package cnpg

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// DrillOptions has the Kubernetes cluster restore each copy of a database on a
// schedule: a CronJob for each copy restores it into a temporary volume, starts
// PostgreSQL on it and checks that everything is there. The live database and the
// operator take no part in it. For a rehearsal with the operator there is [Drill].
type DrillOptions struct {
	// Enabled creates the CronJobs. Default false.
	Enabled *bool `json:"enabled,omitempty"`
	// B2Schedule and MinIOSchedule are when to restore the copy there: five cron
	// fields, without seconds. Default: once a week, at a time that depends on
	// namespace and cluster, half a week apart. Two databases may draw the same
	// time; [SpreadDrills] keeps those of an environment apart.
	B2Schedule    string `json:"b2Schedule,omitempty"`
	MinIOSchedule string `json:"minioSchedule,omitempty"`
	// Suspend keeps the jobs but does not run them. Default false.
	Suspend bool `json:"suspend,omitempty"`
	// NewestOnly restores the newest base backup each time. Default false: every other
	// time it is the oldest one after which no WAL is missing, with all WAL since then,
	// which takes longer and downloads more.
	NewestOnly bool `json:"newestOnly,omitempty"`
	// Query is SQL that returns one value, run by the superuser in Database, and Result
	// is what it has to return, as psql prints it. Defaults: no query; "t"; the
	// application's database as bootstrap.initdb has it. Query and its result can be
	// read in the CronJob, the log and the report, so no secrets belong there.
	Query    string `json:"query,omitempty"`
	Result   string `json:"result,omitempty"`
	Database string `json:"database,omitempty"`
	// MaxAge is how old the last restored moment may be, a minute or more. Default: the
	// mirror's MaxWALAge, plus two of the mirror's periods for the mirror. Because an
	// idle database has no transactions, the end of a base backup counts as a moment as
	// well.
	MaxAge string `json:"maxAge,omitempty"`
	// Deadline ends a run that takes longer, with a report; a minute or more. Default
	// 6h.
	Deadline string `json:"deadline,omitempty"`
	// BandwidthLimit is the most bytes a second to download, with K, M or G, for
	// instance "4M". Default: no limit.
	BandwidthLimit string `json:"bandwidthLimit,omitempty"`
	// Image is the image that PostgreSQL runs in, the database's. Default:
	// spec.imageName; required with spec.imageCatalogRef.
	Image string `json:"image,omitempty"`
	// VolumeSize and StorageClass are the throw-away volume's. Defaults: the size of all
	// of the database's data volumes plus 4Gi; the class of its data volume.
	VolumeSize   string `json:"volumeSize,omitempty"`
	StorageClass string `json:"storageClass,omitempty"`
	// Keep is how long a finished run stays, with its report and its emptied volume; a
	// minute or more. Default 24h.
	Keep string `json:"keep,omitempty"`
	// Resources are those of each of the two containers. Default: requests of 100m CPU
	// and 256Mi, and a limit of 1Gi.
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
}

// on is whether the drill is switched on.
func (d DrillOptions) on() bool { return d.Enabled != nil && *d.Enabled }

// withDefaults completes what does not depend on the copy.
func (d DrillOptions) withDefaults(n names, spec cnpgv1.ClusterSpec) DrillOptions {
	if d.B2Schedule == "" {
		d.B2Schedule = weekly(n, 0)
	}
	if d.MinIOSchedule == "" {
		d.MinIOSchedule = weekly(n, week/2)
	}
	if d.Query != "" && d.Result == "" {
		d.Result = "t"
	}
	if d.Query != "" && d.Database == "" {
		d.Database = applicationDatabase(spec)
	}
	if d.Deadline == "" {
		d.Deadline = "6h"
	}
	if d.Image == "" {
		d.Image = spec.ImageName
	}
	if d.VolumeSize == "" {
		d.VolumeSize = drillVolume(spec)
	}
	if d.StorageClass == "" && spec.StorageConfiguration.StorageClass != nil {
		d.StorageClass = *spec.StorageConfiguration.StorageClass
	}
	if d.Keep == "" {
		d.Keep = "24h"
	}
	d.Resources = resourcesOr(d.Resources, "100m", "256Mi", "1Gi")
	return d
}

// schedule is that of a copy.
func (d DrillOptions) schedule(at Location) string {
	if at == MinIO {
		return d.MinIOSchedule
	}
	return d.B2Schedule
}

const week = 7 * 24 * time.Hour

// weekly is a schedule for once a week. Its time is a cluster's own, so that
// those of many spread over the week, and is moved by an offset.
func weekly(n names, offset time.Duration) string {
	return weeklyAt(int(n.hash()%uint64(week/time.Minute)) + int(offset/time.Minute))
}

// weeklyAt is a schedule for once a week, at a minute of it.
func weeklyAt(minute int) string {
	const hour, day = 60, 24 * 60
	minute %= 7 * day
	return fmt.Sprintf("%d %d * * %d", minute%hour, minute%day/hour, minute/day)
}

// hash is a number that a cluster keeps.
func (n names) hash() uint64 {
	sum := fnv.New64a()
	_, _ = fmt.Fprintf(sum, "%s/%s", n.namespace, n.cluster) // a hash takes all
	return sum.Sum64()
}

// SpreadDrills sets the drills' schedules of an environment's databases where they are
// empty, so that no two drills begin in the same hour; with more than 84 databases
// they begin twenty minutes apart. A database that is added at the end moves none of
// the others. Call it before NewDatabase.
func SpreadDrills(databases []*DatabaseArgs) {
	const hours = int(week / time.Hour / 2)
	var taken [hours]int
	for _, args := range databases {
		if !args.Drill.on() || args.Drill.B2Schedule != "" && args.Drill.MinIOSchedule != "" {
			continue
		}
		hour := int(args.names("").hash() % uint64(hours))
		for least := slices.Min(taken[:]); taken[hour] > least; {
			hour = (hour + 1) % hours
		}
		minute := 60*hour + 13 + 20*taken[hour]%60
		taken[hour]++
		args.Drill.B2Schedule = cmp.Or(args.Drill.B2Schedule, weeklyAt(minute))
		args.Drill.MinIOSchedule = cmp.Or(args.Drill.MinIOSchedule, weeklyAt(minute+60*hours))
	}
}

// drillVolume is a size that what is restored fits into: as much as the data
// volumes hold, and room for WAL, which is fetched a few files at a time.
func drillVolume(spec cnpgv1.ClusterSpec) string {
	total := resource.MustParse("4Gi")
	total.Add(dataVolumes(spec))
	return total.String()
}

// Validate returns every problem of the options that does not depend on a database. The
// problems name the fields below the path at.
func (d DrillOptions) Validate(at *field.Path) field.ErrorList {
	var problems field.ErrorList
	for name, schedule := range map[string]string{"b2Schedule": d.B2Schedule, "minioSchedule": d.MinIOSchedule} {
		if schedule != "" {
			problems = append(problems, checkJobSchedule(at.Child(name), schedule)...)
		}
	}
	problems = append(problems, checkMinutes(at.Child("maxAge"), d.MaxAge)...)
	problems = append(problems, checkMinutes(at.Child("deadline"), d.Deadline)...)
	problems = append(problems, checkMinutes(at.Child("keep"), d.Keep)...)
	problems = append(problems, checkBandwidth(at.Child("bandwidthLimit"), d.BandwidthLimit)...)
	problems = append(problems, checkMemory(at.Child("resources"), d.Resources)...)
	if d.VolumeSize != "" {
		problems = append(problems, checkQuantity(at.Child("volumeSize"), d.VolumeSize)...)
	}
	if d.StorageClass != "" {
		problems = append(problems, checkObjectName(at.Child("storageClass"), d.StorageClass, "")...)
	}
	for _, other := range []struct{ name, value string }{{"result", d.Result}, {"database", d.Database}} {
		if other.value != "" && d.Query == "" {
			problems = append(problems, field.Forbidden(at.Child(other.name), "there is no query: give query, too"))
		}
	}
	return problems
}

// validate returns every problem of the options of a database.
func (d DrillOptions) validate(at *field.Path, spec cnpgv1.ClusterSpec) field.ErrorList {
	problems := d.Validate(at)
	if d.on() && d.Image == "" && spec.ImageName == "" && spec.ImageCatalogRef != nil {
		problems = append(problems, field.Required(at.Child("image"),
			"the image that spec.imageCatalogRef stands for; a drill runs PostgreSQL in it"))
	}
	for i, extension := range spec.PostgresConfiguration.Extensions {
		if d.on() && extension.ImageVolumeSource.Reference == "" {
			problems = append(problems, field.Invalid(at.Child("enabled"), true, fmt.Sprintf(
				"the image of the extension %q is only in a catalog, which a drill does not read: give it in "+
					"spec.postgresql.extensions[%d].image.reference", extension.Name, i)))
		}
	}
	return problems
}
