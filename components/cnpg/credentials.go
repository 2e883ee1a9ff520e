package cnpg

import (
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// CredentialsArgs says where the key comes from and where it goes.
type CredentialsArgs struct {
	// Namespace is where the Secret is made. Required.
	Namespace string
	// Bitwarden is where the key lies. Required.
	Bitwarden BitwardenArgs
}

// Credentials is the ExternalSecret that brings the B2 key from Bitwarden into
// one namespace, as the Secret b2-cnpg-credentials. All databases of the
// namespace share it.
type Credentials struct {
	pulumi.ResourceState

	// SecretName is the Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
	SecretName pulumi.StringOutput `pulumi:"secretName"`

	namespace string
	ready     []pulumi.Resource
}

// NewCredentials makes the ExternalSecret of a namespace that has no Database,
// for a key that is in Bitwarden already. Where there is a Storage, use its
// method Credentials.
func NewCredentials(ctx *pulumi.Context, name string, args *CredentialsArgs, opts ...pulumi.ResourceOption,
) (*Credentials, error) {
	cluster, err := clusterOf(opts)
	if err != nil {
		return nil, fmt.Errorf("credentials %q: %w", name, err)
	}
	label, problems := fmt.Sprintf("credentials %q", name), args.validate()
	var claims []claim
	if args != nil {
		claims = credentialsClaims(args.Namespace, args.Bitwarden, label, cluster)
	}
	if err := refuse(label, claimsOf(ctx).take(claims, problems)); err != nil {
		return nil, err
	}
	return newCredentials(ctx, name, args.Namespace, args.Bitwarden.withDefaults(false), nil, opts...)
}

// newCredentials registers the credentials of a namespace. The storage is the
// one whose key it is, if there is one: the ExternalSecret waits for the key.
func newCredentials(ctx *pulumi.Context, name, namespace string, bitwarden BitwardenArgs, storage *Storage,
	opts ...pulumi.ResourceOption,
) (*Credentials, error) {
	credentials := &Credentials{namespace: namespace}

	err := ctx.RegisterComponentResourceV2("cnpg-backup:index:Credentials", name, pulumi.Map{
		"namespace": pulumi.String(namespace),
		"store":     pulumi.String(bitwarden.Store),
	}, credentials, opts...)
	if err != nil {
		return nil, fmt.Errorf("credentials %q: %w", name, err)
	}

	if err := credentials.bring(ctx, name, B2Secret, bitwarden, storage); err != nil {
		return nil, err
	}
	if bitwarden.MirrorItem != "" {
		if err := credentials.bring(ctx, name, B2MirrorSecret, bitwarden.ofMirror(), storage); err != nil {
			return nil, err
		}
	}

	return credentials, registerOutputs(ctx, credentials)
}

// bring makes the ExternalSecret that brings a key into the namespace.
func (c *Credentials) bring(ctx *pulumi.Context, name, secret string, from BitwardenArgs, storage *Storage,
) error {
	// Without its ExternalSecret the Secret stays, so that neither a replacement
	// nor a rename nor destroy stops what archives with it.
	annotations := pulumi.StringMap{deletionPropagation: pulumi.String("orphan")}
	options := []pulumi.ResourceOption{pulumi.Parent(c)}
	if storage != nil {
		options = append(options, pulumi.DependsOn(storage.ready))
	}
	if storage != nil && *from.HandOver {
		annotations[waitFor], annotations[keyAnnotation] = pulumi.String(isReady), from.fingerprint(storage.keyIDOf(secret))
		wait, err := waitForKey(ctx, name+"-"+secret, fmt.Sprintf(
			"External Secrets has not brought the B2 key from Bitwarden into the Secret %[2]q of namespace %[1]q. "+
				"Why: kubectl describe externalsecret --namespace %[1]s %[2]s. "+
				"What was there is kept, and no key is deleted. Put it right and run this again.", c.namespace, secret))
		if err != nil {
			return err
		}
		options = append(options, wait...)
	}
	externalSecret, err := registerObject(ctx, name+"-"+secret, object{
		apiVersion: "external-secrets.io/v1", kind: "ExternalSecret",
		namespace: c.namespace, name: secret, component: "credentials", partOf: name, annotations: annotations,
		fields: kubernetes.UntypedArgs{"spec": from.externalSecretSpec(secret)},
	}, options...)
	if err != nil {
		return err
	}
	if secret == B2Secret {
		c.SecretName = outputOf(externalSecret, secret)
	}
	c.ready = append(c.ready, externalSecret)
	return nil
}

func (a *CredentialsArgs) validate() field.ErrorList {
	if a == nil {
		return field.ErrorList{field.Required(field.NewPath("namespace"), "the namespace of the Secret")}
	}
	problems := checkNamespace(field.NewPath("namespace"), a.Namespace)
	return append(problems, a.Bitwarden.validate(field.NewPath("bitwarden"))...)
}
