//go:build acceptance

package acceptance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/homelab-iac/pulumi-cnpg-backup/sandbox/provider"
)

// realSource is where the real provider's code is, at the version that is
// stood in for.
const realSource = "https://github.com/pulumi/pulumi-kubernetes/blob/v" + provider.KubernetesVersion + "/provider/pkg/"

// fact is one thing that the real kubernetes provider does. The table runs
// against the stand-in and, with PLUGINS=real, against the real provider.
type fact struct {
	name string
	// source is the file below realSource, and the function.
	source string
	holds  func(t *testing.T, c *contract)
}

func facts() []fact {
	return []fact{
		// What it refuses.
		{"a type token has a group and a version", "provider/provider.go gvkFromURN", theTokenHasAGroup},
		{"what the API server refuses is refused in a preview", "provider/provider.go Create", previewsAskTheServer},
		{"an object that exists is not created, which no preview tells", "await/await.go Creation", existingObjects},
		{"a preview needs neither namespace nor kind", "provider/provider.go Create, await/await.go Creation", previewsWithoutNamespace},
		{"an object that is gone is not updated, nor is its update previewed", "await/await.go Update", goneObjects},
		{"a failed update is recorded, with the object as it is", "provider/provider.go Update", failedUpdates},

		// What it compares.
		{"a change of a custom resource is an update, of its apiVersion too", "provider/diff.go forceNewProperties", updatesInPlace},
		{"another name or namespace is another object, made first", "provider/provider.go Diff", replacedByName},
		{"what a Secret holds makes it anew, deleted first", "provider/diff.go forceNewProperties", replacedSecrets},
		{"what a ConfigMap holds makes it anew, deleted first", "provider/diff.go forceNewProperties", replacedConfigMaps},
		{"a Job's template makes it anew, a CronJob's does not", "provider/diff.go job", replacedJobs},
		{"defaults of the server are no difference, what it rewrote is one", "provider/provider.go pruneLiveState", liveDifferences},
		{"quantities of built-in kinds are compared by their value", "clients/unstructured.go Normalize", canonicalQuantities},
		{"stringData is compared with the data that comes of it", "clients/unstructured.go normalizeSecret", stringData},
		{"what a Secret holds is secret, the program's word or not", "provider/provider.go annotateSecrets", secretsAreSecret},

		// Who owns what.
		{"a new object is pulumi-kubernetes' by Update", "await/await.go Creation", createdBy},
		{"each object has an applier of its own, in its state", "provider/provider.go fieldManagerName", appliedBy},
		{"what was kubectl's is taken over, and dropped if not stated", "await/await.go fixCSAFieldManagers", takenOver},
		{"what others applied conflicts, in a preview too", "await/await.go handleSSAErr", conflicts},
		{"what is equal is owned by both, and conflicts when it changes", "await/await.go ssaUpdate", coOwned},
		{"enablePatchForce takes what others applied", "await/await.go patchForce", forced},
		{"a setting that changes is taken, and replaces nothing", "provider/provider.go DiffConfig", changedSettings},
		{"a setting may come from the environment", "provider/provider.go Configure", fromTheEnvironment},
		{"a preview forces while pulumi-kubernetes manages by Update", "await/await.go patchForce", forcedPreviews},
		{"upsertExistingObjects applies what exists, without force", "await/await.go Creation", upserts},

		// What it waits for.
		{"a condition, several, or a path", "metadata/overrides.go ReadyCondition", waitsFor},
		{"anything else to wait for is refused, when the object is made", "metadata/overrides.go ReadyCondition", waitsForNothingElse},
		{"a wait that ends without success leaves the object in the state", "provider/provider.go partialError", waitsNoLonger},
		{"an update waits again", "await/await.go Update", updatesWait},
		{"a Job waits until it is complete", "await/job.go", jobsWait},

		// What it reads and deletes.
		{"an import knows a custom resource by its identity only", "provider/provider.go Read", imports},
		{"what is gone is read as gone, as is its kind", "provider/provider.go Read", readsGone},
		{"a deletion takes the object of that name, whoever made it", "await/await.go Deletion", deletesByName},
		{"what an object owns goes before it, or stays", "metadata/overrides.go DeletionPropagation", orphans},
		{"a deletion waits in the foreground, no longer than it may", "await/await.go Deletion", deletionsWait},
	}
}

