package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/cluster"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/diagnosis"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/report"
)

//nolint:gochecknoglobals // a flag
var update = flag.Bool("update", false, "write testdata as it is now")

// fault is something that people had, and what is named of it.
type fault struct {
	name  string
	codes string // all that is named: of the archive, then of the mirror
	cause func(*scene)
}

// cases are the faults that people had, by the words that they saw; where those
// come from is in docs/troubleshooting.md.
func cases() []fault {
	return []fault{
		{"healthy", " ", func(*scene) {}},
		{"P01 expected empty archive", "CB31 ", func(s *scene) {
			s.archivingFails(exitStatus(1), "ERROR: WAL archive check failed for server authentik-postgresql-2: Expected empty archive")
		}},
		{"P02 checksum headers", "CB07 ", func(s *scene) {
			s.archivingFails(exitStatus(4), "An error occurred (InvalidArgument) when calling the PutObject operation: "+
				"Unsupported header 'x-amz-sdk-checksum-algorithm' received for this API call.")
		}},
		{"P02 checksum headers, and the pod is older than the variables", "CB07 ", func(s *scene) {
			s.archivingFails(exitStatus(4), "An error occurred (InvalidArgument) when calling the PutObject operation: "+
				"Unsupported header 'x-amz-sdk-checksum-algorithm' received for this API call.")
			s.pod.Spec.InitContainers[0].Env = nil
		}},
		{"P03 a wrong key", "CB03 ", func(s *scene) {
			s.archivingFails(exitStatus(4), "An error occurred (403) when calling the HeadBucket operation: Forbidden")
			s.archiveErr = refused(http.StatusForbidden, "InvalidAccessKeyId", "The key 'f3a9' is not valid")
			s.run.Status = batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}}
		}},
		{"P03 a blank in the Secret", "CB11 ", func(s *scene) {
			s.archivingFails(exitStatus(4), "An error occurred (403) when calling the HeadBucket operation: Forbidden")
			s.archiveErr = &cluster.SecretError{Secret: cnpg.B2Secret, Problem: "has a blank or a line break around AWS_ACCESS_KEY_ID"}
			s.cluster.Status.Conditions[0].Status = metav1.ConditionTrue
		}},
		{"P04 another region", "CB04 ", func(s *scene) {
			s.archivingFails(exitStatus(4), "ERROR: Barman cloud WAL archiver exception: An error occurred (400) when calling the HeadBucket operation: Bad Request")
		}},
		{"P04 another region of the NAS", "CB04 ", func(s *scene) {
			s.args.Archive = cnpg.MinIO
			s.archivingFails(exitStatus(4), "ERROR: Barman cloud WAL archiver exception: An error occurred (400) when calling the HeadBucket operation: Bad Request")
		}},
		{"P05 an authority that is not public", "CB02 ", func(s *scene) {
			s.archivingFails(exitStatus(4), "SSL validation failed for https://nas.example.org:9000 [SSL: CERTIFICATE_VERIFY_FAILED] "+
				"certificate verify failed: unable to get issuer certificate (_ssl.c:1032)")
		}},
		{"P06 no key service", "CB08 ", func(s *scene) {
			s.archivingFails(exitStatus(4), "An error occurred (NotImplemented) when calling the PutObject operation: "+
				"Server side encryption specified but KMS is not configured")
		}},
		{"P07 no plugin", "CB21 ", func(s *scene) {
			s.archivingFails("wal archive plugin is not available: barman-cloud.cloudnative-pg.io", "")
			s.backups = append(s.backups, s.backup("b", cnpgv1.BackupPhaseFailed, time.Hour, "requested plugin is not available: barman-cloud.cloudnative-pg.io"))
		}},
		{"P07 a plugin that does not answer", "CB21 ", func(s *scene) {
			s.cluster.Status.Phase = cnpgv1.PhaseFailurePlugin
			s.cluster.Status.PhaseReason = "Error while discovering plugins: while getting plugin connection: context deadline exceeded"
		}},
		{"P08 an expired certificate", "CB22 ", func(s *scene) {
			s.cluster.Status.Phase = cnpgv1.PhaseFailurePlugin
			s.cluster.Status.PhaseReason = "rpc error: code = Unavailable desc = connection error: desc = \"transport: authentication handshake failed: " +
				"tls: failed to verify certificate: x509: certificate has expired or is not yet valid\""
		}},
		{"P08 a certificate that is not renewed", "CB20 ", func(s *scene) {
			s.certificate["renewalTime"] = ago(3 * day).Format(time.RFC3339)
			s.certificate["notAfter"] = ago(-12 * day).Format(time.RFC3339)
		}},
		{"P08 a certificate that is not renewed and has expired", "CB20 ", func(s *scene) {
			s.certificate["renewalTime"], s.certificate["notAfter"] = ago(17*day).Format(time.RFC3339), ago(2*day).Format(time.RFC3339)
			s.certificate["conditions"] = []any{map[string]any{
				"type": "Ready", "status": "False", "lastTransitionTime": ago(2 * day).Format(time.RFC3339),
				"message": "Certificate expired on Sun, 22 Nov 2026 00:09:00 UTC",
			}}
			s.cluster.Status.Phase = cnpgv1.PhaseFailurePlugin
			s.cluster.Status.PhaseReason = "rpc error: code = Unavailable desc = connection error: desc = \"transport: authentication handshake failed: " +
				"tls: failed to verify certificate: x509: certificate has expired or is not yet valid\""
		}},
		{"P08 a certificate that was never issued", "CB20 ", func(s *scene) {
			s.certificate = map[string]any{"conditions": []any{map[string]any{
				"type": "Ready", "status": "False", "lastTransitionTime": ago(2 * day).Format(time.RFC3339),
				"message": `Issuing certificate as Secret does not exist`,
			}}}
		}},
		{"a plugin that is too old", "CB25 ", func(s *scene) {
			s.plugin = "0.15.0"
			s.backups = append(s.backups, s.backup("b", cnpgv1.BackupPhaseFailed, time.Hour, "exit status 3"))
		}},
		{"a sidecar that is too old", "CB24 ", func(s *scene) {
			s.plugin, s.cluster.Status.PluginStatus[0].Version = "0.15.0", "0.15.0"
			s.pod.Spec.InitContainers[0].Image = "ghcr.io/cloudnative-pg/plugin-barman-cloud-sidecar:v0.14.0@sha256:0"
		}},
		{"P09 out of memory", "CB23 ", func(s *scene) {
			s.pod.Status.InitContainerStatuses[0] = corev1.ContainerStatus{
				Name: cluster.Sidecar, RestartCount: 7, LastTerminationState: corev1.ContainerState{
					Terminated: &corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137, FinishedAt: ago(46 * time.Hour)},
				},
			}
			s.backups = append(s.backups, s.backup("b", cnpgv1.BackupPhaseFailed, 46*time.Hour, "rpc error: code = Unavailable desc = error reading from server: EOF"))
		}},
		{"P09 out of memory, and the sidecar lives on", "CB23 ", func(s *scene) {
			s.backups = append(s.backups, s.backup("b", cnpgv1.BackupPhaseFailed, 46*time.Hour, "rpc error: code = Unknown desc = signal: killed"))
		}},
		{"P10 a backup that does not end", "CB41 ", func(s *scene) {
			s.backups = append(s.backups, s.backup("authentik-postgresql-2-backup-20261115020000", cnpgv1.BackupPhaseRunning, 9*day, ""))
		}},
		{"P10 a backup that has waited for long and has just begun", " ", func(s *scene) {
			waited := s.backup("authentik-postgresql-2-backup-20261115020000", cnpgv1.BackupPhaseStarted, 9*day, "")
			waited.Status.ReconciliationStartedAt = new(ago(time.Hour))
			s.backups = append(s.backups, waited)
		}},
		{"P11 without the plugin", "CB42 ", func(s *scene) {
			s.backups = append(s.backups, s.backup("by-hand", cnpgv1.BackupPhaseFailed, time.Hour, "cannot proceed with the backup as the cluster has no backup section"))
		}},
		{"P12 five fields", "CB43 ", func(s *scene) {
			s.more = append(s.more, &cnpgv1.ScheduledBackup{
				ObjectMeta: metav1.ObjectMeta{Name: "nightly", Namespace: "auth"},
				Spec:       cnpgv1.ScheduledBackupSpec{Schedule: "0 2 * * *", Cluster: cnpgv1.LocalObjectReference{Name: "authentik-postgresql"}},
			})
		}},
		{"P13 a full volume", "CB31 CB33 ", func(s *scene) {
			s.archivingFails(exitStatus(1), "ERROR: WAL archive check failed for server authentik-postgresql-2: Expected empty archive")
			s.cluster.Status.Phase = "Not enough disk space"
			s.cluster.Status.PhaseReason = "Insufficient disk space detected in one or more pods is preventing PostgreSQL from running."
		}},
		{"P14 the store to recover from is not there", "CB72 ", func(s *scene) {
			s.recovering()
			s.stores = s.stores[:1]
		}},
		{"P14 nothing in the folder", "CB71 ", func(s *scene) { s.recoverySays("no target backup found") }},
		{"P15 a target that is too late", "CB73 ", func(s *scene) {
			s.recovering()
			s.logs[s.recovery.Name] = `{"level":"info","ts":"2026-11-24T00:01:00Z","logger":"postgres","msg":"record","logging_pod":"authentik-postgresql-1-full-recovery",` +
				`"record":{"log_time":"2026-11-24 00:01:00.512 UTC","error_severity":"FATAL","message":"recovery ended before configured recovery target was reached"}}` + "\n"
		}},
		{"P15 a recovery that begins without its first WAL", "CB73 ", func(s *scene) {
			from := s.mirror
			from.remove(segment(1000))
			s.recoverySays("encountered an error while checking the presence of first needed WAL in the archive: WAL not found")
			s.recovered = from
		}},
		{"P15 a hole, and the archive has moved", "CB50 ", func(s *scene) {
			s.former = "https://old.example.org:9000"
			s.archive.remove(segment(1050))
		}},
		{"P15 a hole", "CB50 ", func(s *scene) { s.archive.remove(segment(1050)) }},
		{"P15 a base backup whose first WAL never arrived", "CB49 ", func(s *scene) {
			s.archive.remove(segment(1000))
			s.mirror.remove("20261122T020003/backup.info")
		}},
		{"P16 a failed base backup counts", "CB48 ", func(s *scene) {
			s.archive.backup(time.Date(2026, time.November, 23, 2, 0, 3, 0, time.UTC), 1100, "status=FAILED\nerror=failure uploading data (SlowDown)\n")
		}},
		{"P16 a failed base backup counts, and its Backup failed", "CB48 ", func(s *scene) {
			s.archive.backup(time.Date(2026, time.November, 23, 2, 0, 3, 0, time.UTC), 1100, "status=FAILED\nerror=failure uploading data (SlowDown)\n")
			s.backups = append(s.backups, s.backup("b", cnpgv1.BackupPhaseFailed, 22*time.Hour, "rpc error: code = Unknown desc = exit status 1"))
		}},
		{"P17 the key does not arrive", "CB12 ", func(s *scene) {
			s.external = notReady("SecretSyncedError", "could not get secret data from provider", 30*time.Hour)
			s.more = append(s.more, &corev1.Event{
				ObjectMeta:     metav1.ObjectMeta{Name: "e", Namespace: "auth"},
				InvolvedObject: corev1.ObjectReference{Kind: "ExternalSecret", Name: cnpg.B2Secret}, Type: corev1.EventTypeWarning,
				Message: "error processing spec.dataFrom[0].extract, err: failed to login to bitwarden using access token: 400 Bad Request",
			})
		}},
		{"P17 the store to Bitwarden is not ready", "CB10 ", func(s *scene) {
			s.secretStore = notReady("InvalidProviderConfig", "unable to create client", 30*time.Hour)
			s.external = notReady("SecretSyncedError", "the desired SecretStore bitwarden-backend is not ready", 29*time.Hour)
		}},
		{"P17 the store to Bitwarden is gone", "CB10 ", func(s *scene) {
			s.secretStore = nil
			s.external = notReady("SecretSyncedError", "could not get provider client", 29*time.Hour)
		}},
		{"P18 WAL and no base backup", "CB44 ", func(s *scene) {
			s.archive.remove("base/")
			s.mirror.remove("base/")
			s.schedule.Spec.Suspend = new(true)
			s.backups = nil
		}},
		{"P18 another generation, and no base backup yet", "CB46 ", func(s *scene) {
			s.archive.remove("base/")
			s.mirror.remove("")
			s.backups = nil
		}},
		{"the mirror lost its base backups", " CB46", func(s *scene) { s.mirror.remove("base/") }},
		{"P19 nothing is pruned", "CB51 ", func(s *scene) {
			for week := range 9 {
				s.archive.backup(time.Date(2026, time.October, 18, 2, 0, 3, 0, time.UTC).AddDate(0, 0, -7*week), 200-2*week, "")
			}
			s.archive.wal(150, 199)
		}},
		{"P20 a broken download", "CB74 ", func(s *scene) {
			s.recoverySays("ERROR: Barman cloud restore exception: ('Connection broken: IncompleteRead(8388608 bytes read)', IncompleteRead(8388608 bytes read))")
		}},
		{"P21 a cap", "CB06 ", func(s *scene) {
			s.archivingFails(exitStatus(4), "An error occurred (AccessDenied) when calling the PutObject operation: Cannot upload files, storage cap exceeded.")
			s.archiveErr = refused(http.StatusForbidden, "AccessDenied", "Transaction cap exceeded, see the Caps & Alerts page to increase your cap.")
		}},
		{"P22 edits that are not in force", "CB24 ", func(s *scene) {
			s.stores[0].Spec.InstanceSidecarConfiguration.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}
		}},
		{"P23 harmless words", " ", func(s *scene) {
			s.logs[s.pod.Name] = `{"level":"error","ts":"2026-11-23T23:58:02Z","msg":"Reconciler error","error":` +
				`"Operation cannot be fulfilled on objectstores.barmancloud.cnpg.io \"authentik-b2-store\": the object has been modified; please apply your changes to the latest version and try again"}` + "\n" +
				`{"level":"info","ts":"2026-11-20T10:00:00Z","msg":"An error occurred (403) when calling the HeadBucket operation: Forbidden"}` + "\n"
		}},
		{"mirror fails", " CB61", func(s *scene) {
			s.run.Status = batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}}
			s.job.Status.LastSuccessfulTime = new(ago(6 * day))
			s.runPod = s.mirrorPod(`{"version":1,"time":"2026-11-23T23:15:03Z","ok":false,"server":"authentik-postgresql-2","problems":[` +
				`{"code":"copy-failed","server":"authentik-postgresql-2","fails":true,"count":1},` +
				`{"code":"gap","server":"authentik-postgresql-2","fails":false,"count":2}],"folders":[],"omitted":0}`)
			s.runPod.Status.Phase = corev1.PodFailed
			s.logs[s.runPod.Name] = "2026/11/23 23:15:09 ERROR : base/20261122T020003/data.tar.gz: Failed to copy: operation error S3: PutObject, " +
				"https response error StatusCode: 403, api error AccessDenied: Access Denied.\n" +
				"2026-11-23T23:15:31Z PROBLEM copy-failed: authentik-postgresql-2: not all base backup data could be copied\n"
			s.mirror.remove(segment(1000)[:16] + "/")
		}},
		{"mirror is suspended", " CB62", func(s *scene) {
			s.job.Spec.Suspend = new(true)
			s.job.Status.LastSuccessfulTime = new(ago(6 * day))
		}},
		{"mirror does not come to an end", " CB63", func(s *scene) {
			s.job.Status.LastSuccessfulTime, s.run = new(ago(6*day)), nil
		}},
		{"mirror does not answer", " CB01", func(s *scene) {
			s.mirrorErr = errors.New("dial tcp 192.0.2.7:9000: connect: connection refused")
		}},
		{"a part of the mirror is cut off", " CB49", func(s *scene) {
			s.mirror.remove("20261122T020003/data.tar.gz")
			s.mirror.put("base/20261122T020003/data.tar.gz", "", 1<<20, now)
		}},
		{"archiving fails, and nobody knows why", "CB32 ", func(s *scene) { s.archivingFails(exitStatus(2), "") }},
		{"no WAL for long", "CB34 ", func(s *scene) {
			for i := range s.archive.objects {
				s.archive.objects[i].Arrived = s.archive.objects[i].Arrived.Add(-8 * day)
			}
			s.mirror.objects = nil
			s.mirror.objects = append(s.mirror.objects, s.archive.objects...)
			s.mirror.contents = s.archive.contents
		}},
		{"the newest base backup is old", "CB47 ", func(s *scene) {
			for _, tree := range []*tree{s.archive, s.mirror} {
				for _, id := range []string{"20261122", "20261115", "20261108"} {
					tree.remove("base/" + id)
				}
			}
			s.backups = nil
		}},
		{"a later life", "CB81 CB81", func(s *scene) {
			s.archive.folders = append(s.archive.folders, "authentik-postgresql-3")
			s.mirror.folders = append(s.mirror.folders, "authentik-postgresql-3")
		}},
		{"two databases", "CB82 ", func(s *scene) {
			s.archive.backup(time.Date(2026, time.November, 23, 2, 0, 3, 0, time.UTC), 1100, "systemid=7000000000000000001\n")
		}},
		{"a damaged backup.info", "CB52 ", func(s *scene) {
			s.archive.contents["base/20261101T020003/backup.info"] = "<html>"
		}},
		{"the last base backup failed", "CB45 ", func(s *scene) {
			s.backups = append(s.backups, s.backup("b", cnpgv1.BackupPhaseFailed, time.Hour, "exit status 1"))
		}},
		{"the Cluster is gone", "CB91 ", func(s *scene) {
			s.cluster, s.pod, s.run, s.runPod, s.job, s.schedule, s.backups = nil, nil, nil, nil, nil, nil, nil
		}},
		{"the bucket is gone", " CB05", func(s *scene) {
			s.mirrorErr = refused(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
		}},
		{"the NAS with the mirror has another region", " CB04", func(s *scene) {
			s.mirrorErr = refused(http.StatusBadRequest, "AuthorizationHeaderMalformed",
				"The authorization header is malformed; the region is wrong; expecting 'eu-home-1'.")
		}},
		{"the store says something else", " CB09", func(s *scene) {
			s.mirrorErr = refused(http.StatusInternalServerError, "InternalError", "We encountered an internal error, please try again.")
		}},
		{"a life of seconds", " ", func(s *scene) {
			for _, tree := range []*tree{s.archive, s.mirror} {
				tree.remove("")
				tree.put("wals/"+segment(1)[:16]+"/"+segment(1)+".gz", "", 100, now.Add(-50*time.Second))
				tree.backup(now.Add(-10*time.Minute+5*time.Second), 1, "")
				tree.put("wals/"+segment(2)[:16]+"/"+segment(2)+".gz", "", 100, now.Add(-30*time.Second))
				tree.put("wals/"+segment(3)[:16]+"/"+segment(3)+".gz", "", 100, now.Add(-20*time.Second))
			}
		}},
		{"a drill passed", " ", func(s *scene) { s.drilled() }},
		{"a drill passed, and its run is gone", " ", func(s *scene) { s.drilled().kept = false }},
		{"no drill yet", " ", func(s *scene) {
			d := s.drilled()
			d.kept, d.lastSuccess, d.lastScheduled, d.created = false, 0, 0, 2*day
		}},
		{"a drill failed two days ago, and its run is gone", "CB83 CB83", func(s *scene) {
			d := s.drilled()
			d.kept, d.lastSuccess, d.lastScheduled = false, 9*day, 2*day
		}},
		{"the first drill failed, and its run is gone", "CB83 CB83", func(s *scene) {
			d := s.drilled()
			d.kept, d.lastSuccess, d.lastScheduled, d.created = false, 0, 2*day, 5*day
		}},
		{"a drill runs", " ", func(s *scene) {
			d := s.drilled()
			d.kept, d.running, d.lastSuccess, d.lastScheduled = false, true, 7*day, time.Hour
		}},
		{"a drill finds damage", "CB54 ", func(s *scene) {
			s.drillFails("b2", `{"version":1,"ok":false,"code":"CB54","problem":"WAL 00000001000000040000000A cannot be unpacked","copy":"b2","backup":"20261122T020003"}`)
		}},
		{"a drill finds damage, and there is a newer base backup", "CB53 ", func(s *scene) {
			s.drillFails("b2", `{"version":1,"ok":false,"code":"CB53","problem":"data.tar.gz cannot be unpacked","copy":"b2","backup":"20261115T020003"}`)
		}},
		{"a drill finds what a later release knows", "CB83 ", func(s *scene) {
			s.drillFails("b2", `{"version":1,"ok":false,"code":"CB99","problem":"the moon is full","copy":"b2","backup":"20261122T020003"}`)
		}},
		{"a drill fails without a report", " CB83", func(s *scene) { s.drilled().failed = "minio" }},
		{"a drill finds what is seen without it", "CB50 ", func(s *scene) {
			s.drillFails("b2", `{"version":1,"ok":false,"code":"CB50","problem":"WAL is missing","copy":"b2","backup":"20261122T020003"}`)
			s.archive.remove(segment(1050))
		}},
		{"a drill restores what the mirror's job has not brought", " CB62", func(s *scene) {
			s.job.Spec.Suspend = new(true)
			s.drillFails("minio", `{"version":1,"ok":false,"code":"CB78","problem":"it ends 6 days ago","copy":"minio","backup":"20261115T020003"}`)
		}},
		{"drills do not run any more", "CB84 CB84", func(s *scene) {
			d := s.drilled()
			d.lastSuccess, d.lastScheduled = 15*day, 15*day+time.Hour
		}},
		{"drills are suspended", "CB84 CB84", func(s *scene) { s.drilled().suspended = true }},
		{"drills are not there", "CB84 CB84", func(s *scene) {
			s.drilled()
			s.drill = nil
		}},
		{"proved", " ", func(s *scene) {
			s.archiveProof = &diagnosis.Proof{Segment: segment(1120), Seconds: 3}
			s.mirrorProof = &diagnosis.Proof{Segment: segment(1120), Seconds: 41}
		}},
		{"not proved for want of rights", " ", func(s *scene) {
			s.archiveProof = &diagnosis.Proof{Untried: "psql in pod authentik-postgresql-1: unable to upgrade connection: " +
				`pods "authentik-postgresql-1" is forbidden: User "me" cannot create resource "pods/exec" in API group "" in the namespace "auth"`}
		}},
		{"a segment does not reach the archive", "CB35 ", func(s *scene) {
			s.archiveProof = &diagnosis.Proof{Segment: segment(1121), Failed: "it is not in the archive after 10m"}
		}},
		{"a segment does not reach the archive, and the log says why", "CB03 ", func(s *scene) {
			s.archiveProof = &diagnosis.Proof{Segment: segment(1121), Failed: "it is not in the archive after 10m"}
			s.archivingFails(exitStatus(4), "An error occurred (403) when calling the HeadBucket operation: Forbidden")
		}},
		{"a segment does not reach the mirror", " CB64", func(s *scene) {
			s.archiveProof = &diagnosis.Proof{Segment: segment(1120), Seconds: 3}
			s.mirrorProof = &diagnosis.Proof{Segment: segment(1120), Failed: "it is not in the mirror after 10m"}
		}},
		{"the kubernetes cluster does not answer", " ", func(s *scene) {
			s.unreachable = errors.New("dial tcp 192.0.2.1:6443: i/o timeout")
			s.archiveErr = fmt.Errorf("%w: the cluster has it", diagnosis.ErrNoKey)
			s.mirrorErr = s.archiveErr
		}},
	}
}

