package cnpg

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// handOver puts the key pairs into Bitwarden. In Kubernetes what does it is named
// after the bucket, which no other environment of the cluster has, and after the
// namespace whose keys they are, if they are those of one.
func (s *Storage) handOver(ctx *pulumi.Context, parent pulumi.Resource, name, namespace string, keys b2Keys,
	bitwarden BitwardenArgs,
) ([]pulumi.Resource, error) {
	inKubernetes := func(pair string) string {
		named := fmt.Sprintf("b2-%s-%s", strings.ToLower(s.args.B2.Bucket), pair)
		if namespace != "" {
			named += "-" + namespace
		}
		return named
	}
	archive, err := push(ctx, parent, name, "-b2-key", inKubernetes("key"), keys.archive, bitwarden)
	if err != nil {
		return nil, err
	}
	if bitwarden.MirrorItem == "" {
		return []pulumi.Resource{archive}, nil
	}
	mirror, err := push(ctx, parent, name, "-b2-mirror-key", inKubernetes("mirrorkey"), keys.mirror, bitwarden.ofMirror())
	return []pulumi.Resource{archive, mirror}, err
}

// push hands one key pair over: a Secret that a PushSecret reads.
func push(ctx *pulumi.Context, parent pulumi.Resource, partOf, suffix, inKubernetes string, pair keyPair, bitwarden BitwardenArgs,
) (pulumi.Resource, error) {
	name := partOf + suffix
	secret, err := registerObject(ctx, name, object{
		apiVersion: "v1", kind: "Secret",
		namespace: bitwarden.Namespace, name: inKubernetes, component: "credentials", partOf: partOf,
		fields: kubernetes.UntypedArgs{
			"type": "Opaque",
			// Not stringData, which does not work well with server-side apply:
			// https://kubernetes.io/docs/concepts/configuration/secret/
			"data": pulumi.StringMap{accessKeyID: base64String(pair.id), secretAccessKey: base64String(pair.key)},
		},
	}, pulumi.Parent(parent))
	if err != nil {
		return nil, err
	}
	wait, err := waitForKey(ctx, name+"-push", fmt.Sprintf(
		"External Secrets has not written the B2 key to Bitwarden. "+
			"Why: kubectl describe pushsecret --namespace %s %s. "+
			"The namespaces keep the key that they have, and no key is deleted. Fix the cause, and run this again. "+
			"For a cluster without External Secrets set bitwarden.handOver: false and put the key into Bitwarden yourself.",
		bitwarden.Namespace, inKubernetes))
	if err != nil {
		return nil, err
	}
	return registerObject(ctx, name+"-push", object{
		apiVersion: "external-secrets.io/v1alpha1", kind: "PushSecret",
		namespace: bitwarden.Namespace, name: inKubernetes, component: "credentials", partOf: partOf,
		annotations: pulumi.StringMap{waitFor: pulumi.String(isReady), keyAnnotation: bitwarden.fingerprint(pair.id)},
		fields:      kubernetes.UntypedArgs{"spec": bitwarden.pushSecretSpec(inKubernetes)},
	}, append(wait, pulumi.Parent(parent), pulumi.DependsOn([]pulumi.Resource{secret}))...)
}

// base64String encodes as the data of a Secret is encoded. A secret stays one.
func base64String(value pulumi.StringOutput) pulumi.StringOutput {
	return value.ApplyT(func(plain string) string {
		return base64.StdEncoding.EncodeToString([]byte(plain))
	}).(pulumi.StringOutput) // the function returns a string
}
