package debian

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

// Release is a release of Debian whose PostgreSQL and barman the long tests run.
type Release struct {
	// Suite is Debian's word for it.
	Suite string
	// Postgres is the major version of PostgreSQL that it has, or that PostgresFrom
	// has: another release's suite, "" for this one's.
	Postgres, PostgresFrom string
	// Plugin is the newest release of the Barman Cloud plugin whose sidecar has no
	// newer barman.
	Plugin string
}

// releaseVariable chooses one of the releases.
const releaseVariable = "TOOLS"

var releases = map[string]Release{ //nolint:gochecknoglobals // a table
	"stable":  {Suite: "trixie", Postgres: "17", Plugin: "0.3.0"},
	"current": {Suite: "testing", Postgres: "18", Plugin: "0.15.0"},
	"oldest":  {Suite: "testing", Postgres: "15", PostgresFrom: "bookworm", Plugin: "0.15.0"},
}

// ChosenRelease is the one that TOOLS names: stable, current, or oldest for the
// oldest PostgreSQL that Debian still has, with the current barman. Default: current.
func ChosenRelease() (Release, error) {
	name := os.Getenv(releaseVariable)
	if name == "" {
		name = "current"
	}
	release, known := releases[name]
	if !known {
		return Release{}, fmt.Errorf("%s=%s: expected stable, current or oldest", releaseVariable, name)
	}
	return release, nil
}

// rootPackages are what a root has beside a minimal Debian: PostgreSQL, barman's
// tools with what they compress with, pgBackRest beside them, and BusyBox.
const rootPackages = "barman-cli-cloud,python3-boto3,python3-zstandard,python3-lz4,pgbackrest,busybox,ca-certificates"

// Root returns a directory with the release's programs, to be entered with
// chroot, and makes it first when it is not there. That takes root and a minute
// or two.
func (r Release) Root(ctx context.Context, progress io.Writer) (string, error) {
	_, here, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(here) {
		return "", errors.New("the folder of the roots is unknown: build without -trimpath")
	}
	arguments := []string{
		"--quiet", "--mode=root", "--variant=minbase", "--format=directory",
		"--aptopt=APT::Install-Recommends \"false\"",
		// A mirror's copy of testing may be older than the date that it bears.
		"--aptopt=Acquire::Check-Valid-Until \"false\"",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		"--customize-hook=rm -rf \"$1/var/cache/apt\" \"$1/var/lib/apt/lists\"",
		"--include=postgresql-" + r.Postgres + "," + rootPackages,
		r.Suite,
	}
	sum := sha256.Sum256([]byte(strings.Join(arguments, "\n")))
	root := filepath.Join(filepath.Dir(here), ".roots", r.Suite+"-"+hex.EncodeToString(sum[:])[:12])
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return "", err
	}
	unlock, err := tools.Lock(ctx, root+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	site, err := Site(ctx)
	if err != nil {
		return "", err
	}
	if err := Install(ctx, progress, map[string]string{"mmdebstrap": "/usr/bin/mmdebstrap"}); err != nil {
		return "", err
	}
	partial := root + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return "", err
	}
	fmt.Fprintf(progress, "Putting PostgreSQL %s and barman of Debian's %s together. They are kept for the next time.\n", r.Postgres, r.Suite)
	start := time.Now()
	arguments = append(arguments, partial, "deb "+site+" "+r.Suite+" main")
	if r.PostgresFrom != "" {
		arguments = append(arguments, "deb "+site+" "+r.PostgresFrom+" main")
	}
	if output, err := exec.CommandContext(ctx, "mmdebstrap", arguments...).CombinedOutput(); err != nil {
		_ = os.RemoveAll(partial)
		return "", fmt.Errorf("mmdebstrap: %w\n%s", err, output)
	}
	fmt.Fprintf(progress, "Done in %s.\n", time.Since(start).Round(time.Second))
	return root, os.Rename(partial, root)
}
