package upkeep

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/crds"
)

// document is a Markdown file of the repository.
type document struct {
	file string
	text string
	// prose is the text without its fenced blocks.
	prose string
}

// documents are all Markdown files, by their paths from the root.
func documents(t *testing.T) map[string]document {
	t.Helper()
	found := map[string]document{}
	for _, file := range written(t) {
		if filepath.Ext(file) == ".md" {
			text, err := os.ReadFile(filepath.Join(root, file))
			require.NoError(t, err)
			found[file] = document{file: file, text: string(text), prose: fenced.ReplaceAllString(string(text), "")}
		}
	}
	require.Contains(t, found, "README.md")
	require.Contains(t, found, "docs/restore.md")
	return found
}

// written are the repository's files that are written and not made, by their paths
// from the root.
func written(t *testing.T) []string {
	t.Helper()
	made := []string{".git", ".sandbox", "rendered", "tests/node/.images", "tools/.bin"}
	var files []string
	require.NoError(t, fs.WalkDir(os.DirFS(root), ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case slices.Contains(made, path) && entry.IsDir():
			return fs.SkipDir
		case !entry.IsDir():
			files = append(files, path)
		}
		return nil
	}))
	return files
}

var (
	fenced  = regexp.MustCompile("(?ms)^ *```([a-z]*)\n(.*?\n) *```$")
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	// indented is a line of an indented block.
	indented = regexp.MustCompile("(?m)^ {4,}(.*)$")
	// quoted is code in a line of text.
	quoted = regexp.MustCompile("`(make [^`]*)`")
	// dropped are the characters that GitHub leaves out of an anchor.
	dropped = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// anchors are what GitHub calls a document's headings.
func (d document) anchors() map[string]bool {
	found := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(d.prose, -1) {
		found[strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-")] = true
	}
	return found
}

// brokenLinks are the links that lead to no file or to no heading. Other sites
// are not asked.
func (d document) brokenLinks(all map[string]document) []string {
	var broken []string
	for _, match := range link.FindAllStringSubmatch(d.prose, -1) {
		target, anchor, _ := strings.Cut(match[1], "#")
		if strings.Contains(target, "://") {
			continue
		}
		path := d.file
		if target != "" {
			path = filepath.Join(filepath.Dir(d.file), target)
		}
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			broken = append(broken, match[1]+": there is no such file")
			continue
		}
		if anchor != "" && !all[path].anchors()[anchor] {
			broken = append(broken, match[1]+": there is no such heading")
		}
	}
	return broken
}

// unknownCalls are the targets that a document names and the Makefile lacks.
func (d document) unknownCalls(targets map[string]bool) []string {
	var script strings.Builder
	for _, pattern := range []*regexp.Regexp{indented, quoted} {
		for _, match := range pattern.FindAllStringSubmatch(d.text, -1) {
			script.WriteString(match[1] + "\n")
		}
	}
	return unknownTargets(script.String(), targets)
}

func TestLinksInTheDocsLeadSomewhere(t *testing.T) {
	all := documents(t)
	for file, document := range all {
		assert.Empty(t, document.brokenLinks(all), file)
	}
}

func TestTheDocsNameMakeTargetsThatExist(t *testing.T) {
	targets := readMakeTargets(t)
	for file, document := range documents(t) {
		assert.Empty(t, document.unknownCalls(targets), file)
	}
}

func TestKubernetesObjectsInTheDocsPassTheSchemas(t *testing.T) {
	catalog, err := crds.Load(t.Context())
	require.NoError(t, err)
	for file, document := range documents(t) {
		for _, block := range fenced.FindAllStringSubmatch(document.text, -1) {
			var object map[string]any
			if block[1] != "yaml" {
				continue
			}
			require.NoError(t, yaml.Unmarshal([]byte(block[2]), &object), "%s:\n%s", file, block[2])
			if object["apiVersion"] != nil {
				assert.Empty(t, catalog.Validate(t.Context(), object), "%s:\n%s", file, block[2])
			}
		}
	}
}

func TestTheRulesForDocsFindWhatTheyForbid(t *testing.T) {
	all := documents(t)
	page := document{file: "docs/restore.md", text: "# A `b2` key\n\n" +
		"[a](#a-b2-key) [b](#b) [c](none.md) [d](../README.md) [e](../README.md#none) [f](https://example.org/#none)\n\n" +
		"    make known\n    make lost STACK=a\n\n`make gone` and make nothing of it\n"}
	page.prose = page.text
	all[page.file] = page

	assert.Equal(t, []string{
		"#b: there is no such heading", "none.md: there is no such file", "../README.md#none: there is no such heading",
	}, page.brokenLinks(all))
	assert.Equal(t, []string{"the Makefile has no target lost", "the Makefile has no target gone"},
		page.unknownCalls(map[string]bool{"known": true}))
}
