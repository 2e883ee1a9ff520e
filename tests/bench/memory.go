package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// sampling is how often memory is looked at.
const sampling = 200 * time.Millisecond

// watch adds up the resident memory of a process's descendants until stop is
// called, which returns the highest sum. Pages that processes share count for
// each of them.
func watch(ctx context.Context, pid int) (stop func() (bytes int64)) {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	var peak int64
	watching.Go(func() {
		ticker := time.NewTicker(sampling)
		defer ticker.Stop()
		for {
			peak = max(peak, descendants(pid))
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	})
	return func() int64 {
		cancel()
		watching.Wait()
		return peak
	}
}

// descendants is the resident memory of a process's descendants. Processes that
// end meanwhile are left out.
func descendants(pid int) int64 {
	type process struct {
		parent   int
		resident int64
	}
	processes := map[int]process{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // The pattern is valid.
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// After the name, which is in parentheses: state, parent, and as the 22nd
		// field the resident pages.
		_, rest, _ := strings.Cut(string(content), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 22 {
			continue
		}
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		parent, _ := strconv.Atoi(fields[1])
		pages, _ := strconv.ParseInt(fields[21], 10, 64)
		processes[id] = process{parent, pages * int64(os.Getpagesize())}
	}
	var sum int64
	for id := range processes {
		for ancestor := processes[id].parent; ancestor > 0; ancestor = processes[ancestor].parent {
			if ancestor == pid {
				sum += processes[id].resident
				break
			}
		}
	}
	return sum
}