// TestCases compares the whole text with testdata, and the codes with what was
// caused: nothing else is named.
func TestCases(t *testing.T) {
	named := map[string]bool{}
	for _, test := range cases() {
		t.Run(test.name, func(t *testing.T) {
			s := healthy()
			test.cause(s)
			r, _, _ := s.examine(t)

			var codes [2][]string
			for i, one := range r.Databases[0].Copies {
				for _, finding := range one.Findings {
					codes[i] = append(codes[i], string(finding.Code))
					named[string(finding.Code)] = true
				}
			}
			last := strings.LastIndex(test.codes, " ")
			want, wantMirror := test.codes[:last], test.codes[last+1:]
			assert.Equal(t, want, strings.Join(codes[0], " "), "of the archive")
			assert.Equal(t, wantMirror, strings.Join(codes[1], " "), "of the mirror")

			var text bytes.Buffer
			report.Style{}.Database(&text, now, r.Databases[0])
			r.End(&text)
			fmt.Fprintf(&text, "exit %d\n", r.Exit())
			file := filepath.Join("testdata", strings.ReplaceAll(test.name, " ", "-")+".txt")
			if *update {
				require.NoError(t, os.WriteFile(file, text.Bytes(), 0o600))
			}
			golden, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, string(golden), text.String())
			for line := range strings.Lines(text.String()) {
				assert.LessOrEqual(t, utf8.RuneCountInString(strings.TrimRight(line, "\n")), 80, line)
			}
		})
	}
	all, _ := diagnosis.Codes()
	for _, code := range all {
		if flag.Lookup("test.run").Value.String() != "" {
			break // only some of the cases were asked for
		}
		if slices.Contains(diagnosis.FromDrills(), code) {
			continue // the drills' own tests are about these
		}
		if slices.Contains(diagnosis.FromAlerts(), code) {
			continue // and those of the alerts about these
		}
		assert.True(t, named[string(code)], "no case is about %s", code)
	}
}

