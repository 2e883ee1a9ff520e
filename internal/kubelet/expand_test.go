package kubelet_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/homelab-iac/pulumi-cnpg-backup/internal/kubelet"
)

// The cases are of the same kinds as those of
// https://github.com/kubernetes/kubernetes/blob/v1.34.4/third_party/forked/golang/expansion/expand_test.go
// and what is expected was printed by Expand there.
func TestExpand(t *testing.T) {
	t.Parallel()
	known := map[string]string{"A": "a", "EMPTY": "", "NESTED": "$(A)"}
	for text, want := range map[string]string{
		"":                      "",
		"no reference":          "no reference",
		"$(A)":                  "a",
		"x-$(A)-$(A)":           "x-a-a",
		"$(EMPTY)|":             "|",
		"$(NESTED)":             "$(A)",
		"$(B)":                  "$(B)",
		"$(B $(A))":             "$(B $(A))",
		"$((1 + $(B)))":         "$((1 + $(B)))",
		"$$":                    "$",
		"$$(A)":                 "$(A)",
		"$$$(A)":                "$a",
		"$$$$(A)":               "$$(A)",
		"$A ${A} $":             "$A ${A} $",
		"$(A":                   "$(A",
		"$(":                    "$(",
		"do $$ begin end $$":    "do $ begin end $",
		"$é$$é":                 "$é$é",
		"sed 's/x$//' $(date)":  "sed 's/x$//' $(date)",
		"$()":                   "$()",
		"$(B$$) $$":             "$(B$$) $",
		"$x$$y$(A)$(C)$$$z$$(A": "$x$ya$(C)$$z$(A",
	} {
		assert.Equal(t, want, kubelet.Expand(text, known), text)
	}
}
