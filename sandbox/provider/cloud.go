package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Cloud stands in for the provider of a service that has no server here. It
// checks inputs against the provider's schema and keeps what it makes as files,
// without secrets.
type Cloud struct {
	base

	// Environment is where settings are looked for that the configuration does
	// not have. Default: nowhere.
	Environment func(name string) string

	name   string
	schema schema
	kinds  map[tokens.Type]kind
	// folder has a file for each resource that exists.
	folder string

	// variables are the environment variables of settings, required those
	// settings that a configuration has to have, and authorized tells whether
	// the service lets in who it is configured for.
	variables  map[resource.PropertyKey]string
	required   map[resource.PropertyKey]string
	authorized func(*Cloud) error

	mu     sync.Mutex
	config resource.PropertyMap
}

// kind is how the service treats resources of one type.
type kind struct {
	// check returns what the provider refuses of inputs that fit its schema.
	// Default: nothing.
	check func(inputs resource.PropertyMap) field.ErrorList
	// refuse tells why the service takes no such resource. Default: it takes any.
	refuse func(inputs resource.PropertyMap) error
	// made returns the ID of a new resource and what the service adds to the
	// inputs.
	made func(c *Cloud, inputs resource.PropertyMap) (resource.ID, resource.PropertyMap)
	// fixed are the inputs whose change needs a new resource; nil for all.
	fixed []resource.PropertyKey
	// taken is why the service refuses a second resource with the same ID.
	// Default: no two have one ID.
	taken string
	// keep tells why the service does not delete a resource that has files.
	// Default: it has none.
	keep func(state resource.PropertyMap) error
	// goneUnauthorized says that what may not be read is taken for gone.
	goneUnauthorized bool
}

// Pkg is the name of the package.
func (c *Cloud) Pkg() string { return c.name }

// Parameterize makes a provider of this package of a base provider.
func (c *Cloud) Parameterize(
	_ context.Context, request plugin.ParameterizeRequest,
) (plugin.ParameterizeResponse, error) {
	value, ok := request.Parameters.(*plugin.ParameterizeValue)
	if !ok || value.Name != c.name {
		return plugin.ParameterizeResponse{}, fmt.Errorf("the sandbox has the package %s and no other", c.name)
	}
	return plugin.ParameterizeResponse{Name: value.Name, Version: value.Version}, nil
}

// CheckConfig wants the settings that are required.
func (c *Cloud) CheckConfig(_ context.Context, request plugin.CheckConfigRequest) (plugin.CheckConfigResponse, error) {
	response := plugin.CheckConfigResponse{Properties: request.News}
	for key, meaning := range c.required {
		if _, given := request.News[key]; !given && c.variable(key) == "" {
			response.Failures = append(response.Failures, plugin.CheckFailure{Reason: fmt.Sprintf(
				"Provider is missing a required configuration key, try `pulumi config set %s:%s`: %s", c.name, key, meaning)})
		}
	}
	return response, nil
}

// Configure takes the configuration.
func (c *Cloud) Configure(_ context.Context, request plugin.ConfigureRequest) (plugin.ConfigureResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.config = withoutSecrets(request.Inputs)
	return plugin.ConfigureResponse{}, nil
}

// setting is a setting of the configuration, or else of the environment.
func (c *Cloud) setting(key resource.PropertyKey) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch value := c.config[key]; {
	case value.IsString():
		return value.StringValue()
	case value.IsBool():
		return strconv.FormatBool(value.BoolValue())
	}
	return c.variable(key)
}

func (c *Cloud) variable(key resource.PropertyKey) string {
	if c.Environment == nil {
		return ""
	}
	return c.Environment(c.variables[key])
}

// Check checks inputs against the schema.
func (c *Cloud) Check(_ context.Context, request plugin.CheckRequest) (plugin.CheckResponse, error) {
	known, found := c.schema.Resources[string(request.Type)]
	kind, has := c.kinds[request.Type]
	if !found || !has {
		return plugin.CheckResponse{}, fmt.Errorf("the sandbox has no resources of type %s", request.Type)
	}
	inputs := objectSchema{Properties: known.InputProperties, Required: known.RequiredInputs}
	problems := c.schema.check(request.News, inputs, nil)
	if len(problems) == 0 && kind.check != nil {
		problems = kind.check(request.News)
	}
	return plugin.CheckResponse{Properties: request.News, Failures: failures(problems)}, nil
}

// Diff compares the inputs.
func (c *Cloud) Diff(_ context.Context, request plugin.DiffRequest) (plugin.DiffResult, error) {
	fixed := c.kinds[request.Type].fixed
	return difference(request.OldInputs, request.NewInputs, func(path resource.PropertyPath) bool {
		name, _ := path[0].(string)
		return fixed == nil || slices.Contains(fixed, resource.PropertyKey(name))
	})
}

// Create makes a resource.
func (c *Cloud) Create(_ context.Context, request plugin.CreateRequest) (plugin.CreateResponse, error) {
	if request.Preview {
		return plugin.CreateResponse{Properties: c.unknown(request.Type, request.Properties)}, nil
	}
	kind := c.kinds[request.Type]
	if err := c.authorized(c); err != nil {
		return plugin.CreateResponse{Status: resource.StatusUnknown}, err
	}
	if kind.refuse != nil {
		if err := kind.refuse(request.Properties); err != nil {
			return plugin.CreateResponse{Status: resource.StatusUnknown}, err
		}
	}
	id, properties := kind.made(c, request.Properties)
	if _, err := os.Stat(c.file(request.Type, id)); err == nil && kind.taken != "" {
		return plugin.CreateResponse{Status: resource.StatusUnknown}, fmt.Errorf(kind.taken, id)
	}
	state := c.state(request.Type, request.Properties, properties)
	return plugin.CreateResponse{ID: id, Properties: state}, c.write(request.Type, id, state)
}

