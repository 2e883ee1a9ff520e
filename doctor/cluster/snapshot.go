// Package cluster reads what a Kubernetes cluster says about the backups of a
// database. Only [Client.SwitchWAL] and [Client.RunMirror] write.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	barmanv1 "github.com/cloudnative-pg/plugin-barman-cloud/api/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

// Snapshot is what was there when one looked.
type Snapshot struct {
	// Cluster is nil when there is none.
	Cluster          *cnpgv1.Cluster
	Stores           map[string]*barmanv1.ObjectStore
	ScheduledBackups []cnpgv1.ScheduledBackup
	Backups          []cnpgv1.Backup
	// Instances are the database's pods, Recovery those of a recovery.
	Instances, Recovery []corev1.Pod
	// SidecarLog is the end of what the primary's sidecar said, RecoveryLog that of
	// the pod that restores.
	SidecarLog, RecoveryLog string
	// MirrorJob is nil when there is none; MirrorRuns are its Jobs, oldest first,
	// and MirrorPods their pods.
	MirrorJob  *batchv1.CronJob
	MirrorRuns []batchv1.Job
	MirrorPods []corev1.Pod
	// MirrorLog is the end of what the copying of the last failed run said.
	MirrorLog string
	// Drills are those of the copies, by their locations.
	Drills map[cnpg.Location]*Drill
	// ExternalSecrets are those of the B2 keys, by name.
	ExternalSecrets map[string]*Readiness
	// SecretStore is the ClusterSecretStore that they read, nil when there is none.
	SecretStore *Readiness
	// Certificates are those between the operator and the plugin.
	Certificates []Certificate
	// Unread says what could not be read, and why.
	Unread []string

	missing map[string]bool
}

// Lacks tells whether an object is known not to be there; kind is clusters,
// objectstores, cronjobs or clustersecretstores. One that may not be read may be there.
func (s *Snapshot) Lacks(kind, name string) bool { return s.missing[kind+" "+name] }

// Readiness is what External Secrets says of an object of its.
type Readiness struct {
	Ready   bool
	Message string
	Since   time.Time
	// Event is the text of its last warning.
	Event string
}

// Certificate is one of cert-manager's.
type Certificate struct {
	Namespace, Name string
	Readiness
	// Renewal is when it was to be renewed, NotAfter when it expires; zero when that
	// is not said.
	Renewal, NotAfter time.Time
}

// Client is a cluster.
type Client struct {
	// Operator is the namespace of the operator and of the plugin.
	Operator string
	Objects  dynamic.Interface
	// Logs returns the last lines that a container said.
	Logs func(ctx context.Context, namespace, pod, container string, lines int) (string, error)
	// Exec runs a command in a container and returns what it printed.
	Exec func(ctx context.Context, namespace, pod, container string, command ...string) (string, error)
}

// Rule is a right that is used.
type Rule struct {
	Group, Resource string
	Verb            string
	// Names are the only objects; nil for all.
	Names []string
}

// Sidecar is the container beside PostgreSQL that runs barman.
const Sidecar = "plugin-barman-cloud"

// Rules are the rights that [Client.Read] and [Client.Secret] use for databases in
// one namespace, and no others.
func Rules(databases []cnpg.Layout) []Rule {
	var clusters, stores, externals, jobs, secrets []string //nolint:prealloc // a few names each
	for _, l := range databases {
		clusters, jobs = append(clusters, l.Cluster), append(jobs, l.MirrorJob)
		jobs = slices.AppendSeq(jobs, maps.Values(l.Drills))
		stores = append(stores, l.Archive.Name, l.Mirror.Name, l.RecoveryStore)
		externals = append(externals, cnpg.B2Secret, l.MirrorSecret)
		secrets = append(secrets, SecretNames(l)...)
	}
	return []Rule{
		{"", "events", "list", nil},
		{"", "pods", "list", nil},
		{"", "pods/log", "get", nil},
		{"", "secrets", "get", unique(secrets)},
		{"barmancloud.cnpg.io", "objectstores", "get", unique(stores)},
		{"batch", "cronjobs", "get", unique(jobs)},
		{"batch", "jobs", "list", nil},
		{"external-secrets.io", "externalsecrets", "get", unique(externals)},
		{"postgresql.cnpg.io", "backups", "list", nil},
		{"postgresql.cnpg.io", "clusters", "get", unique(clusters)},
		{"postgresql.cnpg.io", "scheduledbackups", "list", nil},
	}
}

// OperatorRules are those that it uses in the operator's namespace.
func OperatorRules() []Rule {
	return []Rule{
		{"", "services", "list", nil},
		{"cert-manager.io", "certificates", "list", nil},
	}
}

