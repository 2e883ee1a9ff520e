package cnpg

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// BitwardenLayout is how Bitwarden holds the two halves of a key: ID and secret.
type BitwardenLayout string

// The three layouts.
const (
	// BitwardenLayoutJSON is one Bitwarden item whose value is a JSON object with
	// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
	BitwardenLayoutJSON BitwardenLayout = "json"
	// BitwardenLayoutTwoItems is one Bitwarden item for each half.
	BitwardenLayoutTwoItems BitwardenLayout = "two-items"
	// BitwardenLayoutProperty is one item with a property for each half. Bitwarden
	// Secrets Manager ignores properties and would return the same value twice;
	// only stores of the webhook provider honour them.
	BitwardenLayoutProperty BitwardenLayout = "property"
)

// BitwardenProvider is the External Secrets provider behind a ClusterSecretStore.
type BitwardenProvider string

// The providers that reach Bitwarden.
const (
	// BitwardenProviderSecretsManager is Bitwarden Secrets Manager.
	BitwardenProviderSecretsManager BitwardenProvider = "bitwardensecretsmanager"
	// BitwardenProviderWebhook is the webhook provider, used with the Bitwarden
	// CLI's server.
	BitwardenProviderWebhook BitwardenProvider = "webhook"
)

// BitwardenArgs says where in Bitwarden the B2 key is kept.
type BitwardenArgs struct {
	// Store is the ClusterSecretStore that reaches Bitwarden. Required.
	Store string `json:"store"`
	// Provider is the provider of that store. Default bitwardensecretsmanager.
	Provider BitwardenProvider `json:"provider,omitempty"`
	// Layout is how the item holds the key. Default json.
	Layout BitwardenLayout `json:"layout,omitempty"`
	// Item is the item with the key, by its name; by its UUID only without HandOver.
	// Required, except for the layout two-items.
	Item string `json:"item,omitempty"`
	// KeyIDItem and SecretKeyItem are the two items of the layout two-items. Required
	// for that layout, and not allowed for others.
	KeyIDItem     string `json:"keyIdItem,omitempty"`
	SecretKeyItem string `json:"secretKeyItem,omitempty"`
	// MirrorItem is an item with the layout json for a second, read-only key. If it is
	// given, Storage creates such a key beside each of the others, and the mirror's job
	// reads the archive at B2 with it, so that the job cannot harm the archive.
	// Default: none; the job uses the archive's key.
	MirrorItem string `json:"mirrorItem,omitempty"`
	// RefreshInterval is how often External Secrets reads and writes Bitwarden: a
	// duration of a second or more. Default 1h.
	RefreshInterval string `json:"refreshInterval,omitempty"`
	// HandOver writes the key that Storage created to Bitwarden, through a Secret and
	// a PushSecret, and has Pulumi wait, for up to 8 minutes, until it is there and in
	// the namespaces. This needs a running External Secrets. Default true; false for an
	// adopted key, whose secret half is not known, and for the provider webhook, whose
	// stores usually only read.
	HandOver *bool `json:"handOver,omitempty"`
	// Namespace is where that Secret and PushSecret are created. It has to exist.
	// Default external-secrets.
	Namespace string `json:"namespace,omitempty"`
}

func (a BitwardenArgs) withDefaults(handOver bool) BitwardenArgs {
	if a.Provider == "" {
		a.Provider = BitwardenProviderSecretsManager
	}
	if a.Layout == "" {
		a.Layout = BitwardenLayoutJSON
	}
	if a.RefreshInterval == "" {
		a.RefreshInterval = "1h"
	}
	a.RefreshInterval = canonicalDuration(a.RefreshInterval)
	if a.HandOver == nil {
		a.HandOver = new(handOver && a.Provider == BitwardenProviderSecretsManager)
	}
	if a.Namespace == "" {
		a.Namespace = "external-secrets"
	}
	return a
}

const (
	// keyAnnotation is the annotation with the fingerprint of a key.
	keyAnnotation = "cnpg-backup/key"
	// keyWithin is for how long Pulumi waits for External Secrets with a key. A
	// read or a write takes seconds, but after failures the operator waits for up
	// to 7 minutes until it tries again.
	keyWithin = "8m"
)

