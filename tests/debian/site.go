package debian

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Site is where this machine gets Debian's packages from, as its own apt is
// configured: a mirror nearby, or the only one that it can reach.
func Site(ctx context.Context) (string, error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", fmt.Errorf("find this machine's Debian mirror: %w", err)
	}
	targets, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--no-release-info",
		"--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages").Output()
	if err != nil {
		return "", fmt.Errorf("find this machine's Debian mirror: apt-get indextargets: %w", err)
	}
	return site(codename(string(release)), string(targets))
}

// codename is that of the installed release, "bookworm".
func codename(release string) string {
	for line := range strings.Lines(release) {
		if name, found := strings.CutPrefix(line, "VERSION_CODENAME="); found {
			return strings.Trim(strings.TrimSpace(name), `"`)
		}
	}
	return ""
}

// site picks the archive of the release itself: those of security updates and of
// others have suites or components of other names.
func site(codename, targets string) (string, error) {
	for line := range strings.Lines(targets) {
		target := strings.Fields(line)
		if len(target) == 3 && target[1] == codename && target[2] == "main" {
			return strings.TrimSuffix(target[0], "/"), nil
		}
	}
	return "", fmt.Errorf("apt has no source of Debian's %q with the component main in /etc/apt; it has:\n%s", codename, targets)
}
