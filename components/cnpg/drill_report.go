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
	// OK is whether the copy was restored and every check that could be made has passed.
	OK bool `json:"ok"`
	// Code is what is wrong, explained in docs/troubleshooting.md, and Problem says it in
	// a sentence; both are "" when OK.
	Code    string `json:"code"`
	Problem string `json:"problem"`
	// Copy is the copy that was restored, and Server the folder in it.
	Copy   Location `json:"copy"`
	Server string   `json:"server"`
	// Backup is the base backup's ID, "" if there was none to choose, and BackupEnd is
	// when it was finished. Oldest is whether it is the one at the start of the window
	// rather than the newest.
	Backup    string    `json:"backup"`
	BackupEnd time.Time `json:"backupEnd,omitzero"`
	Oldest    bool      `json:"oldest"`
	// RestoredTo is the moment to which the database was restored: that of its last
	// transaction, or the end of a base backup if that is later. It is zero if the
	// database was not restored.
	RestoredTo time.Time `json:"restoredTo,omitzero"`
	// LastWAL is the last WAL segment that was replayed, and WAL the number of WAL files
	// that were fetched.
	LastWAL string `json:"lastWAL"`
	WAL     int    `json:"wal"`
	// Stored is how many bytes the base backup and those files take in the store, which
	// is about what was downloaded. Size is how many bytes the restored databases take.
	Stored int64 `json:"stored"`
	Size   int64 `json:"size"`
	// Started is when the run began. Seconds is how long it took in all; of these, the
	// base backup took BaseSeconds, WAL WALSeconds and the checks CheckSeconds.
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
	// Result is passed, failed or not made. Why is the reason for the last two.
	Result string `json:"result"`
	Why    string `json:"why,omitempty"`
}

// The results of a check. One that could not be made counts neither as passed nor as
// failed.
const (
	DrillPassed  = "passed"
	DrillFailed  = "failed"
	DrillNotMade = "not made"
)

// DrillReportContainer is the container of a drill's pod whose termination message
// is the report.
const DrillReportContainer = "restore"

// ParseDrillReport reads a termination message. It fails if that is not a report, for
// instance because the run was killed, or if the report's version is unknown.
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
