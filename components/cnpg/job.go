package cnpg

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// jobName is that of a CronJob. Kubernetes allows 52 characters, and nearly all of
// them may be what it is called after.
func jobName(of, suffix string) string {
	const limit = 52
	if len(of)+len(suffix) <= limit {
		return of + suffix
	}
	sum := sha256.Sum256([]byte(of))
	short := "-" + hex.EncodeToString(sum[:4])
	return of[:limit-len(suffix)-len(short)] + short + suffix
}

// jobPod is a pod that talks to no API server and runs as an ordinary user.
func jobPod(user int64) corev1.PodSpec {
	return corev1.PodSpec{
		RestartPolicy:                corev1.RestartPolicyNever,
		AutomountServiceAccountToken: new(false),
		EnableServiceLinks:           new(false),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   new(true),
			RunAsUser:      new(user),
			RunAsGroup:     new(user),
			FSGroup:        new(user),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Volumes: []corev1.Volume{{
			Name:         "tmp",
			VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
		}},
	}
}

// jobContainer can write nowhere but to /tmp.
func jobContainer(name, image string, resources corev1.ResourceRequirements) corev1.Container {
	return corev1.Container{
		Name:                     name,
		Image:                    image,
		Resources:                resources,
		VolumeMounts:             []corev1.VolumeMount{{Name: "tmp", MountPath: "/tmp"}},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false),
			ReadOnlyRootFilesystem:   new(true),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
}

// literally writes what a user said into a command or a variable's value so that it
// arrives as it is. Kubernetes replaces $(NAME) there, and $$ by $:
// https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
func literally(text string) string { return strings.ReplaceAll(text, "$", "$$") }

// resourcesOr are those that are given, or by default some to ask for and a most of
// memory.
func resourcesOr(given corev1.ResourceRequirements, cpu, memory, mostMemory string) corev1.ResourceRequirements {
	if given.Requests != nil || given.Limits != nil || given.Claims != nil {
		return given
	}
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse(cpu),
			corev1.ResourceMemory: resource.MustParse(memory),
		},
		Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(mostMemory)},
	}
}

// retentionVariable tells a job of the days; "" is for ever.
func retentionVariable(policy string) corev1.EnvVar {
	variable := corev1.EnvVar{Name: "RETENTION_DAYS"}
	if days := retentionDays(policy); days > 0 {
		variable.Value = strconv.Itoa(days)
	}
	return variable
}
