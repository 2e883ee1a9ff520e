package cnpg

import (
	"strings"

	machineryapi "github.com/cloudnative-pg/machinery/pkg/api"
	corev1 "k8s.io/api/core/v1"
)

// caVolume is the name of the volume with the endpoint's CA certificate, and
// caFile the file in it.
func (s store) caVolume() string { return string(s.location) + "-ca" }

const caFile = "ca.crt"

// caVolumes are that volume, if the store has one.
func (s store) caVolumes() []corev1.Volume {
	if s.endpointCA == nil {
		return nil
	}
	return []corev1.Volume{{
		Name: s.caVolume(),
		VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: s.endpointCA.Name,
			Items:      []corev1.KeyToPath{{Key: s.endpointCA.Key, Path: caFile}},
		}},
	}}
}

// caMount is where that volume is, if the store has one.
func (s store) caMount() []corev1.VolumeMount {
	if s.endpointCA == nil {
		return nil
	}
	return []corev1.VolumeMount{{Name: s.caVolume(), MountPath: "/mnt/" + s.caVolume(), ReadOnly: true}}
}

// rclonePath is the store's folder as rclone spells it.
func (s store) rclonePath(name string) string {
	return name + ":" + strings.Trim(s.bucket+"/"+s.path, "/")
}

// rcloneEnv sets up an rclone remote of the given name.
// See https://rclone.org/docs/#config-file and https://rclone.org/s3/.
func (s store) rcloneEnv(name string) []corev1.EnvVar {
	prefix := "RCLONE_CONFIG_" + strings.ToUpper(name) + "_"
	env := []corev1.EnvVar{
		{Name: prefix + "TYPE", Value: "s3"},
		// The one that supposes the least of a server: that it takes the bucket in
		// the path. https://github.com/rclone/rclone/blob/v1.76.0/backend/s3/provider/Other.yaml
		{Name: prefix + "PROVIDER", Value: "Other"},
		{Name: prefix + "ENDPOINT", Value: s.endpoint},
		envFromSecret(prefix+"ACCESS_KEY_ID", secretKey(s.secret, accessKeyID)),
		envFromSecret(prefix+"SECRET_ACCESS_KEY", secretKey(s.secret, secretAccessKey)),
		// A key that is restricted to its bucket may not create buckets.
		{Name: prefix + "NO_CHECK_BUCKET", Value: "true"},
	}
	if s.region != "" {
		env = append(env, corev1.EnvVar{Name: prefix + "REGION", Value: s.region})
	}
	return env
}

// rcloneSettings are for every use of rclone.
func rcloneSettings() []corev1.EnvVar {
	return []corev1.EnvVar{
		// There is no configuration but this.
		{Name: "RCLONE_CONFIG", Value: "/notfound"},
		{Name: "RCLONE_TRANSFERS", Value: "8"},
		// rclone's ten would take minutes to say that a store is away; the job
		// is tried again, and it goes on where it stopped.
		{Name: "RCLONE_LOW_LEVEL_RETRIES", Value: "5"},
	}
}

// trustCAs has rclone trust the CAs of the stores.
func trustCAs(container *corev1.Container, stores ...store) {
	directories := []string{"/etc/ssl/certs"}
	for _, end := range stores {
		for _, mount := range end.caMount() {
			container.VolumeMounts = append(container.VolumeMounts, mount)
			directories = append(directories, mount.MountPath)
		}
	}
	if len(directories) > 1 {
		// Beside the public CAs; rclone's own option would replace those.
		container.Env = append(container.Env,
			corev1.EnvVar{Name: "SSL_CERT_DIR", Value: strings.Join(directories, ":")})
	}
}

// encryptionEnv says how the store encrypts what the script writes to it.
func (s store) encryptionEnv(name string) []corev1.EnvVar {
	return []corev1.EnvVar{
		{Name: name + "_DATA_ENCRYPTION", Value: string(s.options.Data.Encryption)},
		{Name: name + "_WAL_ENCRYPTION", Value: string(s.options.WAL.Encryption)},
	}
}

// barmanEnv is what the plugin's sidecar gives to barman.
func (s store) barmanEnv() []corev1.EnvVar {
	env := []corev1.EnvVar{
		envFromSecret(accessKeyID, secretKey(s.secret, accessKeyID)),
		envFromSecret(secretAccessKey, secretKey(s.secret, secretAccessKey)),
	}
	if s.region != "" {
		env = append(env, corev1.EnvVar{Name: "AWS_DEFAULT_REGION", Value: s.region})
	}
	for _, mount := range s.caMount() {
		env = append(env, corev1.EnvVar{Name: "AWS_CA_BUNDLE", Value: mount.MountPath + "/" + caFile})
	}
	return append(env, s.options.Sidecar.Env...)
}

func envFromSecret(name string, key *machineryapi.SecretKeySelector) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: key.Name},
		Key:                  key.Key,
	}}}
}

func secretKey(secret, key string) *machineryapi.SecretKeySelector {
	return &machineryapi.SecretKeySelector{
		LocalObjectReference: machineryapi.LocalObjectReference{Name: secret},
		Key:                  key,
	}
}
