package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// pack and unpack are what a base backup and its restore cannot do without: to read
// all files, or write them, and the codec that barman has, at its level. A database
// that was shut down needs no more WAL than the segment of its last checkpoint.
const (
	pack = `set -eu
cd "$1"
segment=$("$3" -D . | sed -n "s/^Latest checkpoint's REDO WAL file: *//p")
find . ! -path './pg_wal/0*' -o -path "./pg_wal/$segment" |
	tar --create --no-recursion --files-from=- |
	/usr/bin/python3 -c 'import sys, zstandard
zstandard.ZstdCompressor(level=3).copy_stream(sys.stdin.buffer, sys.stdout.buffer)' > "$2"`
	unpack = `set -eu
/usr/bin/python3 -c 'import sys, zstandard
zstandard.ZstdDecompressor().copy_stream(sys.stdin.buffer, sys.stdout.buffer)' < "$2" |
	tar --extract --directory="$1"`
)

// Pack puts the files of a stopped database into one file with tar and zstd.
func (i *Instance) Pack(ctx context.Context, file string) error {
	return script(ctx, pack, i.data(), file, postgresProgram("pg_controldata"))
}

// Unpack makes a database in a directory of such a file.
func Unpack(ctx context.Context, dir, file string) (*Instance, error) {
	unpacked := instanceAt(dir)
	if err := os.MkdirAll(unpacked.data(), 0o700); err != nil {
		return nil, err
	}
	if err := script(ctx, unpack, unpacked.data(), file); err != nil {
		return nil, err
	}
	return unpacked, unpacked.start(ctx, unpacked.baseSettings())
}

// script runs a shell script with arguments.
func script(ctx context.Context, text string, arguments ...string) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", text, "sh"}, arguments...)...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, output)
	}
	return nil
}
