// Command doctor says of each copy of each database of an environment whether it
// restores right now, from what lies in the stores, and why not. It only reads, unless
// it is asked to prove.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/cluster"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/diagnosis"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/examine"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/report"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/stack"
	"github.com/homelab-iac/pulumi-cnpg-backup/internal/restoretime"
	"github.com/homelab-iac/pulumi-cnpg-backup/stacks/environment"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	os.Exit(code)
}

// options are what the command line says.
type options struct {
	stack, project, database, copy, output, context, operator, authority string
	fromStore, rbac, prove                                               bool
	timeout, wait                                                        time.Duration
	line                                                                 float64
}

func parse(arguments []string, complain io.Writer) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	flags.SetOutput(complain)
	flags.StringVar(&o.stack, "stack", "", "the environment, by its file stacks/Pulumi.<environment>.yaml")
	flags.StringVar(&o.project, "project", ".", "the folder with Pulumi.yaml")
	flags.StringVar(&o.database, "database", "", "look at this database only")
	flags.StringVar(&o.copy, "copy", "", "report on this copy only: archive, mirror, b2 or minio")
	flags.StringVar(&o.output, "o", "text", "what to print: text, short or json")
	flags.StringVar(&o.context, "context", "", "the context in the kubeconfig (default: the current one)")
	flags.StringVar(&o.operator, "operator-namespace", "cnpg-system", "where the operator and the plugin run")
	flags.BoolVar(&o.fromStore, "from-store", false, "do not ask the cluster; take the keys from B2_APPLICATION_KEY_ID, B2_APPLICATION_KEY, "+
		"MINIO_USER and MINIO_PASSWORD")
	flags.StringVar(&o.authority, "ca", "", "a file with more certificates to trust, in PEM")
	flags.DurationVar(&o.timeout, "timeout", examine.StoreTime, "how long a store may take to answer each of two questions")
	flags.BoolVar(&o.prove, "prove", false, "first end a WAL segment on the primary, run the mirror, and wait until the segment is in both copies; this writes")
	flags.DurationVar(&o.wait, "wait", proveTime, "how long -prove waits for each copy")
	flags.Float64Var(&o.line, "line", usualLine, "your bandwidth from B2 in Mbit/s, for the minutes that a restore takes")
	flags.BoolVar(&o.rbac, "rbac", false, "print the rights that it needs, for kubectl apply, and end; with -prove also those that proving needs")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	var problems []error
	if flags.NArg() > 0 {
		problems = append(problems, fmt.Errorf("what is %q? Options begin with a hyphen", flags.Arg(0)))
	}
	if o.stack == "" {
		problems = append(problems, errors.New("-stack is missing: which environment?"))
	}
	if o.timeout <= 0 {
		problems = append(problems, fmt.Errorf("-timeout is %s; expected more than 0s, for instance 1m", o.timeout))
	}
	if o.wait <= 0 {
		problems = append(problems, fmt.Errorf("-wait is %s; expected more than 0s, for instance 10m", o.wait))
	}
	if o.line <= 0 {
		problems = append(problems, fmt.Errorf("-line is %g; expected more than 0, for instance %d", o.line, usualLine))
	}
	if o.prove && o.fromStore {
		problems = append(problems, errors.New("-prove needs the cluster, which -from-store does not ask: leave one of them out"))
	}
	problems = append(problems, oneOf("-o", o.output, "text", "short", "json"),
		oneOf("-copy", o.copy, "", "archive", "mirror", string(cnpg.B2), string(cnpg.MinIO)))
	return o, errors.Join(problems...)
}

func oneOf(option, given string, expected ...string) error {
	if slices.Contains(expected, given) {
		return nil
	}
	return fmt.Errorf("%s is %q; expected one of: %s", option, given, strings.TrimSpace(strings.Join(expected, " ")))
}

func run(ctx context.Context, arguments []string, out, complain io.Writer) int {
	o, err := parse(arguments, complain)
	if errors.Is(err, flag.ErrHelp) {
		return report.ExitRestores
	}
	if err != nil {
		fmt.Fprintln(complain, "error:", err)
		return report.ExitUsage
	}
	if o.stack == "local" {
		return sandbox(out)
	}
	config, err := stack.Load(o.project, o.stack)
	if err != nil {
		fmt.Fprintln(complain, "error:", err)
		return report.ExitUnknown
	}
	databases, err := chosen(config, o.database)
	if err != nil {
		fmt.Fprintln(complain, "error:", err)
		return report.ExitUsage
	}
	if o.rbac {
		fmt.Fprint(out, cluster.Manifests(layouts(databases), o.operator, o.prove))
		return report.ExitRestores
	}
	access, err := o.access()
	if err != nil {
		fmt.Fprintln(complain, "error:", err)
		return report.ExitUsage
	}
	return o.look(ctx, access, databases, out, complain)
}

// database is one that is looked at.
type database struct {
	name   string
	layout cnpg.Layout
}