// testContract compares a kubernetes provider with what the real one does.
func (s *suite) testContract(t *testing.T) {
	s.newNamespace(t, "contract")
	s.newThings(t)
	for _, fact := range facts() {
		t.Run(strings.ReplaceAll(fact.name, "/", " "), func(t *testing.T) {
			t.Parallel() // some of them wait
			fact.holds(t, s.newContract(t, nil))
			if t.Failed() {
				t.Logf("the real provider: %s%s", realSource, fact.source)
			}
		})
	}
}

func theTokenHasAGroup(t *testing.T, c *contract) {
	object := c.secret(t, "data: {KEY: b3Bl}")
	check := func(token string) error {
		_, err := c.Check(t.Context(), plugin.CheckRequest{URN: urn(token, "object"), News: object})
		return err
	}
	require.ErrorContains(t, check("kubernetes:v1:Secret"), `apiVersion does not have both a group and a version: "v1"`)
	require.NoError(t, check("kubernetes:core/v1:Secret"))
}

func previewsAskTheServer(t *testing.T, c *contract) {
	object := c.thing(t, "size: 0")
	err := c.preview(t, object)
	require.ErrorContains(t, err, "too small")
	made := c.create(t, c.thing(t, "size: 3"))
	_, err = c.previewUpdate(t, made, c.thing(t, "size: 2"))
	require.ErrorContains(t, err, "cannot shrink")
}

func existingObjects(t *testing.T, c *contract) {
	object := c.thing(t, "size: 1")
	c.create(t, object)
	err := c.preview(t, object)
	require.NoError(t, err, "it may be there to be replaced")
	_, err = c.tryCreate(t, object)
	require.ErrorContains(t, err, "already exists")
}

func previewsWithoutNamespace(t *testing.T, c *contract) {
	object := c.thing(t, "size: 1")
	object["metadata"].ObjectValue()["namespace"] = resource.NewProperty("missing")
	err := c.preview(t, object)
	require.NoError(t, err)

	object = c.thing(t, "size: 1")
	object["kind"] = resource.NewProperty("Unheard")
	err = c.preview(t, object)
	require.NoError(t, err)
}

func goneObjects(t *testing.T, c *contract) {
	made := c.create(t, c.thing(t, "size: 1"))
	c.deleteBehindItsBack(t, made)
	_, err := c.previewUpdate(t, made, c.thing(t, "size: 2"))
	require.ErrorContains(t, err, "not found")
	_, err = c.update(t, made, c.thing(t, "size: 2"))
	require.ErrorContains(t, err, "not found")
	assert.Nil(t, c.live(t, made), "it is not made again")
}

func failedUpdates(t *testing.T, c *contract) {
	made := c.create(t, c.thing(t, "size: 3"))
	updated, err := c.update(t, made, c.thing(t, "size: 2"))
	require.ErrorContains(t, err, "cannot shrink")
	var failed *plugin.InitError
	require.ErrorAs(t, err, &failed, "the engine tries again with the next up, changed or not")
	spec := updated.Properties["spec"].ObjectValue()
	assert.InDelta(t, 3.0, spec["size"].NumberValue(), 0)
	inputs := updated.Properties["__inputs"].ObjectValue()
	assert.InDelta(t, 2.0, inputs["spec"].ObjectValue()["size"].NumberValue(), 0)
}

func updatesInPlace(t *testing.T, c *contract) {
	made := c.create(t, c.thing(t, "size: 1"))
	diff := c.diff(t, made, c.thing(t, "size: 2"))
	assert.Equal(t, map[string]plugin.DiffKind{"spec.size": plugin.DiffUpdate}, diff.kinds)

	other := c.thing(t, "size: 1")
	other["apiVersion"] = resource.NewProperty("contract.example.org/v2")
	diff = c.diff(t, made, other)
	assert.Equal(t, map[string]plugin.DiffKind{"apiVersion": plugin.DiffUpdate}, diff.kinds)

	diff = c.diff(t, made, c.thing(t, "{}"))
	assert.Equal(t, map[string]plugin.DiffKind{"spec.size": plugin.DiffDelete}, diff.kinds)
}

