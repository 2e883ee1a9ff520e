package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
)

// repetitions is how often a deployment is measured. A large one takes minutes
// and varies little.
func repetitions(databases int) int {
	if databases > 10 {
		return 1
	}
	return 3
}

// deployment is what it costs to deploy a program.
type deployment struct {
	resources int
	// state is the size of the state that Pulumi keeps, in bytes.
	state int64
	// up is the first deployment, again one that changes nothing.
	up, again cost
	// unwritten is the first deployment when Pulumi writes its state at the end only,
	// which is what the rest of the engine and the program take.
	unwritten cost
}

// cost is what Pulumi and the program take together for one command.
type cost struct {
	// seconds are on the clock, cpu those of all cores.
	seconds, cpu float64
	// memory is in bytes.
	memory int64
}

// subject is a program to measure.
type subject struct {
	project string
	config  map[string]any
	binary  string
}

// deploy measures a subject several times and takes the medians. The second
// result are the objects of the last time.
func (s subject) deploy(ctx context.Context, repetitions int) (deployment, []map[string]any, error) {
	var runs []deployment
	var objects []map[string]any
	for range repetitions {
		run, made, err := s.once(ctx)
		if err != nil {
			return deployment{}, nil, err
		}
		runs, objects = append(runs, run), made
	}
	return deployment{
		resources: runs[0].resources,
		state:     runs[0].state,
		up:        medians(runs, func(d deployment) cost { return d.up }),
		again:     medians(runs, func(d deployment) cost { return d.again }),
		unwritten: medians(runs, func(d deployment) cost { return d.unwritten }),
	}, objects, nil
}

func medians(runs []deployment, of func(deployment) cost) cost {
	return cost{
		seconds: median(runs, func(d deployment) float64 { return of(d).seconds }),
		cpu:     median(runs, func(d deployment) float64 { return of(d).cpu }),
		memory:  median(runs, func(d deployment) int64 { return of(d).memory }),
	}
}

func median[T int64 | float64](runs []deployment, of func(deployment) T) T {
	values := make([]T, 0, len(runs))
	for _, run := range runs {
		values = append(values, of(run))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func (s subject) once(ctx context.Context) (result deployment, objects []map[string]any, err error) {
	err = s.in(ctx, func(box *sandbox.Sandbox) error {
		_, result.unwritten, err = measure(ctx, box.Up)
		return err
	}, "PULUMI_SKIP_CHECKPOINTS=true")
	if err != nil {
		return result, nil, err
	}
	err = s.in(ctx, func(box *sandbox.Sandbox) error {
		var steps int
		if result.resources, result.up, err = measure(ctx, box.Up); err != nil {
			return err
		}
		if steps, result.again, err = measure(ctx, box.Up); err != nil {
			return err
		}
		if steps > 0 {
			return fmt.Errorf("%s: a second up changed %d resources", s.project, steps)
		}
		state, err := os.Stat(box.StateFile())
		if err != nil {
			return err
		}
		result.state = state.Size()
		objects, err = box.Objects()
		return err
	})
	return result, objects, err
}

// in does work in a sandbox of its own, in which the stack is there already.
func (s subject) in(ctx context.Context, work func(*sandbox.Sandbox) error, environment ...string) (err error) {
	folder, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	box, err := sandbox.Start(ctx, sandbox.Options{
		Project: s.project, Stack: "bench", Config: s.config, Environment: environment,
		Dir: folder, Binary: s.binary, Progress: os.Stderr,
	})
	if err != nil {
		return err
	}
	defer box.Close()
	box.Quiet()
	// The first command for a stack also makes it.
	if _, err := box.Outputs(ctx); err != nil {
		return err
	}
	return work(box)
}

func measure(ctx context.Context, up func(context.Context, ...string) (*sandbox.Result, error),
) (steps int, taken cost, err error) {
	start, before := time.Now(), childrenCPU()
	stop := watch(ctx, os.Getpid())
	result, err := up(ctx)
	taken = cost{memory: stop(), seconds: time.Since(start).Seconds(), cpu: childrenCPU() - before}
	if err != nil {
		return 0, cost{}, err
	}
	return len(result.Changes), taken, nil
}

// childrenCPU are the seconds of all processes that this one started and that have
// ended. The stand-ins for the providers are in this process itself.
func childrenCPU() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

// environment is the stack program with a number of databases.
func environment(root, temporary string, databases int) subject {
	entries := make([]any, 0, databases)
	for i := range databases {
		entries = append(entries, map[string]any{
			"name": fmt.Sprintf("db%03d", i), "namespace": "apps",
			"spec": map[string]any{
				"instances": 1,
				"imageName": "ghcr.io/cloudnative-pg/postgresql:17.7",
				"storage":   map[string]any{"size": "5Gi"},
			},
		})
	}
	return subject{
		project: root,
		binary:  filepath.Join(temporary, "environment"),
		config: map[string]any{
			"cnpg-backup:b2":        map[string]any{"bucket": "bench-cnpg-b2", "region": "us-west-002"},
			"cnpg-backup:minio":     map[string]any{"bucket": "bench-postgres-backups", "endpoint": "https://nas.example.org:9000", "secret": "minio"},
			"cnpg-backup:bitwarden": map[string]any{"store": "bitwarden-backend", "item": "b2"},
			"cnpg-backup:databases": entries,
		},
	}
}

// byHand is the program that registers the same objects without the component.
func byHand(temporary string, objects []map[string]any) (subject, error) {
	file := filepath.Join(temporary, "objects.json")
	content, err := json.Marshal(objects)
	if err != nil {
		return subject{}, err
	}
	return subject{
		project: filepath.Join("bench", "byhand"),
		binary:  filepath.Join(temporary, "byhand"),
		config:  map[string]any{"byhand:objects": file, "minio:minioServer": "nas.example.org:9000"},
	}, os.WriteFile(file, content, 0o600)
}
