//go:build acceptance

package acceptance

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox"
	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/kube"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/bitwarden"
	"github.com/homelab-iac/pulumi-cnpg-backup/tests/controlplane"
)

const (
	organization  = "11111111-1111-4111-8111-111111111111"
	ownProject    = "22222222-2222-4222-8222-222222222222"
	otherProject  = "33333333-3333-4333-8333-333333333333"
	keysNamespace = "external-secrets"
	appsNamespace = "handed-over"

	b2Secret     = "b2-cnpg-credentials"
	mirrorSecret = "b2-cnpg-mirror-credentials"

	// patience is how long Pulumi waits here, instead of its eight minutes.
	patience = 20 * time.Second
	// synced is how long External Secrets may take with what is not awaited.
	synced = time.Minute

	handedOver = `
- name: shop
  namespace: handed-over
  protect: false
  spec:
    instances: 1
    imageName: ghcr.io/cloudnative-pg/postgresql:17.7
    storage: {size: 5Gi}
`
)

// handOver is one environment whose key goes through Bitwarden.
type handOver struct {
	*suite
	bitwarden *bitwarden.Server
	box       *box
	config    map[string]any
}

// TestExternalSecrets brings the key through the real External Secrets operator,
// with its real provider, and a stand-in for Bitwarden.
func TestExternalSecrets(t *testing.T) {
	plane := startControlPlane(t)
	require.NoError(t, plane.StartExternalSecrets(t.Context(), t.Output()))
	h := &handOver{suite: &suite{plane: plane}, bitwarden: bitwarden.New(organization, "the-token")}
	h.newNamespace(t, keysNamespace)
	h.newNamespace(t, appsNamespace)
	h.newStore(t)
	h.newEnvironment(t)
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"the first key, over what was there", h.firstKey},
		{"refresh and change", h.refreshAndChange},
		{"what an item may be", h.items},
		{"a rotation while Bitwarden is slow", h.rotation},
		{"Bitwarden away for longer than an interval", h.awayBetweenReads},
		{"a rotation while Bitwarden is away", h.awayAtARotation},
		{"a rotation without the operator", h.noOperatorAtARotation},
		{"an item with a note", h.note},
		{"two items", h.twoItems},
		{"destroy", h.destroy},
	} {
		if !t.Run(step.name, step.run) {
			break // the next step begins with what this one was to leave
		}
	}
}

// newStore makes the ClusterSecretStore.
func (h *handOver) newStore(t *testing.T) {
	t.Helper()
	service, err := h.bitwarden.Serve(t.Context(), "127.0.0.1")
	require.NoError(t, err)
	t.Cleanup(service.Close)
	require.NoError(t, h.plane.Client().Apply(t.Context(), service.Store("bitwarden-backend", ownProject, keysNamespace)...))
}

func (h *handOver) newEnvironment(t *testing.T) {
	t.Helper()
	h.config = storage(t)
	h.config["cnpg-backup:protect"], h.config["cnpg-backup:databases"] = false, listFromYAML(t, handedOver)
	h.part("bitwarden")["item"] = "the-key"
	h.part("bitwarden")["mirrorItem"] = "the-mirror-key"
	h.part("bitwarden")["refreshInterval"] = "1h"
	h.part("b2")["keys"] = []any{"first"}
	h.box = h.newBox(t, sandbox.Options{Project: root, Stack: "handedover", Config: h.config, Await: patience})
}

func (h *handOver) part(name string) map[string]any {
	return h.config["cnpg-backup:"+name].(map[string]any)
}

// firstKey finds an item with another key and a Secret that somebody made, and
// Bitwarden is slow: a read would overtake the write if nothing waited.
func (h *handOver) firstKey(t *testing.T) {
	h.bitwarden.Put(bitwarden.Item{
		Name: "the-key", Project: ownProject, Value: `{"AWS_ACCESS_KEY_ID":"old","AWS_SECRET_ACCESS_KEY":"older"}`,
	})
	h.bitwarden.Put(bitwarden.Item{Name: "the-key", Project: otherProject, Value: "not ours"})
	h.makeSecret(t, b2Secret, map[string]string{"AWS_ACCESS_KEY_ID": "by hand", "AWS_SECRET_ACCESS_KEY": "by hand too"})
	h.bitwarden.Slow(300 * time.Millisecond)
	defer h.bitwarden.Slow(0)

	h.up(t)

	assert.Empty(t, h.box.warnings.texts, "admission warnings")
	h.assertItem(t, "the-key", h.source(t, "b2-acceptance-cnpg-b2-key"))
	h.assertItem(t, "the-mirror-key", h.source(t, "b2-acceptance-cnpg-b2-mirrorkey"))
	assert.Equal(t, h.source(t, "b2-acceptance-cnpg-b2-key"), h.secret(t, b2Secret))
	assert.Equal(t, h.source(t, "b2-acceptance-cnpg-b2-mirrorkey"), h.secret(t, mirrorSecret))
	assert.NotEqual(t, h.secret(t, b2Secret), h.secret(t, mirrorSecret))
}

