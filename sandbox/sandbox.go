// Package sandbox runs a Pulumi project with the real Pulumi engine but without
// clusters, clouds and credentials. It compiles the project's program, attaches
// stand-ins for the providers to the engine and keeps the state in a folder.
//
//	box, err := sandbox.Start(ctx, sandbox.Options{
//		Project: "..", Stack: "homelab", Dir: t.TempDir(), Progress: os.Stdout,
//	})
//	defer box.Close()
//	result, err := box.Up(ctx)      // also Preview, Refresh, Destroy
//	result.Changes                  // the steps that were not "same"
//	objects, err := box.Objects()   // the Kubernetes objects, as written
//
// Kubernetes objects are checked against the operators' schemas and written as
// YAML to Manifests. With Options.Cluster they go to a real API server instead:
// the engine then talks to it through a stand-in for the kubernetes provider
// that behaves like that one's defaults, with server-side apply, dry runs in
// previews and reads on refresh.
package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/crds"
	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/program"
	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/provider"
)

// Options say what to run and where.
type Options struct {
	// Project is the folder with Pulumi.yaml. It is only read.
	Project string
	// Stack is the stack's name. Its configuration file is used if there is one;
	// values that are encrypted in it are replaced.
	Stack string
	// Config is configuration over that of the file: values by key, with the
	// project's name in front of the key. A nil value removes the key.
	Config map[string]any
	// Environment are variables for Pulumi, the program and the providers,
	// "<name>=<value>", over the sandbox's own, which are credentials of nobody.
	Environment []string
	// Dir is where everything is kept: state, passphrase, manifests. A sandbox
	// that is started again in the same folder goes on with them.
	Dir string
	// Binary is where the compiled program is kept. Default: in Dir.
	Binary string
	// Cluster is a real API server for the Kubernetes objects. Default: none.
	Cluster *rest.Config
	// Await is for how long to wait at most for each object that is made or
	// changed there. Default: as long as the real provider.
	Await time.Duration
	// Real has the engine use the real kubernetes plugin that Pulumi finds, in
	// place of the stand-in. It takes a Cluster.
	Real bool
	// B2Keys is told of the application keys that the stand-in for B2 makes and
	// deletes. Default: nobody is.
	B2Keys provider.B2Keys
	// Warn is told the warnings of that API server. Default: nobody is.
	Warn func(warning string)
	// Progress is shown what goes on, Pulumi's own display included.
	// Default: nobody is.
	Progress io.Writer
}

// Sandbox is a project that is ready to run. Its methods are not to be called
// at the same time.
type Sandbox struct {
	// Kubernetes is the stand-in that the engine talks to, nil with Options.Real.
	Kubernetes *provider.Kubernetes

	options     Options
	project     *project
	pulumi      string
	environment []string
	closers     []func()
}

// Start compiles the program and serves the providers. The first time ever it
// also builds Pulumi, which takes minutes.
func Start(ctx context.Context, options Options) (*Sandbox, error) {
	if options.Progress == nil {
		options.Progress = io.Discard
	}
	var err error
	for _, path := range []*string{&options.Project, &options.Dir} {
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, err
		}
	}
	if options.Binary == "" {
		options.Binary = filepath.Join(options.Dir, "program")
	}
	box := &Sandbox{options: options}
	if err := box.prepare(ctx); err != nil {
		box.Close()
		return nil, err
	}
	return box, nil
}

func (s *Sandbox) prepare(ctx context.Context) error {
	if err := s.lock(); err != nil {
		return err
	}
	passphrase, err := s.passphrase()
	if err != nil {
		return fmt.Errorf("passphrase of the sandbox: %w", err)
	}
	if s.project, err = newProject(s.options.Project, s.path("project"), s.options.Stack, passphrase); err != nil {
		return err
	}
	if err := s.Configure(ctx, s.options.Config); err != nil {
		return err
	}
	if s.pulumi, err = findPulumi(ctx, s.options.Progress); err != nil {
		return err
	}
	if err := program.Compile(ctx, s.options.Progress, s.project.program, s.options.Binary); err != nil {
		return err
	}
	return s.attach(ctx)
}

// Configure replaces Options.Config, for the next run.
func (s *Sandbox) Configure(ctx context.Context, config map[string]any) error {
	if err := s.project.configure(ctx, config); err != nil {
		return fmt.Errorf("configuration of stack %s: %w", s.options.Stack, err)
	}
	return nil
}

// ProjectFolder is the folder of the copy of Pulumi.yaml and of the stack's
// configuration, as it is for the next run.
func (s *Sandbox) ProjectFolder() string { return s.project.folder }

// Manifests is the folder with the Kubernetes objects.
func (s *Sandbox) Manifests() string { return s.path("manifests") }