func replacedByName(t *testing.T, c *contract) {
	made := c.create(t, c.thing(t, "size: 1"))
	for _, field := range []resource.PropertyKey{"name", "namespace"} {
		other := c.thing(t, "size: 1")
		other["metadata"].ObjectValue()[field] = resource.NewProperty("other")
		diff := c.diff(t, made, other)
		assert.Equal(t, map[string]plugin.DiffKind{"metadata." + string(field): plugin.DiffUpdateReplace}, diff.kinds)
		assert.False(t, diff.DeleteBeforeReplace)
	}
}

func replacedSecrets(t *testing.T, c *contract) {
	made := c.create(t, c.secret(t, "data: {KEY: b2xk}"))
	diff := c.diff(t, made, c.secret(t, "data: {KEY: bmV3}"))
	assert.Equal(t, map[string]plugin.DiffKind{"data.KEY": plugin.DiffUpdateReplace}, diff.kinds)
	assert.True(t, diff.DeleteBeforeReplace)

	mutable := c.suite.newContract(t, map[string]any{"enableSecretMutable": "true"})
	diff = mutable.diff(t, made, c.secret(t, "data: {KEY: bmV3}"))
	assert.Equal(t, map[string]plugin.DiffKind{"data.KEY": plugin.DiffUpdate}, diff.kinds)
}

func replacedConfigMaps(t *testing.T, c *contract) {
	made := c.create(t, c.object(t, "v1", "ConfigMap", "data: {KEY: old}"))
	diff := c.diff(t, made, c.object(t, "v1", "ConfigMap", "data: {KEY: new}"))
	assert.Equal(t, map[string]plugin.DiffKind{"data.KEY": plugin.DiffUpdateReplace}, diff.kinds)
	assert.True(t, diff.DeleteBeforeReplace)

	mutable := c.suite.newContract(t, map[string]any{"enableConfigMapMutable": "true"})
	diff = mutable.diff(t, made, c.object(t, "v1", "ConfigMap", "data: {KEY: new}"))
	assert.Equal(t, map[string]plugin.DiffKind{"data.KEY": plugin.DiffUpdate}, diff.kinds)
}

// podOf is a Pod of one image, whose request for CPU is not canonical.
const podOf = `{spec: {restartPolicy: Never, containers: [{name: run, image: "example.org/run:%s", resources: {requests: {cpu: 1000m}}}]}}`

func replacedJobs(t *testing.T, c *contract) {
	job := func(image string) resource.PropertyMap {
		return c.annotated(t, c.object(t, "batch/v1", "Job", "spec: {template: "+strings.ReplaceAll(podOf, "%s", image)+"}"),
			"pulumi.com/skipAwait", "true")
	}
	diff := c.diff(t, c.create(t, job("1")), job("2"))
	assert.Equal(t, map[string]plugin.DiffKind{"spec.template.spec.containers[0].image": plugin.DiffUpdateReplace}, diff.kinds)
	assert.True(t, diff.DeleteBeforeReplace)

	diff = c.diff(t, c.create(t, c.cronJob(t, "1")), c.cronJob(t, "2"))
	assert.Equal(t, map[string]plugin.DiffKind{
		"spec.jobTemplate.spec.template.spec.containers[0].image": plugin.DiffUpdate,
	}, diff.kinds)
}

func liveDifferences(t *testing.T, c *contract) {
	wanted := c.thing(t, "size: 1")
	made := c.create(t, wanted)
	assert.Equal(t, "by the server", made.Properties["spec"].ObjectValue()["given"].StringValue())
	assert.Empty(t, c.diff(t, made, wanted).kinds)

	c.as(t, "someone", made, "spec: {size: 2}", true)
	assert.Equal(t, map[string]plugin.DiffKind{"spec.size": plugin.DiffUpdate}, c.diff(t, c.read(t, made), wanted).kinds)
}

func canonicalQuantities(t *testing.T, c *contract) {
	made := c.create(t, c.cronJob(t, "1"))
	assert.Empty(t, c.diff(t, made, c.cronJob(t, "1")).kinds, "1000m is 1")
	assert.Empty(t, c.diff(t, c.read(t, made), c.cronJob(t, "1")).kinds, "1000m is 1")
}

func stringData(t *testing.T, c *contract) {
	made := c.create(t, c.secret(t, "stringData: {KEY: value}"))
	assert.Empty(t, c.diff(t, made, c.secret(t, "stringData: {KEY: value}")).kinds)
	diff := c.diff(t, made, c.secret(t, "stringData: {KEY: other}"))
	assert.Equal(t, map[string]plugin.DiffKind{"data.KEY": plugin.DiffUpdateReplace}, diff.kinds)
}

