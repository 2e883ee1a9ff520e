package tests

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// workflow is what the rules look at in a GitHub Actions workflow.
type workflow struct {
	On          map[string]any `yaml:"on"`
	Permissions any            `yaml:"permissions"`
	Jobs        map[string]job `yaml:"jobs"`
}

type job struct {
	If          string `yaml:"if"`
	Permissions any    `yaml:"permissions"`
	Steps       []struct {
		Uses string `yaml:"uses"`
		Run  string `yaml:"run"`
	} `yaml:"steps"`
	// text is the whole job, for what may stand anywhere in it.
	text string
}

// UnmarshalYAML keeps the job's text beside its fields.
func (j *job) UnmarshalYAML(node *yaml.Node) error {
	type fields job
	if err := node.Decode((*fields)(j)); err != nil {
		return err
	}
	text, err := yaml.Marshal(node)
	j.text = string(text)
	return err
}

// ownBranchOnly is the condition that keeps a job away from forks.
const ownBranchOnly = "github.event.pull_request.head.repo.full_name == github.repository"

// brokenRules says what is wrong with a workflow beyond what actionlint finds.
func brokenRules(source string, makeTargets map[string]bool) ([]string, error) {
	var flow workflow
	if err := yaml.Unmarshal([]byte(source), &flow); err != nil {
		return nil, err
	}
	broken := unpinned(source)
	if flow.Permissions == nil {
		broken = append(broken, "declares no permissions")
	}
	if _, ok := flow.On["pull_request_target"]; ok {
		broken = append(broken, "pull_request_target hands secrets to a fork's code")
	}
	_, onPullRequest := flow.On["pull_request"]
	_, onWorkflowRun := flow.On["workflow_run"]
	for name, job := range flow.Jobs {
		if onPullRequest && !strings.Contains(job.If, ownBranchOnly) {
			broken = append(broken, openToForks(name, job, flow.Permissions)...)
		}
		if onWorkflowRun && strings.Contains(job.text, "actions/checkout") {
			broken = append(broken, name+": checks out code in a privileged run")
		}
		for _, step := range job.Steps {
			broken = append(broken, unknownTargets(step.Run, makeTargets)...)
		}
	}
	return broken, nil
}

var (
	uses   = regexp.MustCompile(`(?m)^[ -]*uses: *(.*)$`)
	pinned = regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*$`)
)

func unpinned(source string) []string {
	var broken []string
	for _, match := range uses.FindAllStringSubmatch(source, -1) {
		if !pinned.MatchString(match[1]) {
			broken = append(broken, match[1]+": not pinned to a commit with its version as comment")
		}
	}
	return broken
}

func openToForks(name string, job job, permissions any) []string {
	var broken []string
	for _, forbidden := range []string{"secrets", "self-hosted"} {
		if strings.Contains(job.text, forbidden) {
			broken = append(broken, fmt.Sprintf("%s: gives forks %s", name, forbidden))
		}
	}
	if job.Permissions != nil {
		permissions = job.Permissions
	}
	if strings.Contains(fmt.Sprint(permissions), "write") {
		broken = append(broken, name+": gives forks write permission")
	}
	return broken
}

var makeCall = regexp.MustCompile(`(?m)^\s*make((?: +-C +\S+)?)((?: +[a-z][\w-]*)+)`)

func unknownTargets(script string, known map[string]bool) []string {
	var broken []string
	for _, call := range makeCall.FindAllStringSubmatch(script, -1) {
		for _, target := range strings.Fields(call[2]) {
			if !known[target] {
				broken = append(broken, "the Makefile has no target "+target)
			}
		}
	}
	return broken
}

func readMakeTargets(t *testing.T) map[string]bool {
	t.Helper()
	makefile, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	targets := map[string]bool{}
	for _, rule := range regexp.MustCompile(`(?m)^([a-z][\w -]*):(?:[^=]|$)`).FindAllStringSubmatch(string(makefile), -1) {
		for _, target := range strings.Fields(rule[1]) {
			targets[target] = true
		}
	}
	return targets
}

func TestWorkflowsKeepTheRules(t *testing.T) {
	targets := readMakeTargets(t)
	files, err := filepath.Glob("../.github/workflows/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			source, err := os.ReadFile(file)
			require.NoError(t, err)
			broken, err := brokenRules(string(source), targets)
			require.NoError(t, err)
			assert.Empty(t, broken)
		})
	}
}

func TestWorkflowsPassActionlint(t *testing.T) {
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	require.NoError(t, err)
	project, err := actionlint.NewProject("..")
	require.NoError(t, err)
	problems, err := linter.LintDir("../.github/workflows", project)
	require.NoError(t, err)
	assert.Empty(t, problems)
}

func TestRulesFindWhatTheyForbid(t *testing.T) {
	const head = "on: {pull_request: }\npermissions: {contents: read}\njobs:\n  a:\n"
	tests := map[string]struct{ source, want string }{
		"tag instead of commit": {
			head + "    steps:\n      - uses: actions/checkout@v7 # v7",
			"actions/checkout@v7 # v7: not pinned to a commit with its version as comment",
		},
		"commit without version": {
			head + "    steps:\n      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1",
			"actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1: not pinned to a commit with its version as comment",
		},
		"no permissions": {
			"on: {push: }\njobs: {a: {}}",
			"declares no permissions",
		},
		"pull_request_target": {
			"on: {pull_request_target: }\npermissions: {}\njobs: {a: {}}",
			"pull_request_target hands secrets to a fork's code",
		},
		"secret for forks": {
			head + "    env: {KEY: \"${{ secrets.KEY }}\"}",
			"a: gives forks secrets",
		},
		"self-hosted runner for forks": {
			head + "    runs-on: [self-hosted, homelab]",
			"a: gives forks self-hosted",
		},
		"write permission for forks": {
			head + "    permissions: {pull-requests: write}",
			"a: gives forks write permission",
		},
		"condition that lets forks in": {
			head + "    if: github.event.pull_request.draft == false\n    runs-on: self-hosted",
			"a: gives forks self-hosted",
		},
		"checkout in a privileged run": {
			"on: {workflow_run: }\npermissions: {}\njobs:\n  a:\n    steps:\n" +
				"      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
			"a: checks out code in a privileged run",
		},
		"unknown target": {
			head + "    steps:\n      - run: make -C before known unknown STACK=a",
			"the Makefile has no target unknown",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			broken, err := brokenRules(test.source, map[string]bool{"known": true})
			require.NoError(t, err)
			assert.Equal(t, []string{test.want}, broken)
		})
	}
}

func TestRulesAllowSecretsOnOwnBranches(t *testing.T) {
	broken, err := brokenRules("on: {pull_request: }\npermissions: {}\njobs:\n  a:\n    if: "+ownBranchOnly+
		"\n    runs-on: self-hosted\n    env: {KEY: \"${{ secrets.KEY }}\"}", nil)
	require.NoError(t, err)
	assert.Empty(t, broken)
}
