package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/homelab-iac/pulumi-cnpg-backup/internal/kubelet"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
)

// Run is how a job's pod ended.
type Run struct {
	// Failed is the container that failed, "" when all went well.
	Failed string
	// Output is what all containers said.
	Output string
	// Message is the termination message of the container that writes one.
	Message []byte
	// Left are the files with anything in them that the pod's volume held at its
	// end.
	Left []string
	// Took is how long it all took.
	Took time.Duration
	// Peak is the memory, in bytes, that the largest of its processes had, and CPU the
	// time that all of them took.
	Peak int64
	CPU  time.Duration
}

// RunJob runs the containers of a CronJob's pod as a kubelet would: those that
// prepare one after the other, then the others beside one another, each with its
// command and nothing but its environment, with credentials out of the Secrets.
// When ctx ends, all processes are killed.
func RunJob(ctx context.Context, job batchv1.CronJob, secrets client.Client) (Run, error) {
	spec := job.Spec.JobTemplate.Spec.Template.Spec
	// The containers of a pod share /tmp, and a volume if it has one.
	shared, err := os.MkdirTemp(Directory(), "pod-")
	if err != nil {
		return Run{}, err
	}
	defer func() { _ = os.RemoveAll(shared) }()
	p := pod{namespace: job.Namespace, secrets: secrets, shared: shared, volume: Volume(job)}
	if p.volume == "" {
		p.volume = filepath.Join(shared, "volume")
	}
	if err := errors.Join(os.MkdirAll(p.volume, 0o700), os.WriteFile(p.message(), nil, 0o600)); err != nil {
		return Run{}, err
	}
	if p.mounts, err = mountSecrets(ctx, job.Namespace, spec, secrets, shared); err != nil {
		return Run{}, err
	}
	start, run := time.Now(), Run{}
	for _, container := range spec.InitContainers {
		if err := p.runAll(ctx, []corev1.Container{container}, &run); err != nil {
			return Run{}, err
		}
		if run.Failed != "" {
			break
		}
	}
	if run.Failed == "" {
		if err := p.runAll(ctx, spec.Containers, &run); err != nil {
			return Run{}, err
		}
	}
	run.Took = time.Since(start)
	if ctx.Err() != nil {
		p.end()
	}
	if run.Left, err = leftIn(p.volume); err != nil {
		return Run{}, err
	}
	run.Message, err = os.ReadFile(p.message())
	return run, err
}

// mountSecrets writes the pod's volumes of Secrets into folders of a folder, and
// returns them by the volumes' names.
func mountSecrets(ctx context.Context, namespace string, pod corev1.PodSpec, secrets client.Client, dir string,
) (map[string]string, error) {
	folders := map[string]string{}
	for _, volume := range pod.Volumes {
		if volume.Secret == nil {
			continue
		}
		folder := filepath.Join(dir, "volume-"+volume.Name)
		if err := os.Mkdir(folder, 0o700); err != nil {
			return nil, err
		}
		for _, item := range volume.Secret.Items {
			value, err := secretValue(ctx, namespace, volume.Secret.SecretName, item.Key, secrets)
			if err != nil {
				return nil, fmt.Errorf("volume %s: %w", volume.Name, err)
			}
			if err := os.WriteFile(filepath.Join(folder, item.Path), []byte(value), 0o600); err != nil {
				return nil, err
			}
		}
		folders[volume.Name] = folder
	}
	return folders, nil
}

// inMounts replaces the paths of mounts in a value: several jobs run at a time, and
// their processes share the lab's root.
func inMounts(value string, container corev1.Container, mounts map[string]string) string {
	for _, mount := range container.VolumeMounts {
		if folder, known := mounts[mount.Name]; known {
			value = strings.ReplaceAll(value, mount.MountPath, folder)
		}
	}
	return value
}

// volumeAnnotation is where a test puts the volume of a job's pod.
const volumeAnnotation = "lab/volume"

// PutVolume has the volume of a job's pod in a directory, which stays.
func PutVolume(job *batchv1.CronJob, directory string) {
	job.Annotations = map[string]string{volumeAnnotation: directory}
}

// Volume is where that is, "" for a directory that goes with the pod.
func Volume(job batchv1.CronJob) string { return job.Annotations[volumeAnnotation] }

// leftIn are the files in a directory that hold anything.
func leftIn(directory string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if info, err := entry.Info(); err == nil && info.Size() > 0 {
			files = append(files, path)
		}
		return nil
	})
	return files, err
}

// ProcessesIn are the processes that work in a directory, or were told of it.
func ProcessesIn(directory string) []int {
	var found []int
	for _, running := range process.Others() {
		if strings.Contains(running.Folder+running.Arguments+running.Environment, directory) {
			found = append(found, running.PID)
		}
	}
	return found
}

// pod is what the containers of one run share.
type pod struct {
	namespace      string
	secrets        client.Client
	shared, volume string
	// mounts are the folders of the volumes with Secrets, by the volumes' names.
	mounts map[string]string
}