// assertItem wants one item in the store's project, which holds both halves, and
// no others; and leaves other projects alone.
func (h *handOver) assertItem(t *testing.T, name string, key map[string]string) {
	t.Helper()
	want, err := json.Marshal(key)
	require.NoError(t, err)
	var own []bitwarden.Item
	for _, item := range h.bitwarden.Items(name) {
		if item.Project == ownProject {
			own = append(own, item)
			continue
		}
		assert.Equal(t, "not ours", item.Value)
	}
	require.Len(t, own, 1, "items %s", name)
	assert.Equal(t, string(want), own[0].Value)
	assert.Empty(t, own[0].Note)
}

// refreshAndChange is what follows a loss: what the operator wrote to the
// objects meanwhile is no conflict.
func (h *handOver) refreshAndChange(t *testing.T) {
	h.box.assertNoChanges(t)
	h.part("bitwarden")["refreshInterval"] = "2s"
	assert.ElementsMatch(t, []string{
		"update storage-b2-key-push", "update storage-b2-mirror-key-push",
		"update handed-over-b2-cnpg-credentials", "update handed-over-b2-cnpg-mirror-credentials",
	}, named(h.up(t)))
	h.box.assertNoChanges(t)
}

// items changes the item beneath an ExternalSecret that the program has made and
// that is ready. A wrong one is an error, and the Secret stays.
func (h *handOver) items(t *testing.T) {
	const good = `{"AWS_ACCESS_KEY_ID":"0021234567890ab","AWS_SECRET_ACCESS_KEY":"K002good"}`
	data := func(id, secret string, property bool) map[string]any {
		ref := func(half, item string) map[string]any {
			remote := map[string]any{"key": item}
			if property {
				remote["property"] = half
			}
			return map[string]any{"secretKey": half, "remoteRef": remote}
		}
		return map[string]any{"data": []any{ref("AWS_ACCESS_KEY_ID", id), ref("AWS_SECRET_ACCESS_KEY", secret)}}
	}
	for name, test := range map[string]struct {
		// become makes the item wrong; from is what the ExternalSecret reads
		// instead, nil for the item as a whole.
		become func(item bitwarden.Item)
		from   func(item bitwarden.Item) map[string]any
		reason string
	}{
		"is not there": {
			become: func(item bitwarden.Item) { h.bitwarden.Remove(item.Name) },
			reason: "no secret found for project id",
		},
		"is there twice": {
			become: func(item bitwarden.Item) {
				item.ID = ""
				h.bitwarden.Put(item)
			},
			reason: "more than one secret found for project",
		},
		"is in another project": {
			become: func(item bitwarden.Item) {
				item.Project = otherProject
				h.bitwarden.Put(item)
			},
			reason: "no secret found for project id",
		},
		"has other keys": {
			become: h.become(`{"keyID":"0021234567890ab","applicationKey":"K002good"}`),
			reason: `map has no entry for key "AWS_`,
		},
		"has one half": {
			become: h.become(`{"AWS_ACCESS_KEY_ID":"0021234567890ab"}`),
			reason: `map has no entry for key "AWS_SECRET_ACCESS_KEY"`,
		},
		"has an empty half": {
			become: h.become(`{"AWS_ACCESS_KEY_ID":"","AWS_SECRET_ACCESS_KEY":"K002good"}`),
			reason: "AWS_ACCESS_KEY_ID is not a half of a B2 key",
		},
		"has digits without quotation marks": {
			become: h.become(`{"AWS_ACCESS_KEY_ID":0021234567890120000000001,"AWS_SECRET_ACCESS_KEY":"K002good"}`),
			reason: "AWS_ACCESS_KEY_ID is not a half of a B2 key",
		},
		"is no JSON": {
			become: h.become("0021234567890ab K002good"),
			reason: "error unmarshalling secret",
		},
		"is read by property": {
			from:   func(item bitwarden.Item) map[string]any { return data(item.Name, item.Name, true) },
			reason: "is not a half of a B2 key",
		},
		"is read as if it were two": {
			from:   func(item bitwarden.Item) map[string]any { return data(item.Name, item.Name, false) },
			reason: "is not a half of a B2 key",
		},
		"has a note": {
			become: func(item bitwarden.Item) {
				item.Note = "made by hand"
				h.bitwarden.Put(item)
			},
		},
		"is read by its ID": {from: func(item bitwarden.Item) map[string]any { return extract(item.ID) }},
		"is read by its ID from another project": {
			become: func(item bitwarden.Item) {
				item.Project = otherProject
				h.bitwarden.Put(item)
			},
			from: func(item bitwarden.Item) map[string]any { return extract(item.ID) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			object := "item-" + strings.ReplaceAll(strings.ToLower(name), " ", "-")
			item := bitwarden.Item{Name: object, Project: ownProject, Value: good}
			item.ID = h.bitwarden.Put(item)
			h.readItem(t, object, extract(item.Name))
			h.waitReady(t, "ExternalSecret", object)
			working := h.secret(t, object)
			require.Equal(t, "0021234567890ab", working["AWS_ACCESS_KEY_ID"])

			if test.reason == "" {
				item.Value = strings.ReplaceAll(good, "K002good", "K002renewed")
				h.bitwarden.Put(item)
			}
			if test.become != nil {
				test.become(item)
			}
			from := extract(item.Name)
			if test.from != nil {
				from = test.from(item)
			}
			h.readItem(t, object, from)
			if test.reason == "" {
				require.Eventually(t, func() bool { return h.secret(t, object)["AWS_SECRET_ACCESS_KEY"] == "K002renewed" },
					synced, poll, "the Secret gets the new key")
				h.waitReady(t, "ExternalSecret", object)
				return
			}
			h.waitRefused(t, object, test.reason)
			assert.Equal(t, working, h.secret(t, object), "the Secret has the working key")
		})
	}
}

