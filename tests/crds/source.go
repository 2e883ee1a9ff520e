package crds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// source is a Go module of an operator, which carries the operator's
// CustomResourceDefinitions as files.
type source struct {
	module  string
	version string
	// sum is the module's checksum, as a go.sum has it. The modules are read,
	// not imported, so that no go.sum pins them.
	sum string
	// files are patterns of the definitions' paths within the module.
	files []string
}

// sources are the releases that the project is made for. Of External Secrets
// and the Prometheus operator only the kinds that it emits are taken.
func sources() []source {
	return []source{
		{
			module:  "github.com/cloudnative-pg/cloudnative-pg",
			version: "v1.30.0",
			sum:     "h1:fnhVq44xXx97MNiuvJsPrX1vSjYbgdyBK5MSGfdHdp0=",
			files:   []string{"config/crd/bases/postgresql.cnpg.io_*.yaml"},
		},
		{
			module:  "github.com/cloudnative-pg/plugin-barman-cloud",
			version: "v0.15.0",
			sum:     "h1:gNVytrzzYUE08wxLDrjfJqy1FPPSFkMe1OEr4s4pVI0=",
			files:   []string{"config/crd/bases/barmancloud.cnpg.io_objectstores.yaml"},
		},
		{
			module:  "github.com/external-secrets/external-secrets",
			version: "v1.3.2",
			sum:     "h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ=",
			files: []string{
				"config/crds/bases/external-secrets.io_externalsecrets.yaml",
				"config/crds/bases/external-secrets.io_pushsecrets.yaml",
			},
		},
		{
			module:  "github.com/prometheus-operator/prometheus-operator",
			version: "v0.92.0",
			sum:     "h1:tAbsod3+9sQsxDeAvLP27dAe9terToht5M+YdDwLGP0=",
			files: []string{
				"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
				"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
			},
		},
	}
}

// Files returns the paths of the operators' CustomResourceDefinitions. They lie
// in Go's module cache and are downloaded when they are not there.
func Files(ctx context.Context) ([]string, error) {
	var files []string
	for _, s := range sources() {
		dir, err := s.download(ctx)
		if err != nil {
			return nil, err
		}
		for _, pattern := range s.files {
			found, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				return nil, fmt.Errorf("definitions %s of %s: %w", pattern, s.module, err)
			}
			if len(found) == 0 {
				return nil, fmt.Errorf("%s@%s has no file %s", s.module, s.version, pattern)
			}
			files = append(files, found...)
		}
	}
	return files, nil
}

// download returns the folder of the module in Go's module cache. The checksum
// database does not know every one of these versions: the pinned checksum
// stands in for it.
func (s source) download(ctx context.Context) (string, error) {
	name := s.module + "@" + s.version
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", name)
	cmd.Dir = os.TempDir()
	cmd.Env = append(os.Environ(), "GONOSUMDB="+s.module, "GOWORK=off", "GOFLAGS=")
	printed, runErr := cmd.Output()
	var module struct{ Dir, Sum, Error string }
	if err := json.Unmarshal(printed, &module); err != nil {
		return "", fmt.Errorf("download %s: %w", name, errors.Join(runErr, err))
	}
	switch {
	case module.Error != "":
		return "", fmt.Errorf("download %s: %s", name, module.Error)
	case runErr != nil:
		return "", fmt.Errorf("download %s: %w", name, runErr)
	case module.Sum != s.sum:
		return "", fmt.Errorf("download %s: its checksum is %s and not the pinned %s", name, module.Sum, s.sum)
	}
	return module.Dir, nil
}
