package monitoring

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/await"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

// The Prometheus that the operator is asked for, and the namespace that it would
// run in.
const (
	name      = "watch"
	namespace = "e2e-monitoring"
)

// loopback is where all of it listens.
const loopback = "127.0.0.1"

// configuration is the file with that of Prometheus, and rules the folder with
// its rules.
const (
	configuration = "prometheus.yaml"
	rules         = "rules"
)

// Options say how the cluster is watched.
type Options struct {
	// Cluster reaches the API server as an administrator.
	Cluster *rest.Config
	// Labels are those by which Prometheus takes PodMonitors and rules for its own,
	// as that of kube-prometheus-stack does by "release".
	Labels map[string]string
	// States is the file that tells kube-state-metrics of the operators' objects, ""
	// for none.
	States string
	// Dir is a folder for all files.
	Dir string
	// Every is how often is scraped and evaluated.
	Every time.Duration
	// For shortens the time for which an expression has to be true before its alert
	// fires; nil leaves it as it is. Nothing else of a rule can be changed.
	For func(time.Duration) time.Duration
}

// Watch is a running Prometheus and what it needs.
type Watch struct {
	*Prometheus
	options   Options
	client    *kube.Client
	dir       string
	processes process.Group
	// discovered are the files with targets that are kept up to date, until the
	// cancels are called.
	discovered map[string]bool
	cancels    []context.CancelFunc
	running    sync.WaitGroup
}

// Prepare builds what takes the network.
func Prepare(ctx context.Context, progress io.Writer) error {
	for _, tool := range []tools.Tool{tools.PrometheusOperator(), tools.KubeStateMetrics()} {
		if _, err := tool.Build(ctx, progress); err != nil {
			return err
		}
	}
	return nil
}

// Start starts all of it. The caller stops it.
func Start(ctx context.Context, options Options) (*Watch, error) {
	client, err := kube.NewClient(options.Cluster, "monitoring")
	if err != nil {
		return nil, err
	}
	w := &Watch{options: options, client: client, dir: options.Dir, discovered: map[string]bool{}}
	// Prometheus watches a folder that is there.
	if err := os.MkdirAll(filepath.Dir(w.targetsOf("")), 0o750); err != nil {
		return nil, err
	}
	if err := w.start(ctx); err != nil {
		w.Stop()
		return nil, err
	}
	return w, nil
}

// Stop ends all processes.
func (w *Watch) Stop() {
	w.processes.Stop()
	for _, cancel := range w.cancels {
		cancel()
	}
	w.running.Wait()
}

func (w *Watch) start(ctx context.Context) error {
	states, err := w.startStates(ctx)
	if err != nil {
		return err
	}
	if err := w.startOperator(ctx); err != nil {
		return err
	}
	if err := w.askForPrometheus(ctx, states); err != nil {
		return err
	}
	if err := w.refresh(ctx); err != nil {
		return err
	}
	w.Prometheus, err = startPrometheus(ctx, w.dir, &w.processes)
	return err
}

// startStates starts kube-state-metrics and returns its address.
func (w *Watch) startStates(ctx context.Context) (string, error) {
	program, err := tools.KubeStateMetrics().Build(ctx, os.Stdout)
	if err != nil {
		return "", err
	}
	kubeconfig, err := w.kubeconfig()
	if err != nil {
		return "", err
	}
	address, err := process.FreeAddress(ctx, loopback)
	if err != nil {
		return "", err
	}
	telemetry, err := process.FreeAddress(ctx, loopback)
	if err != nil {
		return "", err
	}
	args := []string{
		"--kubeconfig=" + kubeconfig, "--host=" + loopback, fmt.Sprintf("--port=%d", address.Port()),
		"--telemetry-host=" + loopback, fmt.Sprintf("--telemetry-port=%d", telemetry.Port()),
	}
	if w.options.States != "" {
		args = append(args, "--custom-resource-state-config-file="+w.options.States)
	}
	return address.String(), w.run(ctx, "kube-state-metrics", program, args, address)
}

