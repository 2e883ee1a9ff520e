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
	// Bitwarden is where the key lies. Required without Storage.
	Bitwarden BitwardenArgs
	// Storage, when given, is the Storage whose key this is: its Bitwarden
	// settings are used, and the ExternalSecret waits for the key. Default: none.
	Storage *Storage
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

// NewCredentials makes the ExternalSecret of one namespace.
func NewCredentials(ctx *pulumi.Context, name string, args *CredentialsArgs, opts ...pulumi.ResourceOption,
) (*Credentials, error) {
	if err := Join(fmt.Sprintf("credentials %q", name), args.validate()); err != nil {
		return nil, err
	}
	bitwarden, after := args.Bitwarden.withDefaults(false), []pulumi.Resource(nil)
	if args.Storage != nil {
		bitwarden, after = args.Storage.args.Bitwarden, args.Storage.ready
	}
	credentials := &Credentials{namespace: args.Namespace}

	err := ctx.RegisterComponentResourceV2("cnpg-backup:index:Credentials", name, pulumi.Map{
		"namespace": pulumi.String(args.Namespace),
		"store":     pulumi.String(bitwarden.Store),
	}, credentials, opts...)
	if err != nil {
		return nil, fmt.Errorf("credentials %q: %w", name, err)
	}

	if err := credentials.bring(ctx, name, B2Secret, bitwarden, args.Storage, after); err != nil {
		return nil, err
	}
	if bitwarden.MirrorItem != "" {
		if err := credentials.bring(ctx, name, B2MirrorSecret, bitwarden.ofMirror(), args.Storage, after); err != nil {
			return nil, err
		}
	}
	credentials.SecretName = pulumi.String(B2Secret).ToStringOutput()

	return credentials, ctx.RegisterResourceOutputs(credentials, pulumi.Map{
		"secretName": credentials.SecretName,
	})
}

// bring makes the ExternalSecret that brings a key into the namespace.
func (c *Credentials) bring(ctx *pulumi.Context, name, secret string, from BitwardenArgs, storage *Storage,
	after []pulumi.Resource,
) error {
	// Without its ExternalSecret the Secret stays, so that neither a replacement
	// nor a rename nor destroy stops what archives with it.
	annotations := pulumi.StringMap{deletionPropagation: pulumi.String("orphan")}
	options := []pulumi.ResourceOption{pulumi.Parent(c), pulumi.DependsOn(after)}
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
	c.ready = append(c.ready, externalSecret)
	return nil
}

func (a *CredentialsArgs) validate() field.ErrorList {
	if a == nil {
		return field.ErrorList{field.Required(field.NewPath("namespace"), "the namespace of the Secret")}
	}
	problems := checkNamespace(field.NewPath("namespace"), a.Namespace)
	if a.Storage == nil {
		problems = append(problems, a.Bitwarden.validate(field.NewPath("bitwarden"))...)
	}
	return problems
}
