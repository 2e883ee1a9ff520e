package prove_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/cluster"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/diagnosis"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/prove"
)

const (
	segment = "0000000200000003000000A1"
	object  = "wals/0000000200000003/" + segment + ".gz"
)

// folder is one whose lists are answered one after the other, the last of them
// for ever.
type folder struct {
	answers []answer
	asked   []string
}

type answer struct {
	objects []catalogue.Object
	err     error
}

func has(path string, size int64) answer {
	return answer{objects: []catalogue.Object{{Path: path, Size: size}}}
}

func (f *folder) List(_ context.Context, prefix string) ([]catalogue.Object, error) {
	f.asked = append(f.asked, prefix)
	now := f.answers[0]
	if len(f.answers) > 1 {
		f.answers = f.answers[1:]
	}
	return now.objects, now.err
}

func (*folder) Read(context.Context, string) ([]byte, error) {
	return nil, errors.New("nothing is read")
}

func (*folder) Arrived(context.Context, string) (time.Time, error) {
	return time.Time{}, errors.New("nobody asks when")
}

// scene is a cluster in which the mirror's runs end as they are told to.
type scene struct {
	*testing.T
	primary         string
	printed         string
	execErr         error
	executed        []string
	archive, mirror *folder
	// running are runs that are there from the beginning.
	running []string
	// becomes is what the run that is made is when it is looked at next.
	becomes batchv1.JobConditionType
	objects *dynamicfake.FakeDynamicClient
	told    []string
}

func (s *scene) prover() *prove.Prover {
	storage := cnpg.StorageArgs{
		B2:    cnpg.B2Args{Bucket: "homelab-cnpg-b2", Region: "us-west-002"},
		MinIO: cnpg.MinIOArgs{Bucket: "homelab-postgres-backups", Endpoint: "https://nas.example.org:9000", Secret: "minio-credentials"},
	}
	args := cnpg.DatabaseArgs{Namespace: "auth"}
	l := args.Layout("authentik", &storage)
	kinds := map[schema.GroupVersionResource]string{
		{Group: "postgresql.cnpg.io", Version: "v1", Resource: "clusters"}: "ClusterList",
		{Group: "batch", Version: "v1", Resource: "cronjobs"}:              "CronJobList",
		{Group: "batch", Version: "v1", Resource: "jobs"}:                  "JobList",
	}
	objects := []runtime.Object{
		s.object("postgresql.cnpg.io/v1", "Cluster", &cnpgv1.Cluster{
			ObjectMeta: metav1.ObjectMeta{Name: l.Cluster, Namespace: l.Namespace}, Status: cnpgv1.ClusterStatus{CurrentPrimary: s.primary},
		}),
		s.object("batch/v1", "CronJob", &batchv1.CronJob{
			ObjectMeta: metav1.ObjectMeta{Name: l.MirrorJob, Namespace: l.Namespace, UID: "uid-of-the-cronjob"},
			Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app.kubernetes.io/name": "cnpg-backup-mirror"}},
				Spec:       batchv1.JobSpec{BackoffLimit: new(int32(2))},
			}},
		}),
	}
	for _, name := range s.running {
		objects = append(objects, s.object("batch/v1", "Job", &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: l.Namespace,
			OwnerReferences: []metav1.OwnerReference{{Kind: "CronJob", Name: l.MirrorJob, Controller: new(true)}},
		}}))
	}
	s.objects = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, objects...)
	s.objects.PrependReactor("create", "jobs", func(action clienttesting.Action) (bool, runtime.Object, error) {
		made := action.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured) //nolint:forcetypeassert // it is one
		made.SetName(made.GetGenerateName() + "x7k2p")
		conditions := []any{map[string]any{"type": string(s.becomes), "status": "True"}}
		if s.becomes != "" {
			require.NoError(s, unstructured.SetNestedSlice(made.Object, conditions, "status", "conditions"))
		}
		return false, nil, nil
	})
	p := &prove.Prover{
		Cluster: cluster.Client{Objects: s.objects, Exec: func(_ context.Context, namespace, pod, container string, command ...string) (string, error) {
			s.executed = append([]string{namespace, pod, container}, command...)
			return s.printed, s.execErr
		}},
		Layout: l, Archive: s.archive, Wait: 500 * time.Millisecond, Every: time.Millisecond,
		Tell: func(format string, arguments ...any) { s.told = append(s.told, fmt.Sprintf(format, arguments...)) },
	}
	if s.mirror != nil {
		p.Mirror = s.mirror
	}
	return p
}