func extract(item string) map[string]any {
	return map[string]any{"dataFrom": []any{map[string]any{"extract": map[string]any{"key": item}}}}
}

// become gives an item another value.
func (h *handOver) become(value string) func(bitwarden.Item) {
	return func(item bitwarden.Item) {
		item.Value = value
		h.bitwarden.Put(item)
	}
}

// readItem makes or changes an ExternalSecret like the one that the program has
// made, with another name and something else to read.
func (h *handOver) readItem(t *testing.T, name string, from map[string]any) {
	t.Helper()
	spec, found, err := unstructured.NestedMap(h.get(t, "ExternalSecret", appsNamespace, b2Secret).Object, "spec")
	require.NoError(t, err)
	require.True(t, found)
	delete(spec, "data")
	delete(spec, "dataFrom")
	maps.Copy(spec, from)
	require.NoError(t, unstructured.SetNestedField(spec, name, "target", "name"))
	object := kube.Object("external-secrets.io/v1", "ExternalSecret", appsNamespace, name, map[string]any{"spec": spec})
	// A change that it reads at once for, whatever its last state was.
	object.SetAnnotations(map[string]string{"read-at": time.Now().String()})
	require.NoError(t, h.plane.Client().Apply(t.Context(), object))
}

// rotation adds a key while each call takes a while. When up returns, the new key
// is where it is used, the old one still exists, and the Secret has had one of
// the two at any time.
func (h *handOver) rotation(t *testing.T) {
	h.part("bitwarden")["refreshInterval"] = "1h"
	h.up(t)
	before := h.secret(t, b2Secret)
	stop := h.watchSecret(t, b2Secret)
	h.bitwarden.Slow(300 * time.Millisecond)
	h.part("b2")["keys"] = []any{"first", "second"}

	h.up(t)

	after := h.secret(t, b2Secret)
	h.bitwarden.Slow(0)
	assert.NotEqual(t, before, after)
	assert.Equal(t, h.source(t, "b2-acceptance-cnpg-b2-key"), after)
	h.assertItem(t, "the-key", after)
	assert.Contains(t, h.keys(t), before["AWS_ACCESS_KEY_ID"], "the old key exists still")
	held := stop()
	for _, one := range held {
		assert.Contains(t, []map[string]string{before, after}, one, "the Secret has one of the two keys at any time")
	}
	require.NotEmpty(t, held)
	assert.Equal(t, after, held[len(held)-1], "it was watched to the end")
	h.box.assertNoChanges(t)

	h.part("b2")["keys"] = []any{"second"}
	h.up(t)
	assert.NotContains(t, h.keys(t), before["AWS_ACCESS_KEY_ID"])
	assert.Equal(t, after, h.secret(t, b2Secret))
}

