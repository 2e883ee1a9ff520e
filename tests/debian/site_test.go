package debian

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheSiteIsThatOfTheReleaseItself(t *testing.T) {
	for name, test := range map[string]struct{ targets, want string }{
		"as installed": {
			"http://deb.debian.org/debian bookworm main\nhttp://deb.debian.org/debian bookworm-updates main\n",
			"http://deb.debian.org/debian",
		},
		"a mirror nearby, after security updates and others' packages": {
			"http://security.example.org/debian-security bookworm-security main\n" +
				"https://docker.example.org/linux bookworm stable\n" +
				"https://postgresql.example.org bookworm-pgdg main\n" +
				"https://mirror.example.org/debian/ bookworm contrib\n" +
				"https://mirror.example.org/debian/ bookworm main\n",
			"https://mirror.example.org/debian",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := site("bookworm", test.targets)
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}

func TestAMachineWithoutDebiansArchiveIsAnError(t *testing.T) {
	_, err := site("noble", "http://archive.example.org/ubuntu jammy main\n")
	assert.ErrorContains(t, err, `no source of Debian's "noble"`)
}

func TestTheCodenameIsReadFromOsRelease(t *testing.T) {
	assert.Equal(t, "bookworm", codename("ID=debian\nVERSION_CODENAME=bookworm\nVERSION_ID=\"12\"\n"))
	assert.Equal(t, "trixie", codename("VERSION_CODENAME=\"trixie\"\n"))
	assert.Empty(t, codename("ID=other\n"))
}
