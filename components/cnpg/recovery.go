package cnpg

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	pgtime "github.com/cloudnative-pg/machinery/pkg/postgres/time"
	"github.com/cloudnative-pg/machinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Recovery says what a cluster is restored from, instead of beginning with an empty
// database. It only takes effect when the Cluster is created. Leave it in place
// afterwards, because it records where this life came from, and raise Generation before
// the Cluster is ever created again.
type Recovery struct {
	// Source is the store to restore from: b2 or minio. Required.
	Source Location `json:"source"`
	// Cluster is the cluster whose backups are restored, if it is another one. Default:
	// this cluster.
	Cluster string `json:"cluster,omitempty"`
	// Namespace is the namespace of that cluster. Default: this namespace.
	Namespace string `json:"namespace,omitempty"`
	// Path is the folder in the bucket with that cluster's backups, as in Backup.
	// Default: for this cluster its own, for another <namespace>/<cluster>.
	Path string `json:"path,omitempty"`
	// ServerName is the server name of that cluster's first life, as in Backup.
	// Default: for this cluster its own, for another the cluster's name.
	ServerName string `json:"serverName,omitempty"`
	// Generation is the life to restore from. Default: for this cluster the one before
	// its present life, for another cluster 1.
	Generation int `json:"generation,omitempty"`
	// SourceSecret is a Secret in the database's namespace with AWS_ACCESS_KEY_ID
	// and AWS_SECRET_ACCESS_KEY of a key that may read another cluster's backups.
	// Required where the namespace's own keys do not reach them. Default: the
	// Secret with the namespace's key.
	SourceSecret string `json:"sourceSecret,omitempty"`
	// Target is where to stop: one of targetTime (with its offset from UTC), targetLSN,
	// targetXID, targetName and targetImmediate; and backupID, which the last three
	// need. It is the operator's own type:
	// https://cloudnative-pg.io/documentation/current/cloudnative-pg.v1/#recoverytarget.
	// Default: the end of the WAL.
	Target *cnpgv1.RecoveryTarget `json:"target,omitempty"`
}

// withDefaults returns a copy in which everything is set, for a cluster.
func (r Recovery) withDefaults(n names) Recovery {
	if r.Cluster == "" {
		r.Cluster = n.cluster
	}
	if r.Namespace == "" {
		r.Namespace = n.namespace
	}
	own := r.Cluster == n.cluster && r.Namespace == n.namespace
	if own && r.Path == "" {
		r.Path = n.path
	} else {
		r.Path = pathOr(r.Path, r.Namespace, r.Cluster)
	}
	if r.ServerName == "" {
		r.ServerName = r.Cluster
		if own {
			r.ServerName = n.firstServer
		}
	}
	if r.Generation == 0 {
		r.Generation = 1
		if r.sameCluster(n) {
			r.Generation = n.generation - 1
		}
	}
	return r
}

// sameCluster tells whether the backups are the cluster's own. The recovery has
// its defaults.
func (r Recovery) sameCluster(n names) bool {
	return r.Path == n.path && r.ServerName == n.firstServer
}

// server is the server name to restore from. The recovery has its defaults.
func (r Recovery) server() string { return serverName(r.ServerName, r.Generation) }

// folder is where the backups lie, whatever the bucket is called. The recovery
// has its defaults.
func (r Recovery) folder() string {
	return string(r.Source) + ":" + folder(r.Path, r.server())
}

// target is where to stop, the zero value for the end of the WAL.
func (r Recovery) target() cnpgv1.RecoveryTarget {
	if r.Target == nil {
		return cnpgv1.RecoveryTarget{}
	}
	return *r.Target
}

func (r *Recovery) validate(at *field.Path, n names) field.ErrorList {
	if r == nil {
		return nil
	}
	var problems field.ErrorList
	if r.Source == "" {
		problems = append(problems, field.Required(at.Child("source"), "the store to restore from: b2 or minio"))
	}
	problems = append(problems, checkOneOf(at.Child("source"), r.Source, B2, MinIO)...)
	if r.Cluster != "" {
		problems = append(problems, checkCluster(at.Child("cluster"), r.Cluster)...)
	}
	if r.Namespace != "" {
		problems = append(problems, checkNamespace(at.Child("namespace"), r.Namespace)...)
	}
	problems = append(problems, checkPath(at.Child("path"), r.Path)...)
	problems = append(problems, checkServerName(at.Child("serverName"), r.ServerName)...)
	if r.SourceSecret != "" {
		problems = append(problems, checkObjectName(at.Child("sourceSecret"), r.SourceSecret, "")...)
	}
	switch from := r.withDefaults(n); {
	case r.Generation < 0:
		problems = append(problems, field.Invalid(at.Child("generation"), r.Generation, "expected 1 or more"))
	case from.sameCluster(n) && n.generation <= 1:
		problems = append(problems, field.Invalid(at, n.serverName(),
			"would be restored from and written to; a restore begins a new life: set generation to 2 or more"))
	case from.sameCluster(n) && from.Generation == n.generation:
		problems = append(problems, field.Invalid(at.Child("generation"), from.Generation,
			"is the generation that the cluster writes to; restore from an earlier one"))
	case from.sameCluster(n) && from.Generation > n.generation:
		problems = append(problems, field.Invalid(at.Child("generation"), from.Generation,
			fmt.Sprintf("is later than the cluster's own, %d", n.generation)))
	case n.firstServer != "" && !from.sameCluster(n) && foldersMeet(folder(from.Path, from.server()), n.folder()):
		problems = append(problems, field.Invalid(at, folder(from.Path, from.server()),
			fmt.Sprintf("cannot be restored from: the database writes to %q; give another path or serverName", n.folder())))
	}
	return append(problems, validateTarget(at.Child("target"), r.Target)...)
}

