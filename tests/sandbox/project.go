package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"sigs.k8s.io/yaml"
)

// project is a copy of a project's settings, beside its program. Pulumi writes
// to stack files and wants the passphrase that their secrets are encrypted
// with: with a copy neither reaches the project.
type project struct {
	name string
	// program is the folder of the program, in the project itself.
	program string
	// folder is where the copy of Pulumi.yaml lies.
	folder string
	// source and copied are the stack's configuration files.
	source, copied string

	passphrase string
}

func newProject(source, folder, stack, passphrase string) (*project, error) {
	var settings struct {
		Name           string `json:"name"`
		Main           string `json:"main"`
		StackConfigDir string `json:"stackConfigDir"`
	}
	content, err := os.ReadFile(filepath.Join(source, "Pulumi.yaml"))
	if err != nil {
		return nil, fmt.Errorf("no Pulumi project: %w", err)
	}
	if err := yaml.Unmarshal(content, &settings); err != nil {
		return nil, fmt.Errorf("project %s: %w", filepath.Join(source, "Pulumi.yaml"), err)
	}
	stackFile := filepath.Join(settings.StackConfigDir, "Pulumi."+stack+".yaml")
	p := &project{
		name:       settings.Name,
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

// config reads the stack's own configuration.
func (p *project) config() (map[string]any, error) {
	stack, err := readStack(p.source)
	if err != nil {
		return nil, err
	}
	values, _ := stack["config"].(map[string]any)
	if values == nil {
		values = map[string]any{}
	}
	return values, nil
}

// configure writes the copy of the stack's configuration.
func (p *project) configure(ctx context.Context, changes map[string]any) error {
	values, err := p.config()
	if err != nil {
		return err
	}
	for key, value := range changes {
		if value == nil {
			delete(values, key)
			continue
		}
		values[key] = value
	}
	// The salt goes with the passphrase, not with the project.
	before, err := readStack(p.copied)
	if err != nil {
		return err
	}
	salt, _ := before["encryptionsalt"].(string)
	secrets := &placeholders{passphrase: p.passphrase, salt: salt}
	stack := map[string]any{"config": secrets.replace(ctx, values)}
	if secrets.salt != "" {
		stack["encryptionsalt"] = secrets.salt
	}
	content, err := yaml.Marshal(stack)
	if err := errors.Join(err, secrets.err); err != nil {
		return err
	}
	return os.WriteFile(p.copied, content, 0o600)
}

// readStack reads a stack's configuration file, if there is one.
func readStack(file string) (map[string]any, error) {
	content, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return map[string]any{}, nil
	}
	if err != nil {
		return nil, err
	}
	stack := map[string]any{}
	if err := yaml.Unmarshal(content, &stack); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return stack, nil
}

// placeholders replace encrypted values. They are encrypted themselves, as a
// project may insist on that.
type placeholders struct {
	passphrase string
	// salt is the stack's salt as Pulumi writes it, made when it is needed.
	salt string
	err  error

	crypter config.Crypter
}

func (p *placeholders) replace(ctx context.Context, value any) any {
	switch value := value.(type) {
	case map[string]any:
		if _, secure := value["secure"].(string); secure && len(value) == 1 {
			return map[string]any{"secure": p.encrypted(ctx)}
		}
		replaced := make(map[string]any, len(value))
		for key, element := range value {
			replaced[key] = p.replace(ctx, element)
		}
		return replaced
	case []any:
		replaced := make([]any, 0, len(value))
		for _, element := range value {
			replaced = append(replaced, p.replace(ctx, element))
		}
		return replaced
	default:
		return value
	}
}

func (p *placeholders) encrypted(ctx context.Context) string {
	if p.crypter == nil {
		p.err = errors.Join(p.err, p.prepare(ctx))
	}
	if p.err != nil {
		return ""
	}
	encrypted, err := p.crypter.EncryptValue(ctx, "placeholder")
	p.err = errors.Join(p.err, err)
	return encrypted
}

// prepare reads the salt, or makes one, in the form of Pulumi's passphrase
// secrets provider: "v1:<salt>:<an encrypted word>".
func (p *placeholders) prepare(ctx context.Context) error {
	if parts := strings.SplitN(p.salt, ":", 3); len(parts) == 3 {
		salt, err := base64.StdEncoding.DecodeString(parts[1])
		p.crypter = config.NewSymmetricCrypterFromPassphrase(p.passphrase, salt)
		return err
	}
	salt := make([]byte, 8)
	_, _ = rand.Read(salt) // Read never fails: it ends the program instead.
	p.crypter = config.NewSymmetricCrypterFromPassphrase(p.passphrase, salt)
	word, err := p.crypter.EncryptValue(ctx, "pulumi")
	p.salt = fmt.Sprintf("v1:%s:%s", base64.StdEncoding.EncodeToString(salt), word)
	return err
}