// RulesBeside are those that it uses beside any namespace.
func RulesBeside(databases []cnpg.Layout) []Rule {
	var stores []string
	for _, l := range databases {
		stores = append(stores, l.SecretStore)
	}
	if stores = unique(stores); len(stores) == 0 {
		return nil
	}
	return []Rule{{"external-secrets.io", "clustersecretstores", "get", stores}}
}

// SecretNames are the Secrets with which the stores of a database are read.
func SecretNames(l cnpg.Layout) []string {
	var names []string
	for _, store := range []cnpg.StoreLayout{l.Archive, l.Mirror} {
		configuration := store.Spec.Configuration
		names = append(names, configuration.AWS.AccessKeyIDReference.Name)
		if configuration.EndpointCA != nil {
			names = append(names, configuration.EndpointCA.Name)
		}
	}
	return names
}

func unique(names []string) []string {
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" })
	slices.Sort(names)
	return slices.Compact(names)
}

// Read looks at all that belongs to a database. An error means that the cluster
// could not be asked at all; what is not there or may not be read is noted in the
// snapshot.
func (c Client) Read(ctx context.Context, l cnpg.Layout) (*Snapshot, error) {
	s := &Snapshot{
		Stores: map[string]*barmanv1.ObjectStore{}, ExternalSecrets: map[string]*Readiness{}, missing: map[string]bool{},
	}
	r := &reader{client: c, namespace: l.Namespace, snapshot: s}
	s.Cluster = get[cnpgv1.Cluster](ctx, r, clusters, l.Cluster)
	if r.err != nil {
		return nil, r.err
	}
	for _, name := range unique([]string{l.Archive.Name, l.Mirror.Name, l.RecoveryStore}) {
		if store := get[barmanv1.ObjectStore](ctx, r, objectStores, name); store != nil {
			s.Stores[name] = store
		}
	}
	s.ScheduledBackups = list[cnpgv1.ScheduledBackup](ctx, r, scheduledBackups, "")
	s.ScheduledBackups = slices.DeleteFunc(s.ScheduledBackups, func(b cnpgv1.ScheduledBackup) bool { return b.Spec.Cluster.Name != l.Cluster })
	s.Backups = list[cnpgv1.Backup](ctx, r, backups, "")
	s.Backups = slices.DeleteFunc(s.Backups, func(b cnpgv1.Backup) bool { return b.Spec.Cluster.Name != l.Cluster })
	slices.SortStableFunc(s.Backups, func(a, b cnpgv1.Backup) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	r.pods(ctx, l)
	runs := list[batchv1.Job](ctx, r, jobs, "")
	slices.SortStableFunc(runs, func(a, b batchv1.Job) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	if l.MirrorJob != "" {
		r.mirror(ctx, l, runs)
	}
	r.drills(ctx, l, runs)
	for _, name := range unique([]string{cnpg.B2Secret, l.MirrorSecret}) {
		r.externalSecret(ctx, name)
	}
	if l.SecretStore != "" {
		r.secretStore(ctx, l.SecretStore)
	}
	r.certificates(ctx)
	return s, r.err
}

// resource is a kind of object, as it is listed.
type resource = schema.GroupVersionResource

//nolint:gochecknoglobals // Go has no constant structs
var (
	clusters         = resource{Group: "postgresql.cnpg.io", Version: "v1", Resource: "clusters"}
	backups          = resource{Group: "postgresql.cnpg.io", Version: "v1", Resource: "backups"}
	scheduledBackups = resource{Group: "postgresql.cnpg.io", Version: "v1", Resource: "scheduledbackups"}
	objectStores     = resource{Group: "barmancloud.cnpg.io", Version: "v1", Resource: "objectstores"}
	externalSecrets  = resource{Group: "external-secrets.io", Version: "v1", Resource: "externalsecrets"}
	cronJobs         = resource{Group: "batch", Version: "v1", Resource: "cronjobs"}
	jobs             = resource{Group: "batch", Version: "v1", Resource: "jobs"}
	pods             = resource{Version: "v1", Resource: "pods"}
	events           = resource{Version: "v1", Resource: "events"}
	secrets          = resource{Version: "v1", Resource: "secrets"}
	services         = resource{Version: "v1", Resource: "services"}
	secretStores     = resource{Group: "external-secrets.io", Version: "v1", Resource: "clustersecretstores"}
	certificates     = resource{Group: "cert-manager.io", Version: "v1", Resource: "certificates"}
)

// reader keeps what one look finds.
type reader struct {
	client    Client
	namespace string
	snapshot  *Snapshot
	err       error
}

// note keeps an error: of one object in the snapshot, of the cluster as the end of
// the look.
func (r *reader) note(what string, err error) {
	var status apierrors.APIStatus
	switch {
	case err == nil || apierrors.IsNotFound(err):
	case errors.As(err, &status) && !apierrors.IsUnauthorized(err):
		r.snapshot.Unread = append(r.snapshot.Unread, fmt.Sprintf("%s: %s", what, err))
	case r.err == nil:
		r.err = err
	}
}

func get[T any](ctx context.Context, r *reader, of resource, name string) *T {
	object := r.object(ctx, of, r.namespace, name)
	if object == nil {
		return nil
	}
	converted := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, converted); err != nil {
		r.snapshot.Unread = append(r.snapshot.Unread, fmt.Sprintf("%s %s: %s", of.Resource, name, err))
		return nil
	}
	return converted
}

func list[T any](ctx context.Context, r *reader, of resource, labels string) []T {
	var all []T
	for _, item := range r.items(ctx, of, labels) {
		var converted T
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &converted); err != nil {
			r.snapshot.Unread = append(r.snapshot.Unread, fmt.Sprintf("%s %s: %s", of.Resource, item.GetName(), err))
			continue
		}
		all = append(all, converted)
	}
	return all
}

