package cnpg

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/b2"
)

// eachNamespace in the name of a key stands for a namespace: such a name is one
// key for each namespace with databases.
const eachNamespace = "<namespace>"

// isForEach tells whether a name is that of a key for each namespace.
func isForEach(name string) bool { return strings.Contains(name, eachNamespace) }

// forNamespace is the name that a namespace's key has.
func forNamespace(name, namespace string) string {
	return strings.ReplaceAll(name, eachNamespace, namespace)
}

// keyPair are the two halves of a key, Pulumi secrets.
type keyPair struct{ id, key pulumi.StringOutput }

// b2Keys are the keys of one name at B2.
type b2Keys struct {
	// archive is what databases archive with, and mirror may only read; it has no
	// halves when Bitwarden has no item for it.
	archive, mirror keyPair
}

// of is the key that the Secret of a name holds.
func (k b2Keys) of(secret string) keyPair {
	if secret == B2MirrorSecret {
		return k.mirror
	}
	return k.archive
}

// inUse is the name of the key that the databases use.
func (a B2Args) inUse() string {
	if len(a.Keys) > 0 {
		return a.Keys[len(a.Keys)-1]
	}
	return a.AdoptKey
}

// newB2Keys creates the application keys for the whole bucket, or looks the
// adopted one up. Those of a namespace are made with its credentials.
func (s *Storage) newB2Keys(ctx *pulumi.Context, name string) error {
	none := secretString(pulumi.String("").ToStringOutput())
	s.keys.archive = keyPair{none, none}
	if s.args.B2.AdoptKey != "" {
		found := b2.LookupApplicationKeyOutput(ctx, b2.LookupApplicationKeyOutputArgs{
			KeyName: pulumi.String(s.args.B2.AdoptKey),
		}, pulumi.Parent(s))
		s.keys.archive.id = secretString(found.ApplicationKeyId())
	}
	var made []pulumi.Resource
	for _, keyName := range s.args.B2.Keys {
		if isForEach(keyName) {
			continue
		}
		keys, resources, err := s.makeB2Keys(ctx, s, name+"-b2-key-", keyName, "")
		if err != nil {
			return err
		}
		made = append(made, resources...)
		if keyName == s.args.B2.inUse() {
			s.keys = keys
		}
	}
	s.ready = append(s.ready, made...)
	if err := s.recordKeyInUse(ctx, name, made); err != nil {
		return err
	}
	s.keys = s.inUse.precedes(s.keys)
	s.B2KeyID, s.B2Key = s.keys.archive.id, s.keys.archive.key
	return nil
}

// newNamespaceB2Keys creates the keys of one namespace and returns those in use.
func (c *Credentials) newNamespaceB2Keys(ctx *pulumi.Context, name string, storage *Storage) (b2Keys, error) {
	inUse := storage.keys
	for _, keyName := range storage.args.B2.Keys {
		if !isForEach(keyName) {
			continue
		}
		keys, made, err := storage.makeB2Keys(ctx, c, name+"-b2-key-", forNamespace(keyName, c.namespace), c.namespace)
		if err != nil {
			return b2Keys{}, err
		}
		c.ready = append(c.ready, made...)
		if keyName == storage.args.B2.inUse() {
			inUse = storage.inUse.precedes(keys)
		}
	}
	return inUse, nil
}

// makeB2Keys creates the keys of one name, for the whole bucket or for the folder
// of a namespace.
//
// The capabilities are what barman needs; listAllBucketNames is for S3's
// HeadBucket. A namespace's key has no deleteFiles, which is for versions: a file
// is deleted by its name with writeFiles, and then only hidden.
// https://www.backblaze.com/docs/cloud-storage-s3-compatible-app-keys
func (s *Storage) makeB2Keys(ctx *pulumi.Context, parent pulumi.Resource, prefix, keyName, namespace string,
) (b2Keys, []pulumi.Resource, error) {
	reading := []string{"listBuckets", "listAllBucketNames", "listFiles", "readFiles"}
	writing := append(slices.Clone(reading), "writeFiles")
	folder := s.args.B2.KeyPrefix
	if namespace == "" {
		writing = append(writing, "deleteFiles")
	} else {
		folder = namespace + "/"
	}
	var keys b2Keys
	var made []pulumi.Resource
	var err error
	if keys.archive, made, err = s.makeB2Key(ctx, parent, prefix, keyName, folder, writing, made); err != nil {
		return b2Keys{}, nil, err
	}
	if s.args.Bitwarden.MirrorItem == "" {
		return keys, made, nil
	}
	keys.mirror, made, err = s.makeB2Key(ctx, parent, prefix, keyName+mirrorSuffix, folder, reading, made)
	return keys, made, err
}

// mirrorSuffix is behind the name of a key in that of the mirror's.
const mirrorSuffix = "-mirror"

