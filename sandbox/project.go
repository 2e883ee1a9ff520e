package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
)

// project is a copy of a project's settings, beside its program. Pulumi writes
// to stack files and wants the passphrase that their secrets are encrypted
// with: with a copy neither reaches the project.
type project struct {
	settings *workspace.Project
	// program is the folder of the program, in the project itself.
	program string
	// folder is where the copy of Pulumi.yaml lies.
	folder string
	// source and copied are the stack's configuration files.
	source, copied string

	passphrase string
}

func newProject(source, folder, stack, passphrase string) (*project, error) {
	file := filepath.Join(source, "Pulumi.yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("no Pulumi project: %w", err)
	}
	settings, err := workspace.LoadProject(file)
	if err != nil {
		return nil, err
	}
	stackFile := filepath.Join(settings.StackConfigDir, "Pulumi."+stack+".yaml")
	p := &project{
		settings:   settings,
		program:    filepath.Join(source, settings.Main),
		folder:     folder,
		source:     filepath.Join(source, stackFile),
		copied:     filepath.Join(folder, stackFile),
		passphrase: passphrase,
	}
	for _, dir := range []string{filepath.Dir(p.copied), filepath.Join(folder, settings.Main)} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, fmt.Errorf("copy of the project: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "Pulumi.yaml"), content, 0o600); err != nil {
		return nil, fmt.Errorf("copy of the project: %w", err)
	}
	return p, nil
}

// configure writes the copy of the stack's configuration. Pulumi's own library
// reads the original, so that it means here what it means to Pulumi. Values that
// are encrypted in it are not known here; others take their places, which are
// encrypted too, as a project may insist on that.
func (p *project) configure(ctx context.Context, changes map[string]any) error {
	stack, err := workspace.LoadProjectStack(nil, p.settings, p.source)
	if err != nil {
		return fmt.Errorf("%s: %w", p.source, err)
	}
	for name, value := range changes {
		if err := set(stack.Config, name, value); err != nil {
			return fmt.Errorf("value of %s: %w", name, err)
		}
	}
	before, err := workspace.LoadProjectStack(nil, p.settings, p.copied)
	if err != nil {
		return fmt.Errorf("%s: %w", p.copied, err)
	}
	// The salt goes with the passphrase, not with the project.
	salt := before.EncryptionSalt
	if salt == "" {
		if salt, err = newSalt(ctx, p.passphrase); err != nil {
			return fmt.Errorf("salt for encrypted values: %w", err)
		}
	}
	crypter, err := crypterOf(p.passphrase, salt)
	if err != nil {
		return fmt.Errorf("encrypted values: %w", err)
	}
	values, err := stack.Config.Copy(config.NewBlindingDecrypter(), crypter)
	if err != nil {
		return fmt.Errorf("encrypted values: %w", err)
	}
	copied := &workspace.ProjectStack{EncryptionSalt: salt, Config: values}
	return copied.Save(p.copied)
}

// set sets a value by its whole name, or removes it when it is nil.
func set(values config.Map, name string, value any) error {
	key, err := config.ParseKey(name)
	if err != nil {
		return err
	}
	if value == nil {
		delete(values, key)
		return nil
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var parsed config.Value
	if err := parsed.UnmarshalJSON(encoded); err != nil {
		return err
	}
	values[key] = parsed
	return nil
}

// newSalt makes a salt in the form of Pulumi's passphrase secrets provider:
// "v1:<salt>:<an encrypted word>".
func newSalt(ctx context.Context, passphrase string) (string, error) {
	salt := make([]byte, 8)
	_, _ = rand.Read(salt) // Read never fails: it ends the program instead.
	word, err := config.NewSymmetricCrypterFromPassphrase(passphrase, salt).EncryptValue(ctx, "pulumi")
	return fmt.Sprintf("v1:%s:%s", base64.StdEncoding.EncodeToString(salt), word), err
}

func crypterOf(passphrase, salt string) (config.Crypter, error) {
	parts := strings.SplitN(salt, ":", 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("the salt %q is not Pulumi's", salt)
	}
	decoded, err := base64.StdEncoding.DecodeString(parts[1])
	return config.NewSymmetricCrypterFromPassphrase(passphrase, decoded), err
}
