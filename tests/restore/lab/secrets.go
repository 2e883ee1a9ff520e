package lab

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// Secrets stands for the Secrets of a namespace: the key of each store and the
// certificates of authorities, under the names by which the ObjectStores refer to
// them.
func Secrets(namespace string, stores map[string]*s3server.Store, authorities map[string][]byte) client.Client {
	builder := fake.NewClientBuilder()
	add := func(name string, data map[string][]byte) {
		builder.WithObjects(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Data: data})
	}
	for name, store := range stores {
		add(name, map[string][]byte{
			"AWS_ACCESS_KEY_ID": []byte(store.KeyID), "AWS_SECRET_ACCESS_KEY": []byte(store.Key),
			"AWS_REGION": []byte(store.Region()),
		})
	}
	for name, certificate := range authorities {
		add(name, map[string][]byte{"ca.crt": certificate})
	}
	return builder.Build()
}