// makeB2Key creates one key, and appends it to what was made. B2 cannot change a
// key, so what a later release or another keyPrefix says counts for keys that are
// made from then on: a replacement would delete a key that is in use.
func (s *Storage) makeB2Key(ctx *pulumi.Context, parent pulumi.Resource, prefix, keyName, folder string,
	capabilities []string, made []pulumi.Resource,
) (keyPair, []pulumi.Resource, error) {
	args := &b2.ApplicationKeyArgs{
		KeyName:      pulumi.String(keyName),
		Capabilities: pulumi.ToStringArray(capabilities),
		BucketIds:    pulumi.StringArray{s.b2BucketID},
	}
	if folder != "" {
		args.NamePrefix = pulumi.String(folder)
	}
	key, err := b2.NewApplicationKey(ctx, prefix+keyName, args, pulumi.Parent(parent),
		pulumi.IgnoreChanges([]string{"capabilities", "namePrefix"}),
		pulumi.AdditionalSecretOutputs([]string{"applicationKey", "applicationKeyId", "b2ApplicationKeyId"}))
	if err != nil {
		return keyPair{}, nil, fmt.Errorf("B2 application key %q: %w", keyName, err)
	}
	return keyPair{secretString(key.ApplicationKeyId), secretString(key.ApplicationKey)}, append(made, key), nil
}

// keyInUse is a note in Pulumi's state: the name of the key that the databases
// have been given. Its update is the moment at which another key takes over, and
// the last one to refuse a list in which the key before is missing.
type keyInUse struct {
	pulumi.ResourceState
}

// recordKeyInUse notes the key that is handed over next. The note comes after
// the keys, so that it names none that could not be made, and before the
// hand-over, so that a refused one hands nothing over.
func (s *Storage) recordKeyInUse(ctx *pulumi.Context, name string, keys []pulumi.Resource) error {
	// The engine wants a name that no other hook of the program has.
	hook, err := ctx.RegisterResourceHook("keys of the B2 bucket "+s.args.B2.Bucket,
		func(update *pulumi.ResourceHookArgs) error {
			return s.args.B2.checkKeptSince(update.OldInputs)
		}, &pulumi.ResourceHookOptions{OnDryRun: true})
	if err != nil {
		return fmt.Errorf("keys of storage %q: %w", name, err)
	}
	record := &keyInUse{}
	err = ctx.RegisterComponentResourceV2("cnpg-backup:index:KeyInUse", name+"-b2-key-in-use", pulumi.Map{
		"key":     pulumi.String(s.args.B2.inUse()),
		"adopted": pulumi.Bool(s.args.B2.AdoptKey != ""),
	}, record, pulumi.Parent(s), pulumi.DependsOn(keys),
		pulumi.ResourceHooks(&pulumi.ResourceHookBinding{BeforeUpdate: []*pulumi.ResourceHook{hook}}))
	if err != nil {
		return fmt.Errorf("keys of storage %q: %w", name, err)
	}
	s.inUse = record
	return ctx.RegisterResourceOutputs(record, pulumi.Map{})
}

// precedes returns the keys, known when the note is made.
func (k *keyInUse) precedes(keys b2Keys) b2Keys {
	return b2Keys{
		archive: keyPair{k.before(keys.archive.id), k.before(keys.archive.key)},
		mirror:  keyPair{k.before(keys.mirror.id), k.before(keys.mirror.key)},
	}
}

// before returns the value, known when the note is made. DependsOn would wait for
// the resources in a component, and this one has none.
func (k *keyInUse) before(value pulumi.StringOutput) pulumi.StringOutput {
	if value.OutputState == nil {
		return value
	}
	return pulumi.All(value, k.URN()).ApplyT(func(values []any) string {
		return values[0].(string) // it is the StringOutput's
	}).(pulumi.StringOutput) // the function returns a string
}

// checkKeptSince compares with a note. One that was imported says nothing: no key
// was made before.
func (a B2Args) checkKeptSince(note resource.PropertyMap) error {
	key, adopted := note["key"], note["adopted"]
	if !key.IsString() || adopted.IsBool() && adopted.BoolValue() {
		return nil
	}
	return a.checkKept(key.StringValue())
}

// checkKept wants the key that the databases use to be kept, and says how it is
// rotated.
func (a B2Args) checkKept(inUse string) error {
	if slices.Contains(a.Keys, inUse) {
		return nil
	}
	if a.AdoptKey != "" {
		return fmt.Errorf("b2.adoptKey: the databases use %q, a key that was created here and would be deleted now: "+
			"leave adoptKey out, and rotate the key with b2.keys", inUse)
	}
	return fmt.Errorf("b2.keys: the databases use %[1]q, which is no longer in the list and would be deleted now: "+
		"set b2.keys to [%[1]s, %[2]s] and deploy; remove %[1]q when every namespace has the new key",
		inUse, strings.Join(a.Keys, ", "))
}

// secretString marks an output as a Pulumi secret.
func secretString(value pulumi.StringOutput) pulumi.StringOutput {
	return pulumi.ToSecret(value).(pulumi.StringOutput) // ToSecret keeps the type
}
