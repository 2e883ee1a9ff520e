package node

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // for the root file system's script
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/debian"
)

// rootScript makes the file system that all images share.
//
//go:embed root.sh
var rootScript string

// rootfs is the file system that all images share, made from Debian packages.
type rootfs struct {
	// archive is a tar file.
	archive string
	// postgres is the release of PostgreSQL in it, for instance "17.6".
	postgres string
	debian.Release
}

// buildRoot returns the file system and makes it first when it is not there or
// its script has changed.
func buildRoot(ctx context.Context, progress io.Writer) (rootfs, error) {
	_, here, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(here) {
		return rootfs{}, fmt.Errorf("the folder of the images is unknown: build without -trimpath")
	}
	chosen, err := debian.ChosenRelease()
	if err != nil {
		return rootfs{}, err
	}
	sum := sha256.Sum256([]byte(chosen.Suite + rootScript))
	dir := filepath.Join(filepath.Dir(here), ".images", hex.EncodeToString(sum[:])[:12])
	archive, release := filepath.Join(dir, "root.tar"), filepath.Join(dir, "postgres")
	if _, err := os.Stat(archive); err != nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return rootfs{}, err
		}
		start := time.Now()
		fmt.Fprintln(progress, "Putting the images' file system together from Debian packages; this takes some minutes.")
		site, err := debian.Site(ctx)
		if err != nil {
			return rootfs{}, err
		}
		cmd := exec.CommandContext(ctx, "sh", "-c", rootScript, "root", archive+".partial", release, site, chosen.Suite, chosen.Postgres)
		if output, err := cmd.CombinedOutput(); err != nil {
			return rootfs{}, fmt.Errorf("make the images' file system: %w\n%s", err, output)
		}
		if err := os.Rename(archive+".partial", archive); err != nil {
			return rootfs{}, err
		}
		fmt.Fprintf(progress, "Made it in %s.\n", time.Since(start).Round(time.Second))
	}
	version, err := os.ReadFile(release)
	if err != nil {
		return rootfs{}, err
	}
	// Debian's version is that of PostgreSQL, a hyphen and its own.
	postgres, _, _ := strings.Cut(string(version), "-")
	return rootfs{archive: archive, postgres: postgres, Release: chosen}, nil
}

// The names of the images that the node has, beside those of the operators.
const (
	rcloneImage = "localhost/rclone:1.76.0"
	pauseImage  = "localhost/pause:1.0.0"
)

func (p programs) operatorImage() string { return "localhost/cloudnative-pg:" + p.operatorVersion }
func (p programs) pluginImage() string   { return "localhost/plugin-barman-cloud:" + p.pluginVersion }
func (p programs) externalSecretsImage() string {
	return "localhost/external-secrets:" + p.externalSecretsVersion
}
func (p programs) sidecarImage() string {
	return "localhost/plugin-barman-cloud-sidecar:" + p.pluginVersion
}

// image is what the shared file system is named once more, with a program.
type image struct {
	name string
	// programs are files to add, by their path in the image.
	programs map[string]string
	user     string
	command  []string
	env      []string
}

func (p programs) images() []image {
	return []image{
		{name: pauseImage, command: []string{"sleep", "infinity"}},
		{name: rcloneImage, command: []string{"rclone"}, programs: map[string]string{"usr/bin/rclone": p.rclone}},
		{name: "localhost/postgresql:" + p.root.postgres, user: "26", env: []string{
			"PATH=/usr/lib/postgresql/" + p.root.Postgres + "/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
		}},
		{
			name: p.operatorImage(), user: "65532:65532", command: []string{"/manager"},
			programs: map[string]string{"manager": p.operator, "operator/manager_amd64": p.operator},
		},
		{name: p.pluginImage(), user: "10001:10001", command: []string{"/manager"}, programs: map[string]string{"manager": p.plugin}},
		{
			name: p.externalSecretsImage(), user: "65534:65534", command: []string{"/external-secrets"},
			programs: map[string]string{"external-secrets": p.externalSecrets},
		},
		{name: p.sidecarImage(), user: "26:26", command: []string{"/manager"}, programs: map[string]string{"manager": p.plugin}},
	}
}

// writeImages writes a docker archive of images: a tar file of layers, a
// configuration for each image, and a list of both. See
// https://github.com/moby/docker-image-spec.
func writeImages(w io.Writer, root string, images []image) error {
	archive := tar.NewWriter(w)
	rootLayer, err := addFile(archive, root)
	if err != nil {
		return err
	}
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var list []entry
	for i, image := range images {
		layers := []string{rootLayer}
		if len(image.programs) > 0 {
			layer, err := programLayer(image.programs)
			if err != nil {
				return err
			}
			digest := digest(layer)
			if err := addContent(archive, digest+".tar", layer); err != nil {
				return err
			}
			layers = append(layers, digest)
		}
		config, err := image.config(layers)
		if err != nil {
			return err
		}
		added := entry{Config: fmt.Sprintf("config-%d.json", i), RepoTags: []string{image.name}}
		if err := addContent(archive, added.Config, config); err != nil {
			return err
		}
		for _, layer := range layers {
			added.Layers = append(added.Layers, layer+".tar")
		}
		list = append(list, added)
	}
	manifest, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if err := addContent(archive, "manifest.json", manifest); err != nil {
		return err
	}
	return archive.Close()
}

func (i image) config(layers []string) ([]byte, error) {
	digests := make([]string, len(layers))
	for n, layer := range layers {
		digests[n] = "sha256:" + layer
	}
	env := i.env
	if env == nil {
		env = []string{path}
	}
	return json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"User": i.user, "Env": env, "Entrypoint": i.command},
		"rootfs": map[string]any{"type": "layers", "diff_ids": digests},
	})
}

// programLayer is a tar file of programs.
func programLayer(programs map[string]string) ([]byte, error) {
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	for target, source := range programs {
		content, err := os.ReadFile(source)
		if err != nil {
			return nil, err
		}
		if err := archive.WriteHeader(&tar.Header{Name: target, Mode: 0o755, Size: int64(len(content))}); err != nil {
			return nil, err
		}
		if _, err := archive.Write(content); err != nil {
			return nil, err
		}
	}
	err := archive.Close()
	return layer.Bytes(), err
}

func addContent(archive *tar.Writer, name string, content []byte) error {
	if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := archive.Write(content)
	return err
}

// addFile adds a layer that is too large for memory and returns its digest.
func addFile(archive *tar.Writer, name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	sum := sha256.New()
	size, err := io.Copy(sum, file)
	if err != nil {
		return "", err
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	if err := archive.WriteHeader(&tar.Header{Name: digest + ".tar", Mode: 0o644, Size: size}); err != nil {
		return "", err
	}
	_, err = io.Copy(archive, file)
	return digest, err
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