// fingerprint tells one key in one place from another, and nothing about the
// secret half. It is no secret itself, so that a preview shows where it changes.
func (a BitwardenArgs) fingerprint(keyID pulumi.StringOutput) pulumi.StringOutput {
	return pulumi.Unsecret(keyID.ApplyT(func(id string) string {
		sum := sha256.Sum256(fmt.Appendf(nil, "%q", []string{
			id, a.Store, string(a.Layout), a.Item, a.KeyIDItem, a.SecretKeyItem,
		}))
		return hex.EncodeToString(sum[:6])
	})).(pulumi.StringOutput) // the function returns a string
}

// waitForKey has Pulumi make an object anew for another key, as the old object
// would be ready before External Secrets has looked at it, and explain what is
// missing when the new one does not become ready in time.
func waitForKey(ctx *pulumi.Context, name, missing string) ([]pulumi.ResourceOption, error) {
	explain, err := ctx.RegisterErrorHook(name, func(*pulumi.ErrorHookArgs) (bool, error) {
		const retry = false
		return retry, ctx.Log.Error(missing, nil)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return []pulumi.ResourceOption{
		pulumi.Timeouts(&pulumi.CustomTimeouts{Create: keyWithin, Update: keyWithin, Delete: keyWithin}),
		pulumi.ResourceHooks(&pulumi.ResourceHookBinding{OnError: []*pulumi.ErrorHook{explain}}),
		pulumi.ReplaceOnChanges([]string{fmt.Sprintf("metadata.annotations[%q]", keyAnnotation)}),
		pulumi.DeleteBeforeReplace(true),
	}, nil
}

// ofNamespace are the arguments for the keys of one namespace: its items are named
// after it.
func (a BitwardenArgs) ofNamespace(namespace string) BitwardenArgs {
	for _, item := range []*string{&a.Item, &a.KeyIDItem, &a.SecretKeyItem, &a.MirrorItem} {
		if *item != "" {
			*item += "-" + namespace
		}
	}
	return a
}

// ofMirror are the arguments for the key that may only read.
func (a BitwardenArgs) ofMirror() BitwardenArgs {
	a.Layout, a.Item = BitwardenLayoutJSON, a.MirrorItem
	return a
}

func (a BitwardenArgs) validate(at *field.Path) field.ErrorList {
	problems := checkObjectName(at.Child("store"), a.Store,
		"the ClusterSecretStore through which External Secrets reads Bitwarden")
	problems = append(problems, checkOneOf(at.Child("provider"), a.Provider,
		BitwardenProviderSecretsManager, BitwardenProviderWebhook)...)
	problems = append(problems, checkOneOf(at.Child("layout"), a.Layout,
		BitwardenLayoutJSON, BitwardenLayoutTwoItems, BitwardenLayoutProperty)...)
	problems = append(problems, a.validateItems(at)...)
	if a.RefreshInterval != "" {
		if interval, err := time.ParseDuration(a.RefreshInterval); err != nil || interval < time.Second {
			problems = append(problems, field.Invalid(at.Child("refreshInterval"), a.RefreshInterval,
				`expected a duration of a second or more, for instance "1h" or "1h30m"`))
		}
	}
	if a.Namespace != "" {
		problems = append(problems, checkNamespace(at.Child("namespace"), a.Namespace)...)
	}
	return problems
}

func (a BitwardenArgs) validateItems(at *field.Path) field.ErrorList {
	var problems field.ErrorList
	a = a.withDefaults(true)
	if a.Layout == BitwardenLayoutProperty && a.Provider == BitwardenProviderSecretsManager {
		problems = append(problems, field.Invalid(at.Child("layout"), a.Layout,
			"Bitwarden Secrets Manager ignores properties and would give both halves of the key the same value; "+
				"use json or two-items, or set provider: webhook"))
	}
	items := map[string]string{"item": a.Item}
	unused := map[string]string{"keyIdItem": a.KeyIDItem, "secretKeyItem": a.SecretKeyItem}
	if a.Layout == BitwardenLayoutTwoItems {
		items, unused = unused, items
	}
	if a.MirrorItem != "" {
		items["mirrorItem"] = a.MirrorItem
	}
	for _, name := range []string{"item", "keyIdItem", "secretKeyItem", "mirrorItem"} {
		if item, used := items[name]; used && item == "" {
			problems = append(problems, field.Required(at.Child(name),
				fmt.Sprintf("the item in Bitwarden that the layout %s reads", a.Layout)))
		} else if used && *a.HandOver && uuid.Validate(item) == nil {
			problems = append(problems, field.Invalid(at.Child(name), item,
				"the key is written to an item by its name: give the name, or set handOver: false"))
		}
		if unused[name] != "" {
			problems = append(problems, field.Forbidden(at.Child(name),
				fmt.Sprintf("the layout %s does not read this item", a.Layout)))
		}
	}
	return problems
}

// externalSecretSpec is the spec of an `external-secrets.io/v1` ExternalSecret
// that writes the key pair to the Secret of the given name.
func (a BitwardenArgs) externalSecretSpec(secret string) map[string]any {
	spec := map[string]any{
		"refreshInterval": a.RefreshInterval,
		"secretStoreRef":  map[string]any{"name": a.Store, "kind": "ClusterSecretStore"},
		"target": map[string]any{
			"name": secret, "creationPolicy": "Owner",
			// Without a template the Secret gets whatever the item holds, and loses
			// a working key to an item without one.
			"template": map[string]any{"data": map[string]any{
				accessKeyID:     checkedHalf(accessKeyID, `^[0-9A-Za-z_-]+$`),
				secretAccessKey: checkedHalf(secretAccessKey, `^[0-9A-Za-z+/=_-]+$`),
			}},
		},
	}
	entry := func(key string, ref map[string]any) map[string]any {
		return map[string]any{"secretKey": key, "remoteRef": ref}
	}
	switch a.Layout {
	case BitwardenLayoutTwoItems:
		spec["data"] = []any{
			entry(accessKeyID, map[string]any{"key": a.KeyIDItem}),
			entry(secretAccessKey, map[string]any{"key": a.SecretKeyItem}),
		}
	case BitwardenLayoutProperty:
		spec["data"] = []any{
			entry(accessKeyID, map[string]any{"key": a.Item, "property": accessKeyID}),
			entry(secretAccessKey, map[string]any{"key": a.Item, "property": secretAccessKey}),
		}
	case BitwardenLayoutJSON:
		spec["dataFrom"] = []any{map[string]any{"extract": map[string]any{"key": a.Item}}}
	}
	return spec
}

// checkedHalf is a template that gives one half of the key, or fails when it has
// other characters than B2's keys have. Then the Secret stays as it is. A value
// without quotation marks is read as a number, "2.1e+22", before it gets here.
func checkedHalf(key, pattern string) string {
	return fmt.Sprintf(`{{ if regexMatch %[2]q .%[1]s }}{{ .%[1]s }}{{ else }}`+
		`{{ fail "%[1]s is not a half of a B2 key: expected the bare text, in JSON within quotation marks" }}{{ end }}`,
		key, pattern)
}

// canonicalDuration writes a duration as the API server's types do, "1h0m0s".
// External Secrets 0.20 to 1.1 rewrites any other form and then owns the field,
// so that the next change conflicts:
// https://github.com/external-secrets/external-secrets/issues/5650
func canonicalDuration(duration string) string {
	parsed, err := time.ParseDuration(duration)
	if err != nil {
		return duration // what it is refused as
	}
	return parsed.String()
}

// pushSecretSpec is the spec of a PushSecret that writes the Secret of the given
// name to Bitwarden. An entry without secretKey pushes the Secret as one JSON
// object. No note is given: a changed note makes the provider create a second
// item of the same name, which then cannot be read by name any more.
func (a BitwardenArgs) pushSecretSpec(secret string) map[string]any {
	entry := func(key string, ref map[string]any) map[string]any {
		match := map[string]any{"remoteRef": ref}
		if key != "" {
			match["secretKey"] = key
		}
		return map[string]any{"match": match}
	}
	spec := map[string]any{
		"refreshInterval": a.RefreshInterval,
		"updatePolicy":    "Replace",
		"deletionPolicy":  "None",
		"secretStoreRefs": []any{map[string]any{"name": a.Store, "kind": "ClusterSecretStore"}},
		"selector":        map[string]any{"secret": map[string]any{"name": secret}},
	}
	switch a.Layout {
	case BitwardenLayoutTwoItems:
		spec["data"] = []any{
			entry(accessKeyID, map[string]any{"remoteKey": a.KeyIDItem}),
			entry(secretAccessKey, map[string]any{"remoteKey": a.SecretKeyItem}),
		}
	case BitwardenLayoutProperty:
		spec["data"] = []any{
			entry(accessKeyID, map[string]any{"remoteKey": a.Item, "property": accessKeyID}),
			entry(secretAccessKey, map[string]any{"remoteKey": a.Item, "property": secretAccessKey}),
		}
	case BitwardenLayoutJSON:
		spec["data"] = []any{entry("", map[string]any{"remoteKey": a.Item})}
	}
	return spec
}
