// Command sandbox deploys an environment with the real Pulumi engine to stand-ins
// for Kubernetes, Backblaze B2 and MinIO, on this machine alone.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
)

const usage = `Usage: sandbox [--project DIR] COMMAND

Commands:
  up [STACK]           deploy the environment to the sandbox (default: local)
  preview [STACK]      show what up would change
  destroy [STACK]      delete what up has deployed
  render STACK [DIR]   write the environment's manifests to DIR/STACK
                       (default: rendered)

Flags:
  --project DIR        the folder with Pulumi.yaml (default: ..)
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stopped := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
	case stopped:
		fmt.Fprintln(os.Stderr, "Stopped. Run the same command again to continue.")
		os.Exit(1)
	case errors.Is(err, errShown):
		os.Exit(1)
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(usage)
	default:
		fmt.Fprintln(os.Stderr, explain(err))
		os.Exit(1)
	}
}

// errShown is a failure that has been shown already.
var errShown = errors.New("failed")

// explain says why Pulumi failed and leaves out what it prints around that.
func explain(err error) string {
	var failed *sandbox.Error
	if !errors.As(err, &failed) {
		return "error: " + err.Error()
	}
	if problems := failed.Problems(); len(problems) > 0 {
		return strings.Join(problems, "\n")
	}
	return strings.TrimSpace(failed.Output)
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("sandbox", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	project := flags.String("project", "..", "")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w\n\n%s", err, usage)
	}
	root, err := filepath.Abs(*project)
	if err != nil {
		return err
	}
	c := command{root: root, dir: filepath.Join(root, ".sandbox"), out: out}
	switch name := flags.Arg(0); name {
	case "up":
		return c.up(ctx, cmp.Or(flags.Arg(1), "local"))
	case "preview":
		return c.preview(ctx, cmp.Or(flags.Arg(1), "local"))
	case "destroy":
		return c.destroy(ctx, cmp.Or(flags.Arg(1), "local"))
	case "render":
		if flags.Arg(1) == "" {
			return fmt.Errorf("render which environment?\n\n%s", usage)
		}
		return c.render(ctx, flags.Arg(1), cmp.Or(flags.Arg(2), filepath.Join(root, "rendered")))
	case "":
		return flag.ErrHelp
	default:
		return fmt.Errorf("there is no command %q\n\n%s", name, usage)
	}
}

// command runs for the project in root and keeps what it makes in dir.
type command struct {
	root, dir string
	out       io.Writer
}

func (c command) options(stack string) sandbox.Options {
	return sandbox.Options{
		Project:  c.root,
		Stack:    stack,
		Dir:      filepath.Join(c.dir, stack),
		Binary:   filepath.Join(c.dir, "program"),
		Progress: c.out,
	}
}

// show shows what Pulumi printed. When it failed, that counts only if it has
// changed something before.
func (c command) show(result *sandbox.Result, err error) error {
	if err != nil && (result == nil || len(result.Changes) == 0) {
		return err
	}
	if _, printErr := io.WriteString(c.out, result.Output); err == nil {
		return printErr
	}
	return errShown
}

func (c command) start(ctx context.Context, stack string) (*sandbox.Sandbox, error) {
	if err := c.known(stack); err != nil {
		return nil, err
	}
	box, err := sandbox.Start(ctx, c.options(stack))
	if err == nil {
		box.Quiet()
	}
	return box, err
}

// known finds out early that a stack's name is misspelt.
func (c command) known(stack string) error {
	pattern := filepath.Join(c.root, "stacks", "Pulumi.%s.yaml")
	if _, err := os.Stat(fmt.Sprintf(pattern, stack)); err == nil {
		return nil
	}
	files, err := filepath.Glob(fmt.Sprintf(pattern, "*"))
	if err != nil {
		return err
	}
	message := fmt.Sprintf("there is no environment %q; these have a file in stacks/:", stack)
	for _, file := range files {
		name := filepath.Base(file)
		message += " " + name[len("Pulumi."):len(name)-len(".yaml")]
	}
	return errors.New(message)
}

func (c command) up(ctx context.Context, stack string) error {
	box, err := c.start(ctx, stack)
	if err != nil {
		return err
	}
	defer box.Close()
	// The first time everything is new: a diff would only show all of it.
	var args []string
	if _, err := os.Stat(box.StateFile()); err == nil {
		args = append(args, "--diff")
	}
	if err := c.show(box.Up(ctx, args...)); err != nil {
		return err
	}
	fmt.Fprintf(c.out, `Environment %q is up in the sandbox; nothing has left this machine.
  manifests: %s
  state:     %s
Next: change stacks/Pulumi.%s.yaml and run this again to see the difference.
`, stack, c.relative(box.Manifests()), c.relative(box.StateFile()), stack)
	return nil
}

func (c command) preview(ctx context.Context, stack string) error {
	box, err := c.start(ctx, stack)
	if err != nil {
		return err
	}
	defer box.Close()
	result, err := box.Preview(ctx, "--diff")
	if err != nil {
		return err
	}
	return c.show(result, nil)
}

func (c command) destroy(ctx context.Context, stack string) error {
	box, err := c.start(ctx, stack)
	if err != nil {
		return err
	}
	defer box.Close()
	if err := c.unprotected(ctx, box, stack); err != nil {
		return err
	}
	return c.show(box.Destroy(ctx))
}

// unprotected wants nothing to be protected: Pulumi deletes the rest before it
// comes to what it may not delete.
func (c command) unprotected(ctx context.Context, box *sandbox.Sandbox, stack string) error {
	state, err := box.Export(ctx)
	if err != nil {
		return err
	}
	var protected []string
	for _, resource := range state.Resources {
		if resource.Protect {
			protected = append(protected, resource.URN.Name())
		}
	}
	if len(protected) == 0 {
		return nil
	}
	return fmt.Errorf("nothing was deleted: %s are protected.\nSet protect: false in stacks/Pulumi.%s.yaml "+
		"and run make up first, or delete the sandbox as a whole with make clean",
		strings.Join(protected, ", "), stack)
}

func (c command) render(ctx context.Context, stack, folder string) error {
	if err := c.known(stack); err != nil {
		return err
	}
	folder = filepath.Join(folder, stack)
	result, err := sandbox.Render(ctx, c.options(stack), folder)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "Rendered %d manifests of environment %q into %s.\n",
		len(result.Manifests), stack, c.relative(folder))
	if len(result.LeftOut) > 0 {
		fmt.Fprintf(c.out, "Left out, because only Pulumi has the values: %s.\n"+
			"What to make by hand instead: docs/gitops.md\n", strings.Join(result.LeftOut, ", "))
	}
	return nil
}

// relative shortens a path for a person in the project's folder.
func (c command) relative(path string) string {
	if short, err := filepath.Rel(c.root, path); err == nil && filepath.IsLocal(short) {
		return short
	}
	return path
}
