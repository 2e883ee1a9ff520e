//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/await"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/node"
)

// cluster is the Kubernetes cluster that the tests run on.
type cluster struct {
	config *rest.Config
	client *kube.Client
	typed  kubernetes.Interface
	// postgresImage, copyImage and pruneImage are images that it can get; "" is
	// the component's default.
	postgresImage, copyImage, pruneImage string
	// pluginVersion is the release of the plugin that it has; "" is the
	// component's default.
	pluginVersion string
	// host is the tests' own address as pods see it.
	host string
	// patience is for waits that grow with a database's size.
	patience time.Duration
	// node is the tests' own node, nil when the cluster is somebody else's.
	node *node.Node
}

// newCluster starts a node, or connects to the cluster that the environment
// names.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{
		postgresImage: "ghcr.io/cloudnative-pg/postgresql:17.7",
		host:          os.Getenv("E2E_HOST"),
		patience:      15 * time.Minute,
	}
	var err error
	if kubeconfig := os.Getenv(kubeconfigVariable); kubeconfig != "" {
		require.NotEmpty(t, c.host, "set E2E_HOST to an address of this machine that pods can reach, for the stores")
		c.config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
		require.NoError(t, err)
	} else {
		c.node, err = node.Start(t.Context(), os.Stdout)
		require.NoError(t, err)
		t.Cleanup(c.node.Stop)
		c.config, c.host = c.node.Admin(), node.SiteAddress()
		c.postgresImage, c.copyImage, c.pruneImage = c.node.PostgresImage(), c.node.CopyImage(), c.node.PruneImage()
		c.pluginVersion = c.node.PluginVersion()
	}
	t.Cleanup(func() {
		if t.Failed() && c.typed != nil {
			c.diagnose(t)
		}
	})
	c.client, err = kube.NewClient(c.config, "tests")
	require.NoError(t, err)
	c.typed, err = kubernetes.NewForConfig(c.config)
	require.NoError(t, err)
	return c
}

func clusterKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "postgresql.cnpg.io", Version: "v1", Kind: "Cluster"}
}

func backupKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "postgresql.cnpg.io", Version: "v1", Kind: "Backup"}
}

// eventually asks until the answer is no error. It says every now and then what
// it is waiting for.
func eventually(t *testing.T, limit time.Duration, what string, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	begin, said := time.Now(), time.Now()
	err := await.Until(ctx, 500*time.Millisecond, func(ctx context.Context) error {
		err := ask(ctx)
		if err != nil && time.Since(said) > 10*time.Second {
			said = time.Now()
			t.Logf("waiting for %s, %.0f s: %s", what, time.Since(begin).Seconds(), firstLine(err))
		}
		return err
	})
	require.NoError(t, err, "%s: not within %s", what, limit)
	t.Logf("%s: after %.1f s", what, time.Since(begin).Seconds())
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func field(object *unstructured.Unstructured, path ...string) string {
	value, _, _ := unstructured.NestedString(object.Object, path...)
	return value
}

// ready waits until all of a database's instances are.
func (c *cluster) ready(t *testing.T, namespace, name string) {
	t.Helper()
	eventually(t, c.patience, name+" is Ready", func(ctx context.Context) error {
		found, err := c.client.Get(ctx, clusterKind(), namespace, name)
		if err != nil {
			return err
		}
		if err := kube.Condition(found, "Ready"); err != nil {
			return fmt.Errorf("%w (%s)", err, field(found, "status", "phase"))
		}
		return nil
	})
}

// archiving waits until the operator says that WAL arrives in the archive.
func (c *cluster) archiving(t *testing.T, namespace, name string) {
	t.Helper()
	eventually(t, 3*time.Minute, name+" archives", func(ctx context.Context) error {
		found, err := c.client.Get(ctx, clusterKind(), namespace, name)
		if err != nil {
			return err
		}
		return kube.Condition(found, "ContinuousArchiving")
	})
}

// delete deletes an object and waits until it is gone.
func (c *cluster) delete(t *testing.T, kind schema.GroupVersionKind, namespace, name string) {
	t.Helper()
	objects, err := c.client.Resource(kind, namespace)
	require.NoError(t, err)
	require.NoError(t, objects.Delete(t.Context(), name, metav1.DeleteOptions{}))
	eventually(t, 5*time.Minute, kind.Kind+" "+name+" is gone", func(ctx context.Context) error {
		_, err := objects.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is there"), err)
	})
}

// primary is the pod that takes writes.
func (c *cluster) primary(ctx context.Context, namespace, name string) (string, error) {
	found, err := c.client.Get(ctx, clusterKind(), namespace, name)
	if err != nil {
		return "", err
	}
	return field(found, "status", "currentPrimary"), nil
}

// exec runs a command in a container and returns what it prints.
func (c *cluster) exec(ctx context.Context, namespace, pod, container string, command ...string) (string, error) {
	request := c.typed.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: container, Command: command, Stdout: true, Stderr: true,
		}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(c.config, "GET", request.URL().String())
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}); err != nil {
		return "", fmt.Errorf("%s in %s/%s: %w: %s", command[0], namespace, pod, err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// psql runs a statement on the primary, in a transaction of its own.
func (c *cluster) psql(ctx context.Context, namespace, name, database, statement string) (string, error) {
	pod, err := c.primary(ctx, namespace, name)
	if err != nil {
		return "", err
	}
	if pod == "" {
		return "", errors.New("there is no primary yet")
	}
	return c.exec(ctx, namespace, pod, "postgres", "psql", "--username=postgres", "--dbname="+database,
		"--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--command="+statement)
}

// logs returns what a container has said.
func (c *cluster) logs(ctx context.Context, namespace, pod, container string, lines int64) string {
	content, err := c.typed.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{
		Container: container, TailLines: &lines,
	}).DoRaw(ctx)
	if err != nil {
		return err.Error()
	}
	return string(content)
}