// awayBetweenReads keeps the Secret for as long as Bitwarden is away.
func (h *handOver) awayBetweenReads(t *testing.T) {
	before := h.secret(t, b2Secret)
	h.part("bitwarden")["refreshInterval"] = "2s"
	h.up(t)
	h.bitwarden.Away(true)
	defer h.bitwarden.Away(false)
	h.waitRefused(t, b2Secret, "503 Service Unavailable")
	assert.Equal(t, before, h.secret(t, b2Secret))
	store := h.get(t, "ClusterSecretStore", "", "bitwarden-backend")
	require.NoError(t, kube.Condition(store, "Ready"), "the store says nothing of it")

	h.bitwarden.Away(false)
	h.waitReady(t, "ExternalSecret", b2Secret)
	assert.Equal(t, before, h.secret(t, b2Secret))
	h.part("bitwarden")["refreshInterval"] = "1h"
	h.up(t)
}

// awayAtARotation fails in time, says how to put it right, and keeps the key in
// use; the next up goes on.
func (h *handOver) awayAtARotation(t *testing.T) {
	h.failsAndGoesOn(t, "third",
		func() { h.bitwarden.Away(true) },
		func() {
			h.bitwarden.Away(false)
			h.waitReady(t, "PushSecret", "b2-acceptance-cnpg-b2-key") // it does not try every second
		})
}

// noOperatorAtARotation is the same without External Secrets.
func (h *handOver) noOperatorAtARotation(t *testing.T) {
	h.failsAndGoesOn(t, "fourth",
		func() { require.NoError(t, h.plane.End(controlplane.ExternalSecretsController)) },
		func() { require.NoError(t, h.plane.StartExternalSecretsController(t.Context())) })
}

func (h *handOver) failsAndGoesOn(t *testing.T, key string, harm, mend func()) {
	t.Helper()
	before := h.secret(t, b2Secret)
	keys := h.part("b2")["keys"].([]any)
	h.part("b2")["keys"] = append(slices.Clone(keys), key)
	h.configure(t)
	harm()
	result, err := h.box.Up(t.Context())
	require.Error(t, err)
	assert.Contains(t, result.Output, "External Secrets has not written the B2 key to Bitwarden")
	assert.Contains(t, result.Output, "bitwarden.handOver: false")
	assert.Equal(t, before, h.secret(t, b2Secret))
	assert.Contains(t, h.keys(t), before["AWS_ACCESS_KEY_ID"])

	mend()
	h.part("b2")["keys"] = []any{key}
	h.up(t)
	after := h.secret(t, b2Secret)
	assert.Equal(t, h.source(t, "b2-acceptance-cnpg-b2-key"), after)
	assert.NotEqual(t, before, after)
	assert.NotContains(t, h.keys(t), before["AWS_ACCESS_KEY_ID"], "the old key is deleted at last")
	h.box.assertNoChanges(t)
}

// note is an item made by hand, with a note: it is not written to but doubled.
// up tells, and the Secret keeps the key that works.
func (h *handOver) note(t *testing.T) {
	before := h.secret(t, b2Secret)
	h.bitwarden.Put(bitwarden.Item{Name: "by-hand", Project: ownProject, Note: "made by hand", Value: "{}"})
	h.part("bitwarden")["item"] = "by-hand"
	h.configure(t)
	result, err := h.box.Up(t.Context())
	require.Error(t, err)
	assert.Contains(t, result.Output, "External Secrets has not brought the B2 key from Bitwarden")
	assert.Contains(t, result.Output, "kubectl describe externalsecret --namespace handed-over b2-cnpg-credentials")
	h.waitRefused(t, b2Secret, "more than one secret found for project")
	assert.Equal(t, before, h.secret(t, b2Secret))

	for _, item := range h.bitwarden.Items("by-hand") {
		if item.Note != "" {
			item.Project = otherProject
			h.bitwarden.Put(item)
		}
	}
	h.waitReady(t, "ExternalSecret", b2Secret)
	h.up(t)
	assert.Equal(t, before, h.secret(t, b2Secret))
}

