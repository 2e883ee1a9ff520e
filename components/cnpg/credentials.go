package cnpg

import (
	"fmt"
	"slices"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// CredentialsArgs says where the key comes from and where it goes.
type CredentialsArgs struct {
	// Namespace is where the Secret is created. Required.
	Namespace string
	// Bitwarden is where the key is kept. Required.
	Bitwarden BitwardenArgs
}

// Credentials is the ExternalSecret that brings the B2 key from Bitwarden into
// one namespace, as the Secret b2-cnpg-credentials, and the keys that are the
// namespace's own, if it has some. All databases of the namespace share it.
type Credentials struct {
	pulumi.ResourceState

	// SecretName is the name of the Secret with AWS_ACCESS_KEY_ID and
	// AWS_SECRET_ACCESS_KEY.
	SecretName pulumi.StringOutput `pulumi:"secretName"`

	namespace string
	// ready is what has to be there before the namespace's databases.
	ready []pulumi.Resource
}

// NewCredentials creates the ExternalSecret of a namespace without a Database, for a
// key that is already in Bitwarden. If there is a Storage, use its method Credentials
// instead. If an argument is wrong, it fails before it registers anything, with all
// problems in one error.
func NewCredentials(ctx *pulumi.Context, name string, args *CredentialsArgs, opts ...pulumi.ResourceOption,
) (*Credentials, error) {
	at, err := siteOf(opts)
	if err != nil {
		return nil, fmt.Errorf("credentials %q: %w", name, err)
	}
	label, problems := fmt.Sprintf("credentials %q", name), append(checkPartOf(name), args.validate()...)
	var claims []claim
	if args != nil {
		claims = credentialsClaims(args.Namespace, args.Bitwarden, label, at.cluster)
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

	var keys b2Keys
	if storage != nil {
		if keys, bitwarden, err = credentials.newKeys(ctx, name, storage); err != nil {
			return nil, err
		}
	}
	after := pulumi.DependsOn(slices.Clone(credentials.ready))
	if err := credentials.bring(ctx, name, B2Secret, bitwarden, keys, after); err != nil {
		return nil, err
	}
	if bitwarden.MirrorItem != "" {
		if err := credentials.bring(ctx, name, B2MirrorSecret, bitwarden.ofMirror(), keys, after); err != nil {
			return nil, err
		}
	}

	registerOutputs(ctx, credentials)
	return credentials, nil
}

// newKeys makes the keys that are the namespace's own, and hands them over. It
// returns the B2 keys in use, and where in Bitwarden they are.
func (c *Credentials) newKeys(ctx *pulumi.Context, name string, storage *Storage) (b2Keys, BitwardenArgs, error) {
	bitwarden := storage.args.Bitwarden
	c.ready = append(c.ready, storage.ready...)
	if err := c.newMinIOUsers(ctx, name, storage); err != nil {
		return b2Keys{}, bitwarden, err
	}
	keys, err := c.newNamespaceB2Keys(ctx, name, storage)
	if err != nil || !isForEach(storage.args.B2.inUse()) {
		return keys, bitwarden, err
	}
	bitwarden = bitwarden.ofNamespace(c.namespace)
	pushes, err := storage.handOver(ctx, c, name, c.namespace, keys, bitwarden)
	c.ready = append(c.ready, pushes...)
	return keys, bitwarden, err
}

// bring makes the ExternalSecret that brings a key into the namespace.
func (c *Credentials) bring(ctx *pulumi.Context, name, secret string, from BitwardenArgs, keys b2Keys,
	after pulumi.ResourceOption,
) error {
	// Without its ExternalSecret the Secret stays, so that neither a replacement
	// nor a rename nor destroy stops what archives with it.
	annotations := pulumi.StringMap{deletionPropagation: pulumi.String("orphan")}
	options := []pulumi.ResourceOption{pulumi.Parent(c), after}
	if key := keys.of(secret); key.id.OutputState != nil && *from.HandOver {
		annotations[waitFor], annotations[keyAnnotation] = pulumi.String(isReady), from.fingerprint(key.id)
		wait, err := waitForKey(ctx, name+"-"+secret, fmt.Sprintf(
			"External Secrets has not brought the B2 key from Bitwarden into the Secret %[2]q of namespace %[1]q. "+
				"Why: kubectl describe externalsecret --namespace %[1]s %[2]s. "+
				"The Secret keeps the key that it has, and no key is deleted. Fix the cause, and run this again.", c.namespace, secret))
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
		c.SecretName = externalSecret.output(secret)
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
