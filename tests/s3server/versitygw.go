package s3server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/process"
)

// versityGW is Versity's S3 gateway on a folder, in which an object is a file and
// what else is known of it are the file's extended attributes.
type versityGW struct {
	// statements are those of the bucket's policy.
	statements []any
}

func (v *versityGW) command(s *Store) process.Command {
	accounts := filepath.Join(s.dir, "accounts")
	_ = os.MkdirAll(accounts, 0o700) // else it says so itself
	arguments := []string{
		"--port", s.address, "--health", v.health(), "--quiet", "--access-log", v.accessLog(s),
		"--iam-dir", accounts, "--iam-cache-disable",
	}
	if s.options.Region != "" {
		arguments = append(arguments, "--region", s.options.Region)
	}
	if s.Authority != nil {
		arguments = append(arguments,
			"--cert", filepath.Join(s.certificates(), certificateFile), "--key", filepath.Join(s.certificates(), keyFile))
	}
	return process.Command{
		Name: "versitygw",
		Args: append(arguments, "posix", s.options.Data),
		Env:  append(os.Environ(), "ROOT_ACCESS_KEY="+s.KeyID, "ROOT_SECRET_KEY="+s.Key),
	}
}

func (v *versityGW) health() string { return "/health" }

func (v *versityGW) accessLog(s *Store) string { return filepath.Join(s.dir, "access.log") }

func (v *versityGW) file(s *Store, key string) string { return s.object(key) }

// admit makes an account, which may do nothing of itself, and lets the bucket's
// policy say what it may.
func (v *versityGW) admit(ctx context.Context, s *Store, keyID, key string, actions []string) error {
	create := exec.CommandContext(ctx, s.options.Program, "admin", "create-user", "--access", keyID, "--secret", key, "--role", "user")
	create.Env = append(os.Environ(), "ADMIN_ENDPOINT_URL="+s.Endpoint, "ADMIN_ACCESS_KEY="+s.KeyID, "ADMIN_SECRET_KEY="+s.Key,
		"ADMIN_ALLOW_INSECURE=true")
	if s.options.Region != "" {
		create.Env = append(create.Env, "ADMIN_REGION="+s.options.Region)
	}
	if output, err := create.CombinedOutput(); err != nil {
		return fmt.Errorf("make account %s: %w\n%s", keyID, err, output)
	}
	v.statements = append(v.statements, map[string]any{
		"Effect": "Allow", "Principal": map[string]any{"AWS": []string{keyID}}, "Action": actions,
		"Resource": []string{"arn:aws:s3:::" + s.Bucket, "arn:aws:s3:::" + s.Bucket + "/*"},
	})
	policy, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": v.statements})
	if err != nil {
		return err
	}
	if err := s.client.SetBucketPolicy(ctx, s.Bucket, string(policy)); err != nil {
		return fmt.Errorf("let account %s in: %w", keyID, err)
	}
	return nil
}

// requests has a line for each.
func (v *versityGW) requests(_ context.Context, s *Store) (int, error) {
	content, err := os.ReadFile(v.accessLog(s))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return bytes.Count(content, []byte("\n")), err
}