// twoItems moves the key to the other layout.
func (h *handOver) twoItems(t *testing.T) {
	before := h.secret(t, b2Secret)
	delete(h.part("bitwarden"), "item")
	h.part("bitwarden")["layout"] = "two-items"
	h.part("bitwarden")["keyIdItem"], h.part("bitwarden")["secretKeyItem"] = "half-id", "half-secret"
	h.up(t)
	assert.Equal(t, before, h.secret(t, b2Secret))
	for half, item := range map[string]string{"AWS_ACCESS_KEY_ID": "half-id", "AWS_SECRET_ACCESS_KEY": "half-secret"} {
		items := h.bitwarden.Items(item)
		require.Len(t, items, 1)
		assert.Equal(t, before[half], items[0].Value)
		assert.Equal(t, ownProject, items[0].Project)
	}
	h.box.assertNoChanges(t)
}

// destroy is refused without the webhook, waits for the controller, and leaves
// the item and the Secrets of the namespaces.
func (h *handOver) destroy(t *testing.T) {
	before := h.secret(t, b2Secret)
	require.NoError(t, h.plane.End(controlplane.ExternalSecretsWebhook))
	_, err := h.box.Destroy(t.Context())
	require.ErrorContains(t, err, "failed calling webhook")
	assert.Equal(t, before, h.secret(t, b2Secret))
	require.NoError(t, h.plane.StartExternalSecretsWebhook(t.Context()))

	require.NoError(t, h.plane.End(controlplane.ExternalSecretsController))
	restarted := make(chan error, 1)
	go func() {
		restarted <- h.startWhenMissed(context.WithoutCancel(t.Context()))
	}()
	h.box.must(t, "destroy", h.box.Destroy)
	require.NoError(t, <-restarted)

	assert.Empty(t, h.box.export(t).Resources)
	assert.Len(t, h.bitwarden.Items("half-id"), 1, "the item stays")
	assert.Equal(t, before, h.secret(t, b2Secret), "so does the Secret: what archives with it goes on")
	for kind, namespace := range map[string]string{"ExternalSecret": appsNamespace, "PushSecret": keysNamespace} {
		objects, err := h.plane.Client().List(t.Context(), kindOf(kind), namespace)
		require.NoError(t, err)
		for _, object := range objects {
			assert.Contains(t, object.GetName(), "item-", "%s is left", kind)
		}
	}
	_, err = h.plane.Client().Get(t.Context(), coreKind("Secret"), keysNamespace, "b2-acceptance-cnpg-b2-key")
	assert.True(t, apierrors.IsNotFound(err), "the Secret to hand over is gone")
}

// startWhenMissed starts the controllers when an ExternalSecret waits for them
// to be deleted.
func (h *handOver) startWhenMissed(ctx context.Context) error {
	err := wait.PollUntilContextTimeout(ctx, poll, synced, true, func(ctx context.Context) (bool, error) {
		object, err := h.plane.Client().Get(ctx, kindOf("ExternalSecret"), appsNamespace, b2Secret)
		return err == nil && object.GetDeletionTimestamp() != nil, nil
	})
	if err != nil {
		return err
	}
	return h.plane.StartExternalSecretsController(ctx)
}

func (h *handOver) configure(t *testing.T) {
	t.Helper()
	require.NoError(t, h.box.Configure(t.Context(), h.config))
}

func (h *handOver) up(t *testing.T) *sandbox.Result {
	t.Helper()
	h.configure(t)
	return h.box.must(t, "up", h.box.Up)
}

// named is what was done to resources of External Secrets.
func named(result *sandbox.Result) []string {
	var steps []string
	for _, change := range result.Changes {
		if strings.Contains(change.Type, "external-secrets.io") {
			steps = append(steps, change.Op+" "+change.Name)
		}
	}
	slices.Sort(steps)
	return steps
}

func kindOf(kind string) schema.GroupVersionKind {
	version := "v1"
	if kind == "PushSecret" {
		version = "v1alpha1"
	}
	return schema.GroupVersionKind{Group: "external-secrets.io", Version: version, Kind: kind}
}

func (h *handOver) get(t *testing.T, kind, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	object, err := h.plane.Client().Get(t.Context(), kindOf(kind), namespace, name)
	require.NoError(t, err)
	return object
}

