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

	secrets := map[string]BitwardenArgs{B2Secret: bitwarden}
	if bitwarden.MirrorItem != "" {
		secrets[B2MirrorSecret] = bitwarden.ofMirror()
	}
	for secret, source := range secrets {
		externalSecret, err := registerObject(ctx, name+"-"+secret, object{
			apiVersion: "external-secrets.io/v1", kind: "ExternalSecret",
			namespace: args.Namespace, name: secret,
			fields: kubernetes.UntypedArgs{"spec": source.externalSecretSpec(secret)},
		}, pulumi.Parent(credentials), pulumi.DependsOn(after))
		if err != nil {
			return nil, err
		}
		credentials.ready = append(credentials.ready, externalSecret)
	}
	credentials.SecretName = pulumi.String(B2Secret).ToStringOutput()

	return credentials, ctx.RegisterResourceOutputs(credentials, pulumi.Map{
		"secretName": credentials.SecretName,
	})
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