// TestFromStore reads the stores of every case, and nothing of a cluster.
func TestFromStore(t *testing.T) {
	for _, test := range cases() {
		t.Run(test.name, func(t *testing.T) {
			s := healthy()
			test.cause(s)
			s.fromStore = true
			r, actions, _ := s.examine(t)
			assert.Empty(t, actions)
			assert.Len(t, r.Databases[0].Copies, 2)
		})
	}
}

// TestRights compares what is asked of the API server with the rights that -rbac
// prints: no more is used, and nothing is granted that is not.
func TestRights(t *testing.T) {
	used := map[string]bool{"get secrets": true} // by the keys' source
	for _, test := range cases() {
		s := healthy()
		test.cause(s)
		_, actions, logs := s.examine(t)
		l := []cnpg.Layout{s.layout()}
		rules := map[string][]cluster.Rule{"auth": cluster.Rules(l), "cnpg-system": cluster.OperatorRules(), "": cluster.RulesBeside(l)}
		for _, action := range actions {
			right := action.GetVerb() + " " + action.GetResource().Resource
			used[right] = true
			assert.True(t, slices.ContainsFunc(rules[action.GetNamespace()], func(rule cluster.Rule) bool {
				if rule.Verb != action.GetVerb() || rule.Resource != action.GetResource().Resource || rule.Group != action.GetResource().Group {
					return false
				}
				get, ok := action.(clienttesting.GetAction)
				return !ok || rule.Names == nil || slices.Contains(rule.Names, get.GetName())
			}), "%s: no rule allows %v", test.name, action)
		}
		if len(logs) > 0 {
			used["get pods/log"] = true
		}
	}
	storage := storage()
	args := cnpg.DatabaseArgs{Namespace: "auth"}
	l := []cnpg.Layout{args.Layout("authentik", &storage)}
	for _, rule := range slices.Concat(cluster.Rules(l), cluster.OperatorRules(), cluster.RulesBeside(l)) {
		assert.True(t, used[rule.Verb+" "+rule.Resource], "%s %s is granted and never used", rule.Verb, rule.Resource)
	}
}

