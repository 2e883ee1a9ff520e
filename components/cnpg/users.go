package cnpg

import (
	"encoding/json"
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-minio/sdk/go/minio"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// policy is one of MinIO's:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
type policy struct {
	Version   string      `json:"Version"`
	Statement []statement `json:"Statement"`
}

type statement struct {
	Effect    string                         `json:"Effect"`
	Action    []string                       `json:"Action"`
	Resource  []string                       `json:"Resource"`
	Condition map[string]map[string][]string `json:"Condition,omitempty"`
}

// namespacePolicy lets a user of MinIO list, read and write what is in the folder
// of a namespace; mayDelete adds deletion by name, as barman deletes.
//
// Versions cannot be deleted: MinIO takes s3:DeleteObject for them, too, unless
// s3:DeleteObjectVersion is denied. barman asks for the bucket before anything
// else, which MinIO counts as s3:HeadBucket, and only else as a listing. Both:
// https://github.com/minio/minio/blob/7aac2a2c5b7c/cmd/auth-handler.go
// and bucket-handlers.go there.
func namespacePolicy(bucket, namespace string, mayDelete bool) (string, error) {
	const arn = "arn:aws:s3:::"
	objects := []string{arn + bucket + "/" + namespace + "/*"}
	allowed := []string{"s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"}
	denied := []string{"s3:DeleteObject", "s3:DeleteObjectVersion"}
	if mayDelete {
		allowed, denied = append(allowed, "s3:DeleteObject"), denied[1:]
	}
	encoded, err := json.Marshal(policy{Version: "2012-10-17", Statement: []statement{
		{Effect: "Allow", Action: []string{"s3:GetBucketLocation", "s3:HeadBucket"}, Resource: []string{arn + bucket}},
		{
			Effect: "Allow", Action: []string{"s3:ListBucket"}, Resource: []string{arn + bucket},
			Condition: map[string]map[string][]string{"StringLike": {"s3:prefix": {namespace + "/*"}}},
		},
		{Effect: "Allow", Action: allowed, Resource: objects},
		{Effect: "Deny", Action: denied, Resource: []string{arn + bucket + "/*"}},
	}})
	return string(encoded), err
}

// newMinIOUsers makes the two users of MinIO that are the namespace's own, and
// writes their keys to Secrets there.
func (c *Credentials) newMinIOUsers(ctx *pulumi.Context, name string, storage *Storage) error {
	if storage.args.MinIO.User == "" {
		return nil
	}
	user := forNamespace(storage.args.MinIO.User, c.namespace)
	for _, one := range []struct {
		user, suffix, secret string
		mayDelete            bool
	}{
		{user, "", MinIOSecret, true},
		{user + mirrorSuffix, mirrorSuffix, MinIOMirrorSecret, false},
	} {
		policy, err := namespacePolicy(storage.args.MinIO.Bucket, c.namespace, one.mayDelete)
		if err != nil {
			return fmt.Errorf("policy of the MinIO user %q: %w", one.user, err)
		}
		secret, err := c.newMinIOUser(ctx, name, name+"-minio-user"+one.suffix, one.user, policy, one.secret)
		if err != nil {
			return fmt.Errorf("MinIO user %q: %w", one.user, err)
		}
		c.ready = append(c.ready, secret)
	}
	return nil
}

// newMinIOUser makes a user with one policy, and the Secret with its key.
func (c *Credentials) newMinIOUser(ctx *pulumi.Context, partOf, name, userName, policy, secret string) (pulumi.Resource, error) {
	rules, err := minio.NewIamPolicy(ctx, name+"-policy", &minio.IamPolicyArgs{
		Name: pulumi.String(userName), Policy: pulumi.String(policy),
	}, pulumi.Parent(c))
	if err != nil {
		return nil, err
	}
	user, err := minio.NewIamUser(ctx, name, &minio.IamUserArgs{Name: pulumi.String(userName)}, pulumi.Parent(c))
	if err != nil {
		return nil, err
	}
	attached, err := minio.NewIamUserPolicyAttachment(ctx, name+"-attachment", &minio.IamUserPolicyAttachmentArgs{
		UserName: user.Name, PolicyName: rules.Name,
	}, pulumi.Parent(c))
	if err != nil {
		return nil, err
	}
	return registerObject(ctx, name+"-key", object{
		apiVersion: "v1", kind: "Secret",
		namespace: c.namespace, name: secret, component: "credentials", partOf: partOf,
		fields: kubernetes.UntypedArgs{
			"type": "Opaque",
			"data": pulumi.StringMap{
				accessKeyID: base64String(user.Name), secretAccessKey: base64String(secretString(user.Secret)),
			},
		},
	}, pulumi.Parent(c), pulumi.DependsOn([]pulumi.Resource{attached}))
}
