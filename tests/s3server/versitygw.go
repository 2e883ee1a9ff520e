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
	// rootID and rootKey are the account that may do anything.
	rootID, rootKey string
	// statements are those of the bucket's policy.
	statements []any
}

func newVersityGW() *versityGW {
	return &versityGW{rootID: "root" + randomHex(8), rootKey: randomHex(20)}
}

func (v *versityGW) administrator(*Store) (keyID, key string) { return v.rootID, v.rootKey }

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
		Env:  append(os.Environ(), "ROOT_ACCESS_KEY="+v.rootID, "ROOT_SECRET_KEY="+v.rootKey),
	}
}

func (v *versityGW) health() string { return "/health" }

func (v *versityGW) accessLog(s *Store) string { return filepath.Join(s.dir, "access.log") }

func (v *versityGW) file(s *Store, key string) string { return s.object(key) }

// makeBucket makes an account and its bucket, as docs/install.md does.
func (v *versityGW) makeBucket(ctx context.Context, s *Store) error {
	if err := v.makeAccount(ctx, s, s.KeyID, s.Key); err != nil {
		return err
	}
	return v.asRoot(ctx, s, "create-bucket", "--owner", s.KeyID, "--bucket", s.Bucket)
}

func (v *versityGW) makeAccount(ctx context.Context, s *Store, keyID, key string) error {
	return v.asRoot(ctx, s, "create-user", "--role", "user", "--access", keyID, "--secret", key)
}

func (v *versityGW) asRoot(ctx context.Context, s *Store, arguments ...string) error {
	command := exec.CommandContext(ctx, s.options.Program, append([]string{"admin"}, arguments...)...)
	command.Env = append(os.Environ(), "ADMIN_ENDPOINT_URL="+s.Endpoint, "ADMIN_ACCESS_KEY="+v.rootID, "ADMIN_SECRET_KEY="+v.rootKey,
		"ADMIN_ALLOW_INSECURE=true")
	if s.options.Region != "" {
		command.Env = append(command.Env, "ADMIN_REGION="+s.options.Region)
	}
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("versitygw admin %s: %w\n%s", arguments[0], err, output)
	}
	return nil
}

// admit makes an account, which may do nothing of itself, and lets the bucket's
// policy say what it may. Where there is a policy, the owner, too, may only do what
// it says: https://github.com/versity/versitygw/blob/v1.2.0/auth/access-control.go
// VerifyAccess.
func (v *versityGW) admit(ctx context.Context, s *Store, keyID, key string, actions []string) error {
	if err := v.makeAccount(ctx, s, keyID, key); err != nil {
		return err
	}
	allow := func(keyID string, actions ...string) {
		v.statements = append(v.statements, map[string]any{
			"Effect": "Allow", "Principal": map[string]any{"AWS": []string{keyID}}, "Action": actions,
			"Resource": []string{"arn:aws:s3:::" + s.Bucket, "arn:aws:s3:::" + s.Bucket + "/*"},
		})
	}
	if v.statements == nil {
		allow(s.KeyID, "s3:*")
	}
	allow(keyID, actions...)
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
