package cnpg

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// barmansCodecs stands in for barman/clients/cloud_compression.py. As in barman
// 3.20.1, a module that is missing ends the program (_try_import_lz4 in
// barman/compression.py), and what is damaged is an exception of any kind. The real
// one reads histories in "make restore-test".
const barmansCodecs = `
def decompress_to_file(blob, dest_file, compression):
    if compression == "lz4":
        raise SystemExit("Missing required python module: lz4")
    content = blob.read()
    if compression != "zstd" or content != b"compressed":
        dest_file.write(b"1\t0/30")
        raise RuntimeError("damaged")
    dest_file.write(b"1\t0/3000064\tno recovery target specified\n")
`

func TestHistoriesAreReadOrNot(t *testing.T) {
	t.Parallel()
	interpreter := python(t)
	dir := t.TempDir()
	for name, content := range map[string]string{
		"barman/__init__.py": "", "barman/clients/__init__.py": "", "barman/clients/cloud_compression.py": barmansCodecs,
		"histories/archive/db/wals/00000002.history.zst":    "compressed",
		"histories/archive/db/wals/00000003.history.lz4":    "compressed with lz4",
		"histories/mirror/db-2/wals/00000004.history.zst":   "damaged",
		"histories/mirror/db/wals/00000005.history.snappy":  "compressed with snappy",
		"histories/mirror/db/wals/00000002.history.zst":     "compressed",
		"histories/mirror/db/wals/00000006.history.unknown": "unknown",
	} {
		name = filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	}
	run := exec.CommandContext(t.Context(), interpreter, "-c", historiesScript)
	run.Env = []string{"TMPDIR=" + dir, "HISTORIES=histories", "PYTHONPATH=" + dir, "PYTHONDONTWRITEBYTECODE=1"}
	output, err := run.CombinedOutput()
	require.NoError(t, err, "the copy decides what a missing text means: %s", output)
	assert.Contains(t, string(output), "archive/db/wals/00000003.history.lz4 cannot be read: SystemExit(")
	assert.Contains(t, string(output), "mirror/db-2/wals/00000004.history.zst cannot be read: RuntimeError('damaged')")

	sum := func(content string) string {
		digest := sha256.Sum256([]byte(content))
		return filepath.Join(dir, "histories", hex.EncodeToString(digest[:]))
	}
	text, err := os.ReadFile(sum("compressed"))
	require.NoError(t, err)
	assert.Equal(t, "1\t0/3000064\tno recovery target specified\n", string(text))
	for _, unread := range []string{"compressed with lz4", "damaged", "compressed with snappy", "unknown"} {
		assert.NoFileExists(t, sum(unread), unread)
	}
}
