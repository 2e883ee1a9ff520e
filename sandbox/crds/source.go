package crds

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

// source is an operator whose module carries its CustomResourceDefinitions.
type source struct {
	operator tools.Tool
	// files are patterns of the definitions' paths within the module.
	files []string
}

// sources are the operators that the tests run, of the same releases. Of
// External Secrets and the Prometheus operator only the kinds that the project
// emits are taken.
func sources() []source {
	return []source{
		{
			operator: tools.CloudNativePG(),
			files:    []string{"config/crd/bases/postgresql.cnpg.io_*.yaml"},
		},
		{
			operator: tools.BarmanCloudPlugin(),
			files:    []string{"config/crd/bases/barmancloud.cnpg.io_objectstores.yaml"},
		},
		{
			operator: tools.ExternalSecrets(),
			files: []string{
				"config/crds/bases/external-secrets.io_externalsecrets.yaml",
				"config/crds/bases/external-secrets.io_pushsecrets.yaml",
			},
		},
		{
			operator: tools.PrometheusOperator(),
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
		dir, err := s.operator.Source(ctx)
		if err != nil {
			return nil, err
		}
		for _, pattern := range s.files {
			found, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				return nil, fmt.Errorf("definitions %s of %s: %w", pattern, s.operator.Name, err)
			}
			if len(found) == 0 {
				return nil, fmt.Errorf("%s has no file %s", dir, pattern)
			}
			files = append(files, found...)
		}
	}
	return files, nil
}
