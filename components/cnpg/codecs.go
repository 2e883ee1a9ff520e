package cnpg

import (
	"fmt"
	"path"
	"slices"
	"strings"

	barmanapi "github.com/cloudnative-pg/barman-cloud/pkg/api"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/version"
)

// The releases of the Barman Cloud plugin by what they compress with, from
// https://github.com/cloudnative-pg/plugin-barman-cloud: the schema in
// config/crd/bases and the barman in containers/sidecar-requirements.txt.
const (
	// zstdWALPlugin has barman 3.13.2. Up to 3.12.1 barman ignored --zstd for WAL.
	zstdWALPlugin = "0.3.0"
	// lz4DataPlugin is the first whose schema takes lz4 for base backups. An older
	// one refuses such an ObjectStore as soon as it is previewed.
	lz4DataPlugin = "0.13.0"
	// zstdDataPlugin has barman 3.20.0, the first with zstd for base backups. The
	// schema does not know it, so that nothing but the version tells.
	zstdDataPlugin = "0.15.0"
)

// atLeast compares two releases of the plugin. One that cannot be read is a
// problem of its own.
func atLeast(plugin, release string) bool {
	parsed, err := version.ParseSemantic(plugin)
	return err == nil && parsed.AtLeast(version.MustParseSemantic(release))
}

func checkPluginVersion(at *field.Path, plugin string) field.ErrorList {
	if plugin == "" {
		return nil
	}
	if _, err := version.ParseSemantic(plugin); err != nil {
		return field.ErrorList{field.Invalid(at, plugin, fmt.Sprintf(
			"expected the release of the Barman Cloud plugin that runs in the cluster, like %q", zstdDataPlugin))}
	}
	if !atLeast(plugin, zstdWALPlugin) {
		return field.ErrorList{field.Invalid(at, plugin, fmt.Sprintf(
			"expected the Barman Cloud plugin %s or later", zstdWALPlugin))}
	}
	return nil
}

// dataCompression is the best codec for base backups that a release of the
// plugin has; docs/decisions/codecs.md has the figures.
func dataCompression(plugin string) barmanapi.CompressionType {
	switch {
	case atLeast(plugin, zstdDataPlugin):
		return barmanapi.CompressionTypeZstd
	case atLeast(plugin, lz4DataPlugin):
		return barmanapi.CompressionTypeLz4
	default:
		return barmanapi.CompressionTypeGzip
	}
}

// dataPlugin is the first release of the plugin that compresses base backups with
// a codec, "" when any does.
func dataPlugin(compression barmanapi.CompressionType) string {
	return map[barmanapi.CompressionType]string{
		barmanapi.CompressionTypeLz4: lz4DataPlugin, barmanapi.CompressionTypeZstd: zstdDataPlugin,
	}[compression]
}

// checkDataCompression refuses what the plugin would fail every base backup with.
func checkDataCompression(at *field.Path, compression barmanapi.CompressionType, plugin string) field.ErrorList {
	problems := checkOneOf(at, compression, none, barmanapi.CompressionTypeBzip2, barmanapi.CompressionTypeGzip,
		barmanapi.CompressionTypeLz4, barmanapi.CompressionTypeSnappy, barmanapi.CompressionTypeZstd)
	release := dataPlugin(compression)
	if release == "" || atLeast(plugin, release) || len(checkPluginVersion(at, plugin)) > 0 {
		return problems
	}
	return append(problems, field.Invalid(at, compression, fmt.Sprintf(
		"base backups with %[1]s need the Barman Cloud plugin %[2]s or later, and fail with an older one; "+
			"if yours is new enough, set pluginVersion: %[2]s beside the environment's b2 and minio, otherwise use %[3]s",
		compression, release, dataCompression(plugin))))
}

// checkArguments refuses a codec among additional arguments of barman, which
// takes one codec, and gets it from the field compression already.
func checkArguments(at *field.Path, arguments []string) field.ErrorList {
	codecs := []string{"-z", "--gzip", "-j", "--bzip2", "--lz4", "--snappy", "--xz", "--zstd"}
	var problems field.ErrorList
	for i, argument := range arguments {
		if slices.Contains(codecs, argument) {
			problems = append(problems, field.Invalid(at.Index(i), argument,
				"barman takes one codec: set it with compression, which adds this argument"))
		}
	}
	return problems
}

// checkPruneImage refuses a sidecar that is too old for base backups with zstd.
// barman up to 3.19 deletes the backup.info of such a backup and leaves its data
// (get_backup_files in barman/cloud.py).
func checkPruneImage(at *field.Path, image string, backup Backup) field.ErrorList {
	if backup.B2.Data.Compression != barmanapi.CompressionTypeZstd && backup.MinIO.Data.Compression != barmanapi.CompressionTypeZstd {
		return nil
	}
	reference, _, _ := strings.Cut(image, "@")
	name, tag, _ := strings.Cut(path.Base(reference), ":")
	if _, err := version.ParseSemantic(tag); name != path.Base(sidecarImage) || err != nil || atLeast(tag, zstdDataPlugin) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, image, fmt.Sprintf(
		"cannot delete base backups with zstd; expected release %s of it, or later", zstdDataPlugin))}
}

// withZstd says zstd the way that the plugin takes it: its schema does not know
// the word yet, so that barman gets the argument (GetDataConfiguration in
// pkg/backup of github.com/cloudnative-pg/barman-cloud).
func withZstd(data barmanapi.DataBackupConfiguration) barmanapi.DataBackupConfiguration {
	if data.Compression == barmanapi.CompressionTypeZstd {
		data.Compression = barmanapi.CompressionTypeNone
		data.AdditionalCommandArgs = append([]string{"--zstd"}, data.AdditionalCommandArgs...)
	}
	return data
}
