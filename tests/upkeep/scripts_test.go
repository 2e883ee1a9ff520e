package upkeep

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTheScriptsSayWhatTheyLack runs each script of the documentation as somebody does
// who has not read it to the end.
func TestTheScriptsSayWhatTheyLack(t *testing.T) {
	t.Parallel()
	laptop := []string{"https://nas.example.org:9000", "s3://bucket/folder", "server", "restored"}
	copyNAS := []string{"https://old.example.org:9000", "https://new.example.org:7070", "bucket"}
	keys := []string{"OLD_KEY_ID=a", "OLD_KEY=b", "NEW_KEY_ID=c", "NEW_KEY=d"}
	for name, test := range map[string]struct {
		script         string
		arguments, env []string
		tools          string
		want           string
	}{
		"laptop.sh without arguments":      {"laptop.sh", nil, nil, "", "laptop.sh: expected an endpoint, s3://bucket/folder, a server name, and a folder to restore to"},
		"laptop.sh with too few":           {"laptop.sh", laptop[:3], nil, "", "laptop.sh: expected an endpoint"},
		"laptop.sh without barman":         {"laptop.sh", laptop, nil, "", "laptop.sh: barman-cloud-backup-list is not in PATH: install barman's cloud tools"},
		"laptop.sh without PostgreSQL":     {"laptop.sh", laptop, nil, "barman-cloud-backup-list barman-cloud-restore barman-cloud-wal-restore psql", "laptop.sh: pg_ctl is not in PATH"},
		"laptop.sh without a base backup":  {"laptop.sh", laptop, nil, "barman-cloud-backup-list barman-cloud-restore barman-cloud-wal-restore pg_ctl pg_controldata psql", "laptop.sh: there is no finished base backup of server in s3://bucket/folder"},
		"copy-nas.sh without arguments":    {"copy-nas.sh", nil, keys, "rclone", "copy-nas.sh: expected the old endpoint, the new endpoint, and a bucket"},
		"copy-nas.sh without the old key":  {"copy-nas.sh", copyNAS, keys[1:], "rclone", "copy-nas.sh: set OLD_KEY_ID and OLD_KEY to a key of the old server"},
		"copy-nas.sh with half of the new": {"copy-nas.sh", copyNAS, keys[:3], "rclone", "copy-nas.sh: set NEW_KEY_ID and NEW_KEY to a key of the new server"},
		"copy-nas.sh without rclone":       {"copy-nas.sh", copyNAS, keys, "", "copy-nas.sh: rclone is not in PATH: install rclone 1.76 or later"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			for tool := range strings.FieldsSeq(test.tools + " awk") {
				require.NoError(t, os.WriteFile(filepath.Join(folder, tool), []byte("#!/bin/sh\n"), 0o755))
			}
			script, err := filepath.Abs(filepath.Join(root, "docs", test.script))
			require.NoError(t, err)
			cmd := exec.CommandContext(t.Context(), "/bin/sh", append([]string{script}, test.arguments...)...)
			cmd.Dir, cmd.Env = folder, append([]string{"PATH=" + folder}, test.env...)
			output, err := cmd.CombinedOutput()
			require.Error(t, err, "%s", output)
			assert.True(t, strings.HasPrefix(string(output), test.want), "%s", output)
			assert.Equal(t, 1, strings.Count(string(output), "\n"), "a line: %s", output)
		})
	}
}

// TestEachScriptOfTheDocumentationIsTried is for a script that is new.
func TestEachScriptOfTheDocumentationIsTried(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob(filepath.Join(root, "docs", "*.sh"))
	require.NoError(t, err)
	for i := range scripts {
		scripts[i] = filepath.Base(scripts[i])
	}
	assert.Equal(t, []string{"copy-nas.sh", "laptop.sh"}, scripts, "add it to the test above")
}
