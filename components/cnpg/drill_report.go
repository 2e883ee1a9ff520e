package cnpg

import (
	"encoding/json"
	"fmt"
	"time"
)

// DrillReport is what a run of a database's drill found: one line of JSON, the
// termination message of the container [DrillReportContainer] of its pod.
type DrillReport struct {
	// Version is that of the format, 1.
	Version int `json:"version"`
	// OK is whether the copy restored and every check that could be made passed.
	OK bool `json:"ok"`
	// Code is what is wrong, as in docs/troubleshooting.md, and Problem says so in a
	// sentence; both are "" when OK.
	Code    string `json:"code"`
	Problem string `json:"problem"`
	// Copy is the copy that was restored, and Server the folder in it.
	Copy   Location `json:"copy"`
	Server string   `json:"server"`
	// Backup is the base backup's ID, "" if there was none to choose, and BackupEnd
	// when it was finished. Oldest is whether it is the one at the start of the
	// window, and not the newest.
	Backup    string    `json:"backup"`
	BackupEnd time.Time `json:"backupEnd,omitzero"`
	Oldest    bool      `json:"oldest"`
	// RestoredTo is the moment that the restored database is of, zero when it was
	// not restored: that of its last transaction, or of the last base backup before
	// it if that is later.
	RestoredTo time.Time `json:"restoredTo,omitzero"`
	// LastWAL is the last WAL segment that was replayed, WAL the number of files of
	// WAL that were fetched.
	LastWAL string `json:"lastWAL"`
	WAL     int    `json:"wal"`
	// Stored is how many bytes the base backup and those files take in the store,
	// and so about what was downloaded; Size how many the restored databases take.
	Stored int64 `json:"stored"`
	Size   int64 `json:"size"`
	// Started is when the run began. Seconds is how long it took in all, of which
	// the base backup took BaseSeconds, WAL WALSeconds and the checks CheckSeconds.
	Started      time.Time `json:"started"`
	Seconds      int       `json:"seconds"`
	BaseSeconds  int       `json:"baseSeconds"`
	WALSeconds   int       `json:"walSeconds"`
	CheckSeconds int       `json:"checkSeconds"`
	// Checks are the checks, in the order in which they are made.
	Checks []DrillCheck `json:"checks"`
}

// DrillCheck is one question to the restored database.
type DrillCheck struct {
	// Name is answers, complete, recent, libraries, sound, checksums or query.
	Name string `json:"name"`
	// Result is passed, failed, or not made. Why says why it is one of the latter.
	Result string `json:"result"`
	Why    string `json:"why,omitempty"`
}

// The results of a check.
const (
	DrillPassed  = "passed"
	DrillFailed  = "failed"
	DrillNotMade = "not made"
)

// DrillReportContainer is the container of a drill's pod whose termination message
// is the report.
const DrillReportContainer = "restore"

// ParseDrillReport reads a termination message.
func ParseDrillReport(message []byte) (DrillReport, error) {
	var report DrillReport
	if err := json.Unmarshal(message, &report); err != nil {
		return DrillReport{}, fmt.Errorf("the report of a drill: %w", err)
	}
	const known = 1
	if report.Version != known {
		return DrillReport{}, fmt.Errorf("the report of a drill has version %d, and only %d is known", report.Version, known)
	}
	return report, nil
}
