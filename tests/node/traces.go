package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/await"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
)

// cgroup is the parent of all pods' cgroups, below each controller.
const cgroup = "cnpg-backup-site"

// globalSettings are kernel settings that a kubelet changes and that have no
// namespaces.
func globalSettings() map[string]string {
	return map[string]string{
		"/proc/sys/vm/overcommit_memory":     "1",
		"/proc/sys/vm/panic_on_oom":          "0",
		"/proc/sys/kernel/panic":             "10",
		"/proc/sys/kernel/panic_on_oops":     "1",
		"/proc/sys/kernel/keys/root_maxkeys": "1000000",
		// 25 bytes a key.
		"/proc/sys/kernel/keys/root_maxbytes": "25000000",
	}
}

// traces lists what a node could leave behind: mounts, network interfaces and
// packet filter rules, kernel settings, cgroups.
func traces(ctx context.Context) ([]string, error) {
	var found []string
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	found = append(found, prefixed("mount ", mounts)...)
	for _, command := range [][]string{
		{"ip", "-brief", "link"}, {"ip", "netns"}, {"ip", "rule"}, {"ip", "route"}, {"iptables-save"},
	} {
		output, err := exec.CommandContext(ctx, command[0], command[1:]...).Output()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", strings.Join(command, " "), err)
		}
		found = append(found, prefixed(strings.Join(command, " ")+": ", output)...)
	}
	settings := []string{"/proc/sys/net/ipv4/ip_forward"}
	for path := range globalSettings() {
		settings = append(settings, path)
	}
	for _, path := range settings {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		found = append(found, path+" = "+strings.TrimSpace(string(content)))
	}
	return append(found, cgroupFolders()...), nil
}

func prefixed(prefix string, lines []byte) []string {
	var found []string
	for line := range bytes.Lines(lines) {
		// iptables-save says when it ran.
		if text := strings.TrimSpace(string(line)); text != "" && text[0] != '#' {
			found = append(found, prefix+text)
		}
	}
	return found
}

// compareTraces reports what was not there before.
func compareTraces(before, after []string) error {
	var remains []error
	for _, trace := range after {
		if !slices.Contains(before, trace) {
			remains = append(remains, fmt.Errorf("the node has left behind: %s", trace))
		}
	}
	return errors.Join(remains...)
}

// endProcesses ends the processes that name the site's directory in their
// environment or arguments, and waits until they are gone. Those of a node are
// ending by themselves then.
func endProcesses(ctx context.Context, dir string) error {
	return await.Until(ctx, 100*time.Millisecond, func(context.Context) error {
		left := processesOf(dir)
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(left) > 0 {
			return fmt.Errorf("processes of the site do not end: %v", left)
		}
		return nil
	})
}

func processesOf(dir string) []int {
	var found []int
	for _, running := range process.Others() {
		told := running.Arguments + running.Environment
		if strings.Contains(told, dir+"/") || strings.Contains(told, dir+"\x00") {
			found = append(found, running.PID)
		}
	}
	return found
}

// hierarchies are the mounted trees of cgroups: one of version 2, or one for
// each controller of version 1.
func hierarchies() []string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return []string{"/sys/fs/cgroup"}
	}
	var found []string
	paths, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	for _, path := range paths {
		found = append(found, filepath.Dir(path))
	}
	return found
}

func cgroupFolders() []string {
	var found []string
	for _, hierarchy := range hierarchies() {
		folder := filepath.Join(hierarchy, cgroup)
		if _, err := os.Stat(folder); err == nil {
			found = append(found, folder)
		}
	}
	return found
}

// makeCgroups makes the parent of the pods' cgroups. It weighs as much as some
// forty processes: with the weight of one, all pods together would starve on a
// machine that does something else, too.
func makeCgroups() error {
	for _, hierarchy := range hierarchies() {
		folder := filepath.Join(hierarchy, cgroup)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		// In version 1 a new cpuset has no CPUs and no memory until it is told.
		for _, file := range []string{"cpuset.mems", "cpuset.cpus"} {
			if content, err := os.ReadFile(filepath.Join(hierarchy, file)); err == nil && len(bytes.TrimSpace(content)) > 0 {
				if err := setCgroup(folder, file, string(content)); err != nil {
					return err
				}
			}
		}
		for file, weight := range map[string]string{"cpu.shares": "40960", "cpu.weight": "4000"} {
			if err := setCgroup(folder, file, weight); err != nil {
				return err
			}
		}
	}
	return nil
}

// setCgroup writes a file that not every hierarchy has.
func setCgroup(folder, file, value string) error {
	path := filepath.Join(folder, file)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return os.WriteFile(path, []byte(value), 0o600)
}

// removeCgroups removes the pods' cgroups, which are empty or will soon be.
func removeCgroups(ctx context.Context) error {
	for _, folder := range cgroupFolders() {
		err := await.Until(ctx, 100*time.Millisecond, func(context.Context) error { return removeCgroup(folder) })
		if err != nil {
			return fmt.Errorf("remove the cgroup %s: %w", folder, err)
		}
	}
	return nil
}

// removeCgroup removes a cgroup from the leaves up; its files are no obstacle.
func removeCgroup(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		if err := removeCgroup(filepath.Join(folder, entry.Name())); err != nil {
			return err
		}
	}
	return os.Remove(folder)
}
