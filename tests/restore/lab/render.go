package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	cnpgv1 "github.com/cloudnative-pg/api/pkg/api/v1"
	barmanv1 "github.com/cloudnative-pg/plugin-barman-cloud/api/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

// Rendered are the objects of one database that the lab runs.
type Rendered struct {
	// Stores are the ObjectStores by name, Mirror is the CronJob.
	Stores  map[string]barmanv1.ObjectStore
	Cluster cnpgv1.Cluster
	Mirror  batchv1.CronJob
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
	objects := &recorder{}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		_, err := cnpg.NewDatabase(ctx, name, args)
		return err
	}, pulumi.WithMocks("lab", "lab", objects))
	if err != nil {
		return nil, err
	}
	rendered := &Rendered{Stores: map[string]barmanv1.ObjectStore{}}
	for _, object := range objects.kind("postgresql.cnpg.io/v1:Cluster") {
		if err := json.Unmarshal(object, &rendered.Cluster); err != nil {
			return nil, fmt.Errorf("read the Cluster: %w", err)
		}
	}
	for _, object := range objects.kind("barmancloud.cnpg.io/v1:ObjectStore") {
		var store barmanv1.ObjectStore
		if err := json.Unmarshal(object, &store); err != nil {
			return nil, fmt.Errorf("read an ObjectStore: %w", err)
		}
		rendered.Stores[store.Name] = store
	}
	for _, object := range objects.kind("batch/v1:CronJob") {
		if err := json.Unmarshal(object, &rendered.Mirror); err != nil {
			return nil, fmt.Errorf("read the CronJob: %w", err)
		}
	}
	return rendered, nil
}

// recorder is a Pulumi engine that keeps what it is asked to create.
type recorder struct {
	mutex   sync.Mutex
	objects map[string][][]byte
}

// NewResource keeps the inputs and says that they are the outputs.
func (r *recorder) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	content, err := json.Marshal(args.Inputs.Mappable())
	if err != nil {
		return "", nil, fmt.Errorf("record %s: %w", args.Name, err)
	}
	kind := strings.TrimPrefix(args.TypeToken, "kubernetes:")
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.objects == nil {
		r.objects = map[string][][]byte{}
	}
	r.objects[kind] = append(r.objects[kind], content)
	return args.Name, args.Inputs, nil
}

// Call answers every look-up with its arguments.
func (r *recorder) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return args.Args, nil
}

func (r *recorder) kind(kind string) [][]byte {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.objects[kind]
}