func (s *scene) object(apiVersion, kind string, typed any) *unstructured.Unstructured {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	require.NoError(s, err)
	object := &unstructured.Unstructured{Object: content}
	object.SetAPIVersion(apiVersion)
	object.SetKind(kind)
	return object
}

// made are the Jobs that were made.
func (s *scene) made() []*unstructured.Unstructured {
	var jobs []*unstructured.Unstructured
	for _, action := range s.objects.Actions() {
		if create, ok := action.(clienttesting.CreateAction); ok && action.GetResource().Resource == "jobs" {
			jobs = append(jobs, create.GetObject().(*unstructured.Unstructured)) //nolint:forcetypeassert // it is one
		}
	}
	return jobs
}

func TestProve(t *testing.T) {
	empty, there := answer{}, has(object, 100)
	refused := answer{err: errors.New("403 AccessDenied")}
	for _, test := range []struct {
		name            string
		change          func(*scene)
		archive, mirror *diagnosis.Proof
		jobs            int
		told            string
	}{
		{
			"both have it", func(*scene) {},
			&diagnosis.Proof{Segment: segment}, &diagnosis.Proof{Segment: segment}, 1,
			"pod authentik-postgresql-2 has ended WAL segment " + segment + "\nthe archive has it after 0 s\n" +
				"runs the mirror as Job authentik-postgresql-mirror-x7k2p\nthe mirror has it after 0 s",
		},
		{
			"only the archive is asked about", func(s *scene) { s.mirror = nil },
			&diagnosis.Proof{Segment: segment}, nil, 0, "",
		},
		{
			"a run that goes on brings it", func(s *scene) { s.running = []string{"authentik-postgresql-mirror-29384"} },
			&diagnosis.Proof{Segment: segment}, &diagnosis.Proof{Segment: segment}, 0,
			"waits for Job authentik-postgresql-mirror-29384, which runs",
		},
		{
			"it does not reach the archive", func(s *scene) { s.archive.answers = []answer{empty} },
			&diagnosis.Proof{Segment: segment, Failed: "it is not in the archive after 500ms"}, nil, 0, "",
		},
		{
			"an empty object is no segment", func(s *scene) { s.archive.answers = []answer{empty, has(object, 0)} },
			&diagnosis.Proof{Segment: segment, Failed: "it is not in the archive after 500ms"}, nil, 0, "",
		},
		{
			"a part of one is none", func(s *scene) { s.archive.answers = []answer{empty, has(object[:len(object)-3]+".partial", 9)} },
			&diagnosis.Proof{Segment: segment, Failed: "it is not in the archive after 500ms"}, nil, 0, "",
		},
		{
			"the archive may not be read", func(s *scene) { s.archive.answers = []answer{refused} },
			&diagnosis.Proof{Untried: "403 AccessDenied"}, nil, 0, "",
		},
		{
			"the archive can no more be read", func(s *scene) { s.archive.answers = []answer{empty, refused} },
			&diagnosis.Proof{Segment: segment, Failed: "it is not in the archive after 500ms; the store said last: 403 AccessDenied"}, nil, 0, "",
		},
		{
			"the run fails", func(s *scene) { s.mirror.answers, s.becomes = []answer{empty}, batchv1.JobFailed },
			&diagnosis.Proof{Segment: segment},
			&diagnosis.Proof{Segment: segment, Failed: "Job authentik-postgresql-mirror-x7k2p failed, and did not bring it"}, 1, "",
		},
		{
			"the run ends without it", func(s *scene) { s.mirror.answers, s.becomes = []answer{empty}, batchv1.JobComplete },
			&diagnosis.Proof{Segment: segment},
			&diagnosis.Proof{Segment: segment, Failed: "Job authentik-postgresql-mirror-x7k2p has ended, and did not bring it"}, 1, "",
		},
		{
			"the run does not end", func(s *scene) { s.mirror.answers = []answer{empty} },
			&diagnosis.Proof{Segment: segment}, &diagnosis.Proof{Segment: segment, Failed: "it is not in the mirror after 500ms"}, 1, "",
		},
		{
			"the mirror may not be read", func(s *scene) { s.mirror.answers = []answer{refused} },
			&diagnosis.Proof{Segment: segment}, &diagnosis.Proof{Untried: "403 AccessDenied"}, 0, "",
		},
		{
			"there is no primary", func(s *scene) { s.primary = "" },
			&diagnosis.Proof{Untried: "the Cluster authentik-postgresql has no primary"}, nil, 0, "",
		},
		{
			"psql fails", func(s *scene) { s.execErr = errors.New("command terminated with exit code 2: could not connect") },
			&diagnosis.Proof{Untried: "psql in pod authentik-postgresql-2: command terminated with exit code 2: could not connect"}, nil, 0, "",
		},
		{
			"psql says something else", func(s *scene) { s.printed = "0/5000028\n" },
			&diagnosis.Proof{Untried: `psql in pod authentik-postgresql-2 named no WAL segment: "0/5000028\n"`}, nil, 0, "",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &scene{
				T: t, primary: "authentik-postgresql-2", printed: "3/A0000110\n" + segment + "\n",
				archive: &folder{answers: []answer{empty, empty, there}}, mirror: &folder{answers: []answer{empty, empty, there}},
			}
			test.change(s)
			archive, mirror := s.prover().Run(t.Context())
			assert.Equal(t, test.archive, archive)
			assert.Equal(t, test.mirror, mirror)
			assert.Len(t, s.made(), test.jobs)
			assert.Contains(t, strings.Join(s.told, "\n"), test.told)
			if archive.Untried != "" && s.archive.answers[0].err != nil {
				assert.Empty(t, s.executed, "nothing is written whose arrival cannot be seen")
			}
		})
	}
}

