package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"sigs.k8s.io/yaml"
)

// discover finds targets in Kubernetes for a Prometheus that cannot: Debian builds
// it without. It is Prometheus's own code, beside it, and what it finds goes into
// a file that Prometheus reads as if it had found it itself.
func (w *Watch) discover(config map[string]any, file string) error {
	written, err := yaml.Marshal(config)
	if err != nil {
		return err
	}
	var asked struct {
		Role       string `json:"role"`
		Namespaces struct {
			Names []string `json:"names"`
		} `json:"namespaces"`
	}
	if err := yaml.UnmarshalStrict(written, &asked); err != nil {
		return fmt.Errorf("a discovery that is not known here: %w", err)
	}
	kubeconfig, err := w.kubeconfig()
	if err != nil {
		return err
	}
	sd := &kubernetes.SDConfig{
		Role: kubernetes.Role(asked.Role), KubeConfig: kubeconfig,
		NamespaceDiscovery: kubernetes.NamespaceDiscovery{Names: asked.Namespaces.Names},
	}
	registry := prometheus.NewRegistry()
	metrics := sd.NewDiscovererMetrics(registry, discovery.NewRefreshMetrics(registry))
	found, err := kubernetes.New(slog.New(slog.DiscardHandler), metrics, sd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancels = append(w.cancels, cancel)
	groups := make(chan []*targetgroup.Group)
	w.running.Go(func() { found.Run(ctx, groups) })
	w.running.Go(func() { keep(ctx, groups, file) })
	return nil
}

// keep writes the targets of all groups into a file whenever one changes.
func keep(ctx context.Context, changes <-chan []*targetgroup.Group, file string) {
	known := map[string]*targetgroup.Group{}
	for {
		select {
		case <-ctx.Done():
			return
		case changed := <-changes:
			for _, group := range changed {
				known[group.Source] = group
			}
		}
		if err := writeTargets(file, known); err != nil {
			fmt.Fprintln(os.Stderr, "targets:", err)
		}
	}
}

// writeTargets writes each target with all of its labels; a group's own are those of
// each of its targets.
func writeTargets(file string, groups map[string]*targetgroup.Group) error {
	type entry struct {
		Targets []string       `json:"targets"`
		Labels  model.LabelSet `json:"labels"`
	}
	entries := []entry{}
	for _, source := range slices.Sorted(maps.Keys(groups)) {
		for _, target := range groups[source].Targets {
			labels := groups[source].Labels.Merge(target)
			delete(labels, model.AddressLabel)
			entries = append(entries, entry{Targets: []string{string(target[model.AddressLabel])}, Labels: labels})
		}
	}
	content, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	// Prometheus reads it as it is written.
	if err := write(file+".partial", content); err != nil {
		return err
	}
	return os.Rename(file+".partial", file)
}

// targetsOf is the file with the targets of a job.
func (w *Watch) targetsOf(job string) string {
	return filepath.Join(w.dir, "targets", strings.ReplaceAll(job, "/", "-")+".json")
}
