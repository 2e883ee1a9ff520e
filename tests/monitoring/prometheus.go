package monitoring

import (
	"context"
	"fmt"
	"io"
	"net"
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
	process *process.Process
	url     string
}

// startPrometheus starts one with the configuration in a folder. It takes no
// notice of changes until it is told to reload.
func startPrometheus(ctx context.Context, dir string) (*Prometheus, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p := &Prometheus{url: "http://" + address}
	client, err := api.NewClient(api.Config{Address: p.url})
	if err != nil {
		return nil, err
	}
	p.API = promv1.NewAPI(client)
	p.process, err = process.Start(process.Command{
		Name: "prometheus", Path: prometheusProgram, Dir: dir, Args: []string{
			"--config.file=" + filepath.Join(dir, configuration), "--storage.tsdb.path=" + filepath.Join(dir, "series"),
			"--web.listen-address=" + address, "--web.enable-lifecycle", "--log.level=warn",
			// What is not scraped any more is forgotten sooner, as it is scraped more often.
			"--query.lookback-delta=30s",
		},
	})
	if err != nil {
		return nil, err
	}
	err = p.process.WaitReady(ctx, func(ctx context.Context) error { return call(ctx, http.MethodGet, p.url+"/-/ready") })
	if err != nil {
		p.process.Stop()
		return nil, err
	}
	return p, nil
}

// reload has it read its configuration again.
func (p *Prometheus) reload(ctx context.Context) error {
	return call(ctx, http.MethodPost, p.url+"/-/reload")
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

// call wants an HTTP request to be answered with 200.
func call(ctx context.Context, method, url string) error {
	request, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s %s: %s: %s", method, url, response.Status, why)
	}
	return nil
}

// freeAddress is one on loopback that nobody listens on.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// write puts a file into a folder, which it makes.
func write(file string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o600)
}
