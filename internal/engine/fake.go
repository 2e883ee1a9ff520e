// Package engine stands in for Pulumi's engine in tests.
package engine

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/util/json"
)

// Fake is an engine that creates nothing and remembers everything. Hand it to
// pulumi.WithMocks. The zero value is ready.
type Fake struct {
	mu        sync.Mutex
	resources []pulumi.MockResourceArgs
	calls     []pulumi.MockCallArgs
	urns      map[resource.URN]bool
}

// NewResource implements pulumi.MockResourceMonitor. It answers with the inputs, and
// with what B2 and MinIO would add to them. A resource that is read is a Cluster in
// its second life.
func (f *Fake) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.name(args); err != nil {
		return "", nil, err
	}
	f.resources = append(f.resources, args)
	outputs := args.Inputs.Copy()
	if args.ReadRPC != nil {
		outputs["spec"] = resource.NewProperty(resource.NewPropertyMapFromMap(map[string]any{
			"plugins": []any{map[string]any{
				"name": "barman-cloud.cloudnative-pg.io",
				"parameters": map[string]any{
					"barmanObjectName": "authentik-b2-store", "serverName": "authentik-postgresql-2",
				},
			}},
		}))
		return args.ID, outputs, nil
	}
	switch args.TypeToken {
	case "b2:index/bucket:Bucket":
		outputs["bucketId"] = resource.NewProperty("bucket-id-of-" + args.Name)
	case "minio:index/iamUser:IamUser":
		outputs["secret"] = resource.MakeSecret(resource.NewProperty("secret-of-" + args.Name))
	case "b2:index/applicationKey:ApplicationKey":
		outputs["applicationKeyId"] = resource.NewProperty("id-of-" + args.Name)
		outputs["applicationKey"] = resource.MakeSecret(resource.NewProperty("secret-of-" + args.Name))
	}
	return args.Name + "-id", outputs, nil
}

// name refuses a resource that Pulumi could not tell from another one, as the engine
// does: generateURN in
// https://github.com/pulumi/pulumi/blob/v3.256.0/pkg/resource/deploy/step_generator.go
func (f *Fake) name(args pulumi.MockResourceArgs) error {
	if args.RegisterRPC == nil {
		return nil // it is read
	}
	var parent tokens.Type
	if of := resource.URN(args.RegisterRPC.GetParent()); of != "" && of.QualifiedType() != resource.RootStackType {
		parent = of.QualifiedType()
	}
	urn := resource.NewURN("stack", "project", parent, tokens.Type(args.TypeToken), args.Name)
	if f.urns[urn] {
		return fmt.Errorf("duplicate resource URN '%v'; try giving it a unique name", urn)
	}
	if f.urns == nil {
		f.urns = map[resource.URN]bool{}
	}
	f.urns[urn] = true
	return nil
}

// Call implements pulumi.MockResourceMonitor. What is looked up exists.
func (f *Fake) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, args)
	outputs := args.Args.Copy()
	outputs["bucketId"] = resource.NewProperty("adopted-bucket-id")
	outputs["applicationKeyId"] = resource.NewProperty("adopted-key-id")
	return outputs, nil
}

// Resources are those that were registered, in their order.
func (f *Fake) Resources() []pulumi.MockResourceArgs {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.resources)
}

// Calls are the look-ups.
func (f *Fake) Calls() []pulumi.MockCallArgs {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Names are the types and names of all that was registered.
func (f *Fake) Names() []string {
	resources := f.Resources()
	names := make([]string, 0, len(resources))
	for _, made := range resources {
		names = append(names, made.TypeToken+" "+made.Name)
	}
	return names
}

// Objects are the Kubernetes objects as an API server would get them: with JSON's
// types only, and whole numbers as such.
func (f *Fake) Objects() ([]map[string]any, error) {
	var objects []map[string]any
	for _, made := range f.Resources() {
		if made.ReadRPC != nil || !strings.HasPrefix(made.TypeToken, "kubernetes:") {
			continue
		}
		encoded, err := json.Marshal(made.Inputs.Mappable())
		if err != nil {
			return nil, err
		}
		var object map[string]any
		if err := json.Unmarshal(encoded, &object); err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// Credentials are the configuration of a stack without which the plugins for B2
// and MinIO make nothing.
func Credentials() map[string]string {
	return map[string]string{
		"b2:applicationKeyId": "id", "b2:applicationKey": "key",
		"minio:minioUser": "user", "minio:minioPassword": "password",
	}
}
