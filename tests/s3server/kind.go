package s3server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
	"github.com/homelab-iac/pulumi-cnpg-backup/tools"
)

// Kind is a program that speaks S3.
type Kind string

// The kinds.
const (
	MinIO     Kind = "minio"
	VersityGW Kind = "versitygw"
)

// nasVariable chooses one of them for the NAS.
const nasVariable = "NAS"

// NAS is the kind of server on the NAS, by the variable NAS: minio or versitygw.
// Default: minio.
func NAS() (Kind, error) {
	switch kind := Kind(os.Getenv(nasVariable)); kind {
	case "":
		return MinIO, nil
	case MinIO, VersityGW:
		return kind, nil
	default:
		return "", fmt.Errorf("%s=%s: expected %s or %s", nasVariable, kind, MinIO, VersityGW)
	}
}

// Tool builds the program.
func (k Kind) Tool() tools.Tool {
	if k == VersityGW {
		return tools.VersityGW()
	}
	return tools.Minio()
}

// server is what the kinds differ in.
type server interface {
	// command starts it. Path and folder are the store's.
	command(s *Store) process.Command
	// health is the path that answers when the server is there.
	health() string
	// makeBucket makes the bucket, in which the store's key may do anything.
	makeBucket(ctx context.Context, s *Store) error
	// administrator is [Store.Administrator].
	administrator(s *Store) (keyID, key string)
	// admit is [Store.Admit].
	admit(ctx context.Context, s *Store, keyID, key string, actions []string) error
	// file is the one file with all that the server keeps of a small object.
	file(s *Store, key string) string
	// requests is [Store.Requests].
	requests(ctx context.Context, s *Store) (int, error)
}

func newServer(options Options) (server, error) {
	switch options.Kind {
	case MinIO, "":
		return newMinIO(options), nil
	case VersityGW:
		if options.Versioned || options.Locked || options.Encrypting {
			return nil, fmt.Errorf("the tests have %s without versions, locks and encryption", VersityGW)
		}
		return newVersityGW(), nil
	default:
		return nil, fmt.Errorf("there is no kind of server %q", options.Kind)
	}
}

// object is all that a server keeps of an object: a folder, or a file.
func (s *Store) object(key string) string {
	return filepath.Join(s.options.Data, s.Bucket, filepath.FromSlash(key))
}
