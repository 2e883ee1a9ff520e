// Command bench measures what the component costs: to compile, beside an empty
// Pulumi program, and to deploy, beside a program that registers the same
// resources by hand. It is to be run in the folder tests.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	if err := compilations(ctx); err != nil {
		return err
	}
	return deployments(ctx)
}

func compilations(ctx context.Context) error {
	progress("compiling an empty Pulumi program from an empty cache")
	empty, err := compile(ctx, filepath.Join("bench", "empty"))
	if err != nil {
		return err
	}
	progress("compiling the stack program from an empty cache")
	stacks, err := compile(ctx, filepath.Join("..", "stacks"))
	if err != nil {
		return err
	}
	fmt.Printf("Compile from an empty cache, %d cores %20s %12s\n", runtime.NumCPU(), "largest", "all")
	fmt.Printf("%-25s%9s %9s %12s %12s\n", "", "seconds", "CPU s", "process, MB", "together, MB")
	for _, row := range []struct {
		name string
		compilation
	}{{"empty Pulumi program", empty}, {"stack program", stacks}} {
		fmt.Printf("%-25s%9.1f %9.1f %12d %12d\n", row.name, row.seconds, row.cpu,
			megabytes(row.largest), megabytes(row.all))
	}
	fmt.Printf("%-25s%9.2f %9.2f %12.2f %12.2f\n\n", "ratio", stacks.seconds/empty.seconds, stacks.cpu/empty.cpu,
		ratio(stacks.largest, empty.largest), ratio(stacks.all, empty.all))
	return nil
}

func deployments(ctx context.Context) (err error) {
	temporary, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	fmt.Printf("Deploy to the sandbox %36s %21s %15s\n", "up", "up, no changes", "up, one write")
	fmt.Printf("%-9s %-9s %7s %8s %7s %7s %5s %7s %7s %5s %7s %7s\n", "databases", "", "objects", "state kB",
		"seconds", "CPU s", "MB", "seconds", "CPU s", "MB", "seconds", "CPU s")
	for _, databases := range []int{1, 10, 20, 100} {
		progress(fmt.Sprintf("deploying %d databases with the component and by hand", databases))
		component, objects, err := environment("..", temporary, databases).deploy(ctx, repetitions(databases))
		if err != nil {
			return err
		}
		raw, err := byHand(temporary, objects)
		if err != nil {
			return err
		}
		hand, _, err := raw.deploy(ctx, repetitions(databases))
		if err != nil {
			return err
		}
		row(strconv.Itoa(databases), "component", component)
		row("", "by hand", hand)
		fmt.Printf("%-9s %-9s %7s %8.2f %7.2f %7.2f %5.2f %7.2f %7.2f %5.2f %7.2f %7.2f\n", "", "ratio", "",
			ratio(component.state, hand.state),
			component.up.seconds/hand.up.seconds, component.up.cpu/hand.up.cpu, ratio(component.up.memory, hand.up.memory),
			component.again.seconds/hand.again.seconds, component.again.cpu/hand.again.cpu,
			ratio(component.again.memory, hand.again.memory),
			component.unwritten.seconds/hand.unwritten.seconds, component.unwritten.cpu/hand.unwritten.cpu)
	}
	fmt.Println("\nCPU seconds and memory of a deployment are those of Pulumi and the program\n" +
		"together; the component's objects include the components themselves. With one\n" +
		"write Pulumi keeps its state at the end only (PULUMI_SKIP_CHECKPOINTS).")
	return nil
}

func row(name, program string, d deployment) {
	fmt.Printf("%-9s %-9s %7d %8d %7.1f %7.1f %5d %7.1f %7.1f %5d %7.1f %7.1f\n", name, program, d.resources, d.state/1000,
		d.up.seconds, d.up.cpu, megabytes(d.up.memory), d.again.seconds, d.again.cpu, megabytes(d.again.memory),
		d.unwritten.seconds, d.unwritten.cpu)
}

func progress(what string) { fmt.Fprintln(os.Stderr, "... "+what) }

func megabytes(bytes int64) int64 { return bytes / 1_000_000 }

func ratio(a, b int64) float64 { return float64(a) / float64(b) }