func secretsAreSecret(t *testing.T, c *contract) {
	object := c.secret(t, "data: {KEY: b3Bl}")
	assert.True(t, c.check(t, object)["data"].IsSecret())
	made := c.create(t, object)
	assert.True(t, made.Properties["data"].IsSecret())
	assert.True(t, made.Properties["__inputs"].ObjectValue()["data"].IsSecret())
}

func createdBy(t *testing.T, c *contract) {
	made := c.create(t, c.thing(t, "size: 1"))
	assert.Equal(t, []string{"pulumi-kubernetes Update"}, c.managers(t, made))
}

func appliedBy(t *testing.T, c *contract) {
	made := c.create(t, c.thing(t, "size: 1"))
	updated, err := c.update(t, made, c.thing(t, "size: 2"))
	require.NoError(t, err)
	manager := made.Properties["__fieldManager"].StringValue()
	assert.Regexp(t, "^pulumi-kubernetes-[0-9a-f]{8}$", manager)
	assert.Equal(t, manager, updated.Properties["__fieldManager"].StringValue())
	assert.Equal(t, []string{manager + " Apply"}, c.managers(t, made))

	other := c.create(t, c.named(t, "-other", c.thing(t, "size: 1")))
	assert.NotEqual(t, manager, other.Properties["__fieldManager"].StringValue())
}

func takenOver(t *testing.T, c *contract) {
	for _, kubectl := range []string{"kubectl-client-side-apply", "kubectl-edit", "kubectl"} {
		t.Run(kubectl, func(t *testing.T) {
			object := c.named(t, "-"+kubectl, c.thing(t, "{size: 1, note: kept by hand}"))
			c.createdWith(t, kubectl, object)
			imported := c.importOf(t, object)
			wanted := c.named(t, "-"+kubectl, c.thing(t, "size: 1"))
			_, err := c.previewUpdate(t, imported, wanted)
			require.NoError(t, err)
			assert.Equal(t, []string{kubectl + " Update"}, c.managers(t, imported), "not by a preview")
			updated, err := c.update(t, imported, wanted)
			require.NoError(t, err)
			manager := updated.Properties["__fieldManager"].StringValue()
			assert.Equal(t, []string{manager + " Apply"}, c.managers(t, imported))
			assert.NotContains(t, c.live(t, imported).Object["spec"], "note", "the program does not state it")
		})
	}
}

func conflicts(t *testing.T, c *contract) {
	object := c.thing(t, "size: 1")
	c.applied(t, object)
	imported := c.importOf(t, object)
	for _, try := range []func(*testing.T, made, resource.PropertyMap) (made, error){c.previewUpdate, c.update} {
		_, err := try(t, imported, c.thing(t, "size: 2"))
		require.ErrorContains(t, err, `conflict with "argocd-controller": .spec.size`)
	}
	assert.EqualValues(t, 1, c.liveSpec(t, imported)["size"])
}

func coOwned(t *testing.T, c *contract) {
	object := c.thing(t, "size: 1")
	c.applied(t, object)
	updated, err := c.update(t, c.importOf(t, object), object)
	require.NoError(t, err, "equal values are no conflict")
	manager := updated.Properties["__fieldManager"].StringValue()
	assert.ElementsMatch(t, []string{"argocd-controller Apply", manager + " Apply"}, c.managers(t, updated))
	_, err = c.update(t, updated, c.thing(t, "size: 2"))
	require.ErrorContains(t, err, `conflict with "argocd-controller": .spec.size`)
}

func forced(t *testing.T, c *contract) {
	c.takesByForce(t, c.suite.newContract(t, map[string]any{"enablePatchForce": "true"}))
}

func changedSettings(t *testing.T, c *contract) {
	diff, err := c.DiffConfig(t.Context(), plugin.DiffConfigRequest{
		URN: urn("pulumi:providers:kubernetes", "default"), OldInputs: resource.PropertyMap{},
		OldOutputs: resource.PropertyMap{},
		NewInputs:  resource.NewPropertyMapFromMap(map[string]any{"enablePatchForce": "true"}),
	})
	require.NoError(t, err)
	assert.Equal(t, plugin.DiffSome, diff.Changes)
	assert.Empty(t, diff.ReplaceKeys)
}

