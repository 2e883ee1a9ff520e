package cnpg

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/b2"
)

// newB2Keys creates the application keys, or looks the adopted one up.
//
// The capabilities are what barman needs; listAllBucketNames is for S3's
// HeadBucket.
func (s *Storage) newB2Keys(ctx *pulumi.Context, name string, bucketID pulumi.StringOutput) error {
	if s.args.B2.AdoptKey != "" {
		found := b2.LookupApplicationKeyOutput(ctx, b2.LookupApplicationKeyOutputArgs{
			KeyName: pulumi.String(s.args.B2.AdoptKey),
		}, pulumi.Parent(s))
		s.B2KeyID = secretString(found.ApplicationKeyId())
		s.B2Key = secretString(pulumi.String("").ToStringOutput())
		return s.recordKeyInUse(ctx, name, nil)
	}
	var keys []pulumi.Resource
	for _, keyName := range s.args.B2.Keys {
		key, err := s.newB2Key(ctx, name, keyName, bucketID,
			"listBuckets", "listAllBucketNames", "listFiles", "readFiles", "writeFiles", "deleteFiles")
		if err != nil {
			return err
		}
		keys = append(keys, key)
		s.B2KeyID, s.B2Key = secretString(key.ApplicationKeyId), secretString(key.ApplicationKey)
		if s.args.Bitwarden.MirrorItem == "" {
			continue
		}
		key, err = s.newB2Key(ctx, name, keyName+"-mirror", bucketID,
			"listBuckets", "listAllBucketNames", "listFiles", "readFiles")
		if err != nil {
			return err
		}
		keys = append(keys, key)
		s.mirrorKeyID, s.mirrorKey = secretString(key.ApplicationKeyId), secretString(key.ApplicationKey)
	}
	return s.recordKeyInUse(ctx, name, keys)
}

// newB2Key creates one key. B2 cannot change a key, so what a later release or
// another keyPrefix says counts for keys that are made from then on: a
// replacement would delete a key that is in use.
func (s *Storage) newB2Key(ctx *pulumi.Context, name, keyName string, bucketID pulumi.StringOutput, capabilities ...string,
) (*b2.ApplicationKey, error) {
	args := &b2.ApplicationKeyArgs{
		KeyName:      pulumi.String(keyName),
		Capabilities: pulumi.ToStringArray(capabilities),
		BucketIds:    pulumi.StringArray{bucketID},
	}
	if s.args.B2.KeyPrefix != "" {
		args.NamePrefix = pulumi.String(s.args.B2.KeyPrefix)
	}
	key, err := b2.NewApplicationKey(ctx, name+"-b2-key-"+keyName, args, pulumi.Parent(s),
		pulumi.IgnoreChanges([]string{"capabilities", "namePrefix"}),
		pulumi.AdditionalSecretOutputs([]string{"applicationKey", "applicationKeyId", "b2ApplicationKeyId"}))
	if err != nil {
		return nil, fmt.Errorf("B2 application key %q: %w", keyName, err)
	}
	s.ready = append(s.ready, key)
	return key, nil
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
	inUse := s.args.B2.AdoptKey
	if made := s.args.B2.Keys; len(made) > 0 {
		inUse = made[len(made)-1]
	}
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
		"key":     pulumi.String(inUse),
		"adopted": pulumi.Bool(s.args.B2.AdoptKey != ""),
	}, record, pulumi.Parent(s), pulumi.DependsOn(keys),
		pulumi.ResourceHooks(&pulumi.ResourceHookBinding{BeforeUpdate: []*pulumi.ResourceHook{hook}}))
	if err != nil {
		return fmt.Errorf("keys of storage %q: %w", name, err)
	}
	for _, half := range []*pulumi.StringOutput{&s.B2KeyID, &s.B2Key, &s.mirrorKeyID, &s.mirrorKey} {
		if half.OutputState != nil {
			*half = record.precedes(*half)
		}
	}
	return ctx.RegisterResourceOutputs(record, pulumi.Map{})
}

// precedes returns the value, known when the note is made. DependsOn would wait
// for the resources in a component, and this one has none.
func (k *keyInUse) precedes(value pulumi.StringOutput) pulumi.StringOutput {
	return pulumi.All(value, k.URN()).ApplyT(func(values []any) string {
		return values[0].(string) //nolint:forcetypeassert // it is the StringOutput's
	}).(pulumi.StringOutput) //nolint:forcetypeassert // the function returns a string
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
		return fmt.Errorf("b2.adoptKey: the databases use %q, a key that was made here and would be deleted now: "+
			"leave adoptKey out, and rotate the key by b2.keys", inUse)
	}
	return fmt.Errorf("b2.keys: the databases use %[1]q, which the list no longer has, so that it would be deleted now: "+
		"set b2.keys to [%[1]s, %[2]s] and deploy; remove %[1]q when every namespace has the new key",
		inUse, strings.Join(a.Keys, ", "))
}
