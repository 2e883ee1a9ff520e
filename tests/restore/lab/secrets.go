package lab

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/homelab-iac/pulumi-cnpg-backup/tests/s3server"
)

// Secrets stands for the Secrets of a namespace: the key of each store under
// the name by which the ObjectStores refer to it.
func Secrets(namespace string, stores map[string]*s3server.Store) client.Client {
	builder := fake.NewClientBuilder()
	for name, store := range stores {
		builder.WithObjects(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
			Data: map[string][]byte{
				"AWS_ACCESS_KEY_ID":     []byte(store.KeyID),
				"AWS_SECRET_ACCESS_KEY": []byte(store.Key),
			},
		})
	}
	return builder.Build()
}
