package upkeep

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"k8s.io/client-go/tools/clientcmd"
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
	RunsOn      any    `yaml:"runs-on"`
	Steps       []step `yaml:"steps"`
	// text is the whole job, for what may stand anywhere in it.
	text string
}

type step struct {
	If   string            `yaml:"if"`
	Uses string            `yaml:"uses"`
	Run  string            `yaml:"run"`
	Env  map[string]string `yaml:"env"`
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

// ownRunnerOnly is the condition that keeps a job from waiting for a runner that
// nobody has.
const ownRunnerOnly = "vars.SELF_HOSTED_RUNNER == 'true'"

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
		if strings.Contains(fmt.Sprint(job.RunsOn), "self-hosted") && !strings.Contains(job.If, ownRunnerOnly) {
			broken = append(broken, name+": waits for a self-hosted runner that may not be there")
		}
		if kubeconfigContents.MatchString(job.text) {
			broken = append(broken, name+": KUBECONFIG is a path, not the contents")
		}
		for _, step := range job.Steps {
			broken = append(broken, unknownTargets(step.Run, makeTargets)...)
		}
	}
	return broken, nil
}

var (
	uses = regexp.MustCompile(`(?m)^[ -]*uses: *(.*)$`)
	// client-go reads KUBECONFIG as a list of paths: NewDefaultClientConfigLoadingRules
	// in https://github.com/kubernetes/client-go/blob/v0.34.4/tools/clientcmd/loader.go
	kubeconfigContents = regexp.MustCompile(`KUBECONFIG: *["']?\$\{\{`)

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
	makefile, err := os.ReadFile("../../Makefile")
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
	for file, source := range workflows(t) {
		t.Run(file, func(t *testing.T) {
			broken, err := brokenRules(source, targets)
			require.NoError(t, err)
			assert.Empty(t, broken)
		})
	}
}

func TestWorkflowsPassActionlint(t *testing.T) {
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	require.NoError(t, err)
	project, err := actionlint.NewProject(root)
	require.NoError(t, err)
	problems, err := linter.LintDir("../../.github/workflows", project)
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
			head + "    if: " + ownRunnerOnly + "\n    runs-on: [self-hosted, homelab]",
			"a: gives forks self-hosted",
		},
		"write permission for forks": {
			head + "    permissions: {pull-requests: write}",
			"a: gives forks write permission",
		},
		"condition that lets forks in": {
			head + "    if: github.event.pull_request.draft == false && " + ownRunnerOnly + "\n    runs-on: self-hosted",
			"a: gives forks self-hosted",
		},
		"checkout in a privileged run": {
			"on: {workflow_run: }\npermissions: {}\njobs:\n  a:\n    steps:\n" +
				"      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
			"a: checks out code in a privileged run",
		},
		"self-hosted runner that nobody may have": {
			"on: {schedule: }\npermissions: {}\njobs:\n  a:\n    runs-on: [self-hosted, homelab]",
			"a: waits for a self-hosted runner that may not be there",
		},
		"contents in the place of a path": {
			"on: {push: }\npermissions: {}\njobs:\n  a:\n    env: {KUBECONFIG: \"${{ secrets.KUBECONFIG }}\"}",
			"a: KUBECONFIG is a path, not the contents",
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
	broken, err := brokenRules("on: {pull_request: }\npermissions: {}\njobs:\n  a:\n    if: "+ownBranchOnly+" && "+ownRunnerOnly+
		"\n    runs-on: self-hosted\n    env: {KEY: \"${{ secrets.KEY }}\"}", nil)
	require.NoError(t, err)
	assert.Empty(t, broken)
}

// ofSelfHosted are the jobs of all workflows that need a self-hosted runner.
func ofSelfHosted(t *testing.T) map[string]job {
	t.Helper()
	found := map[string]job{}
	for file, source := range workflows(t) {
		var flow workflow
		require.NoError(t, yaml.Unmarshal([]byte(source), &flow))
		for name, job := range flow.Jobs {
			if strings.Contains(fmt.Sprint(job.RunsOn), "self-hosted") {
				found[file+" "+name] = job
			}
		}
	}
	return found
}