// Update changes a resource.
func (c *Cloud) Update(_ context.Context, request plugin.UpdateRequest) (plugin.UpdateResponse, error) {
	state := c.state(request.Type, request.NewInputs, request.OldOutputs)
	if request.Preview {
		return plugin.UpdateResponse{Properties: state}, nil
	}
	if err := c.authorized(c); err != nil {
		return plugin.UpdateResponse{Status: resource.StatusUnknown}, err
	}
	return plugin.UpdateResponse{Properties: state}, c.write(request.Type, request.ID, state)
}

// Read returns what Pulumi has recorded as long as the resource's file is
// there: what is not recorded cannot be imported.
func (c *Cloud) Read(_ context.Context, request plugin.ReadRequest) (plugin.ReadResponse, error) {
	if err := c.authorized(c); err != nil {
		if c.kinds[request.Type].goneUnauthorized {
			return plugin.ReadResponse{}, nil
		}
		return plugin.ReadResponse{}, err
	}
	_, err := os.Stat(c.file(request.Type, request.ID))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return plugin.ReadResponse{}, nil
	case err != nil:
		return plugin.ReadResponse{}, err
	}
	return plugin.ReadResponse{ReadResult: plugin.ReadResult{
		ID: request.ID, Inputs: request.Inputs, Outputs: request.State,
	}}, nil
}

// Delete deletes a resource.
func (c *Cloud) Delete(_ context.Context, request plugin.DeleteRequest) (plugin.DeleteResponse, error) {
	if err := c.authorized(c); err != nil {
		return plugin.DeleteResponse{Status: resource.StatusUnknown}, err
	}
	keep := c.kinds[request.Type].keep
	if files, err := os.ReadDir(c.files(request.ID)); err == nil && len(files) > 0 && keep != nil {
		if err := keep(request.Outputs); err != nil {
			return plugin.DeleteResponse{Status: resource.StatusUnknown}, err
		}
		if err := os.RemoveAll(c.files(request.ID)); err != nil {
			return plugin.DeleteResponse{Status: resource.StatusUnknown}, err
		}
	}
	return plugin.DeleteResponse{}, removeFile(c.file(request.Type, request.ID))
}

// Invoke looks a resource up as if it existed already, made by someone else.
func (c *Cloud) Invoke(_ context.Context, request plugin.InvokeRequest) (plugin.InvokeResponse, error) {
	function, known := c.schema.Functions[string(request.Tok)]
	if !known {
		return plugin.InvokeResponse{}, fmt.Errorf("the sandbox has no function %s", request.Tok)
	}
	if problems := c.schema.check(request.Args, function.Inputs, nil); len(problems) > 0 {
		return plugin.InvokeResponse{Failures: failures(problems)}, nil
	}
	if err := c.authorized(c); err != nil {
		return plugin.InvokeResponse{}, err
	}
	found := request.Args.Copy()
	for name, property := range function.Outputs.Properties {
		if _, given := found[resource.PropertyKey(name)]; !given {
			found[resource.PropertyKey(name)] = property.zero()
		}
	}
	for _, id := range []resource.PropertyKey{"id", "bucketId", "applicationKeyId"} {
		if _, has := function.Outputs.Properties[string(id)]; has {
			found[id] = resource.NewProperty(digest(request.Args))
		}
	}
	return plugin.InvokeResponse{Properties: found}, nil
}

// state has the inputs, over them what the service adds and keeps, and makes
// secrets of what the schema says is one.
func (c *Cloud) state(of tokens.Type, inputs, added resource.PropertyMap) resource.PropertyMap {
	state := added.Copy()
	for name := range c.schema.Resources[string(of)].InputProperties {
		key := resource.PropertyKey(name)
		if value, given := inputs[key]; given {
			state[key] = value
		}
	}
	for name, property := range c.schema.Resources[string(of)].Properties {
		key := resource.PropertyKey(name)
		if value, has := state[key]; has && property.Secret && !value.IsSecret() {
			state[key] = resource.MakeSecret(value)
		}
	}
	return state
}

// unknown is the state of a resource that is not made yet.
func (c *Cloud) unknown(of tokens.Type, inputs resource.PropertyMap) resource.PropertyMap {
	state := resource.PropertyMap{}
	for name := range c.schema.Resources[string(of)].Properties {
		state[resource.PropertyKey(name)] = resource.MakeComputed(resource.NewProperty(""))
	}
	return c.state(of, inputs, state)
}

// Put has somebody put a file into a bucket.
func (c *Cloud) Put(bucket resource.ID, name string) error {
	return writeFile(filepath.Join(c.files(bucket), name), nil)
}

// files is the folder with what lies in a bucket.
func (c *Cloud) files(bucket resource.ID) string {
	return filepath.Join(c.folder, "files", string(bucket))
}

func (c *Cloud) file(of tokens.Type, id resource.ID) string {
	return filepath.Join(c.folder, fmt.Sprintf("%s-%s.json", of.Name(), id))
}

func (c *Cloud) write(of tokens.Type, id resource.ID, state resource.PropertyMap) error {
	content, err := json.MarshalIndent(toPlain(state).shown, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(c.file(of, id), append(content, '\n'))
}