func chosen(config *environment.Config, name string) ([]database, error) {
	var all []database
	known := make([]string, 0, len(config.Databases))
	for i := range config.Databases {
		one := &config.Databases[i]
		known = append(known, one.Name)
		if name == "" || name == one.Name {
			all = append(all, database{one.Name, one.Layout(one.Name, &config.StorageArgs)})
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("there is no database %q; there are: %s", name, strings.Join(known, ", "))
	}
	return all, nil
}

func layouts(databases []database) []cnpg.Layout {
	all := make([]cnpg.Layout, 0, len(databases))
	for _, one := range databases {
		all = append(all, one.layout)
	}
	return all
}

// access connects to the cluster, unless only the stores are asked.
func (o *options) access() (examine.Access, error) {
	a := examine.Access{StoreTime: o.timeout}
	if o.authority != "" {
		content, err := os.ReadFile(o.authority) //nolint:gosec // the user names the file
		if err != nil {
			return a, fmt.Errorf("-ca: %w", err)
		}
		a.Authorities = content
	}
	if o.fromStore {
		a.Key = examine.EnvironmentKeys
		return a, anyKey()
	}
	client, err := cluster.Connect(o.context)
	if err != nil {
		a.ClusterErr = fmt.Errorf("%w; if the cluster is gone, use -from-store", err)
		return a, nil
	}
	client.Operator = o.operator
	a.Cluster, a.Key = client, examine.ClusterKeys(*client)
	return a, nil
}

// anyKey wants the key of a store at least.
func anyKey() error {
	var names []string
	for _, at := range []cnpg.Location{cnpg.B2, cnpg.MinIO} {
		id, secret := examine.Variables(at)
		if os.Getenv(id) != "" && os.Getenv(secret) != "" {
			return nil
		}
		names = append(names, id+" and "+secret)
	}
	return fmt.Errorf("-from-store needs a key: set %s", strings.Join(names, ", or "))
}

// atOnce is how many databases are looked at at a time: each takes a dozen
// connections to each store.
const atOnce = 10

// look examines databases side by side and shows each as soon as those before it
// are shown.
func (o *options) look(ctx context.Context, access examine.Access, databases []database, out, complain io.Writer) int {
	var calls examine.Calls
	r := &report.Report{Version: report.Version, Time: time.Now().UTC(), Environment: o.stack}
	found, places := make([]chan diagnosis.Database, len(databases)), make(chan struct{}, atOnce)
	for i, one := range databases {
		found[i] = make(chan diagnosis.Database, 1)
		go func() {
			places <- struct{}{}
			defer func() { <-places }()
			archive, mirror := o.proofs(ctx, access, one, &calls, complain)
			subject := access.Database(ctx, one.name, one.layout, &calls)
			subject.Line = restoretime.Line(o.line) * restoretime.Mbit
			subject.ArchiveProof, subject.MirrorProof = archive, mirror
			subject.Environment, subject.Stack = o.stack, stack.File(o.stack)
			found[i] <- diagnosis.Diagnose(subject)
		}()
	}
	style := report.Style{Colours: colours(out), Recovery: o.fromStore}
	for _, one := range found {
		d := <-one
		d.Copies = o.wanted(d.Copies)
		r.Databases = append(r.Databases, d)
		if o.output == "text" {
			style.Database(out, r.Time, d)
		}
	}
	r.Calls = calls.All()
	switch o.output {
	case "json":
		if err := r.JSON(out); err != nil {
			return report.ExitUnknown
		}
	case "short":
		r.Short(out)
	default:
		r.End(out)
	}
	return r.Exit()
}

// usualLine is what comes from B2 unless somebody says, in Mbit/s.
const usualLine = 100

// proveTime is how long -prove waits for each copy. A run of the mirror that has
// little to do takes about a minute.
const proveTime = 10 * time.Minute

// proofs are those of a database, and nil unless they are asked for.
func (o *options) proofs(ctx context.Context, access examine.Access, of database, calls *examine.Calls, complain io.Writer,
) (archive, mirror *diagnosis.Proof) {
	if !o.prove {
		return nil, nil
	}
	copies := o.wanted([]diagnosis.Copy{
		{Role: "archive", Location: of.layout.Archive.Location}, {Role: "mirror", Location: of.layout.Mirror.Location},
	})
	mirrorToo := slices.ContainsFunc(copies, func(c diagnosis.Copy) bool { return c.Role == "mirror" })
	archive, mirror = access.Prove(ctx, of.layout, examine.Proving{
		Wait: o.wait, Mirror: mirrorToo,
		// A line is one write, so that databases do not get into each other's.
		Tell: func(format string, arguments ...any) {
			fmt.Fprintf(complain, "%s: %s\n", of.name, fmt.Sprintf(format, arguments...))
		},
	}, calls)
	if mirrorToo && mirror == nil && len(copies) == 1 {
		// Nobody is told what became of the archive's.
		mirror = &diagnosis.Proof{Segment: archive.Segment, Untried: "archive: " + archive.Failed + archive.Untried}
	}
	return archive, mirror
}

// wanted are the copies that are reported on.
func (o *options) wanted(copies []diagnosis.Copy) []diagnosis.Copy {
	var kept []diagnosis.Copy
	for _, one := range copies {
		if o.copy == "" || o.copy == one.Role || o.copy == string(one.Location) {
			kept = append(kept, one)
		}
	}
	return kept
}

// colours are for a terminal whose user has not declined them
// (https://no-color.org).
func colours(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// sandbox answers for the embedded environment.
func sandbox(out io.Writer) int {
	fmt.Fprint(out, "The local environment is a sandbox in which nothing runs, so there are no backups\n"+
		"to look at. With STACK=<environment> a report looks like this:\n\n")
	r := sample()
	for _, d := range r.Databases {
		report.Style{}.Database(out, r.Time, d)
	}
	r.End(out)
	return report.ExitRestores
}
