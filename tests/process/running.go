package process

import (
	"os"
	"path/filepath"
	"strconv"
)

// Running is a process of the machine. Each of its arguments and variables ends
// with a NUL; Folder is where it works.
type Running struct {
	PID                            int
	Arguments, Environment, Folder string
}

// Others are the machine's processes but this one. Of one that ends meanwhile
// something may be missing.
func Others() []Running {
	var found []Running
	paths, _ := filepath.Glob("/proc/[0-9]*") // the pattern is valid
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil || pid == os.Getpid() {
			continue
		}
		arguments, _ := os.ReadFile(filepath.Join(path, "cmdline"))
		environment, _ := os.ReadFile(filepath.Join(path, "environ"))
		folder, _ := os.Readlink(filepath.Join(path, "cwd"))
		found = append(found, Running{pid, string(arguments), string(environment), folder})
	}
	return found
}
