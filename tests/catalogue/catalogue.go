// Package catalogue reads barman's catalogue in a bucket. It is written anew and
// not after the mirror's script or the doctor, which the tests judge by it.
package catalogue

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// Backup is a finished base backup as its backup.info describes it.
type Backup struct {
	ID, BeginWAL, EndWAL string
	// Ended is when it was finished.
	Ended time.Time
}

// Backups reads every backup.info of a server name and returns the finished
// backups, oldest first.
func Backups(ctx context.Context, store *s3server.Store, server string) ([]Backup, error) {
	objects, err := store.List(ctx, server+"/base/")
	if err != nil {
		return nil, err
	}
	var backups []Backup
	for _, object := range objects {
		if path.Base(object.Key) != "backup.info" {
			continue
		}
		content, err := store.Read(ctx, object.Key)
		if err != nil {
			return nil, err
		}
		values := map[string]string{}
		for line := range strings.Lines(string(content)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			values[name] = value
		}
		if values["status"] != "DONE" {
			continue
		}
		ended, err := time.Parse("2006-01-02 15:04:05.999999-07:00", values["end_time"])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", object.Key, err)
		}
		backups = append(backups, Backup{
			ID:       path.Base(path.Dir(object.Key)),
			BeginWAL: values["begin_wal"], EndWAL: values["end_wal"], Ended: ended,
		})
	}
	slices.SortFunc(backups, func(a, b Backup) int { return strings.Compare(a.ID, b.ID) })
	return backups, nil
}

// CheckData wants that every backup.info of a server name has data, and that what
// the original has of a backup is there in the same size. Whether its WAL is
// there only PostgreSQL can judge.
func CheckData(ctx context.Context, store *s3server.Store, server string, original *s3server.Store) ([]Backup, error) {
	backups, err := Backups(ctx, store, server)
	if err != nil {
		return nil, err
	}
	objects, err := store.List(ctx, server+"/base/")
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	for _, object := range objects {
		sizes[object.Key] = object.Size
	}
	var problems []error
	for _, backup := range backups {
		if !backup.hasData(server, sizes) {
			problems = append(problems, fmt.Errorf("backup %s has no data", backup.ID))
		}
		if original == nil {
			continue
		}
		expected, err := original.List(ctx, server+"/base/"+backup.ID+"/")
		if err != nil {
			return nil, err
		}
		for _, object := range expected {
			if size, found := sizes[object.Key]; !found || size != object.Size {
				problems = append(problems, fmt.Errorf("%s has %d bytes, the original %d", object.Key, size, object.Size))
			}
		}
	}
	return backups, errors.Join(problems...)
}

func (b Backup) hasData(server string, sizes map[string]int64) bool {
	data := regexp.MustCompile(`^` + regexp.QuoteMeta(server+"/base/"+b.ID) + `/data\.tar(\.[a-z0-9]+)?$`)
	for key, size := range sizes {
		if data.MatchString(key) && size > 0 {
			return true
		}
	}
	return false
}

// timesOf finds when a base backup was taken, in its backup.info.
var timesOf = regexp.MustCompile(`(?m)^(begin_time|end_time)=(\d{4}-\d{2}-\d{2})`)

// MakeOlder changes a base backup to one that was taken days earlier.
func MakeOlder(ctx context.Context, store *s3server.Store, server, backup string, days int) error {
	key := server + "/base/" + backup + "/backup.info"
	info, err := store.Read(ctx, key)
	if err != nil {
		return err
	}
	aged, err := older(string(info), days)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return store.Write(ctx, key, []byte(aged))
}

func older(info string, days int) (string, error) {
	var problems []error
	aged := timesOf.ReplaceAllStringFunc(info, func(line string) string {
		name, date, _ := strings.Cut(line, "=")
		taken, err := time.Parse(time.DateOnly, date)
		problems = append(problems, err)
		return name + "=" + taken.AddDate(0, 0, -days).Format(time.DateOnly)
	})
	if len(problems) != 2 {
		problems = append(problems, fmt.Errorf("it does not say when it was taken:\n%s", info))
	}
	return aged, errors.Join(problems...)
}