// validateTarget follows the operator's admission webhook, and wants an offset
// in a time: PostgreSQL would take it for UTC.
func validateTarget(at *field.Path, target *cnpgv1.RecoveryTarget) field.ErrorList {
	if target == nil {
		return nil
	}
	var problems field.ErrorList
	if given := givenTargets(target); len(given) > 1 {
		problems = append(problems, field.Invalid(at, strings.Join(given, ", "), "expected one target at most"))
	}
	if target.TargetTime != "" {
		problems = append(problems, checkTargetTime(at.Child("targetTime"), target.TargetTime)...)
	}
	if target.TargetLSN != "" {
		if _, err := types.LSN(target.TargetLSN).Parse(); err != nil {
			problems = append(problems, field.Invalid(at.Child("targetLSN"), target.TargetLSN,
				`expected two hexadecimal numbers, for instance "0/3000060"`))
		}
	}
	if target.TargetXID != "" {
		if _, err := strconv.ParseUint(target.TargetXID, 10, 32); err != nil {
			problems = append(problems, field.Invalid(at.Child("targetXID"), target.TargetXID,
				"expected a transaction number from 0 to 4294967295"))
		}
	}
	if len(target.TargetName) > 63 || strings.ContainsFunc(target.TargetName, isControl) {
		problems = append(problems, field.Invalid(at.Child("targetName"), target.TargetName,
			"expected up to 63 bytes without control characters"))
	}
	byLabel := target.TargetXID != "" || target.TargetName != "" || target.TargetImmediate != nil
	if byLabel && target.BackupID == "" {
		problems = append(problems, field.Required(at.Child("backupID"),
			"targetXID, targetName and targetImmediate do not say which base backup to begin with"))
	}
	if tli := target.TargetTLI; tli != "" && tli != "latest" {
		if timeline, err := strconv.Atoi(tli); err != nil || timeline < 1 {
			problems = append(problems, field.Invalid(at.Child("targetTLI"), tli, `expected "latest" or a number above 0`))
		}
	}
	return problems
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7F }

func givenTargets(target *cnpgv1.RecoveryTarget) []string {
	var given []string
	for _, candidate := range []struct {
		name  string
		given bool
	}{
		{"targetTime", target.TargetTime != ""},
		{"targetLSN", target.TargetLSN != ""},
		{"targetXID", target.TargetXID != ""},
		{"targetName", target.TargetName != ""},
		{"targetImmediate", target.TargetImmediate != nil},
	} {
		if candidate.given {
			given = append(given, candidate.name)
		}
	}
	return given
}

var endsWithOffset = regexp.MustCompile(`(Z|[+-][0-9]{2}(:?[0-9]{2})?)$`)

func checkTargetTime(at *field.Path, targetTime string) field.ErrorList {
	if _, err := types.ParseTargetTime(nil, targetTime); err != nil {
		return field.ErrorList{field.Invalid(at, targetTime,
			`is not a time; expected for instance "2026-01-15T12:00:00+01:00"`)}
	}
	if !endsWithOffset.MatchString(targetTime) || !strings.Contains(targetTime, ":") {
		return field.ErrorList{field.Invalid(at, targetTime,
			`has no offset and would be taken for UTC; say which, for instance "2026-01-15T12:00:00Z"`)}
	}
	if strings.HasSuffix(pgtime.ConvertToPostgresFormat(targetTime), "Z") {
		// The operator rewrites RFC 3339 only, and PostgreSQL does not start with Z.
		return field.ErrorList{field.Invalid(at, targetTime,
			`has a Z that PostgreSQL would refuse; write it with a T, for instance "2026-01-15T12:00:00Z", or with +00`)}
	}
	return nil
}

// bootstrapRecovery makes the bootstrap of a restored cluster. The database, its
// owner and the owner's secret are those that initdb would have made.
func bootstrapRecovery(source string, target *cnpgv1.RecoveryTarget, initDB *cnpgv1.BootstrapInitDB,
) *cnpgv1.BootstrapConfiguration {
	recovery := &cnpgv1.BootstrapRecovery{Source: source, RecoveryTarget: target.DeepCopy()}
	if initDB != nil {
		recovery.Database, recovery.Owner, recovery.Secret = initDB.Database, initDB.Owner, initDB.Secret.DeepCopy()
	}
	return &cnpgv1.BootstrapConfiguration{Recovery: recovery}
}

// initDB is the user's initdb bootstrap, if there is one.
func initDB(spec cnpgv1.ClusterSpec) *cnpgv1.BootstrapInitDB {
	if spec.Bootstrap == nil {
		return nil
	}
	return spec.Bootstrap.InitDB
}