// TestWithoutRights wants a doctor that may not read something to say so, and to
// go on.
func TestWithoutRights(t *testing.T) {
	s := healthy()
	objects := dynamicfake.NewSimpleDynamicClient(runtime.NewScheme(), s.objects(t)...)
	objects.PrependReactor("*", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(action.GetResource().GroupResource(), "", errors.New("no rule allows it"))
	})
	client := cluster.Client{Objects: objects, Operator: "cnpg-system"}
	l := s.layout()
	snapshot, err := client.Read(t.Context(), l)
	require.NoError(t, err)
	assert.Len(t, snapshot.Unread, 11, "whether there is External Secrets it could not see either")
	noKey := diagnosis.Read{Err: apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, cnpg.B2Secret, errors.New("no rule allows it"))}
	d := diagnosis.Diagnose(&diagnosis.Subject{Layout: l, Cluster: snapshot, Archive: noKey, Mirror: noKey, Now: now})
	for _, one := range d.Copies {
		assert.Empty(t, one.Findings, "what may not be seen may be well")
		assert.Contains(t, one.Reason, "forbidden")
	}
}

// TestTheGuideHasEveryCode holds docs/troubleshooting.md to the codes: a heading
// for each, and no other.
func TestTheGuideHasEveryCode(t *testing.T) {
	guide, err := os.ReadFile("../docs/troubleshooting.md")
	require.NoError(t, err)
	codes, titles := diagnosis.Codes()
	var want, got []string
	for _, code := range codes {
		want = append(want, string(code)+" "+titles[code])
	}
	lines := strings.Split(string(guide), "\n")
	for i, line := range lines {
		if code, found := strings.CutPrefix(line, "### CB"); found {
			got = append(got, "CB"+code+" "+strings.Trim(strings.TrimSuffix(lines[i+2], "."), "*"))
		}
	}
	assert.Equal(t, want, got)
}
