package cnpg

import (
	"testing"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	barmanapi "github.com/cloudnative-pg/barman-cloud/pkg/api"
	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// costOf is the cost of a database with a volume of 20 GB and base backups with
// lz4, which a case has changed.
func costOf(change func(*DatabaseArgs, *StorageArgs)) Cost {
	args, storage := databaseArgs(), storageArgs()
	args.Spec.StorageConfiguration = cnpgv1.StorageConfiguration{Size: "20G"}
	args.B2.Data.Compression, args.MinIO.Data.Compression = barmanapi.CompressionTypeLz4, barmanapi.CompressionTypeLz4
	if change != nil {
		change(args, storage)
	}
	return args.Cost("authentik", storage)
}

// TestTheCostInTheGuide is its example: 5 GB that compress to 1.5, 0.2 GB of WAL a
// day, a base backup a night, 30 days of retention and 14 to undelete.
func TestTheCostInTheGuide(t *testing.T) {
	t.Parallel()
	const backup, wal = 1.5, 0.2
	c := costOf(func(a *DatabaseArgs, _ *StorageArgs) { a.Schedule = "" })
	stored := 31*backup + 31*wal + 14*backup + 14*wal
	assert.InDelta(t, stored, float64(c.BaseBackups)*backup+float64(c.WALDays)*wal, 1e-9)
	assert.InDelta(t, 0.46, stored*dollarsPerGB, 0.005)
	assert.InDelta(t, 45*0.64*0.006, c.PerGB, 0.001)
	assert.InDelta(t, 45*0.006, c.PerGBOfWAL, 0.001)
	assert.False(t, c.AfterAYear)
}

func TestWhatIsKeptAtB2(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change               func(*DatabaseArgs, *StorageArgs)
		baseBackups, walDays int
	}{
		"weekly for 30 days, 14 to undelete": {nil, 6 + 2, 30 + 7 + 14},
		"daily": {
			func(a *DatabaseArgs, _ *StorageArgs) { a.Schedule = "0 0 2 * * *" }, 31 + 14, 30 + 1 + 14,
		},
		"weekly for a week": {
			func(a *DatabaseArgs, _ *StorageArgs) { a.Retention = "1w" }, 2 + 2, 7 + 7 + 14,
		},
		"monthly for a month": {
			func(a *DatabaseArgs, _ *StorageArgs) { a.Schedule, a.Retention = "0 0 2 1 * *", "1m" }, 3 + 1, 31 + 31 + 14,
		},
		"twice on one day of the week": {
			func(a *DatabaseArgs, _ *StorageArgs) { a.Schedule, a.Retention = "0 0 2,14 * * 0", "6d" }, 3 + 4, 6 + 7 + 14,
		},
		"a day to undelete": {
			func(_ *DatabaseArgs, s *StorageArgs) { s.B2.UndeleteDays = 1 }, 6 + 1, 30 + 7 + 1,
		},
		"the retention at B2, not the NAS": {
			func(a *DatabaseArgs, _ *StorageArgs) { a.B2.Retention, a.MinIO.Retention = "14d", "90d" }, 3 + 2, 14 + 7 + 14,
		},
		"also when it is the mirror": {
			func(a *DatabaseArgs, _ *StorageArgs) { a.Archive, a.B2.Retention = MinIO, "14d" }, 3 + 2, 14 + 7 + 14,
		},
		"for ever": {
			func(a *DatabaseArgs, _ *StorageArgs) { a.Retention = none }, 53 + 1 + 2, 365 + 7 + 14,
		},
		"for 800 years": {
			func(a *DatabaseArgs, _ *StorageArgs) { a.Retention = "9999m" }, 53 + 1 + 2, 365 + 7 + 14,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := costOf(test.change)
			assert.Equal(t, test.baseBackups, c.BaseBackups)
			assert.Equal(t, test.walDays, c.WALDays)
		})
	}
}

func TestAFullVolume(t *testing.T) {
	t.Parallel()
	const idle = 51 * 288 * 20e3 / 1e9
	for name, test := range map[string]struct {
		change     func(*DatabaseArgs, *StorageArgs)
		stored     float64
		downloaded float64
	}{
		"lz4": {nil, 8*0.64*20 + idle, (53*0.64*20 + 365*288*20e3/1e9) / 12},
		"the archive's codec, not B2's": {func(a *DatabaseArgs, _ *StorageArgs) {
			a.Archive, a.MinIO.Data.Compression = MinIO, barmanapi.CompressionTypeGzip
		}, 8*0.39*20 + idle, 0},
		"a weekly drill": {func(a *DatabaseArgs, _ *StorageArgs) {
			a.Drill = DrillOptions{Enabled: new(true), NewestOnly: true, B2Schedule: "0 4 * * 3"}
		}, 8*0.64*20 + idle, (53*0.64*20 + 365*288*20e3/1e9 + 53*(0.64*20+7*288*20e3/1e9)) / 12},
		"a drill that restores the start of the window too": {func(a *DatabaseArgs, _ *StorageArgs) {
			a.Drill, a.Mirror.Disabled = DrillOptions{Enabled: new(true), B2Schedule: "0 4 * * 3"}, true
		}, 8*0.64*20 + idle, 53 * (0.64*20 + 22*288*20e3/1e9) / 12},
		"a drill that is suspended": {func(a *DatabaseArgs, _ *StorageArgs) {
			a.Drill, a.Mirror.Disabled = DrillOptions{Enabled: new(true), Suspend: true}, true
		}, 8*0.64*20 + idle, 0},
		"no mirror": {func(a *DatabaseArgs, _ *StorageArgs) { a.Mirror.Disabled = true }, 8*0.64*20 + idle, 0},
		"a volume by its claim": {func(a *DatabaseArgs, _ *StorageArgs) {
			a.Spec.StorageConfiguration = cnpgv1.StorageConfiguration{PersistentVolumeClaimTemplate: &corev1.PersistentVolumeClaimSpec{
				Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{
					corev1.ResourceStorage: resource.MustParse("10G"),
				}},
			}}
		}, 8*0.64*10 + idle, (53*0.64*10 + 365*288*20e3/1e9) / 12},
		"a tablespace": {func(a *DatabaseArgs, _ *StorageArgs) {
			a.Spec.Tablespaces = []cnpgv1.TablespaceConfiguration{{Name: "more", Storage: cnpgv1.StorageConfiguration{Size: "5G"}}}
		}, 8*0.64*25 + idle, (53*0.64*25 + 365*288*20e3/1e9) / 12},
		"WAL that is not compressed": {func(a *DatabaseArgs, _ *StorageArgs) {
			a.B2.WAL.Compression = none
		}, 8*0.64*20 + 51*288*float64(16<<20)/1e9, (53*0.64*20 + 365*288*float64(16<<20)/1e9) / 12},
		"segments that nothing ends": {func(a *DatabaseArgs, _ *StorageArgs) {
			a.Spec.PostgresConfiguration.Parameters = map[string]string{"archive_timeout": "0"}
		}, 8 * 0.64 * 20, 53 * 0.64 * 20 / 12.0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			full := costOf(test.change).Full
			assert.InDelta(t, test.stored, full.StoredGB, 0.001)
			assert.InDelta(t, test.stored*0.006, full.Dollars, 0.001)
			assert.InDelta(t, test.downloaded, full.DownloadedGB, 0.001)
			assert.InDelta(t, test.stored*3, full.FreeGB, 0.001)
		})
	}
}
