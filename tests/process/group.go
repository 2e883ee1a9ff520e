package process

import (
	"context"
	"fmt"
	"io"
	"slices"
)

// Group are processes that belong together.
type Group struct{ processes []*Process }

// Start starts a process of the group.
func (g *Group) Start(command Command) (*Process, error) {
	p, err := Start(command)
	if err == nil {
		g.processes = append(g.processes, p)
	}
	return p, err
}

// Run starts a process of the group and waits until it is ready.
func (g *Group) Run(ctx context.Context, command Command, ready func(context.Context) error) error {
	p, err := g.Start(command)
	if err != nil {
		return err
	}
	return p.WaitReady(ctx, ready)
}

// Named is the youngest process of a name, nil when there was none.
func (g *Group) Named(name string) *Process {
	for _, p := range slices.Backward(g.processes) {
		if p.Name() == name {
			return p
		}
	}
	return nil
}

// Tails writes the end of every process's log.
func (g *Group) Tails(w io.Writer, lines int) {
	for _, p := range g.processes {
		_, _ = fmt.Fprintf(w, "--- %s ---\n%s\n", p.Name(), p.Tail(lines))
	}
}

// Stop ends all processes, the youngest first.
func (g *Group) Stop() {
	for _, p := range slices.Backward(g.processes) {
		p.Stop()
	}
	g.processes = nil
}