func workflows(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../.github/workflows/*.yaml")
	require.NoError(t, err)
	found := map[string]string{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		found[filepath.Base(file)] = string(source)
	}
	require.NotEmpty(t, found)
	return found
}

// kubeconfig is a cluster's address and a credential.
const kubeconfig = `apiVersion: v1
kind: Config
current-context: homelab
clusters: [{name: homelab, cluster: {server: "https://kubernetes.example.org:6443"}}]
contexts: [{name: homelab, context: {cluster: homelab, user: ci}}]
users: [{name: ci, user: {token: "%s not a format $HOME"}}]
`

// TestTheKubeconfigOfASecretReachesTheProgramsThatReadIt runs the steps that
// write and delete it, and reads it as kubectl and the plugin do.
func TestTheKubeconfigOfASecretReachesTheProgramsThatReadIt(t *testing.T) {
	jobs := ofSelfHosted(t)
	require.Len(t, jobs, 3)
	for name, job := range jobs {
		t.Run(name, func(t *testing.T) {
			writing, deleting := -1, -1
			for i, step := range job.Steps {
				if step.Env["CONTENTS"] == "${{ secrets.KUBECONFIG }}" {
					writing = i
				}
				if step.If == "always()" && strings.Contains(step.Run, "rm -f") {
					deleting = i
				}
				if strings.HasPrefix(step.Uses, "pulumi/actions") {
					assert.GreaterOrEqual(t, writing, 0, "Pulumi needs it")
					assert.Equal(t, -1, deleting, "Pulumi still needs it")
				}
			}
			require.GreaterOrEqual(t, writing, 0)
			require.Greater(t, deleting, writing)

			variables, file := runStep(t, job.Steps[writing].Run, kubeconfig)
			t.Setenv("KUBECONFIG", strings.TrimPrefix(strings.TrimSpace(variables), "KUBECONFIG="))
			config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
				clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
			require.NoError(t, err)
			assert.Equal(t, "https://kubernetes.example.org:6443", config.Host)
			assert.Equal(t, "%s not a format $HOME", config.BearerToken)
			info, err := os.Stat(file)
			require.NoError(t, err)
			assert.Equal(t, os.FileMode(0o600), info.Mode(), "nobody else on the runner can read it")

			cmd := exec.CommandContext(t.Context(), "bash", "-e", "-c", job.Steps[deleting].Run)
			cmd.Env = append(os.Environ(), "RUNNER_TEMP="+filepath.Dir(file))
			require.NoError(t, cmd.Run())
			assert.NoFileExists(t, file)
		})
	}
}

// runStep runs the step that writes the kubeconfig as GitHub's runner does, and
// returns the variables for later steps and the file.
func runStep(t *testing.T, script, contents string) (variables, file string) {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "kubeconfig"), []byte("of before"), 0o644))
	exports := filepath.Join(t.TempDir(), "env")
	cmd := exec.CommandContext(t.Context(), "bash", "-e", "-c", script)
	cmd.Env = append(os.Environ(), "CONTENTS="+contents, "RUNNER_TEMP="+folder, "GITHUB_ENV="+exports)
	printed, err := cmd.CombinedOutput()
	require.NoError(t, err, string(printed))
	assert.Empty(t, printed)
	written, err := os.ReadFile(exports)
	require.NoError(t, err)
	return string(written), filepath.Join(folder, "kubeconfig")
}

func TestAKubeconfigThatNobodyHasSetFailsWithItsName(t *testing.T) {
	for name, job := range ofSelfHosted(t) {
		for _, step := range job.Steps {
			if step.Env["CONTENTS"] == "" {
				continue
			}
			cmd := exec.CommandContext(t.Context(), "bash", "-e", "-c", step.Run)
			cmd.Env = append(os.Environ(), "CONTENTS=", "RUNNER_TEMP="+t.TempDir(), "GITHUB_ENV=/dev/null")
			printed, err := cmd.CombinedOutput()
			require.Error(t, err, name)
			assert.Contains(t, string(printed), "the secret KUBECONFIG is empty", name)
		}
	}
}

// TestTheGuideNamesAllThatTheWorkflowsNeed compares docs/ci.md with the
// workflows, in both directions.
func TestTheGuideNamesAllThatTheWorkflowsNeed(t *testing.T) {
	guide, err := os.ReadFile("../../docs/ci.md")
	require.NoError(t, err)
	needed := map[string]bool{}
	for _, source := range workflows(t) {
		for _, match := range regexp.MustCompile(`\b(?:secrets|vars)\.([A-Z0-9_]+)`).FindAllStringSubmatch(source, -1) {
			needed[match[1]] = true
		}
	}
	for name := range needed {
		assert.Regexp(t, "(?m)^\\| `"+name+"` \\|", string(guide), "has a row in docs/ci.md")
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z0-9_]+)` \\|").FindAllStringSubmatch(string(guide), -1) {
		assert.True(t, needed[row[1]], "docs/ci.md names %s, and no workflow reads it", row[1])
	}
	for file := range workflows(t) {
		assert.Contains(t, string(guide), "`"+strings.TrimSuffix(file, ".yaml")+"`")
	}
	labels, err := os.ReadFile("../../.github/actionlint.yaml")
	require.NoError(t, err)
	for name, job := range ofSelfHosted(t) {
		stacks := regexp.MustCompile(`stack: \[(\w+)\]`).FindStringSubmatch(job.text)
		if stacks == nil {
			stacks = []string{"", "homelab"}
		}
		assert.Contains(t, string(labels), stacks[1], name)
		assert.Contains(t, string(guide), "`"+stacks[1]+"`", name)
	}
}