func fromTheEnvironment(t *testing.T, c *contract) {
	c.takesByForce(t, c.suite.newContract(t, nil, "PULUMI_K8S_ENABLE_PATCH_FORCE=true"))
}

func (c *contract) takesByForce(t *testing.T, forcing *contract) {
	t.Helper()
	object := c.thing(t, "{size: 1, note: others'}")
	c.applied(t, object)
	imported := c.importOf(t, object)
	_, err := forcing.previewUpdate(t, imported, c.thing(t, "size: 2"))
	require.NoError(t, err)
	updated, err := forcing.update(t, imported, c.thing(t, "size: 2"))
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"size": int64(2), "note": "others'", "given": "by the server"}, c.liveSpec(t, updated))
	_, err = c.update(t, updated, c.thing(t, "size: 3"))
	require.NoError(t, err, "what was changed by force is free")
}

func forcedPreviews(t *testing.T, c *contract) {
	made := c.create(t, c.thing(t, "size: 1"))
	c.as(t, "argocd-controller", made, "spec: {size: 2}", true)
	made = c.read(t, made)
	c.as(t, "pulumi-kubernetes", made, "metadata: {labels: {is: mine}}", false)
	_, err := c.previewUpdate(t, made, c.thing(t, "size: 3"))
	require.NoError(t, err)
	_, err = c.update(t, made, c.thing(t, "size: 3"))
	require.ErrorContains(t, err, "conflict")
}

func upserts(t *testing.T, c *contract) {
	upserting := c.suite.newContract(t, map[string]any{"upsertExistingObjects": "true"})
	object := c.thing(t, "size: 1")
	c.applied(t, object)
	err := upserting.preview(t, c.thing(t, "size: 2"))
	require.NoError(t, err, "a preview forces")
	_, err = upserting.tryCreate(t, c.thing(t, "size: 2"))
	require.ErrorContains(t, err, "conflict")
	made, err := upserting.tryCreate(t, object)
	require.NoError(t, err)
	assert.Contains(t, c.managers(t, made), made.Properties["__fieldManager"].StringValue()+" Apply")
}

func waitsFor(t *testing.T, c *contract) {
	const ready = `{conditions: [{type: Ready, status: "True"}, {type: Degraded, status: "False"}], phase: Healthy}`
	for name, annotation := range map[string]string{
		"a": "condition=Ready",
		"b": "condition=Degraded=False",
		"c": `["condition=ready", "jsonpath={.status.phase}=Healthy"]`,
		"d": "jsonpath={.status.phase}",
		"e": `jsonpath={.status.conditions[?(@.type=="Ready")].status}=True`,
	} {
		t.Run(annotation, func(t *testing.T) {
			t.Parallel()
			object := c.annotated(t, c.named(t, "-"+name, c.thing(t, "size: 1")), "pulumi.com/waitFor", annotation)
			err := c.preview(t, object)
			require.NoError(t, err, "a preview waits for nothing")
			c.statusAfter(t, object, ready)
			made := c.create(t, object)
			assert.Contains(t, made.Properties, resource.PropertyKey("status"), "it waited")
		})
	}
}

func waitsForNothingElse(t *testing.T, c *contract) {
	for name, annotation := range map[string]string{
		"a": "Ready", "b": "[]", "c": "jsonpath=.status.phase", "d": "jsonpath={.status.phase}=",
	} {
		object := c.annotated(t, c.named(t, "-"+name, c.thing(t, "size: 1")), "pulumi.com/waitFor", annotation)
		err := c.preview(t, object)
		require.NoError(t, err)
		_, err = c.tryCreate(t, object)
		require.Error(t, err, annotation)
		assert.NotNil(t, c.find(t, object), "it is made before it is awaited")
	}
}

func waitsNoLonger(t *testing.T, c *contract) {
	object := c.annotated(t, c.thing(t, "size: 1"), "pulumi.com/waitFor", "condition=Ready")
	response, err := c.Create(t.Context(), plugin.CreateRequest{
		URN: urnOf(object), Properties: c.check(t, object), Timeout: 1,
	})
	var failed *plugin.InitError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, "contract/"+nameOf(object), string(response.ID))
	assert.NotEmpty(t, response.Properties["metadata"].ObjectValue()["uid"])

	object = c.annotated(t, c.named(t, "-annotated", object), "pulumi.com/timeoutSeconds", "1")
	began := time.Now()
	_, err = c.tryCreate(t, object)
	require.ErrorAs(t, err, &failed)
	assert.Less(t, time.Since(began), time.Minute, "not the 10 minutes that it would wait")
}