// items lists a kind, page by page.
func (r *reader) items(ctx context.Context, of resource, labels string) []unstructured.Unstructured {
	var all []unstructured.Unstructured
	options := metav1.ListOptions{LabelSelector: labels, Limit: 500}
	// As many pages as there can be of use: a mistake in a schedule makes
	// thousands of Backups.
	const pages = 20
	for range pages {
		if r.err != nil {
			return all
		}
		found, err := r.client.Objects.Resource(of).Namespace(r.namespace).List(ctx, options)
		if err != nil {
			r.note(of.Resource, err)
			return all
		}
		all = append(all, found.Items...)
		if options.Continue = found.GetContinue(); options.Continue == "" {
			break
		}
	}
	return all
}

// lines is how much of a log is read.
const lines = 400

// pods reads the database's pods, and the logs of the two that say most.
func (r *reader) pods(ctx context.Context, l cnpg.Layout) {
	for _, pod := range list[corev1.Pod](ctx, r, pods, "cnpg.io/cluster="+l.Cluster) {
		switch {
		case pod.Labels["cnpg.io/podRole"] == "instance":
			r.snapshot.Instances = append(r.snapshot.Instances, pod)
		case strings.HasSuffix(pod.Labels["cnpg.io/jobRole"], "recovery"):
			r.snapshot.Recovery = append(r.snapshot.Recovery, pod)
		}
	}
	for _, pod := range r.snapshot.Instances {
		if r.snapshot.Cluster != nil && pod.Name == r.snapshot.Cluster.Status.CurrentPrimary {
			r.snapshot.SidecarLog = r.log(ctx, pod.Name, Sidecar)
		}
	}
	for _, pod := range r.snapshot.Recovery {
		if len(pod.Spec.Containers) > 0 {
			r.snapshot.RecoveryLog = r.log(ctx, pod.Name, pod.Spec.Containers[0].Name)
		}
	}
}

func (r *reader) log(ctx context.Context, pod, container string) string {
	if r.err != nil {
		return ""
	}
	said, err := r.client.Logs(ctx, r.namespace, pod, container, lines)
	if apierrors.IsBadRequest(err) {
		return "" // it has not begun, so it has said nothing
	}
	r.note("the log of "+pod, err)
	return said
}

// runsOf are those of a CronJob.
func runsOf(cronJob string, runs []batchv1.Job) []batchv1.Job {
	return slices.DeleteFunc(slices.Clone(runs), func(run batchv1.Job) bool {
		owner := metav1.GetControllerOf(&run)
		return owner == nil || owner.Kind != "CronJob" || owner.Name != cronJob
	})
}