// StateFile is the file with the stack's state.
func (s *Sandbox) StateFile() string {
	return s.path("state", ".pulumi", "stacks", s.project.settings.Name.String(), s.options.Stack+".json")
}

// Close stops the providers. The folder stays.
func (s *Sandbox) Close() {
	for _, closer := range slices.Backward(s.closers) {
		closer()
	}
	s.closers = nil
}

func (s *Sandbox) path(elements ...string) string {
	return filepath.Join(append([]string{s.options.Dir}, elements...)...)
}

// lock makes sure that no other sandbox uses the folder. What a Pulumi that was
// killed has locked can then be unlocked.
func (s *Sandbox) lock() error {
	if err := os.MkdirAll(s.options.Dir, 0o750); err != nil {
		return fmt.Errorf("folder of the sandbox: %w", err)
	}
	file, err := os.OpenFile(s.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock of the sandbox: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		return fmt.Errorf("another sandbox is running in %s: wait for its end (%w)", s.options.Dir, err)
	}
	s.closers = append(s.closers, func() { _ = file.Close() })
	if err := os.RemoveAll(s.path("state", ".pulumi", "locks")); err != nil {
		return fmt.Errorf("lock of a Pulumi that was killed: %w", err)
	}
	return nil
}

// passphrase is what secrets in the state are encrypted with.
func (s *Sandbox) passphrase() (string, error) {
	known, err := os.ReadFile(s.path("passphrase"))
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return string(known), err
	}
	passphrase := make([]byte, 16)
	_, _ = rand.Read(passphrase) // Read never fails: it ends the program instead.
	encoded := hex.EncodeToString(passphrase)
	return encoded, os.WriteFile(s.path("passphrase"), []byte(encoded), 0o600)
}

// attach serves the providers and the language host, and tells Pulumi where.
func (s *Sandbox) attach(ctx context.Context) error {
	minio := provider.NewMinIO(s.path("minio"))
	b2, err := provider.NewB2(s.path("b2"), s.options.B2Keys)
	if err != nil {
		return err
	}
	minio.Environment, b2.Environment = s.variable, s.variable
	services := &services{}
	s.closers = append(s.closers, services.stop)
	providers := services.serve(ctx, "minio", provider.Registrar(minio)) +
		"," + services.serve(ctx, "terraform-provider", provider.Registrar(b2))
	var kubernetes []string
	if s.options.Real {
		if kubernetes, err = s.useReal(ctx); err != nil {
			return err
		}
	} else {
		if s.Kubernetes, err = s.kubernetes(ctx); err != nil {
			return err
		}
		providers += "," + services.serve(ctx, "kubernetes", provider.Registrar(s.Kubernetes))
		kubernetes = []string{"PULUMI_IGNORE_AMBIENT_PLUGINS=true"}
	}
	host := program.NewHost(s.project.program, s.options.Binary, s.variables()...)
	s.environment = append(withoutPulumi(os.Environ()),
		"PULUMI_HOME="+s.path("home"),
		"PULUMI_BACKEND_URL=file://"+s.path("state"),
		"PULUMI_CONFIG_PASSPHRASE_FILE="+s.path("passphrase"),
		"PULUMI_DEBUG_PROVIDERS="+providers,
		"PULUMI_DEBUG_LANGUAGES="+services.serve(ctx, "go", host.Register),
		"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true",
		"PULUMI_SKIP_UPDATE_CHECK=true",
		"PULUMI_SUPPRESS_NEO_LINK=true",
		"PULUMI_DEBUG_COMMANDS=true", // for --event-log
	)
	s.environment = append(append(s.environment, kubernetes...), s.options.Environment...)
	return services.err
}

// variables are for the program and the providers. Of two with one name the last
// counts.
func (s *Sandbox) variables() []string {
	return append([]string{
		"B2_APPLICATION_KEY_ID=sandbox", "B2_APPLICATION_KEY=sandbox", "MINIO_USER=sandbox", "MINIO_PASSWORD=sandbox",
	}, s.options.Environment...)
}

// variable looks one of them up.
func (s *Sandbox) variable(name string) string {
	value := ""
	for _, variable := range s.variables() {
		if found, ok := strings.CutPrefix(variable, name+"="); ok {
			value = found
		}
	}
	return value
}

func (s *Sandbox) kubernetes(ctx context.Context) (*provider.Kubernetes, error) {
	if s.options.Cluster != nil {
		target, err := provider.NewCluster(s.options.Cluster, s.options.Warn, s.options.Await)
		return provider.NewKubernetes(nil, target), err
	}
	catalog, err := crds.Load(ctx)
	if err != nil {
		return nil, err
	}
	return provider.NewKubernetes(catalog, provider.Files{Folder: s.Manifests()}), nil
}

// Quiet ends the display of what goes on.
func (s *Sandbox) Quiet() { s.options.Progress = io.Discard }