func updatesWait(t *testing.T, c *contract) {
	made := c.create(t, c.thing(t, "size: 1"))
	object := c.annotated(t, c.thing(t, "size: 2"), "pulumi.com/waitFor", "condition=Ready")
	c.statusAfter(t, object, `{conditions: [{type: Ready, status: "True"}]}`)
	updated, err := c.update(t, made, object)
	require.NoError(t, err)
	assert.Contains(t, updated.Properties, resource.PropertyKey("status"), "it waited")
}

func jobsWait(t *testing.T, c *contract) {
	job := c.object(t, "batch/v1", "Job", "spec: {template: "+strings.ReplaceAll(podOf, "%s", "1")+"}")
	c.statusAfter(t, job, string(completeStatus(t)))
	made := c.create(t, job)
	assert.Contains(t, made.Properties["status"].ObjectValue(), resource.PropertyKey("completionTime"))
}

func imports(t *testing.T, c *contract) {
	object := c.thing(t, "size: 1")
	c.applied(t, object)
	imported := c.importOf(t, object)
	assert.NotContains(t, imported.inputs, resource.PropertyKey("spec"))
	assert.Contains(t, imported.Properties, resource.PropertyKey("spec"))
	diff := c.diff(t, imported, c.thing(t, "size: 7"))
	assert.Equal(t, map[string]plugin.DiffKind{"spec": plugin.DiffAdd}, diff.kinds, "it shows no difference inside it")
}

func readsGone(t *testing.T, c *contract) {
	made := c.create(t, c.thing(t, "size: 1"))
	c.deleteBehindItsBack(t, made)
	assert.Empty(t, c.read(t, made).ID)

	unheard := c.thing(t, "size: 1")
	unheard["kind"] = resource.NewProperty("Unheard")
	response, err := c.Read(t.Context(), plugin.ReadRequest{
		URN: urnOf(unheard), ID: "contract/x", Inputs: unheard, State: unheard,
	})
	require.NoError(t, err)
	assert.Empty(t, response.ID)
}

func deletesByName(t *testing.T, c *contract) {
	object := c.thing(t, "size: 1")
	made := c.create(t, object)
	c.deleteBehindItsBack(t, made)
	c.applied(t, object)
	require.NoError(t, c.delete(t, made, 0))
	assert.Nil(t, c.live(t, made), "another object of that name is gone")
	require.NoError(t, c.delete(t, made, 0), "once more is no error")
}

func deletionsWait(t *testing.T, c *contract) {
	made := c.create(t, c.thing(t, "size: 1"))
	c.as(t, "someone", made, "metadata: {finalizers: [contract.example.org/kept]}", true)
	require.Error(t, c.delete(t, made, 1))
	live := c.live(t, made)
	require.NotNil(t, live)
	assert.Contains(t, live.GetFinalizers(), metav1.FinalizerDeleteDependents, "in the foreground")
	c.deleteBehindItsBack(t, made)
}

func orphans(t *testing.T, c *contract) {
	const owned = "{apiVersion: v1, kind: ConfigMap, name: %s, uid: '%s', blockOwnerDeletion: true}"
	own := func(object made, name string, uid any) {
		c.as(t, "someone", object, fmt.Sprintf("metadata: {ownerReferences: ["+owned+"]}", name, uid), true)
	}
	for _, policy := range []string{"orphan", "foreground"} {
		config := c.named(t, "-"+policy, c.object(t, "v1", "ConfigMap", "data: {KEY: value}"))
		owner := c.create(t, c.annotated(t, config, "pulumi.com/deletionPropagationPolicy", policy))
		owned := c.create(t, c.named(t, "-owned", config))
		own(owned, nameOf(config), c.live(t, owner).GetUID())
		// The garbage collector has seen this when it takes what comes later away.
		later := c.create(t, c.named(t, "-later", config))
		own(later, "nobody", "0")
		require.Eventually(t, func() bool { return c.live(t, later) == nil }, reconciled, poll)

		require.NoError(t, c.delete(t, owner, 0))
		assert.Nil(t, c.live(t, owner))
		assert.Equal(t, policy == "orphan", c.live(t, owned) != nil, policy)
	}
}