// end kills what is left of killed containers: where there are namespaces, all
// processes of a container end with its first one, those with sessions of their own,
// too.
func (p pod) end() {
	for range 100 {
		left := ProcessesIn(p.volume)
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// message is the file of the termination message.
func (p pod) message() string { return filepath.Join(p.shared, "message") }

// runAll runs containers beside one another and notes the first one that failed.
func (p pod) runAll(ctx context.Context, containers []corev1.Container, run *Run) error {
	type result struct {
		output bytes.Buffer
		ok     bool
		usage  usage
		err    error
	}
	results := make([]result, len(containers))
	var all sync.WaitGroup
	for i := range containers {
		all.Go(func() {
			at := &results[i]
			at.ok, at.usage, at.err = p.runContainer(ctx, containers[i], &at.output)
		})
	}
	all.Wait()
	for i := range results {
		at := &results[i]
		if at.err != nil {
			return fmt.Errorf("container %s: %w", containers[i].Name, at.err)
		}
		run.Peak = max(run.Peak, at.usage.peak)
		run.CPU += at.usage.cpu
		run.Output += at.output.String()
		if !at.ok && run.Failed == "" {
			run.Failed = containers[i].Name
		}
	}
	return nil
}

// usage is the memory of the largest process of a container, and the time of all.
type usage struct {
	peak int64
	cpu  time.Duration
}

// runContainer tells whether the command ended well, and what it used.
func (p pod) runContainer(ctx context.Context, container corev1.Container, output *bytes.Buffer) (ok bool, used usage, err error) {
	path := imagePath(container)
	environment := []string{
		"PATH=" + path, "HOME=/", "TMPDIR=" + p.shared, "TERMINATION_LOG=" + p.message(), "DRILL_FOLDER=" + p.volume,
	}
	known := map[string]string{}
	for _, variable := range container.Env {
		value, err := variableValue(ctx, p.namespace, variable, p.secrets)
		if err != nil {
			return false, usage{}, err
		}
		if variable.ValueFrom == nil {
			value = kubelet.Expand(value, known)
		}
		known[variable.Name] = value
		environment = append(environment, variable.Name+"="+inMounts(value, container, p.mounts))
	}
	command := make([]string, 0, len(container.Command))
	for _, argument := range container.Command {
		command = append(command, kubelet.Expand(argument, known))
	}
	program, err := lookUp(command[0], path)
	if err != nil {
		return false, usage{}, err
	}
	// What Go says of a child's memory counts the moment before its exec, when it
	// still was this process; time starts it out of a small one.
	measured := filepath.Join(p.shared, "usage-"+container.Name)
	cmd := exec.CommandContext(ctx, busybox, append([]string{"time", "-f", "%M %U %S", "-o", measured, program}, command[1:]...)...)
	cmd.Env = environment
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err = cmd.Run()
	used = measuredUsage(measured)
	var exit *exec.ExitError
	// The end of ctx may also fall before a container's start or on its exit.
	if errors.As(err, &exit) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false, used, nil
	}
	return err == nil, used, err
}

// measuredUsage is what time wrote last; of a job that was killed it wrote nothing.
func measuredUsage(file string) usage {
	content, err := os.ReadFile(file)
	if err != nil {
		return usage{}
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	var kibibytes int64
	var user, system float64
	if _, err := fmt.Sscan(lines[len(lines)-1], &kibibytes, &user, &system); err != nil {
		return usage{}
	}
	return usage{kibibytes << 10, time.Duration((user + system) * float64(time.Second))}
}

// imagePath is where a container finds its programs: the copy image has nothing
// but BusyBox and rclone.
func imagePath(container corev1.Container) string {
	switch {
	case container.Name == "postgres":
		return filepath.Dir(postgresProgram("postgres")) + ":/usr/bin:/bin"
	case container.Command[0] == "sh":
		return toolsFolder(Directory())
	default:
		return "/usr/bin:/bin"
	}
}

func lookUp(program, path string) (string, error) {
	for _, folder := range filepath.SplitList(path) {
		if candidate := filepath.Join(folder, program); isFile(candidate) {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("%s is not in %s", program, path)
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

func variableValue(ctx context.Context, namespace string, variable corev1.EnvVar, secrets client.Client) (string, error) {
	if variable.ValueFrom == nil {
		return variable.Value, nil
	}
	reference := variable.ValueFrom.SecretKeyRef
	if reference == nil {
		return "", fmt.Errorf("%s has a source that is not a Secret", variable.Name)
	}
	value, err := secretValue(ctx, namespace, reference.Name, reference.Key, secrets)
	if err != nil {
		return "", fmt.Errorf("%s: %w", variable.Name, err)
	}
	return value, nil
}

func secretValue(ctx context.Context, namespace, name, key string, secrets client.Client) (string, error) {
	var secret corev1.Secret
	if err := secrets.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &secret); err != nil {
		return "", err
	}
	value, found := secret.Data[key]
	if !found {
		return "", fmt.Errorf("secret %s has no %s", name, key)
	}
	return string(value), nil
}
