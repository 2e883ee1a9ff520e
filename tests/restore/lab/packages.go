package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/debian"
)

// postgresBin is where Debian keeps the server's programs.
const postgresBin = "/usr/lib/postgresql/15/bin"

// debianPackages are what the lab takes from Debian, with a file of each.
func debianPackages() map[string]string {
	return map[string]string{
		"postgresql-15":     postgresBin + "/postgres",
		"barman-cli-cloud":  "/usr/bin/barman-cloud-backup",
		"python3-boto3":     "/usr/lib/python3/dist-packages/boto3/__init__.py",
		"python3-snappy":    "/usr/lib/python3/dist-packages/snappy/__init__.py",
		"python3-lz4":       "/usr/lib/python3/dist-packages/lz4/__init__.py",
		"python3-zstandard": "/usr/lib/python3/dist-packages/zstandard/__init__.py",
		"busybox":           "/usr/bin/busybox",
	}
}

// pythonPath tells Python where to look for modules first.
const pythonPath = "PYTHONPATH"

// downloadBarman unpacks Debian 13's barman into a directory, without
// installing it, and returns where its Python modules are.
func downloadBarman(ctx context.Context, progress io.Writer, dir string) (string, error) {
	fmt.Fprintln(progress, "Downloading Debian 13's barman")
	for _, folder := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return "", err
		}
	}
	sources := filepath.Join(dir, "sources.list")
	site, err := debian.Site(ctx)
	if err != nil {
		return "", err
	}
	line := "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] " + site + " trixie main\n"
	if err := os.WriteFile(sources, []byte(line), 0o644); err != nil {
		return "", err
	}
	own := []string{
		"--option", "Dir::Etc::SourceList=" + sources, "--option", "Dir::Etc::SourceParts=/dev/null",
		"--option", "Dir::State::Lists=" + filepath.Join(dir, "lists"), "--option", "Dir::Cache=" + filepath.Join(dir, "cache"),
	}
	for _, command := range [][]string{
		append([]string{"apt-get", "update", "--quiet=2"}, own...),
		append([]string{"apt-get", "download", "--quiet=2", "python3-barman/trixie", "barman-cli-cloud/trixie"}, own...),
		{"sh", "-c", "for package in *.deb; do dpkg --extract $package .; done"},
	} {
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Dir = dir
		if output, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, output)
		}
	}
	return filepath.Join(dir, "usr", "lib", "python3", "dist-packages"), nil
}