func (h *handOver) waitReady(t *testing.T, kind, name string) {
	t.Helper()
	namespace := appsNamespace
	if kind == "PushSecret" {
		namespace = keysNamespace
	}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		object, err := h.plane.Client().Get(t.Context(), kindOf(kind), namespace, name)
		require.NoError(c, err)
		require.NoError(c, kube.Condition(object, "Ready"))
	}, synced, poll)
}

// waitRefused waits until an ExternalSecret is not ready, and for the reason,
// which only an event says.
func (h *handOver) waitRefused(t *testing.T, name, reason string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		object, err := h.plane.Client().Get(t.Context(), kindOf("ExternalSecret"), appsNamespace, name)
		require.NoError(c, err)
		require.Error(c, kube.Condition(object, "Ready"))
		events, err := h.plane.Client().List(t.Context(), coreKind("Event"), appsNamespace)
		require.NoError(c, err)
		var said []string
		for _, event := range events {
			if involved, _, _ := unstructured.NestedString(event.Object, "involvedObject", "name"); involved == name {
				said = append(said, fmt.Sprint(event.Object["message"]))
			}
		}
		require.Contains(c, strings.Join(said, "\n"), reason)
	}, synced, poll)
}

// source is the key that is handed over.
func (h *handOver) source(t *testing.T, name string) map[string]string {
	t.Helper()
	return h.read(t, keysNamespace, name)
}

// secret is the key in the namespace of the database.
func (h *handOver) secret(t *testing.T, name string) map[string]string {
	t.Helper()
	return h.read(t, appsNamespace, name)
}

func (h *handOver) read(t *testing.T, namespace, name string) map[string]string {
	t.Helper()
	secret, err := h.plane.Client().Get(t.Context(), coreKind("Secret"), namespace, name)
	require.NoError(t, err)
	return decoded(t, secret)
}

// decoded are the values of a Secret: two halves, and different ones.
func decoded(t *testing.T, secret *unstructured.Unstructured) map[string]string {
	t.Helper()
	data, _, err := unstructured.NestedStringMap(secret.Object, "data")
	require.NoError(t, err)
	values := map[string]string{}
	for key, value := range data {
		plain, err := base64.StdEncoding.DecodeString(value)
		require.NoError(t, err)
		values[key] = string(plain)
	}
	assert.Len(t, values, 2)
	assert.NotEmpty(t, values["AWS_ACCESS_KEY_ID"])
	assert.NotEmpty(t, values["AWS_SECRET_ACCESS_KEY"])
	assert.NotEqual(t, values["AWS_ACCESS_KEY_ID"], values["AWS_SECRET_ACCESS_KEY"])
	return values
}

func (h *handOver) makeSecret(t *testing.T, name string, values map[string]string) {
	t.Helper()
	data := map[string]any{}
	for key, value := range values {
		data[key] = base64.StdEncoding.EncodeToString([]byte(value))
	}
	_, err := h.plane.Client().Create(t.Context(),
		kube.Object("v1", "Secret", appsNamespace, name, map[string]any{"data": data}), false)
	require.NoError(t, err)
}

// watchSecret records what a Secret holds from now on until it is stopped. A
// Secret that is deleted fails the test.
func (h *handOver) watchSecret(t *testing.T, name string) (stop func() []map[string]string) {
	t.Helper()
	secrets, err := h.plane.Client().Resource(coreKind("Secret"), appsNamespace)
	require.NoError(t, err)
	watch, err := secrets.Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	require.NoError(t, err)
	events := make(chan []apiwatch.Event, 1)
	go func() {
		var seen []apiwatch.Event
		for event := range watch.ResultChan() {
			seen = append(seen, event)
		}
		events <- seen
	}()
	return func() []map[string]string {
		watch.Stop()
		var held []map[string]string
		for _, event := range <-events {
			assert.NotEqual(t, apiwatch.Deleted, event.Type, "the Secret was away for a moment")
			if secret, ok := event.Object.(*unstructured.Unstructured); ok { // an end of the watch is none
				held = append(held, decoded(t, secret))
			}
		}
		return held
	}
}

// keys are the IDs of the keys that exist at B2.
func (h *handOver) keys(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(filepath.Dir(h.box.Manifests()), "b2")
	files, err := os.ReadDir(folder)
	require.NoError(t, err)
	var ids []string
	for _, file := range files {
		ids = append(ids, file.Name())
	}
	return strings.Join(ids, " ")
}

func listFromYAML(t *testing.T, content string) []any {
	t.Helper()
	return fromYAML(t, "list:\n"+content)["list"].([]any)
}
