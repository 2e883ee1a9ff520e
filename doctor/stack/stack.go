// Package stack reads a stack's configuration as Pulumi would, without Pulumi.
package stack

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"

	"github.com/homelab-iac/pulumi-cnpg-backup/stacks/environment"
)

// File is where the configuration of a stack lies, for messages: from the
// project's folder.
func File(name string) string { return "stacks/Pulumi." + name + ".yaml" }

// Load reads the configuration of a stack of the project in a folder. Its error
// has a line for each problem.
func Load(project, name string) (*environment.Config, error) {
	settings, err := workspace.LoadProject(filepath.Join(project, "Pulumi.yaml"))
	if err != nil {
		return nil, fmt.Errorf("the project in %s: %w", project, err)
	}
	file := filepath.Join(project, settings.StackConfigDir, "Pulumi."+name+".yaml")
	stack, err := workspace.LoadProjectStack(nil, settings, file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if stack.Environment != nil && len(stack.Environment.Imports()) > 0 {
		return nil, fmt.Errorf("%s imports an environment of Pulumi ESC, which is not read here: "+
			"write its values into the file", file)
	}
	values := map[string]string{}
	var secrets []string
	for key, value := range stack.Config {
		if value.Secure() {
			secrets = append(secrets, key.String())
			continue
		}
		text, err := value.Value(config.NopDecrypter)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", file, key, err)
		}
		values[key.String()] = text
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("%s does not exist or is empty", file)
	}
	// The plugins' credentials are nothing to the doctor.
	loaded, problems := environment.Load(values, secrets, func(string) string { return "given" })
	if len(problems) > 0 {
		return nil, errors.New(file + ":\n" + strings.Join(problems, "\n"))
	}
	return loaded, nil
}