// TestWhatIsWritten looks at the command and at the Job.
func TestWhatIsWritten(t *testing.T) {
	s := &scene{
		T: t, primary: "authentik-postgresql-2", printed: segment, becomes: batchv1.JobComplete,
		archive: &folder{answers: []answer{has(object, 1)}}, mirror: &folder{answers: []answer{{}, has(object, 1)}},
	}
	p := s.prover()
	p.Run(t.Context())
	assert.Equal(t, []string{
		"auth", "authentik-postgresql-2", "postgres", "psql", "-X", "-q", "-A", "-t", "-U", "postgres", "-v", "ON_ERROR_STOP=1",
		"-c", "select pg_create_restore_point('cnpg-backup doctor -prove')", "-c", "select pg_walfile_name(pg_switch_wal())",
	}, s.executed, "without something to archive PostgreSQL ends no segment")
	assert.Equal(t, []string{"wals/no", "wals/0000000200000003/" + segment}, s.archive.asked)

	require.Len(t, s.made(), 1)
	var job batchv1.Job
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(s.made()[0].Object, &job))
	assert.Equal(t, metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, job.TypeMeta)
	assert.Equal(t, int32(2), *job.Spec.BackoffLimit)
	assert.Equal(t, "cnpg-backup-mirror", job.Labels["app.kubernetes.io/name"])
	assert.Equal(t, []metav1.OwnerReference{{
		APIVersion: "batch/v1", Kind: "CronJob", Name: "authentik-postgresql-mirror", UID: "uid-of-the-cronjob", Controller: new(true),
	}}, job.OwnerReferences, "the CronJob tidies it up")

	rules := append(cluster.Rules([]cnpg.Layout{p.Layout}), cluster.WriteRules()...)
	for _, action := range s.objects.Actions() {
		assert.True(t, slices.ContainsFunc(rules, func(rule cluster.Rule) bool {
			return rule.Verb == action.GetVerb() && rule.Resource == action.GetResource().Resource && rule.Group == action.GetResource().Group
		}), "no rule allows %v", action)
	}
}
