package monitoring

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
)

// DebianPackages are what is taken from Debian, with a file of each.
func DebianPackages() map[string]string {
	return map[string]string{"prometheus": prometheusProgram}
}

const prometheusProgram = "/usr/bin/prometheus"

// Prometheus is a running Prometheus.
type Prometheus struct {
	promv1.API
	url string
}

// startPrometheus starts one with the configuration in a folder, as a process of a
// group. It takes no notice of changes until it is told to reload.
func startPrometheus(ctx context.Context, dir string, group *process.Group) (*Prometheus, error) {
	address, err := process.FreeAddress(ctx, loopback)
	if err != nil {
		return nil, err
	}
	p := &Prometheus{url: "http://" + address.String()}
	client, err := api.NewClient(api.Config{Address: p.url})
	if err != nil {
		return nil, err
	}
	p.API = promv1.NewAPI(client)
	return p, group.Run(ctx, process.Command{
		Name: "prometheus", Path: prometheusProgram, Dir: dir, Args: []string{
			"--config.file=" + filepath.Join(dir, configuration), "--storage.tsdb.path=" + filepath.Join(dir, "series"),
			"--web.listen-address=" + address.String(), "--web.enable-lifecycle", "--log.level=warn",
			// What is not scraped any more is forgotten sooner, as it is scraped more often.
			"--query.lookback-delta=30s",
		},
	}, func(ctx context.Context) error {
		return process.Call(ctx, http.DefaultClient, http.MethodGet, p.url+"/-/ready")
	})
}

// reload has it read its configuration again.
func (p *Prometheus) reload(ctx context.Context) error {
	return process.Call(ctx, http.DefaultClient, http.MethodPost, p.url+"/-/reload")
}

// Ask evaluates an expression now.
func (p *Prometheus) Ask(ctx context.Context, expr string) (model.Vector, error) {
	answer, _, err := p.Query(ctx, expr, time.Now())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	switch answer := answer.(type) {
	case model.Vector:
		return answer, nil
	case *model.Scalar:
		return model.Vector{{Value: answer.Value, Timestamp: answer.Timestamp}}, nil
	default:
		return nil, fmt.Errorf("%s is a %s", expr, answer.Type())
	}
}

// write puts a file into a folder, which it makes.
func write(file string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o600)
}