// startOperator installs the operator's types and starts it.
func (w *Watch) startOperator(ctx context.Context) error {
	source, err := tools.PrometheusOperator().Source(ctx)
	if err != nil {
		return err
	}
	types, err := filepath.Glob(filepath.Join(source, "example", "prometheus-operator-crd", "*.yaml"))
	if err != nil {
		return err
	}
	definitions, err := w.client.ApplyFiles(ctx, types...)
	if err != nil {
		return err
	}
	// The operator leaves out the types that it does not find when it starts.
	if err := await.Established(ctx, w.client, definitions); err != nil {
		return err
	}
	program, err := tools.PrometheusOperator().Build(ctx, os.Stdout)
	if err != nil {
		return err
	}
	address, err := process.FreeAddress(ctx, loopback)
	if err != nil {
		return err
	}
	args := []string{"--apiserver=" + w.options.Cluster.Host, "--web.listen-address=" + address.String(), "--disable-unmanaged-prometheus-configuration"}
	for option, content := range map[string][]byte{
		"cert-file": w.options.Cluster.CertData, "key-file": w.options.Cluster.KeyData, "ca-file": w.options.Cluster.CAData,
	} {
		file := filepath.Join(w.dir, option)
		if err := write(file, content); err != nil {
			return err
		}
		args = append(args, "--"+option+"="+file)
	}
	return w.run(ctx, "prometheus-operator", program, args, address)
}

// run starts a process that says at an address whether it is well.
func (w *Watch) run(ctx context.Context, name, program string, args []string, address netip.AddrPort) error {
	command := process.Command{Name: name, Path: program, Args: args, Dir: w.dir}
	return w.processes.Run(ctx, command, func(ctx context.Context) error {
		return process.Call(ctx, http.DefaultClient, http.MethodGet, "http://"+address.String()+"/healthz")
	})
}

// askForPrometheus makes the object by which the operator makes a Prometheus, and
// the Secret with the place of kube-state-metrics. As in kube-prometheus-stack its
// labels are those of the objects, not of its own pod.
func (w *Watch) askForPrometheus(ctx context.Context, states string) error {
	const more = "more"
	scrape, err := yaml.Marshal([]any{map[string]any{
		"job_name": "kube-state-metrics", "honor_labels": true,
		"static_configs": []any{map[string]any{"targets": []any{states}}},
	}})
	if err != nil {
		return err
	}
	own, everywhere := map[string]any{"matchLabels": toAny(w.options.Labels)}, map[string]any{}
	every := fmt.Sprintf("%.0fs", w.options.Every.Seconds())
	return w.client.Apply(ctx,
		kube.Object("v1", "Namespace", "", namespace, nil),
		kube.Object("v1", "Secret", namespace, more, map[string]any{
			"data": map[string]any{"scrape.yaml": base64.StdEncoding.EncodeToString(scrape)},
		}),
		kube.Object("monitoring.coreos.com/v1", "Prometheus", namespace, name, map[string]any{"spec": map[string]any{
			"version": "v2.42.0", "replicas": int64(0), "scrapeInterval": every, "scrapeTimeout": every, "evaluationInterval": every,
			"podMonitorSelector": own, "podMonitorNamespaceSelector": everywhere,
			"ruleSelector": own, "ruleNamespaceSelector": everywhere,
			"serviceMonitorSelector": own, "serviceMonitorNamespaceSelector": everywhere,
			"additionalScrapeConfigs": map[string]any{"name": more, "key": "scrape.yaml"},
		}}))
}

// Reload takes over what the operator has made of PodMonitors and rules since.
func (w *Watch) Reload(ctx context.Context) error {
	if err := w.refresh(ctx); err != nil {
		return err
	}
	return w.reload(ctx)
}

