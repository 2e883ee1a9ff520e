// Package mirror reads what the mirror's job says when it ends: its termination
// message, which docs/mirror.md describes.
package mirror

import (
	"encoding/json"
	"fmt"
	"time"
)

// Message is the termination message of the job.
type Message struct {
	Version  int
	Time     string
	OK       bool
	Server   string
	Problems []Finding
	Folders  []Folder
	Omitted  int
}

// Finding is what the job found in a folder, and how often.
type Finding struct {
	Code, Server string
	Fails        bool
	Count        int
}

// Folder is one server name.
type Folder struct {
	Server          string
	Archive, Mirror Copy
}

// Copy is what restores from one store.
type Copy struct {
	NewestBackup, NewestBackupEnd, NewestWAL string
	NewWAL, Backups, WAL                     int
	Bytes                                    int64
	First, Last                              string
	Gaps                                     int
	LatestGaps                               [][2]string
}

// Parse reads a message of the version that this package knows.
func Parse(content []byte) (Message, error) {
	var message Message
	if err := json.Unmarshal(content, &message); err != nil {
		return Message{}, fmt.Errorf("termination message %q: %w", content, err)
	}
	if message.Version != 1 {
		return Message{}, fmt.Errorf("termination message of version %d, expected 1", message.Version)
	}
	return message, nil
}

// Folder returns what the message says of a server name.
func (m Message) Folder(server string) (Folder, bool) {
	for _, folder := range m.Folders {
		if folder.Server == server {
			return folder, true
		}
	}
	return Folder{}, false
}

// Window is a stretch of time, any moment of which can be restored.
type Window struct{ First, Last time.Time }

// Contains tells whether a moment lies in the window.
func (w Window) Contains(at time.Time) bool { return !at.Before(w.First) && !at.After(w.Last) }

// Windows are the stretches that the message names, oldest first. Those before
// the latest gaps are left out when there are more gaps than it has room for.
func (c Copy) Windows() ([]Window, error) {
	if c.First == "" {
		return nil, nil
	}
	ends := []string{c.First}
	if c.Gaps > len(c.LatestGaps) {
		ends = nil
	}
	for i, gap := range c.LatestGaps {
		if i > 0 || ends != nil {
			ends = append(ends, gap[0])
		}
		ends = append(ends, gap[1])
	}
	ends = append(ends, c.Last)
	var windows []Window
	for i := 0; i+1 < len(ends); i += 2 {
		var w Window
		var err error
		if w.First, err = time.Parse(time.RFC3339, ends[i]); err != nil {
			return nil, err
		}
		if w.Last, err = time.Parse(time.RFC3339, ends[i+1]); err != nil {
			return nil, err
		}
		windows = append(windows, w)
	}
	return windows, nil
}
