package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/report"
)

func TestCommandLine(t *testing.T) {
	t.Setenv("KUBECONFIG", "/nonexistent")
	for _, name := range []string{"B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY", "MINIO_USER", "MINIO_PASSWORD"} {
		t.Setenv(name, "")
	}
	for _, test := range []struct {
		name, arguments string
		code            int
		out, complaint  string
	}{
		{"nothing", "", report.ExitUsage, "", "-stack is missing"},
		{"a word too many", "-stack homelab authentik", report.ExitUsage, "", `what is "authentik"?`},
		{"an unknown form", "-stack homelab -o yaml", report.ExitUsage, "", `-o is "yaml"; expected one of: text short json`},
		{"an unknown copy", "-stack homelab -copy nas", report.ExitUsage, "", `-copy is "nas"; expected one of: archive mirror b2 minio`},
		{"no time", "-stack homelab -timeout 0s", report.ExitUsage, "", "-timeout is 0s; expected more than 0s, for instance 1m"},
		{"an unknown option", "-stak homelab", report.ExitUsage, "", "flag provided but not defined: -stak"},
		{"an unknown environment", "-stack homelb", report.ExitUnknown, "", "Pulumi.homelb.yaml does not exist or is empty"},
		{"an unknown database", "-stack cabin -database wiki", report.ExitUsage, "", `there is no database "wiki"; there are: forgejo, immich, nextcloud`},
		{"no key", "-stack homelab -from-store", report.ExitUsage, "",
			"-from-store needs a key: set B2_APPLICATION_KEY_ID and B2_APPLICATION_KEY, or MINIO_USER and MINIO_PASSWORD"},
		{"no cluster", "-stack homelab", report.ExitUnknown, "2 of 2 copies could not be read.", ""},
		{"one copy", "-stack homelab -copy mirror", report.ExitUnknown, "1 of 1 copies could not be read.", ""},
		{"the sandbox", "-stack local", report.ExitRestores, "a sandbox in which nothing runs", ""},
		{"rights", "-stack cabin -rbac", report.ExitRestores, "- nas-ca\n", ""},
		{"rights to prove", "-stack cabin -rbac -prove", report.ExitRestores, "- pods/exec\n", ""},
		{"no time to prove", "-stack cabin -prove -wait -1s", report.ExitUsage, "", "-wait is -1s; expected more than 0s, for instance 10m"},
		{"no line", "-stack cabin -line 0", report.ExitUsage, "", "-line is 0; expected more than 0, for instance 100"},
		{"to prove without the cluster", "-stack cabin -prove -from-store", report.ExitUsage, "", "-prove needs the cluster"},
		{"to prove where there is no cluster", "-stack cabin -prove", report.ExitUnknown, "not proved: the cluster: ", ""},
		{"help", "-h", report.ExitRestores, "", "the environment, by its file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out, complaint bytes.Buffer
			code := run(t.Context(), append([]string{"-project", ".."}, strings.Fields(test.arguments)...), &out, &complaint)
			assert.Equal(t, test.code, code)
			assert.Contains(t, out.String(), test.out)
			assert.Contains(t, complaint.String(), test.complaint)
		})
	}
}

func TestRightsToWriteAreForThoseWhoAsk(t *testing.T) {
	var out, complaint bytes.Buffer
	require.Equal(t, report.ExitRestores, run(t.Context(), []string{"-project", "..", "-stack", "cabin", "-rbac"}, &out, &complaint))
	assert.NotContains(t, out.String(), "create")
	assert.NotContains(t, out.String(), "exec")
}

func TestJSONHasAVersion(t *testing.T) {
	t.Setenv("KUBECONFIG", "/nonexistent")
	var out, complaint bytes.Buffer
	code := run(t.Context(), []string{"-project", "..", "-stack", "cabin", "-o", "json"}, &out, &complaint)
	assert.Equal(t, report.ExitUnknown, code)
	var read report.Report
	require.NoError(t, json.Unmarshal(out.Bytes(), &read), out.String())
	assert.Equal(t, 1, read.Version)
	require.Len(t, read.Databases, 3)
	assert.Equal(t, "nextcloud", read.Databases[2].Name)
	assert.Equal(t, 2, read.Databases[2].Generation)
}

func TestShortIsSilentWhenAllIsWell(t *testing.T) {
	r, _, _ := healthy().examine(t)
	var out bytes.Buffer
	r.Short(&out)
	assert.Empty(t, out.String())

	s := healthy()
	s.archive.remove("base/")
	r, _, _ = s.examine(t)
	r.Short(&out)
	assert.Contains(t, out.String(), "authentik archive b2: DOES NOT: there is no base backup\n")
	assert.Contains(t, out.String(), "authentik archive b2: CB46 There is no base backup: ")
}

func TestColoursAreForTerminals(t *testing.T) {
	r, _, _ := healthy().examine(t)
	var plain, coloured bytes.Buffer
	report.Style{}.Database(&plain, now, r.Databases[0])
	report.Style{Colours: true}.Database(&coloured, now, r.Databases[0])
	assert.NotContains(t, plain.String(), "\x1b")
	assert.Contains(t, coloured.String(), "\x1b[32mRESTORES\x1b[0m")
	assert.False(t, colours(&plain))
}

func TestTheLinesToRestoreWith(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*scene)
		want   string
	}{
		{"from the copy that goes further", func(*scene) {}, "- name: authentik\n  generation: 3\n  recovery:\n    source: b2\n"},
		{"from the other", func(s *scene) { s.archive.remove("base/") }, "- name: authentik\n  generation: 3\n  recovery:\n    source: minio\n"},
		{
			"from the other, when the archive does not answer", func(s *scene) {
				s.archiveErr = errors.New("dial tcp 192.0.2.7:443: connect: connection refused")
			},
			"- name: authentik\n  generation: 3\n  # archive: minio # if b2 does not come back\n  recovery:\n    source: minio\n",
		},
		{
			"past the folder of a later life", func(s *scene) { s.mirror.folders = append(s.mirror.folders, "authentik-postgresql-3") },
			"- name: authentik\n  generation: 4\n  recovery:\n    source: b2\n    generation: 2\n",
		},
		{
			"and past a base backup that failed", func(s *scene) { s.archive.backup(now.Add(-day), 1100, "status=FAILED\n") },
			"- name: authentik\n  generation: 3\n  recovery:\n    source: b2\n    target: { backupID: 20261122T020003 }\n",
		},
		{"from nothing", func(s *scene) { s.archive.remove("base/"); s.mirror.remove("base/") }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := healthy()
			test.change(s)
			r, _, _ := s.examine(t)
			assert.Equal(t, test.want, r.Databases[0].Recovery)
		})
	}
}
