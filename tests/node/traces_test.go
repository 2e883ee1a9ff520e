package node

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatANodeLeavesBehindIsNamed(t *testing.T) {
	before := []string{"mount overlay /a", "/proc/sys/kernel/panic = 0"}
	require.NoError(t, compareTraces(before, before[:1]))

	err := compareTraces(before, []string{"mount overlay /a", "/proc/sys/kernel/panic = 10", "ip link: pods"})
	require.Error(t, err)
	assert.ErrorContains(t, err, "left behind: /proc/sys/kernel/panic = 10")
	assert.ErrorContains(t, err, "left behind: ip link: pods")
	assert.NotContains(t, err.Error(), "overlay")
}
