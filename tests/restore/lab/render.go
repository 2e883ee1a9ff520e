package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	barmanv1 "github.com/cloudnative-pg/plugin-barman-cloud/api/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/internal/engine"
	"github.com/homelab-iac/pulumi-cnpg-backup/stacks/environment"
)

// Rendered are the objects of one database that the lab runs.
type Rendered struct {
	// Stores are the ObjectStores by name, Mirror is the CronJob that copies, and
	// Drills are those that restore, by name.
	Stores  map[string]barmanv1.ObjectStore
	Cluster cnpgv1.Cluster
	Mirror  batchv1.CronJob
	Drills  map[string]batchv1.CronJob
	// Policies are those of MinIO, by name.
	Policies map[string]string
	// Lifecycle are the rules of the bucket at MinIO.
	Lifecycle []LifecycleRule
}

// LifecycleRule is one of the MinIO plugin's.
type LifecycleRule struct {
	ID                              string `json:"id"`
	Expiration                      string `json:"expiration"`
	NoncurrentVersionExpirationDays int    `json:"noncurrentVersionExpirationDays"`
}

// Archive is the folder that the Cluster writes to, by its plugin entry.
func (r *Rendered) Archive() (Folder, error) {
	for _, plugin := range r.Cluster.Spec.Plugins {
		if plugin.IsWALArchiver != nil && *plugin.IsWALArchiver {
			return r.folder(plugin.Parameters)
		}
	}
	return Folder{}, errors.New("the Cluster has no archiver")
}

// Source is the folder behind one of the Cluster's recovery sources.
func (r *Rendered) Source(name string) (Folder, error) {
	for _, cluster := range r.Cluster.Spec.ExternalClusters {
		if cluster.Name == name {
			return r.folder(cluster.PluginConfiguration.Parameters)
		}
	}
	return Folder{}, fmt.Errorf("the Cluster has no recovery source %q", name)
}

// folder follows a plugin's parameters as the plugin does: without a server
// name it is the name of the Cluster.
func (r *Rendered) folder(parameters map[string]string) (Folder, error) {
	store, found := r.Stores[parameters["barmanObjectName"]]
	if !found {
		return Folder{}, fmt.Errorf("there is no ObjectStore %q", parameters["barmanObjectName"])
	}
	server := parameters["serverName"]
	if server == "" {
		server = r.Cluster.Name
	}
	return Folder{Store: store, ServerName: server}, nil
}

// Render lets the component make its objects and takes out what the lab runs.
func Render(name string, storage *cnpg.StorageArgs, args *cnpg.DatabaseArgs) (*Rendered, error) {
	args.NewStorage = storage
	fake := &engine.Fake{}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		_, err := cnpg.NewDatabase(ctx, name, args)
		return err
	}, pulumi.WithMocks("lab", "lab", fake))
	if err != nil {
		return nil, err
	}
	return read(fake)
}

// RenderStack lets the program make the objects of a stack with one database.
// Settings are the stack's configuration.
func RenderStack(settings map[string]string) (*Rendered, error) {
	settings = maps.Clone(settings)
	maps.Copy(settings, engine.Credentials())
	fake := &engine.Fake{}
	err := environment.Run(pulumi.WithMocks("cnpg-backup", "homelab", fake), func(info *pulumi.RunInfo) { info.Config = settings })
	if err != nil {
		return nil, err
	}
	return read(fake)
}

// read takes out what the lab runs.
func read(fake *engine.Fake) (*Rendered, error) {
	objects, err := fake.Objects()
	if err != nil {
		return nil, err
	}
	rendered := &Rendered{Stores: map[string]barmanv1.ObjectStore{}, Policies: map[string]string{}, Drills: map[string]batchv1.CronJob{}}
	if err := rendered.readMinIO(fake); err != nil {
		return nil, err
	}
	var store barmanv1.ObjectStore
	var job batchv1.CronJob
	for _, object := range objects {
		var into any
		switch object["kind"] {
		case "Cluster":
			into = &rendered.Cluster
		case "ObjectStore":
			store = barmanv1.ObjectStore{}
			into = &store
		case "CronJob":
			job = batchv1.CronJob{}
			into = &job
		default:
			continue
		}
		content, err := json.Marshal(object)
		if err == nil {
			err = json.Unmarshal(content, into)
		}
		if err != nil {
			return nil, fmt.Errorf("read the %s: %w", object["kind"], err)
		}
		switch {
		case into == &store:
			rendered.Stores[store.Name] = store
		case into == &job && strings.HasSuffix(job.Name, "-mirror"):
			rendered.Mirror = job
		case into == &job:
			rendered.Drills[job.Name] = job
		}
	}
	return rendered, nil
}

// readMinIO takes out what is for MinIO.
func (r *Rendered) readMinIO(fake *engine.Fake) error {
	for _, resource := range fake.Resources() {
		content, err := json.Marshal(resource.Inputs.Mappable())
		if err != nil {
			return fmt.Errorf("record %s: %w", resource.Name, err)
		}
		switch resource.TypeToken {
		case "minio:index/iamPolicy:IamPolicy":
			var policy struct{ Name, Policy string }
			err = json.Unmarshal(content, &policy)
			r.Policies[policy.Name] = policy.Policy
		case "minio:index/ilmPolicy:IlmPolicy":
			var lifecycle struct{ Rules []LifecycleRule }
			err = json.Unmarshal(content, &lifecycle)
			r.Lifecycle = lifecycle.Rules
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", resource.Name, err)
		}
	}
	return nil
}
