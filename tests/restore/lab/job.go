package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Run is how a job's pod ended.
type Run struct {
	// Failed is the container that failed, "" when all went well.
	Failed string
	// Output is what all containers said.
	Output string
	// Message is the termination message of the container that copies.
	Message []byte
	// Took is how long it all took.
	Took time.Duration
	// Peak is the memory, in bytes, that the largest of its processes had.
	Peak int64
}

// RunJob runs the containers of a CronJob's pod one after the other, as a
// kubelet would: their command and nothing but their environment, with
// credentials out of the Secrets. When ctx ends, all processes are killed.
func RunJob(ctx context.Context, job batchv1.CronJob, secrets client.Client) (Run, error) {
	pod := job.Spec.JobTemplate.Spec.Template.Spec
	var output bytes.Buffer
	// The containers of a pod share /tmp.
	shared, err := os.MkdirTemp(Directory(), "pod-")
	if err != nil {
		return Run{}, err
	}
	defer func() { _ = os.RemoveAll(shared) }()
	message := filepath.Join(shared, "message")
	if err := os.WriteFile(message, nil, 0o600); err != nil {
		return Run{}, err
	}
	mounts, err := mountSecrets(ctx, job.Namespace, pod, secrets, shared)
	if err != nil {
		return Run{}, err
	}
	start, run := time.Now(), Run{}
	for _, container := range append(pod.InitContainers[:len(pod.InitContainers):len(pod.InitContainers)], pod.Containers...) {
		ok, peak, err := runContainer(ctx, job.Namespace, container, secrets, mounts, message, &output)
		if err != nil {
			return Run{}, fmt.Errorf("container %s: %w", container.Name, err)
		}
		run.Peak = max(run.Peak, peak)
		if !ok {
			run.Failed = container.Name
			break
		}
	}
	run.Took, run.Output = time.Since(start), output.String()
	run.Message, err = os.ReadFile(message)
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

// runContainer tells whether the command ended well, and the memory of the
// largest process.
func runContainer(ctx context.Context, namespace string, container corev1.Container, secrets client.Client,
	mounts map[string]string, message string, output *bytes.Buffer,
) (ok bool, peak int64, err error) {
	path := imagePath(container)
	environment := []string{"PATH=" + path, "HOME=/", "TMPDIR=" + filepath.Dir(message), "TERMINATION_LOG=" + message}
	for _, variable := range container.Env {
		value, err := variableValue(ctx, namespace, variable, secrets)
		if err != nil {
			return false, 0, err
		}
		environment = append(environment, variable.Name+"="+inMounts(value, container, mounts))
	}
	program, err := lookUp(container.Command[0], path)
	if err != nil {
		return false, 0, err
	}
	// What Go says of a child's memory counts the moment before its exec, when it
	// still was this process; time starts it out of a small one.
	measured := filepath.Join(filepath.Dir(message), "memory")
	cmd := exec.CommandContext(ctx, busybox, append([]string{"time", "-f", "%M", "-o", measured, program}, container.Command[1:]...)...)
	cmd.Env = environment
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err = cmd.Run()
	peak = measuredMemory(measured)
	var exit *exec.ExitError
	// The end of ctx may also fall before a container's start or on its exit.
	if errors.As(err, &exit) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false, peak, nil
	}
	return err == nil, peak, err
}

// measuredMemory is what time wrote last, in bytes; of a job that was killed it
// wrote nothing.
func measuredMemory(file string) int64 {
	content, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	kibibytes, err := strconv.ParseInt(lines[len(lines)-1], 10, 64)
	if err != nil {
		return 0
	}
	return kibibytes << 10
}

// imagePath is where a container finds its programs: the copy image has nothing
// but BusyBox and rclone.
func imagePath(container corev1.Container) string {
	if container.Command[0] == "sh" {
		return toolsFolder(Directory())
	}
	return "/usr/bin:/bin"
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