// refresh writes the operator's configuration where Prometheus reads it.
func (w *Watch) refresh(ctx context.Context) error {
	var config []byte
	err := await.Until(ctx, 500*time.Millisecond, func(ctx context.Context) error {
		secret, err := w.client.Get(ctx, schema.GroupVersionKind{Version: "v1", Kind: "Secret"}, namespace, "prometheus-"+name)
		if err != nil {
			return err
		}
		packed, _, _ := unstructured.NestedString(secret.Object, "data", "prometheus.yaml.gz")
		config, err = unpack(packed)
		return err
	})
	if err != nil {
		return fmt.Errorf("the operator's configuration: %w", err)
	}
	if config, err = w.moved(config); err != nil { //nolint:contextcheck // what it starts lives as long as the watch
		return err
	}
	if err := write(filepath.Join(w.dir, configuration), config); err != nil {
		return err
	}
	return w.refreshRules(ctx)
}

// moved is the operator's configuration for a Prometheus that is no pod and cannot
// ask Kubernetes: targets and rules are files elsewhere.
func (w *Watch) moved(config []byte) ([]byte, error) {
	var content struct {
		Global map[string]any   `json:"global"`
		Scrape []map[string]any `json:"scrape_configs"`
		Rules  []string         `json:"rule_files"`
	}
	// What the reloader in the pod fills in.
	filled := strings.NewReplacer("$(SHARD)", "0", "$(POD_NAME)", "prometheus-"+name+"-0").Replace(string(config))
	if err := yaml.Unmarshal([]byte(filled), &content); err != nil {
		return nil, err
	}
	for _, scrape := range content.Scrape {
		discoveries, _ := scrape["kubernetes_sd_configs"].([]any)
		if len(discoveries) == 0 {
			continue
		}
		delete(scrape, "kubernetes_sd_configs")
		file := w.targetsOf(scrape["job_name"].(string))
		scrape["file_sd_configs"] = []any{map[string]any{"files": []string{file}, "refresh_interval": "2s"}}
		if w.discovered[file] {
			continue
		}
		w.discovered[file] = true
		if err := w.discover(discoveries[0].(map[string]any), file); err != nil {
			return nil, err
		}
	}
	content.Rules = []string{filepath.Join(w.dir, rules, "*.yaml")}
	return yaml.Marshal(content)
}

// refreshRules writes the rules that the operator has chosen.
func (w *Watch) refreshRules(ctx context.Context) error {
	maps, err := w.client.List(ctx, schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, namespace)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(w.dir, rules)); err != nil {
		return err
	}
	for _, configMap := range maps {
		if configMap.GetLabels()["prometheus-name"] != name {
			continue
		}
		files, _, _ := unstructured.NestedStringMap(configMap.Object, "data")
		for file, content := range files {
			shortened, err := w.shortened([]byte(content))
			if err != nil {
				return fmt.Errorf("rules in %s: %w", file, err)
			}
			if err := write(filepath.Join(w.dir, rules, file), shortened); err != nil {
				return err
			}
		}
	}
	return nil
}

// shortened are rules whose alerts fire sooner.
func (w *Watch) shortened(content []byte) ([]byte, error) {
	if w.options.For == nil {
		return content, nil
	}
	var groups struct {
		Groups []map[string]any `json:"groups"`
	}
	if err := yaml.Unmarshal(content, &groups); err != nil {
		return nil, err
	}
	for _, group := range groups.Groups {
		entries, _ := group["rules"].([]any)
		for _, entry := range entries {
			rule, _ := entry.(map[string]any)
			stands, given := rule["for"].(string)
			if !given {
				continue
			}
			parsed, err := model.ParseDuration(stands)
			if err != nil {
				return nil, err
			}
			rule["for"] = model.Duration(w.options.For(time.Duration(parsed)).Round(time.Second)).String()
		}
	}
	return yaml.Marshal(groups)
}

// kubeconfig writes one for programs that read no other.
func (w *Watch) kubeconfig() (string, error) {
	file := filepath.Join(w.dir, "kubeconfig")
	content, err := kube.Kubeconfig(name, w.options.Cluster)
	if err != nil {
		return "", err
	}
	return file, write(file, content)
}

func unpack(packed string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 {
		return nil, errors.New("it is empty")
	}
	reader, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(reader)
}

func toAny(labels map[string]string) map[string]any {
	all := map[string]any{}
	for name, value := range labels {
		all[name] = value
	}
	return all
}
