// Package environment deploys a homelab environment, one Pulumi stack, from the
// stack's configuration: one storage, and any number of databases in any number
// of namespaces.
package environment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"google.golang.org/grpc/status"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
)

// Run runs the Pulumi program that deploys an environment. Its outputs are the
// storage's buckets and, for each database, what an application and an operator
// need to know, and what it costs at Backblaze.
//
// Each problem of the configuration becomes a diagnostic of its own, before
// anything is registered, the stack included. The caller has nothing to add to
// the error.
func Run(options ...pulumi.RunOption) error {
	var stack pulumi.RunInfo
	var config *Config
	var problems []string
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		err := register(ctx, config)
		if err != nil {
			problems = []string{err.Error()}
		}
		return err
	}, append(options, func(info *pulumi.RunInfo) {
		stack = *info
		if config, problems = Load(info.Config, info.ConfigSecretKeys, os.Getenv); len(problems) > 0 {
			info.Stack = "" // which ends RunErr before it registers the stack
		}
	})...)
	switch _, isRPC := status.FromError(err); {
	case len(problems) > 0:
		err = errors.New(strings.Join(problems, "\n"))
	case err == nil || isRPC:
		return err // the engine says itself why it refuses a resource
	default:
		problems = []string{err.Error()}
	}
	return errors.Join(err, logged(stack, problems))
}

// logged makes a diagnostic of each problem.
func logged(info pulumi.RunInfo, problems []string) error {
	ctx, err := pulumi.NewContext(context.Background(), info)
	if err != nil {
		return err
	}
	for _, problem := range problems {
		err = errors.Join(err, ctx.Log.Error(problem, nil))
	}
	return errors.Join(err, ctx.Close())
}

func register(ctx *pulumi.Context, config *Config) error {
	if err := recordDatabases(ctx, config.Databases); err != nil {
		return err
	}
	// The name is the same in every stack, so that a stack can be renamed.
	storage, err := cnpg.NewStorage(ctx, "storage", &config.StorageArgs, formerNames(ctx.Stack())...)
	if err != nil {
		return err
	}

	databases, costs := pulumi.Map{}, map[string]cnpg.Cost{}
	for i := range config.Databases {
		args := config.Databases[i].DatabaseArgs
		args.Storage = storage
		database, err := cnpg.NewDatabase(ctx, config.Databases[i].Name, &args)
		if err != nil {
			return err
		}
		name := config.Databases[i].Name
		databases[name], costs[name] = outputs(database), args.Cost(name, &config.StorageArgs)
	}
	if dashboard := config.dashboard(); dashboard != nil {
		if _, err := cnpg.NewDashboard(ctx, "dashboard", dashboard); err != nil {
			return err
		}
	}
	cost, err := costOutput(costs)
	if err != nil {
		return err
	}

	ctx.Export("storage", pulumi.Map{"b2Bucket": storage.B2Bucket, "minioBucket": storage.MinIOBucket})
	ctx.Export("databases", databases)
	ctx.Export("cost", cost)
	return nil
}

// formerNames are what storage and credentials were called in 0.1.0: the storage
// like the stack, and the credentials did not belong to it. Without them an update
// from there would make other buckets and keys, and delete these.
func formerNames(stack string) []pulumi.ResourceOption {
	return []pulumi.ResourceOption{
		pulumi.Aliases([]pulumi.Alias{{Name: pulumi.String(stack)}}),
		pulumi.Transformations([]pulumi.ResourceTransformation{
			func(made *pulumi.ResourceTransformationArgs) *pulumi.ResourceTransformationResult {
				if made.Type != "cnpg-backup:index:Credentials" {
					return nil
				}
				return &pulumi.ResourceTransformationResult{
					Props: made.Props,
					Opts:  append(made.Opts, pulumi.Aliases([]pulumi.Alias{{NoParent: pulumi.Bool(true)}})),
				}
			},
		}),
	}
}

func outputs(database *cnpg.Database) pulumi.Map {
	return pulumi.Map{
		"namespace":       database.Namespace,
		"cluster":         database.ClusterName,
		"readWriteHost":   database.ReadWriteHost,
		"readOnlyHost":    database.ReadOnlyHost,
		"appSecret":       database.AppSecret,
		"archive":         database.Archive,
		"serverName":      database.ServerName,
		"stores":          pulumi.Map{"b2": database.B2Path, "minio": database.MinIOPath},
		"recoverySources": database.RecoverySources,
	}
}

// costOutput is what the environment costs at Backblaze, by database and in all.
func costOutput(databases map[string]cnpg.Cost) (pulumi.Map, error) {
	var total cnpg.FullCost
	for _, cost := range databases {
		total = total.Plus(cost.Full)
	}
	encoded, err := json.Marshal(map[string]any{"databases": databases, "full": total})
	if err != nil {
		return nil, fmt.Errorf("cost: %w", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(encoded, &fields); err != nil {
		return nil, fmt.Errorf("cost: %w", err)
	}
	return pulumi.ToMap(fields), nil
}