// mirror reads the mirror's job, and what its runs said.
func (r *reader) mirror(ctx context.Context, l cnpg.Layout, runs []batchv1.Job) {
	r.snapshot.MirrorJob = get[batchv1.CronJob](ctx, r, cronJobs, l.MirrorJob)
	r.snapshot.MirrorRuns = runsOf(l.MirrorJob, runs)
	r.snapshot.MirrorPods = list[corev1.Pod](ctx, r, pods, "app.kubernetes.io/name=cnpg-backup-mirror,app.kubernetes.io/instance="+l.Cluster)
	slices.SortStableFunc(r.snapshot.MirrorPods, func(a, b corev1.Pod) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	for _, pod := range slices.Backward(r.snapshot.MirrorPods) {
		if pod.Status.Phase == corev1.PodFailed {
			r.snapshot.MirrorLog = r.log(ctx, pod.Name, "copy")
			break
		}
	}
}

// secretStore reads the ClusterSecretStore, when External Secrets is there.
func (r *reader) secretStore(ctx context.Context, name string) {
	if len(r.snapshot.ExternalSecrets) == 0 {
		return
	}
	if object := r.object(ctx, secretStores, "", name); object != nil {
		store := ready(object)
		r.snapshot.SecretStore = &store
	}
}

// pluginService is the label of a plugin's Service, whose annotations name the
// Secrets of its two certificates
// (https://github.com/cloudnative-pg/cloudnative-pg/blob/v1.30.0/pkg/utils/labels_annotations.go).
const pluginService = "cnpg.io/pluginName=barman-cloud.cloudnative-pg.io"

// certificates reads those with which operator and plugin know each other.
func (r *reader) certificates(ctx context.Context) {
	at := *r
	at.namespace = r.client.Operator
	found := list[corev1.Service](ctx, &at, services, pluginService)
	secrets := make([]string, 0, 2*len(found))
	for _, service := range found {
		secrets = append(secrets, service.Annotations["cnpg.io/pluginClientSecret"], service.Annotations["cnpg.io/pluginServerSecret"])
	}
	if len(secrets) > 0 {
		for _, object := range at.items(ctx, certificates, "") {
			if secret, _, _ := unstructured.NestedString(object.Object, "spec", "secretName"); !slices.Contains(secrets, secret) {
				continue
			}
			r.snapshot.Certificates = append(r.snapshot.Certificates, Certificate{
				Namespace: object.GetNamespace(), Name: object.GetName(), Readiness: ready(&object),
				Renewal: timeOf(&object, "renewalTime"), NotAfter: timeOf(&object, "notAfter"),
			})
		}
	}
	r.err = at.err
}

func timeOf(object *unstructured.Unstructured, name string) time.Time {
	text, _, _ := unstructured.NestedString(object.Object, "status", name)
	at, _ := time.Parse(time.RFC3339, text) // what is no time is not said
	return at
}

// object reads one of a kind that there are no types for here, nil without.
func (r *reader) object(ctx context.Context, of resource, namespace, name string) *unstructured.Unstructured {
	if r.err != nil {
		return nil
	}
	object, err := r.client.Objects.Resource(of).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		r.snapshot.missing[of.Resource+" "+name] = apierrors.IsNotFound(err)
		r.note(of.Resource+" "+name, err)
		return nil
	}
	return object
}

// ready reads the condition of that name.
func ready(object *unstructured.Unstructured) Readiness {
	var of Readiness
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, one := range conditions {
		content, err := json.Marshal(one)
		var condition metav1.Condition
		if err == nil {
			err = json.Unmarshal(content, &condition)
		}
		if err != nil || condition.Type != "Ready" {
			continue
		}
		of.Ready = condition.Status == metav1.ConditionTrue
		of.Message, of.Since = condition.Message, condition.LastTransitionTime.UTC()
	}
	return of
}

// externalSecret reads one, and why it fails: its condition does not say.
func (r *reader) externalSecret(ctx context.Context, name string) {
	object := r.object(ctx, externalSecrets, r.namespace, name)
	if object == nil {
		return
	}
	of := ready(object)
	e := &of
	r.snapshot.ExternalSecrets[name] = e
	if e.Ready {
		return
	}
	var last time.Time
	for _, event := range list[corev1.Event](ctx, r, events, "") {
		at := event.LastTimestamp.Time
		if event.InvolvedObject.Kind == "ExternalSecret" && event.InvolvedObject.Name == name && event.Type == corev1.EventTypeWarning && !at.Before(last) {
			last, e.Event = at, event.Message
		}
	}
}

// Secret returns a key of a Secret.
func (c Client) Secret(ctx context.Context, namespace, name, key string) ([]byte, error) {
	object, err := c.Objects.Resource(secrets).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	var secret corev1.Secret
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &secret); err != nil {
		return nil, err
	}
	value, found := secret.Data[key]
	if !found || len(value) == 0 {
		return nil, &SecretError{Secret: name, Problem: "has no " + key}
	}
	return value, nil
}

// SecretError is a Secret with which nothing can be read.
type SecretError struct{ Secret, Problem string }

func (e *SecretError) Error() string { return "the Secret " + e.Secret + " " + e.Problem }
