// Command byhand is a Pulumi program that registers the resources of an
// environment one by one, without the component. It takes the Kubernetes objects
// from the file that the setting "objects" names.
package main

import (
	"cmp"
	"encoding/json"
	"os"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi-minio/sdk/go/minio"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/b2"
)

func main() { pulumi.Run(deploy) }

func deploy(ctx *pulumi.Context) error {
	content, err := os.ReadFile(config.Require(ctx, "objects"))
	if err != nil {
		return err
	}
	var objects []map[string]any
	if err := json.Unmarshal(content, &objects); err != nil {
		return err
	}
	key, err := storage(ctx)
	if err != nil {
		return err
	}
	made := map[string][]pulumi.Resource{}
	// The order of dependencies, first what databases share and then a database after
	// the other, as one would write it.
	kinds := []string{"Secret", "PushSecret", "ExternalSecret", "ObjectStore", "Cluster"}
	shared := slices.Index(kinds, "ObjectStore")
	rank := func(object map[string]any) int {
		if at := slices.Index(kinds, kind(object)); at >= 0 {
			return at
		}
		return len(kinds)
	}
	database := func(object map[string]any) string {
		named := unstructured.Unstructured{Object: object}
		name, _, _ := strings.Cut(named.GetName(), "-")
		return name
	}
	slices.SortStableFunc(objects, func(a, b map[string]any) int {
		if rank(a) >= shared && rank(b) >= shared {
			return cmp.Or(strings.Compare(database(a), database(b)), rank(a)-rank(b))
		}
		return rank(a) - rank(b)
	})
	for _, object := range objects {
		named, database := unstructured.Unstructured{Object: object}, database(object)
		after := append([]pulumi.Resource{key}, made[database]...)
		resource, err := register(ctx, named, key, after)
		if err != nil {
			return err
		}
		if rank(object) >= shared && rank(object) < len(kinds) {
			made[database] = append(made[database], resource)
		}
	}
	return nil
}

func kind(object map[string]any) string {
	kind, _ := object["kind"].(string)
	return kind
}

// storage makes the buckets and the key.
func storage(ctx *pulumi.Context) (*b2.ApplicationKey, error) {
	if _, err := minio.NewS3Bucket(ctx, "minio", &minio.S3BucketArgs{
		Bucket: pulumi.String("bench-postgres-backups"), Acl: pulumi.String("private"),
	}); err != nil {
		return nil, err
	}
	bucket, err := b2.NewBucket(ctx, "b2", &b2.BucketArgs{
		BucketName: pulumi.String("bench-cnpg-b2"), BucketType: pulumi.String("allPrivate"),
	})
	if err != nil {
		return nil, err
	}
	return b2.NewApplicationKey(ctx, "key", &b2.ApplicationKeyArgs{
		KeyName:      pulumi.String("bench"),
		Capabilities: pulumi.ToStringArray([]string{"listBuckets", "readFiles", "writeFiles"}),
		BucketIds:    pulumi.StringArray{bucket.BucketId},
	})
}

func register(ctx *pulumi.Context, object unstructured.Unstructured, key *b2.ApplicationKey, after []pulumi.Resource,
) (pulumi.Resource, error) {
	name := kind(object.Object) + "-" + object.GetNamespace() + "-" + object.GetName()
	metadata := metav1.ObjectMetaArgs{
		Name:        pulumi.String(object.GetName()),
		Namespace:   pulumi.String(object.GetNamespace()),
		Annotations: pulumi.ToStringMap(object.GetAnnotations()),
		Labels:      pulumi.ToStringMap(object.GetLabels()),
	}
	if kind(object.Object) == "Secret" {
		// Its values are not in the file. The typed package of its kind would cost
		// the compiler gigabytes.
		secret := &apiextensions.CustomResource{}
		return secret, ctx.RegisterResource("kubernetes:core/v1:Secret", name, kubernetes.UntypedArgs{
			"apiVersion": pulumi.String("v1"), "kind": pulumi.String("Secret"), "metadata": metadata,
			"stringData": pulumi.StringMap{
				"AWS_ACCESS_KEY_ID": key.ApplicationKeyId, "AWS_SECRET_ACCESS_KEY": key.ApplicationKey,
			},
		}, secret, pulumi.DependsOn(after))
	}
	fields := kubernetes.UntypedArgs{}
	for name, value := range object.Object {
		if name != "apiVersion" && name != "kind" && name != "metadata" {
			fields[name] = value
		}
	}
	return apiextensions.NewCustomResource(ctx, name, &apiextensions.CustomResourceArgs{
		ApiVersion:  pulumi.String(object.GetAPIVersion()),
		Kind:        pulumi.String(object.GetKind()),
		Metadata:    metadata,
		OtherFields: fields,
	}, pulumi.DependsOn(after))
}
