package catalogue

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestABackupIsMadeOlderByDays(t *testing.T) {
	aged, err := older("backup_name=None\nbegin_time=2026-03-01 10:20:30.123456+00:00\n"+
		"begin_wal=000000010000000000000002\nend_time=2026-03-02 00:00:01+01:00\n", 2)
	require.NoError(t, err)
	assert.Equal(t, "backup_name=None\nbegin_time=2026-02-27 10:20:30.123456+00:00\n"+
		"begin_wal=000000010000000000000002\nend_time=2026-02-28 00:00:01+01:00\n", aged)

	_, err = older("status=STARTED\nbegin_time=2026-03-01 10:20:30+00:00\n", 2)
	assert.ErrorContains(t, err, "does not say when")
}
